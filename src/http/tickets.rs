//! Owns the keys of session tickets in a worker: taken from a zone that all workers share, where the
//! first one that needs a new key puts it.
//!
//! Must not seal or open anything; `tls` does.

use crate::tls::Server;
use crate::tls::tickets::{Key, Ring, random};
use crate::zone::Keyed;
use crate::zone::keyed::{Kind, Spec};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A key is used for at least that long.
const LEAST: Duration = Duration::from_hours(1);

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
    /// How long a key is sealed with; it opens as long again.
    turn: Duration,
    /// The number of the key that is sealed with; 0 before the first one.
    number: Cell<u64>,
}

impl TicketKeys {
    /// For these servers, whose sessions may be resumed as long as they say.
    pub fn new(servers: &[Server], zone: Option<Rc<Keyed>>) -> Self {
        let longest = servers.iter().map(|server| server.lifetime).max().unwrap_or_default();
        Self { zone, turn: longest.max(LEAST), ..Self::default() }
    }

    /// Makes sure that the keys are those of the present; called before each handshake.
    pub fn refresh(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let number = now.as_secs() / self.turn.as_secs().max(1);
        if number == self.number.get() {
            return;
        }
        self.number.set(number);
        self.ring.set(&self.keys(number).unwrap_or_default());
    }

    /// The present key and the one before. Without a zone, or if it is stuck, nobody else has them.
    fn keys(&self, number: u64) -> Option<Vec<(u64, Key)>> {
        let fresh = random()?;
        let records = self.zone.as_ref().and_then(|zone| Some((zone, zone.lock()?)));
        let Some((zone, mut records)) = records else { return Some(vec![(number, fresh)]) };
        let tag = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        // What was sealed with older keys cannot be opened any more, by anybody.
        while let Some(oldest) = records.oldest() {
            if records.tag(oldest) + 1 >= tag(number) {
                break;
            }
            records.remove(oldest);
        }
        let name = |number: u64| zone.key(&number.to_be_bytes());
        if records.find(name(number)).is_none() {
            records.insert(name(number), tag(number), &words(&fresh));
        }
        let numbers = [number, number.saturating_sub(1)];
        let found = numbers.into_iter().filter_map(|number| {
            let at = records.find(name(number))?;
            Some((number, key(std::array::from_fn(|nth| records.value(at, nth)))))
        });
        Some(found.collect())
    }
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
