//! What the master wants to know of a worker beyond what is in shared memory: what exactly is under
//! way, and how the servers behind do.
//!
//! Must not be on a request's way.

use std::time::Instant;

use crate::http::roster::{Entry, Roster};
use crate::http::service::Service;
use crate::ipc::{Account, Found, Sum, UnderWay};
use crate::zone::gates::Class;
use crate::zone::{Gates, Switch};

/// So many requests are listed; of the others the sums tell.
const LISTED: usize = 200;

/// What there is to tell.
pub fn of(service: &Service) -> Account {
    let live = service.live();
    let (gates, now) = (live.gate.gates(), tokio::time::Instant::now());
    let mut servers = Vec::new();
    for group in &live.groups {
        servers.extend(group.peers(now).into_iter().map(|peer| Found {
            upstream: group.name().to_owned(),
            server: peer.server,
            address: peer.address,
            backup: peer.backup,
            shared: peer.shared,
            state: peer.state.to_owned(),
            active: peer.active,
            fails: peer.fails,
        }));
    }
    let roster = &live.gate.roster;
    Account { under_way: oldest(roster, &gates), sums: sums(roster, &gates), servers }
}

fn oldest(roster: &Roster, gates: &Gates) -> Vec<UnderWay> {
    let mut ages = Vec::new();
    roster.each(|entry| ages.push(entry.began));
    ages.sort_unstable();
    let last = ages.get(LISTED - 1).copied();
    let mut all = Vec::new();
    roster.each(|entry| {
        if last.is_none_or(|last| entry.began <= last) {
            all.push((entry.began, under_way(entry, gates)));
        }
    });
    all.sort_by_key(|(began, _)| *began);
    all.truncate(LISTED);
    all.into_iter().map(|(_, one)| one).collect()
}

fn under_way(entry: &Entry, gates: &Gates) -> UnderWay {
    let age = Instant::now().saturating_duration_since(entry.began);
    UnderWay {
        switch: gates.name(entry.switch),
        upstream: entry.upstream().to_owned(),
        server: entry.server(),
        class: word(entry.class).to_owned(),
        method: entry.method_name().to_owned(),
        path: entry.path(),
        age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
    }
}

fn word(class: Class) -> &'static str {
    match class {
        Class::Read => "read",
        Class::Write => "write",
        Class::Stream => "stream",
        Class::Bypass => "bypass",
    }
}

fn sums(roster: &Roster, gates: &Gates) -> Vec<Sum> {
    let mut sums: Vec<(Switch, Sum)> = Vec::new();
    roster.each(|entry| {
        let same = |(switch, sum): &(Switch, Sum)| {
            *switch == entry.switch && sum.upstream == entry.upstream()
        };
        let at = sums.iter().position(same).unwrap_or_else(|| {
            let (switch, upstream) = (gates.name(entry.switch), entry.upstream().to_owned());
            sums.push((entry.switch, Sum { switch, upstream, counts: [0; 4] }));
            sums.len() - 1
        });
        sums[at].1.counts[entry.class as usize] += 1;
    });
    sums.into_iter().map(|(_, sum)| sum).collect()
}
