//! What a master and its workers say to each other. How it travels is `sys::channel`'s business.
//!
//! Both ends are always the same executable, so the messages carry no version. Descriptors travel
//! with the message that names them, always in this order: configuration memfd, listening sockets,
//! log files, zones, counters, gates; each only where the message has it.
//!
//! A life: the worker says `Started`, gets `Spec`, builds everything, says `Ready` and accepts
//! nothing until `Commit`, which it answers with `Committed`. A reload is `Prepare`, answered by
//! `Prepared` or `Refused`, then `Commit` (answered by `Committed`) or `Abort`. `Quit` drains, at
//! the end comes `Drained`. The end of the channel is the death of the other side.

use std::io::{self, ErrorKind};
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::net::ListenSpec;
use crate::sys::identity::Identity;

pub use crate::sys::channel::{AsyncChannel, Channel, Message, Received, pair};

/// The number of the channel's descriptor in a worker, just after the standard streams.
pub const WORKER_FD: RawFd = 3;

/// What the process itself is to be like: the part of the configuration that cannot be changed in a
/// running worker. Names are resolved by the master.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whom to become (`user`); `None` keeps what it is.
    pub identity: Option<Identity>,
    /// `worker_rlimit_nofile`.
    pub nofile: Option<u64>,
    /// `worker_rlimit_core`, bytes.
    pub core: Option<u64>,
    /// `worker_priority`, a nice value.
    pub priority: i32,
    /// `worker_cpu_affinity`: this worker's processors, counted from 0; empty for any.
    pub affinity: Vec<usize>,
    /// `working_directory`.
    pub directory: Option<PathBuf>,
}

/// One generation of the configuration, as far as it can be written down: the rest are the
/// descriptors sent with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Counts up with every reload and upgrade.
    pub generation: u64,
    /// Each listening socket, in the order of their descriptors.
    pub listeners: Vec<ListenSpec>,
    /// Each log file, in the order of their descriptors.
    pub logs: Vec<PathBuf>,
    /// Zones of keyed records, in the order in which the configuration needs them.
    pub zones: usize,
}

/// A [`Bundle`] with its descriptors.
#[derive(Debug)]
pub struct Unpacked {
    /// Counts up with every reload and upgrade.
    pub generation: u64,
    /// Sealed memfd with the text of the configuration and every file it names.
    pub config: OwnedFd,
    /// Listening sockets.
    pub listeners: Vec<(ListenSpec, OwnedFd)>,
    /// Log files, open for appending.
    pub logs: Vec<(PathBuf, OwnedFd)>,
    /// Zones of keyed records.
    pub zones: Vec<OwnedFd>,
}

impl Bundle {
    /// Configuration, listening sockets, logs, zones.
    pub fn fd_count(&self) -> usize {
        1 + self.listeners.len() + self.logs.len() + self.zones
    }

    /// Joins the bundle and the descriptors it came with; takes as many as it needs.
    pub fn unpack(self, fds: &mut impl Iterator<Item = OwnedFd>) -> io::Result<Unpacked> {
        Ok(Unpacked {
            generation: self.generation,
            config: fds.next().ok_or_else(too_few)?,
            listeners: join(self.listeners, fds)?,
            logs: join(self.logs, fds)?,
            zones: (0..self.zones)
                .map(|_| fds.next().ok_or_else(too_few))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Pairs each thing with the next descriptor.
pub fn join<T>(
    things: Vec<T>,
    fds: &mut impl Iterator<Item = OwnedFd>,
) -> io::Result<Vec<(T, OwnedFd)>> {
    things.into_iter().map(|thing| Ok((thing, fds.next().ok_or_else(too_few)?))).collect()
}

fn too_few() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "a message came with too few descriptors")
}

/// Everything a new worker needs. After the bundle's descriptors come those of the counters zone and
/// of the gates zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Which of the configured workers it is, from 0.
    pub worker: usize,
    /// Its slot in the counters and its door at the gates, unlike that of any other living worker.
    pub slot: usize,
    /// The process.
    pub settings: Settings,
    /// The configuration.
    pub bundle: Bundle,
}

impl Spec {
    /// Joins the specification and its descriptors: the bundle, the counters zone, the gates zone.
    pub fn unpack(self, fds: Vec<OwnedFd>) -> io::Result<(Unpacked, OwnedFd, OwnedFd)> {
        let mut fds = fds.into_iter();
        let bundle = self.bundle.unpack(&mut fds)?;
        let mut next = || fds.next().ok_or_else(too_few);
        Ok((bundle, next()?, next()?))
    }
}

/// From the master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The first message: become this.
    Spec(Spec),
    /// Build the next generation beside the present one.
    Prepare(Bundle),
    /// Serve with this generation from now on.
    Commit {
        /// The one prepared.
        generation: u64,
    },
    /// Forget what was prepared.
    Abort {
        /// The one prepared.
        generation: u64,
    },
    /// Write to these files instead of those of the same names.
    Reopen {
        /// In the order of their descriptors.
        logs: Vec<PathBuf>,
    },
    /// Stop accepting, finish what there is, exit.
    Quit {
        /// Others go on serving its addresses: idle connections need not be closed at once.
        replaced: bool,
    },
    /// Exit now.
    Terminate,
    /// Tell what is under way, and how the servers behind do.
    Report {
        /// Comes back with the answer.
        number: u64,
    },
    /// Look at once for what is called out in the gates zone.
    Obey,
}

/// One request that a worker has under way with a server behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// The name of the switch that it is counted at.
    pub switch: String,
    /// The group it was passed to; empty as long as it has not come so far.
    pub upstream: String,
    /// The server of the group that it asks, likewise.
    pub server: String,
    /// `read`, `write`, `stream` or `bypass`.
    pub class: String,
    pub method: String,
    /// The beginning of its path.
    pub path: String,
    pub age_ms: u64,
}

/// How many a worker has under way, through one switch and with one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub switch: String,
    pub upstream: String,
    /// Reads, writes, streams, bypass.
    pub counts: [u64; 4],
}

/// How a worker finds one server of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub upstream: String,
    pub server: String,
    pub address: String,
    pub backup: bool,
    /// All workers share its counts.
    pub shared: bool,
    pub state: String,
    pub active: u32,
    pub fails: u32,
}

/// What only a worker knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The oldest ones first; no more than is good for a reader.
    pub under_way: Vec<UnderWay>,
    /// All of them.
    pub sums: Vec<Sum>,
    pub servers: Vec<Found>,
}

/// From a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// It runs, and waits for its `Spec`.
    Started,
    /// Built from its `Spec`; accepts at the word `Commit`.
    Ready,
    /// Built from `Prepare`.
    Prepared {
        /// The one asked for.
        generation: u64,
    },
    /// Could not be built; everything is as it was. A new worker exits after it.
    Refused {
        /// The one asked for.
        generation: u64,
        /// Why, for the error log.
        text: String,
    },
    /// Accepts and serves with this generation.
    Committed {
        /// The one asked for.
        generation: u64,
    },
    /// Accepts no longer; the answer to `Quit`.
    Leaving,
    /// Nothing is left to do; it exits.
    Drained {
        /// Connections cut at the deadline.
        cut: u64,
    },
    /// The answer to `Report`.
    Account {
        /// The one asked for.
        number: u64,
        account: Account,
    },
}

impl Message for ToWorker {
    fn fd_count(&self) -> usize {
        match self {
            ToWorker::Spec(spec) => spec.bundle.fd_count() + 2,
            ToWorker::Prepare(bundle) => bundle.fd_count(),
            ToWorker::Reopen { logs } => logs.len(),
            _ => 0,
        }
    }
}

impl Message for FromWorker {
    fn fd_count(&self) -> usize {
        0
    }
}

/// The master's end, blocking.
pub type MasterEnd = Channel<ToWorker, FromWorker>;
/// The worker's end, blocking.
pub type WorkerEnd = Channel<FromWorker, ToWorker>;
/// The master's end on an event loop.
pub type AsyncMasterEnd = AsyncChannel<ToWorker, FromWorker>;
/// The worker's end on an event loop.
pub type AsyncWorkerEnd = AsyncChannel<FromWorker, ToWorker>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Address;
    use crate::sys::fds::{memfd_sealed, read_memfd};
    use std::os::fd::{AsFd, BorrowedFd};

    fn ends() -> (MasterEnd, WorkerEnd) {
        let (near, far) = pair().unwrap();
        (Channel::new(near).unwrap(), Channel::new(far).unwrap())
    }

    fn received<M>(received: Received<M>) -> (M, Vec<OwnedFd>) {
        match received {
            Received::Message(message, fds) => (message, fds),
            Received::Closed => panic!("closed"),
        }
    }

    fn spec() -> Spec {
        let listen = |text: &str| ListenSpec::new(Address::Inet(text.parse().unwrap()));
        Spec {
            worker: 1,
            slot: 2,
            settings: Settings {
                identity: Some(Identity { uid: 33, gid: 33, groups: vec![33, 4] }),
                affinity: vec![1],
                ..Settings::default()
            },
            bundle: Bundle {
                generation: 3,
                listeners: vec![listen("127.0.0.1:80"), listen("[::1]:81")],
                logs: vec![PathBuf::from("/var/log/error.log")],
                zones: 2,
            },
        }
    }

    /// Memory files with their place as contents.
    fn files(count: usize) -> Vec<OwnedFd> {
        let file = |place: usize| memfd_sealed("file", place.to_string().as_bytes()).unwrap();
        (0..count).map(file).collect()
    }

    fn place(fd: &OwnedFd) -> String {
        String::from_utf8(read_memfd(fd.as_fd()).unwrap()).unwrap()
    }

    #[test]
    fn descriptors_keep_their_places() {
        let (mut master, mut worker) = ends();
        let files = files(8);
        let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        master.send(&ToWorker::Spec(spec()), &fds).unwrap();
        let (message, fds) = received(worker.receive().unwrap());
        let ToWorker::Spec(message) = message else { panic!("{message:?}") };
        assert_eq!(message, spec());
        let (bundle, counters, gates) = message.unpack(fds).unwrap();
        assert_eq!(place(&bundle.config), "0");
        assert_eq!(bundle.listeners[1].0.address.to_string(), "[::1]:81");
        assert_eq!(place(&bundle.listeners[1].1), "2");
        assert_eq!(place(&bundle.logs[0].1), "3");
        assert_eq!([place(&bundle.zones[0]), place(&bundle.zones[1])], ["4", "5"]);
        assert_eq!([place(&counters), place(&gates)], ["6", "7"]);
    }

    #[test]
    fn every_message_says_what_it_needs() {
        let bundle = spec().bundle;
        assert_eq!(ToWorker::Prepare(bundle.clone()).fd_count(), 6);
        assert_eq!(ToWorker::Reopen { logs: bundle.logs.clone() }.fd_count(), 1);
        assert_eq!(ToWorker::Quit { replaced: true }.fd_count(), 0);
        let error = bundle.unpack(&mut files(3).into_iter()).unwrap_err();
        assert_eq!(error.to_string(), "a message came with too few descriptors");
    }

    #[test]
    fn answers_travel() {
        let (mut master, mut worker) = ends();
        let text = "unknown directive \"x\"\n\u{e9}".to_owned();
        let answers = [
            FromWorker::Started,
            FromWorker::Ready,
            FromWorker::Refused { generation: u64::MAX, text },
            FromWorker::Drained { cut: 2 },
        ];
        for answer in &answers {
            worker.send(answer, &[]).unwrap();
        }
        drop(worker);
        for answer in answers {
            assert_eq!(received(master.receive().unwrap()).0, answer);
        }
        assert!(matches!(master.receive().unwrap(), Received::Closed));
    }
}
