//! Owns the choice of a peer for one request: the method, what was tried, backup servers.
//! Must not do failure accounting beyond starting a trial; that is `peer`.

use std::net::IpAddr;
use std::rc::Rc;

use super::least_time::{self, LeastTime};
use super::peer::{Moment, PeerRef, Peers, Ranks, Seconds};
use super::{hash, ip_hash, least_conn, random, round_robin};

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
    /// `hash key`, by [`Selection::key`].
    Hash,
    /// `hash key consistent`.
    ConsistentHash,
    /// `random`.
    Random,
    /// `random two least_conn`.
    RandomTwo,
    /// `least_time`.
    LeastTime(LeastTime),
}

impl Balance {
    /// Whether a server may begin with a part of its weight.
    pub fn can_start_slowly(self) -> bool {
        self.has_backup()
    }

    /// Whether there may be backup servers.
    pub fn has_backup(self) -> bool {
        matches!(self, Self::RoundRobin | Self::LeastConn | Self::LeastTime(_))
    }
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
    ip_hash: ip_hash::State,
    hash: hash::State,
    random: random::State,
    /// The session that the request belongs to.
    session: Vec<u8>,
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
            ip_hash: ip_hash::State::new(client),
            hash: hash::State::default(),
            random: random::State::default(),
            session: Vec::new(),
        }
    }

    /// What `hash` goes by.
    pub fn key(&mut self, key: Vec<u8>) {
        self.hash.key = key;
    }

    /// The peer with this id goes before all others while it may be used (`sticky`).
    pub fn prefer(&mut self, id: Vec<u8>) {
        self.session = id;
    }

    /// Applies `proxy_next_upstream_tries`; 0 is no limit.
    pub fn limit_tries(&mut self, limit: u32) {
        if limit != 0 {
            self.tries = self.tries.min(limit);
        }
    }

    pub(super) fn select(&mut self, balance: Balance, now: Moment) -> Result<PeerRef, NoPeer> {
        loop {
            if let Some(chosen) = self.select_in_rank(balance, now) {
                return Ok(chosen);
            }
            if self.on_backup || self.ranks.backup.list.is_empty() {
                return Err(self.reason(now.seconds));
            }
            self.on_backup = true;
            self.tried = Tried::default();
        }
    }

    fn select_in_rank(&mut self, balance: Balance, now: Moment) -> Option<PeerRef> {
        let ranks = Rc::clone(&self.ranks);
        let peers = if self.on_backup { &ranks.backup } else { &ranks.primary };
        let seconds = now.seconds;
        let mut own = match &self.session[..] {
            [] => None,
            id => peers.by_id(id, &self.tried, seconds),
        };
        if peers.single {
            return self.only_peer(peers, own.is_some());
        }
        loop {
            let index = self.choose(balance, peers, own, now)?;
            let peer = peers.list.get(index)?;
            let Some(mut chosen) = PeerRef::new(Rc::clone(peer), false) else {
                // Another worker was faster. Who is tied to this server would be sent there for ever.
                own = None;
                continue;
            };
            peer.check(seconds);
            self.tried.add(index);
            self.tries = self.tries.saturating_sub(1);
            if let Balance::LeastTime(how) = balance {
                chosen.watch(how, now.millis);
            }
            return Some(chosen);
        }
    }

    fn choose(
        &mut self,
        balance: Balance,
        peers: &Peers,
        own: Option<usize>,
        now: Moment,
    ) -> Option<usize> {
        let (tried, seconds) = (&self.tried, now.seconds);
        let round_robin = || round_robin::choose(peers, tried, seconds, own);
        if balance == Balance::RoundRobin {
            return round_robin();
        }
        if own.is_some() {
            return own;
        }
        let found = match balance {
            Balance::RoundRobin => None,
            Balance::LeastConn => return least_conn::choose(peers, tried, seconds),
            Balance::LeastTime(how) => return least_time::choose(how, peers, tried, now),
            Balance::IpHash => self.ip_hash.choose(peers, tried, seconds),
            Balance::Hash => self.hash.plain(peers, tried, seconds),
            Balance::ConsistentHash => self.hash.consistent(peers, tried, seconds),
            Balance::Random => self.random.choose(false, peers, tried, seconds),
            Balance::RandomTwo => self.random.choose(true, peers, tried, seconds),
        };
        found.or_else(round_robin)
    }

    /// There is nobody else to ask, so failures do not count and one attempt is all.
    fn only_peer(&mut self, peers: &Peers, own: bool) -> Option<PeerRef> {
        let peer = peers.list.first()?;
        if !peer.is_well() || (peer.down() && !own) {
            return None;
        }
        self.tries = 0;
        PeerRef::new(Rc::clone(peer), true)
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
