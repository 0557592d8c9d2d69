//! Owns the head of the request to the upstream: nginx's fields, the configuration's, the client's.
//!
//! Hop-by-hop fields of the client never pass, whether nginx knows them or `Connection` names them.

use super::conf::{Conf, HttpVersion};
use crate::conf::Word;
use crate::http::finish::Finish;
use crate::http::headers::{Field, Name};
use crate::http::request::Request;
use crate::http::template::Template;

/// The fields that the configuration sets.
#[derive(Debug, Default)]
pub struct Fields {
    /// `proxy_set_header Host`; `None` for the default.
    host: Option<Template>,
    set: Vec<(Vec<u8>, Template)>,
    /// Names in lower case that clients' fields may not have: those set, and those never passed on.
    taken: Vec<Vec<u8>>,
    /// The configuration sets Content-Length or Transfer-Encoding itself.
    own_length: bool,
    own_coding: bool,
}

/// Never taken over from a client.
const HOP_BY_HOP: [&str; 9] = [
    "host",
    "connection",
    "proxy-connection",
    "content-length",
    "transfer-encoding",
    "te",
    "keep-alive",
    "expect",
    "upgrade",
];

/// Compiles `proxy_set_header` lines.
pub fn field_set(lines: &[(Word, Word)], cx: &mut Finish) -> Fields {
    let mut fields = Fields {
        taken: HOP_BY_HOP.iter().map(|name| name.as_bytes().to_vec()).collect(),
        ..Fields::default()
    };
    for (name, value) in lines {
        let value = cx.template(value);
        let lower = name.text.to_ascii_lowercase();
        match &*lower {
            b"host" => {
                fields.host = Some(value);
                continue;
            }
            b"content-length" => fields.own_length = true,
            b"transfer-encoding" => fields.own_coding = true,
            _ => {}
        }
        fields.set.push((name.text.clone(), value));
        if !fields.taken.contains(&lower) {
            fields.taken.push(lower);
        }
    }
    fields
}

/// How the body of the request is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    Nothing,
    Length(u64),
    Chunked,
}

/// Appends the head: request line, Host, what is set, what the client sent.
pub fn write(
    req: &Request,
    conf: &Conf,
    target: &[u8],
    default_host: &[u8],
    announced: Announced,
    out: &mut Vec<u8>,
) {
    match &conf.method {
        Some(method) => method.append(req, out),
        None => out.extend_from_slice(method_name(req)),
    }
    out.push(b' ');
    push_target(target, out);
    out.extend_from_slice(match conf.http_version {
        // Of HTTP/2 in this form `origin::h2` makes what it is.
        HttpVersion::Http11 | HttpVersion::Http2 => b" HTTP/1.1\r\n",
        HttpVersion::Http10 => b" HTTP/1.0\r\n",
    });
    let set = conf.fields.host.as_ref().map(|host| host.value(req));
    let host = match &set {
        Some(host) if !host.is_empty() || conf.http_version == HttpVersion::Http10 => &**host,
        _ => default_host,
    };
    if !host.is_empty() {
        out.extend_from_slice(b"Host: ");
        let start = out.len();
        out.extend_from_slice(host);
        keep_to_line(&mut out[start..]);
        out.extend_from_slice(b"\r\n");
    }
    set_fields(req, conf, announced, out);
    if conf.pass_request_headers {
        client_fields(req, conf, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// The method as the client wrote it, or what an internal redirect made of it.
fn method_name(req: &Request) -> &[u8] {
    if req.method == req.head.method {
        req.head.method_name()
    } else {
        req.method.as_str().as_bytes()
    }
}

/// What `proxy_set_header` says; an empty value removes the field. Then the body's length.
fn set_fields(req: &Request, conf: &Conf, announced: Announced, out: &mut Vec<u8>) {
    for (name, value) in &conf.fields.set {
        let before = out.len();
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        let start = out.len();
        value.append(req, out);
        if out.len() == start {
            out.truncate(before);
        } else {
            keep_to_line(&mut out[start..]);
            out.extend_from_slice(b"\r\n");
        }
    }
    match announced {
        Announced::Length(n) if !conf.fields.own_length => {
            out.extend_from_slice(format!("Content-Length: {n}\r\n").as_bytes());
        }
        Announced::Chunked if !conf.fields.own_coding => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        _ => {}
    }
}

/// A decoded URI may hold line ends. In a field they become spaces (RFC 9110, section 5.5).
fn keep_to_line(value: &mut [u8]) {
    for byte in value.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        *byte = b' ';
    }
}

/// A target that a URL with variables gave may hold bytes that would end it: those are escaped.
fn push_target(target: &[u8], out: &mut Vec<u8>) {
    for part in target.split_inclusive(|byte| *byte <= b' ' || *byte == 0x7f) {
        match part.split_last() {
            Some((last, rest)) if *last <= b' ' || *last == 0x7f => {
                out.extend_from_slice(rest);
                out.extend_from_slice(format!("%{last:02X}").as_bytes());
            }
            _ => out.extend_from_slice(part),
        }
    }
}

/// The client's own fields, in its order and spelling.
fn client_fields(req: &Request, conf: &Conf, out: &mut Vec<u8>) {
    let headers = &req.head.headers;
    let named: Vec<&[u8]> = headers
        .get_all(Name::Connection)
        .flat_map(|value| value.split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| may_be_named(token))
        .collect();
    for field in headers.iter() {
        if !is_taken(conf, &field) && !named.iter().any(|n| n.eq_ignore_ascii_case(field.name)) {
            field.write_to(out);
        }
    }
}

fn is_taken(conf: &Conf, field: &Field<'_>) -> bool {
    let same =
        |name: &Vec<u8>| name.len() == field.name.len() && name.eq_ignore_ascii_case(field.name);
    conf.fields.taken.iter().any(same)
}

/// A client must not be able to take away, by naming them in `Connection`, fields that tell the
/// origin who is asking (CVE-2022-31813's class).
fn may_be_named(token: &[u8]) -> bool {
    let protected: [&[u8]; 7] = [
        b"cookie",
        b"authorization",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
    ];
    let plain: [&[u8]; 3] = [b"close", b"keep-alive", b""];
    !protected.iter().chain(&plain).any(|name| token.eq_ignore_ascii_case(name))
}
