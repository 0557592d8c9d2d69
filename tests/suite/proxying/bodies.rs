//! Bodies both ways: whole, in pieces, large, early and short.

use std::io::Write as _;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;

use super::{EMPTY, TWO, proxy};
use crate::support::{DEADLINE, End, Origin};

/// Bytes in which a missing or doubled block shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at / 251 + at) % 251).unwrap_or(0)).collect()
}

fn post(length: usize, lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{lines}\r\n")
}

const CHUNKED_POST: &str =
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_body_is_passed_on() {
    let origin = Origin::answering(TWO);
    let server = proxy(&origin, "");
    let mut client = server.client();
    assert_eq!(client.send(post(5, "")).send("hello").response().text(), "ok");
    let expected =
        format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 5\r\n\r\nhello", origin.address());
    assert_eq!(origin.received(), expected);
}

#[test]
fn a_chunked_body_is_passed_with_its_length_when_buffered() {
    let origin = Origin::answering(TWO);
    let server = proxy(&origin, "");
    let mut client = server.client();
    client.send(CHUNKED_POST).send("3;ext=1\r\nabc\r\n").send("2\r\nde\r\n0\r\nX-T: v\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
    let expected =
        format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 5\r\n\r\nabcde", origin.address());
    assert_eq!(origin.received(), expected);
    // The trailer section was taken off the connection too.
    assert_eq!(client.send(post(0, "")).response().text(), "ok");
}

#[test]
fn a_chunked_body_stays_chunked_when_not_buffered() {
    let (seen, parts) = mpsc::channel();
    let seen = Mutex::new(seen);
    let origin = Origin::new(move |peer| {
        let Some(head) = peer.head() else { return };
        let _ = seen.lock().expect("a lock").send(head);
        for length in [8, 12] {
            let part = peer.exactly(length).unwrap_or_default();
            let _ = seen.lock().expect("a lock").send(part);
        }
        peer.send(TWO);
    });
    let server = proxy(&origin, "proxy_request_buffering off;");
    let mut client = server.client();
    let part = || {
        let bytes = parts.recv_timeout(DEADLINE).expect("a part");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    client.send(CHUNKED_POST).send("3\r\nabc\r\n");
    let head = part();
    assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n"), "{head}");
    assert_eq!(part(), "3\r\nabc\r\n");
    client.send("2;ext\r\nde\r\n0\r\n\r\n");
    assert_eq!(part(), "2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn a_buffered_request_waits_for_its_body() {
    let origin = Origin::answering(TWO);
    let server = proxy(&origin, "");
    let mut slow = server.client();
    slow.send(post(6, "X-Who: slow\r\n")).send("abc");
    // By the time this one is answered the other has been read, too.
    assert_eq!(server.get("/").text(), "ok");
    assert!(!origin.received().contains("slow"));
    assert_eq!(slow.send("def").response().text(), "ok");
    assert!(origin.received().ends_with("abcdef"));
}

#[test]
fn an_unbuffered_request_is_passed_as_it_comes() {
    let (seen, parts) = mpsc::channel();
    let seen = Mutex::new(seen);
    let origin = Origin::new(move |peer| {
        let Some(_) = peer.head() else { return };
        while let Some(part) = peer.exactly(3) {
            let last = part == b"def";
            let _ = seen.lock().expect("a lock").send(part);
            if last {
                peer.send(TWO);
            }
        }
    });
    let server = proxy(&origin, "proxy_request_buffering off;");
    let mut client = server.client();
    client.send(post(6, "")).send("abc");
    assert_eq!(parts.recv_timeout(DEADLINE).expect("the first part"), b"abc");
    assert_eq!(client.send("def").response().text(), "ok");
}

#[test]
fn a_client_that_waits_for_100_gets_it_once() {
    let origin = Origin::answering(TWO);
    let server = proxy(&origin, "");
    let mut client = server.client();
    client.send(post(5, "Expect: 100-Continue\r\n"));
    let interim = client.read_through(b"\r\n\r\n");
    assert_eq!(String::from_utf8_lossy(&interim), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.send("hello").response().text(), "ok");
    assert!(!origin.received().contains("Expect"));
    // HTTP/1.0 does not know of it.
    let old = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(server.request(old).status, 200);
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let origin = Origin::answering(EMPTY);
    let server = proxy(&origin, "client_max_body_size 10;");
    let mut client = server.client();
    let refused = client.send(post(11, "")).response();
    assert_eq!(refused.status_line, "HTTP/1.1 413 Request Entity Too Large");
    assert_eq!(refused.header("Connection"), Some("close"));
    let mut client = server.client();
    client.send(CHUNKED_POST).send("b\r\nhello world\r\n0\r\n\r\n");
    assert_eq!(client.response().status, 413);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_large_upload_arrives_whole() {
    for lines in ["", "proxy_request_buffering off;"] {
        let origin = Origin::answering(TWO);
        let server = proxy(&origin, &format!("client_max_body_size 0; {lines}"));
        let body = pattern(3_000_000);
        let mut client = server.client();
        assert_eq!(client.send(post(body.len(), "")).send(&body).response().text(), "ok");
        let received = origin.received_bytes();
        assert!(received.ends_with(&body), "{} bytes with {lines:?}", received.len());
    }
}

#[test]
fn a_large_answer_arrives_whole_at_a_client_in_no_hurry() {
    for lines in ["", "proxy_buffering off;", "proxy_max_temp_file_size 0;"] {
        let body = Arc::new(pattern(5_000_000));
        let sent = Arc::clone(&body);
        let origin = Origin::new(move |peer| {
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len()));
            peer.send(&*sent);
        });
        let server = proxy(&origin, lines);
        let mut client = server.client();
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = client.response_head();
        assert_eq!(head.header("Content-Length"), Some("5000000"));
        // The rest piles up at the server while others are served.
        assert_eq!(client.read_exactly(10), body[..10]);
        let answer = client.read_exactly(body.len() - 10);
        assert!(answer == body[10..], "{lines:?}");
    }
}

#[test]
fn a_chunked_answer_is_unwrapped_for_http_1_0() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    let server = proxy(&origin, "");
    let answer = server.request("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(answer.header("Transfer-Encoding"), None);
    assert_eq!(answer.header("Connection"), Some("close"));
    assert_eq!(answer.text(), "abcde");
}

#[test]
fn an_unbuffered_answer_is_passed_as_it_comes() {
    for (lines, field) in [("proxy_buffering off;", ""), ("", "X-Accel-Buffering: no\r\n")] {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let origin = Origin::new(move |peer| {
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\n{field}Content-Length: 6\r\n\r\nabc"));
            let _ = wait.lock().expect("a lock").recv_timeout(DEADLINE);
            peer.send("def");
        });
        let server = proxy(&origin, lines);
        let mut client = server.client();
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.response_head().header("X-Accel-Buffering"), None);
        assert_eq!(client.read_exactly(3), b"abc");
        go.send(()).expect("a waiting backend");
        assert_eq!(client.read_exactly(3), b"def");
    }
}

#[test]
fn head_brings_the_length_and_no_body_and_keeps_both_connections() {
    let origin = Origin::new(|peer| {
        while let Some(request) = peer.request() {
            let body = if request.starts_with(b"HEAD") { "" } else { "hello" };
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}"));
        }
    });
    let server =
        super::group("server %%origin%%; keepalive 4;", "").set("origin", origin.address()).start();
    let mut client = server.client();
    client.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.response_head().header("Content-Length"), Some("5"));
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.response().text(), "hello");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_answer_before_the_end_of_the_body_is_passed_on() {
    for lines in ["", "proxy_request_buffering off;"] {
        let origin = Origin::new(|peer| {
            if peer.head().is_some() {
                peer.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
                peer.finish();
                peer.wait_for_end();
            }
        });
        let server = proxy(&origin, &format!("client_max_body_size 0; {lines}"));
        let mut client = server.client();
        let mut upload = client.handle();
        let uploading = thread::spawn(move || {
            let body = pattern(2_000_000);
            let head = post(body.len(), "");
            // The server may well stop reading.
            let _ = upload.write_all(head.as_bytes()).and_then(|()| upload.write_all(&body));
        });
        let answer = client.response();
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"), "{lines}");
        drop((client, server));
        uploading.join().expect("an upload");
    }
}

#[test]
fn a_short_answer_ends_the_connection() {
    let origin = Origin::new(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbody");
        peer.reset();
    });
    let server = proxy(&origin, "");
    let mut client = server.client();
    let answer = client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").response();
    assert!(!answer.complete, "{answer:?}");
    assert_eq!(client.end(), End::Closed);
}
