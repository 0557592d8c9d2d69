//! Owns the coding of contents: gzip, brotli and zstd towards clients that accept them, whether made
//! here or found beside a file, and gzip undone for those that do not.
//!
//! Must not touch an answer that is encoded already, but for `gunzip`.

mod accept;
mod brotli;
mod gunzip;
mod gzip;
mod packing;
mod permit;
mod precompressed;
mod rows;
mod zstd;

use super::inherit;
use crate::http::filter::Coded;
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::media_types::MediaTypes;
use crate::http::reply::Reply;
use crate::http::request::Request;
use packing::Packing;
use permit::Permit;
use precompressed::Files;

pub use gunzip::run as gunzip;
pub use precompressed::run as precompressed;
pub use rows::{ROWS, VARIABLES};

/// The codings that are made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

/// In the order in which a client that accepts several is served.
const CODINGS: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    gzip: Written,
    brotli: Written,
    zstd: Written,
    permit: permit::Written,
    gunzip: Option<bool>,
    vary: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    gzip: Compression,
    brotli: Compression,
    zstd: Compression,
    permit: Permit,
    gunzip: bool,
    /// `Vary` goes with answers whose form depends on what the client accepts.
    pub vary: bool,
}

/// The directives of one coding, as written.
#[derive(Debug, Default, Clone)]
struct Written {
    on: Option<bool>,
    files: Option<Files>,
    types: Option<MediaTypes>,
    level: Option<u8>,
    min_length: Option<u64>,
}

/// Which answers are compressed, and how well.
#[derive(Debug)]
struct Compression {
    on: bool,
    files: Files,
    level: u8,
    min_length: u64,
    types: MediaTypes,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; gunzip, vary);
        self.gzip.inherit(&outer.gzip);
        self.brotli.inherit(&outer.brotli);
        self.zstd.inherit(&outer.zstd);
        self.permit.inherit(&outer.permit);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        Conf {
            gzip: self.gzip.finish(1),
            brotli: self.brotli.finish(6),
            zstd: self.zstd.finish(1),
            permit: self.permit.finish(cx),
            gunzip: self.gunzip.unwrap_or(false),
            vary: self.vary.unwrap_or(false),
        }
    }
}

impl Conf {
    fn of(&self, coding: Coding) -> &Compression {
        match coding {
            Coding::Zstd => &self.zstd,
            Coding::Brotli => &self.brotli,
            Coding::Gzip => &self.gzip,
        }
    }
}

impl Coding {
    /// As in `Content-Encoding`.
    fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// At the end of the names of files that were compressed beforehand.
    fn ending(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    /// Whether the client may be sent it.
    fn is_taken(self, req: &Request) -> bool {
        let accepted = req.head.headers.get(Name::AcceptEncoding);
        match self {
            Self::Gzip => permit::takes_gzip(req, &req.conf().compress),
            _ => req.is_main() && accepted.is_some_and(|value| accept::accepts(value, self.name())),
        }
    }

    /// A compressor for a body of a length that may be known.
    fn packing(self, level: u8, length: Option<u64>) -> Packing {
        match self {
            Self::Zstd => zstd::packing(level, length),
            Self::Brotli => brotli::packing(level, length),
            Self::Gzip => gzip::packing(level, length),
        }
    }
}

impl Written {
    fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; on, files, types, level, min_length);
    }

    fn finish(&self, level: u8) -> Compression {
        Compression {
            on: self.on.unwrap_or(false),
            files: self.files.unwrap_or_default(),
            level: self.level.unwrap_or(level),
            min_length: self.min_length.unwrap_or(20),
            types: self.types.clone().unwrap_or_else(MediaTypes::html),
        }
    }
}

impl Compression {
    /// Whether an answer is to be compressed for a client that can read it.
    fn wants(&self, reply: &Reply) -> bool {
        self.on
            && matches!(reply.status, 200 | 403 | 404)
            && !reply.bare
            && !reply.is_encoded()
            && reply.content_length.is_none_or(|length| length >= self.min_length)
            && self.types.match_reply(reply)
    }
}

/// Header filter: compresses the answer if it is of the kind and the client accepts it.
pub fn run(req: &mut Request) {
    for coding in CODINGS {
        let conf = req.conf().compress.of(coding);
        if !conf.wants(&req.reply) {
            continue;
        }
        let (level, taken) = (conf.level, coding.is_taken(req));
        req.reply.varies = true;
        if taken {
            return encode(&mut req.reply, coding, level);
        }
    }
}

/// Has the body encoded, and says so.
fn encode(reply: &mut Reply, coding: Coding, level: u8) {
    let packing = coding.packing(level, reply.content_length);
    reply.headers.push_known(Name::ContentEncoding, coding.name().as_bytes());
    reply.clear_length();
    reply.clear_ranges();
    reply.weaken_etag();
    reply.body.filter(Box::new(Coded::new(packing, reply.unbuffered)));
}
