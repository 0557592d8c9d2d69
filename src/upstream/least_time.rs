//! Owns the `least_time` method: the least time that a peer is expected to need, ties by round robin,
//! and the averages that this is judged by.
//! Must not measure; whoever holds a peer says how long it took.

use std::cell::Cell;
use std::cmp::Ordering;

use super::balance::Tried;
use super::peer::{Moment, Peer, Peers, Seconds};
use super::round_robin;

/// Slower peers are equally slow, in milliseconds.
const SLOW: u64 = 5000;

/// Times closer than this are the same, in milliseconds.
const CLUSTER: u64 = 20;

/// Which time counts, and whether requests under way do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeastTime {
    /// Of the whole answer, not of its head.
    pub last_byte: bool,
    /// `inflight`.
    pub inflight: bool,
}

/// What is known of a peer's times, in milliseconds.
#[derive(Default)]
pub(super) struct Times {
    header: Cell<u64>,
    response: Cell<u64>,
    /// Requests under way, their time together so far, when that was summed up, and its average.
    requests: Cell<u64>,
    together: Cell<u64>,
    summed: Cell<u64>,
    inflight: Cell<u64>,
}

impl Times {
    /// A request begins.
    pub(super) fn begin(&self, now: u64) {
        let passed = now.saturating_sub(self.summed.get()) * self.requests.get();
        self.together.set(self.together.get() + passed);
        self.summed.set(now);
        self.requests.set(self.requests.get() + 1);
    }

    /// A request that has taken `took` is over.
    pub(super) fn end(&self, now: u64, took: u64) {
        let requests = self.requests.get();
        if requests <= 1 {
            self.together.set(0);
        } else {
            let passed = now.saturating_sub(self.summed.get()) * requests;
            self.together.set((self.together.get() + passed).saturating_sub(took));
            self.summed.set(now);
        }
        self.requests.set(requests.saturating_sub(1));
    }

    pub(super) fn head_came(&self, took: u64) {
        average(&self.header, took);
    }

    pub(super) fn answered(&self, took: u64) {
        average(&self.response, took);
    }

    /// How long the requests under way have been so, on average over a while.
    fn look(&self, now: u64) {
        if let Some(mean) = self.together.get().checked_div(self.requests.get()) {
            average(&self.inflight, mean + now.saturating_sub(self.summed.get()));
        }
    }
}

/// The newest value counts a twentieth.
fn average(cell: &Cell<u64>, value: u64) {
    let old = cell.get();
    cell.set(if old == 0 { value } else { (value * 5 + old * 95 + 50) / 100 });
}

/// Index of the peer with the least expected time, or `None` when no untried peer is usable.
pub(super) fn choose(how: LeastTime, peers: &Peers, tried: &Tried, now: Moment) -> Option<usize> {
    let usable = |&(index, peer): &(usize, &Peer)| !tried.has(index) && peer.usable(now.seconds);
    let all = || peers.list.iter().map(AsRef::as_ref).enumerate();
    let mut best: Option<(usize, &Peer, u64)> = None;
    let mut tie = false;
    for (index, peer) in all().filter(usable) {
        peer.times.look(now.millis);
        let time = expected(how, peer, now);
        let order = best.map_or(Ordering::Less, |(_, least, least_time)| {
            by_time((peer, time), (least, least_time), now.seconds)
        });
        match order {
            Ordering::Less => {
                best = Some((index, peer, time));
                tie = false;
            }
            Ordering::Equal => tie = true,
            Ordering::Greater => {}
        }
    }
    let (first, least, time) = best?;
    if !tie {
        return Some(first);
    }
    let equal = |&(_, peer): &(usize, &Peer)| {
        by_time((peer, expected(how, peer, now)), (least, time), now.seconds) == Ordering::Equal
    };
    Some(round_robin::among(
        (first, least),
        all().skip(first).filter(usable).filter(equal),
        now.seconds,
    ))
}

/// Compares times per weight without dividing.
fn by_time(a: (&Peer, u64), b: (&Peer, u64), now: Seconds) -> Ordering {
    let weight = |peer: &Peer| u64::try_from(peer.weight_now(now)).unwrap_or(1);
    a.1.saturating_mul(weight(b.0)).cmp(&b.1.saturating_mul(weight(a.0)))
}

/// Time to finish what is under way and one request more, in milliseconds.
fn expected(how: LeastTime, peer: &Peer, now: Moment) -> u64 {
    let times = &peer.times;
    let mut time = if how.last_byte { times.response.get() } else { times.header.get() };
    // Once in fail_timeout a slow peer gets another chance.
    time = time.checked_shr(peer.timeouts_since_check(now.seconds)).unwrap_or(0);
    if times.requests.get() > 0 {
        time = time.max(times.inflight.get());
    }
    time = if time > SLOW { SLOW } else { time + CLUSTER - time % CLUSTER };
    time * (1 + u64::from(peer.conns()))
}
