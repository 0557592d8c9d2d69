//! Owns the words that are known of a peer: kept by this worker alone, or by all together in a zone.
//!
//! Must not know what follows from them; `peer` does.

use std::cell::Cell;
use std::rc::Rc;

use crate::zone::Keyed;
use crate::zone::keyed::{self, CONNS, Entered, SERVER_WORDS, ServerState};

/// What round robin goes by, in [`SCALE`]s.
pub(super) const CURRENT: usize = 1;
pub(super) const EFFECTIVE: usize = 2;
pub(super) const FAILS: usize = 3;
/// When it failed last.
pub(super) const ACCESSED: usize = 4;
/// When it failed last, or when the trial began that followed.
pub(super) const CHECKED: usize = 5;
/// Since when it starts slowly: a time, [`BEGINS`], or 0 for not at all.
pub(super) const SLOW_SINCE: usize = 6;
/// What health checks have found, two bits for each: [`NOTHING`], [`UNHEALTHY`] or [`WELL`]. What follows
/// from it each configuration says for itself ([`Checks`]): another one may have other checks.
pub(super) const HEALTH: usize = 7;
/// From here on, for each health check: how often in a row it has found otherwise.
pub(super) const STREAKS: usize = 8;
/// So many checks a group may have.
pub const MOST_CHECKS: usize = SERVER_WORDS - STREAKS;

/// Weights are counted in these parts, so that a server can begin with a part of its weight.
pub(super) const SCALE: i64 = 100;

/// It starts slowly from its next turn on.
pub(super) const BEGINS: u64 = u64::MAX;

/// It has not been asked yet.
pub(super) const NOTHING: u64 = 0;
pub(super) const UNHEALTHY: u64 = 1;
pub(super) const WELL: u64 = 2;

/// The lower bits of all checks' pairs.
const LOWER: u64 = 0x5555_5555_5555_5555;

/// The words of one peer.
pub(super) enum State {
    Own([Cell<u64>; SERVER_WORDS]),
    Shared(ServerState),
}

/// The checks that a configuration makes of a group's servers: the lower bit of the pair of each.
#[derive(Clone, Copy, Default)]
pub(super) struct Checks {
    made: u64,
    mandatory: u64,
}

impl Checks {
    /// `all` says of each whether it is `mandatory`.
    pub(super) fn new(all: &[bool]) -> Self {
        let bits = |mandatory: bool| {
            let wanted = all.iter().enumerate().filter(move |(_, one)| **one || !mandatory);
            wanted.map(|(nth, _)| 1 << (2 * nth)).sum()
        };
        Self { made: bits(false), mandatory: bits(true) }
    }

    /// The same where nobody has to be asked first.
    pub(super) fn optional(self) -> Self {
        Self { mandatory: 0, ..self }
    }

    /// Whether a server gets nothing before this one.
    pub(super) fn has_mandatory(self, nth: usize) -> bool {
        self.mandatory >> (2 * nth) & 1 == 1
    }

    /// What they have against a server of which this was found.
    pub(super) fn complaint(self, found: u64) -> Option<&'static str> {
        if found & self.made != 0 {
            Some("unhealthy")
        } else if self.mandatory & !(found >> 1 & LOWER) != 0 {
            Some("checking")
        } else {
            None
        }
    }
}

/// Where a group's states are shared, and under what name.
pub(super) struct Sharing {
    pub(super) zone: Rc<Keyed>,
    pub(super) group: String,
    pub(super) checks: Checks,
}

impl State {
    pub(super) fn new(weight: i64) -> Self {
        let own: [Cell<u64>; SERVER_WORDS] = Default::default();
        own[EFFECTIVE].set((weight * SCALE).cast_unsigned());
        Self::Own(own)
    }

    /// The state that all workers share under this name, which begins as this one.
    pub(super) fn shared(self, sharing: &Sharing, name: &[u8]) -> Self {
        let Self::Own(own) = &self else { return self };
        let first = own.each_ref().map(Cell::get);
        match ServerState::join(&sharing.zone, name, &first) {
            Ok(state) => Self::Shared(state),
            Err(why) => {
                sharing.complain(why);
                self
            }
        }
    }

    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    pub(super) fn get(&self, nth: usize) -> u64 {
        match self {
            Self::Own(words) => words.get(nth).map_or(0, Cell::get),
            Self::Shared(state) => state.get(nth),
        }
    }

    pub(super) fn set(&self, nth: usize, value: u64) {
        match self {
            Self::Own(words) => {
                if let Some(word) = words.get(nth) {
                    word.set(value);
                }
            }
            Self::Shared(state) => state.set(nth, value),
        }
    }

    pub(super) fn add(&self, nth: usize, value: i64) {
        match self {
            Self::Own(_) => self.set(nth, self.get(nth).wrapping_add_signed(value)),
            Self::Shared(state) => state.add(nth, value),
        }
    }

    pub(super) fn signed(&self, nth: usize) -> i64 {
        self.get(nth).cast_signed()
    }

    /// Connections at this moment.
    pub(super) fn conns(&self) -> u32 {
        u32::try_from(self.get(CONNS)).unwrap_or(u32::MAX)
    }

    /// Counts one more connection unless there are as many as there may be.
    pub(super) fn enter(&self, limit: u32) -> Entered {
        match self {
            Self::Shared(state) => state.enter(limit.into()),
            Self::Own(_) if limit != 0 && self.conns() >= limit => Entered::Full,
            Self::Own(_) => {
                self.add(CONNS, 1);
                Entered::Counted
            }
        }
    }

    /// Gives one back that was counted.
    pub(super) fn leave(&self) {
        match self {
            Self::Shared(state) => state.leave(),
            Self::Own(_) => self.set(CONNS, self.get(CONNS).saturating_sub(1)),
        }
    }
}

impl Sharing {
    fn complain(&self, why: keyed::Full) {
        if !self.zone.may_tell() {
            return;
        }
        let group = &self.group;
        let why = match why {
            keyed::Full::Busy => "is held by a process that has stopped",
            _ => "is too small",
        };
        tracing::error!(
            "the zone of upstream \"{group}\" {why}: this worker counts some of its servers alone"
        );
    }
}
