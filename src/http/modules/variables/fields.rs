//! Owns variables made of header fields, cookies and arguments: `$http_*`, `$sent_http_*`,
//! `$cookie_*`, `$arg_*`.
//!
//! Must not know what any field means.

use crate::http::headers::{Headers, Name};
use crate::http::request::Request;
use crate::http::vars::push;

pub(super) fn host(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    known(req, Name::Host, out)
}

pub(super) fn user_agent(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    known(req, Name::UserAgent, out)
}

pub(super) fn referer(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    known(req, Name::Referer, out)
}

pub(super) fn via(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    known(req, Name::Via, out)
}

pub(super) fn x_forwarded_for(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    known(req, Name::XForwardedFor, out)
}

pub(super) fn content_type(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    known(req, Name::ContentType, out)
}

/// Cookies sent in several fields are one list (RFC 9113, section 8.2.3).
pub(super) fn cookies(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    join(req.head.headers.get_all(Name::Cookie), b"; ", out)
}

pub(super) fn http(req: &Request, name: &[u8], out: &mut Vec<u8>) -> bool {
    any(&req.head.headers, name, out)
}

pub(super) fn sent_http(req: &Request, name: &[u8], out: &mut Vec<u8>) -> bool {
    any(&req.reply.headers, name, out)
}

pub(super) fn sent_trailer(req: &Request, name: &[u8], out: &mut Vec<u8>) -> bool {
    any(&req.reply.trailers, name, out)
}

pub(super) fn cookie(req: &Request, name: &[u8], out: &mut Vec<u8>) -> bool {
    let mut lines = req.head.headers.get_all(Name::Cookie);
    push(lines.find_map(|line| find_cookie(line, name)), out)
}

pub(super) fn arg(req: &Request, name: &[u8], out: &mut Vec<u8>) -> bool {
    push(find_argument(&req.args, name), out)
}

fn known(req: &Request, name: Name, out: &mut Vec<u8>) -> bool {
    join(req.head.headers.get_all(name), b", ", out)
}

/// Every field whose name is `name` in a variable's spelling.
fn any(headers: &Headers, name: &[u8], out: &mut Vec<u8>) -> bool {
    let fields = headers.iter().filter(|field| is_spelled(field.name, name));
    join(fields.map(|field| field.value), b", ", out)
}

/// Whether a field's name is `variable`, which is in lower case with `_` for `-`.
fn is_spelled(field: &[u8], variable: &[u8]) -> bool {
    let fold = |byte: &u8| if *byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
    field.len() == variable.len() && field.iter().map(fold).eq(variable.iter().copied())
}

fn join<'a>(values: impl Iterator<Item = &'a [u8]>, separator: &[u8], out: &mut Vec<u8>) -> bool {
    let mut found = false;
    for value in values {
        if found {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(value);
        found = true;
    }
    found
}

/// A cookie's value in one `Cookie` field. Names are compared without regard to case, as nginx does.
fn find_cookie<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
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
fn find_argument<'a>(args: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
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
    fn several_values_are_joined() {
        let mut headers = Headers::new();
        headers.push(b"X-Two-Words", b"a");
        headers.push(b"Other", b"no");
        headers.push(b"x_two-words", b"");
        headers.push(b"X-TWO-WORDS", b"b");
        let mut out = b">".to_vec();
        assert!(any(&headers, b"x_two_words", &mut out));
        assert_eq!(out, b">a, , b");
        assert!(!any(&headers, b"x_two", &mut out));
    }

    #[test]
    fn an_empty_value_is_a_value() {
        let mut out = Vec::new();
        assert!(join([&b""[..]].into_iter(), b", ", &mut out));
        assert!(!join(std::iter::empty(), b", ", &mut out));
        assert!(out.is_empty());
    }

    #[test]
    fn arguments_are_found_by_whole_names() {
        let args = b"xa=0&A=1&a=2&b&c=&d=x=y";
        let get = |name: &[u8]| find_argument(args, name);
        assert_eq!(get(b"a"), Some(&b"1"[..]));
        assert_eq!(get(b"xa"), Some(&b"0"[..]));
        assert_eq!(get(b"b"), None);
        assert_eq!(get(b"c"), Some(&b""[..]));
        assert_eq!(get(b"d"), Some(&b"x=y"[..]));
        assert_eq!(get(b""), None);
        assert_eq!(find_argument(b"", b"a"), None);
    }

    #[test]
    fn cookies_are_found_between_spaces() {
        let line = b"ab=0; a = 1 ;b=; A=2;  c  =3";
        let get = |name: &[u8]| find_cookie(line, name);
        assert_eq!(get(b"a"), Some(&b"1 "[..]));
        assert_eq!(get(b"b"), Some(&b""[..]));
        assert_eq!(get(b"c"), Some(&b"3"[..]));
        assert_eq!(get(b"d"), None);
        assert_eq!(find_cookie(b"a; a=1; a=2", b"a"), Some(&b"2"[..]));
        assert_eq!(find_cookie(b"ax; a=1", b"a"), Some(&b"1"[..]));
        assert_eq!(find_cookie(b"a", b"a"), None);
    }
}
