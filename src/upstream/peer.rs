//! Owns one peer (an address of a `server`) and its failure and connection accounting.
//! Must not choose between peers nor open connections.

use std::cell::Cell;
use std::rc::Rc;

use crate::net::Address;

use super::spec::ServerSpec;

/// Whole seconds of a clock that never goes back and starts far from zero,
/// so that zero can mean "never".
pub(super) type Seconds = u64;

/// One address requests can be sent to, with what this worker knows about it.
pub(super) struct Peer {
    pub(super) address: Address,
    name: String,
    server: String,
    weight: i64,
    max_fails: u32,
    fail_timeout: Seconds,
    max_conns: u32,
    down: bool,
    current_weight: Cell<i64>,
    effective_weight: Cell<i64>,
    conns: Cell<u32>,
    fails: Cell<u32>,
    /// Last failure.
    accessed: Cell<Seconds>,
    /// Last failure, or start of the trial that followed it.
    checked: Cell<Seconds>,
}

impl Peer {
    pub(super) fn new(server: &ServerSpec, address: Address) -> Self {
        let weight = i64::from(server.weight.max(1));
        Self {
            name: address.to_string(),
            address,
            server: server.name.clone(),
            weight,
            max_fails: server.max_fails,
            fail_timeout: server.fail_timeout.as_secs(),
            max_conns: server.max_conns,
            down: server.down,
            current_weight: Cell::new(0),
            effective_weight: Cell::new(weight),
            conns: Cell::new(0),
            fails: Cell::new(0),
            accessed: Cell::new(0),
            checked: Cell::new(0),
        }
    }

    pub(super) fn down(&self) -> bool {
        self.down
    }

    pub(super) fn weight(&self) -> i64 {
        self.weight
    }

    pub(super) fn current_weight(&self) -> i64 {
        self.current_weight.get()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn fails(&self) -> u32 {
        self.fails.get()
    }

    pub(super) fn conns(&self) -> u32 {
        self.conns.get()
    }

    /// Whether `max_conns` is reached.
    pub(super) fn full(&self) -> bool {
        self.max_conns != 0 && self.conns.get() >= self.max_conns
    }

    /// Whether `max_fails` failures have taken it out until `fail_timeout` passes.
    pub(super) fn failing(&self, now: Seconds) -> bool {
        self.max_fails != 0
            && self.fails.get() >= self.max_fails
            && now.saturating_sub(self.checked.get()) <= self.fail_timeout
    }

    /// Whether one of several peers may get a request now.
    pub(super) fn usable(&self, now: Seconds) -> bool {
        !self.down && !self.failing(now) && !self.full()
    }

    /// Takes part in one round: gains its effective weight, returned, which
    /// itself recovers by one towards the configured weight.
    pub(super) fn gain(&self) -> i64 {
        let gained = self.effective_weight.get();
        self.current_weight.set(self.current_weight.get() + gained);
        if gained < self.weight {
            self.effective_weight.set(gained + 1);
        }
        gained
    }

    /// Pays for winning a round with the sum of what all peers gained.
    pub(super) fn pay(&self, total: i64) {
        self.current_weight.set(self.current_weight.get() - total);
    }

    /// Starts a trial if the last failure or trial is long enough ago.
    pub(super) fn check(&self, now: Seconds) {
        if now.saturating_sub(self.checked.get()) > self.fail_timeout {
            self.checked.set(now);
        }
    }

    /// Counts a failure; true when the peer is out from now on.
    fn fail(&self, now: Seconds) -> bool {
        self.fails.set(self.fails.get().saturating_add(1));
        self.accessed.set(now);
        self.checked.set(now);
        if self.max_fails == 0 {
            return false;
        }
        let lowered = self.effective_weight.get() - self.weight / i64::from(self.max_fails);
        self.effective_weight.set(lowered.max(0));
        self.fails.get() >= self.max_fails
    }

    fn release(&self, single: bool) {
        // Failures are forgotten only by a trial begun after the last of them,
        // so that successes in between do not hide a peer that fails now and then.
        if single || self.accessed.get() < self.checked.get() {
            self.fails.set(0);
        }
        self.conns.set(self.conns.get().saturating_sub(1));
    }
}

/// A peer chosen for one request; counts as one of its connections while held.
///
/// Dropping it is the same as [`Group::free`](super::Group::free) without a failure, so a request that
/// is cancelled leaves nothing behind.
pub struct PeerRef {
    pub(super) peer: Rc<Peer>,
    single: bool,
}

impl PeerRef {
    pub(super) fn new(peer: Rc<Peer>, single: bool) -> Self {
        peer.conns.set(peer.conns.get().saturating_add(1));
        Self { peer, single }
    }

    /// Where to connect.
    pub fn address(&self) -> &Address {
        &self.peer.address
    }

    /// The address as `$upstream_addr` and the error log show it.
    pub fn name(&self) -> &str {
        &self.peer.name
    }

    /// The `server` parameter as written.
    pub fn server(&self) -> &str {
        &self.peer.server
    }

    /// Counts a failure; a group's only peer is never taken out and keeps no count.
    pub(super) fn fail(&self, now: Seconds) -> bool {
        !self.single && self.peer.fail(now)
    }
}

impl Drop for PeerRef {
    fn drop(&mut self) {
        self.peer.release(self.single);
    }
}

/// How the request ended for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Ok,
    /// Error, timeout, or an answer that `proxy_next_upstream` counts as unsuccessful.
    Failed,
    /// 403 or 404 passed to the next server: never held against the peer.
    NextWithoutFault,
}

/// Peers of one rank: the primary servers, or the backup ones.
#[derive(Default)]
pub(super) struct Peers {
    pub(super) list: Vec<Rc<Peer>>,
    /// The only peer of the group: always used, whatever its failures.
    pub(super) single: bool,
    pub(super) total_weight: i64,
    /// How many may be tried: those not `down`.
    pub(super) tries: u32,
}

impl Peers {
    fn new(list: Vec<Rc<Peer>>) -> Self {
        let tries = list.iter().filter(|peer| !peer.down).count();
        Self {
            single: false,
            total_weight: list.iter().map(|peer| peer.weight).sum(),
            tries: u32::try_from(tries).unwrap_or(u32::MAX),
            list,
        }
    }
}

/// Both ranks as one request sees them; replaced whole when a name resolves.
pub(super) struct Ranks {
    pub(super) primary: Peers,
    pub(super) backup: Peers,
}

impl Ranks {
    /// `found` holds the peers of each server, in the order of `servers`.
    pub(super) fn new(servers: &[ServerSpec], found: &[Vec<Rc<Peer>>]) -> Self {
        let rank = |backup| {
            let of_rank = servers.iter().zip(found).filter(|(server, _)| server.backup == backup);
            Peers::new(of_rank.flat_map(|(_, peers)| peers.iter().cloned()).collect())
        };
        let mut ranks = Self { primary: rank(false), backup: rank(true) };
        ranks.primary.single = ranks.primary.list.len() == 1 && ranks.backup.list.is_empty();
        ranks
    }
}
