//! Owns what a master calls out to the workers of all generations, whichever master they have, beside
//! the states: to cut off what is under way, and to part with connections to servers behind. A worker
//! looks for calls as long as it has anything that they could be about; the rest of the time it says
//! that it sleeps.
//!
//! Must not wait for anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Door, Gates, MAX_SLOTS, Switch};

/// In a switch's record: how often it was called to cut off what is under way through it, without
/// and with what was let in although it is closed.
const CUT: usize = 3;
const CUT_ALL: usize = 4;
/// In the first switch's record: how often it was called to part with connections.
const RENEW: usize = 5;

// A worker's own, after what it counts at the first switch.
/// Whether it looks for calls.
const AWAKE: usize = 5;
/// The last call to part with connections that it has followed.
const RENEWED: usize = 6;
/// How many it has parted with, ever.
const PARTED: usize = 7;

/// How often it was called to cut off what is under way through a switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// What the switch would have kept out.
    pub barred: u64,
    /// Everything.
    pub all: u64,
}

impl Gates {
    /// Calls on all workers to cut off what is under way through a switch.
    pub fn cut(&self, switch: Switch, bypass: bool) {
        let word = if bypass { CUT_ALL } else { CUT };
        self.record(switch)[word].fetch_add(1, Ordering::SeqCst);
    }

    /// The calls of that kind so far.
    pub fn cuts(&self, switch: Switch) -> Cuts {
        let [barred, all] =
            [CUT, CUT_ALL].map(|word| self.record(switch)[word].load(Ordering::SeqCst));
        Cuts { barred, all }
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
        gates.cut(shop, false);
        gates.cut(shop, true);
        gates.cut(shop, true);
        assert_eq!(gates.cuts(shop), Cuts { barred: 1, all: 2 });
        assert_eq!(gates.cuts(gates.default_switch()), Cuts::default());
        assert_eq!(gates.switches().collect::<Vec<_>>(), [gates.default_switch(), shop]);
    }
}
