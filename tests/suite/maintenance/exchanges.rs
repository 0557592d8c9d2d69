//! What is under way when the door closes, one exchange at a time: it is counted to its end, and an
//! end that nobody saw is not forgotten.

use std::sync::{Mutex, mpsc};

use serde_json::json;

use super::{OK, barrier, close, inflight, open, proxy};
use crate::support::{DEADLINE, Held, Origin, Server, Setup, system};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";

/// Waits for a proof that is not clean only for what nobody knows.
fn unknown(server: &Server) -> u64 {
    let proof = barrier(server, 5000);
    assert_eq!(proof["timed_out"], false, "{proof}");
    assert_eq!(proof["clean"], proof["unknown"] == 0, "{proof}");
    proof["unknown"].as_u64().expect("a number")
}

#[test]
fn what_is_under_way_is_counted_by_its_kind_until_it_has_ended() {
    let held = Held::new();
    let server = proxy(&held.origin, "");
    let mut reader = server.client();
    reader.send(GET);
    held.has_come();
    let mut writer = server.client();
    writer.send(POST);
    held.has_come();
    let under_way = inflight(&server);
    assert_eq!((&under_way["read"], &under_way["write"]), (&json!(1), &json!(1)));
    close(&server);
    assert_eq!(server.get("/").status, 503);
    let proof = barrier(&server, 200);
    assert_eq!((&proof["timed_out"], &proof["inflight"]["write"]), (&json!(true), &json!(1)));
    held.answer(OK);
    held.answer(OK);
    assert_eq!((reader.response().status, writer.response().status), (200, 200));
    assert_eq!(unknown(&server), 0);
    assert_eq!(held.origin.connections(), 2);
}

#[test]
fn a_client_that_leaves_does_not_end_what_it_began() {
    let held = Held::new();
    let server = proxy(&held.origin, "");
    let mut client = server.client();
    client.send(POST);
    held.has_come();
    close(&server);
    drop(client);
    let proof = barrier(&server, 300);
    assert_eq!((&proof["timed_out"], &proof["inflight"]["write"]), (&json!(true), &json!(1)));
    held.answer(OK);
    assert_eq!(unknown(&server), 0);
}

#[test]
fn not_even_in_the_middle_of_the_answer() {
    const LONG: usize = 4 << 20;
    let (tell, told) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let (tell, wait) = (Mutex::new(tell), Mutex::new(wait));
    let origin = Origin::new(move |peer| {
        if peer.request().is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n"));
            peer.send(vec![b'x'; LONG / 2]);
            let _ = wait.lock().expect("a lock").recv_timeout(DEADLINE);
            let whole = peer.send(vec![b'x'; LONG / 2]);
            let _ = tell.lock().expect("a lock").send(whole);
        }
    });
    let server = proxy(&origin, "");
    let mut client = server.client();
    client.send(POST);
    client.response_head();
    close(&server);
    client.reset();
    let proof = barrier(&server, 300);
    assert_eq!(proof["timed_out"], true, "{proof}");
    go.send(()).expect("a waiting backend");
    assert!(told.recv_timeout(DEADLINE).expect("the end"), "the backend could say all");
    assert_eq!(unknown(&server), 0);
}

#[test]
fn a_range_of_an_answer_leaves_no_question() {
    const LONG: usize = 4 << 20;
    let (come, has_come) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let (come, wait) = (Mutex::new(come), Mutex::new(wait));
    let origin = Origin::new(move |peer| {
        if peer.request().is_some() {
            let _ = come.lock().expect("a lock").send(());
            let _ = wait.lock().expect("a lock").recv_timeout(DEADLINE);
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n"));
            peer.send(vec![b'x'; LONG / 2]);
            // The rest never comes.
            let _ = peer.request();
        }
    });
    let server = proxy(&origin, "proxy_force_ranges on;");
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes=10-19\r\n\r\n");
    has_come.recv_timeout(DEADLINE).expect("a request");
    close(&server);
    go.send(()).expect("a waiting backend");
    let answer = client.response();
    assert_eq!((answer.status, answer.body.len()), (206, 10));
    assert_eq!(unknown(&server), 0);
}

#[test]
fn a_client_that_leaves_an_open_door_leaves_a_question() {
    let held = Held::new();
    let server = proxy(&held.origin, "");
    let mut client = server.client();
    client.send(POST);
    held.has_come();
    drop(client);
    server.logged("client prematurely closed connection, so upstream connection is closed too");
    // The question is noted before the exchange ends, never the other way round.
    system::until("the exchange has ended", || inflight(&server)["write"] == json!(0));
    assert_eq!(inflight(&server)["unknown"], json!(1));
    held.answer("");
}

#[test]
fn an_upstream_that_dies_leaves_a_question() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"] {
        let held = Held::new();
        let server = proxy(&held.origin, "");
        let mut client = server.client();
        client.send(POST);
        held.has_come();
        close(&server);
        held.answer(answer);
        held.answer("");
        drop(held);
        client.response();
        assert_eq!(unknown(&server), 1, "{answer:?}");
    }
}

#[test]
fn an_upstream_that_takes_too_long_leaves_a_question() {
    let held = Held::new();
    let server = proxy(&held.origin, "proxy_read_timeout 100ms;");
    let mut client = server.client();
    client.send(POST);
    held.has_come();
    close(&server);
    assert_eq!(client.response().status, 504);
    assert_eq!(unknown(&server), 1);
    held.answer("");
}

#[test]
fn what_never_reached_an_upstream_leaves_none() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = gone.local_addr().expect("an address");
    drop(gone);
    let text = "server { listen %%listen%%; location / { proxy_pass http://%%gone%%; } }";
    let server = Setup::http(text).set("gone", address).start();
    assert_eq!(server.request(POST).status, 502);
    close(&server);
    assert_eq!(unknown(&server), 0);
}

#[test]
fn a_retry_does_not_begin_behind_a_closed_door() {
    let held = Held::new();
    let second = Origin::answering(OK);
    let text = "upstream u { server %%first%%; server %%second%% backup; } \
                server { listen %%listen%%; location / { proxy_pass http://u; } }";
    let setup = Setup::http(text).set("first", held.origin.address());
    let server = setup.set("second", second.address()).start();
    let mut client = server.client();
    client.send(GET);
    held.has_come();
    close(&server);
    held.answer("");
    assert_eq!(client.response().status, 503);
    assert_eq!(second.connections(), 0);
    assert_eq!(unknown(&server), 1, "the first one may have done it");
}

#[test]
fn a_read_that_another_upstream_answers_leaves_no_question() {
    let first = Origin::new(|peer| drop(peer.request()));
    let second = Origin::answering(OK);
    let text = "upstream u { server %%first%%; server %%second%% backup; } \
                server { listen %%listen%%; location / { proxy_pass http://u; } }";
    let setup = Setup::http(text).set("first", first.address());
    let server = setup.set("second", second.address()).start();
    assert_eq!(server.get("/").status, 200);
    close(&server);
    assert_eq!(unknown(&server), 0);
}

#[test]
fn a_body_that_comes_slowly_is_refused_at_the_last_door() {
    let origin = Origin::answering(OK);
    let server = proxy(&origin, "");
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na");
    // It is being served.
    server.get("/");
    close(&server);
    assert_eq!(unknown(&server), 0, "nothing of it has gone anywhere");
    client.send("bc");
    assert_eq!(client.response().status, 503);
    assert_eq!(origin.connections(), 1);
    open(&server);
    assert_eq!(client.send(POST).response().status, 200);
}

#[test]
fn a_killed_worker_leaves_its_questions() {
    let held = Held::new();
    let mut server = proxy(&held.origin, "");
    server.allow("exited on signal 9");
    let mut clients: Vec<_> = (0..3).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send(POST);
        held.has_come();
    }
    close(&server);
    let worker = server.workers()[0];
    nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGKILL).expect("a signal");
    assert_eq!(unknown(&server), 3);
    for _ in 0..3 {
        held.answer("");
    }
}
