//! Owns `proxy_store`: a copy of an upstream's answer as a file, once it has come whole.
//!
//! Must not serve the copy; `try_files` or `error_page` may.

use crate::conf::values::{once, verdict};
use crate::conf::{Directive, Error, Word};
use crate::http::body::Body;
use crate::http::date;
use crate::http::filter::Filter;
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::method::Method;
use crate::http::request::Request;
use crate::http::template::Template;
use crate::log::os_error;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;

/// Nobody but the worker's user reads a copy, unless `proxy_store_access` says so.
const ACCESS: u32 = 0o600;

/// As written; `None` inside is `off`.
pub type StoreDraft = Option<Word>;

/// In force.
#[derive(Debug)]
pub struct Store {
    /// `None`: where the request's file would be.
    path: Option<Template>,
    access: u32,
    /// Where it lies until it is whole.
    dir: PathBuf,
}

/// `proxy_store on | off | path`.
pub fn read(slot: &mut Option<StoreDraft>, dir: &Directive) -> Result<(), Error> {
    once(slot, dir)?;
    let word = dir.arg(0);
    if word.text.is_empty() {
        return Err(verdict(dir, "empty path"));
    }
    *slot = Some((word.text != b"off").then(|| word.clone()));
    Ok(())
}

/// `proxy_store_access user:rw group:r all:r`.
pub fn read_access(slot: &mut Option<u32>, dir: &Directive) -> Result<(), Error> {
    once(slot, dir)?;
    let (mut access, mut user) = (0, ACCESS);
    for word in &dir.args {
        let invalid = || word.error(format_args!("invalid value \"{}\"", word.lossy()));
        let (who, right) = word.str()?.split_once(':').ok_or_else(invalid)?;
        let right = match right {
            "rw" => 6,
            "r" => 4,
            _ => return Err(invalid()),
        };
        access |= match who {
            "user" => {
                user = 0;
                right << 6
            }
            "group" => right << 3,
            "all" => right,
            _ => return Err(invalid()),
        };
    }
    *slot = Some(access | user);
    Ok(())
}

/// Compiles it; `dir` is for temporary files.
pub fn finish(
    draft: Option<&StoreDraft>,
    access: Option<u32>,
    dir: PathBuf,
    cx: &mut Finish,
) -> Option<Store> {
    let word = draft?.as_ref()?;
    cx.temp_dir(&dir);
    let path = match word.text.first() {
        _ if word.text == b"on" => None,
        Some(b'/' | b'$') => Some(cx.template(word)),
        _ => {
            let full = cx.env.full_path(&word.lossy()).into_os_string().into_vec();
            Some(cx.template_of(&full, word))
        }
    };
    Some(Store { path, access: access.unwrap_or(ACCESS), dir })
}

impl Store {
    /// Has a good answer's body copied on its way; before any filter.
    pub fn copy(&self, req: &mut Request) {
        if req.reply.status != 200 || req.method == Method::Head || req.header_only() {
            return;
        }
        let path = match &self.path {
            Some(path) => path.value(req).into_owned(),
            None => match req.conf().files.root.map(req) {
                Ok(mapped) => mapped.path,
                Err(_) => return,
            },
        };
        if path.is_empty() {
            return;
        }
        let path = PathBuf::from(OsString::from_vec(path));
        match NamedTempFile::new_in(&self.dir) {
            Ok(file) => {
                let modified = req.upstream_headers.get(Name::LastModified).and_then(date::parse);
                let access = self.access;
                let copy = Copy { file: Some(file), path, access, modified };
                req.reply.body.filter(Box::new(copy));
            }
            Err(error) => complain(&path, &error),
        }
    }
}

/// A body on its way, and the copy of what has passed.
#[derive(Debug)]
struct Copy {
    /// `None` when it is done, or has failed.
    file: Option<NamedTempFile>,
    path: PathBuf,
    access: u32,
    modified: Option<i64>,
}

impl Filter for Copy {
    fn poll_fill(
        &mut self,
        source: &mut Body,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let start = out.len();
        let more = ready!(source.poll_fill(out, room, cx))?;
        if let Some(mut file) = self.file.take() {
            let passed = out.get(start..).unwrap_or_default();
            match file.write_all(passed) {
                Ok(()) if more => self.file = Some(file),
                Ok(()) => self.keep(file),
                Err(error) => complain(&self.path, &error),
            }
        }
        Poll::Ready(Ok(more))
    }
}

impl Copy {
    /// All has come: it gets its name.
    fn keep(&self, file: NamedTempFile) {
        if let Err(error) = self.try_keep(file) {
            complain(&self.path, &error);
        }
    }

    fn try_keep(&self, file: NamedTempFile) -> io::Result<()> {
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        // Whoever may read may go in.
        let mode = self.access | (self.access & 0o444) >> 2;
        DirBuilder::new().recursive(true).mode(mode).create(parent)?;
        self.dress(file.as_file())?;
        let Err(failed) = file.persist(&self.path) else { return Ok(()) };
        if failed.error.kind() != io::ErrorKind::CrossesDevices {
            return Err(failed.error);
        }
        let mut near = NamedTempFile::new_in(parent)?;
        io::copy(&mut File::open(failed.file.path())?, &mut near)?;
        self.dress(near.as_file())?;
        near.persist(&self.path)?;
        Ok(())
    }

    /// Its permissions and its age.
    fn dress(&self, file: &File) -> io::Result<()> {
        file.set_permissions(Permissions::from_mode(self.access))?;
        let Some(seconds) = self.modified.and_then(|time| u64::try_from(time).ok()) else {
            return Ok(());
        };
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }
}

fn complain(path: &Path, error: &io::Error) {
    let (path, cause) = (path.display(), os_error(error));
    tracing::error!("an upstream response could not be stored as \"{path}\"{cause}");
}
