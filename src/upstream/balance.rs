//! Owns the choice of a peer for one request: the method, what was tried, backup servers.
//! Must not do failure accounting beyond starting a trial; that is `peer`.

use std::net::IpAddr;
use std::rc::Rc;

use super::peer::{PeerRef, Peers, Ranks, Seconds};
use super::{ip_hash, least_conn, round_robin};

/// The load balancing method; the algorithms are in files of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Smooth weighted round robin, the default.
    #[default]
    RoundRobin,
    /// `least_conn`.
    LeastConn,
    /// `ip_hash`.
    IpHash,
}

/// Why no peer could be chosen. nginx says `no live upstreams` to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPeer {
    /// At least one peer was passed over only because of `max_conns`.
    Busy,
    /// Every peer is down, failing or already tried.
    NoneLive,
    /// No server name of the group has an address yet.
    Unresolved,
}

/// What one request has done so far to find a peer; made by [`Group::selection`](super::Group::selection).
pub struct Selection {
    ranks: Rc<Ranks>,
    on_backup: bool,
    tried: Tried,
    hash: ip_hash::State,
    /// Attempts left. Lower it for `proxy_next_upstream_tries`; raise it by one after an error on a
    /// kept connection, which says nothing about the peer. A request gives up when it is 0.
    pub tries: u32,
}

impl Selection {
    pub(super) fn new(ranks: Rc<Ranks>, client: Option<IpAddr>) -> Self {
        Self {
            tries: ranks.primary.tries.saturating_add(ranks.backup.tries),
            ranks,
            on_backup: false,
            tried: Tried::default(),
            hash: ip_hash::State::new(client),
        }
    }

    /// Applies `proxy_next_upstream_tries`; 0 is no limit.
    pub fn limit_tries(&mut self, limit: u32) {
        if limit != 0 {
            self.tries = self.tries.min(limit);
        }
    }

    pub(super) fn select(&mut self, balance: Balance, now: Seconds) -> Result<PeerRef, NoPeer> {
        loop {
            if let Some(chosen) = self.select_in_rank(balance, now) {
                return Ok(chosen);
            }
            if self.on_backup || self.ranks.backup.list.is_empty() {
                return Err(self.reason(now));
            }
            self.on_backup = true;
            self.tried = Tried::default();
        }
    }

    fn select_in_rank(&mut self, balance: Balance, now: Seconds) -> Option<PeerRef> {
        let ranks = Rc::clone(&self.ranks);
        let peers = if self.on_backup { &ranks.backup } else { &ranks.primary };
        if peers.single {
            return self.only_peer(peers);
        }
        let index = match balance {
            Balance::RoundRobin => round_robin::choose(peers, &self.tried, now),
            Balance::LeastConn => least_conn::choose(peers, &self.tried, now),
            Balance::IpHash => match self.hash.choose(peers, &self.tried, now) {
                None => round_robin::choose(peers, &self.tried, now),
                found => found,
            },
        }?;
        let peer = peers.list.get(index)?;
        peer.check(now);
        self.tried.add(index);
        self.tries = self.tries.saturating_sub(1);
        Some(PeerRef::new(Rc::clone(peer), false))
    }

    /// There is nobody else to ask, so failures do not count and one attempt is all.
    fn only_peer(&mut self, peers: &Peers) -> Option<PeerRef> {
        let peer = peers.list.first()?;
        if peer.down() || peer.full() {
            return None;
        }
        self.tries = 0;
        Some(PeerRef::new(Rc::clone(peer), true))
    }

    fn reason(&self, now: Seconds) -> NoPeer {
        let (primary, backup) = (&self.ranks.primary.list, &self.ranks.backup.list);
        let mut peers = primary.iter().chain(backup);
        if primary.is_empty() && backup.is_empty() {
            NoPeer::Unresolved
        } else if peers.any(|peer| peer.full() && !peer.down() && !peer.failing(now)) {
            NoPeer::Busy
        } else {
            NoPeer::NoneLive
        }
    }
}

/// Set of peer indices; the first 64 need no allocation.
#[derive(Default)]
pub(super) struct Tried {
    first: u64,
    more: Vec<u64>,
}

impl Tried {
    pub(super) fn has(&self, index: usize) -> bool {
        let word = match index / 64 {
            0 => self.first,
            n => self.more.get(n - 1).copied().unwrap_or(0),
        };
        word >> (index % 64) & 1 == 1
    }

    pub(super) fn add(&mut self, index: usize) {
        let bit = 1 << (index % 64);
        let Some(place) = (index / 64).checked_sub(1) else {
            self.first |= bit;
            return;
        };
        if self.more.len() <= place {
            self.more.resize(place + 1, 0);
        }
        if let Some(word) = self.more.get_mut(place) {
            *word |= bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Tried;

    proptest! {
        #[test]
        fn tried_is_a_set(indices in proptest::collection::vec(0_usize..300, 0..40)) {
            let mut tried = Tried::default();
            for &index in &indices {
                tried.add(index);
            }
            let model: BTreeSet<usize> = indices.into_iter().collect();
            for index in 0..400 {
                prop_assert_eq!(tried.has(index), model.contains(&index));
            }
        }
    }
}
