//! Owns static files: where they are, what they are called, and their answer. nginx's static
//! module with the directives of its core that go with it.
//!
//! Must not choose index files nor apply conditions and ranges; those are modules of their own.

mod serve;
mod types;

use super::inherit;
use crate::conf::{Action, Args, Contexts, Directive, Error, Row, Word, values};
use crate::http::draft::{HSL, HSLI, Matcher, Scope, block, no_effect, row};
use crate::http::finish::Finish;
use crate::http::request::Request;
use crate::http::root::{Alias, Root};
use crate::http::vars::Variable;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;
use types::Types;

pub use serve::run;

/// `root` or `alias` as written, with what its location replaces.
#[derive(Debug, Clone)]
struct Written {
    word: Word,
    alias: Alias,
}

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    root: Option<Written>,
    types: Option<Arc<Types>>,
    default_type: Option<Vec<u8>>,
    internal: Option<bool>,
    etag: Option<bool>,
    sendfile: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// Where files are.
    pub root: Root,
    /// Reached by internal redirects only.
    pub internal: bool,
    types: Arc<Types>,
    default_type: Vec<u8>,
    /// `ETag` goes with files.
    pub etag: bool,
    /// The kernel may copy files.
    pub sendfile: bool,
}

impl Conf {
    /// `Content-Type` by the extension of a path, else `default_type`; `None` when that is empty.
    pub fn content_type(&self, uri: &[u8]) -> Option<Vec<u8>> {
        let known = types::extension(uri).and_then(|extension| self.types.find(extension));
        let name = known.unwrap_or(&self.default_type);
        (!name.is_empty()).then(|| name.to_vec())
    }
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; root, types, default_type, internal, etag, sendfile);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        Conf {
            root: self.root(cx),
            internal: self.internal.unwrap_or(false),
            types: self.types.clone().unwrap_or_else(types::standard),
            default_type: self.default_type.clone().unwrap_or_else(|| b"text/plain".to_vec()),
            etag: self.etag.unwrap_or(true),
            sendfile: self.sendfile.unwrap_or(false),
        }
    }

    fn root(&self, cx: &mut Finish) -> Root {
        let mut prefix = cx.env.prefix.as_os_str().as_bytes().to_vec();
        if prefix.last() != Some(&b'/') {
            prefix.push(b'/');
        }
        let Some(Written { word, alias }) = &self.root else {
            return Root::fixed(&[&prefix[..], b"html"].concat(), Alias::No);
        };
        let mut text = word.text.clone();
        if *alias == Alias::No && text.last() == Some(&b'/') {
            text.pop();
        }
        // `root /` leaves nothing, and the URI's own slash begins the file name.
        if !matches!(word.text.first(), Some(b'/' | b'$')) {
            text.splice(0..0, prefix.iter().copied());
        }
        Root::computed(cx.template_of(&text, word), alias.clone(), &prefix)
    }
}

/// `root` and `alias` share a place: a block has one of them.
fn set_root(scope: &mut Scope, dir: &Directive, alias: Alias) -> Result<(), Error> {
    let name = dir.name_str();
    if let Some(earlier) = &scope.drafts.files.root {
        let was_alias = earlier.alias != Alias::No;
        return Err(if was_alias == (alias != Alias::No) {
            values::verdict(dir, "is duplicate")
        } else {
            let earlier = if was_alias { "alias" } else { "root" };
            dir.error(format!(
                "\"{name}\" directive is duplicate, \"{earlier}\" directive was specified earlier"
            ))
        });
    }
    let word = dir.arg(0);
    for variable in ["document_root", "realpath_root"] {
        let (plain, braced) = (format!("${variable}"), format!("${{{variable}}}"));
        let has = |text: &str| memchr::memmem::find(&word.text, text.as_bytes()).is_some();
        if has(&plain) || has(&braced) {
            return Err(word.error(format!(
                "the ${variable} variable cannot be used in the \"{name}\" directive"
            )));
        }
    }
    scope.drafts.files.root = Some(Written { word: word.clone(), alias });
    Ok(())
}

/// `alias`: what it replaces depends on how the location is introduced.
fn set_alias(scope: &mut Scope, dir: &Directive) -> Result<(), Error> {
    let alias = match &scope.matcher {
        Some(Matcher::Named(_)) => {
            return Err(
                dir.error("the \"alias\" directive cannot be used inside the named location")
            );
        }
        Some(Matcher::Exact(word) | Matcher::Prefix { path: word, .. }) => {
            Alias::Prefix(word.text.as_slice().into())
        }
        _ => Alias::Whole,
    };
    set_root(scope, dir, alias)
}

/// `internal`, which has no argument.
fn set_internal(scope: &mut Scope, dir: &Directive) -> Result<(), Error> {
    values::once(&scope.drafts.files.internal, dir)?;
    scope.drafts.files.internal = Some(true);
    Ok(())
}

fn set_default_type(scope: &mut Scope, dir: &Directive) -> Result<(), Error> {
    values::once(&scope.drafts.files.default_type, dir)?;
    scope.drafts.files.default_type = Some(dir.arg(0).text.clone());
    Ok(())
}

/// `on` or `off`, to no effect.
const fn switch(name: &'static str, contexts: Contexts, doc: &'static str) -> Row<Scope> {
    Row { name, contexts, args: Args::Flag, doc, action: Action::NoEffect }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "root",
        HSLI,
        Args::Exactly(1),
        "Directory that the request's path is looked up in; may contain variables (default `html`).",
        |s, dir, _| set_root(s, dir, Alias::No),
    ),
    row(
        "alias",
        Contexts::LOCATION,
        Args::Exactly(1),
        "Replaces the location's path with this one; may contain variables.",
        |s, dir, _| set_alias(s, dir),
    ),
    block(
        "types",
        HSL,
        Args::None,
        "Media types by file name extension: `text/html html htm;`, usually from `mime.types`.",
        |s, dir, env| types::read(&mut s.drafts.files.types, dir, env),
    ),
    row(
        "default_type",
        HSL,
        Args::Exactly(1),
        "Media type of names whose extension `types` does not list (default `text/plain`).",
        |s, dir, _| set_default_type(s, dir),
    ),
    row(
        "internal",
        Contexts::LOCATION,
        Args::None,
        "Opens the location to internal redirects only; clients get 404.",
        |s, dir, _| set_internal(s, dir),
    ),
    row("etag", HSL, Args::Flag, "Sends `ETag` with static files (default on).", |s, dir, _| {
        values::flag(&mut s.drafts.files.etag, dir)
    }),
    row(
        "sendfile",
        HSLI,
        Args::Flag,
        "Lets the kernel copy larger files to sockets, where the connection is not TLS (default off).",
        |s, dir, _| values::flag(&mut s.drafts.files.sendfile, dir),
    ),
    no_effect("sendfile_max_chunk", HSL, "Bytes sent by one call of sendfile."),
    no_effect("aio", HSL, "Asynchronous file reading."),
    switch("aio_write", HSL, "Asynchronous file writing."),
    no_effect("directio", HSL, "Reads large files past the page cache."),
    no_effect("directio_alignment", HSL, "Alignment of such reads."),
    no_effect("output_buffers", HSL, "Buffers for reading files."),
    no_effect("read_ahead", HSL, "Bytes that the kernel reads ahead."),
    no_effect("open_file_cache", HSL, "Cache of open descriptors."),
    no_effect("open_file_cache_valid", HSL, "Age after which its entries are checked."),
    no_effect("open_file_cache_min_uses", HSL, "Uses that keep an entry open."),
    switch("open_file_cache_errors", HSL, "Whether it keeps errors."),
    switch("open_file_cache_events", HSL, "Whether it watches files."),
    no_effect("types_hash_max_size", HSL, "Size of the hash of media types."),
    no_effect("types_hash_bucket_size", HSL, "Size of that hash's buckets."),
];

pub static VARIABLES: &[Variable] = &[
    Variable {
        name: "document_root",
        doc: "Value of `root` or `alias` for the request.",
        get: |req, _, out| {
            out.extend_from_slice(&req.conf().files.root.directory(req));
            true
        },
    },
    Variable {
        name: "realpath_root",
        doc: "The same with symbolic links resolved.",
        get: realpath_root,
    },
    Variable {
        name: "request_filename",
        doc: "File that the request's path stands for.",
        get: |req, _, out| match req.conf().files.root.map(req) {
            Ok(mapped) => {
                out.extend_from_slice(&mapped.path);
                true
            }
            Err(_) => false,
        },
    },
];

fn realpath_root(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    let directory = req.conf().files.root.directory(req);
    match fs::canonicalize(Path::new(std::ffi::OsStr::from_bytes(&directory))) {
        Ok(real) => {
            out.extend_from_slice(&real.into_os_string().into_vec());
            true
        }
        Err(err) => {
            let directory = String::from_utf8_lossy(&directory);
            let cause = crate::log::os_error(&err);
            let level = crate::log::Level::Crit;
            req.log(level, format_args!("realpath() \"{directory}\" failed{cause}"));
            false
        }
    }
}
