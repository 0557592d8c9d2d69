//! Owns the second chance of server names that had no address when the configuration was read.
//! Must not touch names that have one: those stay as they are until a reload, as in nginx.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::net::Address;

use super::Group;

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
        let missing = servers.filter(|(_, (_, peers))| peers.is_empty());
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
