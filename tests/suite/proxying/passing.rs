//! Large answers, which the kernel passes on from one socket to the other.

use super::proxy;
use crate::support::{Origin, Setup};

const SIZE: usize = 8 << 20;

/// Bytes of which no two stretches are the same.
fn body() -> Vec<u8> {
    (0..SIZE / 8).flat_map(|n| format!("{n:07}\n").into_bytes()).collect()
}

fn answer(announced: usize) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\n\r\n").into_bytes(), body()]
        .concat()
}

#[test]
fn answers_are_whole_and_both_connections_go_on() {
    let origin = Origin::answering(answer(SIZE));
    let server = Setup::http(
        "log_format lengths '$body_bytes_sent $upstream_response_length';
        upstream u { server %%origin%%; keepalive 4; }
        server { listen %%listen%%; access_log lengths.log lengths;
            location / { proxy_pass http://u; } }",
    )
    .set("origin", origin.address())
    .start();
    let mut client = server.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(client.response().body == body());
    }
    server.wait_for("lengths.log", |log| log == format!("{SIZE} {SIZE}\n").repeat(3));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_answer_that_breaks_off_ends_the_connection() {
    let origin = Origin::answering_once(answer(SIZE + 1));
    let server = proxy(&origin, "");
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client.response_head();
    assert!(client.read_to_end() == body());
    server.logged("upstream prematurely closed connection while reading upstream");
}
