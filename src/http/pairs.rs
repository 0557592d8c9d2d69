//! Owns the finding of one `name=value` among several: cookies, arguments.
//!
//! Must not decode what it finds.

/// A cookie's value in one `Cookie` field. Names are compared without regard to case, as nginx does.
pub fn cookie<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs = line.split(|b| *b == b';');
    while let Some(pair) = pairs.next() {
        let Some(rest) = strip_name(skip_spaces(pair), name).map(skip_spaces) else { continue };
        if let Some(value) = rest.strip_prefix(b"=") {
            return Some(skip_spaces(value));
        }
        // A name alone takes the pair after it along: nginx looks for the next semicolon only
        // behind the one that it has met instead of `=`.
        if rest.is_empty() {
            pairs.next();
        }
    }
    None
}

/// An argument's value, undecoded. Names are compared without regard to case.
pub fn argument<'a>(args: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if name.is_empty() {
        return None;
    }
    args.split(|b| *b == b'&').find_map(|pair| strip_name(pair, name)?.strip_prefix(b"="))
}

fn strip_name<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (front, rest) = text.split_at_checked(name.len())?;
    front.eq_ignore_ascii_case(name).then_some(rest)
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|b| **b == b' ').count();
    text.get(spaces..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_by_whole_names() {
        let args = b"xa=0&A=1&a=2&b&c=&d=x=y";
        let get = |name: &[u8]| argument(args, name);
        assert_eq!(get(b"a"), Some(&b"1"[..]));
        assert_eq!(get(b"xa"), Some(&b"0"[..]));
        assert_eq!(get(b"b"), None);
        assert_eq!(get(b"c"), Some(&b""[..]));
        assert_eq!(get(b"d"), Some(&b"x=y"[..]));
        assert_eq!(get(b""), None);
        assert_eq!(argument(b"", b"a"), None);
    }

    #[test]
    fn cookies_are_found_between_spaces() {
        let line = b"ab=0; a = 1 ;b=; A=2;  c  =3";
        let get = |name: &[u8]| cookie(line, name);
        assert_eq!(get(b"a"), Some(&b"1 "[..]));
        assert_eq!(get(b"b"), Some(&b""[..]));
        assert_eq!(get(b"c"), Some(&b"3"[..]));
        assert_eq!(get(b"d"), None);
        assert_eq!(cookie(b"a; a=1; a=2", b"a"), Some(&b"2"[..]));
        assert_eq!(cookie(b"ax; a=1", b"a"), Some(&b"1"[..]));
        assert_eq!(cookie(b"a", b"a"), None);
    }
}
