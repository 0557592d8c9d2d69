//! Owns variables made of header fields, cookies and arguments: `$http_*`, `$sent_http_*`,
//! `$cookie_*`, `$arg_*`.
//!
//! Must not know what any field means.

use crate::http::headers::{Headers, Name};
use crate::http::pairs;
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
    push(lines.find_map(|line| pairs::cookie(line, name)), out)
}

pub(super) fn arg(req: &Request, name: &[u8], out: &mut Vec<u8>) -> bool {
    push(pairs::argument(&req.args, name), out)
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
}
