//! Owns `health_check` and `match`: which servers are asked what, how often, and what answer is a good one.
//!
//! Must not keep time nor remember what was found: `http::health` and `crate::upstream` do.

mod ask;
mod expect;
#[cfg(test)]
mod tests;

use super::target::Pass;
use crate::conf::values::{parse_msec, parse_number, verdict};
use crate::conf::{Args, Contexts, Directive, Error, Row, Word};
use crate::http::draft::{Scope, block, row};
use crate::http::finish::Finish;
use crate::upstream::{MOST_CHECKS, Thresholds};
use std::sync::Arc;
use std::time::Duration;

pub use ask::ask;
use expect::ExpectDraft;
pub use expect::Expected;

/// A `health_check` as written.
#[derive(Debug, Clone)]
pub struct CheckDraft {
    word: Word,
    interval: Duration,
    jitter: Duration,
    limits: Thresholds,
    uri: Option<Vec<u8>>,
    port: Option<u16>,
    mandatory: bool,
    tcp: bool,
    expected: Option<Word>,
}

/// A `health_check` in force.
#[derive(Debug)]
pub struct Check {
    /// Index of the group, and the number of this check among the group's.
    pub group: usize,
    pub number: usize,
    pub interval: Duration,
    /// An interval is longer by a part of this.
    pub jitter: Duration,
    pub limits: Thresholds,
    pub uri: Vec<u8>,
    port: Option<u16>,
    /// A connection is enough.
    tcp: bool,
    expected: Arc<Expected>,
}

/// What the `match` blocks of `http` are called and say.
#[derive(Debug, Default, Clone)]
pub struct MatchDrafts(Vec<(Word, Arc<ExpectDraft>)>);

pub static ROWS: &[Row<Scope>] = &[
    row(
        "health_check",
        Contexts::LOCATION,
        Args::Any,
        "Asks the servers of the group that `proxy_pass` names whether they are well, for all workers together: \
         `interval=` (5s), `jitter=`, `fails=` (1), `passes=` (1), `uri=` (`/`), `port=`, `match=`, `mandatory` \
         (requests only after a check), `persistent`, `type=http` or `tcp`. The group needs a `zone`.",
        |s, dir, _| {
            let draft = CheckDraft::read(dir)?;
            s.drafts.proxy.checks.push(draft);
            Ok(())
        },
    ),
    block(
        "match",
        Contexts::HTTP,
        Args::Exactly(1),
        "What a good answer to a `health_check` is like: `status`, `header`, `body` and `require` lines, all \
         of which have to be true.",
        |http, dir, env| {
            let name = dir.arg(0);
            let known = &mut http.drafts.proxy.matches.0;
            if known.iter().any(|(other, _)| other.text == name.text) {
                return Err(name.error(format_args!("duplicate match \"{}\"", name.lossy())));
            }
            known.push((name.clone(), Arc::new(ExpectDraft::read(dir, env))));
            Ok(())
        },
    ),
];

impl CheckDraft {
    fn read(dir: &Directive) -> Result<Self, Error> {
        let mut draft = Self {
            word: dir.name.clone(),
            interval: Duration::from_secs(5),
            jitter: Duration::ZERO,
            limits: Thresholds { fails: 1, passes: 1 },
            uri: None,
            port: None,
            mandatory: false,
            tcp: false,
            expected: None,
        };
        let mut persistent = false;
        for word in &dir.args {
            match &*word.text {
                b"persistent" => persistent = true,
                _ => draft.parameter(word)?,
            }
        }
        if persistent && !draft.mandatory {
            return Err(verdict(dir, "\"persistent\" requires \"mandatory\""));
        }
        if draft.tcp && (draft.uri.is_some() || draft.expected.is_some()) {
            return Err(verdict(dir, "\"type=tcp\" has no \"uri\" and no \"match\""));
        }
        Ok(draft)
    }

    fn parameter(&mut self, word: &Word) -> Result<(), Error> {
        let invalid = || word.error(format_args!("invalid parameter \"{}\"", word.lossy()));
        let at = memchr::memchr(b'=', &word.text).unwrap_or(word.text.len());
        let (name, value) = word.text.split_at(at);
        let value = value.get(1..).unwrap_or_default();
        let above_zero = || parse_number(value).filter(|number| *number > 0).ok_or_else(invalid);
        match name {
            b"interval" => {
                let time = parse_msec(value).filter(|time| !time.is_zero());
                self.interval = time.ok_or_else(invalid)?;
            }
            b"jitter" => self.jitter = parse_msec(value).ok_or_else(invalid)?,
            b"fails" => self.limits.fails = above_zero()?,
            b"passes" => self.limits.passes = above_zero()?,
            b"uri" if value.starts_with(b"/") => self.uri = Some(value.to_vec()),
            b"port" => {
                self.port = Some(u16::try_from(above_zero()?).map_err(|_| invalid())?);
            }
            b"match" if !value.is_empty() => {
                self.expected = Some(Word { text: value.to_vec(), ..word.clone() });
            }
            b"mandatory" if value.is_empty() => self.mandatory = true,
            b"type" if value == b"http" => {}
            b"type" if value == b"tcp" => self.tcp = true,
            b"type" if value == b"grpc" => return Err(not_yet(word)),
            b"keepalive_time" | b"grpc_service" | b"grpc_status" => return Err(not_yet(word)),
            _ => return Err(invalid()),
        }
        Ok(())
    }

    /// Compiles it for the group that its location passes to.
    pub(super) fn finish(&self, pass: Option<&Pass>, cx: &mut Finish) -> Option<Check> {
        let fail = |cx: &mut Finish, what: String| {
            cx.report(self.word.error(what));
            None
        };
        let at = pass.and_then(Pass::group);
        let Some((group, at)) = at.and_then(|at| Some((cx.groups.get_mut(at)?, at))) else {
            return fail(cx, "\"health_check\" requires \"proxy_pass\" to a group".to_owned());
        };
        let name = group.name.clone();
        if group.zone.is_none() {
            let text = format!("health checks require upstream \"{name}\" to be in shared memory");
            let error = self.word.error(text);
            cx.report(error.with_help(format!("give it a zone: zone {name} 64k")));
            return None;
        }
        let number = group.checks.len();
        if number == MOST_CHECKS {
            return fail(cx, format!("more than {MOST_CHECKS} health checks of \"{name}\""));
        }
        group.checks.push(self.mandatory);
        let expected = match &self.expected {
            None => Arc::default(),
            Some(word) => match cx.matches.get(&word.text) {
                Some(known) => known.clone(),
                None => return fail(cx, format!("match \"{}\" is not found", word.lossy())),
            },
        };
        Some(Check {
            group: at,
            number,
            interval: self.interval,
            jitter: self.jitter,
            limits: self.limits,
            uri: self.uri.clone().unwrap_or_else(|| b"/".to_vec()),
            port: self.port,
            tcp: self.tcp,
            expected,
        })
    }
}

fn not_yet(word: &Word) -> Error {
    word.error(format_args!("parameter \"{}\" is not supported yet", word.lossy()))
}

/// Compiles the `match` blocks, before any location is finished.
pub fn define(http: &Scope, cx: &mut Finish) {
    for (name, draft) in &http.drafts.proxy.matches.0 {
        let expected = Arc::new(draft.finish(cx));
        cx.matches.insert(name.text.clone(), expected);
    }
}
