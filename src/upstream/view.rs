//! Owns what can be told of a group's servers to people.
//! Must not change anything, nor be asked on a request's way.

use std::fmt;
use std::rc::Rc;

use tokio::time::Instant;

use super::Group;
use super::peer::{Peer, PeerRef, Seconds};

/// What a peer is called, for as long as somebody wants to know.
#[derive(Clone)]
pub struct PeerName(Rc<Peer>);

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// How this worker finds a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// The parameter of `server`, and the address that it stands for; that is empty as long as
    /// the name has none.
    pub server: String,
    pub address: String,
    pub backup: bool,
    /// `up`, `down` (by configuration), `failing` (`max_fails` reached, for `fail_timeout`), `full`
    /// (`max_conns` reached), `unresolved`, or what health checks have against it: `unhealthy`, and
    /// `checking` as long as they know nothing.
    pub state: &'static str,
    /// All workers have the same counts of it, because they share them.
    pub shared: bool,
    /// Requests it is being asked.
    pub active: u32,
    /// Failures that count at the moment.
    pub fails: u32,
}

impl PeerRef {
    /// Its name, without holding it as a request does.
    pub fn lasting_name(&self) -> PeerName {
        PeerName(Rc::clone(&self.peer))
    }
}

impl Group {
    /// All servers, in the order of the configuration.
    pub fn peers(&self, now: Instant) -> Vec<PeerView> {
        let (found, seconds) = (self.found.borrow(), self.seconds(now));
        let single = self.ranks.borrow().primary.single;
        let mut views = Vec::new();
        for (server, peers) in self.spec.servers.iter().zip(found.iter()) {
            if peers.is_empty() {
                let (server, backup) = (server.name.clone(), server.backup);
                let address = String::new();
                views.push(PeerView {
                    server,
                    address,
                    backup,
                    state: "unresolved",
                    shared: false,
                    active: 0,
                    fails: 0,
                });
            }
            views.extend(peers.iter().map(|peer| PeerView {
                server: server.name.clone(),
                address: peer.name().to_owned(),
                backup: server.backup,
                state: state(peer, single, seconds),
                shared: peer.state.is_shared(),
                active: peer.conns(),
                fails: peer.fails(),
            }));
        }
        views
    }
}

/// A group's only server is asked whatever its failures.
fn state(peer: &Peer, single: bool, now: Seconds) -> &'static str {
    if peer.down() {
        "down"
    } else if let Some(complaint) = peer.complaint() {
        complaint
    } else if !single && peer.failing(now) {
        "failing"
    } else if peer.full() {
        "full"
    } else {
        "up"
    }
}
