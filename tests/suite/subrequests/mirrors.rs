//! `mirror`: what the other side gets, and that nobody on this side notices.

use super::setup;
use crate::support::{DEADLINE, Held, Origin, is_reference, system};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const POST: &str = "POST /a?b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";

#[test]
fn a_mirror_gets_the_whole_request() {
    let (origin, mirror) = (Origin::answering(OK), Origin::answering(OK));
    let server = setup(
        "location / { mirror /one; mirror /two; proxy_pass http://%%origin%%; }
        location = /one { internal; proxy_pass http://%%mirror%%/first$request_uri; }
        location = /two { internal; proxy_pass http://%%mirror%%; }",
    )
    .set("origin", origin.address())
    .set("mirror", mirror.address())
    .start();
    let mut client = server.client();
    assert_eq!(client.send(POST).response().text(), "ok");
    let mut got = [mirror.received(), mirror.received()];
    got.sort();
    assert!(got[0].starts_with("POST /first/a?b HTTP/1.1\r\n"), "{got:?}");
    assert!(got[1].starts_with("POST /two?b HTTP/1.1\r\n"), "{got:?}");
    for request in &got {
        assert!(request.ends_with("\r\n\r\nabc"), "{request}");
        assert!(request.contains("Content-Length: 3\r\n"), "{request}");
    }
    assert!(origin.received().ends_with("\r\n\r\nabc"));
    assert_eq!(server.get("/one").status, 404);
}

#[test]
fn off_is_off_and_bodies_may_stay_behind() {
    let (origin, mirror) = (Origin::answering(OK), Origin::answering(OK));
    let server = setup(
        "mirror /mirror; mirror_request_body off;
        location / { proxy_pass http://%%origin%%; }
        location /off { mirror off; proxy_pass http://%%origin%%; }
        location = /mirror { proxy_pass http://%%mirror%%; proxy_pass_request_body off;
            proxy_set_header Content-Length ''; proxy_set_header X-Of $request_uri; }",
    )
    .set("origin", origin.address())
    .set("mirror", mirror.address())
    .start();
    assert_eq!(server.get("/off").text(), "ok");
    assert_eq!(server.client().send(POST).response().text(), "ok");
    let got = mirror.received();
    assert!(got.starts_with("POST /mirror?b HTTP/1.1\r\n"), "{got}");
    assert!(got.contains("X-Of: /a?b\r\n") && got.ends_with("\r\n\r\n"), "{got}");
    assert!(!got.contains("Content-Length"), "{got}");
}

#[test]
fn a_slow_mirror_stalls_nobody() {
    if is_reference() {
        return;
    }
    let held = Held::new();
    let server = setup(
        "location / { mirror /mirror; alias html/; } location = /mirror { proxy_pass http://%%held%%; }",
    )
    .set("held", held.origin.address())
    .start();
    let mut client = server.client();
    for _ in 0..3 {
        client.send("GET /page.html HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.response().text(), "page\n");
    }
    for _ in 0..3 {
        held.has_come();
    }
    // Whose connection ends sees its end, whatever goes on behind.
    assert_eq!(server.get("/page.html").text(), "page\n");
    held.has_come();
    for _ in 0..4 {
        held.answer(OK);
    }
}

#[test]
fn a_worker_that_leaves_waits_for_its_mirrors() {
    let held = Held::new();
    let server = setup(
        "location / { mirror /mirror; return 200 ok; }
        location = /mirror { log_subrequest on; access_log mirror.log; proxy_pass http://%%held%%; }
        location = /page.html { mirror /mirror; }",
    )
    .set("held", held.origin.address())
    .start();
    assert_eq!(server.get("/page.html").text(), "page\n");
    held.has_come();
    server.signal(nix::sys::signal::Signal::SIGQUIT);
    server.logged("gracefully shutting down");
    assert_eq!(server.read("mirror.log"), "");
    held.answer(OK);
    let mut server = server;
    server.wait(DEADLINE);
    system::until("the line of the mirror", || {
        server.read("mirror.log").contains("GET /page.html")
    });
}
