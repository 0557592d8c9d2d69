//! What a stream asks for and gets: heads, bodies, flow control, and its end before its time.

use super::{alone, setup, speaking};
use crate::support::h2::{
    CANCEL, DATA, END_HEADERS, END_STREAM, H2, HEADERS, PROTOCOL_ERROR, WINDOW_UPDATE, block,
};
use crate::support::tls::Authority;
use crate::support::{Client, OK, Origin, Server, Setup, is_reference};

#[test]
fn both_protocols_share_a_port() {
    let server = alone("");
    let mut h2 = H2::connect(server.address());
    let asked = h2.request("GET", "/said", &[("cookie", "a=1"), ("cookie", "b=2")], true);
    let answer = h2.answer(asked);
    assert_eq!((answer.status, answer.text().as_str()), (200, "HTTP/2.0 h2c localhost a=1; b=2"));
    assert_eq!(server.get("/said").text(), "HTTP/1.1  localhost ");
    // What only begins like the preface is for HTTP/1, and so is what comes in pieces.
    let mut slow = Client::connect(server.address());
    slow.send("P").send("OST /said HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(slow.response().status, 200);
    let mut broken = Client::connect(server.address());
    assert_eq!(broken.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").response().status, 400);
}

#[test]
fn the_preface_may_come_in_pieces() {
    let server = alone("");
    let mut client = Client::connect(server.address());
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
        client.send([*byte]);
    }
    let settings = client.read_exactly(9);
    assert_eq!(settings[3], 4, "{settings:?}");
}

#[test]
fn without_the_directive_it_is_not_spoken() {
    let server = Server::http("server { listen %%listen%%; return 200; }");
    let mut client = server.client();
    let status = client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").response().status;
    assert!([400, 505].contains(&status), "{status}");
}

#[test]
fn bodies_reach_the_origin_whole() {
    let origin = Origin::answering(OK);
    let server = speaking(
        &origin,
        "location / { proxy_pass http://%%origin%%; }
         location /stream { proxy_pass http://%%origin%%; proxy_request_buffering off; }",
    );
    let mut h2 = H2::connect(server.address());
    let known = h2.request("POST", "/known", &[("content-length", "6")], false);
    h2.data(known, b"abc", false);
    h2.data(known, b"def", true);
    assert_eq!(h2.answer(known).text(), "ok");
    let request = origin.received();
    assert!(request.contains("Content-Length: 6\r\n") && request.ends_with("abcdef"), "{request}");
    // A length that is known at the end only is told where the body is kept first.
    let kept = h2.request("POST", "/kept", &[], false);
    h2.data(kept, &[b'x'; 9000], false);
    h2.data(kept, b"", true);
    assert_eq!(h2.answer(kept).status, 200);
    assert!(origin.received().contains("Content-Length: 9000\r\n"));
    let streamed = h2.request("POST", "/stream", &[], false);
    h2.data(streamed, b"abc", true);
    assert_eq!(h2.answer(streamed).status, 200);
    let request = origin.received();
    assert!(request.contains("Transfer-Encoding: chunked\r\n"), "{request}");
    assert!(request.ends_with("3\r\nabc\r\n0\r\n\r\n"), "{request}");
}

/// Fields behind a body end it, and go no further. nginx takes them for the end of the connection.
#[test]
fn trailers_of_a_request_are_read_past() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering(OK);
    let server = speaking(
        &origin,
        "location / { proxy_pass http://%%origin%%; }
         location /stream { proxy_pass http://%%origin%%; proxy_request_buffering off; }",
    );
    let mut h2 = H2::connect(server.address());
    for (path, end) in [("/kept", "abc"), ("/stream", "\r\nabc\r\n0\r\n\r\n")] {
        let asked = h2.request("POST", path, &[("te", "trailers")], false);
        h2.data(asked, b"abc", false);
        let trailers = block(&[("x-sum", "900150983cd24fb0")]);
        h2.frame(HEADERS, END_HEADERS | END_STREAM, asked, &trailers);
        assert_eq!(h2.answer(asked).text(), "ok");
        let request = origin.received();
        assert!(request.ends_with(end) && !request.contains("x-sum"), "{request}");
    }
}

/// Both sides talk by turns on one stream, as gRPC's do.
#[test]
fn a_body_goes_up_while_its_answer_comes_down() {
    let origin = Origin::new(|peer| {
        if peer.head().is_none() {
            return;
        }
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Some(chunk) =
            peer.read_until(|bytes| bytes.ends_with(b"\r\n").then_some(bytes.len()))
        {
            peer.send(&chunk);
            if chunk.ends_with(b"0\r\n\r\n") {
                return;
            }
        }
    });
    let server = speaking(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_request_buffering off; proxy_buffering off; }",
    );
    let mut h2 = H2::connect(server.address());
    let talk = h2.request("POST", "/talk", &[], false);
    for word in ["one", "two", "three"] {
        h2.data(talk, word.as_bytes(), false);
        let said = h2.next_of(DATA);
        assert_eq!((said.stream, &said.payload[..]), (talk, word.as_bytes()));
    }
    h2.data(talk, b"", true);
    assert_eq!(h2.answer(talk).body, b"");
}

#[test]
fn more_than_a_window_goes_up() {
    const SIZE: usize = 300_000;
    let origin = Origin::answering(OK);
    let server = speaking(&origin, "location / { proxy_pass http://%%origin%%; }");
    let mut h2 = H2::connect(server.address());
    let stream = h2.request("POST", "/", &[], false);
    // What the server lets come: at first the protocol's own 65535 bytes of the connection.
    let (mut connection, mut window, mut sent) = (65_535, 65_536, 0);
    while sent < SIZE {
        let piece = (SIZE - sent).min(16_384).min(window).min(connection);
        if piece == 0 {
            let update = h2.next_of(WINDOW_UPDATE);
            let bytes = update.number(0) as usize;
            if update.stream == 0 {
                connection += bytes;
            } else {
                window += bytes;
            }
            continue;
        }
        h2.data(stream, &vec![b'x'; piece], sent + piece == SIZE);
        (connection, window, sent) = (connection - piece, window - piece, sent + piece);
    }
    assert_eq!(h2.answer(stream).status, 200);
    assert!(origin.received().contains(&format!("Content-Length: {SIZE}\r\n")));
}

#[test]
fn no_more_is_sent_than_the_client_lets_come() {
    let setup = setup("location / { root html; }").file("html/large", vec![b'x'; 100_000]);
    let server = setup.start();
    let mut h2 = H2::connect(server.address());
    let stream = h2.get("/large");
    let mut got = 0;
    while got < 65_535 {
        let frame = h2.next_of(DATA);
        assert!(!frame.ends_stream());
        got += frame.payload.len();
    }
    assert_eq!(got, 65_535);
    // Another stream is served meanwhile, as far as it needs no window.
    let other = h2.request("HEAD", "/large", &[], true);
    let head = h2.next_of(HEADERS);
    assert!(head.stream == other && head.ends_stream(), "{head:?}");
    h2.allow(0, 50_000);
    h2.allow(stream, 50_000);
    let rest = h2.answer(stream);
    assert_eq!((rest.body.len(), rest.reset), (100_000 - 65_535, None));
    server.wait_for("h2.log", |log| log.contains("GET /large HTTP/2.0 200 OK."));
}

#[test]
fn what_a_client_gives_up_is_given_up_behind() {
    let origin = Origin::new(|peer| {
        peer.request();
        peer.wait_for_end();
    });
    let server = speaking(&origin, "location / { proxy_pass http://%%origin%%; }");
    let mut h2 = H2::connect(server.address());
    let given_up = h2.get("/long");
    origin.received();
    h2.reset(given_up, CANCEL);
    server.wait_for("h2.log", |log| log.contains("GET /long HTTP/2.0 499 "));
    // The connection goes on, and its end ends what is left.
    let said = h2.get("/said");
    assert_eq!(h2.answer(said).status, 200);
    h2.get("/left");
    origin.received();
    drop(h2);
    server.wait_for("h2.log", |log| log.contains("GET /left HTTP/2.0 499 "));
}

#[test]
fn what_could_be_read_as_two_is_refused() {
    let server = alone("location / { return 200; }");
    let mut h2 = H2::connect(server.address());
    let both = h2.request("GET", "/both", &[("host", "other")], true);
    assert_eq!(h2.answer(both).status, 400);
    server.wait_for("h2.log", |log| log.contains("GET /both HTTP/2.0 400 "));
    let neither = [(":method", "GET"), (":scheme", "http"), (":path", "/neither")];
    let neither = h2.fields(&neither, true);
    assert_eq!(h2.answer(neither).status, 400);
    let two = h2.request("GET", "/two", &[("content-length", "1"), ("content-length", "2")], false);
    let two = h2.answer(two);
    assert!(two.status == 400 || two.reset == Some(PROTOCOL_ERROR), "{two:?}");
    let bad = [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ];
    for field in bad {
        let mut h2 = H2::connect(server.address());
        let stream = h2.request("GET", "/bad", &[field], true);
        let answer = h2.answer(stream);
        assert!(answer.status == 400 || answer.reset == Some(PROTOCOL_ERROR), "{answer:?}");
    }
    let mut h2 = H2::connect(server.address());
    let upper = h2.request("GET", "/upper", &[("Upper", "case")], true);
    h2.ended(upper);
    assert!(!server.read("h2.log").contains(" 200 "));
}

#[test]
fn a_body_that_is_not_as_long_as_announced_reaches_nobody() {
    let origin = Origin::answering(OK);
    let server = speaking(&origin, "location / { proxy_pass http://%%origin%%; }");
    for body in [&b"abc"[..], b"abcdefgh"] {
        let mut h2 = H2::connect(server.address());
        let stream = h2.request("POST", "/short", &[("content-length", "6")], false);
        h2.data(stream, body, true);
        let answer = h2.answer(stream);
        assert!(answer.status == 400 || answer.reset == Some(PROTOCOL_ERROR), "{answer:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_answer_that_breaks_off_is_no_whole_one() {
    let origin = Origin::answering_once("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    let server = speaking(&origin, "location / { proxy_pass http://%%origin%%; }");
    let mut h2 = H2::connect(server.address());
    let stream = h2.get("/broken");
    let answer = h2.answer(stream);
    assert!(answer.reset.is_some(), "{answer:?}");
    server.wait_for("h2.log", |log| log.contains("GET /broken HTTP/2.0 200 ."));
}

#[test]
fn many_streams_are_answered_side_by_side() {
    let server = alone("");
    let mut h2 = H2::connect(server.address());
    let mut open: Vec<u32> = (0..100).map(|_| h2.get("/said")).collect();
    while !open.is_empty() {
        let frame = h2.next().expect("a frame");
        if frame.ends_stream() {
            open.retain(|stream| *stream != frame.stream);
        }
    }
}

#[test]
fn over_tls_the_handshake_chooses() {
    let authority = Authority::new("Test");
    let server = Setup::http(
        "server { listen %%listen%% ssl; http2 on; server_name one.test;
            ssl_certificate one.pem; ssl_certificate_key one.key;
            location / { return 200 '$server_protocol $http2 $scheme'; } }",
    );
    let server = authority.issue("one.test").install(server, "one").start();
    std::fs::write(server.path("ca.pem"), authority.pem()).expect("a file");
    let curl = |protocol: &str| {
        let address = server.address();
        let mut command = std::process::Command::new("curl");
        command.args(["-sS", protocol, "--cacert"]).arg(server.path("ca.pem"));
        command.arg("--resolve").arg(format!("one.test:{}:{}", address.port(), address.ip()));
        command.arg(format!("https://one.test:{}/", address.port()));
        let output = command.output().expect("curl");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert_eq!(curl("--http2"), "HTTP/2.0 h2 https");
    assert_eq!(curl("--http1.1"), "HTTP/1.1  https");
    // Where TLS is expected, nobody speaks HTTP/2 without.
    let mut plain = server.client();
    assert_eq!(plain.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").response().status, 400);
}
