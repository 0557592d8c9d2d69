//! Owns the course of health checks: when each server is asked, by which worker, through which door, and
//! what the log is told.
//!
//! Must not judge an answer (`modules::proxy::health` does) nor what becomes of a server (`upstream` does).

use super::client::Client;
use super::live::Live;
use super::method::Method;
use super::modules::proxy::health::{self, Check};
use super::passage;
use super::request::{Request, Start, Sub};
use super::snapshot::Snapshot;
use super::subrequest;
use crate::log::Level;
use crate::upstream::{Checked, Group};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

/// How often it is looked whether a duty is free, and which servers there are.
const LOOK: Duration = Duration::from_secs(1);

/// A check, and where it stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    server: usize,
    location: usize,
    /// Which of its location's.
    nth: usize,
}

/// Begins the checks that a configuration asks for; dropped, they end. Must run in a `LocalSet`.
pub fn start(snapshot: &Arc<Snapshot>, live: &Rc<Live>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (group, places) in places(snapshot) {
        let Some(group) = live.groups.get(group).cloned() else { continue };
        let checks = Checks { group, places, snapshot: snapshot.clone(), live: live.clone() };
        tasks.spawn_local(checks.run());
    }
    tasks
}

/// All checks, by group.
fn places(snapshot: &Snapshot) -> BTreeMap<usize, Vec<Place>> {
    let mut all: BTreeMap<usize, Vec<Place>> = BTreeMap::new();
    if snapshot.groups.iter().all(|group| group.checks.is_empty()) {
        return all;
    }
    for (server, block) in snapshot.servers.iter().enumerate() {
        for location in block.locations.clone() {
            for (nth, check) in snapshot.conf(location).proxy.checks.iter().enumerate() {
                all.entry(check.group).or_default().push(Place { server, location, nth });
            }
        }
    }
    all
}

/// The checks of one group.
struct Checks {
    group: Rc<Group>,
    places: Vec<Place>,
    snapshot: Arc<Snapshot>,
    live: Rc<Live>,
}

impl Checks {
    /// Makes them as soon as no other worker does.
    async fn run(self) {
        let _duty = loop {
            match self.group.duty() {
                Some(duty) => break duty,
                None => sleep(LOOK).await,
            }
        };
        let mut tasks = JoinSet::new();
        let mut known: Vec<(Checked, Vec<AbortHandle>)> = Vec::new();
        loop {
            let now = self.group.checked();
            known.retain(|(server, tasks)| {
                let stays = now.iter().any(|other| other.is(server));
                tasks.iter().filter(|_| !stays).for_each(AbortHandle::abort);
                stays
            });
            for server in now {
                if !known.iter().any(|(other, _)| other.is(&server)) {
                    let begin = |place: &Place| tasks.spawn_local(self.follow(*place, &server));
                    let begun = self.places.iter().map(begin).collect();
                    known.push((server, begun));
                }
            }
            sleep(LOOK).await;
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Asks one server again and again.
    fn follow(&self, place: Place, server: &Checked) -> impl Future<Output = ()> + use<> {
        let (snapshot, live) = (self.snapshot.clone(), self.live.clone());
        let (group, server) = (self.group.clone(), server.clone());
        async move {
            let Some(check) = snapshot.conf(place.location).proxy.checks.get(place.nth) else {
                return;
            };
            sleep(part(check.jitter)).await;
            loop {
                if let Some(found) = once(&snapshot, &live, place, check, &server).await {
                    tell(&live, &group, check, &server, found);
                }
                sleep(check.interval + part(check.jitter)).await;
            }
        }
    }
}

/// Asks a server. Nothing comes of it behind a closed door, or when it is cut off.
async fn once(
    snapshot: &Arc<Snapshot>,
    live: &Rc<Live>,
    place: Place,
    check: &Check,
    server: &Checked,
) -> Option<Result<(), String>> {
    let client = Rc::new(Client::nobody().ok()?);
    let mut req = Request::new(Start {
        client: client.clone(),
        snapshot: snapshot.clone(),
        live: live.clone(),
        server: place.server,
        location: place.location,
    });
    // Not a client's: it is in no count of theirs.
    req.sub = Some(Box::new(Sub { left: subrequest::DEPTH, ..Sub::default() }));
    req.head.write_line(b"GET", &check.uri, b"HTTP/1.1");
    let path = check.uri.split(|byte| *byte == b'?').next().unwrap_or_default();
    req.uri = path.to_vec();
    req.args = check.uri.get(path.len() + 1..).unwrap_or_default().to_vec();
    passage::enter(&mut req, Method::Get).ok()?;
    // It is listed from here on, and who cuts off what is listed has to reach it.
    poll_fn(|cx| {
        client.served_by(cx);
        Poll::Ready(())
    })
    .await;
    client.unless_cut(pin!(health::ask(&mut req, check, server))).await
}

fn tell(live: &Live, group: &Group, check: &Check, server: &Checked, found: Result<(), String>) {
    let news = server.report(check.number, found.is_ok(), check.limits);
    let (name, group) = (server.name(), group.name());
    let uri = String::from_utf8_lossy(&check.uri);
    match (news, found) {
        (Some(false), Err(why)) => live.main_log.write(
            Level::Error,
            None,
            format_args!(
                "server {name} of upstream \"{group}\" is unhealthy: {why}, health check \"{uri}\""
            ),
        ),
        (Some(true), _) => live.main_log.write(
            Level::Notice,
            None,
            format_args!(
                "server {name} of upstream \"{group}\" is healthy, health check \"{uri}\""
            ),
        ),
        _ => {}
    }
}

/// Any part of a time.
fn part(of: Duration) -> Duration {
    // A fresh state hashes differently each time.
    let random = RandomState::new().hash_one(0_u8) % 1024;
    of * u32::try_from(random).unwrap_or(0) / 1024
}
