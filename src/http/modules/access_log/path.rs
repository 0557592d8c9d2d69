//! Owns access logs whose names have variables: found, opened and written for each line.
//!
//! Must not keep a file open by itself: then a log moved away is followed by a new one without a signal.
//! What `open_log_file_cache` keeps belongs to `live`.

use crate::http::request::Request;
use crate::http::template::Template;
use crate::log::{Level, LogFile, os_error};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log file's name with variables, compiled.
#[derive(Debug)]
pub(super) struct NamedByRequest {
    /// What a relative name starts from; `None` for an absolute one.
    pub prefix: Option<PathBuf>,
    pub name: Template,
}

impl NamedByRequest {
    /// Appends a line to the file of this request. As in nginx there is no log for a request whose
    /// root directory does not exist: else any host a client makes up would leave a file.
    pub fn write(&self, req: &Request, line: &[u8]) {
        if !root_exists(req) {
            return;
        }
        let path = self.path(req);
        let opened = match req.conf().access_log.kept {
            Some(at) => req.live.open_log(at, &path),
            None => LogFile::open(&path).map(Arc::new),
        };
        let file = match opened {
            Ok(file) => file,
            Err(error) => return report(req, Level::Crit, "open()", &path, &error),
        };
        if let Err(error) = file.write(line) {
            report(req, Level::Alert, "write() to", &path, &error);
        }
    }

    fn path(&self, req: &Request) -> PathBuf {
        let name = PathBuf::from(OsString::from_vec(self.name.value(req).into_owned()));
        match &self.prefix {
            // Not `join`: a name that begins with a variable stays below the prefix.
            Some(prefix) => {
                let mut path = prefix.join("").into_os_string();
                path.push(name);
                path.into()
            }
            None => name,
        }
    }
}

fn report(req: &Request, level: Level, call: &str, path: &Path, error: &io::Error) {
    let (shown, cause) = (path.display(), os_error(error));
    req.log(level, format_args!("{call} \"{shown}\" failed{cause}"));
}

fn root_exists(req: &Request) -> bool {
    let root = PathBuf::from(OsString::from_vec(req.conf().files.root.directory(req)));
    let error = match root.metadata() {
        Ok(found) if found.is_dir() => return true,
        Ok(_) => nix::errno::Errno::ENOTDIR.into(),
        Err(error) => error,
    };
    let (shown, cause) = (root.display(), os_error(&error));
    req.log_error(format_args!("testing \"{shown}\" existence failed{cause}"));
    false
}
