//! Who passes a closed door: addresses, and people with a token.

use proxyd::token::Key;
use serde_json::json;

use super::{OK, close, fetch, open, order, proxy, setup};
use crate::support::{Client, Origin, Response, Setup};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const COOKIE: &str = "maintenance_bypass_cookie pxd key_file=bypass.key ttl=1h; \
                      maintenance_bypass_header X-Pass;";

fn token(switch: &str, until: u64, key: &str) -> String {
    Key::new(key.as_bytes()).expect("a key").sign(switch, 0, "alice", until)
}

const LATER: u64 = 4_000_000_000;

#[test]
fn a_listed_address_passes_over_any_socket() {
    let origin = Origin::answering(OK);
    let text = "server { listen [::]:%%port%% ipv6only=off; maintenance_allow 127.0.0.0/8; \
                location / { proxy_pass http://%%origin%%; } }";
    // The number of a port that is free for both families.
    let probe = std::net::TcpListener::bind("[::]:0").expect("a port");
    let port = probe.local_addr().expect("an address").port();
    drop(probe);
    let server = Setup::http(text).set("port", port).set("origin", origin.address()).start();
    close(&server);
    let ask = |host: &str| {
        let mut client = Client::connect(format!("{host}:{port}").parse().expect("an address"));
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response()
    };
    let answer = ask("127.0.0.1");
    assert_eq!((answer.status, answer.header("X-Maintenance")), (200, Some("bypass")));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    assert_eq!(ask("[::1]").status, 503);
}

#[test]
fn addresses_are_added_at_run_time_and_all_can_be_kept_out() {
    let origin = Origin::answering(OK);
    let server = proxy(&origin, "");
    close(&server);
    assert_eq!(server.get("/").status, 503);
    order(&server, "default", &json!({ "state": "closed", "allow": ["127.0.0.1"] }));
    assert_eq!(server.get("/").status, 200);
    let server = proxy(&origin, "maintenance_allow 127.0.0.1;");
    close(&server);
    assert_eq!(server.get("/").status, 200);
    order(&server, "default", &json!({ "state": "closed", "no_bypass": true }));
    assert_eq!(server.get("/").status, 503);
}

#[test]
fn a_claimed_address_lets_nobody_in() {
    let origin = Origin::answering(OK);
    let server = proxy(&origin, "maintenance_allow 192.0.2.1;");
    close(&server);
    for field in ["X-Forwarded-For", "X-Real-IP", "Forwarded"] {
        let fields = format!("{field}: 192.0.2.1\r\n");
        assert_eq!(fetch(&server, "/", &fields).status, 503, "{field}");
    }
}

#[test]
fn a_token_is_worth_a_cookie_and_the_backend_sees_neither() {
    let origin = Origin::answering(OK);
    let server = setup(&origin, COOKIE).file("bypass.key", KEY).start();
    close(&server);
    let good = token("default", LATER, KEY);
    let visit = fetch(&server, &format!("/.proxyd/bypass/{good}"), "");
    assert_eq!((visit.status, visit.header("Cache-Control")), (303, Some("no-store")));
    let cookie = visit.header("Set-Cookie").expect("a cookie").to_owned();
    assert!(cookie.contains("; Path=/; Max-Age=3") && cookie.contains("; HttpOnly; SameSite=Lax"));
    let pair = cookie.split(';').next().expect("a pair");
    let answer = fetch(&server, "/page", &format!("Cookie: a=1; {pair}; b=2\r\n"));
    assert_eq!((answer.status, answer.header("X-Maintenance")), (200, Some("bypass")));
    let request = origin.received();
    assert!(request.contains("\r\nCookie: a=1; b=2\r\n") && !request.contains("pxd"), "{request}");
    assert_eq!(fetch(&server, "/page", &format!("x-pass: {good}\r\n")).status, 200);
    let request = origin.received();
    assert!(!request.to_lowercase().contains("x-pass"), "{request}");
    open(&server);
    fetch(&server, "/page", &format!("X-Pass: {good}\r\nCookie: {pair}\r\n"));
    let request = origin.received().to_lowercase();
    assert!(!request.contains("x-pass") && !request.contains("cookie"), "{request}");
}

#[test]
fn what_is_no_valid_token_opens_nothing() {
    let origin = Origin::answering(OK);
    let server = setup(&origin, COOKIE).file("bypass.key", KEY).start();
    close(&server);
    let good = token("default", LATER, KEY);
    let bad = [
        token("default", 1_000_000_000, KEY),
        token("shop", LATER, KEY),
        token("default", LATER, "another key of that length"),
        good.replace("alice", "alicf"),
        good[..good.len() - 1].to_owned(),
    ];
    for token in &bad {
        assert_eq!(fetch(&server, "/", &format!("X-Pass: {token}\r\n")).status, 503, "{token}");
        assert_eq!(fetch(&server, "/", &format!("Cookie: pxd={token}\r\n")).status, 503, "{token}");
        let visit = fetch(&server, &format!("/.proxyd/bypass/{token}"), "");
        assert_eq!((visit.status, visit.header("Set-Cookie")), (503, None), "{token}");
    }
    assert_eq!(fetch(&server, "/", &format!("X-Pass: {good}\r\n")).status, 200);
    order(&server, "default", &json!({ "state": "closed", "no_bypass": true }));
    assert_eq!(fetch(&server, "/", &format!("X-Pass: {good}\r\n")).status, 503);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn tokens_are_in_no_log() {
    let origin = Origin::answering(OK);
    let setup = setup(&origin, &format!("{COOKIE} access_log seen.log seen;"));
    let mut server = setup
        .set("http", "log_format seen '$request $request_uri $uri $http_cookie $http_x_pass';")
        .file("bypass.key", KEY)
        .start();
    let good = token("default", LATER, KEY);
    let ask = |server: &crate::support::Site| -> Vec<Response> {
        vec![
            fetch(server, &format!("/.proxyd/bypass/{good}"), ""),
            fetch(server, &format!("/.proxyd/bypass/{good}x"), ""),
            fetch(server, "/", &format!("X-Pass: {good}\r\nCookie: pxd={good}\r\n")),
        ]
    };
    ask(&server);
    close(&server);
    ask(&server);
    server.quit();
    for log in ["seen.log", "error.log"] {
        let text = server.read(log);
        assert!(!text.is_empty() && !text.contains("alice"), "{log}: {text}");
    }
}
