//! What workers know together, and servers that begin with a part of their weight.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::{group, server, spec};
use crate::upstream::{Group, GroupSpec, NoPeer, Outcome, PeerRef, ServerSpec, Thresholds};
use crate::zone::keyed::{Holder, Keyed, Kind, Spec};

/// The same group in two workers.
fn workers(servers: &[ServerSpec]) -> [Rc<Group>; 2] {
    workers_with(servers, [&[], &[]])
}

/// The same group in two workers, whose configurations check it in these ways.
fn workers_with(servers: &[ServerSpec], checks: [&[bool]; 2]) -> [Rc<Group>; 2] {
    let zone = Spec { kind: Kind::Servers, name: b"z".into(), size: 32 << 10, key: Vec::new() };
    let me = |slot| Holder::worker(slot, std::process::id());
    let (fd, first) = Keyed::create(&zone, me(1)).unwrap();
    let second = Keyed::attach(std::os::fd::AsFd::as_fd(&fd), &zone, me(2)).unwrap();
    let group = |zone, checks: &[bool]| {
        let spec = GroupSpec { checks: checks.to_vec(), ..spec(servers.to_vec()) };
        Group::after(spec, None, None, Some(Rc::new(zone)))
    };
    [group(first, checks[0]), group(second, checks[1])]
}

fn select(group: &Group, now: Instant) -> Result<PeerRef, NoPeer> {
    group.select(&mut group.selection(None), now)
}

fn port(peer: &PeerRef) -> u16 {
    peer.address().port().unwrap()
}

#[test]
fn rounds_go_on_in_the_other_worker() {
    let [a, b] = workers(&[server(1), server(2), server(3)]);
    let now = Instant::now();
    let chosen = [&a, &b, &b, &a, &b, &a].map(|group| port(&select(group, now).unwrap()));
    assert_eq!(chosen, [1, 2, 3, 1, 2, 3]);
}

#[test]
fn connections_are_limited_together() {
    let [a, b] = workers(&[ServerSpec { max_conns: 2, ..server(1) }, server(2)]);
    let now = Instant::now();
    let held: Vec<_> = [&a, &b, &a, &b, &a, &b].map(|group| select(group, now).unwrap()).into();
    let first = held.iter().filter(|peer| port(peer) == 1).count();
    assert_eq!(first, 2);
    assert_eq!(a.peers(now)[0].active, 2);
    drop(held);
    assert_eq!([a.peers(now)[0].active, b.peers(now)[1].active], [0, 0]);
}

/// Both want the last connection of the server that their clients are tied to, at the same moment.
#[test]
fn who_comes_too_late_to_its_own_server_goes_to_another() {
    let zone = Spec { kind: Kind::Servers, name: b"z".into(), size: 32 << 10, key: Vec::new() };
    let me = |slot| Holder::worker(slot, std::process::id());
    let (fd, _first) = Keyed::create(&zone, me(0)).unwrap();
    let own = ServerSpec { max_conns: 1, route: Some("own".into()), ..server(1) };
    let (servers, barrier) = (vec![own, server(2)], Barrier::new(2));
    let worker = |slot| {
        let zone = Keyed::attach(fd.as_fd(), &zone, me(slot)).unwrap();
        let group = Group::after(spec(servers.clone()), None, None, Some(Rc::new(zone)));
        let both_have_one = || {
            barrier.wait();
            let mut selection = group.selection(None);
            selection.prefer(b"own".to_vec());
            let peer = group.select(&mut selection, Instant::now());
            barrier.wait();
            peer.is_ok()
        };
        (0..2000).all(|_| both_have_one())
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| worker(1));
        assert!(worker(2) && other.join().unwrap());
    });
}

#[test]
fn a_server_that_fails_one_worker_gets_nothing_from_the_other() {
    let [a, b] = workers(&[server(1), server(2)]);
    let now = Instant::now();
    let peer = select(&a, now).unwrap();
    assert_eq!(port(&peer), 1);
    assert!(a.free(peer, Outcome::Failed, now));
    assert_eq!(b.peers(now)[0].state, "failing");
    let chosen: Vec<_> = (0..4).map(|_| port(&select(&b, now).unwrap())).collect();
    assert_eq!(chosen, [2, 2, 2, 2]);
    let later = now + Duration::from_secs(12);
    assert!((0..3).any(|_| port(&select(&b, later).unwrap()) == 1));
    assert_eq!(a.peers(later)[0].fails, 0);
}

#[test]
fn servers_that_are_alike_are_different_servers() {
    let [a, b] = workers(&[server(1), server(1)]);
    let now = Instant::now();
    let _held = select(&a, now).unwrap();
    let active: Vec<_> = b.peers(now).iter().map(|peer| peer.active).collect();
    assert_eq!(active, [1, 0]);
}

#[test]
fn whoever_finds_no_room_is_used_all_the_same() {
    let zone = Spec { kind: Kind::Servers, name: b"z".into(), size: 32 << 10, key: Vec::new() };
    let zone = Keyed::create(&zone, Holder::worker(1, std::process::id())).unwrap().1;
    let servers = (1..=zone.capacity()).map(|port| server(u16::try_from(port).unwrap()));
    let spec = GroupSpec { checks: vec![true], ..spec(servers.collect()) };
    let group = Group::after(spec, None, None, Some(Rc::new(zone)));
    let now = Instant::now();
    let states: Vec<_> =
        group.peers(now).into_iter().map(|peer| (peer.shared, peer.state)).collect();
    assert_eq!(states.first(), Some(&(true, "checking")));
    assert_eq!(states.last(), Some(&(false, "up")));
    assert!(select(&group, now).is_ok());
}

#[test]
fn checks_change_what_is_thought_of_a_server() {
    let [a, b] = workers_with(&[server(1), server(2)], [&[false, false]; 2]);
    let now = Instant::now();
    let limits = Thresholds { fails: 2, passes: 3 };
    let duty = a.duty().unwrap();
    assert!(b.duty().is_none());
    let checked = a.checked().remove(0);
    let found = [false, true, false, false].map(|passed| checked.report(0, passed, limits));
    assert_eq!(found, [None, None, None, Some(false)]);
    assert_eq!(b.peers(now)[0].state, "unhealthy");
    assert!((0..4).all(|_| port(&select(&b, now).unwrap()) == 2));
    // Of two checks each has to be content.
    assert_eq!(checked.report(1, true, limits), None);
    let found = [true, false, true, true, true].map(|passed| checked.report(0, passed, limits));
    assert_eq!(found, [None, None, None, None, Some(true)]);
    assert_eq!(b.peers(now)[0].state, "up");
    drop(duty);
    assert!(b.duty().is_some());
}

#[test]
fn another_configurations_checks_are_no_business_of_this_one() {
    let once = Thresholds { fails: 1, passes: 1 };
    let now = Instant::now();
    // The older one still makes a check that is gone from the newer one.
    let [old, new] = workers_with(&[server(1), server(2)], [&[false, false], &[false]]);
    let checked = old.checked().remove(0);
    assert_eq!(checked.report(1, false, once), Some(false));
    assert_eq!([old.peers(now)[0].state, new.peers(now)[0].state], ["unhealthy", "up"]);
    assert_eq!(checked.report(0, false, once), Some(false));
    assert_eq!(new.peers(now)[0].state, "unhealthy");
    assert_eq!(new.checked().remove(0).report(0, true, once), Some(true));
    assert_eq!([old.peers(now)[0].state, new.peers(now)[0].state], ["unhealthy", "up"]);
}

#[test]
fn a_mandatory_check_comes_first_also_where_the_server_is_known() {
    let once = Thresholds { fails: 1, passes: 1 };
    let now = Instant::now();
    let [old, new] = workers_with(&[server(1), server(2)], [&[false], &[false, true]]);
    let states = || [old.peers(now)[0].state, new.peers(now)[0].state];
    assert_eq!(old.checked().remove(0).report(0, true, once), None);
    assert_eq!(states(), ["up", "checking"]);
    let checked = new.checked().remove(0);
    assert_eq!(checked.report(0, true, once), None);
    assert_eq!(states(), ["up", "checking"]);
    assert_eq!(checked.report(1, true, once), Some(true));
    assert_eq!(states(), ["up", "up"]);
}

#[test]
fn who_comes_back_begins_slowly() {
    let slow = ServerSpec { slow_start: Duration::from_secs(100), ..server(1) };
    let group = group(vec![slow, server(2)]);
    let now = Instant::now();
    let peer = select(&group, now).unwrap();
    group.free(peer, Outcome::Failed, now);
    // It is tried again, and answers.
    let back = now + Duration::from_secs(11);
    while port(&select(&group, back).unwrap()) != 1 {}
    let share = |after: u64| {
        let then = back + Duration::from_secs(after);
        let chosen = (0..100).map(|_| port(&select(&group, then).unwrap()));
        chosen.filter(|port| *port == 1).count()
    };
    let shares = [share(0), share(10), share(50), share(99), share(200)];
    assert!(shares.is_sorted(), "{shares:?}");
    assert!(shares[0] <= 2 && (7..12).contains(&shares[1]), "{shares:?}");
    assert!((30..36).contains(&shares[2]) && shares[4] == 50, "{shares:?}");
}
