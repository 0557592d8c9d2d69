//! Upstream groups of one worker: who gets a request, who is failing, which connections wait.
//!
//! Single-threaded, knows no protocol and no configuration syntax; hands out [`Stream`]s.
//! One request goes: [`Group::selection`], then for each attempt [`Group::select`], [`Pool::take`] or
//! [`connect()`], the exchange, [`Pool::put`] if the connection may live on, [`Group::free`].
//!
//! [`Stream`]: crate::net::Stream

mod balance;
mod connect;
mod ip_hash;
mod least_conn;
mod peer;
mod pool;
mod resolve;
mod round_robin;
mod spec;
#[cfg(test)]
mod tests;
mod view;
mod watch;

pub use balance::{Balance, NoPeer, Selection};
pub use connect::{ConnectError, SocketOptions, Stage, connect};
pub use peer::{Outcome, PeerRef};
pub use pool::{Pool, Pooled, Tag};
pub use spec::{GroupSpec, KeepaliveSpec, ServerSpec};
pub use view::{PeerName, PeerView};

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::{Rc, Weak};

use tokio::time::Instant;

use crate::net::Address;
use peer::{Peer, Ranks, Seconds};
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
    me: Weak<Group>,
}

impl Group {
    /// Starts with every peer alive and no connection.
    pub fn new(spec: GroupSpec) -> Rc<Self> {
        let found: Vec<_> = spec.servers.iter().map(peers_of).collect();
        let unresolved =
            spec.servers.iter().any(|s| s.addresses.is_empty() && s.host_port.is_some());
        Rc::new_cyclic(|me| Self {
            ranks: RefCell::new(Rc::new(Ranks::new(&spec.servers, &found))),
            found: RefCell::new(found),
            pool: Pool::new(spec.keepalive),
            started: Instant::now(),
            missing: Missing::new(unresolved),
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
        selection.select(self.spec.balance, self.seconds(now))
    }

    /// Gives a peer back. True when this failure takes it out:
    /// log `upstream server temporarily disabled` at `warn`.
    pub fn free(&self, peer: PeerRef, outcome: Outcome, now: Instant) -> bool {
        let disabled = outcome == Outcome::Failed && peer.fail(self.seconds(now));
        drop(peer);
        disabled
    }

    /// nginx compares whole seconds, and so must we to fail and recover on the same request.
    fn seconds(&self, now: Instant) -> Seconds {
        START + now.saturating_duration_since(self.started).as_secs()
    }

    /// Requests under way keep the peers they began with.
    fn set_addresses(&self, server: usize, addresses: Vec<Address>) {
        let mut found = self.found.borrow_mut();
        let (Some(peers), Some(spec)) = (found.get_mut(server), self.spec.servers.get(server))
        else {
            return;
        };
        *peers = addresses.into_iter().map(|address| Rc::new(Peer::new(spec, address))).collect();
        self.ranks.replace(Rc::new(Ranks::new(&self.spec.servers, &found)));
    }
}

fn peers_of(server: &ServerSpec) -> Vec<Rc<Peer>> {
    server.addresses.iter().map(|address| Rc::new(Peer::new(server, address.clone()))).collect()
}
