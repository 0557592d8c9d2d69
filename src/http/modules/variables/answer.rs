//! Owns the variables of the answer: its status, its size, and the fields that nginx keeps apart.

use super::{fields, if_any, print, put};
use crate::http::date;
use crate::http::h1::head::Version;
use crate::http::headers::Name;
use crate::http::request::Request;
use crate::http::vars::push;

pub(super) fn status(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    let status = match (req.error_status, req.reply.status) {
        (0, 0) if req.head.version == Version::Http09 => 9,
        (0, status) | (status, _) => status,
    };
    print(out, format_args!("{status:03}"))
}

pub(super) fn bytes_sent(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    print(out, format_args!("{}", req.bytes_sent()))
}

pub(super) fn body_bytes_sent(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    print(out, format_args!("{}", req.body_sent))
}

/// Known when the log is written: by then the answer has gone out or never will.
pub(super) fn completion(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    if req.reply.head_sent && !req.reply.truncated && !req.client.broken.get() {
        out.extend_from_slice(b"OK");
    }
    true
}

pub(super) fn content_type(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    if_any(out, req.reply.content_type.as_deref().unwrap_or_default())
}

pub(super) fn content_length(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    match req.reply.content_length {
        Some(length) => print(out, format_args!("{length}")),
        None => fields::sent_http(req, b"content_length", out),
    }
}

pub(super) fn location(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    match &req.reply.location {
        Some(location) => put(out, location),
        None => fields::sent_http(req, b"location", out),
    }
}

pub(super) fn last_modified(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    if req.reply.headers.contains(Name::LastModified) {
        return fields::sent_http(req, b"last_modified", out);
    }
    let time = req.reply.last_modified.map(date::format);
    push(time.as_deref().map(str::as_bytes), out)
}

pub(super) fn connection(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    put(
        out,
        match (req.reply.status, req.keepalive) {
            (101, _) => b"upgrade",
            (_, true) => b"keep-alive",
            (_, false) => b"close",
        },
    )
}

pub(super) fn keep_alive(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    match req.conf().connection.keepalive_header {
        Some(seconds) if req.keepalive && seconds > 0 => {
            print(out, format_args!("timeout={seconds}"))
        }
        _ => false,
    }
}

/// The coding is chosen when the head is sent; before that nothing is known of it.
pub(super) fn transfer_encoding(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    let reply = &req.reply;
    let chunked = reply.head_sent
        && reply.content_length.is_none()
        && !req.header_only()
        && reply.status >= 200
        && req.head.version >= Version::Http11
        && req.conf().connection.chunked;
    if chunked { put(out, b"chunked") } else { false }
}
