//! Owns what a master calls out to the workers of all generations, whichever master they have, beside
//! the states: to cut off what is under way, and to part with connections to servers behind. A worker
//! looks for calls as long as it has anything that they could be about; the rest of the time it says
//! that it sleeps.
//!
//! Must not wait for anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Door, Gates, MAX_SLOTS, Switch};

/// In the first switch's record: how often it was called to part with connections.
const RENEW: usize = 3;
/// In each switch's record: how often it was called to cut off what is under way through it; a word
/// for each [`Reach`].
const CUTS: usize = 4;

// A worker's own, after what it counts at the first switch.
/// Whether it looks for calls.
const AWAKE: usize = 5;
/// The last call to part with connections that it has followed.
const RENEWED: usize = 6;
/// How many it has parted with, ever.
const PARTED: usize = 7;

/// What is to be cut off of what is under way through a switch. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// What has no end of its own.
    Streams = 0,
    /// What the switch would have kept out.
    Barred = 1,
    /// What was let in as well.
    All = 2,
}

const REACHES: [Reach; 3] = [Reach::Streams, Reach::Barred, Reach::All];

/// How often it was called to cut off what is under way through a switch, for each reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts([u64; REACHES.len()]);

impl Cuts {
    /// The farthest of the calls that have come since.
    pub fn since(&self, before: &Cuts) -> Option<Reach> {
        let new = |reach: &Reach| self.0[*reach as usize] != before.0[*reach as usize];
        REACHES.into_iter().rfind(new)
    }
}

impl Gates {
    /// Calls on all workers to cut off what is under way through a switch.
    pub fn cut(&self, switch: Switch, reach: Reach) {
        self.record(switch)[CUTS + reach as usize].fetch_add(1, Ordering::SeqCst);
    }

    /// The calls of that kind so far.
    pub fn cuts(&self, switch: Switch) -> Cuts {
        let count = |reach| self.record(switch)[CUTS + reach as usize].load(Ordering::SeqCst);
        Cuts(REACHES.map(count))
    }

    /// Calls on all workers to use no connection to a server behind any more that is open by now.
    /// The answer is the number of this call.
    pub fn renew(&self) -> u64 {
        self.renewals_word().fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The number of the last such call.
    pub fn renewals(&self) -> u64 {
        self.renewals_word().load(Ordering::SeqCst)
    }

    /// How many workers have not yet followed a call of that kind. Who sleeps has no connections, and
    /// looks when it wakes.
    pub fn renewing(&self, call: u64) -> usize {
        let late = |slot: &usize| {
            let own = self.own(*slot);
            let [awake, renewed] = [AWAKE, RENEWED].map(|word| own[word].load(Ordering::SeqCst));
            awake != 0 && renewed < call
        };
        (0..MAX_SLOTS).filter(late).count()
    }

    /// How many idle connections all workers have parted with, ever.
    pub fn parted(&self) -> u64 {
        let parted = (0..MAX_SLOTS).map(|slot| self.own(slot)[PARTED].load(Ordering::SeqCst));
        parted.fold(0, u64::wrapping_add)
    }

    /// A dead worker answers no calls.
    pub(super) fn silence(&self, slot: usize) {
        self.own(slot)[AWAKE].store(0, Ordering::SeqCst);
    }

    fn renewals_word(&self) -> &AtomicU64 {
        &self.record(self.default_switch())[RENEW]
    }

    fn own(&self, slot: usize) -> &[AtomicU64] {
        self.counts(self.default_switch(), slot)
    }
}

impl Door {
    /// This worker looks for calls from now on. To be said before it counts anybody: who calls after
    /// this may wait for it. The answer is what was called before.
    pub fn wake(&self) -> u64 {
        self.own(AWAKE).store(1, Ordering::SeqCst);
        let before = self.gates().renewals();
        self.own(RENEWED).store(before, Ordering::SeqCst);
        before
    }

    /// It has nothing any more that a call could be about. To be followed by a last look, for those
    /// who have called in between.
    pub fn rest(&self) {
        self.own(AWAKE).store(0, Ordering::SeqCst);
    }

    /// It has parted with so many idle connections, and uses none any more that is older than this
    /// call.
    pub fn renewed(&self, call: u64, parted: u64) {
        // Only this worker adds to it.
        let before = self.own(PARTED).load(Ordering::Relaxed);
        self.own(PARTED).store(before.wrapping_add(parted), Ordering::SeqCst);
        self.own(RENEWED).store(call, Ordering::SeqCst);
    }

    fn own(&self, word: usize) -> &AtomicU64 {
        self.word(Switch(0), word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_awake_is_waited_for() {
        let gates = Gates::create().unwrap().1;
        let [first, second] = [3, 7].map(|slot| gates.door(slot).unwrap());
        assert_eq!(gates.renewing(gates.renew()), 0, "all sleep");
        assert_eq!((first.wake(), second.wake()), (1, 1));
        assert_eq!(gates.renewing(1), 0, "they woke after it");
        let call = gates.renew();
        assert_eq!((call, gates.renewing(call)), (2, 2));
        first.renewed(call, 5);
        assert_eq!((gates.renewing(call), gates.parted()), (1, 5));
        gates.bury(7);
        assert_eq!(gates.renewing(call), 0, "the dead need not answer");
        first.renewed(gates.renew(), 2);
        first.rest();
        assert_eq!((gates.renewing(4), gates.parted()), (0, 7));
        assert_eq!(gates.inflight(gates.default_switch()), super::super::Inflight::default());
    }

    #[test]
    fn each_switch_has_its_own_cuts() {
        let gates = Gates::create().unwrap().1;
        let shop = gates.switch("shop").unwrap();
        let before = gates.cuts(shop);
        assert_eq!(before.since(&before), None);
        gates.cut(shop, Reach::All);
        gates.cut(shop, Reach::Streams);
        let after = gates.cuts(shop);
        assert_eq!(after.since(&before), Some(Reach::All));
        gates.cut(shop, Reach::Barred);
        gates.cut(shop, Reach::Streams);
        assert_eq!(gates.cuts(shop).since(&after), Some(Reach::Barred));
        assert_eq!(gates.cuts(gates.default_switch()), Cuts::default());
        assert_eq!(gates.switches().collect::<Vec<_>>(), [gates.default_switch(), shop]);
    }
}
