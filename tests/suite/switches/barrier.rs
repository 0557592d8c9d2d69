//! Proofs that nothing is under way, and what stands in their way.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use super::{Slow, ctl, done, off, on, setup, worker};
use crate::support::{
    Client, Frame, Origin, Said, Server, Setup, Site, WebSocket, binary, echo, is_reference,
    system, version,
};

const POST: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";

fn start(workers: usize) -> (Slow, Origin, Server) {
    let slow = Slow::default();
    let origin = slow.origin();
    let server = setup(workers, &origin, "").start();
    (slow, origin, server)
}

/// So many clients whose requests are under way behind.
fn under_way(site: &Site, slow: &Slow, number: usize, request: &str) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..number).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send(request);
    }
    slow.has(number);
    clients
}

fn counts(site: &Site) -> Value {
    let (status, text) = site.control("GET", "/1/proxyd/inflight/default");
    assert_eq!(status, 200, "{text}");
    serde_json::from_str::<Value>(&text).expect("JSON")[0].clone()
}

/// Runs the barrier, with other things happening meanwhile.
fn barrier(site: &Site, words: &[&str], meanwhile: impl FnOnce()) -> Said {
    let words: Vec<&str> = ["ctl"].iter().chain(words).copied().collect();
    let asked = site.start_change(&binary(), &words);
    meanwhile();
    asked.end()
}

fn proof(said: &Said) -> Value {
    let last = said.out.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

const REQUEST: &str = super::REQUEST;

#[test]
fn it_returns_when_the_last_one_has_ended() {
    if is_reference() {
        return;
    }
    let (slow, _origin, server) = start(4);
    let mut clients = under_way(&server, &slow, 50, REQUEST);
    assert_eq!(counts(&server)["total"]["read"], 50);
    let words = ["maintenance", "on", "--barrier", "60s", "--json"];
    let mut last = 50;
    let said = barrier(&server, &words, || {
        server.logged("maintenance \"default\" closed");
        for left in (0..50).rev() {
            let now = counts(&server)["total"]["read"].as_u64().expect("a number");
            assert!(now <= last, "it falls and never rises");
            last = now;
            slow.free(1);
            slow.has(left);
        }
    });
    assert_eq!(said.code, Some(0), "{said:?}");
    let proof = proof(&said);
    assert_eq!((&proof["clean"], &proof["unknown"]), (&json!(true), &json!(0)));
    let all = slow.change(|held| held.all);
    for client in &mut clients {
        assert_eq!(client.response().status, 200, "what was let in is finished");
        assert_eq!(client.send(REQUEST).response().status, 503);
    }
    assert_eq!(slow.change(|held| (held.now, held.all)), (0, all), "nothing came after it");
}

#[test]
fn what_takes_too_long_is_named_and_the_door_stays_shut() {
    if is_reference() {
        return;
    }
    let (slow, _origin, server) = start(1);
    let mut clients = under_way(&server, &slow, 1, POST);
    let worker = worker(&server);
    let begun = Instant::now();
    let said = ctl(&server, &["maintenance", "on", "--barrier", "200ms"]);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.errors.contains("timed out after 0.2"), "{said:?}");
    assert!(said.errors.contains("still closed; under way: read 0, write 1, stream 0"), "{said:?}");
    let row = said.errors.lines().find(|line| line.contains(&format!(" {worker} ")));
    assert!(row.is_some_and(|row| row.trim_start().starts_with("1  0.1.0 ")), "{said:?}");
    assert_eq!(server.get("/").status, 503);
    slow.free(1);
    assert_eq!(clients[0].response().status, 200);
    done(&server, &["barrier"]);
}

/// While it is closed, a client that goes away does not take the request along.
#[test]
fn an_aborted_request_is_waited_for() {
    if is_reference() {
        return;
    }
    let (slow, _origin, server) = start(1);
    let clients = under_way(&server, &slow, 1, POST);
    on(&server);
    drop(clients);
    let said = ctl(&server, &["barrier", "--timeout", "300ms", "--json"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert_eq!(proof(&said)["inflight"]["write"], 1);
    let said = barrier(&server, &["barrier", "--json"], || slow.free(1));
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// While it is open the request goes with its client; what became of it behind nobody knows.
#[test]
fn a_request_aborted_just_before_is_not_forgotten() {
    if is_reference() {
        return;
    }
    let (slow, _origin, server) = start(1);
    drop(under_way(&server, &slow, 1, POST));
    system::until("it is noticed", || counts(&server)["total"]["unknown"] == 1);
    let said = ctl(&server, &["maintenance", "on", "--barrier", "5s"]);
    assert_eq!(said.code, Some(5), "{said:?}");
    assert!(said.errors.contains("what became of 1 request is unknown"), "{said:?}");
    slow.free(1);
}

/// A read that is given up before the closing changes nothing, so nobody need look after it.
#[test]
fn a_read_aborted_before_is_nobodys_business() {
    if is_reference() {
        return;
    }
    let (slow, _origin, server) = start(1);
    drop(under_way(&server, &slow, 1, REQUEST));
    system::until("it is noticed", || counts(&server)["total"]["read"] == 0);
    done(&server, &["maintenance", "on", "--barrier", "5s"]);
    assert_eq!(counts(&server)["total"]["unknown"], 0);
    slow.free(1);
}

#[test]
fn an_exchange_that_breaks_off_is_unknown() {
    if is_reference() {
        return;
    }
    let origin = Origin::new(|peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
            peer.some();
        }
    });
    let server = setup(1, &origin, "proxy_read_timeout 1s;").start();
    let mut client = server.client();
    client.send(POST);
    assert_eq!(client.response_head().status, 200);
    let said = barrier(&server, &["maintenance", "on", "--barrier", "10s", "--json"], || {});
    assert_eq!(said.code, Some(5), "{said:?}");
    let proof = proof(&said);
    assert_eq!((&proof["clean"], &proof["unknown"]), (&json!(false), &json!(1)));
    // It stays listed until it has been opened.
    assert_eq!(ctl(&server, &["barrier"]).code, Some(5));
    assert_eq!(counts(&server)["total"]["unknown"], 1);
}

#[test]
fn a_killed_worker_does_not_hang_it() {
    if is_reference() {
        return;
    }
    let slow = Slow::default();
    let origin = slow.origin();
    let server = setup(1, &origin, "").allow("exited on signal 9").start();
    let clients = under_way(&server, &slow, 3, POST);
    let victim = worker(&server);
    let said = barrier(&server, &["maintenance", "on", "--barrier", "60s", "--json"], || {
        server.logged("maintenance \"default\" closed");
        kill(victim, Signal::SIGKILL).expect("a signal");
    });
    assert_eq!(said.code, Some(5), "{said:?}");
    let proof = proof(&said);
    assert_eq!((&proof["unknown"], &proof["timed_out"]), (&json!(3), &json!(false)));
    drop(clients);
    slow.free(3);
}

/// Workers of a master that is dead as well: nobody waits for them but the next master.
#[test]
fn what_a_dead_generation_left_is_unknown() {
    if is_reference() {
        return;
    }
    let slow = Slow::default();
    let origin = slow.origin();
    let mut daemon = setup(1, &origin, "").allow("is gone").start_daemon();
    let clients = under_way(&daemon, &slow, 2, POST);
    let (old, victim) = (daemon.master(), worker(&daemon));
    let said = daemon.change(&version::executable(version::SECOND), &["-s", "upgrade"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    on(&daemon);
    assert_eq!(counts(&daemon)["workers"][0]["version"], "0.1.0");
    daemon.kill(old);
    system::gone(old);
    daemon.kill(victim);
    let said = ctl(&daemon, &["barrier", "--json"]);
    assert_eq!(said.code, Some(5), "{said:?}");
    assert_eq!(proof(&said)["unknown"], 2);
    drop(clients);
    slow.free(2);
}

#[test]
fn earlier_generations_are_waited_for() {
    if is_reference() {
        return;
    }
    let slow = Slow::default();
    let origin = slow.origin();
    let daemon = setup(1, &origin, "").start_daemon();
    let mut clients = under_way(&daemon, &slow, 2, REQUEST);
    let old = worker(&daemon);
    let said = daemon.change(&version::executable(version::SECOND), &["-s", "upgrade"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = ctl(&daemon, &["maintenance", "on", "--barrier", "200ms", "--json"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    let late = proof(&said);
    let share = &late["workers"][0];
    assert_eq!((&share["worker"], &share["generation"]), (&json!(old.as_raw()), &json!(1)));
    assert_eq!((&share["version"], &share["read"]), (&json!("0.1.0"), &json!(2)));
    let said = barrier(&daemon, &["barrier"], || slow.free(2));
    assert_eq!(said.code, Some(0), "{said:?}");
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
}

/// One that is waited for while another master takes over goes on.
#[test]
fn it_goes_on_over_an_upgrade() {
    if is_reference() {
        return;
    }
    let slow = Slow::default();
    let origin = slow.origin();
    let daemon = setup(1, &origin, "").start_daemon();
    let mut clients = under_way(&daemon, &slow, 1, REQUEST);
    let words = ["maintenance", "on", "--barrier", "60s", "--json"];
    let said = barrier(&daemon, &words, || {
        daemon.logged("maintenance \"default\" closed");
        for program in [version::executable(version::SECOND), binary()] {
            let said = daemon.change(&program, &["-s", "upgrade"]);
            assert_eq!(said.code, Some(0), "{said:?}");
        }
        slow.free(1);
    });
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(clients[0].response().status, 200);
}

#[test]
fn a_websocket_is_a_stream() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let setup: Setup = setup(1, &origin, "maintenance_websocket keep;");
    let server = setup.start();
    let mut socket = WebSocket::open(server.client(), "/chat");
    socket.send(&Frame::text("a"));
    assert_eq!(socket.receive(), Frame::text("a"));
    assert_eq!(counts(&server)["total"]["stream"], 1);
    let said = ctl(&server, &["maintenance", "on", "--barrier", "200ms", "--json"]);
    assert_eq!((said.code, &proof(&said)["inflight"]["stream"]), (Some(3), &json!(1)));
    let said = barrier(&server, &["barrier", "--json"], || drop(socket));
    assert_ne!(said.code, Some(3), "{said:?}");
}

#[test]
fn who_was_let_in_is_waited_for_on_request() {
    if is_reference() {
        return;
    }
    let slow = Slow::default();
    let origin = slow.origin();
    let server = setup(1, &origin, "maintenance_allow 127.0.0.1;").start();
    on(&server);
    let mut clients = under_way(&server, &slow, 1, REQUEST);
    let said = ctl(&server, &["barrier", "--json"]);
    assert_eq!((said.code, &proof(&said)["inflight"]["bypass"]), (Some(0), &json!(1)));
    let with = ["barrier", "--include-bypass", "--timeout", "200ms"];
    assert_eq!(ctl(&server, &with).code, Some(3));
    slow.free(1);
    assert_eq!(clients[0].response().status, 200);
    done(&server, &["barrier", "--include-bypass"]);
    off(&server);
}

#[test]
fn opening_it_ends_the_waiting() {
    if is_reference() {
        return;
    }
    let (slow, _origin, server) = start(1);
    let mut clients = under_way(&server, &slow, 1, REQUEST);
    let said = barrier(&server, &["maintenance", "on", "--barrier", "60s"], || {
        server.logged("maintenance \"default\" closed");
        off(&server);
    });
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.errors.contains("was opened meanwhile") || said.errors.contains("is open"));
    slow.free(1);
    assert_eq!(clients[0].response().status, 200);
}

/// The master has better things to do than to wait for who has gone away.
#[test]
fn waiting_keeps_nobody_else_waiting() {
    if is_reference() {
        return;
    }
    let (slow, _origin, server) = start(1);
    let mut clients = under_way(&server, &slow, 1, REQUEST);
    on(&server);
    let before = system::settled(server.pid());
    let words = ["ctl", "barrier", "--timeout", "1h"];
    let waiting: Vec<_> = (0..20).map(|_| server.start_change(&binary(), &words)).collect();
    system::until("all wait", || system::sockets(server.pid()) >= 20);
    let begun = Instant::now();
    for _ in 0..20 {
        done(&server, &["maintenance", "status"]);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for change in waiting {
        change.signal(Signal::SIGKILL);
        assert_eq!(change.end().code, None);
    }
    system::settles(server.pid(), &before);
    slow.free(1);
    assert_eq!(clients[0].response().status, 200);
}
