//! Owns the passage from URI to file name: `root` and `alias`.
//!
//! Must not open or test anything.

use super::phase::Stop;
use super::request::Request;
use super::template::Template;
use crate::log::Level;

/// What of the URI a directory replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alias {
    /// `root`: nothing, the whole URI follows.
    No,
    /// `alias` in a location with this path: the path.
    Prefix(Box<[u8]>),
    /// `alias` in a location with a regular expression: all of the URI.
    Whole,
}

/// Where the files of a location are.
#[derive(Debug)]
pub struct Root {
    base: Template,
    alias: Alias,
    /// Put before a value that turns out relative; ends with a slash. `None`: never needed.
    prefix: Option<Box<[u8]>>,
}

/// A file name made from a URI.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapped {
    pub path: Vec<u8>,
    /// How many bytes of `path` come from the directory.
    pub root: usize,
}

impl Root {
    /// A directory that needs no variables; `base` is absolute.
    pub fn fixed(base: &[u8], alias: Alias) -> Self {
        Self { base: Template::literal(base), alias, prefix: None }
    }

    /// A directory whose value may turn out relative to `prefix`.
    pub fn computed(base: Template, alias: Alias, prefix: &[u8]) -> Self {
        let prefix = (base.as_literal().is_none()).then(|| prefix.into());
        Self { base, alias, prefix }
    }

    pub fn alias(&self) -> &Alias {
        &self.alias
    }

    /// `$document_root`.
    pub fn directory(&self, req: &Request) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.base.append(req, &mut out);
        match &self.prefix {
            Some(prefix) if out.first() != Some(&b'/') => {
                out.splice(0..0, prefix.iter().copied());
            }
            _ => {}
        }
        out
    }

    /// `$request_filename`. Fails with 500 when `alias` cannot apply: the URI was rewritten and no
    /// longer begins with the location's path.
    pub fn map(&self, req: &Request) -> Result<Mapped, Stop> {
        let tail = match &self.alias {
            Alias::No => &req.uri[..],
            Alias::Prefix(location) => after_location(req, location)?,
            Alias::Whole if req.add_uri_to_alias => &req.uri[..],
            Alias::Whole => b"",
        };
        let mut path = self.directory(req);
        let root = path.len();
        path.extend_from_slice(tail);
        Ok(Mapped { path, root })
    }
}

/// What follows the path of the location that has the alias. A nested location's URI begins with
/// it too; only one that was rewritten may not.
fn after_location<'r>(req: &'r Request, location: &[u8]) -> Result<&'r [u8], Stop> {
    let tail = req.uri.strip_prefix(location).filter(|_| req.valid_location);
    tail.ok_or_else(|| {
        let name = String::from_utf8_lossy(&req.location().name);
        req.log(
            Level::Alert,
            format_args!("\"alias\" cannot be used in location \"{name}\" where URI was rewritten"),
        );
        Stop::Status(500)
    })
}
