//! Owns the addresses of server names: those of `resolve` are followed while the group lives, those
//! that had none when the configuration was read get a second chance.
//! Must not touch other names: those stay as they are until a reload, as in nginx.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::Address;

use super::Group;
use super::peer::Peer;
use super::spec::ServerSpec;
use crate::dns::{Failure, Resolver, ServiceAddress};

/// Between two rounds of asking for the same names.
const PAUSE: Duration = Duration::from_secs(5);

/// Whether names are missing and when to ask for them.
#[derive(Default)]
pub(super) struct Missing {
    any: Cell<bool>,
    running: Cell<bool>,
    asked: Cell<Option<Instant>>,
}

impl Missing {
    pub(super) fn new(any: bool) -> Self {
        Self { any: Cell::new(any), ..Self::default() }
    }

    #[cfg(test)]
    pub(super) fn running(&self) -> bool {
        self.running.get()
    }

    pub(super) fn due(&self, now: Instant) -> bool {
        let rested = |asked| now.saturating_duration_since(asked) >= PAUSE;
        self.any.get() && !self.running.get() && self.asked.get().is_none_or(rested)
    }
}

impl Group {
    /// Asks the system's resolver for the names without addresses, in a local task, unless that was done
    /// in the last few seconds. A request that calls it does not wait.
    pub(super) fn resolve_later(&self, now: Instant) {
        if !self.missing.due(now) {
            return;
        }
        self.missing.running.set(true);
        self.missing.asked.set(Some(now));
        let group = self.me.clone();
        let names = self.missing_names();
        tokio::task::spawn_local(async move {
            let mut found = Vec::new();
            for (server, name) in names {
                found.push((server, look_up(&name).await));
            }
            if let Some(group) = group.upgrade() {
                group.adopt(found);
            }
        });
    }

    fn missing_names(&self) -> Vec<(usize, (String, u16))> {
        let found = self.found.borrow();
        let servers = self.spec.servers.iter().zip(found.iter()).enumerate();
        let missing = servers.filter(|(_, (server, peers))| peers.is_empty() && !server.resolve);
        missing
            .filter_map(|(index, (server, _))| Some((index, server.host_port.clone()?)))
            .collect()
    }

    fn adopt(self: &Rc<Self>, answers: Vec<(usize, Vec<Address>)>) {
        for (server, addresses) in answers {
            self.set_addresses(server, addresses);
        }
        self.missing.any.set(!self.missing_names().is_empty());
        self.missing.running.set(false);
    }
}

/// No answer is no addresses: the requests that need them say so.
async fn look_up((host, port): &(String, u16)) -> Vec<Address> {
    let mut addresses: Vec<Address> = Vec::new();
    if let Ok(answer) = tokio::net::lookup_host((host.as_str(), *port)).await {
        for address in answer.map(Address::Inet) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    addresses
}

/// What a server with `resolve` begins with: what the group before has found for the same name.
pub(super) fn taken_over(server: &ServerSpec, before: Option<&Group>) -> Vec<Peer> {
    let host = |server: &ServerSpec| server.host_port.clone().map(|(host, _)| host);
    let same = |other: &&ServerSpec| {
        other.resolve && host(other) == host(server) && other.service == server.service
    };
    let Some(before) = before else { return Vec::new() };
    let Some(at) = before.spec.servers.iter().position(|other| same(&other)) else {
        return Vec::new();
    };
    let found = before.found.borrow();
    let peers = found.get(at).into_iter().flatten();
    peers.map(|peer| peer.again(server)).collect()
}

impl Group {
    /// Begins to follow the names of servers with `resolve`. Must run in a `LocalSet`.
    pub fn start(&self) {
        let Some(resolver) = self.resolver.as_ref().filter(|_| !self.following.replace(true))
        else {
            return;
        };
        for (at, _) in self.spec.servers.iter().enumerate().filter(|(_, server)| server.resolve) {
            let (group, resolver) = (self.me.clone(), resolver.clone());
            tokio::task::spawn_local(async move { follow(group, at, &resolver).await });
        }
    }
}

/// Asks for the addresses of a server again and again, until the group is gone.
async fn follow(group: Weak<Group>, at: usize, resolver: &Resolver) {
    loop {
        let Some((server, limit)) = group.upgrade().and_then(|group| {
            let (_, limit) = group.spec.resolver.as_ref()?;
            Some((group.spec.servers.get(at)?.clone(), *limit))
        }) else {
            return;
        };
        let answer = look(&server, limit, resolver).await;
        let Some(group) = group.upgrade() else { return };
        let pause = match answer {
            Ok((peers, valid)) => {
                let has_backup = group.spec.balance.has_backup();
                group.set_peers(
                    at,
                    peers.into_iter().filter(|peer| has_backup || !peer.backup).collect(),
                );
                // A whole second later, as nginx: only then the old answer is out of date.
                valid + Duration::from_secs(1)
            }
            Err(failure) => {
                complain(&server, failure);
                if failure == Failure::NOT_FOUND {
                    group.set_peers(at, Vec::new());
                    resolver.retry() + Duration::from_secs(1)
                } else {
                    limit.max(Duration::from_secs(1))
                }
            }
        };
        drop(group);
        tokio::time::sleep(pause).await;
    }
}

/// The peers that a server's name stands for now, and for how long.
async fn look(
    server: &ServerSpec,
    limit: Duration,
    resolver: &Resolver,
) -> Result<(Vec<Peer>, Duration), Failure> {
    let Some((host, port)) = &server.host_port else { return Err(Failure::NOT_FOUND) };
    let Some(service) = &server.service else {
        let answer = resolver.host(host, limit).await?;
        let peer = |ip| Peer::new(server, Address::Inet((ip, *port).into()));
        return Ok((answer.found.into_iter().map(peer).collect(), answer.valid));
    };
    let answer = resolver.service(service, host, limit).await?;
    let first = answer.found.iter().map(|one| one.priority).min();
    let backup = |one: &ServiceAddress| Some(one.priority) != first;
    // Those of a backup server have no further ones behind them.
    let kept = answer.found.iter().filter(|one| !(server.backup && backup(one)));
    let peers = kept.map(|one| Peer::of_service(server, one, server.backup || backup(one)));
    Ok((peers.collect(), answer.valid))
}

fn complain(server: &ServerSpec, failure: Failure) {
    let host = server.host_port.as_ref().map_or("", |(host, _)| host.as_str());
    if let Some(service) = &server.service {
        tracing::error!("service {service} of {host} could not be resolved ({failure})");
    } else {
        tracing::error!("{host} could not be resolved ({failure})");
    }
}
