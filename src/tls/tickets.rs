//! Tickets that resume sessions: sealed with keys that the workers of all generations share, so that
//! it does not matter which of them a client meets next.
//!
//! Must not make keys; whoever owns the zone they are kept in brings them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;
use sha2::{Digest as _, Sha256};

use super::notes::{Notes, Origin};

/// A key: 256 bits.
pub type Key = [u8; 32];

/// What a key is called, which leads a ticket.
pub type Name = [u8; NAME];

const NAME: usize = 16;

/// No ticket may live longer (RFC 8446, section 4.6.1).
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// The keys in use, the newest first, each with its name.
#[derive(Default)]
pub struct Ring(Mutex<Vec<(Name, RandomizedNonceKey)>>);

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ring")
    }
}

impl Ring {
    /// Replaces all keys; the first is the one to seal with.
    pub fn set(&self, keys: &[(Name, Key)]) {
        let made = keys.iter().filter_map(|(name, key)| {
            Some((*name, RandomizedNonceKey::new(&AES_256_GCM, key).ok()?))
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = made.collect();
    }

    fn seal(&self, plain: &[u8], context: &[u8; 32]) -> Option<Vec<u8>> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, key) = keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(aad(name, context), &mut sealed).ok()?;
        Some([&name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, ticket: &[u8], context: &[u8; 32]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, key) = keys.iter().find(|(known, _)| known == name)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut sealed = sealed.to_vec();
        let plain = key.open_in_place(nonce, aad(name, context), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

/// What a ticket is sealed for: it opens with the key of this name, for servers of this context.
fn aad(name: &Name, context: &[u8; 32]) -> Aad<[u8; NAME + 32]> {
    let mut bytes = [0; NAME + 32];
    let (first, rest) = bytes.split_at_mut(NAME);
    first.copy_from_slice(name);
    rest.copy_from_slice(context);
    Aad::from(bytes)
}

/// A key out of a file as OpenSSL has them (`ssl_session_ticket_key`): a name of 16 bytes and the keys of
/// two algorithms, 48 or 80 bytes in all. `None` for any other length.
pub fn from_file(bytes: &[u8]) -> Option<(Name, Key)> {
    let (name, _) = bytes.split_first_chunk()?;
    // Our one algorithm has a key that stands on both of theirs.
    [48, 80].contains(&bytes.len()).then(|| (*name, Sha256::digest(bytes).into()))
}

/// One server's tickets. Each begins with where its session comes from, which goes on with those that
/// follow it.
#[derive(Debug)]
pub struct Tickets {
    ring: Arc<Ring>,
    lifetime: u32,
    context: [u8; 32],
}

impl Tickets {
    /// Good for so long, with the keys of a ring, at servers of the same context.
    pub fn new(ring: &Arc<Ring>, lifetime: Duration, context: [u8; 32]) -> Arc<Tickets> {
        let lifetime = u32::try_from(lifetime.min(LONGEST).as_secs()).unwrap_or_default();
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
        let session = Notes::present().session.or_else(|| begin(now()))?;
        Notes::note(|notes| notes.session = Some(session));
        let plain = [&session.number, &session.began.to_be_bytes()[..], plain].concat();
        self.ring.seal(&plain, &self.context)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let plain = self.ring.open(ticket, &self.context)?;
        let (number, rest) = plain.split_first_chunk()?;
        let (began, rest) = rest.split_first_chunk()?;
        let session = Origin { number: *number, began: u64::from_be_bytes(*began) };
        // However often it has been resumed: its secrets are those of the beginning.
        if now().saturating_sub(session.began) > self.lifetime.into() {
            return None;
        }
        Notes::note(|notes| notes.session = Some(session));
        Some(rest.to_vec())
    }
}

fn begin(began: u64) -> Option<Origin> {
    Some(Origin { number: random()?, began })
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
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
        let keys: Vec<_> = keys
            .iter()
            .map(|(number, byte)| (u128::from(*number).to_be_bytes(), [*byte; 32]))
            .collect();
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

    #[test]
    fn keys_may_come_from_files() {
        let (name, key) = from_file(&[b'1'; 48]).unwrap();
        assert_eq!(name, [b'1'; 16]);
        assert_ne!(from_file(&[b'1'; 80]).unwrap().1, key);
        assert!([0, 16, 47, 49, 81].iter().all(|size| from_file(&vec![0; *size]).is_none()));
    }

    #[test]
    fn a_session_keeps_its_number_and_ends_in_time() {
        let tickets = Tickets::new(&Arc::new(ring(&[(5, 1)])), Duration::from_mins(5), HERE);
        let (mut first, mut second) = (Notes::default(), Notes::default());
        let ticket = first.of(|| tickets.encrypt(b"session")).unwrap();
        assert_eq!(second.of(|| tickets.decrypt(&ticket)).unwrap(), b"session");
        assert!(first.session.is_some() && first.session == second.session);
        let next = second.of(|| tickets.encrypt(b"more")).unwrap();
        let mut third = Notes::default();
        assert_eq!(third.of(|| tickets.decrypt(&next)).unwrap(), b"more");
        assert_eq!(first.session, third.session);
        let old = begin(now() - 301);
        let ticket = Notes { session: old, ..third }.of(|| tickets.encrypt(b"late")).unwrap();
        assert_eq!(tickets.decrypt(&ticket), None);
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
