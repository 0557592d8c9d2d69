//! Owns what a worker counts at a switch: who is let in, and when that one is through.
//!
//! Must not say why a switch is closed, nor judge who may pass nevertheless.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::order::NO_BYPASS;
use super::{Gates, State, Switch, UNKNOWN, Zone, counts_at, state_at};

/// What is counted apart. Each has its word among a worker's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Changes nothing behind, by its method.
    Read = 0,
    /// May change something.
    Write = 1,
    /// A connection that was upgraded.
    Stream = 2,
    /// Let in although closed.
    Bypass = 3,
}

/// One worker's place at all switches. Only that worker's event loop counts in it, so plain loads
/// and stores do, but for the one that must be seen before the state is looked at.
#[derive(Clone, Debug)]
pub struct Door {
    zone: Arc<Zone>,
    slot: usize,
}

impl Door {
    pub(super) fn new(zone: Arc<Zone>, slot: usize) -> Self {
        Self { zone, slot }
    }

    /// The switches that this is a door of.
    pub fn gates(&self) -> Gates {
        Gates { zone: Arc::clone(&self.zone) }
    }

    /// Whether a switch lets requests in, for who needs no proof.
    pub fn state(&self, switch: Switch) -> State {
        State::of(self.state_word(switch))
    }

    /// Counts a request, then looks. An error means that it is not counted any more.
    pub fn enter(&self, switch: Switch, class: Class) -> Result<(), State> {
        self.enter_anyway(switch, class);
        let state = self.state(switch);
        if state == State::Open {
            return Ok(());
        }
        self.leave(switch, class);
        Err(state)
    }

    /// Counts a request that may pass a closed door, then looks whether anybody may. An error means
    /// that it is not counted any more.
    pub fn enter_closed(&self, switch: Switch) -> Result<(), State> {
        self.enter_anyway(switch, Class::Bypass);
        let word = self.state_word(switch);
        if State::of(word) == State::Open || word & NO_BYPASS == 0 {
            return Ok(());
        }
        self.leave(switch, Class::Bypass);
        Err(State::of(word))
    }

    /// Counts a request that is let in whatever has been said.
    pub fn enter_anyway(&self, switch: Switch, class: Class) {
        // All who look at the state after this and find it open are seen by whoever closes it and
        // then sums: the four accesses are in one order for everybody.
        let word = self.word(switch, class as usize);
        word.store(word.load(Ordering::Relaxed).wrapping_add(1), Ordering::SeqCst);
    }

    /// A request that was counted is through.
    pub fn leave(&self, switch: Switch, class: Class) {
        let word = self.word(switch, class as usize);
        word.store(word.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Release);
    }

    /// A request is something else from now on: it goes to a class further on.
    pub fn reclass(&self, switch: Switch, from: Class, to: Class) {
        debug_assert!((from as usize) < to as usize, "who sums reads the classes in order");
        self.enter_anyway(switch, to);
        self.leave(switch, from);
    }

    /// An exchange that is over has an outcome that nobody knows: it may have been carried out.
    pub fn unknown(&self, switch: Switch) {
        // Somebody else may be clearing it.
        self.word(switch, UNKNOWN).fetch_add(1, Ordering::SeqCst);
    }

    fn state_word(&self, switch: Switch) -> u64 {
        self.zone.words()[state_at(switch)].load(Ordering::SeqCst)
    }

    pub(super) fn word(&self, switch: Switch, word: usize) -> &AtomicU64 {
        // In range: slot and switch were checked when they were made, the zone's size when attached.
        &self.zone.words()[counts_at(switch, self.slot) + word]
    }
}
