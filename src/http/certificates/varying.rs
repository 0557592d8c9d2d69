//! Owns certificates whose names have variables: read by the worker, with its own rights, when a
//! connection tells what they are; kept for the next one if the configuration says so.
//!
//! Must not choose among them.

use super::super::finish::Finish;
use super::super::request::Request;
use super::super::template::Template;
use crate::conf::world::reason;
use crate::conf::{Directive, Error, Span, Word, values};
use crate::tls::{Certificate, certificate};
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A certificate and its key by the names that a request gives them.
#[derive(Debug)]
pub struct Varying {
    certificate: Template,
    key: Template,
    passwords: Vec<Vec<u8>>,
    /// Where names that are not absolute begin.
    directory: PathBuf,
    /// A number of `Snapshot::kept_certificates`.
    kept: Option<usize>,
}

/// `ssl_certificate_cache` and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// Certificates and keys, counted apart.
    max: usize,
    /// One that was not asked for so long is forgotten.
    inactive: Duration,
    /// After so long it is looked whether a file is still the same.
    valid: Duration,
}

/// As written.
#[derive(Debug, Clone, Copy)]
pub enum Keep {
    Off,
    /// Where it was written tells one from another.
    On(Keeping, Span),
}

/// Whether one of these words has variables.
pub fn varies<'a>(words: impl IntoIterator<Item = &'a Word>) -> bool {
    words.into_iter().any(|word| word.text.contains(&b'$'))
}

impl Varying {
    /// Both names as written, and what keeps what they lead to.
    pub fn new(
        certificate: &Word,
        key: &Word,
        passwords: &[Vec<u8>],
        keep: Option<Keep>,
        cx: &mut Finish,
    ) -> Self {
        Self {
            certificate: cx.template(certificate),
            key: cx.template(key),
            passwords: passwords.to_vec(),
            directory: cx.env.conf_dir.clone(),
            kept: match keep {
                Some(Keep::On(how, place)) => Some(cx.kept_certificates((how, place))),
                Some(Keep::Off) | None => None,
            },
        }
    }

    /// What this request gets. The error is a sentence.
    pub fn load(&self, req: &Request) -> Result<Certificate, String> {
        let names = [self.source(&self.certificate, req), self.source(&self.key, req)];
        let kept = self.kept.and_then(|at| req.live.kept_certificates.get(at));
        match kept {
            Some(kept) => kept.borrow_mut().get(&names, &self.passwords, Instant::now()),
            None => read(&names, &self.passwords),
        }
    }

    fn source(&self, template: &Template, req: &Request) -> Source {
        let text = template.value(req).into_owned();
        match text.strip_prefix(b"data:") {
            Some(data) => Source::Data(data.to_vec()),
            None => Source::File(self.directory.join(path(&text))),
        }
    }
}

fn path(text: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(text))
}

/// Where a PEM text is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    File(PathBuf),
    Data(Vec<u8>),
}

impl Source {
    fn read(&self, what: &str) -> Result<Vec<u8>, String> {
        match self {
            Source::Data(data) => Ok(data.clone()),
            Source::File(path) => fs::read(path).map_err(|error| {
                let shown = path.display();
                format!("cannot load {what} \"{shown}\": open() failed ({})", reason(&error))
            }),
        }
    }

    fn failed(&self, what: &str, why: &str) -> String {
        match self {
            Source::File(path) => format!("cannot load {what} \"{}\": {why}", path.display()),
            Source::Data(_) => format!("cannot load {what} \"data:...\": {why}"),
        }
    }
}

const CERTIFICATE: &str = "certificate";
const KEY: &str = "certificate key";

fn read([first, second]: &[Source; 2], passwords: &[Vec<u8>]) -> Result<Certificate, String> {
    let chain = first.read(CERTIFICATE)?;
    let chain = certificate::chain(&chain).map_err(|why| first.failed(CERTIFICATE, &why))?;
    let key = second.read(KEY)?;
    let key = certificate::key(&key, passwords).map_err(|why| second.failed(KEY, &why))?;
    certificate::certified(chain, key).map(Arc::new).map_err(|why| second.failed(KEY, &why))
}

/// Pairs that were read, by where they came from.
#[derive(Debug)]
pub struct Kept {
    how: Keeping,
    pairs: HashMap<[Source; 2], Pair>,
}

#[derive(Debug)]
struct Pair {
    certificate: Certificate,
    identities: [Option<Identity>; 2],
    checked: Instant,
    used: Instant,
}

/// Tells whether a name still means the same file with the same contents.
type Identity = (u64, Option<SystemTime>);

impl Kept {
    /// Nothing read yet.
    pub fn new(how: Keeping) -> Self {
        Self { how, pairs: HashMap::new() }
    }

    fn get(
        &mut self,
        names: &[Source; 2],
        passwords: &[Vec<u8>],
        now: Instant,
    ) -> Result<Certificate, String> {
        if let Some(pair) = self.pairs.get_mut(names) {
            let fresh = now.duration_since(pair.checked) <= self.how.valid;
            if fresh || pair.identities == identities(names) {
                pair.used = now;
                pair.checked = if fresh { pair.checked } else { now };
                return Ok(pair.certificate.clone());
            }
            self.pairs.remove(names);
        }
        // Looked at first: if the files change while they are read, the next check tells.
        let identities = identities(names);
        let certificate = read(names, passwords)?;
        self.make_room(now);
        let pair = Pair { certificate: certificate.clone(), identities, checked: now, used: now };
        self.pairs.insert(names.clone(), pair);
        Ok(certificate)
    }

    fn make_room(&mut self, now: Instant) {
        let inactive = self.how.inactive;
        self.pairs.retain(|_, pair| now.duration_since(pair.used) <= inactive);
        while !self.pairs.is_empty() && (self.pairs.len() + 1) * 2 > self.how.max {
            let oldest = self.pairs.iter().min_by_key(|(_, pair)| pair.used);
            let Some(oldest) = oldest.map(|(names, _)| names.clone()) else { return };
            self.pairs.remove(&oldest);
        }
    }
}

fn identities(names: &[Source; 2]) -> [Option<Identity>; 2] {
    let identity = |found: io::Result<Metadata>| {
        let found = found.ok()?;
        Some((found.ino(), found.modified().ok()))
    };
    names.each_ref().map(|name| match name {
        Source::File(path) => identity(fs::metadata(path)),
        Source::Data(_) => None,
    })
}

/// `off`, or `max=N [inactive=time] [valid=time]`.
pub fn keep(dir: &Directive) -> Result<Keep, Error> {
    let mut how =
        Keeping { max: 0, inactive: Duration::from_secs(10), valid: Duration::from_mins(1) };
    let mut off = false;
    for word in &dir.args {
        let text = word.lossy();
        let time = |text: &str| values::parse_sec(text.as_bytes());
        let taken = match text.split_once('=') {
            Some(("max", number)) => values::parse_number(number.as_bytes())
                .filter(|number| *number > 0)
                .and_then(|number| usize::try_from(number).ok())
                .map(|number| how.max = number),
            Some(("inactive", text)) => time(text).map(|time| how.inactive = time),
            Some(("valid", text)) => time(text).map(|time| how.valid = time),
            _ => (text == "off").then(|| off = true),
        };
        taken.ok_or_else(|| word.error(format_args!("invalid parameter \"{text}\"")))?;
    }
    if off {
        return Ok(Keep::Off);
    }
    if how.max == 0 {
        let name = dir.name_str();
        return Err(dir.error(format_args!("\"{name}\" must have the \"max\" parameter")));
    }
    Ok(Keep::On(how, dir.span))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files with a pair each, by their names.
    fn files(directory: &Path, name: &str) -> [Source; 2] {
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let names = ["crt", "key"].map(|end| directory.join(format!("{name}.{end}")));
        fs::write(&names[0], pair.cert.pem()).unwrap();
        fs::write(&names[1], pair.signing_key.serialize_pem()).unwrap();
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
        let second = Duration::from_secs(1);
        let mut kept = Kept::new(Keeping { max: 4, inactive: 10 * second, valid: second });
        let start = Instant::now();
        kept.get(&one, &[], start).unwrap();
        kept.get(&two, &[], start + second / 4).unwrap();
        kept.get(&one, &[], start + second / 2).unwrap();
        remove(&one);
        remove(&two);
        kept.get(&three, &[], start + second).unwrap();
        assert!(kept.get(&one, &[], start + second).is_ok(), "used after the other one");
        assert!(kept.get(&two, &[], start + second).unwrap_err().contains("No such file"));
        assert!(kept.get(&one, &[], start + 2 * second).is_err(), "looked at again");
        assert!(kept.get(&three, &[], start + 9 * second).is_ok(), "still the same");
        let new = files(dir.path(), "three");
        let old = kept.get(&three, &[], start + 9 * second).unwrap();
        let read = kept.get(&new, &[], start + 11 * second).unwrap();
        assert_ne!(old.cert, read.cert);
    }

    #[test]
    fn pairs_that_nobody_asks_for_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| files(dir.path(), name));
        let second = Duration::from_secs(1);
        let mut kept = Kept::new(Keeping { max: 40, inactive: second, valid: 60 * second });
        let start = Instant::now();
        kept.get(&one, &[], start).unwrap();
        remove(&one);
        kept.get(&two, &[], start + 3 * second).unwrap();
        assert!(kept.get(&one, &[], start + 3 * second).is_err());
    }
}
