//! HTTP/2 towards upstreams: what is asked and answered arrives as it would over HTTP/1, and connections
//! are kept.

use crate::support::tls::Authority;
use crate::support::{OK, Origin, Server, Setup, system};
use std::sync::{Mutex, mpsc};

/// Passes on over HTTP/2 to another server of the same configuration, `back` in which is its directives.
fn start(front: &str, back: &str) -> Setup {
    Setup::http(&format!(
        "upstream back {{ server %%listen_back%%; keepalive 4; }}
         server {{ listen %%listen%%; proxy_http_version 2; {front} }}
         server {{ listen %%listen_back%%; http2 on; {back} }}"
    ))
}

const TELL: &str = "location / { add_header X-Connection $connection; \
    return 200 \"$server_protocol $request_method $host $request_uri $http_x_own $http_te\"; }";

#[test]
fn a_request_arrives_as_it_was_sent() {
    let server = start(
        "location / { proxy_pass http://back; proxy_set_header X-Own a; proxy_set_header TE trailers;
            proxy_set_header Host one.test:80; }",
        TELL,
    );
    let server = server.start();
    let response = server.get("/path/%7Cx?y={z}\"");
    assert_eq!(response.status, 200);
    assert_eq!(response.text(), "HTTP/2.0 GET one.test /path/%7Cx?y={z}%22 a trailers");
    let head = server
        .client()
        .send("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .read_to_end();
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn connections_are_kept() {
    let front = "location / { proxy_pass http://back; }
        location /one { proxy_pass http://back; proxy_http_version 1.1; }";
    let server = start(front, TELL).start();
    let connection = |path: &str| server.get(path).header("X-Connection").map(str::to_owned);
    let first = connection("/");
    assert!(first.is_some());
    assert_eq!(connection("/"), first);
    assert_ne!(connection("/one"), first, "it speaks another language");
    assert_eq!(connection("/"), first);
}

#[test]
fn large_bodies_pass_both_ways() {
    const SIZE: usize = 3 << 20;
    let body: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at / 7 % 251).unwrap_or(0)).collect();
    let origin = Origin::new(|peer| {
        while let Some(request) = peer.request() {
            let at = request.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.len() - at));
            peer.send(&request[at..]);
        }
    });
    let server = start(
        "client_max_body_size 0; location / { proxy_pass http://back/inner/; }
         location /streamed { proxy_request_buffering off; proxy_buffering off;
            proxy_pass http://back/inner/; }",
        "client_max_body_size 0; location /inner { proxy_pass http://%%origin%%; }",
    );
    let server = server.set("origin", origin.address()).start();
    for path in ["/", "/streamed"] {
        for chunked in [false, true] {
            let mut client = server.client();
            let (framing, end) = if chunked {
                (format!("Transfer-Encoding: chunked\r\n\r\n{SIZE:x}"), "\r\n0\r\n\r\n")
            } else {
                (format!("Content-Length: {SIZE}\r\n"), "")
            };
            client.send(format!("PUT {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n"));
            client.send(&body).send(end);
            let response = client.response();
            assert_eq!(response.status, 200, "{path} {chunked}");
            assert!(response.body == body, "{path} {chunked}");
        }
    }
}

#[test]
fn trailers_and_lengths_that_nobody_knows_pass() {
    let server = start(
        "location / { proxy_pass http://back; proxy_pass_trailers on; }",
        "location / { add_trailer X-End $request_method; proxy_pass http://%%origin%%; }
         location /none { return 204; }",
    );
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let server = server.set("origin", origin.address()).start();
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    let text = client.read_through(b"\r\n0\r\n");
    assert!(String::from_utf8_lossy(&text).contains("2\r\nok\r\n"));
    let trailers = client.read_through(b"\r\n\r\n");
    assert_eq!(String::from_utf8_lossy(&trailers).to_ascii_lowercase(), "x-end: get\r\n\r\n");
    assert_eq!(server.get("/none").status, 204);
}

#[test]
fn it_is_spoken_over_tls() {
    let authority = Authority::new("Test");
    let setup = Setup::http(
        "server { listen %%listen%%; proxy_http_version 2;
            location / { proxy_pass https://%%listen_back%%; } }
         server { listen %%listen_back%% ssl; http2 on; ssl_certificate back.pem;
            ssl_certificate_key back.key;
            return 200 \"$server_protocol $ssl_alpn_protocol $scheme\"; }",
    );
    let server = authority.issue("back.test").install(setup, "back").start();
    assert_eq!(server.get("/").text(), "HTTP/2.0 h2 https");
}

/// What comes instead, and when.
fn answered(bytes: impl Into<Vec<u8>>) -> (Server, Origin) {
    let bytes = bytes.into();
    let origin = Origin::new(move |peer| {
        // Into the head of the first request.
        peer.exactly(80);
        peer.send(&bytes);
        peer.wait_for_end();
    });
    let server = Setup::http(
        "server { listen %%listen%%; proxy_http_version 2; location / { proxy_pass http://%%origin%%; } }",
    );
    (server.set("origin", origin.address()).start(), origin)
}

#[test]
fn who_does_not_speak_it_is_a_bad_gateway() {
    let (server, _origin) = answered(OK);
    assert_eq!(server.get("/").status, 502);
    server.logged("while reading response header from upstream");
}

#[test]
fn silence_ends_with_the_time() {
    let origin = Origin::new(|peer| {
        peer.wait_for_end();
    });
    let server = Setup::http(
        "server { listen %%listen%%; proxy_http_version 2; proxy_read_timeout 300ms;
            location / { proxy_pass http://%%origin%%; } }",
    );
    let server = server.set("origin", origin.address()).start();
    assert_eq!(server.get("/").status, 504);
}

#[test]
fn a_client_that_leaves_ends_the_stream() {
    let origin = Origin::new(|peer| {
        if peer.request().is_some() {
            peer.wait_for_end();
            peer.record(b"end".to_vec());
        }
    });
    let server = start(
        "location / { proxy_pass http://back; }",
        "location / { proxy_pass http://%%origin%%; }",
    );
    let server = server.set("origin", origin.address()).start();
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(origin.received().starts_with("GET / "));
    drop(client);
    assert_eq!(origin.received(), "end");
}

/// Frames of stream 1: settings, a head that says 200, a part of a body, and what follows.
fn frames(rest: &[u8]) -> Vec<u8> {
    let begun: [&[u8]; 3] = [
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
        &[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88],
        &[0, 0, 4, 0, 0, 0, 0, 0, 1, b'h', b'a', b'l', b'f'],
    ];
    [&begun.concat(), rest].concat()
}

#[test]
fn an_answer_that_breaks_off_is_cut() {
    let reset = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    let gone = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    for rest in [&reset[..], &gone, b"no frame at all, and long enough to be one"] {
        let bytes = frames(rest);
        let (server, _origin) = answered(bytes);
        let mut client = server.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let text = client.read_to_end_or_reset();
        assert!(text.starts_with(b"HTTP/1.1 200 OK\r\n") || text.starts_with(b"HTTP/1.1 502"));
        assert!(!text.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn what_cannot_be_asked_is_refused_at_once() {
    let front = "location / { proxy_pass http://back; proxy_set_header Host $http_host;
        proxy_read_timeout 1h; proxy_send_timeout 1h; }";
    let server = start(front, TELL).start();
    for bad in [
        "Host: a\r\nX-A: \x01",
        "Host: a\r\nX-A: b\x7f",
        "Host: a%b",
        "Host: [1:2:3:4:5:6:7:8:9::]",
    ] {
        let mut client = server.client();
        client.send(format!("GET / HTTP/1.1\r\n{bad}\r\n\r\n"));
        let status = client.response().status;
        assert!([400, 502].contains(&status), "{bad:?} {status}");
        assert_eq!(server.get("/").status, 200, "{bad:?}");
    }
    server.logged("request cannot be sent over HTTP/2: invalid header field");
    server.logged("request cannot be sent over HTTP/2: invalid host or target");
}

#[test]
fn nothing_switches_protocols() {
    let head = [0, 0, 5, 1, 4, 0, 0, 0, 1, 0x08, 3, b'1', b'0', b'1'];
    let (server, _origin) = answered([&[0, 0, 0, 4, 0, 0, 0, 0, 0], &head[..]].concat());
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(client.response().status, 502);
    server.logged("upstream sent \"101\" response over HTTP/2 while reading response header");
}

#[test]
fn a_body_that_nothing_announces_is_no_request() {
    let front = "client_max_body_size 0; proxy_read_timeout 1h;
        location / { proxy_pass http://back; proxy_set_header Content-Length \"\"; }
        location /streamed { proxy_request_buffering off; proxy_pass http://back/;
            proxy_set_header Content-Length \"\"; }";
    let server = start(front, TELL).start();
    let inner = "GET /inner HTTP/1.1\r\nHost: a\r\n\r\n".repeat(8192);
    for (path, length) in [("/", 40), ("/", inner.len()), ("/streamed", 40)] {
        let mut client = server.client();
        client.send(format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        client.send(&inner[..length]);
        let status = client.response().status;
        assert!(status == 502 || path == "/streamed" && status == 200, "{path} {length} {status}");
    }
    server.logged("more bytes than its header fields announce");
    assert_eq!(server.get("/").status, 200);
    assert!(!server.read("access.log").contains("/inner"));
}

#[test]
fn a_peer_that_does_not_read_holds_no_connection() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let origin = Origin::new(move |peer| {
        // Room for all of the body, which is not read.
        peer.send([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]);
        peer.send([0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0]);
        peer.exactly(80);
        let _ = held.lock().expect("a lock").recv();
    });
    let release = release;
    let server = Setup::http(
        "server { listen %%listen%%; proxy_http_version 2; client_max_body_size 0;
            proxy_send_timeout 300ms; proxy_read_timeout 300ms;
            location / { proxy_pass http://%%origin%%; } }",
    );
    let server = server.set("origin", origin.address()).start();
    let mut client = server.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 24 << 20));
    client.send(vec![b'x'; 24 << 20]);
    assert_eq!(client.response().status, 504);
    drop(client);
    let worker = server.workers()[0];
    // Its listener, and its channel to the master.
    system::sockets_settle(worker, 2);
    drop(release);
}
