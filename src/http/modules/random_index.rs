//! Owns `random_index`: any file of a directory stands for it.
//!
//! Must not serve it; an internal redirect does.

use super::inherit;
use crate::conf::{Args, Contexts, Row, values};
use crate::http::draft::{Scope, row};
use crate::http::finish::Finish;
use crate::http::listing::{self, Kind};
use crate::http::method::Method;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::vars::Variable;
use std::hash::{BuildHasher, RandomState};

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    on: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    on: bool,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; on);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf { on: self.on.unwrap_or(false) }
    }
}

pub static ROWS: &[Row<Scope>] = &[row(
    "random_index",
    Contexts::LOCATION,
    Args::Flag,
    "Whether any file of a directory, each time another one, stands for a path that ends in a slash.",
    |scope, dir, _| values::flag(&mut scope.drafts.random_index.on, dir),
)];

pub static VARIABLES: &[Variable] = &[];

/// Content phase for a URI that ends in a slash; goes on when the directory has no files.
pub fn run(req: &mut Request) -> Phase {
    let wanted = matches!(req.method, Method::Get | Method::Head | Method::Post);
    if !req.conf().random_index.on || !req.uri.ends_with(b"/") || !wanted {
        return Ok(());
    }
    let mut files = listing::read(req)?;
    files.retain(|entry| entry.kind == Kind::File);
    let random = RandomState::new().hash_one(0);
    let at = usize::try_from(random % files.len().max(1) as u64).unwrap_or(0);
    let Some(file) = files.get(at) else { return Ok(()) };
    let uri = [&req.uri[..], &file.name].concat();
    req.set_uri(uri, None);
    Err(Stop::Redirect)
}
