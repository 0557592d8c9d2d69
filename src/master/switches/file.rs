//! The state file: what operators have said of the switches, kept over restarts. Reads it, and
//! replaces it so that whoever is stopped at any point leaves the old contents or the new.
//!
//! Must not decide what is in it, nor when it is written.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::{EINVAL, O_NOFOLLOW};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::orders::network;
use crate::log::os_error;
use crate::zone::gates::{MAX_ALLOWED, MAX_NAME, MAX_REASON, MAX_SWITCHES, Order, State};

/// The format that this program writes. One with a higher number is not for it to judge.
const VERSION: u64 = 1;
/// More than this has never been written.
const LONGEST: u64 = 1 << 20;

/// The contents. What this version does not know is kept as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    version: u64,
    #[serde(default)]
    switches: BTreeMap<String, Entry>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// One switch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    state: String,
    #[serde(default)]
    since: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    auto_off: bool,
    #[serde(default)]
    no_bypass: bool,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    epoch: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    revoked: u64,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Why there is no telling what is closed.
#[derive(Debug)]
pub enum Unreadable {
    Io(io::Error),
    /// A later program has written it; in which format.
    Later(u64),
    Malformed(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Io(error) => write!(f, "cannot be read{}", os_error(error)),
            Unreadable::Later(version) => {
                write!(f, "is of version {version}, this program knows version {VERSION}")
            }
            Unreadable::Malformed(why) => write!(f, "is damaged: {why}"),
        }
    }
}

impl Default for Document {
    fn default() -> Document {
        Document { version: VERSION, switches: BTreeMap::new(), rest: Map::new() }
    }
}

impl Document {
    /// Reads the file; without one nothing has been said.
    pub fn read(path: &Path) -> Result<Document, Unreadable> {
        contents(path)?.map_or_else(|| Ok(Document::default()), |text| Document::decode(&text))
    }

    /// Takes the contents apart; whatever could not be put in force is an error now.
    pub fn decode(text: &[u8]) -> Result<Document, Unreadable> {
        let malformed = |error: serde_json::Error| Unreadable::Malformed(error.to_string());
        let value: Value = serde_json::from_slice(text).map_err(malformed)?;
        // First, because nothing else need be as it is here.
        match value.get("version").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(later @ 2..) => return Err(Unreadable::Later(later)),
            _ => return Err(Unreadable::Malformed("it has no version".to_owned())),
        }
        let document: Document = serde_json::from_value(value).map_err(malformed)?;
        if document.switches.len() > MAX_SWITCHES {
            return Err(Unreadable::Malformed(format!("more than {MAX_SWITCHES} switches")));
        }
        for (name, entry) in &document.switches {
            let wrong = |why| Unreadable::Malformed(format!("switch \"{name}\": {why}"));
            if name.is_empty() || name.len() > MAX_NAME {
                return Err(wrong("its name is too long".to_owned()));
            }
            entry.order().map_err(wrong)?;
        }
        Ok(document)
    }

    /// As it stands in the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// What was said of each switch.
    pub fn orders(&self) -> impl Iterator<Item = (&str, Order)> {
        let order = |(name, entry): (_, &Entry)| Some((name, entry.order().ok()?));
        self.switches.iter().map(|(name, entry)| (name.as_str(), entry)).filter_map(order)
    }

    /// Puts down what is said of a switch now.
    pub fn put(&mut self, name: &str, order: &Order) {
        let rest = self.switches.remove(name).map(|entry| entry.rest).unwrap_or_default();
        self.switches.insert(name.to_owned(), Entry::new(order, rest));
    }

    /// Nothing is to be said of this switch any more.
    pub fn forget(&mut self, name: &str) {
        self.switches.remove(name);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.switches.is_empty() && self.rest.is_empty()
    }

    pub fn has(&self, name: &str) -> bool {
        self.switches.contains_key(name)
    }
}

impl Entry {
    fn new(order: &Order, rest: Map<String, Value>) -> Entry {
        let state = match order.state {
            State::Open => "open",
            State::Closed => "closed",
        };
        Entry {
            state: state.to_owned(),
            since: order.since,
            until: order.until,
            reason: order.reason.clone(),
            auto_off: order.auto_off,
            no_bypass: order.no_bypass,
            allow: order.allow.iter().map(ToString::to_string).collect(),
            epoch: order.epoch,
            revoked: order.revoked,
            rest,
        }
    }

    fn order(&self) -> Result<Order, String> {
        let state = match self.state.as_str() {
            "open" => State::Open,
            "closed" => State::Closed,
            other => return Err(format!("unknown state \"{other}\"")),
        };
        if self.reason.len() > MAX_REASON || self.allow.len() > MAX_ALLOWED {
            return Err("its reason or list is too long".to_owned());
        }
        let net = |text: &String| network(text).ok_or(format!("no network: \"{text}\""));
        Ok(Order {
            state,
            epoch: self.epoch,
            revoked: self.revoked,
            since: self.since,
            until: self.until,
            auto_off: self.auto_off,
            no_bypass: self.no_bypass,
            reason: self.reason.clone(),
            allow: self.allow.iter().map(net).collect::<Result<_, _>>()?,
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "that is how serde asks")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What is in the file, if there is one.
pub fn contents(path: &Path) -> Result<Option<Vec<u8>>, Unreadable> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut text)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Unreadable::Io(error)),
        Ok(_) if text.len() as u64 > LONGEST => {
            Err(Unreadable::Malformed("it is too large".to_owned()))
        }
        Ok(_) => Ok(Some(text)),
    }
}

/// What replacing a file needs of the file system, so that a test can stop it anywhere.
pub trait Disk {
    type File;

    /// A new file; one that was left behind there goes.
    fn create(&mut self, path: &Path) -> io::Result<Self::File>;
    fn write(&mut self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Returns when the contents will survive a loss of power.
    fn sync(&mut self, file: &mut Self::File) -> io::Result<()>;
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Returns when the names in the directory will survive a loss of power.
    fn sync_names(&mut self, directory: &Path) -> io::Result<()>;
}

/// Replaces the file by one with these contents. After an error it is as it was: `before`.
pub fn replace(
    disk: &mut impl Disk,
    path: &Path,
    before: Option<&[u8]>,
    contents: &[u8],
) -> io::Result<()> {
    put_in_place(disk, path, contents)?;
    let synced = disk.sync_names(path.parent().unwrap_or(Path::new("/")));
    if synced.is_err() {
        // It has its name and may lose it again. Whoever asked is told that it was not done, and so
        // the next start must not find it done.
        let _ = match before {
            Some(before) => put_in_place(disk, path, before),
            None => disk.remove(path),
        };
    }
    synced
}

fn put_in_place(disk: &mut impl Disk, path: &Path, contents: &[u8]) -> io::Result<()> {
    let aside = aside(path);
    let put = fill(disk, &aside, contents).and_then(|()| disk.rename(&aside, path));
    if put.is_err() {
        let _ = disk.remove(&aside);
    }
    put
}

fn fill<D: Disk>(disk: &mut D, path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = disk.create(path)?;
    disk.write(&mut file, contents)?;
    disk.sync(&mut file)
}

/// Always the same name: what a killed process has left there is overwritten by the next one.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// The real one.
pub struct System;

impl Disk for System {
    type File = File;

    fn create(&mut self, path: &Path) -> io::Result<File> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = File::options();
        // Reasons and addresses are nobody else's business.
        options.write(true).create_new(true).mode(0o600).custom_flags(O_NOFOLLOW).open(path)
    }

    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&mut self, file: &mut File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_names(&mut self, directory: &Path) -> io::Result<()> {
        match File::open(directory).and_then(|directory| directory.sync_all()) {
            // Not every file system can, and there is nothing better to be done there.
            Err(error) if error.raw_os_error() == Some(EINVAL) => Ok(()),
            result => result,
        }
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
