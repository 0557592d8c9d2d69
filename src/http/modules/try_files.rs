//! Owns `try_files`: the first of several names that is there, else where to go instead.
//!
//! Must not serve what it finds; it leaves the URI at it for the content phase.

use crate::conf::{Args, Contexts, Directive, Error, Row, Word, values};
use crate::http::draft::{Scope, row};
use crate::http::finish::Finish;
use crate::http::internal;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::root::Alias;
use crate::http::template::Template;
use crate::http::vars::Variable;
use crate::log::{Level, os_error};
use nix::libc;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// As written. Never inherited, as in nginx.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    names: Option<Vec<Word>>,
    /// Of the last word, when it is `=code`.
    code: Option<u16>,
}

/// A name to try.
#[derive(Debug)]
struct Candidate {
    name: Template,
    /// Written with a slash at its end: a directory is looked for.
    directory: bool,
}

/// Where to go when no name is there.
#[derive(Debug)]
enum Fallback {
    Code(u16),
    /// A URI, or `@name`.
    To(Template),
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    tries: Option<(Vec<Candidate>, Fallback)>,
}

impl Draft {
    pub fn inherit(&mut self, _outer: &Self) {}

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let Some((last, names)) = self.names.as_deref().and_then(<[_]>::split_last) else {
            return Conf { tries: None };
        };
        let mut candidates = Vec::with_capacity(names.len());
        for word in names {
            let bare = word.text.strip_suffix(b"/");
            let name = cx.template_of(bare.unwrap_or(&word.text), word);
            candidates.push(Candidate { name, directory: bare.is_some() });
        }
        let fallback = match self.code {
            Some(code) => Fallback::Code(code),
            None => Fallback::To(cx.template(last)),
        };
        Conf { tries: Some((candidates, fallback)) }
    }
}

fn set(scope: &mut Scope, dir: &Directive) -> Result<(), Error> {
    let draft = &mut scope.drafts.try_files;
    values::once(&draft.names, dir)?;
    let last = dir.arg(dir.args.len().saturating_sub(1));
    if let Some(code) = last.text.strip_prefix(b"=") {
        let code = values::parse_number(code).and_then(|code| u16::try_from(code).ok());
        let code = code.filter(|code| *code <= 999);
        let invalid = || last.error(format!("invalid code \"{}\"", last.lossy()));
        draft.code = Some(code.ok_or_else(invalid)?);
    }
    draft.names = Some(dir.args.clone());
    Ok(())
}

pub static ROWS: &[Row<Scope>] = &[row(
    "try_files",
    Contexts::SERVER.or(Contexts::LOCATION),
    Args::AtLeast(2),
    "Serves the first of these files (directories end in `/`) that is there; the last word is the \
     URI, `@location` or `=code` for when none is.",
    |s, dir, _| set(s, dir),
)];

pub static VARIABLES: &[Variable] = &[];

/// Pre-content phase.
pub fn run(req: &mut Request) -> Phase {
    if req.conf().try_files.tries.is_none() {
        return Ok(());
    }
    let snapshot = req.snapshot.clone();
    let conf = snapshot.conf(req.location);
    let Some((candidates, fallback)) = &conf.try_files.tries else { return Ok(()) };
    let alias = conf.files.root.alias();
    // Refuses a URI that `alias` cannot be applied to, before anything is tried.
    conf.files.root.map(req)?;
    let directory = conf.files.root.directory(req);
    for candidate in candidates {
        let name = below_alias(&candidate.name, alias, req);
        let path = [&directory[..], &name[..]].concat();
        if is_there(req, &path, candidate.directory) {
            found(req, alias, name, candidate.directory);
            return Ok(());
        }
    }
    Err(match fallback {
        Fallback::Code(code) => Stop::Status(*code),
        Fallback::To(target) => go(req, &below_alias(target, alias, req)),
    })
}

/// The name as it follows the directory: a computed one usually begins with the location's path,
/// which `alias` replaces. A constant one is taken as it is.
fn below_alias(name: &Template, alias: &Alias, req: &Request) -> Vec<u8> {
    let value = name.value(req).into_owned();
    match alias {
        Alias::Prefix(location) if name.as_literal().is_none() => {
            value.strip_prefix(&**location).map_or_else(|| value.clone(), <[u8]>::to_vec)
        }
        _ => value,
    }
}

fn is_there(req: &Request, path: &[u8], directory: bool) -> bool {
    match std::fs::metadata(Path::new(OsStr::from_bytes(path))) {
        Ok(about) => about.is_dir() == directory,
        Err(err) => {
            let absent = [libc::ENOENT, libc::ENOTDIR, libc::ENAMETOOLONG];
            if !err.raw_os_error().is_some_and(|code| absent.contains(&code)) {
                let path = String::from_utf8_lossy(path);
                req.log(Level::Crit, format_args!("stat() \"{path}\" failed{}", os_error(&err)));
            }
            false
        }
    }
}

/// Points the URI at what was found. The target as sent stays good for `proxy_pass` without a URI.
fn found(req: &mut Request, alias: &Alias, name: Vec<u8>, directory: bool) {
    match alias {
        Alias::No => req.uri = name,
        Alias::Prefix(location) => req.uri = [&location[..], &name[..]].concat(),
        Alias::Whole if !directory => {
            req.uri = name;
            req.add_uri_to_alias = true;
        }
        Alias::Whole => {}
    }
}

fn go(req: &mut Request, target: &[u8]) -> Stop {
    if target.starts_with(b"@") {
        return internal::to_named(req, target);
    }
    let (uri, args) = internal::split_args(target);
    internal::to_uri(req, uri, args)
}
