//! Zones of records that are found by a key: what the limits count in. Mapped by the master and by
//! every worker of every generation; see `docs/notes/zones.md`.
//!
//! Must not know what is limited, nor when.

mod journal;
mod records;
mod servers;
mod shares;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use siphasher::sip128::SipHasher13;

use super::Zone;
use journal::Taker;
use records::Shape;

pub use journal::Holder;
pub use records::{At, Key, Records};
pub use servers::{CONNS, Duty, Entered, SERVER_WORDS, ServerState};
pub use shares::{Full, Lease};

/// Records looked at before the lock is given up for a moment.
const BATCH: usize = 1024;

/// Between two lines of the log about the same zone.
const SILENCE: Duration = Duration::from_mins(1);

/// What a zone is for. Zones of different kinds have nothing in common but their shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `limit_req_zone`: when a key was last seen, and by how much it is beyond its rate.
    Requests,
    /// `limit_conn_zone`: how many a key has at one time, by worker.
    Connections,
    /// Keys that TLS session tickets are sealed with, by their time.
    Tickets,
    /// `sticky learn`: when a session was last used, and which server it has.
    Sessions,
    /// `zone` of an `upstream`: how its servers are, and how many connections each worker has to them.
    Servers,
}

impl Kind {
    /// Its name and the version of its shape.
    fn layout(self) -> u64 {
        u64::from_be_bytes(match self {
            Kind::Requests => *b"\0\0req\0\0\x01",
            Kind::Connections => *b"\0\0con\0\0\x01",
            Kind::Tickets => *b"\0\0tls\0\0\x01",
            Kind::Sessions => *b"\0\0ses\0\0\x01",
            Kind::Servers => *b"\0\0srv\0\0\x02",
        })
    }

    fn values(self) -> usize {
        match self {
            Kind::Requests => 2,
            Kind::Connections => 0,
            Kind::Tickets => 4,
            Kind::Sessions => 5,
            Kind::Servers => SERVER_WORDS,
        }
    }

    /// What nginx calls it when its key has changed.
    pub fn noun(self) -> &'static str {
        match self {
            Kind::Requests => "limit_req",
            Kind::Connections => "limit_conn_zone",
            Kind::Tickets => "ssl_session_tickets",
            Kind::Sessions => "sticky learn",
            Kind::Servers => "upstream",
        }
    }

    /// The directive that declares it.
    pub fn directive(self) -> &'static str {
        match self {
            Kind::Requests => "limit_req_zone",
            Kind::Connections => "limit_conn_zone",
            Kind::Tickets => "ssl_session_tickets",
            Kind::Sessions => "sticky",
            Kind::Servers => "zone",
        }
    }
}

/// A zone as the configuration wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    pub kind: Kind,
    pub name: Vec<u8>,
    /// Bytes of memory.
    pub size: u64,
    /// What its keys are made of, as written.
    pub key: Vec<u8>,
}

impl Spec {
    fn words(&self) -> usize {
        let words = usize::try_from(self.size / 8).unwrap_or(usize::MAX);
        words.saturating_sub(super::HEADER_WORDS)
    }

    /// Whether its records can be those of another one, but for what their keys are made of.
    pub fn is_like(&self, other: &Spec) -> bool {
        (self.kind, &self.name, self.size) == (other.kind, &other.name, other.size)
    }

    /// Stands for the name and for what the keys are made of.
    fn label(&self) -> (u64, u64) {
        // No secret: masters of other versions come to the same.
        let text = [&self.name[..], b"\0", &self.key].concat();
        SipHasher13::new().hash(&text).as_u64()
    }
}

/// A zone, mapped here.
#[derive(Debug)]
pub struct Keyed {
    zone: Zone,
    shape: Shape,
    seeds: (u64, u64),
    kind: Kind,
    me: Holder,
    taker: Taker,
    told: Cell<Option<Instant>>,
    /// Leases that could not be given back yet.
    owed: RefCell<Vec<Key>>,
}

impl Keyed {
    /// A new zone without records; the descriptor lets other processes attach.
    pub fn create(spec: &Spec, me: Holder) -> io::Result<(OwnedFd, Keyed)> {
        let name = String::from_utf8_lossy(&spec.name).replace('\0', "");
        let (fd, zone) = Zone::create(&name, spec.kind.layout(), spec.words())?;
        let random = RandomState::new();
        let mut keyed = Keyed::new(zone, spec, me);
        keyed.seeds = (random.hash_one(0), random.hash_one(1));
        keyed.lock().ok_or_else(busy)?.found(keyed.seeds, spec.label());
        Ok((fd, keyed))
    }

    /// The zone behind a descriptor; fails if its kind, version or size is another one.
    pub fn attach(fd: BorrowedFd<'_>, spec: &Spec, me: Holder) -> io::Result<Keyed> {
        let zone = Zone::attach(fd, spec.kind.layout(), spec.words())?;
        let mut keyed = Keyed::new(zone, spec, me);
        let seeds = keyed.lock().ok_or_else(busy)?.seeds();
        keyed.seeds = seeds;
        Ok(keyed)
    }

    /// The same, if name and key are those of the specification as well.
    pub fn recognize(fd: BorrowedFd<'_>, spec: &Spec, me: Holder) -> Option<Keyed> {
        let keyed = Keyed::attach(fd, spec, me).ok()?;
        let label = keyed.lock()?.label();
        (label == spec.label()).then_some(keyed)
    }

    fn new(zone: Zone, spec: &Spec, me: Holder) -> Keyed {
        let shape = Shape::new(spec.words(), spec.kind.values());
        Keyed {
            zone,
            shape,
            seeds: (0, 0),
            kind: spec.kind,
            me,
            taker: Taker::new(me),
            told: Cell::default(),
            owed: RefCell::default(),
        }
    }

    /// What stands for a key.
    pub fn key(&self, text: &[u8]) -> Key {
        let hash = SipHasher13::new_with_keys(self.seeds.0, self.seeds.1).hash(text);
        Key(hash.h1, hash.h2)
    }

    /// Waits for the records to be free. `None`: a living process has stopped while it had them.
    pub fn lock(&self) -> Option<Records<'_>> {
        self.taker.take(self.words()).map(|held| Records::new(held, self.shape))
    }

    /// Whether the log may be told of trouble with it again: once a minute.
    pub fn may_tell(&self) -> bool {
        let now = Instant::now();
        let may = self.told.get().is_none_or(|told| now.duration_since(told) >= SILENCE);
        if may {
            self.told.set(Some(now));
        }
        may
    }

    /// Records there is room for.
    pub fn capacity(&self) -> usize {
        self.shape.records
    }

    /// How often a process was found dead with the lock in its hand, and its step was undone.
    pub fn repaired(&self) -> u64 {
        journal::repaired(self.words())
    }

    /// The worker that had this slot is dead: opens the lock that it may have held, and gives back
    /// what was counted for it. To be called before the slot can be anybody else's.
    pub fn bury(&self, slot: usize) {
        let Ok(slot) = u16::try_from(slot) else { return };
        if let Some(dead) = journal::holder(self.words()).filter(|it| it.slot() == Some(slot)) {
            drop(self.taker.take_over(self.words(), dead));
        }
        match self.kind {
            Kind::Connections => shares::bury(self, slot),
            Kind::Servers => servers::bury(self, slot),
            Kind::Requests | Kind::Tickets | Kind::Sessions => {}
        }
    }

    /// Looks at every record there is, while others go on.
    fn sweep(&self, mut look: impl FnMut(&mut Records<'_>, At)) {
        let mut done = 0;
        while let Some(mut records) = self.lock() {
            let end = (done + BATCH).min(records.touched());
            if done >= end {
                return;
            }
            for at in (done..end).filter_map(At::nth) {
                // A free record has no tag.
                if records.tag(at) != 0 {
                    look(&mut records, at);
                }
            }
            done = end;
        }
    }

    fn words(&self) -> &[AtomicU64] {
        self.zone.words()
    }
}

fn busy() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, "a process has stopped while it had the zone")
}

/// Milliseconds on the clock that all processes of this machine share and nobody sets.
pub fn now() -> u64 {
    // It cannot fail: every kernel has this clock.
    let now =
        clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(nix::sys::time::TimeSpec::new(0, 0));
    let whole = u64::try_from(now.tv_sec()).unwrap_or_default();
    whole * 1000 + u64::try_from(now.tv_nsec() / 1_000_000).unwrap_or_default()
}
