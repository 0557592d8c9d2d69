//! Owns the coding of contents: gzip, brotli and zstd towards clients that accept them, whether made
//! here or found beside a file, and gzip undone for those that do not.
//!
//! Must not touch an answer that is encoded already, but for `gunzip`.

mod accept;
mod gunzip;
mod gzip;
mod permit;
mod precompressed;
mod rows;

use super::inherit;
use crate::http::filter::{Coded, Filter};
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::media_types::MediaTypes;
use crate::http::reply::Reply;
use crate::http::request::Request;
use permit::Permit;
use precompressed::Files;

pub use gunzip::run as gunzip;
pub use precompressed::run as precompressed;
pub use rows::{ROWS, VARIABLES};

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    gzip: Written,
    permit: permit::Written,
    gzip_static: Option<Files>,
    gunzip: Option<bool>,
    vary: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    gzip: Compression,
    permit: Permit,
    gzip_static: Files,
    gunzip: bool,
    /// `Vary` goes with answers whose form depends on what the client accepts.
    pub vary: bool,
}

/// The directives of one coding, as written.
#[derive(Debug, Default, Clone)]
struct Written {
    on: Option<bool>,
    types: Option<MediaTypes>,
    level: Option<u8>,
    min_length: Option<u64>,
}

/// Which answers are compressed, and how well.
#[derive(Debug)]
struct Compression {
    on: bool,
    level: u8,
    min_length: u64,
    types: MediaTypes,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; gzip_static, gunzip, vary);
        self.gzip.inherit(&outer.gzip);
        self.permit.inherit(&outer.permit);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        Conf {
            gzip: self.gzip.finish(1),
            permit: self.permit.finish(cx),
            gzip_static: self.gzip_static.unwrap_or_default(),
            gunzip: self.gunzip.unwrap_or(false),
            vary: self.vary.unwrap_or(false),
        }
    }
}

impl Written {
    fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; on, types, level, min_length);
    }

    fn finish(&self, level: u8) -> Compression {
        Compression {
            on: self.on.unwrap_or(false),
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
    let conf = &req.conf().compress;
    if !conf.gzip.wants(&req.reply) {
        return;
    }
    let (level, takes) = (conf.gzip.level, permit::takes_gzip(req, conf));
    let reply = &mut req.reply;
    reply.varies = true;
    if takes {
        let coder = gzip::Gzip::new(level, reply.content_length);
        let filter = Box::new(Coded::new(coder, reply.unbuffered));
        encode(reply, "gzip", filter);
    }
}

/// Has the body encoded, and says so.
fn encode(reply: &mut Reply, coding: &str, filter: Box<dyn Filter>) {
    reply.headers.push_known(Name::ContentEncoding, coding.as_bytes());
    reply.clear_length();
    reply.clear_ranges();
    reply.weaken_etag();
    reply.body.filter(filter);
}
