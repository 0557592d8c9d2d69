//! Clients that leave early, and upstreams that take too long.

use std::sync::{Mutex, mpsc};

use super::{TWO, proxy};
use crate::support::{DEADLINE, Origin, Server, Setup};

/// A backend that says when a request has come and when its connection ends,
/// and never answers.
fn silent() -> (Origin, mpsc::Receiver<&'static str>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::new(move |peer| {
        let say = |word| {
            let _ = tell.lock().expect("a lock").send(word);
        };
        if peer.request().is_some() {
            say("request");
            peer.wait_for_end();
            say("end");
        }
    });
    (origin, told)
}

fn statuses(server: &mut Server) -> Vec<String> {
    server.quit();
    let log = server.read("access.log");
    log.lines().filter_map(|line| line.split(' ').nth(8).map(str::to_owned)).collect()
}

#[test]
fn a_client_that_leaves_is_logged_as_499_and_the_upstream_let_go() {
    let (origin, told) = silent();
    let mut server = proxy(&origin, "");
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(told.recv_timeout(DEADLINE), Ok("request"));
    drop(client);
    assert_eq!(told.recv_timeout(DEADLINE), Ok("end"));
    assert_eq!(statuses(&mut server), ["499"]);
}

#[test]
fn a_reset_counts_as_leaving() {
    let (origin, told) = silent();
    let mut server = proxy(&origin, "");
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(told.recv_timeout(DEADLINE), Ok("request"));
    client.reset();
    assert_eq!(told.recv_timeout(DEADLINE), Ok("end"));
    assert_eq!(statuses(&mut server), ["499"]);
}

#[test]
fn an_ignored_abort_lets_the_upstream_finish() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::new(move |peer| {
        if peer.request().is_some() {
            let _ = tell.lock().expect("a lock").send("request");
            let _ = wait.lock().expect("a lock").recv_timeout(DEADLINE);
            peer.send(TWO);
        }
    });
    let mut server = proxy(&origin, "proxy_ignore_client_abort on;");
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(told.recv_timeout(DEADLINE), Ok("request"));
    drop(client);
    go.send(()).expect("a waiting backend");
    assert_eq!(statuses(&mut server), ["200"]);
}

#[test]
fn a_client_that_leaves_while_sending_its_body_is_logged_as_400() {
    let origin = Origin::answering(TWO);
    let mut server = proxy(&origin, "");
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc");
    drop(client);
    server.wait_for("access.log", |log| !log.is_empty());
    assert_eq!(statuses(&mut server), ["400"]);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_upstream_that_takes_too_long_is_a_504() {
    let (origin, told) = silent();
    let server = proxy(&origin, "proxy_read_timeout 100ms;");
    let answer = server.get("/");
    assert_eq!(answer.status_line, "HTTP/1.1 504 Gateway Time-out");
    assert_eq!(told.recv_timeout(DEADLINE), Ok("request"));
    assert_eq!(told.recv_timeout(DEADLINE), Ok("end"));
    let log = server.wait_for("error.log", |log| log.contains("timed out"));
    let expected = format!(
        "upstream timed out (110: Connection timed out) while reading response header from upstream, \
         client: 127.0.0.1, server: , request: \"GET / HTTP/1.1\", upstream: \"http://{}/\", \
         host: \"localhost\"",
        origin.address()
    );
    assert!(log.contains(&expected), "{log}");
}

#[test]
fn an_answer_that_stalls_is_cut() {
    let origin = Origin::new(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbody");
        peer.wait_for_end();
    });
    let server = proxy(&origin, "proxy_read_timeout 100ms; proxy_buffering off;");
    let answer = server.get("/");
    assert_eq!((answer.complete, answer.text().as_str()), (false, "body"));
    server.wait_for("error.log", |log| {
        log.contains("upstream timed out (110: Connection timed out) while reading upstream")
    });
}

#[test]
fn a_slow_request_head_is_closed_without_an_answer() {
    let mut server = Setup::http(
        "client_header_timeout 100ms; server { listen %%listen%%; location / { return 200; } }",
    )
    .start();
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\n");
    let answer = client.read_to_end();
    assert_eq!(String::from_utf8_lossy(&answer), "");
    assert_eq!(statuses(&mut server), ["408"]);
}

#[test]
fn an_idle_connection_is_closed() {
    let server = Setup::http(
        "keepalive_timeout 100ms; server { listen %%listen%%; location / { return 200; } }",
    )
    .start();
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.response().header("Connection"), Some("keep-alive"));
    assert_eq!(client.end(), crate::support::End::Closed);
}
