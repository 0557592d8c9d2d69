//! Clients that are slow, and upstreams that do not have to wait for them.

use super::proxy;
use crate::support::Origin;
use std::fs;

const SIZE: usize = 24 << 20;

/// Bytes of which no two stretches are the same.
fn body() -> Vec<u8> {
    (0..SIZE / 8).flat_map(|n| format!("{n:07}\n").into_bytes()).collect()
}

/// Says that it is rid of its answer.
fn origin() -> Origin {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
    Origin::new(move |peer| {
        if peer.request().is_some() {
            peer.send(&head);
            if peer.send(body()) {
                peer.record(b"sent".to_vec());
            }
        }
    })
}

#[test]
fn an_upstream_is_rid_of_an_answer_before_the_client_takes_it() {
    let origin = origin();
    let server = proxy(&origin, "");
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(origin.received().starts_with("GET / "));
    // Nothing has been read by the client.
    assert_eq!(origin.received(), "sent");
    let files = fs::read_dir(server.path("proxy_temp")).expect("a directory");
    assert_eq!(files.count(), 0, "the file has no name");
    assert!(client.response().body == body());
    server.logged("an upstream response is buffered to a temporary file while reading upstream");
}

#[test]
fn what_a_file_may_not_hold_waits_at_the_upstream() {
    let origin = origin();
    let server = proxy(&origin, "proxy_max_temp_file_size 1m; proxy_temp_file_write_size 64k;");
    assert!(server.get("/").body == body());
    assert!(origin.received().starts_with("GET / "));
    assert_eq!(origin.received(), "sent");
}
