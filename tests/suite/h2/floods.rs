//! Clients that cost more than they bring: each is told to calm down, or cut, and the log says for what.

use super::{alone, setup};
use crate::support::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, H2, HEADERS, PING, PRIORITY,
    RST_STREAM, SETTINGS, block, frame,
};
use crate::support::{Server, is_reference};

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/said"), (":authority", "localhost")];

/// Sends all of it from a second thread, because a server that has had enough does not read it; then
/// waits for the end.
fn flood(server: &Server, bytes: Vec<u8>) -> Option<u32> {
    let mut h2 = H2::connect(server.address());
    let mut handle = h2.handle();
    let sender = std::thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut handle, &bytes);
    });
    let error = h2.farewell_or_reset();
    drop(h2);
    sender.join().expect("a sender");
    error
}

/// How many connections the server says it has ended for something.
fn counted(server: &Server, kind: &str) -> u64 {
    let (_, answer) = server.control("GET", "/1/proxyd/status");
    let status: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    status["floods"][kind].as_u64().expect("a number")
}

/// A flood of one frame.
fn flooded(frame: &[u8], what: &str, kind: &str) {
    if is_reference() {
        return;
    }
    let server = alone("");
    assert_eq!(flood(&server, frame.repeat(20_000)), Some(ENHANCE_YOUR_CALM));
    server.logged(&format!("http2 flood detected: client sent too many {what} frames"));
    assert_eq!(counted(&server, kind), 1);
    let mut h2 = H2::connect(server.address());
    let said = h2.get("/said");
    assert_eq!(h2.answer(said).status, 200);
}

#[test]
fn pings() {
    flooded(&frame(PING, 0, 0, b"12345678"), "PING", "ping");
}

#[test]
fn settings() {
    flooded(&frame(SETTINGS, 0, 0, b""), "SETTINGS", "settings");
}

#[test]
fn priorities() {
    flooded(&frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0]), "PRIORITY", "other");
}

#[test]
fn frames_of_kinds_that_nobody_knows() {
    flooded(&frame(0x77, 0, 0, b""), "unknown", "other");
}

#[test]
fn empty_data() {
    if is_reference() {
        return;
    }
    let server = alone("location / { proxy_pass http://127.0.0.1:1; }");
    let mut bytes = frame(
        HEADERS,
        END_HEADERS,
        1,
        &block(&[&[(":method", "POST")], &GET[1..2], &[(":path", "/"), GET[3]]].concat()),
    );
    bytes.extend(frame(DATA, 0, 1, b"").repeat(20_000));
    assert_eq!(flood(&server, bytes), Some(ENHANCE_YOUR_CALM));
    assert_eq!(counted(&server, "data"), 1);
}

/// CVE-2023-44487: requests that are given up at once cost the client nothing.
#[test]
fn requests_that_are_given_up_at_once() {
    if is_reference() {
        return;
    }
    let server = alone("");
    let asked = block(&GET);
    let pairs = (0..20_000).flat_map(|n| {
        let stream = 2 * n + 1;
        let mut pair = frame(HEADERS, END_HEADERS | END_STREAM, stream, &asked);
        pair.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        pair
    });
    assert_eq!(flood(&server, pairs.collect()), Some(ENHANCE_YOUR_CALM));
    assert_eq!(counted(&server, "reset"), 1);
    server.logged("http2 flood detected: client sent too many RST_STREAM frames");
    let log = server.wait_for("h2.log", |_| true);
    assert!(log.lines().count() < 1000, "{} were served", log.lines().count());
}

/// A head that never ends.
#[test]
fn continuations() {
    if is_reference() {
        return;
    }
    let server = alone("");
    let field = block(&[("x", &"x".repeat(1000))]);
    let mut bytes = frame(HEADERS, END_STREAM, 1, &block(&GET));
    bytes.extend(frame(CONTINUATION, 0, 1, &field).repeat(20_000));
    assert_eq!(flood(&server, bytes), Some(ENHANCE_YOUR_CALM));
    server.logged("http2 flood detected: client sent too many header frames");
    let mut bytes = frame(HEADERS, END_STREAM, 1, &block(&GET));
    bytes.extend(frame(CONTINUATION, 0, 1, b"").repeat(20_000));
    assert_eq!(flood(&server, bytes), Some(ENHANCE_YOUR_CALM));
    assert_eq!(counted(&server, "heads"), 2);
}

/// A few bytes on the wire that stand for many: the dynamic table is named again and again.
#[test]
fn heads_that_are_larger_than_they_look() {
    let server = alone("");
    let mut h2 = H2::connect(server.address());
    let mut head = block(&GET);
    // A literal that is entered into the table, and then its index, 15000 times.
    let value = "x".repeat(3000);
    let mut entered = block(&[("x", &value)]);
    entered[0] = 0x40;
    head.extend(entered);
    head.extend([0xbe].repeat(15_000));
    h2.frame(HEADERS, END_HEADERS | END_STREAM, 1, &head);
    h2.ended(1);
    let log = server.read("h2.log");
    assert!(!log.contains(" 200 "), "{log}");
}

#[test]
fn too_many_fields() {
    let server = setup("location / { return 200; }").start();
    let mut h2 = H2::connect(server.address());
    let names: Vec<String> = (0..1001).map(|n| format!("x{n}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let many = h2.request("GET", "/", &fields, true);
    assert_eq!(h2.answer(many).status, 400);
}

/// Whoever does not let a body come must not hold it, nor what feeds it, for ever.
#[test]
fn windows_that_are_never_opened() {
    let server = setup("send_timeout 500ms; location / { root html; }")
        .file("html/large", vec![b'x'; 100_000])
        .start();
    let mut h2 = H2::with_settings(server.address(), &[(4, 10)]);
    h2.get("/large");
    server.wait_for("h2.log", |log| log.contains("GET /large HTTP/2.0 200 ."));
    server.logged("client timed out (110: Connection timed out)");
}

#[test]
fn heads_that_come_too_slowly() {
    let server = alone("client_header_timeout 500ms;");
    let mut h2 = H2::connect(server.address());
    h2.frame(HEADERS, END_STREAM, 1, &block(&GET));
    h2.farewell_or_reset();
    server.logged("client timed out (110: Connection timed out)");
}
