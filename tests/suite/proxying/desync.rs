//! What could make one side take bytes for something else than the other side does.

use std::sync::{Mutex, mpsc};

use super::{EMPTY, TWO, proxy};
use crate::support::system::status;
use crate::support::{DEADLINE, End, Origin, Server, Setup, is_reference};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// `/a` answers with an internal redirect to `/b`; both go to the same backend.
fn redirecting(origin: &Origin, a: &str, b: &str) -> Server {
    Setup::http(&format!(
        "server {{ listen %%listen%%;\n\
         location /a {{ proxy_pass http://%%origin%%; {a} }}\n\
         location /b {{ proxy_pass http://%%origin%%; {b} }} }}"
    ))
    .set("origin", origin.address())
    .start()
}

#[test]
fn after_an_internal_redirect_no_more_is_announced_than_sent() {
    const STREAMED: &str = "proxy_request_buffering off;";
    for (a, b) in [("", STREAMED), (STREAMED, ""), (STREAMED, STREAMED)] {
        let origin = Origin::new(|peer| {
            // Reads exactly what is announced: a body that is missing shows as a wait.
            while let Some(request) = peer.request() {
                let redirect =
                    "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /b\r\nContent-Length: 0\r\n\r\n";
                peer.send(if request.starts_with(b"POST /a") { redirect } else { TWO });
            }
        });
        let server = redirecting(&origin, a, b);
        let mut client = server.client();
        client.send("POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.response().text(), "ok", "{a} {b}");
        client.send("POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("5\r\nhello\r\n").send("0\r\n\r\n");
        assert_eq!(client.response().text(), "ok", "{a} {b}");
    }
}

#[test]
fn a_body_that_is_not_passed_is_not_announced() {
    let origin = Origin::answering(TWO);
    let server = proxy(&origin, "proxy_pass_request_body off;");
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
    if !is_reference() {
        assert_eq!(client.response().text(), "ok");
        assert!(origin.received().contains("\r\nContent-Length: 0\r\n"));
    }
}

#[test]
fn a_length_without_its_body_ends_the_connection() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    let server = proxy(&origin, "proxy_method HEAD;");
    let mut client = server.client();
    let answer = client.send(GET).response_head();
    assert_eq!(answer.header("Content-Length"), Some("10"));
    if !is_reference() {
        assert_eq!(client.end(), End::Closed);
    }
}

#[test]
fn a_status_below_100_is_framed_like_any_other() {
    let chunked = "HTTP/1.1 099 Odd\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let origin = Origin::answering(chunked);
    let server = proxy(&origin, "");
    if !is_reference() {
        let mut client = server.client();
        assert_eq!(client.send(GET).response().text(), "abc");
        assert_eq!(client.send(GET).response().text(), "abc");
    }
}

#[test]
fn a_cut_answer_whose_end_is_the_end_of_the_connection_is_reset() {
    let cut = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let origin = Origin::answering_once(cut);
    let server = proxy(&origin, "");
    let mut client = server.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    if !is_reference() {
        client.read_through(b"\r\n\r\nabc");
        assert_eq!(client.end(), End::Reset);
    }
}

#[test]
fn a_line_end_in_a_decoded_uri_ends_no_line_of_the_request() {
    let origin = Origin::answering(EMPTY);
    let text = "server { listen %%listen%%;\n\
         location /t { proxy_pass http://%%origin%%$uri; }\n\
         location /h { proxy_pass http://%%origin%%/; proxy_set_header X-U $uri; } }";
    let server = Setup::http(text).set("origin", origin.address()).start();
    assert_eq!(server.get("/h").status, 200);
    origin.received();
    if is_reference() {
        return;
    }
    server.get("/t%0d%0aEvil:%20y");
    assert!(origin.received().starts_with("GET /t%0D%0AEvil:%20y HTTP/1.1\r\nHost: "));
    server.get("/h%0d%0aEvil:%20y");
    assert!(origin.received().contains("\r\nX-U: /h  Evil: y\r\n"));
}

#[test]
fn a_request_goes_on_while_its_answer_comes() {
    for lines in ["", "proxy_request_buffering off;"] {
        let origin = Origin::new(|peer| {
            if peer.head().is_none() {
                return;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
            // An echo: what it answers with has not been sent yet.
            for _ in 0..2 {
                let part = peer.exactly(3).unwrap_or_default();
                peer.send(part);
            }
            peer.wait_for_end();
        });
        let server = proxy(&origin, &format!("proxy_buffering off; {lines}"));
        let mut client = server.client();
        client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nabc");
        if lines.is_empty() {
            assert_eq!(client.send("def").response().text(), "abcdef");
            continue;
        }
        assert_eq!(client.response_head().status, 200);
        assert_eq!(client.read_exactly(3), b"abc");
        client.send("def");
        assert_eq!(client.read_exactly(3), b"def");
    }
}

#[test]
fn endless_interim_answers_are_none() {
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(17);
    let origin = Origin::answering(format!("{interim}{TWO}"));
    let server = proxy(&origin, "");
    if !is_reference() {
        assert_eq!(server.get("/").status, 502);
    }
}

#[test]
fn a_client_in_no_hurry_does_not_make_the_server_grow() {
    const LENGTH: usize = 64 << 20;
    let origin = Origin::new(|peer| {
        peer.request();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        let block = vec![b'x'; 1 << 20];
        while peer.send(&block) {}
    });
    // A socket buffer smaller than what is held: no write ever takes all of it.
    let text = "server { listen %%listen%% sndbuf=256k; location / {\n\
         proxy_pass http://%%origin%%; proxy_buffers 8 64k; proxy_max_temp_file_size 0; } }";
    let server = Setup::http(text).set("origin", origin.address()).start();
    let worker = server.all_workers(1)[0];
    let mut client = server.client();
    client.send(GET).response_head();
    client.read_exactly(1 << 20);
    let resident = || status(worker, "VmRSS").trim_end_matches(" kB").parse::<usize>().expect("kB");
    let before = resident();
    for _ in 0..LENGTH / 16384 - 70 {
        client.read_exactly(16384);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} kB more for one client");
}

#[test]
fn an_ignored_abort_covers_half_closed_connections() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::new(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
        let _ = wait.lock().expect("a lock").recv_timeout(DEADLINE);
        peer.send("cd");
    });
    let server = proxy(&origin, "proxy_ignore_client_abort on; proxy_buffering off;");
    let mut client = server.client();
    client.send(GET).finish().response_head();
    assert_eq!(client.read_exactly(2), b"ab");
    go.send(()).expect("a waiting backend");
    assert_eq!(client.read_exactly(2), b"cd");
}

#[test]
fn an_unbuffered_request_without_a_body_may_go_to_the_next_server() {
    let broken = Origin::new(|peer| {
        peer.request();
    });
    let good = Origin::answering(TWO);
    let peers = format!("server {}; server {} backup;", broken.address(), good.address());
    let server = super::group(&peers, "proxy_request_buffering off;").start();
    assert_eq!(server.get("/").text(), "ok");
    assert_eq!(broken.connections(), 1);
}

#[test]
fn a_body_that_is_too_long_can_have_a_page_of_its_own() {
    let text = "client_max_body_size 10; server { listen %%listen%%; error_page 413 /e;\n\
         location / { return 200; } location /e { return 200 custom; } }";
    let server = Setup::http(text).start();
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (413, "custom"));
}

#[test]
fn the_end_of_a_connection_is_not_counted_as_a_request() {
    let text = "server { listen %%listen%%; location / { return 200; }\n\
         location /status { stub_status; } }";
    let server = Setup::http(text).start();
    let mut client = server.client();
    client.send(GET).response();
    client.finish().end();
    let status = server.get("/status").text();
    let counts = status.lines().nth(2).unwrap_or_default();
    let numbers: Vec<&str> = counts.split_whitespace().collect();
    // The number of connections depends on how the server was found to be up.
    assert_eq!(numbers.get(2), Some(&"2"), "{status}");
}
