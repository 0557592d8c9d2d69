//! Owns the zones of keyed records that a configuration declares, what they are referred to by, and
//! what a request has been counted in.
//!
//! Must not know how anything is limited; the modules do.

use super::finish::Finish;
use super::request::Request;
use super::template::Template;
use crate::conf::{Directive, Error, Word, values};
use crate::log::Level;
use crate::zone::keyed::{Kind, Lease, Spec};
use std::borrow::Cow;

/// The levels at which it may be logged that something is limited.
pub const LEVELS: &[(&str, Level)] = &[
    ("info", Level::Info),
    ("notice", Level::Notice),
    ("warn", Level::Warn),
    ("error", Level::Error),
];

/// What nginx's memory needs to begin with: eight pages.
const LEAST: u64 = 8 * 4096;

/// A zone in force.
#[derive(Debug)]
pub struct SharedZone {
    pub spec: Spec,
    /// What its keys are made of.
    pub key: Template,
    /// Thousandths of a request a second; 0 where there is no rate.
    pub rate: u64,
}

impl SharedZone {
    /// Its name, for messages.
    pub fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.spec.name)
    }

    /// A request's key; `None` when it is empty or too long, and then it is not limited.
    pub fn key_of(&self, req: &Request, longest: usize) -> Option<Cow<'_, [u8]>> {
        let key = self.key.value(req);
        if key.len() > longest {
            let (written, key) =
                (String::from_utf8_lossy(&self.spec.key), String::from_utf8_lossy(&key));
            req.log_error(format_args!(
                "the value of the \"{written}\" key is more than {longest} bytes: \"{key}\""
            ));
            return None;
        }
        Some(key).filter(|key| !key.is_empty())
    }
}

/// A zone as written: `KEY zone=NAME:SIZE`.
#[derive(Debug, Clone)]
pub struct ZoneWritten {
    key: Word,
    name: Vec<u8>,
    size: u64,
    whole: Word,
}

impl ZoneWritten {
    /// Reads the key and `zone=`; other parameters are the caller's.
    pub fn read(
        dir: &Directive,
        mut other: impl FnMut(&Word) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut found = None;
        for word in &dir.args[1..] {
            match word.text.strip_prefix(b"zone=") {
                Some(text) => found = Some((name_and_size(word, text)?, word)),
                None => other(word)?,
            }
        }
        let Some(((name, size), whole)) = found.filter(|((name, _), _)| !name.is_empty()) else {
            return Err(without_zone(dir));
        };
        Ok(Self { key: dir.arg(0).clone(), name, size, whole: whole.clone() })
    }

    /// Declares it; `directive` is the one it was written with.
    pub fn declare(&self, kind: Kind, rate: u64, cx: &mut Finish) {
        let known = cx.zones.iter().find(|zone| zone.spec.name == self.name);
        if let Some(known) = known {
            let error = self.conflict(kind, &known.spec);
            return cx.report(error);
        }
        let (name, key) = (self.name.clone(), self.key.text.clone());
        let spec = Spec { kind, name, size: self.size, key };
        let key = cx.template(&self.key);
        cx.zones.push(SharedZone { spec, key, rate });
    }

    fn conflict(&self, kind: Kind, known: &Spec) -> Error {
        let name = String::from_utf8_lossy(&self.name);
        if known.kind != kind {
            return used_otherwise(&self.whole, &name);
        }
        let (size, before, use_) = (self.size, known.size, kind.directive());
        let key = String::from_utf8_lossy(&known.key);
        if size == before {
            self.whole.error(format!("{use_} \"{name}\" is already bound to key \"{key}\""))
        } else {
            other_size(&self.whole, &name, size, before)
        }
    }
}

/// `zone NAME [SIZE]` of an `upstream` block. Several blocks may have one zone.
#[derive(Debug, Clone)]
pub struct ZoneName {
    name: Word,
    size: Option<u64>,
}

impl ZoneName {
    /// Reads the directive.
    pub fn read(dir: &Directive) -> Result<Self, Error> {
        let name = dir.arg(0);
        let shown = name.lossy();
        if name.text.is_empty() {
            return Err(name.error(format_args!("invalid zone name \"{shown}\"")));
        }
        let size = match dir.args.get(1) {
            None => None,
            Some(word) => Some(values::parse_size(&word.text).ok_or_else(|| {
                word.error(format_args!("invalid zone size \"{}\"", word.lossy()))
            })?),
        };
        match size {
            Some(size) if size < LEAST => Err(too_small(name, &shown)),
            size => Ok(Self { name: name.clone(), size }),
        }
    }

    /// Declares it, if it says a size.
    pub fn declare(&self, cx: &mut Finish) {
        let Some(size) = self.size else { return };
        let shown = self.name.lossy();
        match cx.zones.iter().find(|zone| zone.spec.name == self.name.text).map(|zone| &zone.spec) {
            Some(known) if known.kind != Kind::Servers => {
                cx.report(used_otherwise(&self.name, &shown));
            }
            Some(known) if known.size != size => {
                cx.report(other_size(&self.name, &shown, size, known.size));
            }
            Some(_) => {}
            None => {
                let name = self.name.text.clone();
                let spec = Spec { kind: Kind::Servers, name, size, key: Vec::new() };
                cx.zones.push(SharedZone { spec, key: Template::default(), rate: 0 });
            }
        }
    }

    /// Its name and size, once all are declared.
    pub fn find(&self, cx: &mut Finish) -> Option<(Vec<u8>, u64)> {
        let mut others = cx.zones.iter().filter(|zone| zone.spec.kind != Kind::Servers);
        if self.size.is_some() && others.any(|zone| zone.spec.name == self.name.text) {
            // It has been told where it was declared.
            return None;
        }
        let at = cx.zone(Kind::Servers, &self.name.text, &self.name)?;
        cx.zones.get(at).map(|zone| (zone.spec.name.clone(), zone.spec.size))
    }
}

fn other_size(word: &Word, name: &str, size: u64, before: u64) -> Error {
    word.error(format!(
        "the size {size} of shared memory zone \"{name}\" conflicts with already declared size {before}"
    ))
}

fn too_small(word: &Word, name: &str) -> Error {
    word.error(format!("zone \"{name}\" is too small")).with_help("at least 32k")
}

/// nginx's answer to a directive that names no zone.
pub fn without_zone(dir: &Directive) -> Error {
    dir.error(format!("\"{}\" must have \"zone\" parameter", dir.name_str()))
}

fn name_and_size(word: &Word, text: &[u8]) -> Result<(Vec<u8>, u64), Error> {
    let invalid = || word.error(format!("invalid zone size \"{}\"", word.lossy()));
    let colon = memchr::memchr(b':', text).ok_or_else(invalid)?;
    let (name, size) = (&text[..colon], values::parse_size(&text[colon + 1..]));
    match size {
        None => Err(invalid()),
        Some(size) if size < LEAST => {
            let name = String::from_utf8_lossy(name);
            Err(too_small(word, &name))
        }
        Some(size) => Ok((name.to_vec(), size)),
    }
}

fn used_otherwise(word: &Word, name: &str) -> Error {
    word.error(format!("the shared memory zone \"{name}\" is already declared for a different use"))
}

impl Finish<'_, '_> {
    /// The index of a zone that is referred to; wherever it stands, it has to be declared.
    pub fn zone(&mut self, kind: Kind, name: &[u8], word: &Word) -> Option<usize> {
        let at = self.zones.iter().position(|zone| zone.spec.name == name);
        let shown = String::from_utf8_lossy(name);
        let error = match at.and_then(|at| self.zones.get(at)) {
            Some(zone) if zone.spec.kind == kind => return at,
            Some(_) => used_otherwise(word, &shown),
            None => {
                let error = word.error(format!("zero size shared memory zone \"{shown}\""));
                error.with_help(match kind {
                    Kind::Servers => format!("one upstream has to say its size: zone {shown} SIZE"),
                    _ => format!("declare it: {} KEY zone={shown}:SIZE", kind.directive()),
                })
            }
        };
        self.report(error);
        None
    }
}

/// What a request has met of the limits.
#[derive(Debug, Default)]
pub struct Limited {
    /// `$limit_req_status`, once it was asked.
    pub requests: Option<&'static str>,
    /// `$limit_conn_status`, likewise.
    pub connections: Option<&'static str>,
    /// What it counts for, as long as it lasts.
    pub leases: Vec<Lease>,
}
