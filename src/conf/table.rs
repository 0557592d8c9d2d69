//! Tables of directives: what is allowed where with how many arguments, and the code that takes it.
//! Must not contain a directive; modules bring their rows.

use std::collections::BTreeMap;
use std::ops::BitOr;

use super::{Directive, Env, Error, values};

/// A set of places a directive may stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contexts(u32);

impl Contexts {
    pub const MAIN: Self = Self(1);
    pub const EVENTS: Self = Self(1 << 1);
    pub const HTTP: Self = Self(1 << 2);
    pub const SERVER: Self = Self(1 << 3);
    pub const LOCATION: Self = Self(1 << 4);
    pub const IF_IN_SERVER: Self = Self(1 << 5);
    pub const IF_IN_LOCATION: Self = Self(1 << 6);
    pub const LIMIT_EXCEPT: Self = Self(1 << 7);
    pub const UPSTREAM: Self = Self(1 << 8);
    pub const STREAM: Self = Self(1 << 9);
    pub const MAIL: Self = Self(1 << 10);

    /// Both sets together; for constants, where `|` cannot be used.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the two sets share a place.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The places by the names of their blocks.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [&str; 11] = [
            "main",
            "events",
            "http",
            "server",
            "location",
            "if in server",
            "if in location",
            "limit_except",
            "upstream",
            "stream",
            "mail",
        ];
        NAMES
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| name)
    }
}

impl BitOr for Contexts {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}

/// How many arguments a directive takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Args {
    None,
    Exactly(u8),
    /// Both ends included.
    Between(u8, u8),
    AtLeast(u8),
    /// One, `on` or `off`.
    Flag,
    Any,
}

/// The code that takes a directive into `T`.
pub type Setter<T> = fn(&mut T, &Directive, &mut Env<'_>) -> Result<(), Error>;

/// What happens with a directive.
pub enum Action<T> {
    /// It ends with `;`.
    Set(Setter<T>),
    /// It has a block.
    Block(Setter<T>),
    /// Accepted and listed by `-t`: it tunes what only nginx has.
    NoEffect,
    /// Known to nginx, refused here.
    NotYet,
}

/// One directive beside its code.
pub struct Row<T: 'static> {
    pub name: &'static str,
    pub contexts: Contexts,
    pub args: Args,
    /// One sentence for `docs/directives.md`.
    pub doc: &'static str,
    pub action: Action<T>,
}

/// Every directive that may fill a `T`.
pub struct Table<T: 'static> {
    rows: Vec<&'static Row<T>>,
    by_name: BTreeMap<&'static str, Vec<&'static Row<T>>>,
}

impl<T> Table<T> {
    /// One table of the rows of many modules; rows may share a name when their contexts differ.
    pub fn new(groups: &[&'static [Row<T>]]) -> Self {
        let rows: Vec<_> = groups.iter().copied().flatten().collect();
        let mut by_name: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for &row in &rows {
            by_name.entry(row.name).or_default().push(row);
        }
        Self { rows, by_name }
    }

    /// The rows in the order of the modules.
    pub fn rows(&self) -> impl Iterator<Item = &'static Row<T>> {
        self.rows.iter().copied()
    }

    /// Whether any row has this name.
    pub fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Takes each of `directives` into `target`. What is wrong goes to `env` and the next one follows.
    ///
    /// `context` is the one place they stand in. `known_elsewhere` answers for other tables: a name
    /// it knows is out of place, not unknown.
    pub fn apply(
        &self,
        target: &mut T,
        context: Contexts,
        directives: &[Directive],
        env: &mut Env<'_>,
        known_elsewhere: &dyn Fn(&str) -> bool,
    ) {
        for directive in directives {
            if let Err(error) = self.one(target, context, directive, env, known_elsewhere) {
                env.report(error);
            }
        }
    }

    fn one(
        &self,
        target: &mut T,
        context: Contexts,
        directive: &Directive,
        env: &mut Env<'_>,
        known_elsewhere: &dyn Fn(&str) -> bool,
    ) -> Result<(), Error> {
        let name = &*directive.name_str();
        let rows = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let Some(row) = rows.iter().find(|row| row.contexts.contains(context)) else {
            return Err(self.misplaced(context, directive, rows, known_elsewhere(name)));
        };
        if !matches!(row.action, Action::NotYet) {
            check_end(directive, matches!(row.action, Action::Block(_)))?;
            self.check_count(directive, row.args, env)?;
        }
        match row.action {
            Action::Set(setter) | Action::Block(setter) => setter(target, directive, env)?,
            Action::NoEffect => {
                if row.args == Args::Flag {
                    values::flag(&mut None, directive)?;
                }
                env.no_effect.entry(name.to_owned()).or_insert(directive.name.span);
            }
            Action::NotYet => {
                let why =
                    |doc: &'static str| doc.strip_prefix("Not supported yet: ")?.strip_suffix('.');
                let reason = why(row.doc).filter(|why| !why.is_empty());
                let (colon, reason) = reason.map_or(("", ""), |why| (": ", why));
                return Err(directive.error(format_args!(
                    "\"{name}\" directive is not supported yet{colon}{reason}"
                )));
            }
        }
        Ok(())
    }

    fn misplaced(
        &self,
        context: Contexts,
        directive: &Directive,
        rows: &[&Row<T>],
        known_elsewhere: bool,
    ) -> Error {
        let name = directive.name_str();
        if rows.is_empty() && !known_elsewhere {
            let error = directive.error(format_args!("unknown directive \"{name}\""));
            return match self.closest(&name, context) {
                Some(close) => error.with_help(format!("did you mean \"{close}\"?")),
                None => error,
            };
        }
        let error = directive.error(format_args!("\"{name}\" directive is not allowed here"));
        let everywhere = rows.iter().fold(Contexts(0), |all, row| all | row.contexts);
        let places: Vec<_> = everywhere.names().collect();
        if places.is_empty() {
            return error;
        }
        error.with_help(format!("it may stand in: {}", places.join(", ")))
    }

    /// The name `written` was probably meant to be; names that may stand here come first.
    fn closest(&self, written: &str, context: Contexts) -> Option<&'static str> {
        const LONGEST: usize = 64;
        if written.len() > LONGEST {
            return None;
        }
        let near = |row: &&'static Row<T>| {
            let distance = strsim::osa_distance(written, row.name);
            (distance <= (written.chars().count() / 3).max(1)).then_some((distance, row.name))
        };
        let here = self.rows().filter(|row| row.contexts.contains(context));
        let best = here.filter_map(|row| near(&row)).min();
        best.or_else(|| self.rows().filter_map(|row| near(&row)).min()).map(|(_, name)| name)
    }

    fn check_count(&self, directive: &Directive, args: Args, env: &Env<'_>) -> Result<(), Error> {
        let count = directive.args.len();
        let (least, most) = match args {
            Args::None => (0, 0),
            Args::Exactly(n) => (n, n),
            Args::Between(least, most) => (least, most),
            Args::AtLeast(least) => (least, u8::MAX),
            Args::Flag => (1, 1),
            Args::Any => (0, u8::MAX),
        };
        let enough = count >= usize::from(least) && (most == u8::MAX || count <= usize::from(most));
        if enough {
            return Ok(());
        }
        let name = directive.name_str();
        let error =
            directive.error(format_args!("invalid number of arguments in \"{name}\" directive"));
        Err(match self.lost_semicolon(directive, env) {
            Some(help) => error.with_help(help),
            None => error.with_help(format!("{} given, it takes {}", count, wanted(least, most))),
        })
    }

    /// Names the line that should have ended with `;` when an argument starts a later line and is
    /// itself the name of a directive: the usual reason for too many arguments.
    fn lost_semicolon(&self, directive: &Directive, env: &Env<'_>) -> Option<String> {
        let line = |span| env.sources.position(span).map(|at| at.line);
        let mut last = line(directive.name.span)?;
        for arg in &directive.args {
            let now = line(arg.span)?;
            if now > last && self.knows(&arg.lossy()) {
                return Some(format!("is a \";\" missing at the end of line {last}?"));
            }
            last = now;
        }
        None
    }
}

fn check_end(directive: &Directive, wants_block: bool) -> Result<(), Error> {
    let name = directive.name_str();
    match (&directive.block, wants_block) {
        (None, true) => {
            Err(directive.error(format_args!("directive \"{name}\" has no opening \"{{\"")))
        }
        (Some(_), false) => {
            Err(directive.error(format_args!("directive \"{name}\" is not terminated by \";\"")))
        }
        _ => Ok(()),
    }
}

fn wanted(least: u8, most: u8) -> String {
    match (least, most) {
        (0, 0) => "none".into(),
        (least, u8::MAX) => format!("at least {least}"),
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{Bundle, parse};
    use std::path::Path;

    #[derive(Default)]
    struct Draft {
        port: Option<u16>,
        blocks: usize,
    }

    const ROWS: &[Row<Draft>] = &[
        Row {
            name: "listen",
            contexts: Contexts::SERVER.or(Contexts::MAIL),
            args: Args::Between(1, 2),
            doc: "",
            action: Action::Set(|draft, directive, _| values::number(&mut draft.port, directive)),
        },
        Row {
            name: "location",
            contexts: Contexts::SERVER,
            args: Args::AtLeast(1),
            doc: "",
            action: Action::Block(|draft, _, _| {
                draft.blocks += 1;
                Ok(())
            }),
        },
        Row {
            name: "sendfile",
            contexts: Contexts::SERVER,
            args: Args::Flag,
            doc: "",
            action: Action::NoEffect,
        },
        Row {
            name: "perl",
            contexts: Contexts::SERVER,
            args: Args::Any,
            doc: "",
            action: Action::NotYet,
        },
        Row {
            name: "server",
            contexts: Contexts::HTTP,
            args: Args::None,
            doc: "",
            action: Action::NotYet,
        },
    ];

    fn apply(text: &str) -> (Draft, Vec<Error>, Vec<String>) {
        let mut world = Bundle::of(&[("/main", text)]);
        let mut env = Env::new(&mut world, Path::new("/"), Path::new("/"));
        let tree = parse(&mut env, Path::new("/main"));
        let mut draft = Draft::default();
        Table::new(&[ROWS])
            .apply(&mut draft, Contexts::SERVER, &tree, &mut env, &|name| name == "user");
        (draft, env.errors, env.no_effect.into_keys().collect())
    }

    fn error(text: &str) -> (String, String) {
        let (_, mut errors, _) = apply(text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        let error = errors.remove(0);
        (error.message, error.help.unwrap_or_default())
    }

    #[test]
    fn directives_reach_their_setters() {
        let (draft, errors, no_effect) =
            apply("listen 80; location / { anything here; } sendfile on; sendfile off;");
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!((draft.port, draft.blocks), (Some(80), 1));
        assert_eq!(no_effect, ["sendfile"]);
    }

    #[test]
    fn every_refusal_has_nginxs_sentence() {
        for (text, message, help) in [
            ("listn 80;", "unknown directive \"listn\"", "did you mean \"listen\"?"),
            ("serve;", "unknown directive \"serve\"", "did you mean \"server\"?"),
            ("zzz;", "unknown directive \"zzz\"", ""),
            ("server {}", "\"server\" directive is not allowed here", "it may stand in: http"),
            ("user www;", "\"user\" directive is not allowed here", ""),
            ("location /;", "directive \"location\" has no opening \"{\"", ""),
            ("listen 80 {}", "directive \"listen\" is not terminated by \";\"", ""),
            (
                "listen;",
                "invalid number of arguments in \"listen\" directive",
                "0 given, it takes 1 to 2",
            ),
            (
                "listen 80\nsendfile on;",
                "invalid number of arguments in \"listen\" directive",
                "is a \";\" missing at the end of line 1?",
            ),
            ("perl a b {}", "\"perl\" directive is not supported yet", ""),
            (
                "sendfile maybe;",
                "invalid value \"maybe\" in \"sendfile\" directive, it must be \"on\" or \"off\"",
                "",
            ),
        ] {
            assert_eq!(error(text), (message.to_owned(), help.to_owned()), "{text}");
        }
    }

    #[test]
    fn one_error_does_not_hide_the_next() {
        let (draft, errors, _) = apply("foo; listen x; perl; listen 81; listen 82;");
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert_eq!(draft.port, Some(81));
    }
}
