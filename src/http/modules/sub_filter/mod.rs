//! Owns `sub_filter`: texts of a body replaced by others.
//!
//! Must not know how they are found; `patterns` does.

mod coder;
mod patterns;

use super::inherit;
use crate::conf::{Args, Directive, Error, Row, Word, values};
use crate::http::draft::{HSL, Scope, row};
use crate::http::filter::Coded;
use crate::http::finish::Finish;
use crate::http::media_types::MediaTypes;
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::vars::Variable;
use coder::Replacer;
use patterns::Patterns;
use std::sync::Arc;

/// As nginx: the number of a pattern is a byte there.
const MOST: usize = 255;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    pairs: Option<Vec<(Word, Word)>>,
    types: Option<MediaTypes>,
    once: Option<bool>,
    last_modified: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    pairs: Box<[(Template, Template)]>,
    /// What is looked for, when no variables are in it.
    patterns: Option<Arc<Patterns>>,
    types: MediaTypes,
    once: bool,
    last_modified: bool,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; pairs, types, once, last_modified);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let pairs = self.pairs.iter().flatten();
        let pairs: Box<[_]> =
            pairs.map(|(text, value)| (cx.template(text), cx.template(value))).collect();
        let texts: Option<Vec<_>> = pairs.iter().map(|(text, _)| text.as_literal()).collect();
        Conf {
            patterns: texts.and_then(Patterns::new).map(Arc::new),
            pairs,
            types: self.types.clone().unwrap_or_else(MediaTypes::html),
            once: self.once.unwrap_or(true),
            last_modified: self.last_modified.unwrap_or(false),
        }
    }
}

fn set(slot: &mut Option<Vec<(Word, Word)>>, dir: &Directive) -> Result<(), Error> {
    if dir.arg(0).text.is_empty() {
        return Err(dir.arg(0).error("empty search pattern"));
    }
    let pairs = slot.get_or_insert_default();
    if pairs.len() == MOST {
        return Err(dir.error(format_args!("number of search patterns exceeds {MOST}")));
    }
    pairs.push((dir.arg(0).clone(), dir.arg(1).clone()));
    Ok(())
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "sub_filter",
        HSL,
        Args::Exactly(2),
        "Replaces a text, in any case, by another one; both may contain variables.",
        |s, dir, _| set(&mut s.drafts.sub_filter.pairs, dir),
    ),
    row(
        "sub_filter_types",
        HSL,
        Args::AtLeast(1),
        "Media types in which texts are replaced besides `text/html`; `*` is every type.",
        |s, dir, env| {
            MediaTypes::read(&mut s.drafts.sub_filter.types, dir, env);
            Ok(())
        },
    ),
    row(
        "sub_filter_once",
        HSL,
        Args::Flag,
        "Replaces each text only where it is found first (default on).",
        |s, dir, _| values::flag(&mut s.drafts.sub_filter.once, dir),
    ),
    row(
        "sub_filter_last_modified",
        HSL,
        Args::Flag,
        "Keeps `Last-Modified` of an answer in which texts are replaced (default off).",
        |s, dir, _| values::flag(&mut s.drafts.sub_filter.last_modified, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[];

/// Header filter: puts a replacer behind the body.
pub fn run(req: &mut Request) {
    let conf = &req.conf().sub_filter;
    if conf.pairs.is_empty() || req.reply.content_length == Some(0) || req.reply.bare {
        return;
    }
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).sub_filter;
    if !conf.types.match_reply(&req.reply) {
        return;
    }
    let Some(replacer) = replacer(req, conf) else { return };
    let reply = &mut req.reply;
    reply.clear_length();
    if conf.last_modified {
        reply.weaken_etag();
    } else {
        reply.clear_last_modified();
        reply.clear_etag();
    }
    reply.body.filter(Box::new(Coded::new(replacer, reply.unbuffered)));
}

/// The replacer for this request; `None` when all that is looked for has turned out empty.
fn replacer(req: &Request, conf: &Conf) -> Option<Replacer> {
    let value = |template: &Template| template.value(req).into_owned();
    if let Some(patterns) = &conf.patterns {
        let values = conf.pairs.iter().map(|(_, by)| value(by)).collect();
        return Some(Replacer::new(patterns.clone(), values, conf.once));
    }
    let pairs = conf.pairs.iter().map(|(text, by)| (value(text), by));
    let pairs: Vec<_> = pairs.filter(|(text, _)| !text.is_empty()).collect();
    let patterns = Patterns::new(pairs.iter().map(|(text, _)| text.as_slice()).collect())?;
    let values = pairs.iter().map(|(_, by)| value(by)).collect();
    Some(Replacer::new(Arc::new(patterns), values, conf.once))
}
