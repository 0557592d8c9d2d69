//! Owns the rows of the rewrite directives and their words as written.
//!
//! Must not compile expressions or variables; that waits until all names are known.

use super::condition;
use super::inside;
use crate::conf::values::{self, parse_number};
use crate::conf::{Args, Contexts, Directive, Env, Error, Row, Word};
use crate::http::draft::{HSLI, Scope, block, row};

/// One directive as written.
#[derive(Debug, Clone)]
pub(super) enum Written {
    Rewrite(WrittenRewrite),
    Return {
        status: u16,
        text: Option<Word>,
    },
    Break,
    /// `name` is without its dollar sign.
    Set {
        name: Word,
        value: Word,
    },
    /// `inner` is the number of the location that stands for the block; none at server level.
    If {
        condition: condition::Written,
        inner: Option<usize>,
        steps: Vec<Written>,
    },
}

/// `rewrite pattern replacement [flag]`.
#[derive(Debug, Clone)]
pub(super) struct WrittenRewrite {
    pub pattern: Word,
    pub replacement: Word,
    pub flag: Flag,
}

/// What happens after a rewrite that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    /// The next directive.
    None,
    /// The program ends.
    Last,
    /// The program ends and the location stays.
    Break,
    /// 302.
    Redirect,
    /// 301.
    Permanent,
}

/// Where programs stand.
const PROGRAM: Contexts =
    Contexts::SERVER.or(Contexts::LOCATION).or(Contexts::IF_IN_SERVER).or(Contexts::IF_IN_LOCATION);

/// A replacement or URL that is a redirect whatever flag it has.
pub(super) fn is_absolute(text: &[u8]) -> bool {
    [&b"http://"[..], b"https://", b"$scheme"].iter().any(|start| text.starts_with(start))
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "rewrite",
        PROGRAM,
        Args::Between(2, 3),
        "Replaces a URI that matches a regular expression; then goes on, or does as the flag says: `last`, \
         `break`, `redirect`, `permanent`.",
        rewrite,
    ),
    row(
        "return",
        PROGRAM,
        Args::Between(1, 2),
        "Answers with a status, and with a text or an address for those that redirect; 444 closes the \
         connection without an answer.",
        r#return,
    ),
    row(
        "break",
        PROGRAM,
        Args::None,
        "Ends the rewrite directives of this level.",
        |scope, _, _| {
            scope.drafts.rewrite.steps.push(Written::Break);
            Ok(())
        },
    ),
    block(
        "if",
        Contexts::SERVER.or(Contexts::LOCATION),
        Args::AtLeast(1),
        "Runs and puts in force what is inside when the condition holds: a variable alone, `=`, `!=`, `~`, \
         `~*`, `!~`, `!~*`, `-f`, `-d`, `-e`, `-x` and their negations.",
        r#if,
    ),
    row("set", PROGRAM, Args::Exactly(2), "Gives a variable a value.", set),
    row(
        "rewrite_log",
        HSLI.or(Contexts::IF_IN_SERVER),
        Args::Flag,
        "Whether the error log tells what rewrite directives do, at level notice; default off.",
        |scope, dir, _| values::flag(&mut scope.drafts.rewrite.log, dir),
    ),
    row(
        "uninitialized_variable_warn",
        HSLI.or(Contexts::IF_IN_SERVER),
        Args::Flag,
        "Whether the error log tells of variables read before they were set; default on.",
        |scope, dir, _| values::flag(&mut scope.drafts.rewrite.warn, dir),
    ),
];

fn rewrite(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let (pattern, replacement) = (dir.arg(0).clone(), dir.arg(1).clone());
    if replacement.text.is_empty() {
        return Err(replacement.error("empty replacement"));
    }
    let word = dir.arg(2);
    let flag = match &word.text[..] {
        b"last" => Flag::Last,
        b"break" => Flag::Break,
        b"redirect" => Flag::Redirect,
        b"permanent" => Flag::Permanent,
        _ if dir.args.len() == 2 => Flag::None,
        _ => {
            return Err(word
                .error(format_args!("invalid parameter \"{}\"", word.lossy()))
                .with_help("it must be one of \"last\", \"break\", \"redirect\", \"permanent\""));
        }
    };
    let written = WrittenRewrite { pattern, replacement, flag };
    scope.drafts.rewrite.steps.push(Written::Rewrite(written));
    Ok(())
}

fn r#return(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let first = dir.arg(0);
    let step = match parse_number(&first.text) {
        Some(status @ 0..=999) => {
            let status = u16::try_from(status).unwrap_or_default();
            Written::Return { status, text: dir.args.get(1).cloned() }
        }
        None if dir.args.len() == 1 && is_absolute(&first.text) => {
            Written::Return { status: 302, text: Some(first.clone()) }
        }
        _ => {
            return Err(first.error(format_args!("invalid return code \"{}\"", first.lossy())));
        }
    };
    scope.drafts.rewrite.steps.push(step);
    Ok(())
}

fn set(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let word = dir.arg(0);
    let Some(name) = word.text.strip_prefix(b"$").filter(|name| !name.is_empty()) else {
        return Err(word.error(format_args!("invalid variable name \"{}\"", word.lossy())));
    };
    let name = Word { text: name.to_vec(), ..word.clone() };
    scope.drafts.rewrite.steps.push(Written::Set { name, value: dir.arg(1).clone() });
    Ok(())
}

fn r#if(scope: &mut Scope, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    let condition = condition::read(dir);
    // The block is read whatever the condition came to, so that its errors are shown too.
    let context = inside(scope.context);
    let (inner, steps) = if context == Contexts::IF_IN_LOCATION {
        let number = scope.inner(context, dir, env);
        let body =
            scope.locations.get_mut(number).map(|inner| &mut inner.scope.drafts.rewrite.steps);
        // nginx compiles an `if` into its parent's program: entering the block runs nothing twice.
        (Some(number), body.map(std::mem::take).unwrap_or_default())
    } else {
        let mut body = Scope::new(context, dir.span);
        body.read(dir.block.as_deref().unwrap_or_default(), env);
        (None, std::mem::take(&mut body.drafts.rewrite.steps))
    };
    let step = Written::If { condition: condition?, inner, steps };
    scope.drafts.rewrite.steps.push(step);
    Ok(())
}
