//! Owns the variables of the request itself: its line, target, host, body, files and times.

use super::{if_any, print, put, seconds};
use crate::http::credentials;
use crate::http::headers::Name;
use crate::http::request::Request;
use crate::http::vars::push;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(super) fn line(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    if_any(out, &req.head.line)
}

/// The name as sent, unless `error_page` has made it another method; in a subrequest the main
/// request's.
pub(super) fn method(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    let method = req.sub.as_ref().map_or(req.method, |sub| sub.main_method);
    if method == req.head.method {
        if_any(out, req.head.method_name())
    } else {
        put(out, method.as_str().as_bytes())
    }
}

pub(super) fn target(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    if_any(out, req.head.target())
}

pub(super) fn uri(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    // A target that came to nothing is empty, one that was never read is not found.
    put(out, &req.uri) && !(req.uri.is_empty() && req.head.target().is_empty())
}

pub(super) fn args(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    if_any(out, &req.args)
}

pub(super) fn is_args(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    put(out, if req.args.is_empty() { b"" } else { b"?" })
}

pub(super) fn protocol(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    if_any(out, req.head.protocol())
}

pub(super) fn scheme(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    put(out, if req.client.is_secure() { b"https" } else { b"http" })
}

pub(super) fn https(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    put(out, if req.client.is_secure() { b"on" } else { b"" })
}

pub(super) fn host(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    put(out, req.host())
}

pub(super) fn port(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    if let Some(port) = requested_port(req) {
        print(out, format_args!("{port}"));
    }
    true
}

pub(super) fn is_port(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    put(out, if requested_port(req).is_some() { b":" } else { b"" })
}

fn requested_port(req: &Request) -> Option<u16> {
    let digits = std::str::from_utf8(&req.head.port).ok()?;
    digits.parse().ok().filter(|port| *port > 0)
}

pub(super) fn server_name(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    put(out, &req.server().name)
}

pub(super) fn remote_user(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    push(credentials::of(req).as_ref().map(|given| &given.user[..]), out)
}

pub(super) fn content_length(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    if let Some(value) = req.head.headers.get(Name::ContentLength) {
        return put(out, value);
    }
    // The length of a chunked body is known once all of it is here.
    let known = req.body.chunked && req.body.is_read();
    known && print(out, format_args!("{}", req.body.received))
}

pub(super) fn body(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    let kept = req.body.kept.as_ref().and_then(|kept| kept.memory());
    if_any(out, kept.unwrap_or_default())
}

pub(super) fn body_file(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    let path = req.body.kept.as_ref().and_then(|kept| kept.path());
    push(path.map(|path| path.as_os_str().as_bytes()), out)
}

pub(super) fn length(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    print(out, format_args!("{}", req.received + req.body.raw))
}

pub(super) fn time(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    seconds(out, req.started.elapsed())
}

pub(super) fn id(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    put(out, made_id(req))
}

/// The request's name, made now if it has none yet.
pub fn made_id(req: &Request) -> &[u8; 32] {
    req.id.get_or_init(new_id)
}

/// 128 bits that nobody can guess: a counter through a keyed hash, the key from the system's
/// random numbers.
fn new_id() -> [u8; 32] {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut id = [b'0'; 32];
    let count = COUNTER.fetch_add(2, Relaxed);
    let halves = (KEY.hash_one(count), KEY.hash_one(count + 1));
    // 32 digits fill the array exactly.
    let _ = write!(&mut id[..], "{:016x}{:016x}", halves.0, halves.1);
    id
}

/// Nothing limits the rate yet.
pub(super) fn pipe(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    put(out, if req.client.pipelined.get() { b"p" } else { b"." })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal_and_differ() {
        let (one, two) = (new_id(), new_id());
        assert_ne!(one, two);
        let lower_hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        assert!(one.iter().all(lower_hex));
    }
}
