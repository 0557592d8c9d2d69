//! Owns range requests (RFC 9110, section 14): which are honoured, and the answer to them.
//!
//! Must not read a body that is still arriving ahead of its turn: of such a one there is at most one range.

mod parse;
mod within;

use super::inherit;
use crate::conf::{Args, Row, values};
use crate::http::body::{Body, Part, Slice};
use crate::http::date;
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::h1::head::Version;
use crate::http::headers::Name;
use crate::http::phase::{Phase, Stop};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::vars::Variable;
use crate::log::clock;
use parse::{Answer, Ranges};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use within::Within;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    max: Option<u32>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// `None`: any number that does not make the answer longer than the whole.
    max: Option<u32>,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; max);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf { max: self.max }
    }
}

pub static ROWS: &[Row<Scope>] = &[row(
    "max_ranges",
    HSL,
    Args::Exactly(1),
    "How many ranges of one request are honoured; 0 is none (default: no limit).",
    |s, dir, _| values::number(&mut s.drafts.range.max, dir),
)];

pub static VARIABLES: &[Variable] = &[];

/// Header filter: 206 with the parts asked for, 416, or the whole with `Accept-Ranges`.
pub fn run(req: &mut Request) -> Phase {
    let max = req.conf().range.max;
    let able = req.reply.allow_ranges
        && req.reply.status == 200
        && req.head.version >= Version::Http10
        && matches!(
            req.reply.body.source(),
            Body::Empty | Body::Bytes(_) | Body::File(_) | Body::Upstream(_)
        );
    let (true, Some(length)) = (able && max != Some(0), req.reply.content_length) else {
        return Ok(());
    };
    let arrives = req.reply.is_proxied();
    let asked = wanted(req).map_or(Answer::Whole, |ranges| parse::parse(ranges, length, max));
    match asked {
        Answer::Whole => req.reply.headers.push_known(Name::AcceptRanges, b"bytes"),
        Answer::Partial(ranges) if arrives && ranges.len() > 1 => {}
        Answer::Partial(ranges) => partial(&mut req.reply, &ranges, length),
        Answer::NotSatisfiable => {
            // Another reply is made; nothing that was meant for this one may go with it.
            req.reply = Reply::default();
            let value = format!("bytes */{length}");
            req.reply.headers.push_known(Name::ContentRange, value.as_bytes());
            return Err(Stop::Status(416));
        }
    }
    Ok(())
}

/// What follows `bytes=`, unless `If-Range` says that the client has another version.
fn wanted(req: &Request) -> Option<&[u8]> {
    let range = req.head.headers.get(Name::Range)?;
    let (unit, ranges) = range.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") || ranges.is_empty() {
        return None;
    }
    match req.head.headers.get(Name::IfRange) {
        Some(version) => same_version(version, &req.reply).then_some(ranges),
        None => Some(ranges),
    }
}

fn same_version(version: &[u8], reply: &Reply) -> bool {
    if version.len() >= 2 && version.ends_with(b"\"") {
        return reply.headers.get(Name::ETag) == Some(version);
    }
    reply.last_modified.is_some_and(|modified| date::parse(version) == Some(modified))
}

fn partial(reply: &mut Reply, ranges: &Ranges, length: u64) {
    reply.status = 206;
    reply.reason = None;
    reply.headers.remove(Name::ContentLength);
    reply.headers.remove(Name::ContentRange);
    if let [(start, end)] = ranges[..] {
        let value = format!("bytes {start}-{}/{length}", end - 1);
        reply.headers.push_known(Name::ContentRange, value.as_bytes());
        reply.content_length = Some(end - start);
        if reply.is_proxied() {
            reply.body.filter(Box::new(Within::new(start, end)));
            return;
        }
        // A filter that keeps the length makes of each byte another: it may as well get a part.
        let body = reply.body.source_mut();
        *body = match piece(body, start, end) {
            Part::Bytes(bytes) => Body::Bytes(bytes.into()),
            Part::Slice(slice) => Body::File(slice),
        };
    } else {
        several(reply, ranges, length);
    }
}

/// `multipart/byteranges`.
fn several(reply: &mut Reply, ranges: &Ranges, length: u64) {
    let boundary = boundary();
    let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
    if let Some(content_type) = &reply.content_type {
        head.extend_from_slice(b"Content-Type: ");
        head.extend_from_slice(content_type);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"Content-Range: bytes ");
    let mut parts = VecDeque::with_capacity(2 * ranges.len() + 1);
    let mut total = 0;
    for &(start, end) in ranges {
        let mut text = head.clone();
        text.extend_from_slice(format!("{start}-{}/{length}\r\n\r\n", end - 1).as_bytes());
        total += text.len() as u64 + (end - start);
        parts.push_back(Part::Bytes(text));
        parts.push_back(piece(reply.body.source(), start, end));
    }
    let last = format!("\r\n--{boundary}--\r\n").into_bytes();
    total += last.len() as u64;
    parts.push_back(Part::Bytes(last));
    reply.content_type = Some(format!("multipart/byteranges; boundary={boundary}").into_bytes());
    reply.content_length = Some(total);
    *reply.body.source_mut() = Body::Parts(parts);
}

/// A stretch of a body whose length is known; offsets lie within it.
fn piece(body: &Body, start: u64, end: u64) -> Part {
    match body {
        Body::File(whole) => Part::Slice(Slice {
            file: whole.file.clone(),
            at: whole.at + start,
            end: whole.at + end,
        }),
        Body::Bytes(bytes) => {
            let at = |n| usize::try_from(n).unwrap_or(usize::MAX);
            Part::Bytes(bytes.get(at(start)..at(end)).unwrap_or_default().to_vec())
        }
        _ => Part::Bytes(Vec::new()),
    }
}

/// A separator that does not repeat while the worker lives; it begins at the time it started, so
/// that contents written beforehand cannot well contain it.
fn boundary() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if NEXT.load(Ordering::Relaxed) == 0 {
        let (seconds, millis) = clock::now(|now| (now.seconds(), now.millis()));
        let start = seconds.unsigned_abs().wrapping_mul(1_000_003) ^ u64::from(millis);
        NEXT.store(start, Ordering::Relaxed);
    }
    format!("{:020}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_cuts_the_body() {
        let mut reply = Reply::text(200, b"text/plain", &b"0123456789"[..]);
        partial(&mut reply, &vec![(2, 5)], 10);
        assert_eq!((reply.status, reply.content_length), (206, Some(3)));
        assert_eq!(reply.headers.get(Name::ContentRange), Some(&b"bytes 2-4/10"[..]));
        assert!(matches!(reply.body, Body::Bytes(bytes) if *bytes == *b"234"));
    }

    #[test]
    fn several_ranges_become_parts_of_the_announced_length() {
        let mut reply = Reply::text(200, b"text/html", &b"0123456789"[..]);
        partial(&mut reply, &vec![(0, 2), (8, 10)], 10);
        let Body::Parts(parts) = &reply.body else { panic!("not parts") };
        let mut text = Vec::new();
        for part in parts {
            let Part::Bytes(bytes) = part else { panic!("not bytes") };
            text.extend_from_slice(bytes);
        }
        assert_eq!(reply.content_length, Some(text.len() as u64));
        let text = String::from_utf8(text).unwrap();
        let kind = String::from_utf8(reply.content_type.unwrap()).unwrap();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        assert_eq!(boundary.len(), 20);
        let want = format!(
            "\r\n--{boundary}\r\nContent-Type: text/html\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
             \r\n--{boundary}\r\nContent-Type: text/html\r\nContent-Range: bytes 8-9/10\r\n\r\n89\
             \r\n--{boundary}--\r\n"
        );
        assert_eq!(text, want);
    }

    #[test]
    fn if_range_takes_tags_and_times() {
        let mut reply = Reply { last_modified: Some(784_111_777), ..Reply::default() };
        reply.headers.push_known(Name::ETag, b"\"a\"");
        assert!(same_version(b"\"a\"", &reply));
        assert!(!same_version(b"W/\"a\"", &reply) && !same_version(b"wrong", &reply));
        assert!(same_version(b"Sun, 06 Nov 1994 08:49:37 GMT", &reply));
        assert!(!same_version(b"Sun, 06 Nov 1994 08:49:38 GMT", &reply));
    }
}
