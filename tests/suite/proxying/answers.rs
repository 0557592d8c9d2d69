//! What an upstream's answer asks of the proxy, and what becomes of its fields.

use super::{TWO, group, proxy};
use crate::support::{Origin, Setup};

#[test]
fn cookies_are_told_in_the_clients_terms() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Domain=app.internal; Path=/app/x\r\n\
         Set-Cookie: b=2; HttpOnly\r\nContent-Length: 0\r\n\r\n",
    );
    let lines = "proxy_cookie_domain app.internal shop.example; proxy_cookie_path /app/ /; \
                 proxy_cookie_flags ~^b$ secure nohttponly samesite=lax;";
    let server = proxy(&origin, lines);
    let cookies = ["a=1; Domain=shop.example; Path=/x", "b=2; Secure; SameSite=Lax"];
    assert_eq!(server.get("/").all("Set-Cookie"), cookies);
}

#[test]
fn a_field_that_is_ignored_asks_for_nothing() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /other\r\nContent-Length: 2\r\n\r\nok",
    );
    let text = "server { listen %%listen%%; location / { proxy_pass http://%%origin%%; }\n\
         location /deaf { proxy_pass http://%%origin%%; proxy_ignore_headers X-Accel-Redirect; }\n\
         location /other { return 200 other; } }";
    let server = Setup::http(text).set("origin", origin.address()).start();
    assert_eq!(server.get("/").text(), "other");
    assert_eq!(server.get("/deaf").text(), "ok");
}

#[test]
fn connections_come_from_the_address_bound() {
    let origin = Origin::new(|peer| {
        let from = peer.from().ip();
        if peer.request().is_some() {
            let body = from.to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            peer.send(head + &body);
        }
    });
    let server = proxy(&origin, "proxy_bind $arg_from;");
    assert_eq!(server.get("/?from=127.0.0.7").text(), "127.0.0.7");
    assert_eq!(server.get("/").text(), "127.0.0.1");
    // An address that is not of this machine.
    assert_eq!(server.get("/?from=192.0.2.1").status, 500);
}

/// A connection from one address is none from another.
#[test]
fn kept_connections_keep_their_address() {
    let origin = Origin::answering(TWO);
    let setup = group("server %%origin%%; keepalive 4 local;", "proxy_bind $arg_from;");
    let server = setup.set("origin", origin.address()).start();
    for from in ["127.0.0.7", "127.0.0.8", "127.0.0.7", "127.0.0.8"] {
        assert_eq!(server.get(&format!("/?from={from}")).text(), "ok");
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_upstream_is_read_at_its_rate() {
    let body = "x".repeat(60_000);
    let origin =
        Origin::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{body}"));
    let server = proxy(&origin, "proxy_limit_rate 20000;");
    let began = std::time::Instant::now();
    assert_eq!(server.get("/").text(), body);
    assert!(began.elapsed().as_secs() >= 1, "{:?}", began.elapsed());
}
