//! Owns what was written in `http {}`, block by block, before defaults and inheritance.
//!
//! Must not touch anything outside (no DNS, no files, no clock): that is `finish`'s part.

use super::modules::{self, Drafts};
use crate::conf::{Action, Args, Contexts, Directive, Env, Error, Row, Setter, Span, Table, Word};
use std::sync::LazyLock;

/// How a location is introduced.
#[derive(Debug, Clone)]
pub enum Matcher {
    Exact(Word),
    Prefix {
        path: Word,
        stops_regex: bool,
    },
    Regex {
        pattern: Word,
        caseless: bool,
    },
    Named(Word),
    Predicate(Word),
    /// `if` and `limit_except` inside a location: entered by the rewrite and access phases.
    Inner,
}

/// A location as written.
#[derive(Debug)]
pub struct LocationDraft {
    pub matcher: Matcher,
    pub scope: Scope,
    pub span: Span,
}

/// One block: `http`, `server`, `location`, `if`, `limit_except`. What the rows' setters fill.
#[derive(Debug)]
pub struct Scope {
    pub context: Contexts,
    /// How this block's location is introduced, when it is one.
    pub matcher: Option<Matcher>,
    /// What each module read here.
    pub drafts: Drafts,
    /// `http` only.
    pub servers: Vec<Scope>,
    /// Locations directly inside, in the order written.
    pub locations: Vec<LocationDraft>,
    pub span: Span,
}

impl Scope {
    /// An empty block.
    pub fn new(context: Contexts, span: Span) -> Self {
        Self {
            context,
            matcher: None,
            drafts: Drafts::default(),
            servers: Vec::new(),
            locations: Vec::new(),
            span,
        }
    }

    /// Reads a block's directives into this scope.
    pub fn read(&mut self, directives: &[Directive], env: &mut Env) {
        let context = self.context;
        TABLE.apply(self, context, directives, env, &known_elsewhere);
    }

    /// Reads an inner block that is entered by its parent's phases; its index for the parent.
    pub fn inner(&mut self, context: Contexts, dir: &Directive, env: &mut Env) -> usize {
        let mut scope = Scope::new(context, dir.span);
        scope.matcher = Some(Matcher::Inner);
        scope.read(dir.block.as_deref().unwrap_or_default(), env);
        self.locations.push(LocationDraft { matcher: Matcher::Inner, scope, span: dir.span });
        self.locations.len() - 1
    }
}

/// Every directive of `http {}` and below, in one table.
pub static TABLE: LazyLock<Table<Scope>> = LazyLock::new(|| Table::new(modules::ROWS));

/// Whether a name belongs to the process configuration rather than to `http`.
fn known_elsewhere(name: &str) -> bool {
    matches!(name, "user" | "worker_processes" | "events" | "http" | "pid" | "daemon")
}

/// Reads an `http` block. Errors go to `env`.
pub fn read(block: &Directive, env: &mut Env) -> Scope {
    let mut http = Scope::new(Contexts::HTTP, block.span);
    http.read(block.block.as_deref().unwrap_or_default(), env);
    http
}

/// `server { }`.
pub fn server(http: &mut Scope, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    let mut server = Scope::new(Contexts::SERVER, dir.span);
    server.read(dir.block.as_deref().unwrap_or_default(), env);
    http.servers.push(server);
    Ok(())
}

/// `location [ = | ~ | ~* | ^~ ] uri { }`, `location @name { }`, `location $variable { }`.
pub fn location(outer: &mut Scope, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    let matcher = matcher(dir)?;
    nesting(outer, &matcher, dir)?;
    let mut scope = Scope::new(Contexts::LOCATION, dir.span);
    scope.matcher = Some(matcher.clone());
    scope.read(dir.block.as_deref().unwrap_or_default(), env);
    outer.locations.push(LocationDraft { matcher, scope, span: dir.span });
    Ok(())
}

fn matcher(dir: &Directive) -> Result<Matcher, Error> {
    if dir.args.len() == 2 {
        return with_modifier(&dir.arg(0).text, dir.arg(1).clone()).ok_or_else(|| {
            dir.error(format!("invalid location modifier \"{}\"", dir.arg(0).lossy()))
        });
    }
    let word = dir.arg(0);
    // The modifier may stand glued to the path: `location =/x`, `location ~\.php$`.
    for modifier in [&b"="[..], b"^~", b"~*", b"~"] {
        if let Some(rest) = word.text.strip_prefix(modifier) {
            let word = Word { text: rest.to_vec(), ..word.clone() };
            return with_modifier(modifier, word)
                .ok_or_else(|| dir.error("invalid location modifier"));
        }
    }
    Ok(match word.text.first() {
        Some(b'@') => Matcher::Named(word.clone()),
        Some(b'$') => Matcher::Predicate(word.clone()),
        _ => Matcher::Prefix { path: word.clone(), stops_regex: false },
    })
}

fn with_modifier(modifier: &[u8], word: Word) -> Option<Matcher> {
    Some(match modifier {
        b"=" => Matcher::Exact(word),
        b"^~" => Matcher::Prefix { path: word, stops_regex: true },
        b"~" => Matcher::Regex { pattern: word, caseless: false },
        b"~*" => Matcher::Regex { pattern: word, caseless: true },
        _ => return None,
    })
}

/// nginx's rules on what may stand inside what.
fn nesting(outer: &Scope, inner: &Matcher, dir: &Directive) -> Result<(), Error> {
    let Some(outer) = &outer.matcher else { return Ok(()) };
    let name = shown(inner);
    let outside = |path: &Word| {
        let message = format!("location \"{name}\" is outside location \"{}\"", path.lossy());
        Err(dir.error(message))
    };
    match (outer, inner) {
        (Matcher::Exact(path), _) => Err(dir.error(format!(
            "location \"{name}\" cannot be inside the exact location \"{}\"",
            path.lossy()
        ))),
        (Matcher::Named(path), _) => Err(dir.error(format!(
            "location \"{name}\" cannot be inside the named location \"{}\"",
            path.lossy()
        ))),
        (_, Matcher::Named(_)) => {
            Err(dir.error(format!("named location \"{name}\" can be on the server level only")))
        }
        (Matcher::Prefix { path, .. }, Matcher::Exact(p) | Matcher::Prefix { path: p, .. })
            if !p.text.starts_with(&path.text) =>
        {
            outside(path)
        }
        _ => Ok(()),
    }
}

/// The word a location is known by in messages.
pub fn shown(matcher: &Matcher) -> String {
    match matcher {
        Matcher::Exact(w) | Matcher::Named(w) | Matcher::Predicate(w) => w.lossy().into_owned(),
        Matcher::Prefix { path: w, .. } | Matcher::Regex { pattern: w, .. } => {
            w.lossy().into_owned()
        }
        Matcher::Inner => String::new(),
    }
}

/// A row for a directive that ends with `;`.
pub const fn row(
    name: &'static str,
    contexts: Contexts,
    args: Args,
    doc: &'static str,
    set: Setter<Scope>,
) -> Row<Scope> {
    Row { name, contexts, args, doc, action: Action::Set(set) }
}

/// A row for a directive with a block.
pub const fn block(
    name: &'static str,
    contexts: Contexts,
    args: Args,
    doc: &'static str,
    set: Setter<Scope>,
) -> Row<Scope> {
    Row { name, contexts, args, doc, action: Action::Block(set) }
}

/// A row for a directive that only tunes nginx's insides.
pub const fn no_effect(name: &'static str, contexts: Contexts, doc: &'static str) -> Row<Scope> {
    Row { name, contexts, args: Args::Any, doc, action: Action::NoEffect }
}

/// A row for a directive that nginx has and proxyd does not have yet.
pub const fn not_yet(name: &'static str, contexts: Contexts) -> Row<Scope> {
    Row { name, contexts, args: Args::Any, doc: "Not supported yet.", action: Action::NotYet }
}

/// The same with the reason: `Not supported yet: REASON.`
pub const fn not_yet_for(name: &'static str, contexts: Contexts, doc: &'static str) -> Row<Scope> {
    Row { name, contexts, args: Args::Any, doc, action: Action::NotYet }
}

/// `http`, `server` and `location`: where most directives may stand.
pub const HSL: Contexts = Contexts::HTTP.or(Contexts::SERVER).or(Contexts::LOCATION);
/// The same and `if` inside a location.
pub const HSLI: Contexts = HSL.or(Contexts::IF_IN_LOCATION);
/// `http` and `server`.
pub const HS: Contexts = Contexts::HTTP.or(Contexts::SERVER);
