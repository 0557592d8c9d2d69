//! Requests on HTTP/2 connections: each stream stands before the door, whenever its connection was opened.

use serde_json::json;

use super::{OK, barrier, close, inflight, kill, open, setup};
use crate::support::h2::{CANCEL, H2, HEADERS};
use crate::support::{Held, Origin};

#[test]
fn a_connection_from_before_does_not_pass() {
    let held = Held::new();
    let server = setup(&held.origin, "http2 on;").start();
    let mut h2 = H2::connect(server.address());
    let before = h2.get("/");
    held.has_come();
    close(&server);
    let after = h2.get("/");
    let answer = h2.answer(after);
    assert_eq!((answer.status, answer.reset), (503, None));
    assert!(answer.text().contains("<html"), "{}", answer.text());
    let proof = barrier(&server, 200);
    assert_eq!((&proof["timed_out"], &proof["inflight"]["read"]), (&json!(true), &json!(1)));
    held.answer(OK);
    assert_eq!(h2.answer(before).text(), "ok");
    assert_eq!(barrier(&server, 5000)["clean"], true);
    assert_eq!(held.origin.connections(), 1);
    open(&server);
    let again = h2.get("/");
    held.has_come();
    held.answer(OK);
    assert_eq!(h2.answer(again).status, 200);
}

#[test]
fn a_stream_that_is_given_up_does_not_end_what_it_began() {
    let held = Held::new();
    let server = setup(&held.origin, "http2 on;").start();
    let mut h2 = H2::connect(server.address());
    let given_up = h2.request("POST", "/", &[("content-length", "3")], false);
    h2.data(given_up, b"abc", true);
    held.has_come();
    close(&server);
    h2.reset(given_up, CANCEL);
    // The order of what is sent is the order in which it is read: the stream is gone by now.
    let after = h2.get("/");
    h2.answer(after);
    assert_eq!(inflight(&server)["write"], json!(1));
    drop(h2);
    let proof = barrier(&server, 300);
    assert_eq!((&proof["timed_out"], &proof["inflight"]["write"]), (&json!(true), &json!(1)));
    held.answer(OK);
    assert_eq!(barrier(&server, 5000)["timed_out"], false);
}

/// The other streams of its connection go on.
#[test]
fn one_that_does_not_end_is_cut_off_alone() {
    let held = Held::new();
    let server = setup(&held.origin, "http2 on; location = /free { maintenance off; return 204; }");
    let server = server.start();
    let mut h2 = H2::connect(server.address());
    let stuck = h2.get("/");
    held.has_come();
    close(&server);
    let proof = kill(&server);
    assert_eq!((&proof["cut"], &proof["timed_out"]), (&json!(1), &json!(false)), "{proof}");
    assert_eq!(h2.answer(stuck).reset, Some(CANCEL));
    let other = h2.get("/free");
    assert_eq!(h2.answer(other).status, 204);
    held.answer(OK);
}

/// As a gRPC client sends it: the answer is one frame that is head and trailers at once.
#[test]
fn a_call_of_grpc_is_told_that_it_is_unavailable() {
    let origin = Origin::answering(OK);
    let server = setup(&origin, "http2 on;").start();
    close(&server);
    let mut h2 = H2::connect(server.address());
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let call = h2.request("POST", "/pkg.Service/Call", &fields, false);
    h2.data(call, b"\0\0\0\0\0", true);
    let head = h2.next_of(HEADERS);
    assert!(head.stream == call && head.ends_stream(), "{head:?}");
    assert_eq!(origin.connections(), 0);
}
