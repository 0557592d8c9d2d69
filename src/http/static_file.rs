//! Owns a file as an answer: opened without waiting, announced with its length, time and tag.
//!
//! Must not choose the file, nor read it; the connection takes its bytes from `reply.body`.

use super::body::{Body, Slice};
use super::headers::Name;
use super::reply::Reply;
use crate::log::Level;
use nix::libc;
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;

/// Opens a file, whatever it is; a FIFO would otherwise block the worker. The error names the call.
pub fn open(path: &[u8]) -> Result<(File, Metadata), (&'static str, io::Error)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(Path::new(OsStr::from_bytes(path)))
        .map_err(|err| ("open()", err))?;
    let about = file.metadata().map_err(|err| ("fstat()", err))?;
    Ok((file, about))
}

/// The status that stands for a failed call, and how bad it is.
pub fn status(err: &io::Error) -> (u16, Level) {
    match err.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) => (404, Level::Error),
        Some(libc::EACCES | libc::EMLINK | libc::ELOOP) => (403, Level::Error),
        // No file has a NUL in its name, and the kernel was not asked.
        None if err.kind() == io::ErrorKind::InvalidInput => (404, Level::Error),
        _ => (500, Level::Crit),
    }
}

/// Makes a regular file the answer. Fields set on the way here stay: an error page for 401 keeps
/// `WWW-Authenticate`.
pub fn put(reply: &mut Reply, file: File, about: &Metadata, tagged: bool) {
    let (size, modified) = (about.len(), about.mtime());
    reply.status = 200;
    reply.reason = None;
    reply.content_length = Some(size);
    reply.last_modified = Some(modified);
    reply.allow_ranges = true;
    if tagged {
        reply.headers.set(Name::ETag, etag(modified, size).as_bytes());
    }
    reply.body = match size {
        0 => Body::Empty,
        end => Body::File(Slice { file: Rc::new(file), at: 0, end }),
    };
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
