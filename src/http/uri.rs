//! Request targets: nginx's normalisation of the path, its sets of escaped characters, unescaping,
//! and the check of paths that come from elsewhere. Bytes in, bytes out; knows no request.

use std::borrow::Cow;
use std::ops::Range;

/// The target cannot be normalised: bad escape, `%00`, or a way out of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// What a target looked like before it was normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Has `//`, `/.` or `#`.
    pub complex: bool,
    /// The path has `%`.
    pub quoted: bool,
    /// The path has `+`, escaped or not.
    pub plus: bool,
    /// `?` follows the host of an absolute form at once.
    pub empty_path: bool,
}

/// A normalised target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uri {
    /// Decoded path without dot segments; begins with `/`.
    pub path: Vec<u8>,
    /// Where `$args` are in the raw target; empty when there are none.
    pub args: Range<usize>,
    /// Where the extension is in `path`, without its dot.
    pub extension: Option<Range<usize>>,
    pub flags: Flags,
}

impl Uri {
    /// Forgets the target and keeps the memory.
    pub fn clear(&mut self) {
        self.path.clear();
        self.args = 0..0;
        self.extension = None;
        self.flags = Flags::default();
    }

    /// The extension of the last segment; `None` when it has no dot.
    pub fn extension(&self) -> Option<&[u8]> {
        self.path.get(self.extension.clone()?)
    }

    /// Normalises `target`, a raw path with arguments that begins with `/`, or with `?` if the
    /// path was left out of an absolute form.
    pub fn read(&mut self, target: &[u8], merge_slashes: bool) -> Result<(), Invalid> {
        self.clear();
        let end = memchr::memchr(b'#', target).unwrap_or(target.len());
        let text = target.get(..end).unwrap_or_default();
        let question = memchr::memchr(b'?', text);
        let path = text.get(..question.unwrap_or(end)).unwrap_or_default();
        if let Some(question) = question {
            self.args = question + 1..end;
        }
        self.flags = flags_of(path);
        self.flags.complex |= end < target.len();
        match path.first() {
            None if question.is_some() => {
                self.flags.empty_path = true;
                self.path.push(b'/');
            }
            Some(b'/') if self.flags.complex || self.flags.quoted => {
                self.flags.plus |= decode_path(path, merge_slashes, &mut self.path)?;
            }
            Some(b'/') => self.path.extend_from_slice(path),
            _ => return Err(Invalid),
        }
        self.extension = extension_of(&self.path);
        Ok(())
    }
}

/// Normalises a target into a new `Uri`; see `Uri::read`.
pub fn normalize(target: &[u8], merge_slashes: bool) -> Result<Uri, Invalid> {
    let mut uri = Uri::default();
    uri.read(target, merge_slashes)?;
    Ok(uri)
}

/// Looks for what makes a path more than a plain copy.
fn flags_of(path: &[u8]) -> Flags {
    let mut flags = Flags::default();
    let mut after_slash = false;
    for &byte in path {
        flags.complex |= after_slash && matches!(byte, b'/' | b'.');
        flags.quoted |= byte == b'%';
        flags.plus |= byte == b'+';
        after_slash = byte == b'/';
    }
    flags
}

/// Where the text behind the last dot of the last segment is. The dots a segment begins with, up
/// to three, make no extension: they are what nginx checks for `.` and `..`.
fn extension_of(path: &[u8]) -> Option<Range<usize>> {
    let segment = memchr::memrchr(b'/', path).map_or(0, |slash| slash + 1);
    let rest = path.get(segment..)?;
    let dots = rest.iter().take(3).take_while(|byte| **byte == b'.').count();
    let dot = memchr::memrchr(b'.', rest.get(dots..)?)?;
    Some(segment + dots + dot + 1..path.len())
}

/// Where in a segment the normaliser stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Usual,
    Slash,
    Dot,
    DotDot,
}

/// Decodes `path` onto the end of the empty `out`, resolves `.` and `..`, and merges slashes if
/// asked to; tells whether there is a `+`. Decoded slashes and dots count as such, so that no
/// spelling of a path gets past the one that `location` names.
fn decode_path(path: &[u8], merge_slashes: bool, out: &mut Vec<u8>) -> Result<bool, Invalid> {
    let mut place = Place::Usual;
    let mut plus = false;
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        let mut byte = first;
        rest = tail;
        if first == b'%' {
            (byte, rest) = decode_escape(tail)?;
            if matches!(byte, b'%' | b'#' | b'?') {
                out.push(byte);
                place = Place::Usual;
                continue;
            }
        }
        plus |= byte == b'+';
        place = match (place, byte) {
            (Place::Usual, b'/') => {
                out.push(byte);
                Place::Slash
            }
            (Place::Slash, b'/') => {
                if !merge_slashes {
                    out.push(byte);
                }
                Place::Slash
            }
            (Place::Dot, b'/') => {
                out.pop();
                Place::Slash
            }
            (Place::DotDot, b'/') => {
                leave_segment(out)?;
                Place::Slash
            }
            (Place::Slash | Place::Dot, b'.') => {
                out.push(byte);
                if place == Place::Slash { Place::Dot } else { Place::DotDot }
            }
            _ => {
                out.push(byte);
                Place::Usual
            }
        };
    }
    match place {
        Place::Dot => {
            out.pop();
        }
        Place::DotDot => leave_segment(out)?,
        Place::Usual | Place::Slash => {}
    }
    Ok(plus)
}

/// The byte that two hexadecimal digits stand for, and what follows them; never NUL.
fn decode_escape(digits: &[u8]) -> Result<(u8, &[u8]), Invalid> {
    let [high, low, rest @ ..] = digits else {
        return Err(Invalid);
    };
    match (hex(*high), hex(*low)) {
        (Some(0), Some(0)) => Err(Invalid),
        (Some(high), Some(low)) => Ok((high << 4 | low, rest)),
        _ => Err(Invalid),
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Takes `/..` and the segment before it off the end, but not that segment's slash.
fn leave_segment(out: &mut Vec<u8>) -> Result<(), Invalid> {
    let before = out.len().checked_sub(3).and_then(|len| out.get(..len)).ok_or(Invalid)?;
    let slash = memchr::memrchr(b'/', before).ok_or(Invalid)?;
    out.truncate(slash + 1);
    Ok(())
}

/// Whether a `:path` or another target from outside HTTP/1 follows the syntax: begins with `/`,
/// and has no spaces and no control characters.
pub fn is_target(target: &[u8]) -> bool {
    target.first() == Some(&b'/') && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
}

/// Which characters are escaped. The sets are nginx's, its oddities included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// A path.
    Uri,
    /// A path that becomes an argument.
    Args,
    /// All but RFC 3986's unreserved characters.
    UriComponent,
    /// An address within HTML.
    Html,
    /// An address within a Refresh header or meta element.
    Refresh,
    /// A memcached key.
    Memcached,
}

impl Set {
    /// Whether `byte` is escaped.
    pub fn escapes(self, byte: u8) -> bool {
        let unsafe_everywhere = byte <= b' ' || byte >= 0x7f;
        match self {
            Self::Uri => unsafe_everywhere || b"\"#%<>?\\^`{|}".contains(&byte),
            Self::Args => unsafe_everywhere || b"\"#%&+;<>?\\^`{|}".contains(&byte),
            Self::UriComponent => !(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)),
            Self::Html => unsafe_everywhere || b"\"#%'<>\\^`{|}".contains(&byte),
            Self::Refresh => unsafe_everywhere || b"\"'<>\\^`{|~".contains(&byte),
            Self::Memcached => byte <= b' ' || byte == b'%',
        }
    }
}

/// `src` with the characters of `set` as `%XX`; not copied when there are none.
pub fn escape(src: &[u8], set: Set) -> Cow<'_, [u8]> {
    let count = src.iter().filter(|byte| set.escapes(**byte)).count();
    if count == 0 {
        return Cow::Borrowed(src);
    }
    let mut out = Vec::with_capacity(src.len() + 2 * count);
    escape_into(&mut out, src, set);
    Cow::Owned(out)
}

/// `escape` onto the end of `out`.
pub fn escape_into(out: &mut Vec<u8>, src: &[u8], set: Set) {
    for &byte in src {
        if set.escapes(byte) {
            let digit = |n: u8| if n < 10 { b'0' + n } else { b'A' + n - 10 };
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 0xf)]);
        } else {
            out.push(byte);
        }
    }
}

/// `src` with `<`, `>`, `&` and `"` as entities.
pub fn escape_html(src: &[u8]) -> Cow<'_, [u8]> {
    if !src.iter().any(|byte| b"<>&\"".contains(byte)) {
        return Cow::Borrowed(src);
    }
    let mut out = Vec::with_capacity(src.len() + 16);
    for &byte in src {
        match byte {
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            _ => out.push(byte),
        }
    }
    Cow::Owned(out)
}

/// How far `unescape` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unescape {
    /// Everything.
    All,
    /// A path: all up to and with the first `?`.
    Uri,
    /// A redirect: up to and with the first `?`, and only what may stand in a path as it is.
    Redirect,
}

/// Decodes `%XX`; a bad escape loses its `%` and first bad digits, as in nginx. Returns the decoded
/// bytes and how many of `src` were used.
pub fn unescape(src: &[u8], how: Unescape) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(src.len());
    let stops = how != Unescape::All;
    let mut rest = src;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            if stops && byte == b'?' {
                break;
            }
            continue;
        }
        let Some((&high, tail)) = rest.split_first() else {
            break;
        };
        rest = tail;
        let Some(first) = hex(high) else {
            out.push(high);
            continue;
        };
        let Some((&low, tail)) = rest.split_first() else {
            break;
        };
        rest = tail;
        let Some(decoded) = hex(low).map(|second| first << 4 | second) else {
            continue;
        };
        if stops && decoded == b'?' {
            out.push(decoded);
            break;
        }
        if how == Unescape::Redirect && !(decoded > b'%' && decoded < 0x7f) {
            out.extend_from_slice(&[b'%', high, low]);
        } else {
            out.push(decoded);
        }
    }
    (out, src.len() - rest.len())
}

/// Path and arguments of a target that an upstream named (`X-Accel-Redirect`), the path decoded.
/// `Err`, nginx's `unsafe URI "…" was detected`, when it is empty, has NUL, or could climb with
/// `..`.
pub fn safe_parts(target: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Invalid> {
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    let path = target.get(..end).unwrap_or_default();
    let args = target.get(end + 1..).unwrap_or_default();
    if path.is_empty() || is_unsafe(path) {
        return Err(Invalid);
    }
    if !path.contains(&b'%') {
        return Ok((Cow::Borrowed(path), args));
    }
    let (decoded, _) = unescape(path, Unescape::All);
    if is_unsafe(&decoded) { Err(Invalid) } else { Ok((Cow::Owned(decoded), args)) }
}

/// Whether a decoded path has NUL or a `..` segment.
pub fn is_unsafe(path: &[u8]) -> bool {
    path.contains(&0) || path.split(|byte| *byte == b'/').any(|segment| segment == b"..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(target: &str) -> Result<String, Invalid> {
        normalize(target.as_bytes(), true)
            .map(|uri| String::from_utf8_lossy(&uri.path).into_owned())
    }

    #[test]
    fn paths_are_normalised() {
        for (target, expected) in [
            ("/", "/"),
            ("/foo/bar/.?args", "/foo/bar/"),
            ("/foo/bar/.#frag", "/foo/bar/"),
            ("/foo/bar/..?args", "/foo/"),
            ("/foo/bar/..#frag", "/foo/"),
            ("/foo/bar/.", "/foo/bar/"),
            ("/foo/bar/..", "/foo/"),
            ("/foo/./bar/../baz", "/foo/baz"),
            ("/foo//bar///baz", "/foo/bar/baz"),
            ("/foo/..", "/"),
            ("/a/b/../../c", "/c"),
            ("/a//../b", "/b"),
            ("/a%2fb%2e%2e", "/a/b.."),
            ("/a/%2e%2E/b", "/b"),
            ("/a/%2e%2e%2fb", "/b"),
            ("/a%2f%2fb", "/a/b"),
            ("/%3fa%23b%25c?d", "/?a#b%c"),
            ("/..%3f/", "/..?/"),
            ("/.../a", "/.../a"),
            ("/..a/.b", "/..a/.b"),
            ("/%02", "/\x02"),
            ("?args", "/"),
            ("/a+b", "/a+b"),
        ] {
            assert_eq!(path(target).as_deref(), Ok(expected), "{target}");
        }
        let uri = normalize(b"/a//b/../c", false).unwrap();
        assert_eq!(uri.path, b"/a//c");
    }

    #[test]
    fn bad_paths_are_refused() {
        for target in [
            "",
            "a",
            "*",
            "#",
            "/%",
            "/%1",
            "/%g0",
            "/%0g",
            "/%00",
            "/a%0?b",
            "/..",
            "/../a",
            "/a/../../b",
            "/%2e%2e/",
        ] {
            assert_eq!(path(target), Err(Invalid), "{target}");
        }
    }

    #[test]
    fn arguments_and_extensions_are_found() {
        for (target, args, extension) in [
            ("/a.html", "", Some("html")),
            ("/a.tar.gz?x=/b.c", "x=/b.c", Some("gz")),
            ("/a.b/c", "", None),
            ("/.hidden", "", None),
            ("/.hidden.txt", "", Some("txt")),
            ("/a.", "", Some("")),
            ("/...x", "", None),
            ("/....x", "", Some("x")),
            ("/a%2ephp", "", Some("php")),
            ("/a.b/..", "", None),
            ("/a?b?c#d?e", "b?c", None),
            ("/a#b?c", "", None),
            ("?a#b", "a", None),
            ("/a?", "", None),
        ] {
            let uri = normalize(target.as_bytes(), true).unwrap();
            assert_eq!(&target[uri.args.clone()], args, "{target}");
            assert_eq!(uri.extension(), extension.map(str::as_bytes), "{target}");
        }
    }

    #[test]
    fn flags_tell_what_was_changed() {
        let flags = |target: &str| normalize(target.as_bytes(), true).unwrap().flags;
        assert!(flags("/a?b%20+//#").complex);
        assert_eq!(flags("/a?b%20+//"), Flags::default());
        assert!(flags("//").complex && flags("/.a").complex && flags("/a#").complex);
        assert!(flags("/%41").quoted && !flags("/%41").plus);
        assert!(flags("/%2b").plus && flags("/+").plus);
        assert!(flags("?").empty_path);
    }

    #[test]
    fn sets_are_those_of_nginx() {
        let kept = |set: Set| -> String {
            (0..=255_u8)
                .filter(|byte| !set.escapes(*byte) && !byte.is_ascii_alphanumeric())
                .map(char::from)
                .collect()
        };
        assert_eq!(kept(Set::Uri), "!$&'()*+,-./:;=@[]_~");
        assert_eq!(kept(Set::Args), "!$'()*,-./:=@[]_~");
        assert_eq!(kept(Set::UriComponent), "-._~");
        assert_eq!(kept(Set::Html), "!$&()*+,-./:;=?@[]_~");
        assert_eq!(kept(Set::Refresh), "!#$%&()*+,-./:;=?@[]_}");
        assert_eq!(escape(b"/a b\xff", Set::Uri).as_ref(), b"/a%20b%FF");
        assert!(matches!(escape(b"/ab", Set::Uri), Cow::Borrowed(_)));
        assert_eq!(escape_html(b"<a&\"b\">").as_ref(), b"&lt;a&amp;&quot;b&quot;&gt;");
    }

    #[test]
    fn unescaping_follows_nginx() {
        let un = |text: &str, how| {
            String::from_utf8_lossy(&unescape(text.as_bytes(), how).0).into_owned()
        };
        assert_eq!(un("a%20b%3Fc?d%41", Unescape::All), "a b?c?dA");
        assert_eq!(un("a%20b?d%41", Unescape::Uri), "a b?");
        assert_eq!(un("a%3fb", Unescape::Uri), "a?");
        assert_eq!(un("/%20%41%25%26%7f?x", Unescape::Redirect), "/%20A%25&%7f?");
        assert_eq!(un("%zz%4", Unescape::All), "zz");
        assert_eq!(un("a%4zb", Unescape::All), "ab");
        assert_eq!(unescape(b"a?b", Unescape::Uri).1, 2);
    }

    #[test]
    fn unsafe_targets_are_detected() {
        for target in [
            "",
            "?a",
            "..",
            "../a",
            "/../a",
            "/a/..",
            "/a/../b",
            "/%2e%2e/a",
            "/a%2f..%2fb",
            "/a%00",
            "/a\0",
        ] {
            assert_eq!(safe_parts(target.as_bytes()), Err(Invalid), "{target:?}");
        }
        for (target, path, args) in [
            ("/a/b", "/a/b", ""),
            ("/a%20b?c=%20", "/a b", "c=%20"),
            ("a/...", "a/...", ""),
            ("/..a?..", "/..a", ".."),
        ] {
            let (found, rest) = safe_parts(target.as_bytes()).unwrap();
            assert_eq!((found.as_ref(), rest), (path.as_bytes(), args.as_bytes()), "{target}");
        }
    }

    /// Targets full of what normalisation is about.
    fn targets() -> impl Strategy<Value = String> {
        "/([a./?#+]|%2e|%2F|%25|%3f|%41|//|\\.\\.|/\\.\\./){0,12}"
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn normalising_is_idempotent_and_stays_inside(target in targets(), merge: bool) {
            if let Ok(uri) = normalize(target.as_bytes(), merge) {
                prop_assert_eq!(uri.path.first(), Some(&b'/'));
                prop_assert!(!is_unsafe(&uri.path));
                prop_assert!(uri.path.split(|byte| *byte == b'/').all(|segment| segment != b"."));
                let again = normalize(&escape(&uri.path, Set::Uri), merge).unwrap();
                prop_assert_eq!(&again.path, &uri.path);
                prop_assert_eq!(again.extension(), uri.extension());
            }
        }

        #[test]
        fn any_bytes_are_survived(target in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = normalize(&target, true);
            let _ = safe_parts(&target);
            let escaped = escape(&target, Set::UriComponent);
            prop_assert_eq!(unescape(&escaped, Unescape::All).0, target);
        }
    }
}
