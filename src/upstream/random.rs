//! Owns the `random` methods: any peer by weight, or the less loaded of two.
//! Must not fall back by itself; it says `None` and round robin follows.

use std::hash::{BuildHasher, RandomState};

use super::balance::Tried;
use super::peer::{Peers, Seconds};

/// Throws allowed in one request before round robin takes over.
const MAX_MISSES: u32 = 20;

/// How often one request has thrown in vain.
#[derive(Default)]
pub(super) struct State {
    misses: u32,
}

impl State {
    /// Index of one usable peer, or of the one of `two` with fewer connections for its weight.
    pub(super) fn choose(
        &mut self,
        two: bool,
        peers: &Peers,
        tried: &Tried,
        now: Seconds,
    ) -> Option<usize> {
        if peers.list.len() < 2 {
            return None;
        }
        let mut first = None;
        while self.misses <= MAX_MISSES {
            let index = throw(peers)?;
            let usable = !tried.has(index) && peers.list.get(index)?.usable(now);
            match first {
                _ if !usable => {}
                None if !two => return Some(index),
                None => {
                    first = Some(index);
                    continue;
                }
                Some(other) if other != index => {
                    let (new, old) = (peers.list.get(index)?, peers.list.get(other)?);
                    let left = i64::from(new.conns()).saturating_mul(old.weight());
                    let right = i64::from(old.conns()).saturating_mul(new.weight());
                    return Some(if left > right { other } else { index });
                }
                Some(_) => {}
            }
            self.misses += 1;
        }
        None
    }
}

/// Any index, each as likely as its weight.
fn throw(peers: &Peers) -> Option<usize> {
    // A fresh state hashes differently each time.
    let random = RandomState::new().hash_one(0_u8) >> 1;
    peers.at_weight(i64::try_from(random).ok()?.checked_rem(peers.total_weight)?)
}
