//! Owns the `upstream` block: named groups of servers.
//!
//! Must not choose peers nor open connections; `crate::upstream` does, by these specifications.

mod block;
mod server;
mod sticky;

use crate::conf::{Args, Contexts, Row};
use crate::http::draft::{Scope, block};
use crate::http::finish::Finish;
use crate::http::vars::Variable;

pub use block::{TABLE, UpstreamDraft};

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    /// `http` only.
    blocks: Vec<UpstreamDraft>,
}

/// In force: nothing, groups belong to the snapshot.
#[derive(Debug)]
pub struct Conf {}

impl Draft {
    pub fn inherit(&mut self, _outer: &Self) {}

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf {}
    }
}

pub static ROWS: &[Row<Scope>] = &[block(
    "upstream",
    Contexts::HTTP,
    Args::Exactly(1),
    "A group of servers that `proxy_pass` may name.",
    |http, dir, env| {
        let known = |name: &str| http.drafts.upstream.blocks.iter().any(|b| b.is_named(name));
        let word = dir.arg(0);
        if known(&word.lossy()) {
            return Err(word.error(format_args!("duplicate upstream \"{}\"", word.lossy())));
        }
        let read = UpstreamDraft::read(dir, env)?;
        http.drafts.upstream.blocks.push(read);
        Ok(())
    },
)];

pub static VARIABLES: &[Variable] = &[];

/// Makes the groups of all `upstream` blocks known, before any `proxy_pass` is finished.
pub fn define(http: &Scope, cx: &mut Finish) {
    for written in &http.drafts.upstream.blocks {
        written.declare(cx);
    }
    for written in &http.drafts.upstream.blocks {
        let group = written.finish(http, cx);
        if let Some(affinity) = written.affinity(cx) {
            cx.affinities.insert(cx.groups.len(), affinity);
        }
        // nginx compares names without regard to case.
        cx.group_names.insert(group.name.to_ascii_lowercase(), cx.groups.len());
        cx.group_names.insert(group.name.clone(), cx.groups.len());
        cx.groups.push(group);
    }
}

#[cfg(test)]
mod tests;
