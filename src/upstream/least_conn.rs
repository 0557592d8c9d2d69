//! Owns the `least_conn` method: fewest connections for its weight, ties by round robin.
//! Must not keep state of its own.

use std::cmp::Ordering;

use super::balance::Tried;
use super::peer::{Peer, Peers, Seconds};
use super::round_robin;

/// Index of the peer with the least load, or `None` when no untried peer is usable.
pub(super) fn choose(peers: &Peers, tried: &Tried, now: Seconds) -> Option<usize> {
    let usable = |&(index, peer): &(usize, &Peer)| !tried.has(index) && peer.usable(now);
    let all = || peers.list.iter().map(AsRef::as_ref).enumerate();

    let mut best: Option<(usize, &Peer)> = None;
    let mut tie = false;
    for (index, peer) in all().filter(usable) {
        match best.map_or(Ordering::Less, |(_, least)| by_load(peer, least, now)) {
            Ordering::Less => {
                best = Some((index, peer));
                tie = false;
            }
            Ordering::Equal => tie = true,
            Ordering::Greater => {}
        }
    }

    let (first, least) = best?;
    if !tie {
        return Some(first);
    }
    let equal = |&(_, peer): &(usize, &Peer)| by_load(peer, least, now) == Ordering::Equal;
    Some(round_robin::among((first, least), all().skip(first).filter(usable).filter(equal), now))
}

/// Compares connections per weight without dividing.
fn by_load(a: &Peer, b: &Peer, now: Seconds) -> Ordering {
    let left = i64::from(a.conns()).saturating_mul(b.weight_now(now));
    let right = i64::from(b.conns()).saturating_mul(a.weight_now(now));
    left.cmp(&right)
}
