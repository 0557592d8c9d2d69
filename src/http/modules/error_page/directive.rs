//! Owns the directives of error pages.
//!
//! Must not answer anything.

use super::{Conf, Page};
use crate::conf::{Args, Directive, Error, Row, Word, values};
use crate::http::draft::{HSL, HSLI, Scope, row};
use crate::http::finish::Finish;
use crate::http::modules::inherit;

/// One status of an `error_page` as written.
#[derive(Debug, Clone)]
struct Written {
    status: u16,
    overwrite: Option<u16>,
    target: Word,
}

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    pages: Option<Vec<Written>>,
    recursive: Option<bool>,
    msie_padding: Option<bool>,
    msie_refresh: Option<bool>,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; pages, recursive, msie_padding, msie_refresh);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let pages = self.pages.iter().flatten().map(|page| Page {
            status: page.status,
            overwrite: page.overwrite,
            target: cx.template(&page.target),
        });
        Conf {
            pages: pages.collect(),
            recursive: self.recursive.unwrap_or(false),
            msie_padding: self.msie_padding.unwrap_or(true),
            msie_refresh: self.msie_refresh.unwrap_or(false),
        }
    }
}

fn invalid(word: &Word) -> Error {
    word.error(format!("invalid value \"{}\"", word.lossy()))
}

/// `error_page code … [=[response]] uri`.
fn set(scope: &mut Scope, dir: &Directive) -> Result<(), Error> {
    let Some((target, words)) = dir.args.split_last() else { return Ok(()) };
    let (overwrite, codes) = match words.split_last() {
        Some((last, codes)) if last.text.starts_with(b"=") => {
            if codes.is_empty() {
                return Err(invalid(last));
            }
            (Some(response(last)?), codes)
        }
        _ => (None, words),
    };
    let pages = scope.drafts.error_page.pages.get_or_insert_default();
    for code in codes {
        let status = status(code)?;
        // These are known to nobody else: the client sees 400.
        let overwrite = overwrite.or(matches!(status, 494..=497).then_some(400));
        pages.push(Written { status, overwrite, target: target.clone() });
    }
    Ok(())
}

/// `=code`; `=` alone is 0.
fn response(word: &Word) -> Result<u16, Error> {
    if word.text.len() == 1 {
        return Ok(0);
    }
    let code = values::parse_number(&word.text[1..]).and_then(|code| u16::try_from(code).ok());
    code.ok_or_else(|| invalid(word))
}

fn status(word: &Word) -> Result<u16, Error> {
    let code = values::parse_number(&word.text).filter(|code| *code != 499);
    let code = code.ok_or_else(|| invalid(word))?;
    let status = u16::try_from(code).ok().filter(|status| (300..=599).contains(status));
    status.ok_or_else(|| {
        word.error(format!("value \"{}\" must be between 300 and 599", word.lossy()))
    })
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "error_page",
        HSLI,
        Args::AtLeast(2),
        "Answers errors with another URI, `@location` or address: `error_page code … [=[code]] uri`.",
        |s, dir, _| set(s, dir),
    ),
    row(
        "recursive_error_pages",
        HSL,
        Args::Flag,
        "Lets an error inside an error page lead to another one (default off).",
        |s, dir, _| values::flag(&mut s.drafts.error_page.recursive, dir),
    ),
    row(
        "msie_padding",
        HSL,
        Args::Flag,
        "Makes error pages long enough for old browsers to show them (default on).",
        |s, dir, _| values::flag(&mut s.drafts.error_page.msie_padding, dir),
    ),
    row(
        "msie_refresh",
        HSL,
        Args::Flag,
        "Redirects Internet Explorer by a page that refreshes itself (default off).",
        |s, dir, _| values::flag(&mut s.drafts.error_page.msie_refresh, dir),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{Contexts, Disk, Env, Span, parse_text};
    use std::path::Path;

    /// (status, overwrite) of each page, or the first error.
    fn read(text: &str) -> Result<Vec<(u16, Option<u16>)>, String> {
        let mut world = Disk;
        let mut env = Env::new(&mut world, Path::new("/"), Path::new("/"));
        let directives = parse_text(&mut env, "test", text.as_bytes());
        let mut scope = Scope::new(Contexts::HTTP, Span::NOWHERE);
        scope.read(&directives, &mut env);
        if let Some(error) = env.errors.first() {
            return Err(error.message.clone());
        }
        let pages = scope.drafts.error_page.pages.clone().unwrap_or_default();
        Ok(pages.iter().map(|page| (page.status, page.overwrite)).collect())
    }

    #[test]
    fn codes_and_responses_are_read() {
        assert_eq!(read("error_page 404 405 /x;").unwrap(), [(404, None), (405, None)]);
        assert_eq!(read("error_page 404 = /x;").unwrap(), [(404, Some(0))]);
        assert_eq!(read("error_page 404 =200 /x;").unwrap(), [(404, Some(200))]);
        assert_eq!(read("error_page 497 /x;").unwrap(), [(497, Some(400))]);
        assert_eq!(read("error_page 404 /x; error_page 500 /y;").unwrap().len(), 2);
    }

    #[test]
    fn errors_are_nginx_s() {
        for (text, error) in [
            ("error_page =200 /x;", "invalid value \"=200\""),
            ("error_page 404 =a /x;", "invalid value \"=a\""),
            ("error_page 499 /x;", "invalid value \"499\""),
            ("error_page abc /x;", "invalid value \"abc\""),
            ("error_page 200 /x;", "value \"200\" must be between 300 and 599"),
            ("error_page 404;", "invalid number of arguments in \"error_page\" directive"),
        ] {
            assert_eq!(read(text).unwrap_err(), error);
        }
    }
}
