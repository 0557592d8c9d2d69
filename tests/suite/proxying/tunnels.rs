//! Upgraded connections: a tunnel once the upstream has said 101.

use super::proxy;
use crate::support::{End, Frame, Origin, WebSocket, echo};

const UPGRADE: &str =
    "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";

#[test]
fn a_websocket_echoes_until_it_is_closed() {
    let origin = echo();
    let mut server = proxy(&origin, UPGRADE);
    let mut socket = WebSocket::open(server.client(), "/chat");
    let request = origin.received();
    assert!(request.starts_with("GET /chat HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"), "{request}");
    for frame in [Frame::text("hello"), Frame::binary(vec![7; 200_000]), Frame::text("")] {
        socket.send(&frame);
        assert_eq!(socket.receive(), frame);
    }
    socket.send(&Frame::close());
    assert_eq!(socket.receive(), Frame::close());
    assert_eq!(socket.0.end(), End::Closed);
    server.quit();
    assert!(server.read("access.log").contains("\"GET /chat HTTP/1.1\" 101 "));
}

#[test]
fn bytes_sent_along_with_the_heads_are_not_lost() {
    let origin = Origin::new(|peer| {
        if peer.head().is_some() {
            peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nfirst");
            let early = peer.exactly(5).unwrap_or_default();
            peer.send(early);
        }
    });
    let server = proxy(&origin, UPGRADE);
    let mut client = server.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nearly",
    );
    assert_eq!(client.response_head().status, 101);
    assert_eq!(client.read_exactly(10), b"firstearly");
    assert_eq!(client.end(), End::Closed);
}

#[test]
fn the_end_at_the_client_reaches_the_upstream() {
    let origin = Origin::new(|peer| {
        if peer.head().is_some() {
            peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            );
            peer.wait_for_end();
            peer.record(b"end".to_vec());
        }
    });
    let server = proxy(&origin, UPGRADE);
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    assert_eq!(client.response_head().status, 101);
    drop(client);
    assert_eq!(origin.received(), "end");
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    let origin = Origin::answering("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno");
    let server = proxy(&origin, UPGRADE);
    let mut client = server.client();
    for _ in 0..2 {
        client
            .send("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
        let answer = client.response();
        assert_eq!((answer.status, answer.text().as_str()), (426, "no"));
    }
}
