//! Owns conditional requests (RFC 9110, section 13), in nginx's order and with its leniencies.
//!
//! Must not set the fields it compares with; whoever answers does.

use super::inherit;
use crate::conf::{Args, Row, values};
use crate::http::body::Body;
use crate::http::date;
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::phase::{Phase, Stop};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::vars::Variable;

/// How `If-Modified-Since` is compared with the time of the last modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Not at all: the answer counts as modified.
    Off,
    /// Only the very same time counts as not modified.
    Exact,
    /// Nor does any later one.
    Before,
}

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    since: Option<Since>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    since: Since,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; since);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf { since: self.since.unwrap_or(Since::Exact) }
    }
}

pub static ROWS: &[Row<Scope>] = &[row(
    "if_modified_since",
    HSL,
    Args::Exactly(1),
    "How `If-Modified-Since` is compared: `off`, `exact` (default) or `before`.",
    |s, dir, _| {
        let choices = [("off", Since::Off), ("exact", Since::Exact), ("before", Since::Before)];
        values::choice(&mut s.drafts.not_modified.since, dir, &choices)
    },
)];

pub static VARIABLES: &[Variable] = &[];

/// What a conditional request comes to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Send,
    NotModified,
    Failed,
}

/// Header filter: 304 takes the body away, 412 everything.
pub fn run(req: &mut Request) -> Phase {
    if req.reply.status != 200 {
        return Ok(());
    }
    match judge(req) {
        Outcome::Send => Ok(()),
        Outcome::NotModified => {
            let reply = &mut req.reply;
            reply.status = 304;
            reply.reason = None;
            reply.content_type = None;
            reply.content_length = None;
            for name in [Name::ContentLength, Name::AcceptRanges, Name::ContentEncoding] {
                reply.headers.remove(name);
            }
            reply.body = Body::Empty;
            Ok(())
        }
        Outcome::Failed => {
            req.reply = Reply::default();
            Err(Stop::Status(412))
        }
    }
}

fn judge(req: &Request) -> Outcome {
    let asked = &req.head.headers;
    let modified = req.reply.last_modified;
    let etag = req.reply.headers.get(Name::ETag);
    if let Some(since) = asked.get(Name::IfUnmodifiedSince)
        && !unmodified(since, modified)
    {
        return Outcome::Failed;
    }
    if let Some(list) = asked.get(Name::IfMatch)
        && !matches(list, etag, false)
    {
        return Outcome::Failed;
    }
    let since = asked.get(Name::IfModifiedSince);
    let none_of = asked.get(Name::IfNoneMatch);
    if since.is_none() && none_of.is_none() {
        return Outcome::Send;
    }
    // Unlike RFC 9110, nginx wants both to say so when both are there.
    let how = req.conf().not_modified.since;
    let newer = since.is_some_and(|since| modified_since(since, modified, how));
    let other = none_of.is_some_and(|list| !matches(list, etag, true));
    if newer || other { Outcome::Send } else { Outcome::NotModified }
}

fn unmodified(since: &[u8], modified: Option<i64>) -> bool {
    modified.is_some_and(|modified| date::parse(since).unwrap_or(-1) >= modified)
}

fn modified_since(since: &[u8], modified: Option<i64>, how: Since) -> bool {
    let (Some(modified), Since::Exact | Since::Before) = (modified, how) else { return true };
    let since = date::parse(since).unwrap_or(-1);
    since != modified && (how == Since::Exact || since < modified)
}

/// Whether a list of entity tags, or `*`, has this one. Weak comparison ignores `W/` on both sides.
fn matches(list: &[u8], etag: Option<&[u8]>, weak: bool) -> bool {
    if list == b"*" {
        return true;
    }
    let Some(etag) = etag else { return false };
    let bare = |tag: &[u8]| if weak && tag.len() > 2 && tag.starts_with(b"W/") { 2 } else { 0 };
    let etag = &etag[bare(etag)..];
    let mut rest = list;
    while !rest.is_empty() {
        rest = &rest[bare(rest)..];
        if let Some(after) = rest.strip_prefix(etag) {
            let after = after.trim_ascii_start();
            if after.first().is_none_or(|b| *b == b',') {
                return true;
            }
            rest = after;
        }
        let comma = memchr::memchr(b',', rest).unwrap_or(rest.len());
        let next = rest[comma..].iter().position(|b| !matches!(b, b' ' | b'\t' | b','));
        rest = next.map_or(&[][..], |at| &rest[comma + at..]);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &[u8] = b"\"65-3e8\"";

    fn weak(list: &[u8]) -> bool {
        matches(list, Some(TAG), true)
    }

    fn strong(list: &[u8]) -> bool {
        matches(list, Some(TAG), false)
    }

    #[test]
    fn lists_are_searched() {
        assert!(weak(TAG) && strong(TAG));
        assert!(weak(b"*") && strong(b"*") && matches(b"*", None, false));
        assert!(!weak(b"\"foo\"") && !strong(b"\"foo\""));
        assert!(weak(b"\"foo\", \"bar\", \"65-3e8\" , \"baz\""));
        assert!(strong(b"\"foo\", \"bar\", \t\"65-3e8\" , \"baz\""));
        assert!(!weak(b"\"65-3e8\"x, \"65-3e8\"y") && !weak(b"\"65-3e8") && !weak(b""));
        assert!(!matches(TAG, None, true));
    }

    #[test]
    fn weak_tags_match_weakly_only() {
        assert!(weak(b"W/\"65-3e8\"") && !strong(b"W/\"65-3e8\""));
        assert!(matches(TAG, Some(b"W/\"65-3e8\""), true));
        assert!(!matches(TAG, Some(b"W/\"65-3e8\""), false));
        assert!(matches(b"\"a\", W/\"65-3e8\"", Some(b"W/\"65-3e8\""), true));
    }

    #[test]
    fn times_are_compared_as_configured() {
        let at = b"Sun, 06 Nov 1994 08:49:37 GMT";
        let time = Some(784_111_777);
        let later = Some(784_111_778);
        let earlier = Some(784_111_776);
        assert!(
            !modified_since(at, time, Since::Exact) && !modified_since(at, time, Since::Before)
        );
        assert!(
            modified_since(at, later, Since::Exact) && modified_since(at, later, Since::Before)
        );
        assert!(modified_since(at, earlier, Since::Exact));
        assert!(!modified_since(at, earlier, Since::Before));
        assert!(modified_since(at, time, Since::Off) && modified_since(at, None, Since::Exact));
        assert!(modified_since(b"wrong", time, Since::Before));
        assert!(unmodified(at, time) && unmodified(at, earlier) && !unmodified(at, later));
        assert!(!unmodified(at, None) && !unmodified(b"wrong", time));
    }
}
