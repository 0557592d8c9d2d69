//! Upgrades while clients ask: every request of every client gets its answer.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{
    Both, answering, both_serve, configured, done, full_text, second, signal, status, telling,
    telling_text, upgrade,
};
use crate::support::system::{self, Paused};
use crate::support::traffic::{Report, Traffic};
use crate::support::{Client, Daemon, binary, echo, is_reference};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const THINK: Duration = Duration::from_millis(50);

/// Upgrades so often, there and back, with some answers in between.
fn upgrades(daemon: &Daemon, number: usize, load: &Traffic) {
    for round in 0..number {
        let program = if round % 2 == 0 { second() } else { binary() };
        done(&upgrade(daemon, &program, &[]));
        load.goes_on(60);
    }
}

/// Nobody is kept waiting: two processes that serve share two processors with the clients.
fn prompt(report: &Report) {
    assert!(report.longest < Duration::from_secs(1), "{:?}", report.longest);
    assert!(report.gap < Duration::from_millis(500), "{:?}", report.gap);
}

#[test]
fn new_connections_are_never_lost() {
    if is_reference() {
        return;
    }
    let daemon = telling(2).start_daemon();
    let load = Traffic::fresh(daemon.address(), 300);
    upgrades(&daemon, 8, &load);
    let report = load.stop();
    report.expect_no_loss();
    prompt(&report);
    let Report { answered, longest, gap, .. } = report;
    println!("8 upgrades, {answered} connections, none lost; longest {longest:?}, gap {gap:?}");
}

/// The place where others lose something: a kept connection that is closed while its client asks.
#[test]
fn kept_connections_are_never_lost() {
    if is_reference() {
        return;
    }
    let daemon = telling(2).start_daemon();
    let load = Traffic::kept(daemon.address(), 100, THINK);
    load.goes_on(200);
    upgrades(&daemon, 8, &load);
    let report = load.stop();
    report.expect_no_loss();
    prompt(&report);
    assert!(report.told_to_close >= 100, "{report:?}");
    let Report { answered, connections, told_to_close, closed_idle, .. } = report;
    println!(
        "8 upgrades, {answered} requests on {connections} connections, none lost; \
         {told_to_close} told to close, {closed_idle} closed idle"
    );
}

/// Streams of HTTP/2 are told in two steps, so that none is asked for in vain.
#[test]
fn streams_are_never_lost() {
    if is_reference() {
        return;
    }
    let text = telling_text(2, "$pid").replace("return 200", "http2 on; return 200");
    let daemon = configured(&text).start_daemon();
    let load = Traffic::multiplexed(daemon.address(), 20, 10, THINK);
    let plain = Traffic::fresh(daemon.address(), 50);
    load.goes_on(200);
    upgrades(&daemon, 8, &load);
    plain.stop().expect_no_loss();
    let report = load.stop();
    report.expect_no_loss();
    prompt(&report);
    assert!(report.told_to_close >= 20, "{report:?}");
    let Report { answered, connections, told_to_close, longest, .. } = report;
    println!(
        "8 upgrades, {answered} streams on {connections} connections, none lost; \
         {told_to_close} told to close, longest {longest:?}"
    );
}

#[test]
fn all_kinds_of_clients_at_once() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let setup = configured(&full_text(2, "")).set("origin", origin.address());
    let daemon = setup.start_daemon();
    let chat = Traffic::chat(daemon.address(), 10, THINK * 2);
    chat.goes_on(20);
    let loads = [Traffic::fresh(daemon.address(), 150), Traffic::kept(daemon.address(), 50, THINK)];
    upgrades(&daemon, 4, &loads[1]);
    chat.goes_on(20);
    for load in loads {
        load.stop().expect_no_loss();
    }
    let report = chat.stop();
    report.expect_no_loss();
    // The same ten all the time.
    assert_eq!((report.connections, report.closed_idle), (10, 0));
}

/// By hand, as with nginx; which loses no new connection either.
#[test]
fn new_connections_are_never_lost_by_hand() {
    let daemon = telling(2).start_daemon();
    let load = Traffic::fresh(daemon.address(), 200);
    for _ in 0..4 {
        let both: Both = both_serve(&daemon, 2);
        load.goes_on(20);
        signal(both.old, Signal::SIGWINCH);
        load.goes_on(20);
        both.commit(&daemon);
    }
    load.stop().expect_no_loss();
}

#[test]
fn every_worker_gets_a_socket_of_its_own_and_none_is_orphaned() {
    if is_reference() {
        return;
    }
    let text =
        |workers| telling_text(workers, "$pid").replace("%%listen%%", "%%listen%% reuseport");
    let mut daemon = configured(&text(4)).start_daemon();
    let load = Traffic::fresh(daemon.address(), 300);
    let kept = Traffic::kept(daemon.address(), 20, THINK);
    for (round, workers) in [2, 4, 1, 3].into_iter().enumerate() {
        load.goes_on(50);
        daemon.configure_main(&text(workers));
        let program = if round % 2 == 0 { second() } else { binary() };
        done(&upgrade(&daemon, &program, &[]));
        assert_eq!(system::workers_of(daemon.master(), workers).len(), workers);
    }
    load.goes_on(100);
    let report = load.stop();
    report.expect_no_loss();
    prompt(&report);
    kept.stop().expect_no_loss();
}

#[test]
fn what_waits_to_be_accepted_is_accepted_by_the_new_version() {
    if is_reference() {
        return;
    }
    let daemon = telling(2).start_daemon();
    let old = daemon.master();
    let paused = Paused::new(system::workers_of(old, 2));
    let mut clients: Vec<Client> = (0..300).map(|_| daemon.client()).collect();
    for client in &mut clients {
        client.send(REQUEST);
    }
    let upgrading = daemon.start_change(&second(), &["-s", "upgrade"]);
    daemon.wait_for("server.pid", |_| daemon.master() != old);
    let new = system::workers_of(daemon.master(), 2);
    for client in &mut clients {
        assert!(new.contains(&super::worker(&client.response().text())));
    }
    drop(paused);
    done(&upgrading.end());
    system::gone(old);
}

/// Reloads that change the number of workers, so that each of them replaces all.
#[test]
fn reloads_lose_nothing_either() {
    let mut daemon = telling(2).start_daemon();
    if is_reference() {
        return;
    }
    let load = Traffic::kept(daemon.address(), 60, THINK);
    for round in 0..12 {
        load.goes_on(60);
        daemon.configure_main(&telling_text(1 + round % 2, "$pid"));
        let (status, text) = daemon.control("PATCH", "/1/control/config");
        assert_eq!(status, 200, "{text}");
    }
    load.goes_on(60);
    let report = load.stop();
    report.expect_no_loss();
    prompt(&report);
}

/// Counters go on where they were, and what limits clients does not start anew.
#[test]
fn counters_survive() {
    if is_reference() {
        return;
    }
    let text = telling_text(2, "$pid").replace(
        "return 200 \"$pid\";",
        "location / { return 200 $pid; } location /s { stub_status; }",
    );
    let daemon = configured(&text).start_daemon();
    let requests = |daemon: &Daemon| -> u64 {
        let text = daemon.get("/s").text();
        let numbers = text.lines().nth(2).and_then(|line| line.split_whitespace().nth(2));
        numbers.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{text}"))
    };
    for _ in 0..20 {
        answering(&daemon);
    }
    assert_eq!(requests(&daemon), 21);
    done(&upgrade(&daemon, &second(), &["--wait"]));
    for _ in 0..5 {
        answering(&daemon);
    }
    assert_eq!(requests(&daemon), 27);
    system::until("the last connections are over", || {
        daemon.get("/s").text().starts_with("Active connections: 1 ")
    });
    let generations = || status(&daemon)["generations"].as_array().map_or(0, Vec::len);
    system::until("one generation is left", || generations() == 1);
}
