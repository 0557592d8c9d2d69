//! Owns the reading of directories for those who show or choose from them.
//!
//! Must not know what is made of the entries.

use super::phase::Stop;
use super::request::Request;
use crate::log::{Level, os_error};
use nix::libc;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file or whatever else is in a directory; what a link leads to, if that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: Kind,
    /// Seconds of the epoch.
    pub modified: i64,
    pub size: u64,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Directory,
    File,
    Other,
}

/// The entries of the directory that the request's path stands for, but for hidden ones; in no order.
pub fn read(req: &Request) -> Result<Vec<Entry>, Stop> {
    let mapped = req.conf().files.root.map(req)?.path;
    let path = match mapped.strip_suffix(b"/") {
        Some(rest) if !rest.is_empty() => rest,
        _ => &mapped,
    };
    let path = Path::new(OsStr::from_bytes(path));
    let entries = fs::read_dir(path).map_err(|error| refused(req, path, &error))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(req, "readdir()", path, &error))?;
        let name = entry.file_name().into_vec();
        if name.starts_with(b".") {
            continue;
        }
        match about(&entry.path()) {
            Ok(about) => found.push(Entry {
                name,
                kind: kind(&about),
                modified: about.mtime(),
                size: about.len(),
            }),
            Err(error) => {
                let stop = failed(req, "stat()", &entry.path(), &error);
                if error.raw_os_error() != Some(libc::EACCES) {
                    return Err(stop);
                }
            }
        }
    }
    Ok(found)
}

/// A link that leads nowhere is looked at itself.
fn about(path: &PathBuf) -> io::Result<fs::Metadata> {
    match fs::metadata(path) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ELOOP)) => {
            fs::symlink_metadata(path)
        }
        about => about,
    }
}

fn kind(about: &fs::Metadata) -> Kind {
    if about.is_dir() {
        Kind::Directory
    } else if about.is_file() {
        Kind::File
    } else {
        Kind::Other
    }
}

fn refused(req: &Request, path: &Path, error: &io::Error) -> Stop {
    let (level, status) = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) => (Level::Error, 404),
        Some(libc::EACCES) => (Level::Error, 403),
        // No directory has a NUL in its name, and the kernel was not asked.
        None if error.kind() == io::ErrorKind::InvalidInput => (Level::Error, 404),
        _ => (Level::Crit, 500),
    };
    let (path, cause) = (path.display(), os_error(error));
    req.log(level, format_args!("opendir() \"{path}\" failed{cause}"));
    Stop::Status(status)
}

fn failed(req: &Request, call: &str, path: &Path, error: &io::Error) -> Stop {
    let (path, cause) = (path.display(), os_error(error));
    req.log(Level::Crit, format_args!("{call} \"{path}\" failed{cause}"));
    Stop::Status(500)
}
