//! What the old version has begun is finished by it, whatever it is and as long as that may take.

use std::time::{Duration, Instant};

use nix::unistd::Pid;
use serde_json::Value;

use super::{
    answering, configured, done, full_text, second, status, telling, telling_text, upgrade, worker,
};
use crate::support::{
    Client, Daemon, End, Frame, Held, OK, Origin, binary, echo, is_reference, still_there, system,
    version, websockets,
};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Starts with one worker and a server behind.
fn start(origin: &Origin, more: &str) -> Daemon {
    configured(&full_text(1, more)).set("origin", origin.address()).start_daemon()
}

fn closes(answer: &crate::support::Response) {
    assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")), "{answer:?}");
}

#[test]
fn a_silent_connection_is_served_when_it_speaks() {
    if is_reference() {
        return;
    }
    let daemon = telling(1).start_daemon();
    let mut silent = daemon.client();
    let mut half = daemon.client();
    half.send("GE");
    // Both are accepted for certain once a later connection is answered.
    let (old, by) = (daemon.master(), answering(&daemon));
    done(&upgrade(&daemon, &second(), &[]));
    daemon.logged("gracefully shutting down");
    for (client, rest) in [(&mut silent, REQUEST), (&mut half, &REQUEST[2..])] {
        let answer = client.send(rest).response();
        closes(&answer);
        assert_eq!((worker(&answer.text()), client.end()), (by, End::Closed));
    }
    system::gone(old);
}

#[test]
fn a_download_is_finished() {
    const SIZE: usize = 3 << 19;
    if is_reference() {
        return;
    }
    let content: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at / 7 % 251).unwrap_or(0)).collect();
    let setup = super::configured(
        "worker_processes 1; %%main%% events {} http { %%http%% server { listen %%listen%%;
            limit_rate 1m; } }",
    );
    let daemon = setup.file("html/large", &content).start_daemon();
    let old = daemon.master();
    let mut client = daemon.client();
    client.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.response_head().status, 200);
    let mut got = client.read_exactly(SIZE / 8);
    done(&upgrade(&daemon, &second(), &[]));
    while got.len() < SIZE {
        got.extend(client.read_exactly(SIZE / 8));
    }
    assert!(got == content, "the content differs");
    assert_eq!(client.end(), End::Closed);
    drop(client);
    let begun = Instant::now();
    system::gone(old);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn an_upload_is_finished() {
    const SIZE: usize = 4 << 20;
    if is_reference() {
        return;
    }
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let daemon = start(&origin, "");
    let old = daemon.master();
    let mut client = daemon.client();
    client.send(format!("POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SIZE}\r\n\r\n"));
    let half = vec![b'x'; SIZE / 2];
    client.send(&half);
    answering(&daemon);
    done(&upgrade(&daemon, &second(), &[]));
    let answer = client.send(&half).response();
    closes(&answer);
    assert_eq!(answer.text(), "ok");
    assert_eq!(origin.connections(), 1);
    let request = origin.received_bytes();
    assert!(request.ends_with(&vec![b'x'; SIZE]));
    system::gone(old);
}

#[test]
fn an_answer_may_take_its_time() {
    if is_reference() {
        return;
    }
    let held = Held::new();
    let daemon = start(&held.origin, "");
    let old = daemon.master();
    let mut client = daemon.client();
    client.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    held.has_come();
    done(&upgrade(&daemon, &second(), &[]));
    daemon.logged("gracefully shutting down");
    held.answer(OK);
    closes(&client.response());
    system::gone(old);
}

/// A connection on which nothing is asked any more is ended politely, after a while.
#[test]
fn an_idle_connection_is_ended_in_time() {
    if is_reference() {
        return;
    }
    let daemon = telling(1).start_daemon();
    let old = daemon.master();
    let mut idle = daemon.client();
    assert_eq!(idle.send(REQUEST).response().header("Connection"), Some("keep-alive"));
    done(&upgrade(&daemon, &second(), &[]));
    let begun = Instant::now();
    assert_eq!(idle.end(), End::Closed);
    system::gone(old);
    let stayed = begun.elapsed().as_secs_f64();
    println!("an idle connection stayed {stayed:.1} s");
    assert!((1.0..12.0).contains(&stayed), "{stayed}");
}

/// Sooner where connections are not kept that long anyway.
#[test]
fn an_idle_connection_is_not_kept_longer_than_otherwise() {
    if is_reference() {
        return;
    }
    let text = telling_text(1, "$pid").replace("access_log off;", "keepalive_timeout 700ms;");
    let daemon = configured(&text).start_daemon();
    let mut idle = daemon.client();
    idle.send(REQUEST).response();
    let begun = Instant::now();
    done(&upgrade(&daemon, &second(), &[]));
    assert_eq!(idle.end(), End::Closed);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn websockets_are_cut_when_the_time_for_leaving_is_over() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let text = full_text(1, "").replace("%%main%%", "%%main%% worker_shutdown_timeout 1500ms;");
    let daemon = configured(&text).set("origin", origin.address()).start_daemon();
    let old = daemon.master();
    let mut sockets = websockets(&daemon, 10);
    done(&upgrade(&daemon, &second(), &[]));
    let begun = Instant::now();
    still_there(&mut sockets);
    for socket in &mut sockets {
        assert_eq!(socket.0.end(), End::Closed);
    }
    let lived = begun.elapsed().as_secs_f64();
    assert!((1.0..3.5).contains(&lived), "{lived}");
    daemon.logged("drain deadline: 10 connections cut");
    system::gone(old);
}

/// A generation with a websocket does not keep the next ones from coming, and all obey at the end.
#[test]
fn several_generations_finish_at_once() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let daemon = start(&origin, "");
    let (mut open, mut masters) = (Vec::new(), vec![daemon.master()]);
    let third = version::executable(version::THIRD);
    for program in [second(), third, binary()] {
        open.extend(websockets(&daemon, 1));
        done(&upgrade(&daemon, &program, &[]));
        masters.push(daemon.master());
        still_there(&mut open);
    }
    let now = status(&daemon);
    let generations = now["generations"].as_array().expect("generations");
    let listed: Vec<_> = generations.iter().filter_map(|one| one["master"].as_i64()).collect();
    for pid in &masters {
        assert!(listed.contains(&i64::from(pid.as_raw())), "{pid} is not in {now}");
    }
    assert_eq!(generations.iter().filter(|one| one["state"] == "draining").count(), 3, "{now}");
    // The master that was first now belongs to the one that serves.
    let (code, messages) = daemon.command(&["-s", "stop"]);
    assert_eq!((code, messages.as_str()), (Some(0), ""));
    for socket in &mut open {
        socket.0.end();
    }
    masters.into_iter().for_each(system::gone);
    assert!(daemon.processes().is_empty(), "{:?}", daemon.processes());
}

/// One that returns answers for those before it again.
#[test]
fn generations_belong_to_the_one_that_returns() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let setup = configured(&full_text(1, ""));
    let setup = setup.set("main", "upgrade_watch 0; upgrade_rollback_window 1m;");
    let setup = setup.allow("exited on signal 9").allow("is gone").allow("serving again");
    let mut daemon = setup.set("origin", origin.address()).start_daemon();
    let first = daemon.master();
    let mut open = websockets(&daemon, 1);
    done(&upgrade(&daemon, &second(), &[]));
    let returning = daemon.master();
    done(&upgrade(&daemon, &version::executable(version::THIRD), &[]));
    let last = daemon.master();
    daemon.kill(last);
    daemon.only_master(returning);
    still_there(&mut open);
    let now = status(&daemon);
    let draining = |one: &Value| one["state"] == "draining" && one["master"] == first.as_raw();
    let generations = now["generations"].as_array().expect("generations");
    assert!(generations.iter().any(draining), "{now}");
    assert_eq!(daemon.command(&["-s", "stop"]).0, Some(0));
    open.remove(0).0.end();
    for pid in [first, returning] {
        system::gone(pid);
    }
}

/// A graceful end waits for every generation.
#[test]
fn the_end_is_graceful_for_all_generations() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let daemon = start(&origin, "");
    let mut open = websockets(&daemon, 1);
    let old = daemon.master();
    done(&upgrade(&daemon, &second(), &[]));
    open.extend(websockets(&daemon, 1));
    let new = daemon.master();
    assert_eq!(daemon.command(&["-s", "quit"]).0, Some(0));
    daemon.logged(&format!("{new}#{new}: signal 3 (SIGQUIT) received from"));
    still_there(&mut open);
    for socket in &mut open {
        socket.send(&Frame::close());
        assert_eq!(socket.receive(), Frame::close());
        assert_eq!(socket.0.end(), End::Closed);
    }
    for pid in [old, new] {
        system::gone(pid);
    }
}

/// Only so many generations may finish at once; the oldest is cut when there is one more.
#[test]
fn the_oldest_generation_makes_room() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let text = full_text(1, "").replace("%%main%%", "%%main%% max_draining_generations 2;");
    let daemon = configured(&text).set("origin", origin.address()).start_daemon();
    let (mut open, mut masters) = (Vec::new(), Vec::new());
    for round in 0..4 {
        open.extend(websockets(&daemon, 1));
        masters.push(daemon.master());
        let program = if round % 2 == 0 { second() } else { binary() };
        done(&upgrade(&daemon, &program, &[]));
    }
    // Two have gone, their websockets with them; two are left.
    for (socket, master) in open.drain(..2).zip(masters.drain(..2)).collect::<Vec<_>>() {
        let mut client: Client = socket.0;
        client.end();
        system::gone(master);
    }
    still_there(&mut open);
    let alive: Vec<Pid> = masters.into_iter().filter(|pid| system::alive(*pid)).collect();
    assert_eq!(alive.len(), 2, "{alive:?}");
}
