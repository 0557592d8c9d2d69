//! Owns the `ip_hash` method: the client's network decides the peer.
//! Must not fall back by itself; it says `None` and round robin follows.

use std::net::IpAddr;

use super::balance::Tried;
use super::peer::{Peers, Seconds};

/// Rehashes allowed in one request before round robin takes over.
const MAX_MISSES: u32 = 20;

/// The hash of one request; it goes on from where the last attempt left it.
pub(super) struct State {
    client: Option<IpAddr>,
    hash: i64,
    misses: u32,
}

impl State {
    /// `client` is `None` for a connection without an address (a unix socket).
    pub(super) fn new(client: Option<IpAddr>) -> Self {
        Self { client, hash: 89, misses: 0 }
    }

    /// Index of the peer this client belongs to, or `None` if round robin must decide.
    pub(super) fn choose(&mut self, peers: &Peers, tried: &Tried, now: Seconds) -> Option<usize> {
        if peers.list.len() < 2 {
            return None;
        }
        let mut hash = self.hash;
        while self.misses <= MAX_MISSES {
            hash = next(hash, self.client);
            let index = peers.at_weight(hash.checked_rem(peers.total_weight)?)?;
            if !tried.has(index) && peers.list.get(index)?.usable(now) {
                self.hash = hash;
                return Some(index);
            }
            self.misses += 1;
        }
        None
    }
}

fn next(hash: i64, client: Option<IpAddr>) -> i64 {
    let mix = |hash: i64, byte: &u8| (hash * 113 + i64::from(*byte)) % 6271;
    match client {
        // Clients of one /24 go together: mobile ones change the last byte.
        Some(IpAddr::V4(ip)) => ip.octets().iter().take(3).fold(hash, mix),
        Some(IpAddr::V6(ip)) => ip.octets().iter().fold(hash, mix),
        None => [0; 3].iter().fold(hash, mix),
    }
}
