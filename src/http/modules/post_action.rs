//! Owns `post_action`: a subrequest that follows a request when its answer has gone.
//!
//! Must not hold up the client: it goes on in the background, like a mirror.

use super::inherit;
use crate::conf::{Args, Row, Word, values};
use crate::http::draft::{HSLI, Scope, row};
use crate::http::finish::Finish;
use crate::http::request::Request;
use crate::http::route;
use crate::http::subrequest;
use crate::http::vars::Variable;
use crate::log::Level;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    target: Option<Word>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// A URI or the name of a location.
    target: Option<Vec<u8>>,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; target);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf { target: self.target.as_ref().map(|word| word.text.clone()) }
    }
}

pub static ROWS: &[Row<Scope>] = &[row(
    "post_action",
    HSLI,
    Args::Exactly(1),
    "What is done when a request has been answered: a URI, or a named location. Nobody gets its answer.",
    |s, dir, _| values::word(&mut s.drafts.post_action.target, dir),
)];

pub static VARIABLES: &[Variable] = &[];

/// Begins what follows a client's request. Nothing follows that.
pub fn run(req: &Request) {
    let Some(target) = req.conf().post_action.target.as_ref().filter(|_| req.is_main()) else {
        return;
    };
    let named = target.starts_with(b"@");
    let location = named.then(|| route::find_named(&req.snapshot, req.server, target));
    if location == Some(None) {
        let name = String::from_utf8_lossy(target);
        return req.log_error(format_args!("could not find named location \"{name}\""));
    }
    let uri = if named { &req.uri } else { target };
    let Some(mut sub) = subrequest::header_only(req, uri, if named { &req.args } else { b"" })
    else {
        return;
    };
    // A body that has not been kept cannot be sent again.
    if sub.body.exists() || !req.body.exists() {
        sub.method = req.method;
    }
    if let Some(about) = &mut sub.sub {
        about.follows = true;
        about.named = location.flatten();
    }
    if req.live.background.begin(sub).is_err() {
        req.log(
            Level::Warn,
            format_args!("too much is under way in the background, post_action is skipped"),
        );
    }
}
