//! The answers a configuration got from the outside: recorded by the master, replayed by workers, so
//! that a worker never reads the file system. Must not ask anything itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Disk, World};

/// What an encoded bundle starts with.
const MAGIC: &[u8] = b"proxyd bundle\n";

// The first byte of a question.
const FILE: u8 = b'f';
const GLOB: u8 = b'g';
const NAME: u8 = b'n';
const KEPT: u8 = b'k';

/// A failure that can be kept and given again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    /// errno, 0 when the failure did not come from the kernel.
    code: i32,
    text: String,
}

/// The bytes of a file alone, paths, or addresses as text.
type Answer = Result<Vec<Vec<u8>>, Failure>;

/// Every question a configuration asked, with its answer: a configuration without its file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    answers: BTreeMap<Vec<u8>, Answer>,
}

/// Asks `W` and keeps every answer, failures too. The same question gets the same answer again, so
/// that one loading sees one state of the file system.
pub struct Recording<W> {
    world: W,
    bundle: Bundle,
}

fn question(kind: u8, about: &[u8]) -> Vec<u8> {
    [&[kind], about].concat()
}

fn kept(answer: io::Result<Vec<Vec<u8>>>) -> Answer {
    answer.map_err(|error| Failure {
        code: error.raw_os_error().unwrap_or(0),
        text: error.to_string(),
    })
}

fn path_bytes(paths: Vec<PathBuf>) -> Vec<Vec<u8>> {
    paths.into_iter().map(|path| path.into_os_string().into_encoded_bytes()).collect()
}

impl<W: World> Recording<W> {
    /// Nothing asked yet.
    pub fn new(world: W) -> Self {
        Self { world, bundle: Bundle::default() }
    }

    /// All that was asked.
    pub fn into_bundle(self) -> Bundle {
        self.bundle
    }

    fn ask(&mut self, question: Vec<u8>, ask: impl FnOnce(&mut W) -> io::Result<Vec<Vec<u8>>>) {
        let world = &mut self.world;
        self.bundle.answers.entry(question).or_insert_with(|| kept(ask(world)));
    }
}

impl<W: World> World for Recording<W> {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.ask(question(FILE, path.as_os_str().as_bytes()), |world| Ok(vec![world.read(path)?]));
        self.bundle.read(path)
    }

    fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        self.ask(question(GLOB, pattern.as_bytes()), |world| world.glob(pattern).map(path_bytes));
        self.bundle.glob(pattern)
    }

    fn resolve(&mut self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.ask(question(NAME, name.as_bytes()), |world| {
            let found = world.resolve(name)?;
            Ok(found.into_iter().map(|address| address.to_string().into_bytes()).collect())
        });
        self.bundle.resolve(name)
    }

    fn kept(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.ask(question(KEPT, path.as_os_str().as_bytes()), |world| Ok(vec![world.kept(path)?]));
        self.bundle.kept(path)
    }
}

/// The outside, and what the configuration in force has had of it.
pub struct Since {
    pub now: Disk,
    pub before: Bundle,
}

impl World for Since {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.now.read(path)
    }

    fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        self.now.glob(pattern)
    }

    fn resolve(&mut self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.now.resolve(name)
    }

    fn kept(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        // It may have been gone the last time as well.
        self.before.read(path).or_else(|_| self.before.kept(path))
    }
}

impl World for Bundle {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let answer = self.answer(FILE, path.as_os_str().as_bytes())?;
        Ok(answer.first().cloned().unwrap_or_default())
    }

    fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let answer = self.answer(GLOB, pattern.as_bytes())?;
        Ok(answer.iter().map(|path| OsStr::from_bytes(path).into()).collect())
    }

    fn resolve(&mut self, name: &str) -> io::Result<Vec<IpAddr>> {
        let answer = self.answer(NAME, name.as_bytes())?;
        let texts = answer.iter().filter_map(|text| std::str::from_utf8(text).ok());
        Ok(texts.filter_map(|text| text.parse().ok()).collect())
    }

    fn kept(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let answer = self.answer(KEPT, path.as_os_str().as_bytes())?;
        Ok(answer.first().cloned().unwrap_or_default())
    }
}

impl Bundle {
    fn answer(&self, kind: u8, about: &[u8]) -> io::Result<&[Vec<u8>]> {
        match self.answers.get(&question(kind, about)) {
            Some(Ok(found)) => Ok(found),
            Some(Err(failure)) if failure.code != 0 => {
                Err(io::Error::from_raw_os_error(failure.code))
            }
            Some(Err(failure)) => Err(io::Error::other(failure.text.clone())),
            None => {
                let why = "not part of this configuration bundle";
                Err(io::Error::new(io::ErrorKind::NotFound, why))
            }
        }
    }

    /// The bundle as bytes, for a worker of this same executable: there are no versions.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend((self.answers.len() as u64).to_ne_bytes());
        for (question, answer) in &self.answers {
            put(&mut out, question);
            match answer {
                Ok(found) => {
                    out.extend(0i32.to_ne_bytes());
                    out.extend((found.len() as u64).to_ne_bytes());
                    for one in found {
                        put(&mut out, one);
                    }
                }
                // The kernel has no negative errno: it marks a failure that has none.
                Err(failure) => {
                    let code = if failure.code == 0 { -1 } else { failure.code };
                    out.extend(code.to_ne_bytes());
                    put(&mut out, failure.text.as_bytes());
                }
            }
        }
        out
    }

    /// The bundle [`Bundle::encode`] made; `InvalidData` for anything else.
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let mut rest = bytes.strip_prefix(MAGIC).unwrap_or_default();
        let answers = take_answers(&mut rest).filter(|_| rest.is_empty());
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "not a configuration bundle");
        Ok(Bundle { answers: answers.ok_or_else(damaged)? })
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_ne_bytes());
    out.extend(bytes);
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    usize::try_from(u64::from_ne_bytes(*number)).ok()
}

fn take(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = take_number(rest)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes.to_vec())
}

fn take_answers(rest: &mut &[u8]) -> Option<BTreeMap<Vec<u8>, Answer>> {
    (0..take_number(rest)?).map(|_| take_answer(rest)).collect()
}

fn take_answer(rest: &mut &[u8]) -> Option<(Vec<u8>, Answer)> {
    let question = take(rest)?;
    let (code, after) = rest.split_first_chunk()?;
    *rest = after;
    let answer = match i32::from_ne_bytes(*code) {
        0 => Ok((0..take_number(rest)?).map(|_| take(rest)).collect::<Option<_>>()?),
        code => Err(Failure { code: code.max(0), text: String::from_utf8(take(rest)?).ok()? }),
    };
    Some((question, answer))
}

#[cfg(test)]
impl Bundle {
    /// A world of these files, for tests.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mut bundle = Bundle::default();
        for (path, text) in files {
            bundle
                .answers
                .insert(question(FILE, path.as_bytes()), Ok(vec![text.as_bytes().into()]));
        }
        bundle
    }

    /// The same world with an answer to `pattern`.
    #[must_use]
    pub fn with_glob(mut self, pattern: &str, paths: &[&str]) -> Self {
        let paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        self.answers.insert(question(GLOB, pattern.as_bytes()), Ok(paths));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::Disk;
    use super::super::world::reason;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_recording_answers_again_in_another_process() {
        let dir = tempfile::tempdir().unwrap();
        let (file, missing) = (dir.path().join("a"), dir.path().join("b"));
        let pattern = format!("{}/*", dir.path().display());
        std::fs::write(&file, b"\xff\n").unwrap();
        let mut world = Recording::new(Disk);
        world.read(&file).unwrap();
        world.read(&missing).unwrap_err();
        world.glob(&pattern).unwrap();
        world.resolve("127.0.0.1").unwrap();
        std::fs::write(&file, b"changed").unwrap();
        assert_eq!(world.read(&file).unwrap(), b"\xff\n", "one state of the file system");

        let mut replay = Bundle::decode(&world.into_bundle().encode()).unwrap();
        assert_eq!(replay.read(&file).unwrap(), b"\xff\n");
        assert_eq!(reason(&replay.read(&missing).unwrap_err()), "2: No such file or directory");
        assert_eq!(replay.glob(&pattern).unwrap(), [file]);
        assert_eq!(replay.resolve("127.0.0.1").unwrap(), [IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(replay.resolve("other").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    proptest! {
        #[test]
        fn only_a_whole_bundle_is_decoded(bytes: Vec<u8>, cut in 0usize..200) {
            let _ = Bundle::decode(&[MAGIC, &bytes].concat());
            let whole = Bundle::of(&[("/a", "text")]).with_glob("/*", &["/a"]).encode();
            let part = whole.get(..cut).unwrap_or(&whole);
            prop_assert_eq!(Bundle::decode(part).is_ok(), cut >= whole.len());
            prop_assert!(Bundle::decode(&[&whole[..], b"x"].concat()).is_err());
        }
    }
}
