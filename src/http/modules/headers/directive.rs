//! Owns the directives of added fields and how inner blocks inherit them.
//!
//! Must not add anything to an answer.

use super::expires::{Expires, Written};
use super::{Added, Conf};
use crate::conf::{Args, Directive, Error, Row, Word, values};
use crate::http::draft::{HSLI, Scope, row};
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::modules::inherit;

/// One `add_header` or `add_trailer` as written.
#[derive(Debug, Clone)]
struct Field {
    name: Word,
    value: Word,
    always: bool,
}

/// What an inner block does with the fields of the outer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inherit {
    Off,
    /// Takes them when it has none of its own.
    On,
    /// Adds them after its own.
    Merge,
}

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    headers: Vec<Field>,
    trailers: Vec<Field>,
    headers_inherit: Option<Inherit>,
    trailers_inherit: Option<Inherit>,
    expires: Option<Written>,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; headers_inherit, trailers_inherit, expires);
        take_over(&mut self.headers, &outer.headers, self.headers_inherit);
        take_over(&mut self.trailers, &outer.trailers, self.trailers_inherit);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let expires = self.expires.as_ref().and_then(|written| Expires::finish(written, cx));
        Conf { headers: compile(&self.headers, cx), trailers: compile(&self.trailers, cx), expires }
    }
}

fn take_over(own: &mut Vec<Field>, outer: &[Field], how: Option<Inherit>) {
    let wanted = match how.unwrap_or(Inherit::On) {
        Inherit::Off => false,
        Inherit::On => own.is_empty(),
        Inherit::Merge => true,
    };
    if wanted {
        own.extend_from_slice(outer);
    }
}

fn compile(fields: &[Field], cx: &mut Finish) -> Vec<Added> {
    let added = fields.iter().map(|field| Added {
        name: field.name.text.clone(),
        id: Name::of(&field.name.text),
        value: cx.template(&field.value),
        always: field.always,
    });
    added.collect()
}

/// `add_header name value [always]`.
fn add(fields: &mut Vec<Field>, dir: &Directive) -> Result<(), Error> {
    let always = dir.args.len() == 3;
    let last = dir.arg(2);
    if always && last.text != b"always" {
        return Err(last.error(format!("invalid parameter \"{}\"", last.lossy())));
    }
    fields.push(Field { name: dir.arg(0).clone(), value: dir.arg(1).clone(), always });
    Ok(())
}

const INHERIT: &[(&str, Inherit)] =
    &[("off", Inherit::Off), ("on", Inherit::On), ("merge", Inherit::Merge)];

pub static ROWS: &[Row<Scope>] = &[
    row(
        "expires",
        HSLI,
        Args::Between(1, 2),
        "Sets `Expires` and `Cache-Control`: `[modified] time`, `@time`, `epoch`, `max` or `off` \
         (default).",
        |s, dir, _| {
            let slot = &mut s.drafts.headers.expires;
            values::once(slot, dir)?;
            *slot = Some(Written::read(dir)?);
            Ok(())
        },
    ),
    row(
        "add_header",
        HSLI,
        Args::Between(2, 3),
        "Adds a field to answers of the usual statuses, or of all with `always`.",
        |s, dir, _| add(&mut s.drafts.headers.headers, dir),
    ),
    row(
        "add_trailer",
        HSLI,
        Args::Between(2, 3),
        "Adds a field after the body of such answers.",
        |s, dir, _| add(&mut s.drafts.headers.trailers, dir),
    ),
    row(
        "add_header_inherit",
        HSLI,
        Args::Exactly(1),
        "How fields of the outer block are taken over: `on` (when there are none here, default), \
         `off` or `merge`.",
        |s, dir, _| values::choice(&mut s.drafts.headers.headers_inherit, dir, INHERIT),
    ),
    row("add_trailer_inherit", HSLI, Args::Exactly(1), "The same for trailers.", |s, dir, _| {
        values::choice(&mut s.drafts.headers.trailers_inherit, dir, INHERIT)
    }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{Contexts, Disk, Env, Span, parse_text};
    use std::path::Path;

    fn read(text: &str) -> (Draft, Vec<String>) {
        let mut world = Disk;
        let mut env = Env::new(&mut world, Path::new("/"), Path::new("/"));
        let directives = parse_text(&mut env, "test", text.as_bytes());
        let mut scope = Scope::new(Contexts::LOCATION, Span::NOWHERE);
        scope.read(&directives, &mut env);
        (
            Draft::clone(&scope.drafts.headers),
            env.errors.iter().map(|e| e.message.clone()).collect(),
        )
    }

    fn inherited(outer: &str, inner: &str) -> String {
        let mut inner = read(inner).0;
        inner.inherit(&read(outer).0);
        inner.headers.iter().map(|field| field.name.lossy().into_owned()).collect()
    }

    #[test]
    fn fields_are_inherited_whole_or_merged() {
        let outer = "add_header A 1; add_header B 2 always;";
        assert_eq!(inherited(outer, ""), "AB");
        assert_eq!(inherited(outer, "add_header C 3;"), "C");
        assert_eq!(inherited(outer, "add_header C 3; add_header_inherit merge;"), "CAB");
        assert_eq!(inherited(outer, "add_header_inherit off;"), "");
        let merging = "add_header A 1; add_header_inherit merge;";
        assert_eq!(inherited(merging, "add_header C 3;"), "CA");
    }

    #[test]
    fn errors_are_nginx_s() {
        for (text, error) in [
            ("add_header A 1 often;", "invalid parameter \"often\""),
            ("expires bad;", "\"expires\" directive invalid value"),
            ("expires changed 1d;", "\"expires\" directive invalid value"),
            (
                "expires modified @1h;",
                "\"expires\" directive daily time cannot be used with \"modified\" parameter",
            ),
            ("expires @25h;", "\"expires\" directive daily time value must be less than 24 hours"),
            ("expires 1d; expires 2d;", "\"expires\" directive is duplicate"),
        ] {
            assert_eq!(read(text).1, [error], "{text}");
        }
        assert!(read("expires modified $x; expires_x 1;").1[0].contains("unknown directive"));
    }
}
