//! Upstream groups of one worker: who gets a request, who is failing, which connections wait.
//!
//! Single-threaded, knows no protocol and no configuration syntax; hands out [`Stream`]s.
//! One request goes: [`Group::selection`], then for each attempt [`Group::select`], [`Pool::take`] or
//! [`connect()`], the exchange, [`Pool::put`] if the connection may live on, [`Group::free`].
//!
//! [`Stream`]: crate::net::Stream

mod balance;
mod checked;
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
mod state;
#[cfg(test)]
mod tests;
mod view;
mod watch;

pub use balance::{Balance, NoPeer, Selection};
pub use checked::{Checked, Thresholds};
pub use connect::{ConnectError, SocketOptions, Stage, connect};
pub use least_time::LeastTime;
pub use peer::{Outcome, PeerRef};
pub use pool::{Pool, Pooled, Tag};
pub use spec::{GroupSpec, KeepaliveSpec, ServerSpec};
pub use state::MOST_CHECKS;
pub use view::{PeerName, PeerView};

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::{Rc, Weak};

use tokio::time::Instant;

use crate::dns::Resolver;
use crate::net::Address;
use crate::zone::{Keyed, keyed};
use peer::{Moment, Peer, Ranks, Seconds};
use resolve::Missing;
use state::{Checks, Sharing};

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
    /// What the clock of all workers said then, in milliseconds; 0 where nothing is shared.
    base: u64,
    sharing: Option<Sharing>,
    missing: Missing,
    resolver: Option<Rc<Resolver>>,
    following: Cell<bool>,
    me: Weak<Group>,
}

impl Group {
    /// Starts with every peer alive and no connection.
    pub fn new(spec: GroupSpec) -> Rc<Self> {
        Self::after(spec, None, None, None)
    }

    /// The same; servers whose names `resolver` is asked for begin with the addresses that the group
    /// before has found. What is known of peers in `zone` goes on.
    pub fn after(
        spec: GroupSpec,
        before: Option<&Group>,
        resolver: Option<Rc<Resolver>>,
        zone: Option<Rc<Keyed>>,
    ) -> Rc<Self> {
        let checks = Checks::new(&spec.checks);
        let sharing = zone.map(|zone| Sharing { zone, group: spec.name.clone(), checks });
        let peers = |server: &ServerSpec| {
            if server.resolve { resolve::taken_over(server, before) } else { peers_of(server) }
        };
        let mut found: Vec<Vec<Rc<Peer>>> = Vec::new();
        for server in &spec.servers {
            let mut list = Vec::new();
            for peer in peers(server) {
                list.push(joined(&found, &list, peer, sharing.as_ref()));
            }
            found.push(list);
        }
        let unresolved = spec
            .servers
            .iter()
            .any(|s| s.addresses.is_empty() && s.host_port.is_some() && !s.resolve);
        Rc::new_cyclic(|me| Self {
            ranks: RefCell::new(Rc::new(Ranks::new(&found))),
            found: RefCell::new(found),
            pool: Pool::new(spec.keepalive),
            started: Instant::now(),
            base: if sharing.is_some() { keyed::now() } else { 0 },
            sharing,
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
        self.moment(now).seconds
    }

    fn moment(&self, now: Instant) -> Moment {
        let passed = now.saturating_duration_since(self.started).as_millis();
        let millis = u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(self.base);
        Moment { seconds: START.saturating_add(millis / 1000), millis }
    }

    /// Requests under way keep the peers they began with.
    fn set_addresses(&self, server: usize, addresses: Vec<Address>) {
        let Some(spec) = self.spec.servers.get(server) else { return };
        self.replace(
            server,
            addresses.into_iter().map(|address| Peer::new(spec, address)).collect(),
        );
    }

    /// The peers of a server from now on. One that was there before goes on with what it knows.
    fn set_peers(&self, server: usize, new: Vec<Peer>) {
        self.replace(server, new);
    }

    fn replace(&self, server: usize, new: Vec<Peer>) {
        let mut found = self.found.borrow_mut();
        let Some(peers) = found.get_mut(server) else { return };
        let before = std::mem::take(peers);
        let mut peers = Vec::new();
        for new in new {
            let known = before.iter().find(|old| old.same(&new)).cloned();
            let peer = known.unwrap_or_else(|| joined(&found, &peers, new, self.sharing.as_ref()));
            peers.push(peer);
        }
        if let Some(place) = found.get_mut(server) {
            *place = peers;
        }
        self.ranks.replace(Rc::new(Ranks::new(&found)));
    }
}

fn peers_of(server: &ServerSpec) -> Vec<Peer> {
    server.addresses.iter().map(|address| Peer::new(server, address.clone())).collect()
}

/// A peer with the state that all workers share, where they do; `found` and `list` are those before it.
fn joined(
    found: &[Vec<Rc<Peer>>],
    list: &[Rc<Peer>],
    peer: Peer,
    sharing: Option<&Sharing>,
) -> Rc<Peer> {
    let Some(sharing) = sharing else { return Rc::new(peer) };
    let alike = found.iter().flatten().chain(list).filter(|other| other.same(&peer)).count();
    Rc::new(peer.shared(sharing, alike))
}
