//! WebSockets on streams (RFC 8441).

use super::setup;
use crate::support::h2::{CANCEL, DATA, H2, HEADERS, SETTINGS};
use crate::support::{Frame, Origin, Server, echo, is_reference, system};

const CHAT: &str =
    "location /chat { proxy_pass http://%%origin%%; proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection upgrade; maintenance_websocket close after=0; }";

fn start(origin: &Origin) -> Server {
    setup(CHAT).set("origin", origin.address()).start()
}

/// Asks for a stream that speaks this protocol.
fn connect(h2: &mut H2, protocol: &str, path: &str) -> u32 {
    h2.fields(
        &[
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("sec-websocket-version", "13"),
        ],
        false,
    )
}

/// What comes next on a stream that is a WebSocket.
fn receive(h2: &mut H2, stream: u32) -> Frame {
    let data = h2.next_of(DATA);
    assert_eq!(data.stream, stream);
    Frame::decode(&data.payload).expect("a frame").0
}

#[test]
fn a_stream_becomes_a_websocket() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let server = start(&origin);
    let mut h2 = H2::connect(server.address());
    let settings = h2.next_of(SETTINGS).payload;
    let knows = settings.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]);
    assert!(knows, "it says that it can: {settings:?}");
    let chat = connect(&mut h2, "websocket", "/chat?a=b");
    let head = h2.next_of(HEADERS);
    assert!(head.stream == chat && !head.ends_stream() && head.payload[0] == 0x88, "{head:?}");
    for text in ["one", "two"] {
        h2.data(chat, &Frame::text(text).encode(true), false);
        assert_eq!(receive(&mut h2, chat), Frame::text(text));
    }
    // Others go on beside it.
    let said = h2.get("/said");
    assert_eq!(h2.answer(said).status, 200);
    h2.data(chat, &Frame::close().encode(true), false);
    assert_eq!(receive(&mut h2, chat), Frame::close());
    h2.ended(chat);
    let request = origin.received();
    assert!(request.starts_with("GET /chat?a=b HTTP/1.1\r\n"), "{request}");
    server.wait_for("h2.log", |log| log.contains("GET /chat?a=b HTTP/2.0 200 OK."));
}

/// To the client every 2xx would be a WebSocket, and the body behind it what the other side says.
#[test]
fn a_page_is_no_websocket() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let server = start(&origin);
    for path in ["/chat", "/said"] {
        let mut h2 = H2::connect(server.address());
        let chat = connect(&mut h2, "websocket", path);
        let answer = h2.answer(chat);
        assert!(answer.status == 502 && !answer.text().contains("hello"), "{answer:?}");
    }
    let mut h2 = H2::connect(server.address());
    let page = h2.get("/chat");
    assert_eq!(h2.answer(page).text(), "hello");
    server.wait_for("h2.log", |log| log.contains("GET /chat HTTP/2.0 502 OK."));
}

#[test]
fn nobody_gets_a_websocket_unasked() {
    if is_reference() {
        return;
    }
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let origin = Origin::answering(head);
    let server = start(&origin);
    let mut h2 = H2::connect(server.address());
    let page = h2.get("/chat");
    assert_eq!(h2.answer(page).status, 502);
}

#[test]
fn other_protocols_are_not_known() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let server = start(&origin);
    let mut h2 = H2::connect(server.address());
    let odd = connect(&mut h2, "connect-udp", "/chat");
    assert_eq!(h2.answer(odd).status, 501);
    assert_eq!(origin.connections(), 0);
}

/// A closed door refuses new ones and says farewell to those there are.
#[test]
fn maintenance_holds_for_them() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let server = start(&origin);
    let mut h2 = H2::connect(server.address());
    let chat = connect(&mut h2, "websocket", "/chat");
    h2.next_of(HEADERS);
    h2.data(chat, &Frame::text("a").encode(true), false);
    assert_eq!(receive(&mut h2, chat), Frame::text("a"));
    let (status, inflight) = server.control("GET", "/1/proxyd/inflight/default");
    assert!(status == 200 && inflight.contains("\"stream\":1"), "{inflight}");
    let closing = "{\"state\":\"closed\"}";
    let (status, _) = server.ask_control("POST", "/1/proxyd/maintenance/default", closing);
    assert_eq!(status, 200);
    let told = receive(&mut h2, chat);
    assert_eq!(told, Frame { opcode: 8, payload: 1012_u16.to_be_bytes().to_vec() });
    h2.ended(chat);
    let refused = connect(&mut h2, "websocket", "/chat");
    assert_eq!(h2.answer(refused).status, 503);
}

#[test]
fn one_that_is_given_up_is_given_up_behind() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let server = start(&origin);
    let mut h2 = H2::connect(server.address());
    let chat = connect(&mut h2, "websocket", "/chat");
    h2.next_of(HEADERS);
    let under_way = || server.control("GET", "/1/proxyd/inflight/default").1;
    assert!(under_way().contains("\"stream\":1"));
    h2.reset(chat, CANCEL);
    system::until("it has ended", || !under_way().contains("\"stream\":1"));
    let said = h2.get("/said");
    assert_eq!(h2.answer(said).status, 200);
}
