//! Owns `mirror`: subrequests that repeat a request elsewhere, whose answers nobody waits for.
//!
//! Must not let the client notice: it is answered, and its next request served, as if there were none.

use super::inherit;
use crate::conf::{Args, Directive, Error, Row, Word, values};
use crate::http::background::Refusal;
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::subrequest;
use crate::http::vars::Variable;
use crate::http::whole_body;
use crate::log::{Level, os_error};

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    /// None at all is `off`.
    uris: Option<Vec<Word>>,
    request_body: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    uris: Vec<Vec<u8>>,
    request_body: bool,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; uris, request_body);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        let uris = self.uris.iter().flatten().map(|word| word.text.clone());
        Conf { uris: uris.collect(), request_body: self.request_body.unwrap_or(true) }
    }
}

impl Conf {
    /// Whether there is anything to do.
    pub fn is_on(&self) -> bool {
        !self.uris.is_empty()
    }
}

fn set(scope: &mut Scope, dir: &Directive) -> Result<(), Error> {
    let slot = &mut scope.drafts.mirror.uris;
    let word = dir.arg(0);
    if word.text == b"off" {
        values::once(slot, dir)?;
        *slot = Some(Vec::new());
        return Ok(());
    }
    match slot {
        Some(uris) if uris.is_empty() => return Err(values::verdict(dir, "is duplicate")),
        Some(uris) => uris.push(word.clone()),
        None => *slot = Some(vec![word.clone()]),
    }
    Ok(())
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "mirror",
        HSL,
        Args::Exactly(1),
        "Repeats requests with this URI, in the background; may be given several times; `off` (default) \
         repeats none.",
        |scope, dir, _| set(scope, dir),
    ),
    row(
        "mirror_request_body",
        HSL,
        Args::Flag,
        "Whether the body is sent along, and so read before the request is passed on (default on).",
        |scope, dir, _| values::flag(&mut scope.drafts.mirror.request_body, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[];

/// Last of the pre-content phase: sends the mirrors on their way.
pub async fn run(req: &mut Request) -> Phase {
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).mirror;
    if conf.request_body {
        whole_body::keep(req).await?;
    }
    for uri in &conf.uris {
        let sub = subrequest::header_only(req, uri, &req.args);
        let mut sub = sub.ok_or(Stop::Status(500))?;
        sub.method = req.method;
        match req.live.background.begin(sub) {
            Err(Refusal::TooMany { first: true }) => {
                req.log(
                    Level::Warn,
                    format_args!("too many mirrored requests are under way, some are skipped"),
                );
            }
            Err(Refusal::Failed(error)) => {
                let cause = os_error(&error);
                req.log(
                    Level::Alert,
                    format_args!("socketpair() failed{cause}, a mirrored request is skipped"),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::http::fixture::{errors, snapshot};

    fn uris(http: &str, server: &str) -> Vec<String> {
        let (snapshot, _) = snapshot(http, &format!("listen 1; {server}"));
        let conf = &snapshot.conf(snapshot.servers[0].root).mirror;
        conf.uris.iter().map(|uri| String::from_utf8_lossy(uri).into_owned()).collect()
    }

    #[test]
    fn several_add_up_and_inner_ones_replace_them() {
        assert_eq!(uris("mirror /a; mirror /b;", ""), ["/a", "/b"]);
        assert_eq!(uris("mirror /a; mirror /b;", "mirror /c;"), ["/c"]);
        assert!(uris("mirror /a;", "mirror off;").is_empty());
    }

    #[test]
    fn off_stands_alone() {
        for text in ["mirror off; mirror /a;", "mirror /a; mirror off;"] {
            assert_eq!(errors("", text), ["\"mirror\" directive is duplicate"]);
        }
    }
}
