//! `add_before_body` and `add_after_body`: several bodies in one, in their order.

use super::{server, setup};
use crate::support::{Held, Origin};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn bodies_stand_around_another_one() {
    let server = server(
        "default_type text/html; add_before_body /before; add_after_body /after;
        location = /before { add_before_body /never; return 200 [; }
        location = /after { add_before_body ''; return 404 ]; }
        location /plain { default_type text/plain; return 200 plain; }
        location /types { default_type text/css; addition_types text/css; return 200 css; }
        location /created { return 201 created; }
        location /only { add_before_body ''; return 200 only; }
        location /missing { add_before_body /no.html; add_after_body ''; return 200 page; }",
    );
    for (path, body) in [
        ("/page.html", "[page\n]"),
        ("/plain", "plain"),
        ("/types", "[css]"),
        ("/created", "created"),
        ("/only", "only]"),
    ] {
        assert_eq!(server.get(path).text(), body, "{path}");
    }
    let page = server.get("/page.html");
    assert!(page.is_chunked() && page.header("Content-Length").is_none());
    assert_eq!(page.header("Accept-Ranges"), None);
    assert!(page.header("ETag").is_some_and(|tag| tag.starts_with("W/")));
    let missing = server.get("/missing").text();
    assert!(missing.starts_with("<html>") && missing.ends_with("page"), "{missing}");
    let head =
        server.request("HEAD /page.html HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    assert!(
        server.client().send("GET /page.html HTTP/1.0\r\n\r\n").response().text().ends_with(']')
    );
}

#[test]
fn what_upstreams_answer_comes_in_order() {
    let held = Held::new();
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmain");
    let server = setup(
        "location / { addition_types *; add_before_body /before; add_after_body /after;
            proxy_pass http://%%origin%%; }
        location = /before { log_subrequest on; proxy_pass http://%%held%%; }
        location = /after { log_subrequest on; proxy_pass http://%%held%%; }",
    )
    .set("held", held.origin.address())
    .set("origin", origin.address())
    .start();
    let mut client = server.client();
    for _ in 0..2 {
        client.send("POST /a?b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
        held.has_come();
        held.answer(OK);
        held.has_come();
        held.answer(OK);
        assert_eq!(client.response().text(), "okmainok");
        assert!(origin.received().starts_with("POST /a?b HTTP/1.1\r\n"));
        for path in ["/before", "/after"] {
            let asked = held.origin.received();
            assert!(asked.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{asked}");
        }
    }
    server.wait_for("access.log", |log| log.lines().count() == 6);
}

#[test]
fn a_body_that_is_cut_cuts_the_whole() {
    let origin = Origin::answering_once("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    let server = setup(
        "location / { addition_types *; add_after_body /after; return 200 main; }
        location = /after { proxy_pass http://%%origin%%; }",
    )
    .set("origin", origin.address())
    .start();
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let rest = String::from_utf8_lossy(&client.read_to_end()).into_owned();
    assert!(rest.contains("main") && rest.contains("half"), "{rest}");
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
}
