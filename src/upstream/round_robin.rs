//! Owns smooth weighted round robin: each round every usable peer gains its weight, the richest
//! wins and pays the total. Must not look at connections or clients.

use super::balance::Tried;
use super::peer::{Peer, Peers, Seconds};
use super::state::SCALE;

/// Index of the winner, or `None` when no untried peer is usable. `own` wins whatever it has, as the
/// peer that the session belongs to, and pays as far as one round of the others goes.
pub(super) fn choose(
    peers: &Peers,
    tried: &Tried,
    now: Seconds,
    own: Option<usize>,
) -> Option<usize> {
    if let Some(peer) = own.and_then(|index| peers.list.get(index))
        && peer.current_weight() <= (peer.weight() - peers.total_weight) * SCALE
    {
        return own;
    }
    let mut best = None;
    let mut total = 0;
    for (index, peer) in peers.list.iter().enumerate() {
        if tried.has(index) || !peer.usable(now) {
            continue;
        }
        total += peer.gain(now);
        let richest = best.map(|(_, weight)| weight);
        if richest.is_none_or(|weight| peer.current_weight() > weight) {
            best = Some((index, peer.current_weight()));
        }
    }
    let index = own.or(best.map(|(index, _)| index))?;
    peers.list.get(index)?.pay(total);
    Some(index)
}

/// One round among peers that another method finds equally good: index of the winner. `first` is the
/// first of them, which wins when nobody is richer.
pub(super) fn among<'a>(
    first: (usize, &'a Peer),
    equals: impl Iterator<Item = (usize, &'a Peer)>,
    now: Seconds,
) -> usize {
    let (mut winner, mut total) = (first, 0);
    for (index, peer) in equals {
        total += peer.gain(now);
        if peer.current_weight() > winner.1.current_weight() {
            winner = (index, peer);
        }
    }
    winner.1.pay(total);
    winner.0
}
