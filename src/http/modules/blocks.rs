//! Owns the rows of the blocks that `http {}` is built of, and `limit_except`'s choice by method.
//!
//! Must not read what is inside them; `draft` does.

use crate::conf::{Args, Contexts, Directive, Env, Error, Row};
use crate::http::draft::{self, Scope, block};
use crate::http::finish::Finish;
use crate::http::method::{METHODS, Method};
use crate::http::request::Request;
use crate::http::vars::Variable;

/// As written. The blocks themselves stand in `Scope`.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    /// The methods that `limit_except` excepts, and the number of its block among the inner ones.
    except: Option<(Vec<Method>, usize)>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    except: Option<Except>,
}

/// `limit_except`.
#[derive(Debug)]
struct Except {
    methods: Vec<Method>,
    /// The location that stands for the block.
    location: usize,
}

impl Draft {
    /// Blocks are not inherited.
    pub fn inherit(&mut self, _outer: &Self) {}

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let compile = |(methods, number): &(Vec<_>, usize)| {
            let location = *cx.inner.get(*number)?;
            Some(Except { methods: methods.clone(), location })
        };
        Conf { except: self.except.as_ref().and_then(compile) }
    }
}

pub static ROWS: &[Row<Scope>] = &[
    block(
        "server",
        Contexts::HTTP,
        Args::None,
        "A virtual server, selected by address and name.",
        draft::server,
    ),
    block(
        "location",
        Contexts::SERVER.or(Contexts::LOCATION),
        Args::Between(1, 2),
        "What applies to some of the URIs: a prefix, `= path`, `^~ prefix`, `~ regex`, `~* regex`, \
         `@name`, or `$variable`.",
        draft::location,
    ),
    block(
        "limit_except",
        Contexts::LOCATION,
        Args::AtLeast(1),
        "What applies to all methods but these; `GET` stands for `HEAD` too.",
        limit_except,
    ),
];

fn limit_except(scope: &mut Scope, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    if scope.drafts.blocks.except.is_some() {
        return Err(dir.error("\"limit_except\" directive is duplicate"));
    }
    let mut methods = Vec::with_capacity(dir.args.len() + 1);
    for word in &dir.args {
        let named =
            METHODS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(&word.text));
        match named {
            Some((_, method)) if !matches!(method, Method::Trace | Method::Connect) => {
                methods.push(*method);
            }
            _ => return Err(word.error(format_args!("invalid method \"{}\"", word.lossy()))),
        }
    }
    if methods.contains(&Method::Get) {
        methods.push(Method::Head);
    }
    let number = scope.inner(Contexts::LIMIT_EXCEPT, dir, env);
    scope.drafts.blocks.except = Some((methods, number));
    Ok(())
}

pub static VARIABLES: &[Variable] = &[];

/// Goes on in `limit_except` when the selected location has one that is meant for the method.
pub fn enter_limit_except(req: &mut Request) {
    if let Some(except) = &req.conf().blocks.except
        && !except.methods.contains(&req.method)
    {
        req.location = except.location;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Site, errors};
    use crate::http::route::{self, Found};
    use crate::http::snapshot::Kind;

    #[test]
    fn methods_that_are_not_excepted_go_inside() {
        let site = Site::new("", "listen 1; location / { limit_except get put { deny all; } }");
        for (method, inside) in [
            (Method::Get, false),
            (Method::Head, false),
            (Method::Put, false),
            (Method::Post, true),
            (Method::Other, true),
        ] {
            let mut req = site.request();
            let Found::At(at) = route::find_location(&mut req) else { panic!() };
            req.location = at;
            req.method = method;
            enter_limit_except(&mut req);
            assert_eq!(matches!(req.location().kind, Kind::Inner), inside, "{method:?}");
        }
    }

    #[test]
    fn complaints_are_nginxs() {
        for (inside, expected) in [
            ("limit_except FOO { }", "invalid method \"FOO\""),
            ("limit_except TRACE { }", "invalid method \"TRACE\""),
            (
                "limit_except GET { } limit_except PUT { }",
                "\"limit_except\" directive is duplicate",
            ),
            ("limit_except GET { root x; }", "\"root\" directive is not allowed here"),
        ] {
            assert_eq!(errors("", &format!("location / {{ {inside} }}")), [expected], "{inside}");
        }
    }
}
