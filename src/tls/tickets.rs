//! Tickets that resume sessions: sealed with keys that the workers of all generations share, so that
//! it does not matter which of them a client meets next.
//!
//! Must not make keys; whoever owns the zone they are kept in brings them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;

/// A key: 256 bits.
pub type Key = [u8; 32];

/// Of the number that leads a ticket.
const NUMBER: usize = 8;

/// The keys in use, the newest first, each with the number of its time.
#[derive(Default)]
pub struct Ring(Mutex<Vec<(u64, RandomizedNonceKey)>>);

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ring")
    }
}

impl Ring {
    /// Replaces all keys; the first is the one to seal with.
    pub fn set(&self, keys: &[(u64, Key)]) {
        let made = keys.iter().filter_map(|(number, key)| {
            Some((*number, RandomizedNonceKey::new(&AES_256_GCM, key).ok()?))
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = made.collect();
    }

    fn seal(&self, plain: &[u8], context: &[u8; 32]) -> Option<Vec<u8>> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, key) = keys.first()?;
        let number = number.to_be_bytes();
        let mut sealed = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(aad(number, context), &mut sealed).ok()?;
        Some([&number[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, ticket: &[u8], context: &[u8; 32]) -> Option<Vec<u8>> {
        let (number, rest) = ticket.split_first_chunk::<NUMBER>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = u64::from_be_bytes(*number);
        let (_, key) = keys.iter().find(|(number, _)| *number == wanted)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut sealed = sealed.to_vec();
        let plain = key.open_in_place(nonce, aad(*number, context), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

/// What a ticket is sealed for: it opens with the key of this number, for servers of this context.
fn aad(number: [u8; NUMBER], context: &[u8; 32]) -> Aad<[u8; NUMBER + 32]> {
    let mut bytes = [0; NUMBER + 32];
    let (first, rest) = bytes.split_at_mut(NUMBER);
    first.copy_from_slice(&number);
    rest.copy_from_slice(context);
    Aad::from(bytes)
}

/// One server's tickets.
#[derive(Debug)]
pub struct Tickets {
    ring: Arc<Ring>,
    lifetime: u32,
    context: [u8; 32],
}

impl Tickets {
    /// Good for so long, with the keys of a ring, at servers of the same context.
    pub fn new(ring: &Arc<Ring>, lifetime: Duration, context: [u8; 32]) -> Arc<Tickets> {
        let lifetime = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        Arc::new(Tickets { ring: Arc::clone(ring), lifetime, context })
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.ring.seal(plain, &self.context)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.ring.open(ticket, &self.context)
    }
}

/// A new key; `None` where there is no randomness.
pub fn random() -> Option<Key> {
    let mut key = Key::default();
    super::PROVIDER.secure_random.fill(&mut key).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: [u8; 32] = [1; 32];

    fn ring(keys: &[(u64, u8)]) -> Ring {
        let ring = Ring::default();
        let keys: Vec<_> = keys.iter().map(|(number, byte)| (*number, [*byte; 32])).collect();
        ring.set(&keys);
        ring
    }

    #[test]
    fn what_one_has_sealed_another_opens() {
        let (one, two) = (ring(&[(5, 1)]), ring(&[(6, 2), (5, 1)]));
        let ticket = one.seal(b"session", &HERE).unwrap();
        assert_eq!(two.open(&ticket, &HERE).unwrap(), b"session");
        assert_eq!(one.open(&two.seal(b"session", &HERE).unwrap(), &HERE), None, "of a later time");
        assert_eq!(ring(&[(5, 9)]).open(&ticket, &HERE), None, "another key");
        assert_eq!(two.open(&ticket, &[2; 32]), None, "for another server");
        assert_eq!(ring(&[]).seal(b"session", &HERE), None);
        assert_ne!(one.seal(b"session", &HERE).unwrap(), ticket, "no two are alike");
    }

    proptest! {
        #[test]
        fn nothing_else_is_opened(bytes: Vec<u8>, at in 0..100_usize, flip in 1..=255_u8) {
            let ring = ring(&[(5, 1)]);
            prop_assert_eq!(ring.open(&bytes, &HERE), None);
            let mut ticket = ring.seal(b"session", &HERE).unwrap();
            let at = at % ticket.len();
            ticket[at] ^= flip;
            prop_assert_eq!(ring.open(&ticket, &HERE), None);
        }
    }
}
