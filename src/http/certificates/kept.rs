//! Owns the texts that names of certificates and keys lead to while the server runs, and what is kept of
//! them (`…ssl_certificate_cache`).
//!
//! Has no clock: the caller says what time it is. A key that a password protects is never kept, because
//! not everybody who may use what is kept has the password.

use crate::conf::world::reason;
use crate::tls::{Certificate, certificate};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// Certificates and keys, counted apart.
    pub max: usize,
    /// One that was not asked for so long is forgotten.
    pub inactive: Duration,
    /// After so long it is looked whether a file is still the same.
    pub valid: Duration,
}

/// Where a PEM text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Data(Vec<u8>),
}

/// What is wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chain,
    Key,
}

/// What it is.
#[derive(Debug, Clone)]
enum Object {
    Chain(Rc<Vec<CertificateDer<'static>>>),
    Key(Rc<PrivateKeyDer<'static>>),
}

/// What was read.
struct Read {
    object: Object,
    /// It may be kept.
    lasts: bool,
}

/// Tells whether a name still means the same file with the same contents.
type Identity = (u64, Option<SystemTime>);

impl Source {
    /// A file by its name, which may begin in a directory, or what follows `data:`.
    pub fn new(name: &[u8], directory: &Path) -> Self {
        match name.strip_prefix(b"data:") {
            Some(data) => Self::Data(data.to_vec()),
            None => Self::File(directory.join(OsStr::from_bytes(name))),
        }
    }

    fn read(&self, kind: Kind, passwords: &[Vec<u8>]) -> Result<Read, String> {
        let pem = self.text().map_err(|why| self.failed(kind, &why))?;
        let read = match kind {
            Kind::Chain => certificate::chain(&pem)
                .map(|chain| Read { object: Object::Chain(Rc::new(chain)), lasts: true }),
            Kind::Key => certificate::key(&pem, passwords).map(|key| Read {
                object: Object::Key(Rc::new(key)),
                lasts: !certificate::is_encrypted(&pem),
            }),
        };
        read.map_err(|why| self.failed(kind, &why))
    }

    fn text(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Data(data) => Ok(data.clone()),
            Self::File(path) => {
                fs::read(path).map_err(|error| format!("open() failed ({})", reason(&error)))
            }
        }
    }

    fn failed(&self, kind: Kind, why: &str) -> String {
        let what = match kind {
            Kind::Chain => "certificate",
            Kind::Key => "certificate key",
        };
        match self {
            Self::File(path) => format!("cannot load {what} \"{}\": {why}", path.display()),
            Self::Data(_) => format!("cannot load {what} \"data:...\": {why}"),
        }
    }

    fn identity(&self) -> Option<Identity> {
        let Self::File(path) = self else { return None };
        let found = fs::metadata(path).ok()?;
        Some((found.ino(), found.modified().ok()))
    }
}

/// A certificate and its key, read now.
pub fn read(names: &[Source; 2], passwords: &[Vec<u8>]) -> Result<Certificate, String> {
    let [first, second] = names;
    let chain = first.read(Kind::Chain, passwords)?.object;
    join(names, &chain, &second.read(Kind::Key, passwords)?.object)
}

fn join([_, second]: &[Source; 2], chain: &Object, key: &Object) -> Result<Certificate, String> {
    let (Object::Chain(chain), Object::Key(key)) = (chain, key) else {
        return Err(second.failed(Kind::Key, "it is none"));
    };
    let joined = certificate::certified(chain.to_vec(), key.clone_key());
    joined.map(Arc::new).map_err(|why| second.failed(Kind::Key, &why))
}

/// What was read, the most recently used first.
#[derive(Debug)]
pub struct Kept {
    how: Keeping,
    known: VecDeque<Known>,
}

#[derive(Debug)]
struct Known {
    kind: Kind,
    source: Source,
    object: Object,
    identity: Option<Identity>,
    checked: Instant,
    used: Instant,
}

impl Kept {
    /// Nothing read yet.
    pub fn new(how: Keeping) -> Self {
        Self { how, known: VecDeque::new() }
    }

    /// A certificate and its key.
    pub fn get(
        &mut self,
        names: &[Source; 2],
        passwords: &[Vec<u8>],
        now: Instant,
    ) -> Result<Certificate, String> {
        let [first, second] = names;
        let chain = self.fetch(Kind::Chain, first, passwords, now)?;
        let key = self.fetch(Kind::Key, second, passwords, now)?;
        join(names, &chain, &key).or_else(|_| {
            // One may have been renewed while the other was kept.
            self.known.retain(|known| !names.contains(&known.source));
            let chain = self.fetch(Kind::Chain, first, passwords, now)?;
            join(names, &chain, &self.fetch(Kind::Key, second, passwords, now)?)
        })
    }

    fn fetch(
        &mut self,
        kind: Kind,
        source: &Source,
        passwords: &[Vec<u8>],
        now: Instant,
    ) -> Result<Object, String> {
        let at = self.known.iter().position(|known| known.kind == kind && known.source == *source);
        if let Some(mut known) = at.and_then(|at| self.known.remove(at))
            && known.is_current(&self.how, now)
        {
            known.used = now;
            let object = known.object.clone();
            self.known.push_front(known);
            return Ok(object);
        }
        // Looked at first: if the file changes while it is read, the next check tells.
        let identity = source.identity();
        let Read { object, lasts } = source.read(kind, passwords)?;
        if lasts {
            self.make_room(now);
            let (source, kept) = (source.clone(), object.clone());
            let known = Known { kind, source, object: kept, identity, checked: now, used: now };
            self.known.push_front(known);
        }
        Ok(object)
    }

    fn make_room(&mut self, now: Instant) {
        let Keeping { max, inactive, .. } = self.how;
        self.known.retain(|known| now.saturating_duration_since(known.used) <= inactive);
        self.known.truncate(max.saturating_sub(1));
    }
}

impl Known {
    /// Whether it is as its name says; looked at when it was not for a while.
    fn is_current(&mut self, how: &Keeping, now: Instant) -> bool {
        if now.saturating_duration_since(self.checked) <= how.valid {
            return true;
        }
        self.checked = now;
        matches!(self.source, Source::Data(_))
            || (self.identity.is_some() && self.source.identity() == self.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Files with a pair each, by their names.
    fn files(directory: &Path, name: &str) -> [Source; 2] {
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let names = ["crt", "key"].map(|end| directory.join(format!("{name}.{end}")));
        let texts = [pair.cert.pem(), pair.signing_key.serialize_pem()];
        for (name, text) in names.iter().zip(texts) {
            let new = name.with_extension("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, name).unwrap();
        }
        names.map(Source::File)
    }

    fn remove(names: &[Source; 2]) {
        for name in names {
            let Source::File(path) = name else { continue };
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn pairs_are_kept_while_there_is_room_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two, three] = ["one", "two", "three"].map(|name| files(dir.path(), name));
        let mut kept = Kept::new(Keeping { max: 4, inactive: 10 * SECOND, valid: SECOND });
        let start = Instant::now();
        kept.get(&one, &[], start).unwrap();
        kept.get(&two, &[], start + SECOND / 4).unwrap();
        kept.get(&one, &[], start + SECOND / 2).unwrap();
        remove(&one);
        remove(&two);
        kept.get(&three, &[], start + SECOND).unwrap();
        assert!(kept.get(&one, &[], start + SECOND).is_ok(), "used after the other one");
        assert!(kept.get(&two, &[], start + SECOND).unwrap_err().contains("No such file"));
        assert!(kept.get(&one, &[], start + 2 * SECOND).is_err(), "looked at again");
        assert!(kept.get(&three, &[], start + 9 * SECOND).is_ok(), "still the same");
        let old = kept.get(&three, &[], start + 9 * SECOND).unwrap();
        let new = files(dir.path(), "three");
        let read = kept.get(&new, &[], start + 11 * SECOND).unwrap();
        assert_ne!(old.cert, read.cert);
    }

    #[test]
    fn pairs_that_nobody_asks_for_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| files(dir.path(), name));
        let mut kept = Kept::new(Keeping { max: 40, inactive: SECOND, valid: 60 * SECOND });
        let start = Instant::now();
        kept.get(&one, &[], start).unwrap();
        remove(&one);
        kept.get(&two, &[], start + 3 * SECOND).unwrap();
        assert!(kept.get(&one, &[], start + 3 * SECOND).is_err());
    }

    #[test]
    fn halves_of_different_age_are_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let names = files(dir.path(), "one");
        let mut kept = Kept::new(Keeping { max: 4, inactive: 60 * SECOND, valid: 60 * SECOND });
        let now = Instant::now();
        kept.fetch(Kind::Chain, &names[0], &[], now).unwrap();
        files(dir.path(), "one");
        kept.get(&names, &[], now).unwrap();
    }
}
