//! Owns the judgement of a whole configuration, directive by directive: what of it works here.
//!
//! Must not stop at what does not.

use super::{Draft, Machine, Options, Report, parse, read_block, report};
use crate::conf::{Contexts, Directive, Env, Error, Span, World};
use crate::http;
use std::path::Path;

/// Blocks that hold directives; others hold what is their own.
const HOLDS: [&str; 9] =
    ["events", "http", "server", "location", "if", "limit_except", "upstream", "stream", "mail"];

/// What becomes of a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Supported,
    /// Accepted, and nothing changes by it.
    WithoutEffect,
    Unsupported,
}

/// A directive, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Empty for what stands in no file.
    pub file: String,
    pub line: usize,
    pub directive: String,
    pub verdict: Verdict,
    /// Why, unless it is supported.
    pub reason: String,
}

/// Judges every directive of a configuration, in the order in which they are read. It fails where the
/// configuration cannot be read at all.
pub fn survey(
    world: &mut dyn World,
    options: &Options,
    machine: Machine,
) -> Result<Vec<Judged>, Report> {
    let conf_dir = options.conf_file.parent().unwrap_or(Path::new("/"));
    let mut env = Env::new(world, &options.prefix, conf_dir);
    env.superuser = machine.superuser;
    let directives = parse(&mut env, options);
    if !env.errors.is_empty() {
        return Err(report(&env));
    }
    let mut draft = Draft::new(machine);
    read_block(&mut draft, Contexts::MAIN, &directives, &mut env);
    finish_all(draft, options, &mut env);
    let mut judge = Judge { errors: std::mem::take(&mut env.errors), env: &env, found: Vec::new() };
    judge.block(&directives, None);
    judge.rest();
    Ok(judge.found)
}

/// What is wrong only in the light of the rest is found when it is finished.
fn finish_all(mut draft: Draft, options: &Options, env: &mut Env<'_>) {
    let http = draft.http.take().unwrap_or_default();
    draft.finish(options, env);
    http.finish(env);
}

struct Judge<'a, 'w> {
    env: &'a Env<'w>,
    /// Those that belong to no directive yet.
    errors: Vec<Error>,
    found: Vec<Judged>,
}

impl Judge<'_, '_> {
    /// `within` is the unsupported block that they stand in.
    fn block(&mut self, directives: &[Directive], within: Option<&str>) {
        for directive in directives {
            let name = directive.name_str().into_owned();
            let held = directive.block.as_deref().filter(|_| HOLDS.contains(&&*name));
            let at = self.found.len();
            self.push(directive.name.span, &name, Verdict::Supported, String::new());
            // Those of the block first: what is left belongs to the directive itself.
            let own = self.take(directive.name.span);
            let refused = own.is_some() && held.is_some();
            if let Some(inner) = held {
                self.block(inner, within.or(refused.then_some(&*name)));
            }
            let error = own.or_else(|| self.take(directive.span));
            let (verdict, reason) = match (error, within) {
                (Some(why), _) => (Verdict::Unsupported, why),
                (None, Some(block)) => (Verdict::Unsupported, format!("stands in \"{block}\"")),
                (None, None) => self.effect(&name),
            };
            if let Some(judged) = self.found.get_mut(at) {
                (judged.verdict, judged.reason) = (verdict, reason);
            }
        }
    }

    fn push(&mut self, span: Span, name: &str, verdict: Verdict, reason: String) {
        let sources = &self.env.sources;
        let file = sources.path(span.file).map(|path| path.display().to_string());
        let line = sources.position(span).map_or(0, |position| position.line);
        let (file, directive) = (file.unwrap_or_default(), name.to_owned());
        self.found.push(Judged { file, line, directive, verdict, reason });
    }

    /// What is wrong within a span; all of it is taken.
    fn take(&mut self, span: Span) -> Option<String> {
        let inside = |error: &Error| {
            let at = error.span;
            at.file == span.file && (span.start..span.end).contains(&at.start)
        };
        let (own, others) = std::mem::take(&mut self.errors).into_iter().partition(inside);
        self.errors = others;
        let own: Vec<Error> = own;
        let sentences: Vec<_> = own.into_iter().map(|error| error.message).collect();
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }

    /// Whether a directive that was accepted changes anything.
    fn effect(&self, name: &str) -> (Verdict, String) {
        if !self.env.no_effect.contains_key(name) {
            return (Verdict::Supported, String::new());
        }
        let doc = |name: &str| {
            let http = http::draft::TABLE.rows().find(|row| row.name == name).map(|row| row.doc);
            let main = super::table().rows().find(|row| row.name == name).map(|row| row.doc);
            main.or(http)
        };
        (Verdict::WithoutEffect, doc(name).unwrap_or_default().to_owned())
    }

    /// What is wrong in no place.
    fn rest(&mut self) {
        for error in std::mem::take(&mut self.errors) {
            self.push(error.span, "", Verdict::Unsupported, error.message);
        }
    }
}
