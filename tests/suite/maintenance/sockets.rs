//! Upgraded connections when the door closes.

use std::slice;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{barrier, close, fetch, inflight, order, proxy};
use crate::support::{Client, DEADLINE, End, Frame, Origin, Server, WebSocket, echo, still_there};

const RESTART: [u8; 2] = 1012_u16.to_be_bytes();

fn socket(server: &Server) -> WebSocket {
    let mut socket = WebSocket::open(server.client(), "/chat");
    still_there(slice::from_mut(&mut socket));
    socket
}

#[test]
fn a_websocket_is_told_and_ended_and_a_new_one_refused() {
    let origin = echo();
    let server = proxy(&origin, "maintenance_websocket close after=100ms;");
    let mut socket = socket(&server);
    assert_eq!(inflight(&server)["stream"], 1);
    close(&server);
    let refused = fetch(&server, "/chat", "Upgrade: websocket\r\nConnection: upgrade\r\n");
    assert_eq!(refused.status, 503);
    assert_eq!(socket.receive(), Frame { opcode: 8, payload: RESTART.to_vec() });
    assert_eq!(socket.0.end(), End::Closed);
    assert_eq!(barrier(&server, 5000)["clean"], true);
}

#[test]
fn a_frame_under_way_is_not_broken_further() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let origin = Origin::new(move |peer| {
        let half = Frame::binary(vec![7; 1000]).encode(false);
        if peer.head().is_some() {
            peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            );
            peer.send(&half[..500]);
            let _ = tell.lock().expect("a lock").send(());
            peer.wait_for_end();
        }
    });
    let server = proxy(&origin, "maintenance_websocket close after=0;");
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    assert_eq!(client.response_head().status, 101);
    told.recv_timeout(DEADLINE).expect("half a frame");
    assert_eq!(client.read_exactly(500).len(), 500);
    close(&server);
    assert_eq!(client.end(), End::Closed);
}

#[test]
fn one_that_is_kept_holds_the_barrier_up() {
    let origin = echo();
    let server = proxy(&origin, "maintenance_websocket keep;");
    let mut socket = socket(&server);
    close(&server);
    let proof = barrier(&server, 300);
    assert_eq!((&proof["timed_out"], &proof["inflight"]["stream"]), (&json!(true), &json!(1)));
    still_there(slice::from_mut(&mut socket));
    socket.send(&Frame::close());
    assert_eq!(socket.receive(), Frame::close());
    assert_eq!(socket.0.end(), End::Closed);
    assert_eq!(barrier(&server, 5000)["clean"], true);
}

#[test]
fn who_may_pass_keeps_the_connection_until_nobody_may() {
    let origin = echo();
    let server =
        proxy(&origin, "maintenance_allow 127.0.0.1; maintenance_websocket close after=0;");
    let mut before = socket(&server);
    close(&server);
    let mut after = socket(&server);
    let under_way = inflight(&server);
    assert_eq!((&under_way["stream"], &under_way["bypass"]), (&json!(1), &json!(1)));
    still_there(slice::from_mut(&mut before));
    still_there(slice::from_mut(&mut after));
    order(&server, "default", &json!({ "state": "closed", "no_bypass": true }));
    let begun = Instant::now();
    for socket in [&mut before, &mut after] {
        assert_eq!(socket.receive().payload, RESTART);
        assert_eq!(socket.0.end(), End::Closed);
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn opened_again_in_time_nothing_ends() {
    let origin = echo();
    let server = proxy(&origin, "maintenance_websocket close after=2s;");
    let mut socket = socket(&server);
    for _ in 0..3 {
        close(&server);
        still_there(slice::from_mut(&mut socket));
        super::open(&server);
        still_there(slice::from_mut(&mut socket));
    }
}

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n";

/// Somebody who listens to events, on a server behind that ends nothing by itself.
fn listener() -> (Origin, Server, Client) {
    let origin = Origin::new(|peer| {
        if peer.request().is_some_and(|request| request.starts_with(b"GET /events ")) {
            peer.send(EVENTS);
        }
        peer.wait_for_end();
    });
    let server = proxy(&origin, "proxy_buffering off;");
    let mut client = server.client();
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_head().status, 200);
    (origin, server, client)
}

#[test]
fn events_are_a_stream_and_end_with_their_listener() {
    let (_origin, server, client) = listener();
    assert_eq!(inflight(&server)["stream"], json!(1));
    close(&server);
    let proof = barrier(&server, 200);
    assert_eq!((&proof["timed_out"], &proof["inflight"]["stream"]), (&json!(true), &json!(1)));
    drop(client);
    assert_eq!(barrier(&server, 5000)["clean"], true);
}

#[test]
fn streams_alone_can_be_cut_off() {
    let (origin, server, mut client) = listener();
    let mut writer = server.client();
    writer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    origin.received();
    assert!(origin.received().starts_with("POST "), "it has come");
    close(&server);
    let terms = json!({ "timeout_ms": 0, "kill_streams": true }).to_string();
    let (status, lines) = server.ask_control("POST", "/1/proxyd/barrier/default", &terms);
    let proof: Value = serde_json::from_str(&lines.rest()).expect("a document");
    assert_eq!((status, &proof["cut"], &proof["timed_out"]), (200, &json!(1), &json!(true)));
    let left = &proof["inflight"];
    assert_eq!((&left["stream"], &left["write"]), (&json!(0), &json!(1)), "{proof}");
    let end = String::from_utf8_lossy(&client.read_to_end()).into_owned();
    assert!(end.contains("data: 1"), "{end}");
}
