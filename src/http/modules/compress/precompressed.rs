//! Owns `gzip_static` and its kin: files that lie beside others in a compressed form.
//!
//! Must not compress anything.

use super::{CODINGS, Coding};
use crate::conf::{Directive, Error, values};
use crate::http::headers::Name;
use crate::http::method::Method;
use crate::http::phase::Stop;
use crate::http::request::Request;
use crate::http::static_file;
use crate::log::{Level, os_error};
use std::fs::{File, Metadata};

/// Who is sent the compressed form.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    #[default]
    Off,
    /// Who accepts it.
    On,
    /// Everybody.
    Always,
}

/// `gzip_static` and its kin.
pub(super) fn set(slot: &mut Option<Files>, dir: &Directive) -> Result<(), Error> {
    let choices = [("off", Files::Off), ("on", Files::On), ("always", Files::Always)];
    values::choice(slot, dir, &choices)
}

/// Content handler before that of plain files; fails with an answer, or with nothing to say goes on.
pub fn run(req: &mut Request) -> Result<(), Stop> {
    for coding in CODINGS {
        if req.conf().compress.of(coding).files != Files::Off {
            variant(req, coding)?;
        }
    }
    Ok(())
}

/// Answers with one form of the file if it is there and the client takes it.
fn variant(req: &mut Request, coding: Coding) -> Result<(), Stop> {
    if !matches!(req.method, Method::Get | Method::Head) || req.uri.ends_with(b"/") {
        return Ok(());
    }
    let files = req.conf().compress.of(coding).files;
    let takes = files == Files::Always || coding.is_taken(req);
    // That there are two forms has to be said to others too.
    if !takes && !req.conf().compress.vary {
        return Ok(());
    }
    let mut path = req.conf().files.root.map(req)?.path;
    path.extend_from_slice(coding.ending().as_bytes());
    let Some((file, about)) = open(req, &path) else { return Ok(()) };
    if files == Files::On {
        req.reply.varies = true;
    }
    if !takes || about.is_dir() {
        return Ok(());
    }
    if !about.is_file() {
        let path = String::from_utf8_lossy(&path);
        req.log(Level::Crit, format_args!("\"{path}\" is not a regular file"));
        return Err(Stop::Status(404));
    }
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).files;
    static_file::put(&mut req.reply, file, &about, conf.etag);
    if req.reply.content_type.is_none() {
        req.reply.content_type = conf.content_type(&req.uri);
    }
    req.reply.headers.set(Name::ContentEncoding, coding.name().as_bytes());
    Err(Stop::Reply)
}

/// Opens the file; that it is not there is nothing to speak of.
fn open(req: &Request, path: &[u8]) -> Option<(File, Metadata)> {
    match static_file::open(path) {
        Ok(opened) => Some(opened),
        Err((call, err)) => {
            let (status, level) = static_file::status(&err);
            if status != 404 {
                let path = String::from_utf8_lossy(path);
                req.log(level, format_args!("{call} \"{path}\" failed{}", os_error(&err)));
            }
            None
        }
    }
}
