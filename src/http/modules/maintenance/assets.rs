//! Owns the files that a page needs: read when the configuration is loaded, kept in memory.
//!
//! Must not look at the file system once it is loaded.

use super::rows::{invalid, value};
use crate::conf::{Directive, Error, Word};
use crate::http::finish::Finish;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

const PREFIX: &[u8] = b"/.maintenance/";

/// All of it is in the memory of every worker, twice while a reload is prepared.
const MOST_BYTES: usize = 32 * 1024 * 1024;
const MOST_FILES: usize = 4096;

/// Directories inside one another; a link may lead in a circle.
const DEEPEST: usize = 16;

/// `maintenance_root` as written. All levels that inherit it read it once.
#[derive(Debug)]
pub(super) struct WrittenAssets {
    directory: Word,
    prefix: Vec<u8>,
    read: OnceLock<Option<Arc<Assets>>>,
}

/// Files by what follows the prefix.
#[derive(Debug)]
pub(super) struct Assets {
    prefix: Vec<u8>,
    files: HashMap<Vec<u8>, Vec<u8>>,
}

impl WrittenAssets {
    pub fn read(dir: &Directive) -> Result<Arc<Self>, Error> {
        let mut prefix = PREFIX.to_vec();
        if let Some(word) = dir.args.get(1) {
            let given = value(word, "prefix").filter(|prefix| prefix.starts_with(b"/"));
            prefix = given.ok_or_else(|| invalid(word))?.to_vec();
            if !prefix.ends_with(b"/") {
                prefix.push(b'/');
            }
        }
        Ok(Arc::new(Self { directory: dir.arg(0).clone(), prefix, read: OnceLock::new() }))
    }

    /// What is in the directory; `None` when that cannot be used, which is reported once.
    pub fn finish(&self, cx: &mut Finish) -> Option<Arc<Assets>> {
        self.read.get_or_init(|| self.load(cx)).clone()
    }

    fn load(&self, cx: &mut Finish) -> Option<Arc<Assets>> {
        let root = cx.env.full_path(&self.directory.lossy());
        let mut found = Found { root: &root, files: HashMap::new(), bytes: 0 };
        let outcome = found.walk(&root, DEEPEST, cx).and_then(|()| match found.files.len() {
            0 => Err(format!("there are no files in \"{}\"", root.display())),
            _ => Ok(()),
        });
        match outcome {
            Ok(()) => Some(Arc::new(Assets { prefix: self.prefix.clone(), files: found.files })),
            Err(what) => {
                cx.report(self.directory.error(what));
                None
            }
        }
    }
}

struct Found<'a> {
    root: &'a Path,
    files: HashMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
}

impl Found<'_> {
    /// Reads everything below a directory; the error is a sentence.
    fn walk(&mut self, directory: &Path, depth: usize, cx: &mut Finish) -> Result<(), String> {
        let failed = |path: &Path, error: &std::io::Error| {
            format!("open() \"{}\" failed ({})", path.display(), crate::conf::world::reason(error))
        };
        let pattern = pattern(directory)
            .ok_or_else(|| format!("the name of \"{}\" is not UTF-8", directory.display()))?;
        let paths = cx.env.world.glob(&pattern).map_err(|error| failed(directory, &error))?;
        for path in paths {
            match cx.env.world.read(&path) {
                Ok(bytes) => self.add(&path, bytes)?,
                Err(error) if error.kind() == ErrorKind::IsADirectory && depth > 0 => {
                    self.walk(&path, depth - 1, cx)?;
                }
                Err(error) => return Err(failed(&path, &error)),
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, bytes: Vec<u8>) -> Result<(), String> {
        self.bytes += bytes.len();
        let name = path.strip_prefix(self.root).unwrap_or(path).as_os_str().as_bytes();
        self.files.insert(name.to_vec(), bytes);
        if self.bytes > MOST_BYTES || self.files.len() > MOST_FILES {
            let megabytes = MOST_BYTES / 1024 / 1024;
            return Err(format!(
                "\"{}\" has more than {MOST_FILES} files or {megabytes} megabytes",
                self.root.display()
            ));
        }
        Ok(())
    }
}

/// What matches everything in a directory whose own name is meant as it is.
fn pattern(directory: &Path) -> Option<String> {
    let mut pattern = String::new();
    for letter in directory.to_str()?.chars() {
        if matches!(letter, '*' | '?' | '[') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    Some(pattern + "/*")
}

impl Assets {
    /// Whether a path is below the prefix.
    pub fn own(&self, uri: &[u8]) -> bool {
        uri.starts_with(&self.prefix)
    }

    /// The file at a path.
    pub fn find(&self, uri: &[u8]) -> Option<&[u8]> {
        self.files.get(uri.strip_prefix(&self.prefix[..])?).map(Vec::as_slice)
    }
}

/// The type of what a page is made of. `types` may know no more than nginx does by itself, and a
/// browser ignores a style sheet that is plain text.
pub(super) fn content_type(uri: &[u8]) -> Option<&'static [u8]> {
    let name = uri.rsplit(|byte| *byte == b'/').next()?;
    let dot = memchr::memrchr(b'.', name)?;
    Some(match name[dot + 1..].to_ascii_lowercase().as_slice() {
        b"html" | b"htm" => b"text/html",
        b"css" => b"text/css",
        b"js" | b"mjs" => b"text/javascript",
        b"json" => b"application/json",
        b"svg" => b"image/svg+xml",
        b"png" => b"image/png",
        b"jpg" | b"jpeg" => b"image/jpeg",
        b"gif" => b"image/gif",
        b"webp" => b"image/webp",
        b"avif" => b"image/avif",
        b"ico" => b"image/x-icon",
        b"woff2" => b"font/woff2",
        b"woff" => b"font/woff",
        _ => return None,
    })
}
