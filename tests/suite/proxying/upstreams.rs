//! Groups of upstream servers: kept connections, failures and the next one.

use super::{EMPTY, TWO, group};
use crate::support::{Origin, Server};

const TELL: &str =
    "add_header X-Addr $upstream_addr always; add_header X-Status $upstream_status always;";

fn two_peers(first: &str, second: &Origin, lines: &str) -> Server {
    let peers = format!("server {first}; server {} backup;", second.address());
    group(&peers, &format!("{TELL} {lines}")).start()
}

#[test]
fn a_connection_is_used_again() {
    let origin = Origin::answering(TWO);
    let server =
        group("server %%origin%%; keepalive 1;", "").set("origin", origin.address()).start();
    for _ in 0..3 {
        assert_eq!(server.get("/").text(), "ok");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_connection_the_upstream_has_closed_is_not_used_again() {
    let origin = Origin::answering_once(TWO);
    let server =
        group("server %%origin%%; keepalive 1;", "").set("origin", origin.address()).start();
    for _ in 0..3 {
        assert_eq!(server.get("/").text(), "ok");
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn a_kept_connection_that_fails_is_tried_again_on_a_new_one() {
    let origin = Origin::new(|peer| {
        peer.request();
        peer.send(TWO);
        if peer.number == 1 {
            // Looks alive until the next request is on its way.
            peer.request();
            peer.reset();
        } else {
            peer.wait_for_end();
        }
    });
    let server =
        group("server %%origin%%; keepalive 1;", "").set("origin", origin.address()).start();
    assert_eq!(server.get("/1").text(), "ok");
    assert_eq!(server.get("/2").text(), "ok");
    assert_eq!(origin.connections(), 2);
    let paths: Vec<_> = (0..3).map(|_| origin.received()[5..6].to_owned()).collect();
    assert_eq!(paths, ["1", "2", "2"]);
}

#[test]
fn connection_close_is_believed() {
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let server =
        group("server %%origin%%; keepalive 1;", "").set("origin", origin.address()).start();
    for _ in 0..2 {
        assert_eq!(server.get("/").text(), "ok");
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn bytes_beyond_the_answer_end_the_connection() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more");
    let server =
        group("server %%origin%%; keepalive 1;", "").set("origin", origin.address()).start();
    for _ in 0..2 {
        assert_eq!(server.get("/").text(), "ok");
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_refused_connection_goes_to_the_next() {
    let second = Origin::answering(TWO);
    let server = two_peers("%%listen_nobody%%", &second, "");
    let answer = server.get("/");
    assert_eq!(answer.text(), "ok");
    let tried = format!("{}, {}", server.address_of("listen_nobody"), second.address());
    assert_eq!(answer.header("X-Addr"), Some(tried.as_str()));
    assert_eq!(answer.header("X-Status"), Some("502, 200"));
    let expected = format!(
        "connect() failed (111: Connection refused) while connecting to upstream, client: 127.0.0.1, \
         server: , request: \"GET / HTTP/1.1\", upstream: \"http://{}/\", host: \"localhost\"",
        server.address_of("listen_nobody")
    );
    let log = server.wait_for("error.log", |log| log.contains("connect() failed"));
    assert!(log.contains(&expected), "{log}");
    // The failed one is left alone for a while.
    assert_eq!(server.get("/").header("X-Status"), Some("200"));
}

#[test]
fn a_close_without_an_answer_goes_to_the_next() {
    let first = Origin::new(|peer| {
        peer.request();
    });
    let second = Origin::answering(TWO);
    let server = two_peers(&first.address().to_string(), &second, "");
    let answer = server.get("/");
    assert_eq!((answer.text().as_str(), answer.header("X-Status")), ("ok", Some("502, 200")));
    let log = server.wait_for("error.log", |log| log.contains("prematurely"));
    assert!(log.contains(
        "upstream prematurely closed connection while reading response header from upstream"
    ));
}

#[test]
fn a_post_is_sent_once() {
    let first = Origin::new(|peer| {
        peer.request();
    });
    let second = Origin::answering(TWO);
    let post =
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
    let server = two_peers(&first.address().to_string(), &second, "");
    assert_eq!(server.request(post).status, 502);
    assert_eq!(second.connections(), 0);
    let lines = "proxy_next_upstream error timeout non_idempotent;";
    let server = two_peers(&first.address().to_string(), &second, lines);
    assert_eq!(server.request(post).text(), "ok");
    assert!(second.received().ends_with("\r\n\r\nhi"));
}

#[test]
fn a_post_nobody_has_seen_goes_to_the_next() {
    let second = Origin::answering(TWO);
    let server = two_peers("%%listen_nobody%%", &second, "");
    let post =
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(server.request(post).text(), "ok");
}

#[test]
fn statuses_can_be_failures() {
    let first = Origin::answering("HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n");
    let second = Origin::answering(TWO);
    let server = two_peers(&first.address().to_string(), &second, "proxy_next_upstream http_503;");
    assert_eq!(server.get("/").header("X-Status"), Some("503, 200"));
    let server = two_peers(&first.address().to_string(), &second, "");
    assert_eq!(server.get("/").status_line, "HTTP/1.1 503 Down");
}

#[test]
fn the_last_failure_is_the_answer_when_nobody_is_left() {
    let server = group("server %%listen_a%%; server %%listen_b%%;", TELL).start();
    let answer = server.get("/");
    assert_eq!(answer.status_line, "HTTP/1.1 502 Bad Gateway");
    assert_eq!(answer.header("X-Status"), Some("502, 502"));
    let answer = server.get("/");
    assert_eq!((answer.header("X-Addr"), answer.header("X-Status")), (Some("u"), Some("502")));
    let log = server.wait_for("error.log", |log| log.contains("no live upstreams"));
    let expected = "no live upstreams while connecting to upstream, client: 127.0.0.1, server: , \
                    request: \"GET / HTTP/1.1\", upstream: \"http://u/\", host: \"localhost\"";
    assert!(log.contains(expected), "{log}");
}

#[test]
fn next_upstream_can_be_off() {
    let second = Origin::answering(TWO);
    let server = two_peers("%%listen_nobody%%", &second, "proxy_next_upstream off;");
    assert_eq!(server.get("/").status, 502);
    assert_eq!(second.connections(), 0);
}

#[test]
fn weights_are_shared_out_smoothly() {
    let heavy = Origin::answering(EMPTY);
    let light = Origin::answering(EMPTY);
    let peers = format!("server {} weight=3; server {};", heavy.address(), light.address());
    let server = group(&peers, TELL).start();
    let order: String = (0..8)
        .map(|_| {
            let answer = server.get("/");
            if answer.header("X-Addr") == Some(&heavy.address().to_string()) { 'h' } else { 'l' }
        })
        .collect();
    assert_eq!(order, "hhlhhhlh");
}

#[test]
fn a_server_that_is_down_gets_nothing() {
    let up = Origin::answering(EMPTY);
    let server =
        group("server %%listen_down%% down; server %%up%%;", TELL).set("up", up.address()).start();
    for _ in 0..3 {
        assert_eq!(server.get("/").header("X-Addr"), Some(up.address().to_string().as_str()));
    }
}

#[test]
fn a_unix_socket_is_an_upstream_too() {
    let server = crate::support::Setup::http(
        "server { listen unix:%%dir%%/inner; location / { return 200 \"$http_host $remote_addr\"; } }
         server { listen %%listen%%; location / { proxy_pass http://unix:%%dir%%/inner:/x; } }",
    )
    .start();
    assert_eq!(server.get("/").text(), "localhost unix:");
}
