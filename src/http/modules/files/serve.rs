//! Owns the answer to a request for a file, as nginx's static module gives it.
//!
//! Must not read the file; the connection takes its bytes from `reply.body`.

use crate::http::body::{Body, Slice};
use crate::http::headers::Name;
use crate::http::method::Method;
use crate::http::phase::Stop;
use crate::http::request::Request;
use crate::http::uri::{Set, escape_into};
use crate::log::{Level, os_error};
use nix::libc;
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;

/// Static content. What ends in a slash was not found by the index: 403.
pub fn run(req: &mut Request) -> Stop {
    if !matches!(req.method, Method::Get | Method::Head | Method::Post) {
        return Stop::Status(405);
    }
    let path = match req.conf().files.root.map(req) {
        Ok(mapped) => mapped.path,
        Err(stop) => return stop,
    };
    if req.uri.ends_with(b"/") {
        let path = String::from_utf8_lossy(&path);
        req.log_error(format_args!("directory index of \"{path}\" is forbidden"));
        return Stop::Status(403);
    }
    match open(&path) {
        Ok((file, about)) => answer(req, &path, file, &about),
        Err((call, err)) => failed(req, &path, call, &err),
    }
}

/// Opens without waiting: a FIFO would otherwise block the worker.
fn open(path: &[u8]) -> Result<(File, Metadata), (&'static str, io::Error)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(Path::new(OsStr::from_bytes(path)))
        .map_err(|err| ("open()", err))?;
    let about = file.metadata().map_err(|err| ("fstat()", err))?;
    Ok((file, about))
}

/// The status that stands for a failed call, and how bad it is.
fn status(err: &io::Error) -> (u16, Level) {
    match err.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) => (404, Level::Error),
        Some(libc::EACCES | libc::EMLINK | libc::ELOOP) => (403, Level::Error),
        // No file has a NUL in its name, and the kernel was not asked.
        None if err.kind() == io::ErrorKind::InvalidInput => (404, Level::Error),
        _ => (500, Level::Crit),
    }
}

fn failed(req: &Request, path: &[u8], call: &str, err: &io::Error) -> Stop {
    let (status, level) = status(err);
    if status != 404 || req.conf().error_log.log_not_found {
        let path = String::from_utf8_lossy(path);
        req.log(level, format_args!("{call} \"{path}\" failed{}", os_error(err)));
    }
    Stop::Status(status)
}

fn answer(req: &mut Request, path: &[u8], file: File, about: &Metadata) -> Stop {
    if about.is_dir() {
        req.reply.location = Some(with_slash(&req.uri, &req.args));
        return Stop::Status(301);
    }
    if !about.is_file() {
        let path = String::from_utf8_lossy(path);
        req.log(Level::Crit, format_args!("\"{path}\" is not a regular file"));
        return Stop::Status(404);
    }
    if req.method == Method::Post {
        return Stop::Status(405);
    }
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).files;
    let (size, modified) = (about.len(), about.mtime());
    // Fields set on the way here stay: an error page for 401 keeps WWW-Authenticate.
    let reply = &mut req.reply;
    reply.status = 200;
    reply.reason = None;
    reply.content_length = Some(size);
    reply.last_modified = Some(modified);
    reply.allow_ranges = true;
    if conf.etag {
        reply.headers.set(Name::ETag, etag(modified, size).as_bytes());
    }
    if reply.content_type.is_none() {
        reply.content_type = conf.content_type(&req.uri);
    }
    reply.body = match size {
        0 => Body::Empty,
        end => Body::File(Slice { file: Rc::new(file), at: 0, end }),
    };
    Stop::Reply
}

/// Path with a slash and the arguments, as it stands in `Location`.
fn with_slash(uri: &[u8], args: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(uri.len() + args.len() + 16);
    escape_into(&mut out, uri, Set::Uri);
    out.push(b'/');
    if !args.is_empty() {
        out.push(b'?');
        out.extend_from_slice(args);
    }
    out
}

/// `"mtime-size"`, both hexadecimal.
fn etag(modified: i64, size: u64) -> String {
    let sign = if modified < 0 { "-" } else { "" };
    format!("\"{sign}{:x}-{size:x}\"", modified.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_nginx_s() {
        assert_eq!(etag(0x6543_2100, 1000), "\"65432100-3e8\"");
        assert_eq!(etag(-1, 0), "\"-1-0\"");
    }

    #[test]
    fn directories_are_escaped_and_keep_arguments() {
        assert_eq!(with_slash(b"/dir sp", b""), b"/dir%20sp/");
        assert_eq!(with_slash(b"/d?", b"a=b%20"), b"/d%3F/?a=b%20");
    }

    #[test]
    fn names_with_nul_are_not_found() {
        let (call, err) = open(b"/tmp/\0x").unwrap_err();
        assert_eq!((call, status(&err).0), ("open()", 404));
    }

    #[test]
    fn opening_a_fifo_does_not_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (_, about) = open(path.as_os_str().as_bytes()).unwrap();
        assert!(!about.is_file() && !about.is_dir());
    }
}
