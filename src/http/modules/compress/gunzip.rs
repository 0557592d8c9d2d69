//! Owns `gunzip`: an answer that is there in gzip only, restored for a client that does not accept it.
//!
//! Must not touch an answer with any other coding, or several.

use super::gzip::Gunzip;
use super::permit;
use crate::http::filter::Coded;
use crate::http::headers::Name;
use crate::http::request::Request;

/// Header filter.
pub fn run(req: &mut Request) {
    let conf = &req.conf().compress;
    let coding = req.reply.headers.get(Name::ContentEncoding);
    if !conf.gunzip || !coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"gzip")) {
        return;
    }
    // Inside of another body it must be plain.
    let takes = req.is_main() && permit::takes_gzip(req, conf);
    let reply = &mut req.reply;
    reply.varies = true;
    if takes {
        return;
    }
    reply.headers.remove(Name::ContentEncoding);
    reply.clear_length();
    reply.clear_ranges();
    reply.weaken_etag();
    reply.body.filter(Box::new(Coded::new(Gunzip::default(), reply.unbuffered)));
}
