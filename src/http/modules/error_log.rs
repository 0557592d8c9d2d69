//! Owns `error_log` inside `http`, and what is not worth a line in it.
//!
//! Must not write lines: `Request::log` does, to the set that is in force.

use super::inherit;
use crate::conf::{Args, Directive, Env, Error, Row, Word, values};
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::vars::Variable;
use crate::log::{Level, STDERR, syslog};
use std::path::PathBuf;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    /// Several files may be named in one block.
    targets: Option<Vec<(PathBuf, Level)>>,
    log_not_found: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// Which set of logs; `None` is the process's own.
    pub set: Option<usize>,
    /// Files that are not found are worth a line.
    pub log_not_found: bool,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; targets, log_not_found);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let set = self.targets.as_ref().map(|targets| {
            let files = targets.iter().map(|(path, level)| (*level, cx.log_file(path))).collect();
            cx.error_log(files)
        });
        Conf { set, log_not_found: self.log_not_found.unwrap_or(true) }
    }
}

fn error_log(scope: &mut Scope, dir: &Directive, env: &mut Env<'_>) -> Result<(), Error> {
    let file = dir.arg(0);
    if file.text.starts_with(b"memory:") {
        return Err(file.error("\"error_log memory:\" is not supported yet"));
    }
    let path = if file.text == b"stderr" {
        PathBuf::from(STDERR)
    } else {
        let resolve = |name: &str| env.world.resolve(name).ok()?.first().copied();
        let name = syslog::log_name(&file.text, &env.prefix, resolve);
        name.map_err(|text| file.error(text))?
    };
    let level = least_level(dir.args.get(1..).unwrap_or_default())?;
    scope.drafts.error_log.targets.get_or_insert_default().push((path, level));
    Ok(())
}

/// One level, or any number of debug masks; `error` when there is none.
fn least_level(words: &[Word]) -> Result<Level, Error> {
    let mut found = None;
    for word in words {
        let shown = word.lossy();
        let invalid = || word.error(format_args!("invalid log level \"{shown}\""));
        let level = Level::parse(&shown).ok_or_else(invalid)?;
        let mask = shown.starts_with("debug_");
        match found {
            None => found = Some((level, mask)),
            Some((_, true)) if mask => {}
            Some(_) if mask => return Err(invalid()),
            Some(_) => return Err(word.error(format_args!("duplicate log level \"{shown}\""))),
        }
    }
    Ok(found.map_or(Level::Error, |(level, _)| level))
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "error_log",
        HSL,
        Args::AtLeast(1),
        "File, `stderr` or `syslog:` server, for messages of this level and above; may be given several times.",
        error_log,
    ),
    row(
        "log_not_found",
        HSL,
        Args::Flag,
        "Whether a file that is not found is worth a line in the error log (default on).",
        |scope, dir, _| values::flag(&mut scope.drafts.error_log.log_not_found, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::Span;

    fn level(words: &[&str]) -> Result<Level, String> {
        let word = |text: &&str| Word {
            text: text.as_bytes().to_vec(),
            span: Span::NOWHERE,
            quoted: false,
        };
        let words: Vec<_> = words.iter().map(word).collect();
        least_level(&words).map_err(|error| error.message)
    }

    #[test]
    fn one_level_or_several_masks() {
        assert_eq!(level(&[]), Ok(Level::Error));
        assert_eq!(level(&["crit"]), Ok(Level::Crit));
        assert_eq!(level(&["debug_http", "debug_event"]), Ok(Level::Debug));
    }

    #[test]
    fn bad_levels_are_nginx_s_errors() {
        assert_eq!(level(&["loud"]).unwrap_err(), "invalid log level \"loud\"");
        assert_eq!(level(&["warn", "info"]).unwrap_err(), "duplicate log level \"info\"");
        assert_eq!(level(&["warn", "debug_http"]).unwrap_err(), "invalid log level \"debug_http\"");
        assert_eq!(level(&["debug_http", "warn"]).unwrap_err(), "duplicate log level \"warn\"");
    }
}
