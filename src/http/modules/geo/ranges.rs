//! Owns ranges of IPv4 addresses that do not overlap, each with a value.
//!
//! Must not know what the values are.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Ranges as they are entered. They are kept cut at the borders of /16 networks: it is there that nginx
/// tells whether a range lies within another or overlaps it.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// By first address: last address and value.
    pieces: BTreeMap<u32, (u32, usize)>,
}

/// Why a range was not simply added.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Clash {
    /// The same range has been there, with this value; it has the new one now.
    Replaced(usize),
    /// It overlaps this one.
    Overlaps(Ipv4Addr, Ipv4Addr),
}

/// The pieces of a range, one for each /16.
fn pieces(first: u32, last: u32) -> impl Iterator<Item = (u32, u32)> {
    let networks = (first >> 16)..=(last >> 16);
    networks.map(move |high| ((high << 16).max(first), ((high << 16) | 0xffff).min(last)))
}

impl Ranges {
    /// Adds a range; one that lies within another goes before it.
    pub fn add(&mut self, first: u32, last: u32, value: usize) -> Result<(), Clash> {
        let mut replaced = Ok(());
        for (first, last) in pieces(first, last) {
            match self.add_piece(first, last, value) {
                Err(overlap @ Clash::Overlaps(..)) => return Err(overlap),
                Err(clash) => replaced = Err(clash),
                Ok(()) => {}
            }
        }
        replaced
    }

    fn add_piece(&mut self, first: u32, last: u32, value: usize) -> Result<(), Clash> {
        let before = self.pieces.range(..=last).next_back();
        let before = before.map(|(start, (end, value))| (*start, *end, *value));
        let Some((start, end, old)) = before.filter(|(_, end, _)| *end >= first) else {
            self.pieces.insert(first, (last, value));
            return Ok(());
        };
        if start > first || end < last {
            return Err(Clash::Overlaps(start.into(), end.into()));
        }
        if start < first {
            self.pieces.insert(start, (first - 1, old));
        }
        if end > last {
            self.pieces.insert(last + 1, (end, old));
        }
        self.pieces.insert(first, (last, value));
        if (start, end) == (first, last) { Err(Clash::Replaced(old)) } else { Ok(()) }
    }

    /// Takes a range away; false when not all of it has been there as it is.
    pub fn delete(&mut self, first: u32, last: u32) -> bool {
        let mut found = true;
        for (first, last) in pieces(first, last) {
            if self.pieces.get(&first).is_some_and(|(end, _)| *end == last) {
                self.pieces.remove(&first);
            } else {
                found = false;
            }
        }
        found
    }

    /// All ranges in order, what was cut put together again.
    pub fn finish(self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        for (first, (last, value)) in self.pieces {
            match ranges.last_mut() {
                Some(before)
                    if before.value == value && before.last.checked_add(1) == Some(first) =>
                {
                    before.last = last;
                }
                _ => ranges.push(Range { first, last, value }),
            }
        }
        ranges
    }
}

/// A range with its value, both ends included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    first: u32,
    last: u32,
    value: usize,
}

/// The value of the range that holds an address.
pub(super) fn find(ranges: &[Range], address: u32) -> Option<usize> {
    let after = ranges.partition_point(|range| range.first <= address);
    let range = ranges.get(after.checked_sub(1)?)?;
    (address <= range.last).then_some(range.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_split_replaced_deleted_and_put_together() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.add(0x1_0000, 0x3_ffff, 1), Ok(()));
        assert_eq!(ranges.add(0x1_0010, 0x1_0020, 2), Ok(()));
        assert_eq!(ranges.add(0x1_0010, 0x1_0020, 3), Err(Clash::Replaced(2)));
        assert_eq!(ranges.add(0x1_0000, 0x1_000f, 4), Err(Clash::Replaced(1)));
        let overlap = Clash::Overlaps([0, 1, 0, 33].into(), [0, 1, 255, 255].into());
        assert_eq!(ranges.add(0x1_0018, 0x1_0028, 5), Err(overlap));
        assert!(!ranges.delete(0x2_0000, 0x2_0001));
        assert!(ranges.delete(0x2_0000, 0x2_ffff));
        let range = |first, last, value| Range { first, last, value };
        let expected = [
            range(0x1_0000, 0x1_000f, 4),
            range(0x1_0010, 0x1_0020, 3),
            range(0x1_0021, 0x1_ffff, 1),
            range(0x3_0000, 0x3_ffff, 1),
        ];
        let ranges = ranges.finish();
        assert_eq!(ranges, expected);
        assert_eq!((find(&ranges, 0x2_0000), find(&ranges, 0x1_0020)), (None, Some(3)));
        assert_eq!(find(&ranges, 0), None);
    }

    #[test]
    fn the_whole_space_is_one_range() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.add(0, u32::MAX, 0), Ok(()));
        assert_eq!(ranges.finish(), [Range { first: 0, last: u32::MAX, value: 0 }]);
    }

    proptest! {
        #[test]
        fn every_address_has_the_value_that_was_added_last(
            added in proptest::collection::vec((0x1_fff0_u32..0x2_0010, 0_u32..40), 1..8),
        ) {
            let mut ranges = Ranges::default();
            let mut model = BTreeMap::new();
            for (value, (first, length)) in added.into_iter().enumerate() {
                let last = first + length;
                // Half-added ranges end a configuration: what follows does not matter.
                if matches!(ranges.add(first, last, value), Err(Clash::Overlaps(..))) {
                    return Ok(());
                }
                model.extend((first..=last).map(|address| (address, value)));
            }
            let ranges = ranges.finish();
            for address in 0x1_ffe0..0x2_0050 {
                prop_assert_eq!(find(&ranges, address), model.get(&address).copied());
            }
        }
    }
}
