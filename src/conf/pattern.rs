//! Regular expressions as nginx has them: PCRE over bytes, groups by number and by name.
//! Must not know what a pattern is matched against.
//!
//! PCRE decides what is a valid pattern, so that exactly what nginx accepts is accepted. Matching is done
//! by `regex`, whose time is linear in the subject, whenever both are sure to mean the same.

use pcre2::bytes as pcre;
use regex::bytes as quick;

/// A compiled regular expression.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    pcre: pcre::Regex,
    quick: Option<quick::Regex>,
}

impl Pattern {
    /// Compiles `text`. The error is nginx's sentence: `pcre2_compile() failed: … in "…" at "…"`.
    pub fn new(text: &str, caseless: bool) -> Result<Self, String> {
        let quick = is_plain(text)
            .then(|| {
                quick::RegexBuilder::new(text)
                    .unicode(false)
                    .case_insensitive(caseless)
                    .build()
                    .ok()
            })
            .flatten();
        let pcre = pcre::RegexBuilder::new()
            .caseless(caseless)
            .jit_if_available(quick.is_none())
            .build(text)
            .map_err(|error| sentence(text, &error))?;
        Ok(Self { text: text.to_owned(), pcre, quick })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether any part of `subject` matches. A match PCRE gives up on, its limits reached, is none.
    pub fn is_match(&self, subject: &[u8]) -> bool {
        match self.quick_for(subject) {
            Some(quick) => quick.is_match(subject),
            None => self.pcre.is_match(subject).unwrap_or(false),
        }
    }

    /// Matches and fills `groups` with the byte ranges of the whole match and of each group.
    pub fn captures(&self, subject: &[u8], groups: &mut Vec<Option<(usize, usize)>>) -> bool {
        groups.clear();
        let count = self.group_count();
        if let Some(quick) = self.quick_for(subject) {
            if count == 0 {
                groups.extend(quick.find(subject).map(|found| Some((found.start(), found.end()))));
                return !groups.is_empty();
            }
            let mut places = quick.capture_locations();
            let matched = quick.captures_read(&mut places, subject).is_some();
            groups.extend((0..=count).map(|group| places.get(group)).filter(|_| matched));
            return matched;
        }
        let mut places = self.pcre.capture_locations();
        let matched = matches!(self.pcre.captures_read(&mut places, subject), Ok(Some(_)));
        groups.extend((0..=count).map(|group| places.get(group)).filter(|_| matched));
        matched
    }

    /// The named groups with their numbers, from 1.
    pub fn names(&self) -> impl Iterator<Item = (usize, &str)> {
        let names = self.pcre.capture_names().iter().enumerate();
        names.filter_map(|(number, name)| Some((number, name.as_deref()?)))
    }

    /// How many groups there are, the whole match not counted.
    pub fn group_count(&self) -> usize {
        self.pcre.captures_len().saturating_sub(1)
    }

    /// The quick engine, if it may judge this subject: to PCRE alone, `$` is also before a last newline.
    fn quick_for(&self, subject: &[u8]) -> Option<&quick::Regex> {
        self.quick.as_ref().filter(|_| !(subject.ends_with(b"\n") && self.text.contains('$')))
    }
}

fn sentence(text: &str, error: &pcre2::Error) -> String {
    let shown = error.to_string();
    let why = match shown.split_once("at offset ") {
        Some((_, rest)) => rest.split_once(": ").map_or(rest, |(_, why)| why),
        None => &shown,
    };
    match error.offset().and_then(|at| text.get(at..)).filter(|rest| !rest.is_empty()) {
        Some(rest) => format!("pcre2_compile() failed: {why} in \"{text}\" at \"{rest}\""),
        None => format!("pcre2_compile() failed: {why} in \"{text}\""),
    }
}

/// Whether a pattern keeps to the syntax that `regex` and PCRE understand alike. Not so, for example:
/// possessive `a++` (a repetition of a repetition to `regex`), `[a&&b]`, `\v`, `\<`, anything not ASCII.
fn is_plain(text: &str) -> bool {
    let mut rest = text.as_bytes();
    // What stands before is a quantifier, to which only a single `?` may be added.
    let (mut quantified, mut lazy) = (false, false);
    while let Some((&c, after)) = rest.split_first() {
        let was_quantified = std::mem::take(&mut quantified);
        let was_lazy = std::mem::take(&mut lazy);
        let length = match c {
            b'?' if was_quantified && !was_lazy => {
                (quantified, lazy) = (true, true);
                Some(1)
            }
            b'*' | b'+' | b'?' | b'{' if was_quantified => None,
            b'*' | b'+' | b'?' => {
                quantified = true;
                Some(1)
            }
            b'{' => {
                quantified = true;
                repetition(after)
            }
            b'\\' => escape(after, false),
            b'[' => class(after),
            b'(' => group(after),
            c => c.is_ascii().then_some(1),
        };
        let Some(length) = length else { return false };
        rest = rest.get(length..).unwrap_or_default();
    }
    true
}

/// The length of `{n}`, `{n,}` or `{n,m}`; anything else is literal to PCRE only.
fn repetition(after: &[u8]) -> Option<usize> {
    let close = after.iter().position(|&c| c == b'}')?;
    let inside = after.get(..close)?;
    let mut parts = inside.splitn(2, |&c| c == b',');
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    let least = parts.next().filter(|part| !part.is_empty() && digits(part));
    (least.is_some() && parts.next().is_none_or(digits)).then_some(close + 2)
}

/// The length of an escape that means the same to both.
fn escape(after: &[u8], in_class: bool) -> Option<usize> {
    let plain = match after.first()? {
        b'd' | b'D' | b'w' | b'W' | b's' | b'S' | b'n' | b'r' | b't' | b'f' => true,
        b'b' | b'B' => !in_class && after.get(1) != Some(&b'{'),
        b'A' | b'z' => !in_class,
        b'<' | b'>' => false,
        c => c.is_ascii_punctuation(),
    };
    plain.then_some(2)
}

/// The length of a class without anything in it that only one of them treats specially.
fn class(after: &[u8]) -> Option<usize> {
    let mut at = usize::from(after.first() == Some(&b'^'));
    // A bracket that closes nothing yet is literal.
    at += usize::from(after.get(at) == Some(&b']'));
    loop {
        let rest = after.get(at..)?;
        at += match rest.first()? {
            b']' => return Some(at + 2),
            b'\\' => escape(rest.get(1..)?, true)?,
            b'[' => return None,
            c @ (b'&' | b'-' | b'~') if rest.get(1) == Some(c) => return None,
            c if !c.is_ascii() => return None,
            _ => 1,
        };
    }
}

/// The length of the opening of a group: `(`, `(?:`, `(?i)`, `(?<` and `(?P<` with a name to follow.
fn group(after: &[u8]) -> Option<usize> {
    const OPENINGS: [&[u8]; 3] = [b"?:", b"?i)", b"?P<"];
    match after {
        [b'?', b'<', c, ..] if c.is_ascii_alphabetic() || *c == b'_' => Some(3),
        [b'?', ..] => OPENINGS
            .iter()
            .find(|opening| after.starts_with(opening))
            .map(|opening| opening.len() + 1),
        [b'*', ..] => None,
        _ => Some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Groups = Vec<Option<(usize, usize)>>;

    fn captures(pattern: &Pattern, subject: &[u8]) -> Option<Groups> {
        let mut groups = Vec::new();
        pattern.captures(subject, &mut groups).then_some(groups)
    }

    #[test]
    fn ordinary_patterns_are_quick_and_bytes() {
        for text in [
            r"\.php$",
            r"^/images/(.*)\.(gif|jpe?g)$",
            r"^~?[^/]+$",
            r"(?<name>\d{1,3})",
            r"a{2,}?b",
        ] {
            assert!(Pattern::new(text, false).unwrap().quick.is_some(), "{text}");
        }
        assert!(Pattern::new("^a.b$", false).unwrap().is_match(b"a\xffb"));
        assert!(Pattern::new("^A[^c]B$", true).unwrap().is_match(b"a\xe9b"));
    }

    #[test]
    fn what_regex_lacks_or_means_otherwise_is_left_to_pcre() {
        for (text, yes, no) in [
            (r"^(a+)x\1$", "aaxaa", "aaxa"),
            (r"^(?!/admin)/", "/user", "/admin"),
            (r"^a++b$", "aab", "aaa"),
            (r"^(?>a+)b", "aab", "b"),
            (r"^[a&&b]$", "&", "c"),
            (r"^\v$", "\r", "x"),
            (r"^\<$", "<", "x"),
            (r"^a{,x}$", "a{,x}", "a"),
        ] {
            let pattern = Pattern::new(text, false).unwrap();
            assert!(pattern.quick.is_none(), "{text}");
            assert!(pattern.is_match(yes.as_bytes()), "{text}");
            assert!(!pattern.is_match(no.as_bytes()), "{text}");
        }
    }

    #[test]
    fn dollar_is_also_before_a_last_newline() {
        let pattern = Pattern::new(r"\.(php)$", false).unwrap();
        assert_eq!(captures(&pattern, b"/a.php\n"), Some(vec![Some((2, 6)), Some((3, 6))]));
        assert!(!pattern.is_match(b"/a.php\n\n"));
    }

    #[test]
    fn groups_have_names_in_three_spellings() {
        let pattern = Pattern::new(r"(?<a>x)(y)?(?P<b>z)(?'c'w)", false).unwrap();
        assert_eq!(pattern.names().collect::<Vec<_>>(), [(1, "a"), (3, "b"), (4, "c")]);
        assert_eq!(pattern.group_count(), 4);
        let expected = vec![Some((0, 3)), Some((0, 1)), None, Some((1, 2)), Some((2, 3))];
        assert_eq!(captures(&pattern, b"xzw"), Some(expected));
        assert_eq!(captures(&pattern, b"nothing"), None);
    }

    #[test]
    fn a_bad_pattern_gets_nginxs_sentence() {
        let error = Pattern::new("a(b", false).unwrap_err();
        assert_eq!(error, "pcre2_compile() failed: missing closing parenthesis in \"a(b\"");
        let error = Pattern::new("a**b", false).unwrap_err();
        assert!(
            error.starts_with("pcre2_compile() failed: quantifier") && error.contains(" at \""),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn both_engines_agree_on_plain_patterns(
            text in "([ab.x^$]|\\(|\\)|\\||\\[|\\]|[*+?]|-|&|\\{1,2\\}|\\\\[wdsb.]|\\(\\?:|\\[\\^a\\]|\\[a-b\\]){0,9}",
            subject in "[ab1 \\-\n]{0,8}",
            caseless: bool,
        ) {
            let Ok(pattern) = Pattern::new(&text, caseless) else { return Ok(()) };
            let slow = Pattern { quick: None, ..pattern.clone() };
            prop_assert_eq!(captures(&pattern, subject.as_bytes()), captures(&slow, subject.as_bytes()), "{}", text);
            prop_assert_eq!(pattern.is_match(subject.as_bytes()), slow.is_match(subject.as_bytes()));
        }

        #[test]
        fn never_panics(text in "\\PC*", subject: Vec<u8>) {
            if let Ok(pattern) = Pattern::new(&text, false) {
                captures(&pattern, &subject);
            }
        }
    }
}
