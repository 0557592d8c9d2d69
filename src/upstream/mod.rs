//! Upstream groups of one worker: who gets a request, who is failing, which connections wait.
//!
//! Single-threaded, knows no protocol and no configuration syntax; hands out [`Stream`]s.
//! One request goes: [`Group::selection`], then for each attempt [`Group::select`], [`Pool::take`] or
//! [`connect()`], the exchange, [`Pool::put`] if the connection may live on, [`Group::free`].
//!
//! [`Stream`]: crate::net::Stream

mod balance;
mod connect;
mod hash;
mod ip_hash;
mod least_conn;
mod least_time;
mod peer;
mod pool;
mod random;
mod resolve;
mod round_robin;
mod spec;
#[cfg(test)]
mod tests;
mod view;
mod watch;

pub use balance::{Balance, NoPeer, Selection};
pub use connect::{ConnectError, SocketOptions, Stage, connect};
pub use least_time::LeastTime;
pub use peer::{Outcome, PeerRef};
pub use pool::{Pool, Pooled, Tag};
pub use spec::{GroupSpec, KeepaliveSpec, ServerSpec};
pub use view::{PeerName, PeerView};

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::{Rc, Weak};

use tokio::time::Instant;

use crate::dns::Resolver;
use crate::net::Address;
use peer::{Moment, Peer, Ranks, Seconds};
use resolve::Missing;

/// Any time in seconds later than every `fail_timeout`: see [`Seconds`].
const START: Seconds = 1 << 40;

/// A running upstream group.
pub struct Group {
    spec: GroupSpec,
    /// The peers of each server, in the order of the specification.
    found: RefCell<Vec<Vec<Rc<Peer>>>>,
    ranks: RefCell<Rc<Ranks>>,
    pool: Pool,
    started: Instant,
    missing: Missing,
    resolver: Option<Rc<Resolver>>,
    following: Cell<bool>,
    me: Weak<Group>,
}

impl Group {
    /// Starts with every peer alive and no connection.
    pub fn new(spec: GroupSpec) -> Rc<Self> {
        Self::after(spec, None, None)
    }

    /// The same; servers whose names `resolver` is asked for begin with the addresses that the group
    /// before has found.
    pub fn after(
        spec: GroupSpec,
        before: Option<&Group>,
        resolver: Option<Rc<Resolver>>,
    ) -> Rc<Self> {
        let found: Vec<_> = spec
            .servers
            .iter()
            .map(|server| {
                if server.resolve { resolve::taken_over(server, before) } else { peers_of(server) }
            })
            .collect();
        let unresolved = spec
            .servers
            .iter()
            .any(|s| s.addresses.is_empty() && s.host_port.is_some() && !s.resolve);
        Rc::new_cyclic(|me| Self {
            ranks: RefCell::new(Rc::new(Ranks::new(&found))),
            found: RefCell::new(found),
            pool: Pool::new(spec.keepalive),
            started: Instant::now(),
            missing: Missing::new(unresolved),
            resolver,
            following: Cell::new(false),
            me: me.clone(),
            spec,
        })
    }

    /// What it was made from; a reload that asks for the same may keep this group.
    pub fn spec(&self) -> &GroupSpec {
        &self.spec
    }

    /// The name; also `$upstream_addr` when no peer could be chosen.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its idle connections.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Begins the search of one request. `client` is its address after `realip`, `None` for unix sockets.
    pub fn selection(&self, client: Option<IpAddr>) -> Selection {
        Selection::new(Rc::clone(&self.ranks.borrow()), client)
    }

    /// The next peer for this request: an untried one, or the group's only one.
    ///
    /// Must run in a `LocalSet` if a server has no address yet: a task then asks for it.
    pub fn select(&self, selection: &mut Selection, now: Instant) -> Result<PeerRef, NoPeer> {
        self.resolve_later(now);
        selection.select(self.spec.balance, self.moment(now))
    }

    /// Gives a peer back. True when this failure takes it out:
    /// log `upstream server temporarily disabled` at `warn`.
    pub fn free(&self, mut peer: PeerRef, outcome: Outcome, now: Instant) -> bool {
        if outcome != Outcome::Ok {
            peer.disregard();
        }
        let disabled = outcome == Outcome::Failed && peer.fail(self.seconds(now));
        drop(peer);
        disabled
    }

    /// nginx compares whole seconds, and so must we to fail and recover on the same request.
    fn seconds(&self, now: Instant) -> Seconds {
        START + now.saturating_duration_since(self.started).as_secs()
    }

    fn moment(&self, now: Instant) -> Moment {
        let millis = now.saturating_duration_since(self.started).as_millis();
        Moment { seconds: self.seconds(now), millis: u64::try_from(millis).unwrap_or(u64::MAX) }
    }

    /// Requests under way keep the peers they began with.
    fn set_addresses(&self, server: usize, addresses: Vec<Address>) {
        let mut found = self.found.borrow_mut();
        let (Some(peers), Some(spec)) = (found.get_mut(server), self.spec.servers.get(server))
        else {
            return;
        };
        *peers = addresses.into_iter().map(|address| Rc::new(Peer::new(spec, address))).collect();
        self.ranks.replace(Rc::new(Ranks::new(&found)));
    }

    /// The peers of a server from now on. One that was there before goes on with what it knows.
    fn set_peers(&self, server: usize, new: Vec<Peer>) {
        let mut found = self.found.borrow_mut();
        let Some(peers) = found.get_mut(server) else { return };
        let known = |new: &Peer| peers.iter().find(|old| old.same(new)).cloned();
        *peers = new.into_iter().map(|new| known(&new).unwrap_or_else(|| Rc::new(new))).collect();
        self.ranks.replace(Rc::new(Ranks::new(&found)));
    }
}

fn peers_of(server: &ServerSpec) -> Vec<Rc<Peer>> {
    server.addresses.iter().map(|address| Rc::new(Peer::new(server, address.clone()))).collect()
}
