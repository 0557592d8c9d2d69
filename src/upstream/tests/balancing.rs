//! The methods, failure accounting, backup servers and limits, request by request.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::{balanced, group, server, weighted};
use crate::upstream::{Balance, Group, NoPeer, Outcome, PeerRef, ServerSpec};

/// Sends one request, trying the next peer while `works` says no; the ports tried.
fn request(group: &Group, now: Instant, mut works: impl FnMut(u16) -> bool) -> Vec<u16> {
    let mut selection = group.selection(None);
    let mut tried = Vec::new();
    while let Ok(peer) = group.select(&mut selection, now) {
        let port = peer.address().port().unwrap();
        tried.push(port);
        if works(port) {
            group.free(peer, Outcome::Ok, now);
            break;
        }
        group.free(peer, Outcome::Failed, now);
        if selection.tries == 0 {
            break;
        }
    }
    tried
}

fn requests(group: &Group, count: usize) -> Vec<u16> {
    let now = Instant::now();
    (0..count).flat_map(|_| request(group, now, |_| true)).collect()
}

/// One more peer, held.
fn hold(group: &Group) -> Result<PeerRef, NoPeer> {
    group.select(&mut group.selection(None), Instant::now())
}

fn hold_all(group: &Group) -> (Vec<PeerRef>, NoPeer) {
    let mut held = Vec::new();
    loop {
        match hold(group) {
            Ok(peer) => held.push(peer),
            Err(why) => return (held, why),
        }
    }
}

fn ports(held: &[PeerRef]) -> Vec<u16> {
    held.iter().map(|peer| peer.address().port().unwrap()).collect()
}

#[test]
fn weights_are_spread_smoothly() {
    let group = group(vec![weighted(1, 5), server(2), server(3)]);
    assert_eq!(requests(&group, 14), [1, 1, 2, 1, 3, 1, 1, 1, 1, 2, 1, 3, 1, 1]);
}

#[test]
fn every_address_of_a_server_is_a_peer() {
    let mut two = server(1);
    two.addresses.extend(server(2).addresses);
    let group = group(vec![two, server(3)]);
    assert_eq!(requests(&group, 6), [1, 2, 3, 1, 2, 3]);
}

/// As `upstream.t`: of the requests to the first server, each third fails.
#[test]
fn three_failures_take_a_server_out() {
    let limits = |port| ServerSpec { max_fails: 3, ..server(port) };
    let group = group(vec![limits(1), limits(2)]);
    let now = Instant::now();
    let mut count = 0;
    let mut answered = [0, 0];
    for _ in 0..30 {
        let tried = request(&group, now, |port| {
            count += u32::from(port == 1);
            port != 1 || count % 3 != 0
        });
        answered[usize::from(tried[tried.len() - 1]) - 1] += 1;
    }
    assert_eq!(answered, [6, 24]);
}

#[test]
fn a_refusing_server_is_tried_as_nginx_tries_it() {
    let refusing =
        ServerSpec { max_fails: 2, fail_timeout: Duration::from_secs(3), ..weighted(4, 4) };
    let group = group(vec![weighted(1, 2), refusing, weighted(3, 3)]);
    let run = |count, now| -> Vec<Vec<u16>> {
        (0..count).map(|_| request(&group, now, |port| port != 4)).collect()
    };
    let start = Instant::now();
    let expected: [&[u16]; 14] =
        [&[4, 3], &[1], &[3], &[4, 1], &[3], &[3], &[1], &[3], &[1], &[3], &[3], &[1], &[3], &[1]];
    assert_eq!(run(14, start), expected);
    run(26, start);
    let expected: [&[u16]; 9] = [&[3], &[1], &[3], &[4, 1], &[3], &[1], &[3], &[3], &[1]];
    assert_eq!(run(9, start + Duration::from_secs(4)), expected);
}

#[test]
fn a_server_stays_out_for_fail_timeout_and_returns_after_a_good_trial() {
    let group = group(vec![server(1), server(2)]);
    let start = Instant::now();
    assert_eq!(request(&group, start, |port| port != 1), [1, 2]);
    let at = |seconds| request(&group, start + Duration::from_secs(seconds), |_| true);
    let out: Vec<u16> = [1, 2, 5, 9, 10].into_iter().flat_map(at).collect();
    assert_eq!(out, [2; 5]);
    let back: Vec<u16> = (11..19).flat_map(at).collect();
    assert_eq!(back, [2, 2, 1, 2, 1, 2, 1, 2]);
}

#[test]
fn a_failure_reports_when_it_takes_the_server_out() {
    let group = group(vec![ServerSpec { max_fails: 2, ..server(1) }, server(2)]);
    let now = Instant::now();
    let mut disabled = Vec::new();
    for _ in 0..4 {
        let peer = group.select(&mut group.selection(None), now).unwrap();
        let first = peer.server() == "127.0.0.1:1";
        let outcome = if first { Outcome::Failed } else { Outcome::NextWithoutFault };
        disabled.push(group.free(peer, outcome, now));
    }
    assert_eq!(disabled, [false, false, true, false]);
}

#[test]
fn no_accounting_with_max_fails_0() {
    let group = group(vec![ServerSpec { max_fails: 0, ..server(1) }, server(2)]);
    let now = Instant::now();
    let tried: Vec<_> = (0..4).map(|_| request(&group, now, |port| port != 1)).collect();
    assert_eq!(tried, [vec![1, 2], vec![2], vec![1, 2], vec![2]]);
}

#[test]
fn the_only_server_is_never_taken_out() {
    let group = group(vec![server(1)]);
    let now = Instant::now();
    for _ in 0..5 {
        let mut selection = group.selection(None);
        let peer = group.select(&mut selection, now).unwrap();
        assert!(!group.free(peer, Outcome::Failed, now));
        assert_eq!(selection.tries, 0);
        // After an error on a kept connection the caller may ask once more.
        assert!(group.select(&mut selection, now).is_ok());
    }
}

#[test]
fn all_failed_is_no_live_upstreams_at_once() {
    let group = group(vec![server(1), server(2)]);
    let now = Instant::now();
    assert_eq!(request(&group, now, |_| false), [1, 2]);
    assert_eq!(hold(&group).err(), Some(NoPeer::NoneLive));
    assert_eq!(request(&group, now, |_| true), [0_u16; 0]);
}

#[test]
fn down_servers_are_neither_used_nor_counted() {
    let group = group(vec![ServerSpec { down: true, ..server(1) }, server(2), server(3)]);
    assert_eq!(requests(&group, 4), [2, 3, 2, 3]);
    let mut selection = group.selection(None);
    assert_eq!(selection.tries, 2);
    selection.limit_tries(0);
    assert_eq!(selection.tries, 2);
    selection.limit_tries(1);
    assert_eq!(selection.tries, 1);
}

#[test]
fn the_only_server_can_be_down() {
    let group = group(vec![ServerSpec { down: true, ..server(1) }]);
    assert_eq!(hold(&group).err(), Some(NoPeer::NoneLive));
}

#[test]
fn backup_servers_serve_when_the_others_cannot() {
    let backup = ServerSpec { backup: true, ..server(3) };
    let group = group(vec![server(1), backup, server(2)]);
    assert_eq!(requests(&group, 4), [1, 2, 1, 2]);
    let now = Instant::now();
    assert_eq!(group.selection(None).tries, 3);
    assert_eq!(request(&group, now, |port| port == 3), [1, 2, 3]);
    assert_eq!(request(&group, now, |_| true), [3]);
}

#[test]
fn a_lone_server_with_a_backup_can_be_taken_out() {
    let group = group(vec![server(1), ServerSpec { backup: true, ..server(2) }]);
    let now = Instant::now();
    assert_eq!(request(&group, now, |port| port == 2), [1, 2]);
    assert_eq!(request(&group, now, |_| true), [2]);
}

/// The cases of `upstream_max_conns.t`.
#[test]
fn max_conns_limits_what_is_held() {
    let limited = |port, max_conns| ServerSpec { max_conns, ..server(port) };
    let backup = |port, max_conns| ServerSpec { backup: true, ..limited(port, max_conns) };

    let (mut held, why) = hold_all(&group(vec![limited(1, 3)]));
    assert_eq!((ports(&held), why), (vec![1, 1, 1], NoPeer::Busy));
    held.clear();

    let (held, why) = hold_all(&group(vec![limited(1, 2), backup(2, 3)]));
    assert_eq!((ports(&held), why), (vec![1, 1, 2, 2, 2], NoPeer::Busy));

    let (held, _) = hold_all(&group(vec![limited(1, 1), limited(1, 1), limited(2, 1)]));
    assert_eq!(ports(&held), [1, 1, 2]);

    let lc = |servers| balanced(Balance::LeastConn, servers);
    let (held, _) = hold_all(&lc(vec![limited(1, 2), backup(2, 3)]));
    assert_eq!(ports(&held), [1, 1, 2, 2, 2]);

    let (held, _) = hold_all(&balanced(Balance::IpHash, vec![limited(1, 1), limited(2, 2)]));
    assert_eq!(held.len(), 3);
}

#[test]
fn a_cancelled_request_gives_its_peer_back() {
    let group = group(vec![ServerSpec { max_conns: 1, ..server(1) }, server(2)]);
    let held = hold(&group);
    assert_eq!(held.as_ref().map(PeerRef::name), Ok("127.0.0.1:1"));
    drop(held);
    assert_eq!(requests(&group, 4), [2, 1, 2, 1]);
}

/// As `upstream_least_conn.t`.
#[test]
fn least_conn_prefers_the_idle() {
    let group = balanced(Balance::LeastConn, vec![server(1), server(2)]);
    assert_eq!(requests(&group, 4), [1, 2, 1, 2]);
    let held = [hold(&group), hold(&group)].map(Result::unwrap);
    assert_eq!(ports(&held), [1, 2]);
    let [_first, second] = held;
    drop(second);
    assert_eq!(requests(&group, 5), [2; 5]);
}

#[test]
fn least_conn_counts_by_weight() {
    let group = balanced(Balance::LeastConn, vec![weighted(1, 3), server(2)]);
    let held: Vec<_> = (0..8).map(|_| hold(&group).unwrap()).collect();
    assert_eq!(ports(&held).iter().filter(|&&port| port == 1).count(), 6);
}

fn by_ip(group: &Rc<Group>, ip: &str) -> u16 {
    let ip: IpAddr = ip.parse().unwrap();
    let peer = group.select(&mut group.selection(Some(ip)), Instant::now()).unwrap();
    peer.address().port().unwrap()
}

#[test]
fn ip_hash_agrees_with_nginx() {
    let servers = |down| vec![server(1), ServerSpec { down, ..weighted(2, 2) }, weighted(3, 3)];
    let all = balanced(Balance::IpHash, servers(false));
    let without_2 = balanced(Balance::IpHash, servers(true));
    for (ip, expected, with_2_down) in [
        ("10.0.0.1", 3, 3),
        ("203.0.113.77", 1, 1),
        ("8.8.8.8", 3, 3),
        ("255.255.255.254", 3, 3),
        ("127.0.0.1", 2, 1),
        ("1.2.3.4", 2, 3),
        ("0.0.0.0", 2, 1),
        ("2001:db8::1", 2, 3),
        ("2001:db8::2", 3, 3),
        ("::1", 3, 3),
        ("fe80::1234:5678", 3, 3),
        ("::ffff:10.0.0.1", 2, 1),
    ] {
        assert_eq!((by_ip(&all, ip), by_ip(&without_2, ip)), (expected, with_2_down), "{ip}");
    }
}

#[test]
fn ip_hash_tries_another_server_after_a_failure() {
    let group = balanced(Balance::IpHash, vec![server(1), server(2), server(3)]);
    let now = Instant::now();
    let mut tried = request(&group, now, |_| false);
    tried.sort_unstable();
    assert_eq!(tried, [1, 2, 3]);
}
