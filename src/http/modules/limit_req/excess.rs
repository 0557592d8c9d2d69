//! Owns the arithmetic of `limit_req`: by how much a key is beyond its rate, in thousandths of a
//! request, to the last digit as in nginx.
//!
//! Must not know requests, nor what follows from an excess.

use crate::zone::keyed::{At, Key, Records};

// A record's values.
/// When the key was last counted, in milliseconds.
const LAST: usize = 0;
const EXCESS: usize = 1;

/// A clock that seems to have gone back by more than this has been set.
const JUMP: i64 = 60_000;
/// Who was not seen for so long, and has nothing left to wait for, is forgotten.
const IDLE: u64 = 60_000;

/// What one zone limits to.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Thousandths of a request a second.
    pub each_second: u64,
    /// Thousandths of a request that may be beyond it.
    pub burst: u64,
    /// Those of them that need not wait.
    pub delay: u64,
}

/// A key is too far beyond its rate: by so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over(pub u64);

/// What counting one has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub excess: u64,
    /// Another key had to be forgotten for it.
    pub evicted: bool,
}

impl Rate {
    /// Whether one more would be let in, which is not counted yet.
    pub fn look(&self, records: &mut Records<'_>, key: Key, now: u64) -> Result<u64, Over> {
        let Some(at) = records.find(key) else { return Ok(0) };
        records.touch(at);
        self.judge(self.after(records, at, now).0)
    }

    /// Counts one more, if it is let in.
    pub fn count(&self, records: &mut Records<'_>, key: Key, now: u64) -> Result<Counted, Over> {
        if let Some(at) = records.find(key) {
            records.touch(at);
            self.judge(self.after(records, at, now).0)?;
        }
        Ok(self.account(records, key, now))
    }

    /// Counts one more, which was let in.
    pub fn account(&self, records: &mut Records<'_>, key: Key, now: u64) -> Counted {
        let Some(at) = records.find(key) else {
            let evicted = self.make_room(records, now);
            let _ = records.insert(key, 0, &[now, 0]);
            return Counted { excess: 0, evicted };
        };
        let (excess, moved) = self.after(records, at, now);
        let last = if moved { now } else { records.value(at, LAST) };
        records.set_values(at, &[last, excess]);
        Counted { excess, evicted: false }
    }

    /// Milliseconds to wait.
    pub fn delay(&self, excess: u64) -> u64 {
        excess.saturating_sub(self.delay).saturating_mul(1000) / self.each_second.max(1)
    }

    fn judge(&self, excess: u64) -> Result<u64, Over> {
        if excess > self.burst { Err(Over(excess)) } else { Ok(excess) }
    }

    /// The excess with one more, and whether time has passed since the last one.
    fn after(&self, records: &Records<'_>, at: At, now: u64) -> (u64, bool) {
        let passed = match now.wrapping_sub(records.value(at, LAST)).cast_signed() {
            passed if passed < -JUMP => 1,
            passed => u64::try_from(passed).unwrap_or(0),
        };
        let left = records.value(at, EXCESS).cast_signed() - self.gone(passed);
        (u64::try_from(left + 1000).unwrap_or(0), passed > 0)
    }

    /// By how much an excess has become less.
    fn gone(&self, passed: u64) -> i64 {
        let gone = u128::from(self.each_second) * u128::from(passed) / 1000;
        // Beyond any excess.
        i64::try_from(gone).unwrap_or(i64::MAX / 2).min(i64::MAX / 2)
    }

    /// Forgets up to two of the oldest keys that have nothing to wait for, as nginx does; if there is
    /// no room even so, the oldest of all. Answers whether that one was forgotten too early.
    fn make_room(&self, records: &mut Records<'_>, now: u64) -> bool {
        for _ in 0..2 {
            match records.oldest().filter(|at| self.is_idle(records, *at, now)) {
                Some(oldest) => records.remove(oldest),
                None => break,
            }
        }
        let oldest = records.oldest().filter(|_| records.is_full());
        if let Some(oldest) = oldest {
            records.remove(oldest);
            records.count_evicted();
        }
        oldest.is_some()
    }

    fn is_idle(&self, records: &Records<'_>, at: At, now: u64) -> bool {
        let passed = now.wrapping_sub(records.value(at, LAST)).cast_signed().unsigned_abs();
        passed >= IDLE && records.value(at, EXCESS).cast_signed() <= self.gone(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::keyed::{Holder, Keyed, Kind, Spec};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn zone() -> Keyed {
        let (kind, name, key) = (Kind::Requests, b"one".to_vec(), b"$k".to_vec());
        let spec = Spec { kind, name, size: 32 << 10, key };
        Keyed::create(&spec, Holder::worker(0, std::process::id())).unwrap().1
    }

    fn rate(each_second: u64, burst: u64, delay: u64) -> Rate {
        Rate { each_second, burst, delay }
    }

    #[test]
    fn two_a_second_with_one_to_spare() {
        let (zone, two) = (zone(), rate(2000, 1000, 0));
        let key = zone.key(b"a");
        let mut records = zone.lock().unwrap();
        let mut ask = |now| two.count(&mut records, key, now).map(|counted| counted.excess);
        assert_eq!(ask(10_000), Ok(0));
        assert_eq!(ask(10_000), Ok(1000));
        // Who is sent away is not counted.
        assert_eq!(ask(10_000), Err(Over(2000)));
        assert_eq!(ask(10_250), Err(Over(1500)));
        assert_eq!(ask(10_500), Ok(1000));
        assert_eq!(two.delay(1000), 500);
        // A clock of another processor may be behind.
        assert_eq!(ask(10_400), Err(Over(2000)));
        assert_eq!(ask(11_000), Ok(1000));
        assert_eq!(ask(20_000), Ok(0));
    }

    #[test]
    fn delays_are_cut_to_milliseconds() {
        let slow = rate(16, 5000, 1000);
        assert_eq!([0, 1000, 1001, 2000].map(|excess| slow.delay(excess)), [0, 0, 62, 62_500]);
        assert_eq!(rate(1, 0, u64::MAX).delay(5000), 0);
    }

    #[test]
    fn idle_keys_are_forgotten_two_at_a_time() {
        let (zone, one) = (zone(), rate(1000, 0, 0));
        let mut records = zone.lock().unwrap();
        for number in 0..5_u8 {
            one.count(&mut records, zone.key(&[number]), 1000 + u64::from(number)).unwrap();
        }
        assert!(!one.count(&mut records, zone.key(b"x"), 60_999).unwrap().evicted);
        assert_eq!(records.used(), 6);
        one.count(&mut records, zone.key(b"y"), 61_004).unwrap();
        assert_eq!(records.used(), 5);
    }

    #[test]
    fn a_full_zone_forgets_the_oldest() {
        let (zone, one) = (zone(), rate(1, 9000, 0));
        let mut records = zone.lock().unwrap();
        let key = |number: usize| zone.key(&number.to_be_bytes());
        for number in 0..zone.capacity() {
            let counted = one.count(&mut records, key(number), 5).unwrap();
            assert!(!counted.evicted);
        }
        // The first is used again: now the second is the oldest.
        assert_eq!(one.count(&mut records, key(0), 5).unwrap().excess, 1000);
        assert!(one.count(&mut records, zone.key(b"more"), 5).unwrap().evicted);
        assert_eq!(records.evicted(), 1);
        assert_eq!(one.look(&mut records, key(0), 5), Ok(2000));
        assert_eq!(one.look(&mut records, key(1), 5), Ok(0));
        assert_eq!(one.look(&mut records, key(2), 5), Ok(1000));
    }

    /// nginx's lines, with its types.
    fn plain(
        known: &mut BTreeMap<u8, (u64, u64)>,
        how: Rate,
        key: u8,
        now: u64,
    ) -> Result<u64, u64> {
        let Some((last, before)) = known.get_mut(&key) else {
            known.insert(key, (now, 0));
            return Ok(0);
        };
        let mut ms = now.wrapping_sub(*last).cast_signed();
        if ms < -60000 {
            ms = 1;
        } else if ms < 0 {
            ms = 0;
        }
        let gone = how.each_second.wrapping_mul(ms.cast_unsigned()) / 1000;
        let mut excess = before.wrapping_sub(gone).wrapping_add(1000).cast_signed();
        if excess < 0 {
            excess = 0;
        }
        if excess.cast_unsigned() > how.burst {
            return Err(excess.cast_unsigned());
        }
        *before = excess.cast_unsigned();
        if ms != 0 {
            *last = now;
        }
        Ok(excess.cast_unsigned())
    }

    proptest! {
        #[test]
        fn it_counts_as_nginx_does(
            per_second in 1..5_000_000_u64,
            burst in 0..20_u64,
            steps in proptest::collection::vec((0..4_u8, -70_000..90_000_i64), 1..200),
        ) {
            let (zone, how) = (zone(), rate(per_second, burst * 1000, 0));
            let (mut known, mut now) = (BTreeMap::new(), 1_000_000_000_u64);
            // All keys are there from the start: what is forgotten with a new one is another matter.
            for (key, step) in (0..4).map(|key| (key, 0)).chain(steps) {
                // Mostly small steps, now and then a clock that was set.
                let step = if step % 7 == 0 { step } else { step % 50 };
                now = now.saturating_add_signed(step);
                let mut records = zone.lock().unwrap();
                let hash = zone.key(&[key]);
                let looked = how.look(&mut records, hash, now).map_err(|over| over.0);
                let found = how.count(&mut records, hash, now);
                let found = found.map(|counted| counted.excess).map_err(|over| over.0);
                prop_assert_eq!(found, plain(&mut known, how, key, now));
                prop_assert_eq!(found, looked);
            }
        }
    }
}
