//! Owns what all workers know together of a server that requests are passed to: a record with its state,
//! and for each worker one with how many of the connections are its own, so that they come off when it
//! dies. As long as a worker has one, the state stays in its place, and its words need no lock.
//!
//! Must not know what the words mean, but for the count of connections.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::{At, Full, Key, Keyed, Records};

/// Words of a state.
pub const SERVER_WORDS: usize = 16;
/// The word with the connections: in a state those of all workers, in a share the worker's own.
pub const CONNS: usize = 0;
/// In a share: how many in the worker know the server.
const HOLDERS: usize = 1;

/// The tag of a state. That of a share is the worker's slot and two.
const STATE: u32 = 1;

/// A server's state, as long as somebody in this worker knows it.
#[derive(Debug)]
pub struct ServerState {
    zone: Rc<Keyed>,
    key: Key,
    at: At,
    share: At,
}

/// Whether a connection may be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It counts, and has to be given back.
    Counted,
    /// There are as many as there may be.
    Full,
    /// Somebody has stopped while it had the records: it does not count.
    Uncounted,
}

impl ServerState {
    /// The state of the server with this name; `first` is what a new one begins with.
    pub fn join(zone: &Rc<Keyed>, name: &[u8], first: &[u64]) -> Result<Self, Full> {
        let tag = tag(zone).ok_or(Full::Busy)?;
        let key = zone.key(name);
        let mut records = zone.lock().ok_or(Full::Busy)?;
        let at = match tagged(&records, key, STATE) {
            Some(at) => {
                records.touch(at);
                at
            }
            None => make(&mut records, key, STATE, first)?,
        };
        let share = match tagged(&records, key, tag) {
            Some(at) => at,
            None => make(&mut records, key, tag, &[0; SERVER_WORDS])?,
        };
        let holders = records.value(share, HOLDERS) + 1;
        records.change(&[(share, HOLDERS, holders)]);
        drop(records);
        Ok(Self { zone: Rc::clone(zone), key, at, share })
    }

    /// A word of the state.
    pub fn get(&self, nth: usize) -> u64 {
        self.word(nth).load(Ordering::Relaxed)
    }

    /// Changes a word, whatever others make of it at the same time.
    pub fn set(&self, nth: usize, value: u64) {
        self.word(nth).store(value, Ordering::Relaxed);
    }

    /// Adds to a word, and does not lose what others add.
    pub fn add(&self, nth: usize, value: i64) {
        self.word(nth).fetch_add(value.cast_unsigned(), Ordering::Relaxed);
    }

    /// Counts one more connection, of which all workers together may have `limit`; 0 is any number.
    pub fn enter(&self, limit: u64) -> Entered {
        let Some(mut records) = self.zone.lock() else { return Entered::Uncounted };
        let (all, own) = (records.value(self.at, CONNS), records.value(self.share, CONNS));
        if limit != 0 && all >= limit {
            return Entered::Full;
        }
        records.change(&[(self.at, CONNS, all + 1), (self.share, CONNS, own + 1)]);
        Entered::Counted
    }

    /// Gives one back. What cannot be given back now is given back with the next one.
    pub fn leave(&self) {
        let mut owed = self.zone.owed.borrow_mut();
        owed.push(self.key);
        let (Some(mut records), Some(tag)) = (self.zone.lock(), tag(&self.zone)) else { return };
        for key in owed.drain(..) {
            give_back(&mut records, key, tag);
        }
    }

    fn word(&self, nth: usize) -> &std::sync::atomic::AtomicU64 {
        &self.zone.words()[self.zone.shape.value(self.at, nth.min(SERVER_WORDS - 1))]
    }
}

impl Drop for ServerState {
    fn drop(&mut self) {
        // If it cannot be had the share stays, until the worker ends.
        let Some(mut records) = self.zone.lock() else { return };
        match records.value(self.share, HOLDERS) {
            0 | 1 => take_off(&mut records, self.share),
            holders => records.change(&[(self.share, HOLDERS, holders - 1)]),
        }
    }
}

/// What one worker does for all, until it drops it or dies.
#[derive(Debug)]
pub struct Duty {
    zone: Rc<Keyed>,
    at: At,
}

impl Duty {
    /// Takes a duty that nobody has.
    pub fn take(zone: &Rc<Keyed>, name: &[u8]) -> Option<Duty> {
        let tag = tag(zone)?;
        let key = zone.key(name);
        let mut records = zone.lock()?;
        if records.find(key).is_some() {
            return None;
        }
        let at = make(&mut records, key, tag, &[0; SERVER_WORDS]).ok()?;
        drop(records);
        Some(Duty { zone: Rc::clone(zone), at })
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        // A worker that cannot have the records keeps the duty without doing it: it is told in the log.
        if let Some(mut records) = self.zone.lock() {
            records.remove(self.at);
        }
    }
}

/// Takes off what a worker had that is dead.
pub(super) fn bury(zone: &Keyed, slot: u16) {
    zone.sweep(|records, at| {
        if records.tag(at) == tag_of(slot) {
            take_off(records, at);
        }
    });
}

/// Removes a share; its connections are nobody's.
fn take_off(records: &mut Records<'_>, share: At) {
    let state = tagged(records, records.key(share), STATE);
    let left = state.map(|at| {
        let all = records.value(at, CONNS);
        (at, CONNS, all.saturating_sub(records.value(share, CONNS)))
    });
    records.change_and_remove(left.as_slice(), share);
}

fn give_back(records: &mut Records<'_>, key: Key, tag: u32) {
    let found = (tagged(records, key, STATE), tagged(records, key, tag));
    let (Some(state), Some(share)) = found else { return };
    let (all, own) = (records.value(state, CONNS), records.value(share, CONNS));
    if own > 0 {
        records.change(&[(state, CONNS, all.saturating_sub(1)), (share, CONNS, own - 1)]);
    }
}

/// A new record. When there is no room, one makes room that was not known to anybody for longest.
fn make(records: &mut Records<'_>, key: Key, tag: u32, values: &[u64]) -> Result<At, Full> {
    if records.is_full() {
        let all = std::iter::successors(records.oldest(), |at| records.newer(*at));
        let unknown = |at: &At| {
            let other = records.key(*at);
            other != key && records.tag(*at) == STATE && records.all(other).count() == 1
        };
        let gone = all.into_iter().find(unknown).ok_or(Full::Zone)?;
        records.remove(gone);
        records.count_evicted();
    }
    records.insert(key, tag, values).ok_or(Full::Zone)
}

fn tagged(records: &Records<'_>, key: Key, tag: u32) -> Option<At> {
    records.all(key).find(|at| records.tag(*at) == tag)
}

/// The tag of this process's shares; a master has none.
fn tag(zone: &Keyed) -> Option<u32> {
    zone.me.slot().map(tag_of)
}

fn tag_of(slot: u16) -> u32 {
    u32::from(slot) + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::keyed::journal::death;
    use crate::zone::keyed::{Holder, Kind, Spec};
    use std::mem::ManuallyDrop;
    use std::os::fd::{AsFd, OwnedFd};
    use std::panic::AssertUnwindSafe;

    fn spec(size: u64) -> Spec {
        Spec { kind: Kind::Servers, name: b"u".to_vec(), size, key: Vec::new() }
    }

    fn zone() -> (OwnedFd, Rc<Keyed>) {
        let (fd, zone) =
            Keyed::create(&spec(32 << 10), Holder::worker(1, std::process::id())).unwrap();
        (fd, Rc::new(zone))
    }

    /// A worker that is not there any more.
    fn dead(fd: &OwnedFd) -> Rc<Keyed> {
        let holder = Holder::worker(2, i32::MAX.unsigned_abs());
        Rc::new(Keyed::attach(fd.as_fd(), &spec(32 << 10), holder).unwrap())
    }

    #[test]
    fn workers_know_one_state() {
        let (fd, ours) = zone();
        let theirs = dead(&fd);
        let [a, b] = [&ours, &theirs].map(|zone| ServerState::join(zone, b"s", &[0, 7]).unwrap());
        assert_eq!(b.get(1), 7);
        a.set(1, 5);
        b.add(1, -6);
        assert_eq!(a.get(1).cast_signed(), -1);
        assert_eq!(
            [a.enter(2), b.enter(2), a.enter(2)],
            [Entered::Counted, Entered::Counted, Entered::Full]
        );
        b.leave();
        assert_eq!((a.get(CONNS), a.enter(2)), (1, Entered::Counted));
        let other = ServerState::join(&ours, b"other", &[]).unwrap();
        assert_eq!(other.get(CONNS), 0);
    }

    #[test]
    fn what_a_dead_worker_had_comes_off() {
        let (fd, ours) = zone();
        let theirs = dead(&fd);
        let [a, b] = [&ours, &theirs].map(|zone| ServerState::join(zone, b"s", &[]).unwrap());
        let duty = Duty::take(&theirs, b"check").unwrap();
        a.enter(0);
        b.enter(0);
        b.enter(0);
        assert!(Duty::take(&ours, b"check").is_none());
        std::mem::forget((b, duty));
        ours.bury(2);
        assert_eq!(a.get(CONNS), 1);
        let ours_now = Duty::take(&ours, b"check").unwrap();
        assert!(Duty::take(&ours, b"check").is_none());
        drop(ours_now);
        assert!(Duty::take(&ours, b"check").is_some());
    }

    #[test]
    fn a_death_at_any_change_leaves_no_connection_behind() {
        for nth in 0.. {
            let (fd, ours) = zone();
            let a = ServerState::join(&ours, b"s", &[]).unwrap();
            a.enter(0);
            let theirs = dead(&fd);
            let died = death::at(
                nth,
                AssertUnwindSafe(|| {
                    // The dead drop nothing.
                    let b = ManuallyDrop::new(ServerState::join(&theirs, b"s", &[]).unwrap());
                    b.enter(0);
                    b.enter(0);
                    b.leave();
                }),
            );
            ours.bury(2);
            assert_eq!(a.get(CONNS), 1, "death {nth}");
            assert_eq!(ours.lock().unwrap().used(), 2, "death {nth}");
            if !died {
                return;
            }
        }
    }

    #[test]
    fn one_that_nobody_knows_makes_room() {
        let (_fd, ours) = zone();
        let room = ours.capacity() / 2;
        let first = ServerState::join(&ours, b"kept", &[0, 1]).unwrap();
        for number in 0..2 * room {
            ServerState::join(&ours, format!("{number}").as_bytes(), &[]).unwrap();
        }
        assert_eq!(first.get(1), 1);
        let again = ServerState::join(&ours, b"kept", &[0, 2]).unwrap();
        assert_eq!(again.get(1), 1);
        let mut held = Vec::new();
        let full = loop {
            match ServerState::join(&ours, format!("held {}", held.len()).as_bytes(), &[]) {
                Ok(state) => held.push(state),
                Err(full) => break full,
            }
        };
        assert_eq!((full, held.len()), (Full::Zone, room - 1));
    }
}
