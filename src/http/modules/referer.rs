//! Owns `valid_referers`: which pages may lead here, and `$invalid_referer`.
//!
//! Must not refuse anything; the configuration does.

use crate::conf::{Args, Contexts, Directive, Error, Pattern, Row, Span, Word};
use crate::http::draft::{Scope, row};
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::request::Request;
use crate::http::route::{ServerName, ServerNames};
use crate::http::vars::Variable;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    written: Option<Written>,
}

#[derive(Debug, Clone)]
struct Written {
    span: Span,
    /// Whether a request without the field is right.
    none: bool,
    /// Whether a field that does not begin with a scheme is: somebody has blotted it out on the way.
    blocked: bool,
    server_names: bool,
    /// Names with the beginnings of paths, and regular expressions after `~`.
    words: Vec<Word>,
}

/// In force.
#[derive(Debug, Default)]
pub struct Conf {
    none: bool,
    blocked: bool,
    /// Values are indices of `paths`.
    names: ServerNames,
    /// How the path must begin; empty for any path.
    paths: Vec<Vec<u8>>,
    /// Of the server's names: they are matched with the host alone.
    host_patterns: Vec<Pattern>,
    /// Matched with everything after the scheme.
    patterns: Vec<Pattern>,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        super::inherit!(self, outer; written);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let Some(written) = &self.written else { return Conf::default() };
        let mut conf = Conf { none: written.none, blocked: written.blocked, ..Conf::default() };
        let names = if written.server_names { cx.server_names.clone() } else { Vec::new() };
        let listed = written.words.iter().map(|word| (word, false));
        for (word, own) in listed.chain(names.iter().map(|word| (word, true))) {
            if let Err(error) = conf.add(word, own) {
                cx.report(error);
            }
        }
        if conf.paths.is_empty() && (conf.none || conf.blocked) {
            let message = "the \"none\" or \"blocked\" referers are specified in the \"valid_referers\" \
                           directive without any valid referer";
            cx.report(Error::new(message, written.span));
        }
        conf
    }
}

impl Conf {
    /// Adds a name or an expression; `own` tells that it is one of the server's own names.
    fn add(&mut self, word: &Word, own: bool) -> Result<(), Error> {
        if let Some(text) = word.text.strip_prefix(b"~") {
            if text.is_empty() {
                return Err(word.error("empty regex in \"~\""));
            }
            let text = word.str()?.trim_start_matches('~');
            let pattern = Pattern::new(text, true).map_err(|message| word.error(message))?;
            if own {
                self.host_patterns.push(pattern);
            } else {
                self.patterns.push(pattern);
            }
            return Ok(());
        }
        let slash = memchr::memchr(b'/', &word.text).unwrap_or(word.text.len());
        let (host, path) = word.text.split_at(slash);
        let shown = String::from_utf8_lossy(host);
        let name = ServerName::parse(&host.to_ascii_lowercase())
            .ok_or_else(|| word.error(format_args!("invalid hostname or wildcard \"{shown}\"")))?;
        if !self.names.add(&name, self.paths.len()) {
            return Err(word.error(format_args!("conflicting parameter \"{shown}\"")));
        }
        self.paths.push(path.to_vec());
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.patterns.is_empty() && self.host_patterns.is_empty()
    }

    /// Whether a request that comes from there is right.
    fn allows(&self, referer: Option<&[u8]>) -> bool {
        let Some(referer) = referer else { return self.none };
        let Some(rest) = after_scheme(referer) else { return self.blocked };
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b':')).unwrap_or(rest.len());
        let (host, tail) = rest.split_at(end);
        if host.len() > 256 {
            return false;
        }
        let host = host.to_ascii_lowercase();
        if let Some(wanted) = self.names.find_name(&host).and_then(|at| self.paths.get(at)) {
            let slash = memchr::memchr(b'/', tail).unwrap_or(tail.len());
            return tail.get(slash..).is_some_and(|path| path.starts_with(wanted));
        }
        self.host_patterns.iter().any(|pattern| pattern.is_match(&host))
            || self.patterns.iter().any(|pattern| pattern.is_match(rest))
    }
}

fn after_scheme(referer: &[u8]) -> Option<&[u8]> {
    if referer.len() < b"http://i.ru".len() {
        return None;
    }
    [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
        let (front, rest) = referer.split_at_checked(scheme.len())?;
        front.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

pub static ROWS: &[Row<Scope>] = &[row(
    "valid_referers",
    Contexts::SERVER.or(Contexts::LOCATION),
    Args::AtLeast(1),
    "The pages that may lead here: `none` (no page), `blocked` (one that is not told), `server_names`, names \
     with `*` and the beginning of a path, regular expressions after `~`; others set `$invalid_referer`.",
    |scope, dir, _| {
        add(&mut scope.drafts.referer, dir);
        Ok(())
    },
)];

fn add(draft: &mut Draft, dir: &Directive) {
    let written = draft.written.get_or_insert_with(|| Written {
        span: dir.span,
        none: false,
        blocked: false,
        server_names: false,
        words: Vec::new(),
    });
    for word in &dir.args {
        match &word.text[..] {
            b"none" => written.none = true,
            b"blocked" => written.blocked = true,
            b"server_names" => written.server_names = true,
            _ => written.words.push(word.clone()),
        }
    }
}

pub static VARIABLES: &[Variable] = &[Variable {
    name: "invalid_referer",
    doc: "`1` when the `Referer` field is none of `valid_referers`, else empty.",
    get: |req, _, out| {
        if is_invalid(req) {
            out.push(b'1');
        }
        true
    },
}];

fn is_invalid(req: &Request) -> bool {
    let conf = &req.conf().referer;
    !conf.is_empty() && !conf.allows(req.head.headers.get(Name::Referer))
}

#[cfg(test)]
mod tests {
    use crate::http::fixture::{errors, snapshot};

    fn allowed(conf: &str, referers: &[&str]) -> Vec<bool> {
        let server = format!("listen 1; server_name own.example ~^re; valid_referers {conf};");
        let (snapshot, _) = snapshot("", &server);
        let conf = &snapshot.conf(snapshot.servers[0].root).referer;
        let given =
            |referer: &str| conf.allows((!referer.is_empty()).then_some(referer.as_bytes()));
        referers.iter().map(|referer| given(referer)).collect()
    }

    #[test]
    fn pages_are_known_by_host_and_path() {
        assert_eq!(
            allowed(
                "a.example *.b.example/x c.*",
                &[
                    "http://a.example/",
                    "HTTPS://A.Example:80/y",
                    "http://w.b.example/xy",
                    "http://w.b.example/y",
                    "http://c.org",
                    "http://d.org",
                    "ftp://a.example/",
                    ""
                ],
            ),
            [true, true, true, false, true, false, false, false]
        );
        assert_eq!(
            allowed(
                "none blocked server_names ~\\.goo\\.",
                &[
                    "",
                    "-",
                    "http://own.example/z",
                    "http://RE.example/",
                    "http://www.Goo.example/",
                    "http://x.example/re"
                ]
            ),
            [true, true, true, true, true, false]
        );
    }

    #[test]
    fn complaints_are_nginxs() {
        let none = "the \"none\" or \"blocked\" referers are specified in the \"valid_referers\" directive \
                    without any valid referer";
        for (conf, message) in [
            ("none", none),
            ("a..b", "invalid hostname or wildcard \"a..b\""),
            ("a A/x", "conflicting parameter \"A\""),
            ("~", "empty regex in \"~\""),
        ] {
            assert_eq!(
                errors("", &format!("listen 1; valid_referers {conf};")),
                [message],
                "{conf}"
            );
        }
    }
}
