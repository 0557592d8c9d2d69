//! Owns the directives of HTTP/2 towards clients.
//!
//! Must not speak it; `h2` does, by these values.

use super::inherit;
use crate::conf::{Args, Directive, Env, Error, Row, values};
use crate::http::draft::{HS, HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::h1::head::Version;
use crate::http::request::Request;
use crate::http::vars::Variable;

/// The largest window that a stream can have (RFC 9113, section 6.9.1).
const LARGEST_WINDOW: u64 = (1 << 31) - 1;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    on: Option<bool>,
    streams: Option<u64>,
    preread: Option<u64>,
    chunk: Option<u64>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// Whether HTTP/2 is spoken with clients that want it.
    pub on: bool,
    /// Streams of one connection at a time.
    pub streams: u32,
    /// Bytes of body a client may send ahead on each stream.
    pub window: u32,
    /// Bytes of one DATA frame at most.
    pub chunk: usize,
}

impl Draft {
    /// Whether the server itself asks for HTTP/2.
    pub fn is_on(&self) -> bool {
        self.on == Some(true)
    }

    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; on, streams, preread, chunk);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        // What fills a frame of the size every client takes. nginx's 8k makes twice the frames.
        let chunk = self.chunk.map_or(16 * 1024, |n| usize::try_from(n).unwrap_or(usize::MAX));
        Conf {
            on: self.is_on(),
            streams: u32::try_from(self.streams.unwrap_or(128)).unwrap_or(u32::MAX),
            window: u32::try_from(self.preread.unwrap_or(64 * 1024)).unwrap_or(0),
            chunk: chunk.max(1),
        }
    }
}

fn preread(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let slot = &mut scope.drafts.http2.preread;
    values::size(slot, dir)?;
    if slot.is_some_and(|size| size > LARGEST_WINDOW) {
        return Err(dir.error("the maximum body preread buffer size is 2147483647"));
    }
    Ok(())
}

/// `$http2`: `h2` over TLS, `h2c` without; not found for other protocols.
fn negotiated(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    if req.head.version != Version::Http2 {
        return false;
    }
    out.extend_from_slice(if req.client.is_secure() { b"h2" } else { b"h2c" });
    true
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "http2",
        HS,
        Args::Flag,
        "Whether HTTP/2 is spoken with clients that want it, which on a listener without TLS say so with \
         their first bytes (default off).",
        |s, dir, _| values::flag(&mut s.drafts.http2.on, dir),
    ),
    row(
        "http2_max_concurrent_streams",
        HS,
        Args::Exactly(1),
        "How many requests an HTTP/2 connection may carry at a time (default 128).",
        |s, dir, _| values::number(&mut s.drafts.http2.streams, dir),
    ),
    row(
        "http2_body_preread_size",
        HS,
        Args::Exactly(1),
        "How much of a body a client may send on an HTTP/2 stream before it is read (default 64k).",
        preread,
    ),
    row(
        "http2_chunk_size",
        HSL,
        Args::Exactly(1),
        "The largest piece of an answer's body in one HTTP/2 frame (default 16k).",
        |s, dir, _| values::size(&mut s.drafts.http2.chunk, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[Variable {
    name: "http2",
    doc: "`h2` for HTTP/2 over TLS, `h2c` for HTTP/2 without.",
    get: negotiated,
}];
