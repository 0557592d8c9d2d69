//! The counters behind `stub_status`: one slot for each worker, summed when asked for.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Zone;

/// Workers at one time, of all living generations together.
pub const MAX_SLOTS: usize = 512;

/// "cnt" and version 1.
const LAYOUT: u64 = u64::from_be_bytes(*b"\0\0cnt\0\0\x01");

/// A slot is one cache line, so that workers do not slow each other down.
const SLOT_WORDS: usize = 8;

/// What only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// Connections accepted.
    Accepted = 0,
    /// Connections handled: fewer than accepted only where a limit was hit.
    Handled = 1,
    /// Requests.
    Requests = 2,
}

/// What goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Client connections, waiting ones included.
    Active = 3,
    /// Reading a request head.
    Reading = 4,
    /// Reading a body, processing, or writing an answer.
    Writing = 5,
    /// Kept alive, waiting for a request.
    Waiting = 6,
}

const GAUGES: [Gauge; 4] = [Gauge::Active, Gauge::Reading, Gauge::Writing, Gauge::Waiting];

/// The sums over all slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// [`Total::Accepted`].
    pub accepted: u64,
    /// [`Total::Handled`].
    pub handled: u64,
    /// [`Total::Requests`].
    pub requests: u64,
    /// [`Gauge::Active`].
    pub active: u64,
    /// [`Gauge::Reading`].
    pub reading: u64,
    /// [`Gauge::Writing`].
    pub writing: u64,
    /// [`Gauge::Waiting`].
    pub waiting: u64,
}

/// The whole table. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Counters {
    zone: Arc<Zone>,
}

impl Counters {
    /// A new table of zeros, and the descriptor to attach to it.
    pub fn create() -> io::Result<(OwnedFd, Counters)> {
        let (fd, zone) = Zone::create("counters", LAYOUT, MAX_SLOTS * SLOT_WORDS)?;
        Ok((fd, Counters { zone: Arc::new(zone) }))
    }

    /// The table behind a descriptor; fails if its layout is not ours.
    pub fn attach(fd: BorrowedFd<'_>) -> io::Result<Counters> {
        let zone = Zone::attach(fd, LAYOUT, MAX_SLOTS * SLOT_WORDS)?;
        Ok(Counters { zone: Arc::new(zone) })
    }

    /// The slot of one worker; `None` from [`MAX_SLOTS`] on. The master gives each living worker a
    /// number of its own.
    pub fn slot(&self, index: usize) -> Option<Slot> {
        (index < MAX_SLOTS)
            .then(|| Slot { zone: Arc::clone(&self.zone), first: index * SLOT_WORDS })
    }

    /// Sums everything. A gauge may be off by the few changes that happen during the reading.
    pub fn totals(&self) -> Totals {
        let mut sums = [0_u64; SLOT_WORDS];
        for (word, sum) in self.zone.words().iter().zip((0..SLOT_WORDS).cycle()) {
            sums[sum] = sums[sum].wrapping_add(word.load(Ordering::Relaxed));
        }
        let [accepted, handled, requests, active, reading, writing, waiting, _] = sums;
        Totals { accepted, handled, requests, active, reading, writing, waiting }
    }

    /// Forgets the connections of a worker that is gone; what it has served still counts.
    pub fn clear_gauges(&self, index: usize) {
        if let Some(slot) = self.slot(index) {
            for gauge in GAUGES {
                slot.word(gauge as usize).store(0, Ordering::Relaxed);
            }
        }
    }
}

/// One worker's counters. Only that worker's event loop writes them, so plain loads and stores do: no
/// bus lock on the hot path.
#[derive(Clone, Debug)]
pub struct Slot {
    zone: Arc<Zone>,
    first: usize,
}

impl Slot {
    /// The whole table that this slot is a part of.
    pub fn table(&self) -> Counters {
        Counters { zone: Arc::clone(&self.zone) }
    }

    /// Counts one more.
    pub fn count(&self, total: Total) {
        self.add(total as usize, 1);
    }

    /// One connection enters a state.
    pub fn enter(&self, gauge: Gauge) {
        self.add(gauge as usize, 1);
    }

    /// One connection leaves a state.
    pub fn leave(&self, gauge: Gauge) {
        self.add(gauge as usize, u64::MAX);
    }

    /// One connection changes its state.
    pub fn shift(&self, from: Gauge, to: Gauge) {
        self.leave(from);
        self.enter(to);
    }

    fn add(&self, index: usize, amount: u64) {
        let word = self.word(index);
        word.store(word.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        // In range: `first` was checked when the slot was made, and the zone's size when attached.
        &self.zone.words()[self.first + index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn sums_all_workers() {
        let (fd, counters) = Counters::create().unwrap();
        let theirs = Counters::attach(fd.as_fd()).unwrap();
        for index in [0, 1, MAX_SLOTS - 1] {
            let slot = theirs.slot(index).unwrap();
            slot.count(Total::Accepted);
            slot.count(Total::Handled);
            slot.count(Total::Requests);
            slot.count(Total::Requests);
            slot.enter(Gauge::Active);
            slot.enter(Gauge::Reading);
            slot.shift(Gauge::Reading, Gauge::Waiting);
        }
        theirs.slot(1).unwrap().leave(Gauge::Active);
        let expected = Totals {
            accepted: 3,
            handled: 3,
            requests: 6,
            active: 2,
            waiting: 3,
            ..Totals::default()
        };
        assert_eq!(counters.totals(), expected);
    }

    #[test]
    fn a_dead_workers_connections_are_forgotten_but_not_its_work() {
        let (_fd, counters) = Counters::create().unwrap();
        let slot = counters.slot(3).unwrap();
        slot.count(Total::Requests);
        slot.enter(Gauge::Active);
        slot.enter(Gauge::Writing);
        counters.clear_gauges(3);
        assert_eq!(counters.totals(), Totals { requests: 1, ..Totals::default() });
    }

    #[test]
    fn there_is_an_end() {
        let (_fd, counters) = Counters::create().unwrap();
        assert!(counters.slot(MAX_SLOTS).is_none());
        counters.clear_gauges(MAX_SLOTS);
    }
}
