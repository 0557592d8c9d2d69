//! Owns `map`: a variable whose value depends on others.
//!
//! Must not keep values from one reading to the next; `computed` does.

mod written;

use crate::conf::{Args, Contexts, Row};
use crate::http::computed::{self, How};
use crate::http::draft::{Scope, block};
use crate::http::finish::Finish;
use crate::http::regex::Regex;
use crate::http::request::Request;
use crate::http::route::{ServerName, ServerNames};
use crate::http::template::Template;
use crate::http::vars::Variable;
use std::borrow::Cow;
use std::sync::Arc;
use written::{Key, Line, Written};

/// As written: the blocks of `http`.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    blocks: Vec<Arc<Written>>,
}

/// In force: nothing but the variables.
#[derive(Debug)]
pub struct Conf {}

impl Draft {
    pub fn inherit(&mut self, _outer: &Self) {}

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf {}
    }
}

pub static ROWS: &[Row<Scope>] = &[block(
    "map",
    Contexts::HTTP,
    Args::Exactly(2),
    "A variable whose value is looked up by another value: among strings, then wildcards when these are \
     `hostnames`, then regular expressions, else `default`.",
    |scope, dir, env| {
        let map = Written::read(dir, env)?;
        scope.drafts.map.blocks.push(Arc::new(map));
        Ok(())
    },
)];

pub static VARIABLES: &[Variable] = &[];

/// A map, compiled.
#[derive(Debug)]
pub struct Map {
    source: Template,
    hostnames: bool,
    /// Keys in lower case.
    names: ServerNames,
    regexes: Vec<(Regex, usize)>,
    /// What the numbers of `names` and `regexes` stand for; the default comes last.
    values: Vec<Template>,
}

/// Makes the variables known everywhere, before anything is compiled.
pub fn define(http: &Scope, cx: &mut Finish) {
    for map in &http.drafts.map.blocks {
        computed::define(&map.name, cx);
    }
}

/// Compiles the maps; all names are known by now.
pub fn compile(http: &Scope, cx: &mut Finish) {
    for written in &http.drafts.map.blocks {
        let map = Map::new(written, cx);
        computed::keep(&written.name, written.volatile, How::Map(map), cx);
    }
}

impl Map {
    fn new(written: &Written, cx: &mut Finish) -> Self {
        let mut map = Self {
            source: cx.template(&written.source),
            hostnames: written.hostnames,
            names: ServerNames::default(),
            regexes: Vec::new(),
            values: Vec::with_capacity(written.lines.len() + 1),
        };
        for line in &written.lines {
            map.add(line, cx);
            map.values.push(cx.template(&line.value));
        }
        let default = written.default.as_ref().map(|word| cx.template(word));
        map.values.push(default.unwrap_or_default());
        map
    }

    /// Enters a key for the value that comes next.
    fn add(&mut self, line: &Line, cx: &mut Finish) {
        let next = self.values.len();
        let name = match &line.key {
            Key::Regex { pattern, caseless } => {
                let Ok(text) = std::str::from_utf8(pattern) else {
                    return cx.report(line.word.error("the pattern is not UTF-8"));
                };
                let regex = cx.regex(&line.word, text, *caseless);
                return self.regexes.extend(regex.map(|regex| (regex, next)));
            }
            Key::Exact(text) => Some(ServerName::Exact(text.clone())),
            Key::Hostname(text) => ServerName::parse(text),
        };
        let complaint = match name {
            None => "invalid hostname or wildcard",
            Some(name) if !self.names.add(&name, next) => "conflicting parameter",
            Some(_) => return,
        };
        cx.report(line.word.error(format_args!("{complaint} \"{}\"", line.word.lossy())));
    }

    /// What is looked up.
    pub fn source(&self) -> &Template {
        &self.source
    }

    /// All that may come of it.
    pub fn values(&self) -> &[Template] {
        &self.values
    }

    /// Appends the value for this request. An expression that matches leaves its captures.
    pub fn append(&self, req: &Request, out: &mut Vec<u8>) {
        let key = self.source.value(req);
        let key = if self.hostnames { key.strip_suffix(b".").unwrap_or(&key) } else { &key };
        if let Some(value) = self.find(key, req) {
            value.append(req, out);
        }
    }

    fn find(&self, key: &[u8], req: &Request) -> Option<&Template> {
        let lower = if key.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(key.to_ascii_lowercase())
        } else {
            Cow::Borrowed(key)
        };
        let found = self.names.find_name(&lower).or_else(|| {
            let mut regexes = self.regexes.iter().filter(|_| !key.is_empty());
            regexes.find(|(regex, _)| regex.apply_in(key, req)).map(|(_, value)| *value)
        });
        found.map_or(self.values.last(), |at| self.values.get(at))
    }
}

#[cfg(test)]
mod tests;
