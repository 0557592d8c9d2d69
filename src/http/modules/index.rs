//! Owns `index`: the file that stands for a directory.
//!
//! Must not serve it; an internal redirect does.

use super::inherit;
use crate::conf::{Args, Directive, Env, Error, Row, Word};
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::method::Method;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::vars::Variable;
use crate::log::{Level, os_error};
use nix::libc;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    names: Option<Vec<Word>>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    names: Vec<Template>,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; names);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let names = match &self.names {
            Some(names) => names.iter().map(|word| cx.template(word)).collect(),
            None => vec![Template::literal(b"index.html")],
        };
        Conf { names }
    }
}

fn set(scope: &mut Scope, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    let names = scope.drafts.index.names.get_or_insert_default();
    for (at, word) in dir.args.iter().enumerate() {
        if word.text.starts_with(b"/") && at + 1 != dir.args.len() {
            let message = "only the last index in \"index\" directive should be absolute";
            env.warn(word.error(message));
        }
        if word.text.is_empty() {
            return Err(word.error("index \"\" in \"index\" directive is invalid"));
        }
        names.push(word.clone());
    }
    Ok(())
}

pub static ROWS: &[Row<Scope>] = &[row(
    "index",
    HSL,
    Args::AtLeast(1),
    "Files tried in this order for a path that ends in a slash (default `index.html`).",
    set,
)];

pub static VARIABLES: &[Variable] = &[];

/// Content phase for a URI that ends in a slash; goes on when there is no index file.
///
/// A file is tested before its directory: requests that succeed should not pay for the others.
pub fn run(req: &mut Request) -> Phase {
    let wanted = matches!(req.method, Method::Get | Method::Head | Method::Post);
    if !req.uri.ends_with(b"/") || !wanted {
        return Ok(());
    }
    let snapshot = req.snapshot.clone();
    let mut directory_tested = false;
    for template in &snapshot.conf(req.location).index.names {
        let name = template.value(req).into_owned();
        if name.starts_with(b"/") {
            req.set_uri(name, None);
            return Err(Stop::Redirect);
        }
        let directory = req.conf().files.root.map(req)?.path;
        let path = [&directory[..], &name[..]].concat();
        match stat(&path) {
            Ok(_) => {
                let uri = [&req.uri[..], &name[..]].concat();
                req.set_uri(uri, None);
                return Err(Stop::Redirect);
            }
            Err(err) => {
                missing(req, &path, &directory, &err, &mut directory_tested)?;
            }
        }
    }
    Ok(())
}

/// Whether a path is a directory.
fn stat(path: &[u8]) -> io::Result<bool> {
    std::fs::metadata(Path::new(OsStr::from_bytes(path))).map(|about| about.is_dir())
}

/// What an index file that could not be found means: try the next, or an error.
fn missing(
    req: &Request,
    path: &[u8],
    directory: &[u8],
    err: &io::Error,
    directory_tested: &mut bool,
) -> Phase {
    match err.raw_os_error() {
        Some(libc::EMLINK | libc::ELOOP) => return Err(Stop::Status(403)),
        Some(libc::ENOTDIR | libc::ENAMETOOLONG | libc::EACCES) => {
            return Err(refuse(req, path, err));
        }
        _ => {}
    }
    if !*directory_tested {
        test_directory(req, path, directory)?;
        *directory_tested = true;
    }
    if err.kind() == io::ErrorKind::NotFound {
        return Ok(());
    }
    let path = String::from_utf8_lossy(path);
    req.log(Level::Crit, format_args!("stat() \"{path}\" failed{}", os_error(err)));
    Err(Stop::Status(500))
}

/// A directory that is not there is 404, not the 403 of one without an index.
fn test_directory(req: &Request, path: &[u8], directory: &[u8]) -> Phase {
    let directory = match directory.strip_suffix(b"/") {
        Some(rest) if !rest.is_empty() => rest,
        _ => directory,
    };
    let shown = String::from_utf8_lossy(directory);
    let err = match stat(directory) {
        Ok(true) => return Ok(()),
        Ok(false) => {
            req.log(Level::Alert, format_args!("\"{shown}\" is not a directory"));
            return Err(Stop::Status(500));
        }
        Err(err) => err,
    };
    match err.raw_os_error() {
        Some(libc::EMLINK | libc::ELOOP) => Err(Stop::Status(403)),
        Some(libc::ENOENT) => Err(refuse(req, path, &err)),
        // The index file could be looked for, so the directory may be searched.
        Some(libc::EACCES) => Ok(()),
        _ => {
            req.log(Level::Crit, format_args!("stat() \"{shown}\" failed{}", os_error(&err)));
            Err(Stop::Status(500))
        }
    }
}

/// 403 for what may not be read, 404 for what is not there.
fn refuse(req: &Request, path: &[u8], err: &io::Error) -> Stop {
    let path = String::from_utf8_lossy(path);
    if err.raw_os_error() == Some(libc::EACCES) {
        req.log_error(format_args!("\"{path}\" is forbidden{}", os_error(err)));
        return Stop::Status(403);
    }
    if req.conf().error_log.log_not_found {
        req.log_error(format_args!("\"{path}\" is not found{}", os_error(err)));
    }
    Stop::Status(404)
}
