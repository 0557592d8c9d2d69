//! The counters behind `stub_status`: one slot for each worker, summed when asked for. The workers of
//! several masters may share the table: a slot says whose it is, and is taken and given back
//! without anybody in between.
//!
//! Must not judge what was counted, nor know whether a process is alive.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Zone;

/// Workers at one time, of all living generations together.
pub const MAX_SLOTS: usize = 512;

/// "cnt" and version 2.
const LAYOUT: u64 = u64::from_be_bytes(*b"\0\0cnt\0\0\x02");

/// A slot is two cache lines, so that workers do not slow each other down: what is counted, and whose
/// it is.
const SLOT_WORDS: usize = 16;

/// Process id of the worker; 0 in a free slot, and that of a master while it prepares or clears it.
const WORKER: usize = 8;

/// Process id of the worker's master; 0 in a free slot.
const MASTER: usize = 9;

// The words behind it are of `floods`.

/// What only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// Connections accepted.
    Accepted = 0,
    /// Connections handled: fewer than accepted only where a limit was hit.
    Handled = 1,
    /// Requests.
    Requests = 2,
    /// Answers of 500 and above that were made here, not passed on from a server behind.
    Failed = 7,
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

/// The sums over some slots or all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// [`Total::Accepted`].
    pub accepted: u64,
    /// [`Total::Handled`].
    pub handled: u64,
    /// [`Total::Requests`].
    pub requests: u64,
    /// [`Total::Failed`].
    pub failed: u64,
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

    /// A slot by its number; `None` from [`MAX_SLOTS`] on. Who counts in it has [claimed](Self::claim)
    /// it, or was given its number by who did.
    pub fn slot(&self, index: usize) -> Option<Slot> {
        (index < MAX_SLOTS)
            .then(|| Slot { zone: Arc::clone(&self.zone), first: index * SLOT_WORDS })
    }

    /// Takes the lowest free slot for a worker that `master` is about to start; `None` when all are
    /// taken. Connections counted in it are forgotten, totals go on from where they were.
    pub fn claim(&self, master: u32) -> Option<usize> {
        let (index, row) = self.rows().enumerate().find(|(_, row)| row.pass(0, master))?;
        row.clear_gauges();
        row.set(MASTER, master);
        Some(index)
    }

    /// Notes whose a claimed slot is, now that the worker has a process id.
    pub fn assign(&self, index: usize, worker: u32) {
        if let Some(row) = self.row(index) {
            row.set(WORKER, worker);
        }
    }

    /// Gives back a slot that was claimed here, when its worker is gone or was never started. What
    /// was served still counts.
    pub fn release(&self, index: usize) {
        if let Some(row) = self.row(index) {
            // Until it is cleared it is its living master's, so that no sweep takes it from here.
            row.set(WORKER, row.owner(MASTER));
            row.free();
        }
    }

    /// Gives back the slots that masters have left behind: those whose master is not alive, as soon
    /// as the worker is not either. A living master releases its own. Several may sweep at once.
    pub fn sweep(&self, alive: impl Fn(u32) -> bool) {
        self.sweep_and(alive, |_| {});
    }

    /// The same, with something to be done about each of these slots before it is free.
    pub fn sweep_and(&self, alive: impl Fn(u32) -> bool, bury: impl Fn(usize)) {
        let lives = |process: u32| process != 0 && alive(process);
        for (index, row) in self.rows().enumerate() {
            let (worker, master) = (row.owner(WORKER), row.owner(MASTER));
            if worker == 0 || lives(worker) || lives(master) {
                continue;
            }
            // Whoever has put its own id there clears it. Should it die meanwhile, the next one does.
            if row.pass(worker, std::process::id()) {
                bury(index);
                row.free();
            }
        }
    }

    /// Sums everything. A gauge may be off by the few changes that happen during the reading.
    pub fn totals(&self) -> Totals {
        sum(self.rows())
    }

    /// The counters of one slot; its totals are those of all who have had it.
    pub fn of_slot(&self, index: usize) -> Totals {
        sum(self.row(index).into_iter())
    }

    /// Sums the slots that the workers of a master have now. Totals are those of all who have had
    /// these slots: what has been done since some time is the difference to the totals of that time.
    pub fn of_master(&self, master: u32) -> Totals {
        sum(self.rows_of(master))
    }

    /// The workers that a master has slots for.
    pub fn workers_of(&self, master: u32) -> Vec<u32> {
        let workers = self.rows_of(master).map(|row| row.owner(WORKER));
        workers.filter(|worker| *worker != 0 && *worker != master).collect()
    }

    /// The worker and the master whose slot it is; 0 where there is none.
    pub fn owners(&self, index: usize) -> (u32, u32) {
        self.row(index).map_or((0, 0), |row| (row.owner(WORKER), row.owner(MASTER)))
    }

    /// The sum of one word of all slots.
    pub(super) fn total(&self, word: usize) -> u64 {
        let all = self.rows().filter_map(|row| row.0.get(word));
        all.fold(0, |sum, word| sum.wrapping_add(word.load(Ordering::Relaxed)))
    }

    /// Forgets the connections of a worker that is gone; what it has served still counts.
    pub fn clear_gauges(&self, index: usize) {
        if let Some(row) = self.row(index) {
            row.clear_gauges();
        }
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.zone.words().chunks_exact(SLOT_WORDS).take(MAX_SLOTS).map(Row)
    }

    fn row(&self, index: usize) -> Option<Row<'_>> {
        self.rows().nth(index)
    }

    fn rows_of(&self, master: u32) -> impl Iterator<Item = Row<'_>> {
        self.rows().filter(move |row| master != 0 && row.owner(MASTER) == master)
    }
}

/// A slot as the masters see it.
#[derive(Clone, Copy)]
struct Row<'a>(&'a [AtomicU64]);

impl Row<'_> {
    /// The process in one of the two words that name one; 0 for none.
    fn owner(self, word: usize) -> u32 {
        u32::try_from(self.0[word].load(Ordering::Acquire)).unwrap_or(u32::MAX)
    }

    fn set(self, word: usize, process: u32) {
        self.0[word].store(process.into(), Ordering::Release);
    }

    /// Puts another process in the worker's place, unless somebody else was faster.
    fn pass(self, from: u32, to: u32) -> bool {
        let (from, to) = (from.into(), to.into());
        self.0[WORKER].compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Clears what nobody else may touch, and only then lets it be claimed.
    fn free(self) {
        self.clear_gauges();
        self.set(MASTER, 0);
        self.set(WORKER, 0);
    }

    fn clear_gauges(self) {
        for gauge in GAUGES {
            self.0[gauge as usize].store(0, Ordering::Relaxed);
        }
    }
}

fn sum<'a>(rows: impl Iterator<Item = Row<'a>>) -> Totals {
    let mut sums = [0_u64; WORKER];
    for row in rows {
        for (sum, word) in sums.iter_mut().zip(row.0) {
            *sum = sum.wrapping_add(word.load(Ordering::Relaxed));
        }
    }
    let [accepted, handled, requests, active, reading, writing, waiting, failed] = sums;
    Totals { accepted, handled, requests, failed, active, reading, writing, waiting }
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

    pub(super) fn add(&self, index: usize, amount: u64) {
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
            slot.count(Total::Failed);
            slot.enter(Gauge::Active);
            slot.enter(Gauge::Reading);
            slot.shift(Gauge::Reading, Gauge::Waiting);
        }
        theirs.slot(1).unwrap().leave(Gauge::Active);
        let expected = Totals {
            accepted: 3,
            handled: 3,
            requests: 6,
            failed: 3,
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
        counters.assign(MAX_SLOTS, 2);
        counters.release(MAX_SLOTS);
        assert_eq!(counters.of_slot(MAX_SLOTS), Totals::default());
    }

    #[test]
    fn a_slot_goes_round() {
        let (_fd, counters) = Counters::create().unwrap();
        assert_eq!([counters.claim(10), counters.claim(10)], [Some(0), Some(1)]);
        assert_eq!(counters.workers_of(10), [0; 0], "nobody has been started yet");
        counters.assign(0, 11);
        counters.assign(1, 12);
        assert_eq!(counters.workers_of(10), [11, 12]);
        counters.slot(0).unwrap().enter(Gauge::Active);
        counters.slot(0).unwrap().count(Total::Failed);
        counters.release(0);
        assert_eq!(counters.workers_of(10), [12]);
        assert_eq!(counters.totals(), Totals { failed: 1, ..Totals::default() });
        // Left by one that was killed just now.
        counters.slot(0).unwrap().enter(Gauge::Waiting);
        assert_eq!(counters.claim(20), Some(0));
        assert_eq!(counters.of_slot(0), Totals { failed: 1, ..Totals::default() });
    }

    #[test]
    fn each_master_has_its_own_sums() {
        let (fd, counters) = Counters::create().unwrap();
        let theirs = Counters::attach(fd.as_fd()).unwrap();
        let ours = counters.slot(counters.claim(10).unwrap()).unwrap();
        for _ in 0..2 {
            let slot = theirs.slot(theirs.claim(20).unwrap()).unwrap();
            slot.count(Total::Requests);
            slot.count(Total::Failed);
            slot.enter(Gauge::Active);
        }
        ours.count(Total::Requests);
        let expected = Totals { requests: 2, failed: 2, active: 2, ..Totals::default() };
        assert_eq!(counters.of_master(20), expected);
        assert_eq!(theirs.of_master(10), Totals { requests: 1, ..Totals::default() });
        assert_eq!(counters.totals(), Totals { requests: 3, ..expected });
        assert_eq!(counters.of_master(0), Totals::default(), "free slots are nobody's");
        assert_eq!(counters.of_master(30), Totals::default());
    }

    #[test]
    fn a_slot_is_never_given_twice() {
        let (fd, ours) = Counters::create().unwrap();
        let theirs = Counters::attach(fd.as_fd()).unwrap();
        let start = std::sync::Barrier::new(2);
        let take_all = |counters: &Counters, master| {
            start.wait();
            std::iter::from_fn(|| counters.claim(master)).collect::<Vec<usize>>()
        };
        let (mut all, more) = std::thread::scope(|scope| {
            let other = scope.spawn(|| take_all(&theirs, 20));
            (take_all(&ours, 10), other.join().unwrap())
        });
        all.extend(more);
        all.sort_unstable();
        assert_eq!(all, (0..MAX_SLOTS).collect::<Vec<_>>());
        assert_eq!(ours.claim(10), None);
        theirs.release(300);
        assert_eq!(ours.claim(10), Some(300));
    }

    #[test]
    fn slots_go_back_and_forth_between_masters_that_claim_release_and_sweep() {
        let (fd, ours) = Counters::create().unwrap();
        let theirs = Counters::attach(fd.as_fd()).unwrap();
        // A few are left, so that all meet at the same ones.
        for _ in 4..MAX_SLOTS {
            ours.claim(1);
        }
        let rounds = |counters: &Counters, master: u32| {
            for round in 0..2000 {
                let Some(index) = counters.claim(master) else { continue };
                let slot = counters.slot(index).unwrap();
                slot.enter(Gauge::Active);
                counters.sweep(|process| process < 100);
                assert_eq!(counters.of_slot(index).active, 1, "it is ours alone");
                // A worker that is dead: its living master releases the slot, and nobody else.
                counters.assign(index, master * 10_000 + round);
                counters.sweep(|process| process < 100);
                slot.leave(Gauge::Active);
                assert_eq!(counters.of_slot(index).active, 0, "it is ours alone");
                counters.release(index);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| rounds(&theirs, 20));
            rounds(&ours, 10);
        });
        assert_eq!([ours.workers_of(10), theirs.workers_of(20)], [[0; 0], [0; 0]]);
        assert_eq!(ours.totals(), Totals::default());
    }

    #[test]
    fn what_a_dead_master_leaves_is_swept_when_its_workers_have_gone() {
        let (_fd, counters) = Counters::create().unwrap();
        for worker in [11, 12] {
            let index = counters.claim(10).unwrap();
            counters.assign(index, worker);
            counters.slot(index).unwrap().enter(Gauge::Active);
        }
        // It died before its third worker had a process id.
        counters.claim(10).unwrap();
        counters.sweep(|process| process == 10);
        assert_eq!(counters.workers_of(10), [11, 12], "a living master releases its own");
        let buried = std::cell::RefCell::new(Vec::new());
        counters.sweep_and(|process| process == 12, |slot| buried.borrow_mut().push(slot));
        assert_eq!((counters.workers_of(10), counters.totals().active), (vec![12], 1));
        assert_eq!(*buried.borrow(), [0, 2]);
        assert_eq!([counters.owners(0), counters.owners(1)], [(0, 0), (12, 10)]);
        assert_eq!([counters.claim(20), counters.claim(20)], [Some(0), Some(2)]);
        counters.sweep(|process| process == 20);
        assert_eq!((counters.workers_of(10), counters.totals().active), (vec![], 0));
        assert_eq!(counters.claim(20), Some(1));
    }

    #[test]
    fn a_table_of_another_version_is_refused() {
        let (fd, _) = Zone::create("counters", LAYOUT - 1, MAX_SLOTS * SLOT_WORDS).unwrap();
        let error = Counters::attach(fd.as_fd()).unwrap_err().to_string();
        assert!(error.starts_with("layout "), "{error}");
    }
}
