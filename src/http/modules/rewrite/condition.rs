//! Owns the conditions of `if`: their words, and their truth for a request.
//!
//! Must not run what they guard.

use super::run::Run;
use crate::conf::{Directive, Error, Word};
use crate::http::finish::Finish;
use crate::http::regex::Regex;
use crate::http::request::Request;
use crate::http::template::Template;
use crate::log::{Level, os_error};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

/// A condition as written.
#[derive(Debug, Clone)]
pub(super) enum Written {
    True { variable: Word },
    Equal { variable: Word, value: Word, negated: bool },
    Match { variable: Word, pattern: Word, caseless: bool, negated: bool },
    File { path: Word, test: FileTest, negated: bool },
}

/// A condition, compiled.
#[derive(Debug)]
pub(super) enum Condition {
    True { variable: Template },
    Equal { variable: Template, value: Template, negated: bool },
    Match { variable: Template, regex: Regex, shown: String, negated: bool },
    File { path: Template, test: FileTest, negated: bool },
}

/// `-f`, `-d`, `-e`, `-x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileTest {
    Plain,
    Directory,
    Exists,
    Executable,
}

fn invalid(word: &Word) -> Error {
    word.error(format_args!("invalid condition \"{}\"", word.lossy()))
}

/// Reads what stands between the parentheses of `if`.
pub(super) fn read(dir: &Directive) -> Result<Written, Error> {
    let words = unwrap(dir)?;
    let Some(first) = words.first() else { return Err(invalid(dir.arg(0))) };
    match &first.text[..] {
        [b'$', _, ..] => compare(first, &words),
        [b'-', letter] => file(first, &words, *letter, false),
        [b'!', b'-', letter] => file(first, &words, *letter, true),
        _ => Err(invalid(first)),
    }
}

/// The words without their parentheses, which may stand apart or touch.
fn unwrap(dir: &Directive) -> Result<Vec<Word>, Error> {
    let mut words = dir.args.clone();
    if let Some(first) = words.first_mut() {
        let Some(rest) = first.text.strip_prefix(b"(") else { return Err(invalid(first)) };
        first.text = rest.to_vec();
        if first.text.is_empty() {
            words.remove(0);
        }
    }
    if let Some(last) = words.last_mut() {
        let Some(rest) = last.text.strip_suffix(b")") else { return Err(invalid(last)) };
        last.text = rest.to_vec();
        if last.text.is_empty() && !last.quoted {
            words.pop();
        }
    }
    Ok(words)
}

fn compare(first: &Word, words: &[Word]) -> Result<Written, Error> {
    let name = &first.text[1..];
    let plain = name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    // Unlike elsewhere a digit is no capture here, and what follows a name belongs to it.
    if !plain || matches!(name, [b'0'..=b'9']) {
        let shown = String::from_utf8_lossy(name);
        return Err(first.error(format_args!("unknown \"{shown}\" variable")));
    }
    let variable = first.clone();
    let (operator, value) = match words {
        [_] => return Ok(Written::True { variable }),
        [_, operator, value] => (operator, value.clone()),
        _ => return Err(invalid(first)),
    };
    let negated = operator.text.first() == Some(&b'!');
    Ok(match &operator.text[..] {
        b"=" | b"!=" => Written::Equal { variable, value, negated },
        b"~" | b"!~" => Written::Match { variable, pattern: value, caseless: false, negated },
        b"~*" | b"!~*" => Written::Match { variable, pattern: value, caseless: true, negated },
        _ => {
            let shown = operator.lossy();
            return Err(operator.error(format_args!("unexpected \"{shown}\" in condition")));
        }
    })
}

fn file(first: &Word, words: &[Word], letter: u8, negated: bool) -> Result<Written, Error> {
    let test = match letter {
        b'f' => FileTest::Plain,
        b'd' => FileTest::Directory,
        b'e' => FileTest::Exists,
        b'x' => FileTest::Executable,
        _ => return Err(invalid(first)),
    };
    match words {
        [_, path] => Ok(Written::File { path: path.clone(), test, negated }),
        _ => Err(invalid(first)),
    }
}

impl Condition {
    /// Compiles; `None` when an expression is wrong, which has been reported.
    pub fn compile(written: &Written, cx: &mut Finish) -> Option<Self> {
        Some(match written {
            Written::True { variable } => Self::True { variable: cx.template(variable) },
            Written::Equal { variable, value, negated } => Self::Equal {
                variable: cx.template(variable),
                value: cx.template(value),
                negated: *negated,
            },
            Written::Match { variable, pattern, caseless, negated } => {
                let text = pattern.str().map_err(|error| cx.report(error)).ok()?;
                Self::Match {
                    variable: cx.template(variable),
                    shown: text.to_owned(),
                    regex: cx.regex(pattern, text, *caseless)?,
                    negated: *negated,
                }
            }
            Written::File { path, test, negated } => {
                Self::File { path: cx.template(path), test: *test, negated: *negated }
            }
        })
    }

    /// Whether it holds. A match replaces the request's captures; a failed one forgets them.
    pub fn holds(&self, run: &Run, req: &mut Request) -> bool {
        match self {
            Self::True { variable } => variable.is_true(req),
            Self::Equal { variable, value, negated } => {
                (*variable.value(req) == *run.value(value, req)) != *negated
            }
            Self::Match { variable, regex, shown, negated } => {
                let subject = variable.value(req).into_owned();
                let hit = regex.apply_in(&subject, req);
                if !hit {
                    req.captures.get_mut().groups.clear();
                }
                run.log_match(req, shown, &subject, hit);
                hit != *negated
            }
            Self::File { path, test, negated } => {
                let path = run.value(path, req);
                test_file(req, &path, *test) != *negated
            }
        }
    }
}

fn test_file(req: &Request, path: &[u8], test: FileTest) -> bool {
    match std::fs::metadata(OsStr::from_bytes(path)) {
        Ok(meta) => test.holds(&meta),
        Err(error) => {
            use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
            if !matches!(error.kind(), NotFound | NotADirectory | InvalidFilename) {
                let (path, why) = (String::from_utf8_lossy(path), os_error(&error));
                req.log(Level::Crit, format_args!("stat() \"{path}\" failed{why}"));
            }
            false
        }
    }
}

impl FileTest {
    fn holds(self, meta: &Metadata) -> bool {
        match self {
            Self::Plain => meta.is_file(),
            Self::Directory => meta.is_dir(),
            // Neither sockets nor devices, as in nginx.
            Self::Exists => meta.is_file() || meta.is_dir(),
            Self::Executable => meta.permissions().mode() & 0o100 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{Bundle, Env, parse};
    use std::path::Path;

    fn condition(text: &str) -> String {
        let mut world = Bundle::of(&[("/test", &format!("if {text} {{ }}"))]);
        let mut env = Env::new(&mut world, Path::new("/"), Path::new("/"));
        let tree = parse(&mut env, Path::new("/test"));
        match read(&tree[0]) {
            Err(error) => error.message,
            Ok(Written::True { variable }) => format!("true {}", variable.lossy()),
            Ok(Written::Equal { variable, value, negated }) => {
                format!("equal {} {:?} {negated}", variable.lossy(), value.lossy())
            }
            Ok(Written::Match { variable, pattern, caseless, negated }) => {
                format!("match {} {} {caseless} {negated}", variable.lossy(), pattern.lossy())
            }
            Ok(Written::File { path, test, negated }) => {
                format!("file {} {test:?} {negated}", path.lossy())
            }
        }
    }

    #[test]
    fn forms() {
        for (text, expected) in [
            ("($a)", "true $a"),
            ("( $a )", "true $a"),
            ("($a = b)", "equal $a \"b\" false"),
            ("( $a != b )", "equal $a \"b\" true"),
            ("($a = \"\")", "equal $a \"\" false"),
            ("($a ~ x$)", "match $a x$ false false"),
            ("($a !~* \"^(a|b)\")", "match $a ^(a|b) true true"),
            ("(-f $request_filename)", "file $request_filename Plain false"),
            ("(!-d /x)", "file /x Directory true"),
            ("(!-e /x)", "file /x Exists true"),
            ("( -x /x )", "file /x Executable false"),
        ] {
            assert_eq!(condition(text), expected, "{text}");
        }
    }

    #[test]
    fn complaints_are_nginxs() {
        for (text, expected) in [
            ("$a", "invalid condition \"$a\""),
            ("($a", "invalid condition \"$a\""),
            ("(a)", "invalid condition \"a\""),
            ("($)", "invalid condition \"$\""),
            ("($a = )", "invalid condition \"$a\""),
            ("($a = b c)", "invalid condition \"$a\""),
            ("($a == b)", "unexpected \"==\" in condition"),
            ("(-q /x)", "invalid condition \"-q\""),
            ("(-f)", "invalid condition \"-f\""),
            ("($1 = x)", "unknown \"1\" variable"),
            ("(${a} = x)", "unknown \"{a}\" variable"),
        ] {
            assert_eq!(condition(text), expected, "{text}");
        }
    }
}
