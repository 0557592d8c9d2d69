//! The switches of maintenance mode: what an operator has said of each, and how many requests are
//! between being let in and the end of their exchange with an upstream, counted by every worker of
//! every generation. Who counts does so before looking, so that nothing counted after a closing is a
//! proof that nothing is under way.
//!
//! Must not know what a request is, what a closed door answers, nor where states are kept on disk.

mod call;
mod door;
mod order;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::Zone;
use super::counters::MAX_SLOTS;

pub use call::{Cuts, Reach};
pub use door::{Class, Door};
pub use order::{MAX_ALLOWED, MAX_REASON, Order, State};

/// Names that can ever be given to switches; one that has been taken stays.
pub const MAX_SWITCHES: usize = 64;
/// Bytes of a name.
pub const MAX_NAME: usize = 63;
/// The switch that is there without any configuration.
pub const DEFAULT: &str = "default";

/// "gat" and version 1.
const LAYOUT: u64 = u64::from_be_bytes(*b"\0\0gat\0\0\x01");

// A switch's record: what names it, its state, and two places for an order, of which one is in use.
// Words 3 to 6 are of `call`, as are those after UNKNOWN in a worker's counts at the first switch.
/// Hash of the name; 0 in a free record.
const HASH: usize = 0;
/// State, flags and epoch in one word, as `Order::word` makes it.
const STATE: usize = 1;
/// Counts orders; an even one is in the first place, an odd one in the second.
const VERSION: usize = 2;
const NAME: usize = 8;
const NAME_WORDS: usize = 8;
const ORDERS: usize = NAME + NAME_WORDS;
const RECORD_WORDS: usize = ORDERS + 2 * order::WORDS;

// What a worker counts at one switch: a cache line, so that workers do not slow each other down.
const COUNTS: usize = MAX_SWITCHES * RECORD_WORDS;
const COUNT_WORDS: usize = 8;
/// After the four classes.
const UNKNOWN: usize = 4;

const WORDS: usize = COUNTS + MAX_SWITCHES * MAX_SLOTS * COUNT_WORDS;

/// A switch, found by its name once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Switch(u16);

/// What is under way through a switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inflight {
    pub read: u64,
    pub write: u64,
    pub stream: u64,
    pub bypass: u64,
    /// Not under way any more, but nobody knows what became of them.
    pub unknown: u64,
}

/// All switches. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gates {
    zone: Arc<Zone>,
}

impl Gates {
    /// New switches, all open, and the descriptor to attach to them.
    pub fn create() -> io::Result<(OwnedFd, Gates)> {
        let (fd, zone) = Zone::create("gates", LAYOUT, WORDS)?;
        let gates = Gates { zone: Arc::new(zone) };
        let _ = gates.switch(DEFAULT);
        Ok((fd, gates))
    }

    /// The switches behind a descriptor; fails if their layout is not ours.
    pub fn attach(fd: BorrowedFd<'_>) -> io::Result<Gates> {
        Ok(Gates { zone: Arc::new(Zone::attach(fd, LAYOUT, WORDS)?) })
    }

    /// The switch of this name, which is taken if there is none. `None`: the name is empty or too
    /// long, or there are as many as there can be.
    pub fn switch(&self, name: &str) -> Option<Switch> {
        let name = name.as_bytes();
        if name.is_empty() || name.len() > MAX_NAME {
            return None;
        }
        let mut wanted = [0; NAME_WORDS];
        order::pack(name, &mut wanted);
        let hash = hash(name);
        switches().find(|switch| self.is_or_becomes(*switch, hash, &wanted))
    }

    /// The switch called [`DEFAULT`]: the first one since all were made.
    pub fn default_switch(&self) -> Switch {
        Switch(0)
    }

    /// The names of all switches, in the order in which they were taken.
    pub fn names(&self) -> Vec<String> {
        let names = self.switches().map(|switch| self.name(switch));
        names.filter(|name| !name.is_empty()).collect()
    }

    /// The name of a switch.
    pub fn name(&self, switch: Switch) -> String {
        let name = &self.record(switch)[NAME..ORDERS];
        // The first word is written last.
        if name[0].load(Ordering::Acquire) == 0 {
            return String::new();
        }
        order::unpack(&copied::<NAME_WORDS>(name))
    }

    /// What has been said of a switch last.
    pub fn order(&self, switch: Switch) -> Order {
        self.order_and_version(switch).0
    }

    /// The same, with the number that [`version`](Self::version) gives until something else is said.
    pub fn order_and_version(&self, switch: Switch) -> (Order, u64) {
        let record = self.record(switch);
        loop {
            let version = record[VERSION].load(Ordering::Acquire);
            let words = copied::<{ order::WORDS }>(&record[place(version)..]);
            // What was read is from this version, unless its place was written to meanwhile.
            fence(Ordering::Acquire);
            if record[VERSION].load(Ordering::Relaxed) == version {
                return (Order::read(&words), version);
            }
            std::hint::spin_loop();
        }
    }

    /// Changes with every order for this switch.
    pub fn version(&self, switch: Switch) -> u64 {
        self.record(switch)[VERSION].load(Ordering::Acquire)
    }

    /// Puts an order in force: when this returns, whoever [enters](Door::enter) obeys it. Only one
    /// process may do so at a time. Should it die over it, the order before is whole.
    pub fn set(&self, switch: Switch, order: &Order) {
        let record = self.record(switch);
        let state = order.word();
        if order.state == State::Open {
            record[STATE].store(state, Ordering::SeqCst);
        }
        let next = record[VERSION].load(Ordering::Relaxed).wrapping_add(1);
        // Who still reads what was in this place must see that the version has gone on.
        fence(Ordering::Release);
        for (word, value) in record[place(next)..].iter().zip(order.write()) {
            word.store(value, Ordering::Relaxed);
        }
        record[VERSION].store(next, Ordering::Release);
        if order.state != State::Open {
            // Last: who is turned away finds the reason.
            record[STATE].store(state, Ordering::SeqCst);
        }
    }

    /// What a worker counts in, by its slot in the counters; `None` from [`MAX_SLOTS`] on. No two
    /// that live may have the same.
    pub fn door(&self, slot: usize) -> Option<Door> {
        (slot < MAX_SLOTS).then(|| Door::new(Arc::clone(&self.zone), slot))
    }

    /// What is under way through a switch, of all workers. After `set` has closed it, zero is a
    /// proof: who is not counted by then will not get in.
    pub fn inflight(&self, switch: Switch) -> Inflight {
        let all = (0..MAX_SLOTS).map(|slot| self.inflight_of(switch, slot));
        all.fold(Inflight::default(), |sum, one| Inflight {
            read: sum.read.wrapping_add(one.read),
            write: sum.write.wrapping_add(one.write),
            stream: sum.stream.wrapping_add(one.stream),
            bypass: sum.bypass.wrapping_add(one.bypass),
            unknown: sum.unknown.wrapping_add(one.unknown),
        })
    }

    /// What is under way through a switch in one worker.
    pub fn inflight_of(&self, switch: Switch, slot: usize) -> Inflight {
        if slot >= MAX_SLOTS {
            return Inflight::default();
        }
        let counts = self.counts(switch, slot);
        // In this order: what changes its class goes to a later one.
        let [read, write, stream, bypass, unknown] =
            [0, 1, 2, 3, UNKNOWN].map(|word| counts[word].load(Ordering::SeqCst));
        Inflight { read, write, stream, bypass, unknown }
    }

    /// The worker that had this slot is dead: what it had under way has an unknown outcome. To be
    /// called before the slot can be anybody else's; twice does no harm.
    pub fn bury(&self, slot: usize) {
        if slot >= MAX_SLOTS {
            return;
        }
        for switch in self.switches() {
            let counts = self.counts(switch, slot);
            for class in &counts[..UNKNOWN] {
                bury(class, &counts[UNKNOWN]);
            }
        }
        self.silence(slot);
    }

    /// Forgets all exchanges of unknown outcome but so many, when somebody has taken note of them: the
    /// oldest, as far as that is known.
    pub fn forget_unknown_but(&self, switch: Switch, kept: u64) {
        let mut many = self.inflight(switch).unknown.saturating_sub(kept);
        for slot in 0..MAX_SLOTS {
            let unknown = &self.counts(switch, slot)[UNKNOWN];
            let some = unknown.load(Ordering::SeqCst).min(many);
            // Others only add to it.
            unknown.fetch_sub(some, Ordering::SeqCst);
            many -= some;
        }
    }

    /// Whether this record is that of the name, or was free and now is. Who dies in between leaves a
    /// record that the next one who asks for the name completes: all write the same.
    fn is_or_becomes(&self, switch: Switch, hash: u64, wanted: &[u64; NAME_WORDS]) -> bool {
        let record = self.record(switch);
        let taken = record[HASH].compare_exchange(0, hash, Ordering::AcqRel, Ordering::Acquire);
        if taken.is_err_and(|other| other != hash) {
            return false;
        }
        let name = &record[NAME..ORDERS];
        if name[0].load(Ordering::Acquire) == 0 {
            for (word, value) in name.iter().zip(wanted).skip(1) {
                word.store(*value, Ordering::Relaxed);
            }
            name[0].store(wanted[0], Ordering::Release);
        }
        copied::<NAME_WORDS>(name) == *wanted
    }

    /// All switches, in the order in which their names were taken.
    pub fn switches(&self) -> impl Iterator<Item = Switch> {
        switches().take_while(|switch| self.record(*switch)[HASH].load(Ordering::Acquire) != 0)
    }

    fn record(&self, switch: Switch) -> &[AtomicU64] {
        &self.zone.words()[record_at(switch)..][..RECORD_WORDS]
    }

    fn counts(&self, switch: Switch, slot: usize) -> &[AtomicU64] {
        &self.zone.words()[counts_at(switch, slot)..][..COUNT_WORDS]
    }
}

fn switches() -> impl Iterator<Item = Switch> {
    (0..MAX_SWITCHES).filter_map(|at| u16::try_from(at).ok()).map(Switch)
}

fn record_at(switch: Switch) -> usize {
    usize::from(switch.0) * RECORD_WORDS
}

fn state_at(switch: Switch) -> usize {
    record_at(switch) + STATE
}

fn counts_at(switch: Switch, slot: usize) -> usize {
    COUNTS + (usize::from(switch.0) * MAX_SLOTS + slot) * COUNT_WORDS
}

/// Where in a record the order of this version is.
fn place(version: u64) -> usize {
    ORDERS + if version.is_multiple_of(2) { 0 } else { order::WORDS }
}

/// Moves a count to the unknown ones. First there and then away from here: who sums meanwhile sees
/// it twice rather than not at all. Of two who do it at once, one takes its addition back.
fn bury(class: &AtomicU64, unknown: &AtomicU64) {
    let left = class.load(Ordering::SeqCst);
    if left == 0 {
        return;
    }
    unknown.fetch_add(left, Ordering::SeqCst);
    if class.compare_exchange(left, 0, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        unknown.fetch_sub(left, Ordering::SeqCst);
    }
}

fn copied<const N: usize>(words: &[AtomicU64]) -> [u64; N] {
    let mut copy = [0; N];
    for (to, from) in copy.iter_mut().zip(words) {
        *to = from.load(Ordering::Relaxed);
    }
    copy
}

/// FNV-1a, and never 0.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step).max(1)
}
