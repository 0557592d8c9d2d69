//! Owns when passwords are computed: aside, few at a time, and once for as long as they are right.
//!
//! Must not know the forms.

use crate::password;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use tokio::sync::Semaphore;

/// How many of a worker's passwords are computed at a time: guessing must not take all processors.
const AT_A_TIME: usize = 2;

/// How many right passwords are known.
const KNOWN: usize = 256;

type Proof = [u8; 32];

/// What a worker knows of passwords.
struct Verifier {
    /// Nobody else has it, so that what is kept gives nothing away.
    key: Hmac<Sha256>,
    /// Pairs of password and stored form that belong together, the oldest first.
    right: RefCell<VecDeque<Proof>>,
    places: Rc<Semaphore>,
}

thread_local! {
    static VERIFIER: Verifier = Verifier::new();
}

impl Verifier {
    fn new() -> Self {
        let random = RandomState::new();
        let halves = [random.hash_one(0), random.hash_one(1)].map(u64::to_le_bytes).concat();
        Self {
            key: Hmac::new_from_slice(&halves).unwrap_or_else(|_| unreachable!("any key will do")),
            right: RefCell::default(),
            places: Rc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// What stands for a pair.
    fn proof(&self, given: &[u8], stored: &[u8]) -> Proof {
        let length = stored.len().to_le_bytes();
        let mac = self.key.clone().chain_update(length).chain_update(stored).chain_update(given);
        mac.finalize().into_bytes().into()
    }

    fn keep(&self, proof: Proof) {
        let mut right = self.right.borrow_mut();
        if right.len() == KNOWN {
            right.pop_front();
        }
        right.push_back(proof);
    }
}

/// Whether a password is the one that is stored in this form.
pub(super) async fn is_right(given: Vec<u8>, stored: Vec<u8>) -> bool {
    if !password::is_slow(&stored) {
        return password::matches(&given, &stored);
    }
    let proof = VERIFIER.with(|verifier| verifier.proof(&given, &stored));
    if VERIFIER.with(|verifier| verifier.right.borrow().contains(&proof)) {
        return true;
    }
    let places = VERIFIER.with(|verifier| verifier.places.clone());
    let Ok(_place) = places.acquire().await else { return false };
    let work = tokio::task::spawn_blocking(move || password::matches(&given, &stored));
    let right = work.await.unwrap_or(false);
    if right {
        VERIFIER.with(|verifier| verifier.keep(proof));
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOO: &str = "$1$salt$nWwtt7njwVig74jTAfjuG/";

    fn known() -> usize {
        VERIFIER.with(|verifier| verifier.right.borrow().len())
    }

    #[tokio::test]
    async fn only_right_passwords_are_kept() {
        let ask = |given: &str, stored: &str| is_right(given.into(), stored.into());
        assert!(ask("x", "{PLAIN}x").await);
        assert!(!ask("fou", FOO).await);
        assert_eq!(known(), 0);
        for _ in 0..2 {
            assert!(ask("foo", FOO).await);
            assert_eq!(known(), 1);
        }
        assert!(!ask("fo", &FOO.replace("salt", "salz")).await);
        assert!(!ask("", FOO).await);
        assert_eq!(known(), 1);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let verifier = Verifier::new();
        for n in 0..=u16::try_from(KNOWN).unwrap() {
            verifier.keep(verifier.proof(&n.to_le_bytes(), b"x"));
        }
        let right = verifier.right.borrow();
        assert_eq!(right.len(), KNOWN);
        assert!(!right.contains(&verifier.proof(&0_u16.to_le_bytes(), b"x")));
        assert!(right.contains(&verifier.proof(&1_u16.to_le_bytes(), b"x")));
    }

    #[test]
    fn pairs_are_told_apart_wherever_they_are_cut() {
        let verifier = Verifier::new();
        assert_ne!(verifier.proof(b"ab", b"c"), verifier.proof(b"b", b"ca"));
        assert_ne!(verifier.proof(b"a", b"b"), Verifier::new().proof(b"a", b"b"));
    }
}
