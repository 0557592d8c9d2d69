//! Owns the records of a zone: found by their keys, and in the order of their use. All memory that
//! they may take is there from the start; nothing is ever moved.
//!
//! Must not know what a record's values mean, nor who else looks at the zone.

use super::journal::{self, Held};

// What there is once in a zone, after the journal.
/// Records that have ever been used: those after them are untouched memory.
const FRESH: usize = journal::WORDS;
/// The first of those that were used and are free.
const FREE: usize = FRESH + 1;
/// Newest and oldest.
const ENDS: usize = FRESH + 2;
const USED: usize = FRESH + 3;
const EVICTED: usize = FRESH + 4;
/// For the hash of keys, so that nobody outside can choose keys that meet.
const SEEDS: usize = FRESH + 5;
/// Of the zone's name and what its keys are made of.
const LABEL: usize = FRESH + 7;
const HEAD: usize = FRESH + 9;

// A record.
const KEY: usize = 0;
/// The next one of the same bucket, or the next free one; and a tag.
const NEXT: usize = 2;
/// The next newer and the next older one.
const AGE: usize = 3;
const VALUES: usize = 4;

/// A key's hash, which stands for it: 128 bits with a secret are never the same for two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub(super) u64, pub(super) u64);

/// A record's number. 0 is kept for none, so that zeroed memory is a zone without records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(u32);

impl At {
    /// The record in the nth place of the zone's memory.
    pub(super) fn nth(nth: usize) -> Option<At> {
        u32::try_from(nth + 1).ok().map(At)
    }
}

/// Where things are in a zone of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Records there is room for; there are as many buckets.
    pub records: usize,
    /// Words of a record.
    record: usize,
    first: usize,
}

impl Shape {
    /// As many records with `values` words each as so many words can hold.
    pub fn new(words: usize, values: usize) -> Shape {
        let record = VALUES + values;
        // Half a word for the bucket.
        let records = words.saturating_sub(HEAD + 1) * 2 / (2 * record + 1);
        let records = records.min(u32::MAX as usize - 1);
        Shape { records, record, first: HEAD + records.div_ceil(2) }
    }

    fn word(&self, at: At) -> usize {
        self.first + (at.0 as usize - 1) * self.record
    }

    /// Where a value of a record is.
    pub fn value(&self, at: At, nth: usize) -> usize {
        self.word(at) + VALUES + nth
    }
}

/// The records of a zone while its lock is held here. What every function does is one step: done
/// whole or not at all.
#[derive(Debug)]
pub struct Records<'a> {
    held: Held<'a>,
    shape: Shape,
}

impl<'a> Records<'a> {
    pub(super) fn new(held: Held<'a>, shape: Shape) -> Self {
        Self { held, shape }
    }

    /// The record of a key.
    pub fn find(&self, key: Key) -> Option<At> {
        self.all(key).next()
    }

    /// All records of a key, the one inserted last first.
    pub fn all(&self, key: Key) -> impl Iterator<Item = At> {
        let same = move |at: &At| self.key(*at) == key;
        std::iter::successors(self.bucket(key), |at| self.next(*at)).filter(same)
    }

    /// A new record, which is the newest. `None`: there is no room.
    pub fn insert(&mut self, key: Key, tag: u32, values: &[u64]) -> Option<At> {
        self.held.begin();
        let at = self.take_free()?;
        let word = self.shape.word(at);
        self.held.set(word + KEY, key.0);
        self.held.set(word + KEY + 1, key.1);
        let next = self.bucket(key);
        self.held.set(word + NEXT, pair(tag, number(next)));
        self.set_bucket(key, Some(at));
        for (to, value) in (word + VALUES..word + self.shape.record).zip(values) {
            self.held.set(to, *value);
        }
        self.make_newest(at);
        self.held.set(USED, self.held.get(USED) + 1);
        Some(at)
    }

    /// Makes a record the newest.
    pub fn touch(&mut self, at: At) {
        if self.newest() != Some(at) {
            self.held.begin();
            self.leave_age(at);
            self.make_newest(at);
        }
    }

    /// Gives a record's place back.
    pub fn remove(&mut self, at: At) {
        self.change_and_remove(&[], at);
    }

    /// Changes single values, and gives a record's place back.
    pub(super) fn change_and_remove(&mut self, changes: &[(At, usize, u64)], at: At) {
        self.change(changes);
        self.leave_bucket(at);
        self.leave_age(at);
        let word = self.shape.word(at) + NEXT;
        self.held.set(word, self.held.get(FREE));
        self.held.set(FREE, at.0.into());
        self.held.set(USED, self.held.get(USED).saturating_sub(1));
    }

    /// Counts one that was removed for want of room.
    pub fn count_evicted(&mut self) {
        self.held.begin();
        self.held.set(EVICTED, self.held.get(EVICTED) + 1);
    }

    /// What a record says.
    pub fn value(&self, at: At, nth: usize) -> u64 {
        self.held.get(self.shape.value(at, nth))
    }

    /// Changes single values of records.
    pub(super) fn change(&mut self, changes: &[(At, usize, u64)]) {
        self.held.begin();
        for (at, nth, value) in changes {
            self.held.set(self.shape.value(*at, *nth), *value);
        }
    }

    /// Changes all of it.
    pub fn set_values(&mut self, at: At, values: &[u64]) {
        self.held.begin();
        let word = self.shape.word(at);
        for (to, value) in (word + VALUES..word + self.shape.record).zip(values) {
            self.held.set(to, *value);
        }
    }

    pub fn tag(&self, at: At) -> u32 {
        halves(self.held.get(self.shape.word(at) + NEXT)).0
    }

    pub fn set_tag(&mut self, at: At, tag: u32) {
        self.held.begin();
        let word = self.shape.word(at) + NEXT;
        self.held.set(word, pair(tag, halves(self.held.get(word)).1));
    }

    /// The one that was used last.
    pub fn newest(&self) -> Option<At> {
        at(halves(self.held.get(ENDS)).0)
    }

    /// The one that was not used for longest.
    pub fn oldest(&self) -> Option<At> {
        at(halves(self.held.get(ENDS)).1)
    }

    /// The next one that was used later.
    pub fn newer(&self, than: At) -> Option<At> {
        self.age(than).0
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.used() >= self.shape.records as u64
    }

    /// Records in use.
    pub fn used(&self) -> u64 {
        self.held.get(USED)
    }

    /// Records removed for want of room since the zone was made.
    pub fn evicted(&self) -> u64 {
        self.held.get(EVICTED)
    }

    /// Places that a record has ever been in: those after them hold nothing.
    pub(super) fn touched(&self) -> usize {
        usize::try_from(self.held.get(FRESH)).unwrap_or_default().min(self.shape.records)
    }

    pub(super) fn seeds(&self) -> (u64, u64) {
        (self.held.get(SEEDS), self.held.get(SEEDS + 1))
    }

    pub(super) fn label(&self) -> (u64, u64) {
        (self.held.get(LABEL), self.held.get(LABEL + 1))
    }

    /// Once, before anybody else has the zone.
    pub(super) fn found(&mut self, seeds: (u64, u64), label: (u64, u64)) {
        self.held.begin();
        for (word, value) in (SEEDS..HEAD).zip([seeds.0, seeds.1, label.0, label.1]) {
            self.held.set(word, value);
        }
    }

    pub(super) fn key(&self, at: At) -> Key {
        let word = self.shape.word(at) + KEY;
        Key(self.held.get(word), self.held.get(word + 1))
    }

    fn next(&self, after: At) -> Option<At> {
        at(halves(self.held.get(self.shape.word(after) + NEXT)).1)
    }

    fn set_next(&mut self, at: At, next: Option<At>) {
        let word = self.shape.word(at) + NEXT;
        self.held.set(word, pair(halves(self.held.get(word)).0, number(next)));
    }

    /// Newer and older.
    fn age(&self, of: At) -> (Option<At>, Option<At>) {
        let (newer, older) = halves(self.held.get(self.shape.word(of) + AGE));
        (at(newer), at(older))
    }

    fn set_age(&mut self, at: At, newer: Option<At>, older: Option<At>) {
        self.held.set(self.shape.word(at) + AGE, pair(number(newer), number(older)));
    }

    /// The bucket's word, and how far its half of it is shifted.
    fn place(&self, key: Key) -> (usize, u32) {
        // The upper part of a product spreads the hash evenly over any number of buckets.
        let wide = u128::from(key.0) * self.shape.records as u128;
        let bucket = usize::try_from(wide >> 64).unwrap_or_default();
        (HEAD + bucket / 2, if bucket.is_multiple_of(2) { 0 } else { 32 })
    }

    fn bucket(&self, key: Key) -> Option<At> {
        let (word, shift) = self.place(key);
        at(halves(self.held.get(word) >> shift).1)
    }

    fn set_bucket(&mut self, key: Key, first: Option<At>) {
        let (word, shift) = self.place(key);
        let others = self.held.get(word) & !(u64::from(u32::MAX) << shift);
        self.held.set(word, others | u64::from(number(first)) << shift);
    }

    fn take_free(&mut self) -> Option<At> {
        if let Some(free) = at(halves(self.held.get(FREE)).1) {
            self.held.set(FREE, number(self.next(free)).into());
            return Some(free);
        }
        let fresh = self.held.get(FRESH);
        let next = u32::try_from(fresh + 1).ok().filter(|_| fresh < self.shape.records as u64)?;
        self.held.set(FRESH, next.into());
        Some(At(next))
    }

    fn leave_bucket(&mut self, gone: At) {
        let (key, next) = (self.key(gone), self.next(gone));
        let mut before = None;
        let mut here = self.bucket(key);
        while let Some(at) = here.filter(|at| *at != gone) {
            (before, here) = (here, self.next(at));
        }
        match before {
            Some(before) => self.set_next(before, next),
            None => self.set_bucket(key, next),
        }
    }

    fn leave_age(&mut self, gone: At) {
        let (newer, older) = self.age(gone);
        let (mut newest, mut oldest) = (self.newest(), self.oldest());
        match newer {
            Some(newer) => self.set_age(newer, self.age(newer).0, older),
            None => newest = older,
        }
        match older {
            Some(older) => self.set_age(older, newer, self.age(older).1),
            None => oldest = newer,
        }
        self.held.set(ENDS, pair(number(newest), number(oldest)));
    }

    fn make_newest(&mut self, at: At) {
        let before = self.newest();
        self.set_age(at, None, before);
        match before {
            Some(before) => {
                self.set_age(before, Some(at), self.age(before).1);
                self.held.set(ENDS, pair(at.0, number(self.oldest())));
            }
            None => self.held.set(ENDS, pair(at.0, at.0)),
        }
    }
}

fn at(number: u32) -> Option<At> {
    (number != 0).then_some(At(number))
}

fn number(at: Option<At>) -> u32 {
    at.map_or(0, |at| at.0)
}

fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn halves(word: u64) -> (u32, u32) {
    let low = word & u64::from(u32::MAX);
    // Both fit: 32 bits each.
    (u32::try_from(word >> 32).unwrap_or_default(), u32::try_from(low).unwrap_or_default())
}
