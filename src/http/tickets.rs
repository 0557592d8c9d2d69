//! Owns the keys of session tickets in a worker: taken from a zone that all workers share, where the
//! first one that needs a new key puts it.
//!
//! Must not seal or open anything; `tls` does.

use crate::tls::Server;
use crate::tls::tickets::{Key, Name, Ring, random};
use crate::zone::Keyed;
use crate::zone::keyed::{self, Kind, Spec};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// Room for far more keys than are kept.
const SIZE: u64 = 8 * 4096;

/// The zone that the keys are kept in; its key cannot be that of a zone in a configuration.
pub fn zone() -> Spec {
    Spec { kind: Kind::Tickets, name: b"ssl_session_tickets".to_vec(), size: SIZE, key: Vec::new() }
}

/// The keys, as this worker has them.
#[derive(Debug, Default)]
pub struct TicketKeys {
    pub ring: Arc<Ring>,
    zone: Option<Rc<Keyed>>,
    /// Seconds that a key is sealed with; it opens as long again.
    turn: u32,
    /// When the next one is wanted.
    due: Cell<u32>,
}

impl TicketKeys {
    /// For these servers, whose sessions may be resumed as long as they say.
    pub fn new(servers: &[Server], zone: Option<Rc<Keyed>>) -> Self {
        let longest = servers.iter().map(|server| server.lifetime.as_secs()).max();
        let turn = u32::try_from(longest.unwrap_or_default()).unwrap_or(u32::MAX / 4);
        Self { zone, turn: turn.max(1), ..Self::default() }
    }

    /// Makes sure that the keys are those of the present; called before each handshake.
    pub fn refresh(&self) {
        // Since the machine was started, for all processes.
        let now = u32::try_from(keyed::now() / 1000).unwrap_or(u32::MAX);
        if now < self.due.get() {
            return;
        }
        let keys = self.keys(now).unwrap_or_default();
        let newest = keys.first().map_or(now, |(began, _)| *began);
        self.due.set(newest.saturating_add(self.turn));
        let named: Vec<_> = keys.into_iter().map(|(began, key)| (name(began), key)).collect();
        self.ring.set(&named);
    }

    /// The keys that are still of use, by the time they were made, the newest first. Without a zone, or
    /// if it is stuck, nobody else has them.
    fn keys(&self, now: u32) -> Option<Vec<(u32, Key)>> {
        let fresh = random()?;
        let records = self.zone.as_ref().and_then(|zone| Some((zone, zone.lock()?)));
        let Some((zone, mut records)) = records else { return Some(vec![(now, fresh)]) };
        let place = zone.key(b"");
        let age = |tag: u32| now.saturating_sub(tag);
        // What was sealed with older keys cannot be opened any more, by anybody.
        while let Some(oldest) = records.oldest() {
            if age(records.tag(oldest)) < self.turn.saturating_mul(2) {
                break;
            }
            records.remove(oldest);
        }
        if records.find(place).is_none_or(|newest| age(records.tag(newest)) >= self.turn) {
            records.insert(place, now, &words(&fresh));
        }
        let read = |at| (records.tag(at), key(std::array::from_fn(|nth| records.value(at, nth))));
        Some(records.all(place).map(read).collect())
    }
}

fn name(began: u32) -> Name {
    u128::from(began).to_be_bytes()
}

fn words(key: &Key) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(key.as_chunks::<8>().0) {
        *word = u64::from_be_bytes(*bytes);
    }
    words
}

fn key(words: [u64; 4]) -> Key {
    let mut key = Key::default();
    for (word, bytes) in words.iter().zip(key.as_chunks_mut::<8>().0) {
        *bytes = word.to_be_bytes();
    }
    key
}
