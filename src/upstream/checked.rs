//! Owns what health checks find of a group's servers, and which worker makes them.
//!
//! Must not ask a server anything; whoever does, reports here.

use std::rc::Rc;

use super::Group;
use super::peer::Peer;
use super::state::{FAILS, HEALTH, NOTHING, STREAKS, UNHEALTHY, WELL};
use crate::net::Address;
use crate::zone::keyed::Duty;

/// A server to be checked.
#[derive(Clone)]
pub struct Checked(Rc<Peer>);

/// How many checks in a row change what is thought of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    pub fails: u64,
    pub passes: u64,
}

impl Group {
    /// The servers to be checked: all but those that are `down`.
    pub fn checked(&self) -> Vec<Checked> {
        let found = self.found.borrow();
        let peers = found.iter().flatten().filter(|peer| !peer.down);
        peers.cloned().map(Checked).collect()
    }

    /// The duty to check them, which one worker of all has at a time.
    pub fn duty(&self) -> Option<Duty> {
        let sharing = self.sharing.as_ref()?;
        let name = format!("checks of\0{}", self.name().to_ascii_lowercase());
        Duty::take(&sharing.zone, name.as_bytes())
    }
}

impl Checked {
    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// The address as the log shows it.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Whether both are one server.
    pub fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// What the check of this number has come to; answers whether the server is well from now on, where
    /// that is news.
    pub fn report(&self, check: usize, passed: bool, limits: Thresholds) -> Option<bool> {
        let state = &self.0.state;
        let (streak, shift) = (STREAKS + check, 2 * check);
        let before = state.get(HEALTH) >> shift & 3;
        let (needed, found) =
            if passed { (limits.passes, WELL) } else { (limits.fails, UNHEALTHY) };
        let change = |to: u64| state.set(HEALTH, state.get(HEALTH) & !(3 << shift) | to << shift);
        let as_taken_for = passed && before == NOTHING && !self.0.checks.has_mandatory(check);
        if before == found || as_taken_for {
            change(found);
            state.set(streak, 0);
            return None;
        }
        let row = state.get(streak) + 1;
        if row < needed {
            state.set(streak, row);
            return None;
        }
        state.set(streak, 0);
        change(found);
        if passed && self.0.is_well() {
            state.set(FAILS, 0);
            if before == UNHEALTHY {
                self.0.start_slowly();
            }
        }
        Some(passed)
    }
}
