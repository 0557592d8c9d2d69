//! What two masters say to each other while one takes over from the other, and how a program is
//! told that it is to take over. Unlike the messages to workers these cross versions: every field has
//! a default, what is unknown is passed over, and the two agree on a protocol before anything else.
//!
//! A life: the old master starts the new one with its listening sockets (`NGINX`, as nginx does) and
//! one socket (`PROXYD_HANDOVER`), and says `Hello`. The new one builds everything, says `Building`
//! as its workers come up, and `Ready`, and accepts nothing until `Go`, which it answers with
//! `Accepting`. Then `Commit` makes it the server, `Abort` sends it away. After `Commit` the socket
//! stays: what it says then goes to a master that has retired. The end of the socket is the death of
//! the other side.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

use crate::sys::channel::{AsyncChannel, Message};
use crate::sys::exec::Program;

/// In the environment of a new master: the number of the socket's descriptor.
pub const VARIABLE: &str = "PROXYD_HANDOVER";
/// That number.
pub const FD: RawFd = 3;
/// The protocols this program speaks, oldest and newest.
pub const PROTOCOLS: (u32, u32) = (1, 1);

/// In every program that knows what `PROXYD_HANDOVER` is.
static MARKER: [u8; 32] = *b"proxyd: takes over from a master";

/// Whether a program will answer a `Hello`. One that will not, such as nginx, has to be dealt with as
/// nginx would: it replaces the pid file as soon as it runs, and never says that it is ready.
pub fn understands(program: &Program) -> io::Result<bool> {
    const PIECE: usize = 256 * 1024;
    let finder = Finder::new(&MARKER);
    let mut file = program.contents()?;
    let mut buffer = vec![0; PIECE];
    let mut kept = 0;
    loop {
        let read = file.read(&mut buffer[kept..])?;
        if read == 0 {
            return Ok(false);
        }
        let filled = kept + read;
        if finder.find(&buffer[..filled]).is_some() {
            return Ok(true);
        }
        // The marker may lie across two pieces.
        kept = filled.min(MARKER.len() - 1);
        buffer.copy_within(filled - kept..filled, 0);
    }
}

/// What a descriptor that came with a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attached {
    /// The control API's listening socket.
    Control,
    /// The counters' shared memory.
    Counters,
    /// The gates' shared memory: what is closed for maintenance, and who is under way.
    Gates,
    /// A zone of keyed records; it says itself which one. As many as the configuration has.
    Zone,
    /// Where the old master's standard error goes.
    Stderr,
    /// The configuration to use instead of reading one: the new program has written it itself once.
    Configuration,
    /// The executable of the old master, to be held for a rollback.
    Program,
    /// The configuration of the old master, likewise.
    ProgramConfiguration,
    /// The socket to the relay.
    Relay,
    /// A socket to a master that has retired earlier; as many as there are `Retired`.
    Link,
    #[serde(other)]
    Unknown,
}

/// The old master's first message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    pub oldest_protocol: u32,
    pub newest_protocol: u32,
    pub version: String,
    pub pid: u32,
    /// The old master's current generation.
    pub generation: u64,
    /// The words it was started with, its name first.
    pub words: Vec<OsString>,
    /// It has not gone into the background, and neither may its successor.
    pub foreground: bool,
    /// A person decides, by signals, not the old master.
    pub manual: bool,
    /// How many workers accept before `Commit`; the others are started then.
    pub canary: Option<usize>,
    pub fds: Vec<Attached>,
}

/// A master that has been replaced and still finishes what it had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retired {
    pub pid: u32,
    pub version: String,
    pub generation: u64,
    /// Seconds since its start.
    pub age: u64,
}

/// From the old master to the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ToSuccessor {
    Hello(Box<Hello>),
    /// Let the workers accept.
    Go,
    /// From now on it is the server.
    Commit {
        /// Who else still finishes what they had.
        #[serde(default)]
        retired: Vec<Retired>,
        /// The sender's own age in seconds.
        #[serde(default)]
        age: u64,
        #[serde(default)]
        fds: Vec<Attached>,
    },
    /// It is not wanted: its workers finish what they have, and it leaves.
    Abort {
        #[serde(default)]
        reason: String,
    },
    #[serde(other)]
    Unknown,
}

/// What a new master says of itself when all its workers are ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ready {
    pub version: String,
    pub workers: usize,
    /// The addresses it listens on: the old master closes the others.
    pub listen: Vec<String>,
    pub pid_file: PathBuf,
    pub control: PathBuf,
}

/// From the new master to the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FromSuccessor {
    /// Where it stands, for when it takes too long.
    Building {
        #[serde(default)]
        version: String,
        #[serde(default)]
        ready: usize,
        #[serde(default)]
        of: usize,
    },
    /// It cannot take over, and leaves.
    Failed {
        #[serde(default)]
        text: String,
    },
    Ready(Ready),
    /// Its workers accept.
    Accepting,
    /// A worker that accepted has ended.
    WorkerLost {
        #[serde(default)]
        text: String,
    },
    /// To a retired master: open the log files again.
    Reopen,
    /// To a retired master: leave, at once or as soon as nothing is under way.
    Stop {
        #[serde(default)]
        fast: bool,
    },
    /// To a retired master: another one has taken over since, and it will not be wanted back.
    Superseded,
    #[serde(other)]
    Unknown,
}

impl Message for ToSuccessor {
    fn fd_count(&self) -> usize {
        match self {
            ToSuccessor::Hello(hello) => hello.fds.len(),
            ToSuccessor::Commit { fds, .. } => fds.len(),
            _ => 0,
        }
    }
}

impl Message for FromSuccessor {
    fn fd_count(&self) -> usize {
        0
    }
}

/// The old master's end.
pub type ElderEnd = AsyncChannel<ToSuccessor, FromSuccessor>;
/// The new master's end.
pub type HeirEnd = AsyncChannel<FromSuccessor, ToSuccessor>;

/// Pairs descriptors with what they are; those that are unknown are closed.
pub fn sort(kinds: &[Attached], fds: Vec<OwnedFd>) -> Vec<(Attached, OwnedFd)> {
    let known = |(kind, _): &(Attached, OwnedFd)| *kind != Attached::Unknown;
    kinds.iter().copied().zip(fds).filter(known).collect()
}

/// Takes the first descriptor of a kind out of the list.
pub fn take(fds: &mut Vec<(Attached, OwnedFd)>, kind: Attached) -> Option<OwnedFd> {
    let at = fds.iter().position(|(found, _)| *found == kind)?;
    Some(fds.swap_remove(at).1)
}

/// Whether two programs have a protocol in common; else what to tell the operator.
pub fn agree(hello: &Hello, version: &str) -> Result<(), String> {
    let (oldest, newest) = PROTOCOLS;
    if hello.oldest_protocol <= newest && oldest <= hello.newest_protocol {
        return Ok(());
    }
    let (theirs, first, last) = (&hello.version, hello.oldest_protocol, hello.newest_protocol);
    Err(format!(
        "incompatible: {theirs} speaks handover {first}-{last}, {version} needs {oldest}-{newest}; \
         upgrade through a version between them, or restart"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::path::Path;

    #[test]
    fn a_program_of_ours_is_told_from_others() {
        assert!(understands(&Program::current().unwrap()).unwrap());
        assert!(!understands(&Program::open(Path::new("/bin/sh")).unwrap()).unwrap());
    }

    #[test]
    fn the_marker_is_found_across_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        for before in [0, 1, 256 * 1024 - 1, 256 * 1024 - 31, 256 * 1024, 600_000] {
            let mut bytes = vec![b'p'; before];
            bytes.extend_from_slice(&MARKER);
            std::fs::write(&path, &bytes).unwrap();
            assert!(understands(&Program::open(&path).unwrap()).unwrap(), "{before}");
            bytes.pop();
            std::fs::write(&path, &bytes).unwrap();
            assert!(!understands(&Program::open(&path).unwrap()).unwrap(), "{before}");
        }
    }

    #[test]
    fn other_versions_may_say_more_or_less() {
        let read = |text: &str| serde_json::from_str::<ToSuccessor>(text).unwrap();
        let more = r#"{"kind":"hello","version":"9","fds":["control","teapot"],"moon":{"x":1}}"#;
        let ToSuccessor::Hello(hello) = read(more) else { panic!() };
        assert_eq!((hello.version.as_str(), hello.generation), ("9", 0));
        assert_eq!(hello.fds, [Attached::Control, Attached::Unknown]);
        assert_eq!(read(r#"{"kind":"dance","with":"me"}"#), ToSuccessor::Unknown);
        let less = ToSuccessor::Commit { retired: Vec::new(), age: 0, fds: Vec::new() };
        assert_eq!(read(r#"{"kind":"commit"}"#), less);
        let unknown: FromSuccessor = serde_json::from_str(r#"{"kind":"sing"}"#).unwrap();
        assert_eq!(unknown, FromSuccessor::Unknown);
    }

    #[test]
    fn unknown_descriptors_are_closed_and_the_others_keep_their_names() {
        let file = || File::open("/dev/null").unwrap().into();
        let kinds = [Attached::Unknown, Attached::Relay, Attached::Control];
        let mut sorted = sort(&kinds, vec![file(), file(), file()]);
        assert_eq!(sorted.len(), 2);
        assert!(take(&mut sorted, Attached::Control).is_some());
        assert!(take(&mut sorted, Attached::Control).is_none());
        assert!(take(&mut sorted, Attached::Relay).is_some());
    }

    #[test]
    fn protocols_have_to_overlap() {
        let hello = |oldest_protocol, newest_protocol| Hello {
            oldest_protocol,
            newest_protocol,
            version: "0.0.9".into(),
            ..Hello::default()
        };
        assert_eq!(agree(&hello(1, 1), "1.0.0"), Ok(()));
        assert_eq!(agree(&hello(1, 7), "1.0.0"), Ok(()));
        let error = agree(&hello(2, 7), "1.0.0").unwrap_err();
        assert!(error.starts_with("incompatible: 0.0.9 speaks handover 2-7, 1.0.0 needs 1-1"));
    }
}
