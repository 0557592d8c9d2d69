//! Owns `add_before_body` and `add_after_body`: what other URIs answer, put around a body.
//!
//! Must not touch an answer that is not 200, nor one inside of another.

use super::inherit;
use crate::conf::{Args, Row, Word, values};
use crate::http::body::Body;
use crate::http::draft::{HSL, Scope, row};
use crate::http::filter::Filter;
use crate::http::finish::Finish;
use crate::http::include::Include;
use crate::http::media_types::MediaTypes;
use crate::http::request::Request;
use crate::http::subrequest;
use crate::http::vars::Variable;
use std::io;
use std::task::{Context, Poll, ready};

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    before: Option<Word>,
    after: Option<Word>,
    types: Option<MediaTypes>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
    types: MediaTypes,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; before, after, types);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        // An empty word takes back what the level above says.
        let uri = |word: &Option<Word>| {
            word.as_ref().map(|word| word.text.clone()).filter(|uri| !uri.is_empty())
        };
        Conf {
            before: uri(&self.before),
            after: uri(&self.after),
            types: self.types.clone().unwrap_or_else(MediaTypes::html),
        }
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "add_before_body",
        HSL,
        Args::Exactly(1),
        "Puts what a subrequest to this URI answers before the body; an empty word adds nothing.",
        |scope, dir, _| values::word(&mut scope.drafts.addition.before, dir),
    ),
    row(
        "add_after_body",
        HSL,
        Args::Exactly(1),
        "Puts what a subrequest to this URI answers behind the body; an empty word adds nothing.",
        |scope, dir, _| values::word(&mut scope.drafts.addition.after, dir),
    ),
    row(
        "addition_types",
        HSL,
        Args::AtLeast(1),
        "Media types of the answers that are added to, besides `text/html`; `*` is all.",
        |scope, dir, env| {
            MediaTypes::read(&mut scope.drafts.addition.types, dir, env);
            Ok(())
        },
    ),
];

pub static VARIABLES: &[Variable] = &[];

/// Header filter.
pub fn run(req: &mut Request) {
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).addition;
    let idle = conf.before.is_none() && conf.after.is_none();
    if idle || req.reply.status != 200 || !conf.types.match_reply(&req.reply) {
        return;
    }
    let include = |uri: &Option<Vec<u8>>| {
        let sub = uri.as_ref().and_then(|uri| subrequest::new(req, uri, b""));
        sub.map(Include::new)
    };
    let around =
        Around { before: include(&conf.before), after: include(&conf.after), within: true };
    let reply = &mut req.reply;
    reply.clear_length();
    reply.clear_ranges();
    reply.weaken_etag();
    reply.body.filter(Box::new(around));
}

/// A body between two others.
#[derive(Debug)]
struct Around {
    before: Option<Include>,
    after: Option<Include>,
    /// The body itself has not ended.
    within: bool,
}

impl Filter for Around {
    fn poll_fill(
        &mut self,
        source: &mut Body,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        if let Some(before) = &mut self.before {
            if !ready!(before.poll_fill(out, room, cx))? {
                self.before = None;
            }
            return Poll::Ready(Ok(true));
        }
        if self.within {
            self.within = ready!(source.poll_fill(out, room, cx))?;
            return Poll::Ready(Ok(self.within || self.after.is_some()));
        }
        match &mut self.after {
            Some(after) => after.poll_fill(out, room, cx),
            None => Poll::Ready(Ok(false)),
        }
    }
}
