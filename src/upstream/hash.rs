//! Owns the `hash` methods: a key decides the peer, plainly (as Cache::Memcached does) or
//! consistently (ketama, as Cache::Memcached::Fast does).
//! Must not fall back by itself; it says `None` and round robin follows.

use crc32fast::Hasher;

use super::balance::Tried;
use super::peer::{Peer, Peers, Seconds};

/// Rehashes allowed in one request before round robin takes over.
const MAX_MISSES: u32 = 20;

/// Points on the ring for each unit of weight.
const POINTS: i64 = 160;

/// The key of one request and how far its search has come.
#[derive(Default)]
pub(super) struct State {
    pub(super) key: Vec<u8>,
    hash: u32,
    rehash: u32,
    misses: u32,
    /// The place on the ring, once it has been looked for.
    place: Option<usize>,
}

impl State {
    /// Index of the peer that the key belongs to, or `None` if round robin must decide.
    pub(super) fn plain(&mut self, peers: &Peers, tried: &Tried, now: Seconds) -> Option<usize> {
        if peers.list.len() < 2 || self.key.is_empty() {
            return None;
        }
        while self.misses <= MAX_MISSES {
            let mut hasher = Hasher::new();
            if self.rehash > 0 {
                hasher.update(self.rehash.to_string().as_bytes());
            }
            hasher.update(&self.key);
            self.hash = self.hash.wrapping_add(hasher.finalize() >> 16 & 0x7fff);
            self.rehash += 1;
            let index = peers.at_weight(i64::from(self.hash).checked_rem(peers.total_weight)?)?;
            if !tried.has(index) && peers.list.get(index)?.usable(now) {
                return Some(index);
            }
            self.misses += 1;
        }
        None
    }

    /// The same with a ring, on which a server that goes takes only its own keys along.
    pub(super) fn consistent(
        &mut self,
        peers: &Peers,
        tried: &Tried,
        now: Seconds,
    ) -> Option<usize> {
        if peers.single || self.key.is_empty() {
            return None;
        }
        let ring = peers.ring.get_or_init(|| ring(peers));
        let mut place = *self.place.get_or_insert_with(|| {
            let hash = crc32fast::hash(&self.key);
            ring.partition_point(|(point, _)| *point < hash)
        });
        while self.misses <= MAX_MISSES {
            let (_, server) = ring.get(place.checked_rem(ring.len())?)?;
            let of_server =
                |peer: &Peer| peers.list.get(*server).is_some_and(|s| s.same_server(peer));
            if let Some(index) = richest(peers, tried, now, of_server) {
                self.place = Some(place);
                return Some(index);
            }
            place += 1;
            self.misses += 1;
        }
        None
    }
}

/// Round robin among the usable peers of one server.
fn richest(
    peers: &Peers,
    tried: &Tried,
    now: Seconds,
    suits: impl Fn(&Peer) -> bool,
) -> Option<usize> {
    let mut best: Option<(usize, i64)> = None;
    let mut total = 0;
    for (index, peer) in peers.list.iter().enumerate() {
        if tried.has(index) || !peer.usable(now) || !suits(peer) {
            continue;
        }
        total += peer.gain(now);
        if best.is_none_or(|(_, weight)| peer.current_weight() > weight) {
            best = Some((index, peer.current_weight()));
        }
    }
    let (index, _) = best?;
    peers.list.get(index)?.pay(total);
    Some(index)
}

/// Points of all servers in order, each with the index of a peer of its server.
fn ring(peers: &Peers) -> Vec<(u32, usize)> {
    let mut points = Vec::new();
    for (index, peer) in peers.list.iter().enumerate() {
        let (host, port) = host_and_port(peer.server());
        let mut base = Hasher::new();
        base.update(host.as_bytes());
        base.update(b"\0");
        base.update(port.as_bytes());
        let mut before = 0_u32;
        for _ in 0..peer.weight() * POINTS {
            let mut hasher = base.clone();
            hasher.update(&before.to_le_bytes());
            before = hasher.finalize();
            points.push((before, index));
        }
    }
    points.sort_by_key(|(point, _)| *point);
    points.dedup_by_key(|(point, _)| *point);
    points
}

/// The port is what follows the last colon, if that is a number.
fn host_and_port(server: &str) -> (&str, &str) {
    let unix = server.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("unix:"));
    if unix {
        return (server.get(5..).unwrap_or_default(), "");
    }
    match server.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (server, ""),
    }
}
