//! Connections that were ended because their clients cost more than they brought: how many, and for what.
//! They stand in the workers' slots of the counters.
//!
//! Must not judge what is too much.

use super::{Counters, Slot};

/// The first of the words in a slot. There is one for each kind.
pub(super) const FIRST: usize = 10;

/// What a client did too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Frames of data without data.
    Data = 0,
    /// Heads that do not end, or are larger than they look.
    Heads = 1,
    Ping = 2,
    /// Requests given up as soon as they are made (CVE-2023-44487).
    Reset = 3,
    Settings = 4,
    /// Frames without use, or of kinds that nobody knows.
    Other = 5,
}

/// All kinds, by the names that operators see.
pub const FLOODS: [(Flood, &str); 6] = [
    (Flood::Data, "data"),
    (Flood::Heads, "heads"),
    (Flood::Ping, "ping"),
    (Flood::Reset, "reset"),
    (Flood::Settings, "settings"),
    (Flood::Other, "other"),
];

impl Slot {
    /// Counts a connection that was ended for this.
    pub fn count_flood(&self, flood: Flood) {
        self.add(FIRST + flood as usize, 1);
    }
}

impl Counters {
    /// How many connections were ended for this, by all workers there have been.
    pub fn floods(&self, flood: Flood) -> u64 {
        self.total(FIRST + flood as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_apart_and_survives_its_worker() {
        let counters = Counters::create().unwrap().1;
        for (number, (flood, _)) in FLOODS.into_iter().enumerate() {
            let slot = counters.claim(7).unwrap();
            (0..=number).for_each(|_| counters.slot(slot).unwrap().count_flood(flood));
            counters.release(slot);
        }
        let found = FLOODS.map(|(flood, _)| counters.floods(flood));
        assert_eq!(found, [1, 2, 3, 4, 5, 6]);
        assert_eq!(counters.totals(), crate::zone::Totals::default());
    }
}
