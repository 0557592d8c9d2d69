//! Owns the lock of a zone and the journal of the step under way: what is done under the lock is done
//! whole or not at all, at whatever instruction the process dies that does it.
//!
//! Must not know what the words mean.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sys::process::{Pid, lives};

/// Who holds the lock; 0 for nobody.
const LOCK: usize = 0;
/// Entries of the journal that are in force.
const WRITTEN: usize = 1;
/// How often a dead holder was found and its step undone.
const REPAIRED: usize = 2;
const ENTRIES: usize = 3;
/// Words that one step may change.
const LONGEST_STEP: usize = 40;
/// Words before what a step may change.
pub(super) const WORDS: usize = ENTRIES + 2 * LONGEST_STEP;

/// Looks at the lock before the processor is given to somebody else, who may be the holder.
const SPINS: u32 = 200;
/// How long one waits for a living holder. A step takes less than a microsecond: this one is stopped.
const PATIENCE: Duration = Duration::from_secs(1);

/// Above the holder's bits, the number of the turn: who waits sees that others get on.
const TURN: u32 = 48;

/// A process as the lock knows it: its slot in the counters, which nobody else has before its death is
/// noticed, and its process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(u64);

impl Holder {
    /// A worker.
    pub fn worker(slot: usize, pid: u32) -> Self {
        Self((slot as u64 + 1) << 32 | u64::from(pid))
    }

    /// A process without a slot: a master.
    pub fn master(pid: u32) -> Self {
        Self(u64::from(pid))
    }

    /// The worker's slot.
    pub(super) fn slot(self) -> Option<u16> {
        u16::try_from(self.0 >> 32 & u64::from(u16::MAX)).ok()?.checked_sub(1)
    }

    fn lives(self) -> bool {
        let pid = i32::try_from(self.0 & u64::from(u32::MAX));
        pid.is_ok_and(|pid| lives(Pid::from_raw(pid)))
    }
}

/// How one process takes the lock.
#[derive(Debug)]
pub(super) struct Taker {
    me: Holder,
    turns: Cell<u64>,
    /// The lock's word when it was waited for in vain.
    stuck: Cell<u64>,
}

impl Taker {
    pub fn new(me: Holder) -> Self {
        Self { me, turns: Cell::new(0), stuck: Cell::new(0) }
    }

    /// Waits for the lock. `None`: somebody has held it for too long and is alive. That is waited for
    /// only once.
    pub fn take<'a>(&self, words: &'a [AtomicU64]) -> Option<Held<'a>> {
        let (mut spins, mut seen) = (0, (0, None));
        loop {
            let word = match self.exchange(words, 0) {
                Ok(held) => return Some(held),
                Err(word) if word == self.stuck.get() => return None,
                Err(word) => word,
            };
            spins += 1;
            if spins % SPINS != 0 {
                std::hint::spin_loop();
                continue;
            }
            if seen.0 != word {
                seen = (word, Some(Instant::now()));
            } else if !Holder(word).lives() {
                if let Some(held) = self.take_over(words, Holder(word)) {
                    return Some(held);
                }
            } else if seen.1.is_some_and(|since| since.elapsed() > PATIENCE) {
                self.stuck.set(word);
                return None;
            }
            std::thread::yield_now();
        }
    }

    /// Takes the lock from a holder that is dead, and undoes its step.
    pub fn take_over<'a>(&self, words: &'a [AtomicU64], dead: Holder) -> Option<Held<'a>> {
        let held = self.exchange(words, dead.0).ok()?;
        held.undo();
        words[REPAIRED].fetch_add(1, Ordering::Relaxed);
        Some(held)
    }

    /// The lock's word, if it is not the one expected.
    fn exchange<'a>(&self, words: &'a [AtomicU64], from: u64) -> Result<Held<'a>, u64> {
        let turn = self.turns.get().wrapping_add(1);
        let to = self.me.0 | turn << TURN;
        words[LOCK].compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)?;
        self.turns.set(turn);
        Ok(Held { words, written: 0 })
    }
}

/// The words of a zone while its lock is held here.
#[derive(Debug)]
pub(super) struct Held<'a> {
    words: &'a [AtomicU64],
    written: usize,
}

impl Held<'_> {
    /// The last step is done: what is changed from here on is another one.
    pub fn begin(&mut self) {
        self.written = 0;
        self.words[WRITTEN].store(0, Ordering::Release);
    }

    /// A word.
    pub fn get(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }

    /// Changes a word, as a part of the step under way.
    pub fn set(&mut self, at: usize, value: u64) {
        assert!(self.written < LONGEST_STEP && at >= WORDS, "a step of a zone went too far");
        let entry = ENTRIES + 2 * self.written;
        self.words[entry].store(at as u64, Ordering::Relaxed);
        self.words[entry + 1].store(self.get(at), Ordering::Relaxed);
        self.written += 1;
        #[cfg(test)]
        death::may_strike();
        // Each is seen only with all that was stored before: first what was there, then that it counts,
        // then what is there now.
        self.words[WRITTEN].store(self.written as u64, Ordering::Release);
        self.words[at].store(value, Ordering::Release);
        #[cfg(test)]
        death::may_strike();
    }

    /// Puts back what the step under way has changed, the last change first. Whoever dies over it
    /// leaves a journal with which the next one does the same.
    fn undo(&self) {
        let written = usize::try_from(self.get(WRITTEN)).unwrap_or(LONGEST_STEP).min(LONGEST_STEP);
        for entry in (0..written).rev().map(|nth| ENTRIES + 2 * nth) {
            let at = usize::try_from(self.get(entry)).ok().and_then(|at| self.words.get(at));
            if let Some(word) = at {
                word.store(self.get(entry + 1), Ordering::Release);
            }
        }
        self.words[WRITTEN].store(0, Ordering::Release);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        #[cfg(test)]
        if death::struck() {
            return;
        }
        if std::thread::panicking() {
            self.undo();
        }
        self.words[WRITTEN].store(0, Ordering::Release);
        self.words[LOCK].store(0, Ordering::Release);
    }
}

/// Who holds the lock.
pub(super) fn holder(words: &[AtomicU64]) -> Option<Holder> {
    Some(words[LOCK].load(Ordering::Acquire)).filter(|holder| *holder != 0).map(Holder)
}

/// How often a dead holder was found.
pub(super) fn repaired(words: &[AtomicU64]) -> u64 {
    words[REPAIRED].load(Ordering::Relaxed)
}

/// Lets a test die within a step, as if it were killed.
#[cfg(test)]
pub(super) mod death {
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
        static STRUCK: Cell<bool> = const { Cell::new(false) };
    }

    /// Dies at the nth chance; answers whether there were so many.
    pub fn at(nth: usize, deed: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        LEFT.set(Some(nth));
        let died = std::panic::catch_unwind(deed).is_err();
        LEFT.set(None);
        assert_eq!(STRUCK.replace(false), died);
        died
    }

    pub fn may_strike() {
        match LEFT.get() {
            Some(0) => {
                STRUCK.set(true);
                std::panic::resume_unwind(Box::new("killed"));
            }
            left => LEFT.set(left.map(|left| left - 1)),
        }
    }

    pub fn struck() -> bool {
        STRUCK.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<AtomicU64> {
        (0..WORDS + 4).map(|_| AtomicU64::new(0)).collect()
    }

    fn values(words: &[AtomicU64]) -> Vec<u64> {
        words[WORDS..].iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn nobody() -> Taker {
        Taker::new(Holder::worker(3, i32::MAX.unsigned_abs()))
    }

    fn me() -> Taker {
        Taker::new(Holder::worker(1, std::process::id()))
    }

    #[test]
    fn a_step_that_nobody_ended_is_undone() {
        let words = words();
        let mut held = nobody().take(&words).unwrap();
        held.set(WORDS, 1);
        held.begin();
        held.set(WORDS, 2);
        held.set(WORDS + 1, 3);
        held.set(WORDS, 4);
        std::mem::forget(held);
        assert_eq!(values(&words), [4, 3, 0, 0]);
        assert_eq!(holder(&words).unwrap().slot(), Some(3));
        let held = me().take(&words).unwrap();
        assert_eq!(values(&words), [1, 0, 0, 0]);
        assert_eq!(repaired(&words), 1);
        drop(held);
        assert_eq!(holder(&words), None);
    }

    #[test]
    fn who_panics_undoes_its_step_itself() {
        let words = words();
        let failed = std::panic::catch_unwind(|| {
            let mut held = me().take(&words).unwrap();
            held.set(WORDS + 2, 7);
            held.set(0, 7);
        });
        assert!(failed.is_err());
        assert_eq!((values(&words), holder(&words)), (vec![0; 4], None));
    }

    #[test]
    fn one_that_is_stopped_is_waited_for_only_once() {
        let words = words();
        let held = Taker::new(Holder::worker(2, std::process::id())).take(&words).unwrap();
        let me = me();
        assert!(me.take(&words).is_none());
        let begun = Instant::now();
        assert!(me.take(&words).is_none());
        assert!(begun.elapsed() < PATIENCE);
        drop(held);
        assert!(me.take(&words).is_some());
    }

    #[test]
    fn holders_are_told_apart() {
        assert_eq!(Holder::master(7).slot(), None);
        assert_eq!(Holder::worker(0, 7).slot(), Some(0));
        assert_eq!(Holder(Holder::worker(511, 7).0 | 1 << TURN).slot(), Some(511));
    }
}
