//! Owns `$proxy_*` and `$upstream_*`.

use crate::http::body::Body;
use crate::http::headers::{Headers, Name};
use crate::http::origin::Origin;
use crate::http::request::{Request, Try};
use crate::http::vars::{Variable, push};
use std::io::Write;
use std::time::Duration;

pub static VARIABLES: &[Variable] = &[
    Variable {
        name: "proxy_host",
        doc: "Name and port of the proxied server as given in `proxy_pass`.",
        get: |req, _, out| push(origin(req, |o| &o.host), out),
    },
    Variable {
        name: "proxy_port",
        doc: "Port of the proxied server as given in `proxy_pass`, or the scheme's.",
        get: |req, _, out| push(origin(req, |o| &o.port), out),
    },
    Variable {
        name: "proxy_add_x_forwarded_for",
        doc: "The client's X-Forwarded-For with its address appended.",
        get: |req, _, out| {
            for value in req.head.headers.get_all(Name::XForwardedFor) {
                out.extend_from_slice(value);
                out.extend_from_slice(b", ");
            }
            write!(out, "{}", req.peer()).is_ok()
        },
    },
    Variable {
        name: "upstream_addr",
        doc: "Addresses of the servers asked, in order.",
        get: |req, _, out| list(req, out, |try_, out| push(Some(try_.peer.as_bytes()), out)),
    },
    Variable {
        name: "upstream_status",
        doc: "Statuses of their answers.",
        get: |req, _, out| {
            list(req, out, |try_, out| match try_.status {
                0 => false,
                status => write!(out, "{status:03}").is_ok(),
            })
        },
    },
    Variable {
        name: "upstream_connect_time",
        doc: "Seconds spent to connect.",
        get: |req, _, out| list(req, out, |try_, out| time(try_.connect, out)),
    },
    Variable {
        name: "upstream_header_time",
        doc: "Seconds until the head of the answer had come.",
        get: |req, _, out| list(req, out, |try_, out| time(try_.header, out)),
    },
    Variable {
        name: "upstream_response_time",
        doc: "Seconds until the answer was complete.",
        get: |req, _, out| list(req, out, |try_, out| time(try_.response, out)),
    },
    Variable {
        name: "upstream_response_length",
        doc: "Bytes of body received.",
        get: |req, _, out| list(req, out, |try_, out| write!(out, "{}", try_.length).is_ok()),
    },
    Variable {
        name: "upstream_bytes_sent",
        doc: "Bytes sent to the servers.",
        get: |req, _, out| list(req, out, |try_, out| write!(out, "{}", try_.sent).is_ok()),
    },
    Variable {
        name: "upstream_bytes_received",
        doc: "Bytes received from the servers.",
        get: |req, _, out| list(req, out, |try_, out| write!(out, "{}", try_.received).is_ok()),
    },
    Variable {
        name: "upstream_http_",
        doc: "A field of the last answer: `$upstream_http_server`.",
        get: |req, suffix, out| fields(req, suffix, out),
    },
    Variable {
        name: "upstream_trailer_",
        doc: "A field behind the body of the last answer.",
        get: |req, suffix, out| {
            let Body::Upstream(answer) = req.reply.body.source() else { return false };
            answer.trailers().is_some_and(|trailers| joined(trailers, suffix, out))
        },
    },
    Variable {
        name: "upstream_cookie_",
        doc: "A cookie that the last answer sets.",
        get: |req, suffix, out| cookie(req, suffix, out),
    },
];

fn origin(req: &Request, part: impl Fn(&Origin) -> &Vec<u8>) -> Option<&[u8]> {
    req.origin.as_deref().map(part).map(Vec::as_slice).filter(|value| !value.is_empty())
}

/// Joins what each try has to say: `, ` between servers, ` : ` across internal redirects.
fn list(
    req: &Request,
    out: &mut Vec<u8>,
    mut item: impl FnMut(&Try, &mut Vec<u8>) -> bool,
) -> bool {
    for (at, try_) in req.tries.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(if try_.new_list { b" : " } else { b", " });
        }
        if !item(try_, out) {
            out.push(b'-');
        }
    }
    !req.tries.is_empty()
}

fn time(spent: Option<Duration>, out: &mut Vec<u8>) -> bool {
    let Some(spent) = spent else { return false };
    write!(out, "{}.{:03}", spent.as_secs(), spent.subsec_millis()).is_ok()
}

/// All values of a field, whose name has `_` for `-` in a variable.
fn fields(req: &Request, suffix: &[u8], out: &mut Vec<u8>) -> bool {
    joined(&req.upstream_headers, suffix, out)
}

fn joined(headers: &Headers, suffix: &[u8], out: &mut Vec<u8>) -> bool {
    let mut found = false;
    for field in headers.iter() {
        if is_named(field.name, suffix) {
            if found {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(field.value);
            found = true;
        }
    }
    found
}

fn is_named(name: &[u8], suffix: &[u8]) -> bool {
    let fold = |b: &u8| if *b == b'-' { b'_' } else { b.to_ascii_lowercase() };
    name.len() == suffix.len() && name.iter().map(fold).eq(suffix.iter().copied())
}

/// Bytes from the first that is no space on.
fn without_spaces<'a>(bytes: impl ExactSizeIterator<Item = &'a u8>) -> usize {
    let all = bytes.len();
    all - bytes.take_while(|byte| **byte == b' ').count()
}

fn cookie(req: &Request, name: &[u8], out: &mut Vec<u8>) -> bool {
    for value in req.upstream_headers.get_all(Name::SetCookie) {
        let pair = value.split(|b| *b == b';').next().unwrap_or_default();
        if let Some(at) = memchr::memchr(b'=', pair)
            && without_spaces(pair[..at].iter().rev()) == name.len()
            && pair[..name.len()].eq_ignore_ascii_case(name)
        {
            let skipped = pair.len() - without_spaces(pair[at + 1..].iter());
            return push(Some(&pair[skipped..]), out);
        }
    }
    false
}
