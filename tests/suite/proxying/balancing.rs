//! Which server of a group is asked. The sequences were taken from nginx 1.31.5, and hold for it too:
//! nobody listens on ports 1 to 3, and `$upstream_addr` tells who was asked.

use super::TWO;
use crate::support::{NameServer, Origin, Server, Setup, is_reference};
use std::net::Ipv4Addr;

/// A server whose locations are named after the groups, each with these lines.
fn groups(groups: &[(&str, &str)], next: &str) -> Server {
    let blocks = groups.iter().map(|(name, lines)| format!("upstream {name} {{ {lines} }}\n"));
    let blocks: Vec<_> = blocks.collect();
    let location =
        |(name, _): &(&str, &str)| format!("location /{name} {{ proxy_pass http://{name}; }}");
    let locations: Vec<_> = groups.iter().map(location).collect();
    let text = format!(
        "{} server {{ listen %%listen%%; proxy_next_upstream {next}; \
         add_header X-Addr $upstream_addr always; {} }}",
        blocks.concat(),
        locations.concat()
    );
    Setup::http(&text).start()
}

const SERVERS: &str = "server 127.0.0.1:1 max_fails=0; server 127.0.0.1:2 weight=3 max_fails=0; \
                       server 127.0.0.1:3 max_fails=0;";

/// The ports of the servers that a request went to.
fn asked(server: &Server, path: &str) -> String {
    let addresses = server.get(path).header("X-Addr").unwrap_or_default().to_owned();
    addresses.replace("127.0.0.1:", "")
}

#[test]
fn a_key_chooses_the_server_that_nginx_would_choose() {
    let plain = format!("hash $arg_k; {SERVERS}");
    let ring = format!("hash $arg_k consistent; {SERVERS}");
    let server = groups(&[("plain", &plain), ("ring", &ring)], "off");
    let sequence = |group: &str| {
        let path = |n| format!("/{group}?k=key{n}");
        (0..20).map(|n| asked(&server, &path(n))).collect::<String>()
    };
    assert_eq!(sequence("plain"), "22222222232331122322");
    assert_eq!(sequence("ring"), "13222223322321222221");
}

#[test]
fn a_key_goes_on_to_the_servers_that_nginx_would_go_on_to() {
    let plain = format!("hash $arg_k; {SERVERS}");
    let ring = format!("hash $arg_k consistent; {SERVERS}");
    let server = groups(&[("plain", &plain), ("ring", &ring)], "error");
    let all = |group: &str| {
        let path = |n| format!("/{group}?k=key{n}");
        (0..6).map(|n| asked(&server, &path(n)).replace(", ", "")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(all("plain"), "231 231 213 231 213 231");
    assert_eq!(all("ring"), "123 312 231 231 213 231");
}

#[test]
fn a_session_keeps_its_server_and_pays_for_it() {
    let lines = "sticky route $arg_k; server 127.0.0.1:1 max_fails=0 route=a; \
                 server 127.0.0.1:2 weight=2 max_fails=0 route=b; \
                 server 127.0.0.1:3 max_fails=0 drain route=c;";
    let server = groups(&[("route", lines)], "off");
    let keys = "abccxxaaaaxxxbbbxxx".chars();
    let sequence: String = keys.map(|k| asked(&server, &format!("/route?k={k}"))).collect();
    assert_eq!(sequence, "1233221111222222122");
}

#[test]
fn a_cookie_names_the_server_and_brings_the_client_back() {
    let lines = format!(
        "sticky cookie s expires=1h domain=.example.com httponly secure samesite=lax path=/p; {SERVERS}"
    );
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nContent-Length: 0\r\n\r\n");
    let one = format!("sticky cookie s; server {} route=one;", origin.address());
    let server = groups(&[("many", &lines), ("one", &one)], "off");
    assert_eq!(server.get("/one").all("Set-Cookie"), ["s=one", "own=1"]);
    // The hash of 127.0.0.1:3, by which clients know it.
    let request = |id: &str| {
        format!("GET /many HTTP/1.1\r\nHost: h\r\nCookie: s={id}\r\nConnection: close\r\n\r\n")
    };
    for _ in 0..3 {
        let response = server.request(request("73c418f48cafa3c2b9f36efeb19875f8"));
        assert_eq!(response.header("X-Addr"), Some("127.0.0.1:3"));
    }
}

#[test]
fn chance_reaches_every_server() {
    let one = format!("random; {SERVERS}");
    let two = format!("random two least_conn; {SERVERS}");
    let server = groups(&[("one", &one), ("two", &two)], "off");
    for path in ["/one", "/two"] {
        let mut seen: Vec<_> = (0..100).map(|_| asked(&server, path)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, ["1", "2", "3"], "{path}");
    }
}

#[test]
fn addresses_of_a_name_are_followed_while_the_server_runs() {
    if is_reference() {
        return; // nginx looks again after whole seconds only.
    }
    let (names, origin) = (NameServer::new(), Origin::answering(TWO));
    let port = origin.address().port();
    names.set("app.example", 0, &[Ipv4Addr::new(127, 0, 0, 77)]);
    let text = format!(
        "resolver {} ipv6=off; upstream u {{ zone u 64k; server app.example:{port} resolve max_fails=0; }} \
         server {{ listen %%listen%%; location / {{ proxy_pass http://u; \
         add_header X-Addr $upstream_addr always; }} }}",
        names.address()
    );
    let server = Setup::http(&text).start();
    let wait_for = |status: u16, address: &str| {
        while {
            let response = server.get("/");
            (response.status, response.header("X-Addr")) != (status, Some(address))
        } {}
    };
    wait_for(502, &format!("127.0.0.77:{port}"));
    names.set("app.example", 600, &[Ipv4Addr::LOCALHOST]);
    wait_for(200, &format!("127.0.0.1:{port}"));
}

#[test]
fn a_session_that_the_server_has_begun_stays_with_it() {
    let origin = |id: &'static str| {
        Origin::answering(format!(
            "HTTP/1.1 200 OK\r\nSet-Cookie: sid={id}\r\nContent-Length: 1\r\n\r\n{id}"
        ))
    };
    let (one, two) = (origin("1"), origin("2"));
    let text = format!(
        "upstream u {{ server {}; server {}; \
         sticky learn create=$upstream_cookie_sid lookup=$cookie_sid zone=s:64k; }} \
         server {{ listen %%listen%%; location / {{ proxy_pass http://u; }} }}",
        one.address(),
        two.address()
    );
    let server = Setup::http(&text).start();
    assert_eq!(server.get("/").text() + &server.get("/").text(), "12");
    for id in ["2", "2", "1", "2", "1", "1"] {
        let request =
            format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: sid={id}\r\nConnection: close\r\n\r\n");
        assert_eq!(server.request(request).text(), id);
    }
}
