//! The whitelist of maintenance mode goes by the address that is believed, and by no other.

use super::{ask, binary};
use crate::support::{Client, Origin, Response, Server, Setup, Site};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn closed(origin: &Origin, lines: &str) -> Server {
    let text = format!(
        "server {{ {lines} maintenance_allow 192.0.2.1 2001:db8::/32;
            location / {{ proxy_pass http://%%origin%%; }}
            location /own {{ set_real_ip_from 127.0.0.0/8; proxy_pass http://%%origin%%; }} }}"
    );
    let server = Setup::http(&text).set("origin", origin.address()).start();
    let change = r#"{"state":"closed"}"#;
    let (status, answer) = server.ask_control("POST", "/1/proxyd/maintenance/default", change);
    assert_eq!(status, 200, "{}", answer.rest());
    server
}

/// Over whichever port, as from a client behind proxies.
fn forwarded(server: &Site, fields: &str) -> u16 {
    ask(server, "", "/", fields).status
}

#[test]
fn a_forged_address_does_not_pass_and_a_true_one_does() {
    let origin = Origin::answering(OK);
    let trusted = "listen %%listen%%; set_real_ip_from 127.0.0.1; set_real_ip_from 10.0.0.0/8; \
                   real_ip_header X-Forwarded-For; real_ip_recursive on;";
    let server = closed(&origin, trusted);
    assert_eq!(forwarded(&server, ""), 503);
    assert_eq!(forwarded(&server, "X-Forwarded-For: 192.0.2.1\r\n"), 200);
    assert_eq!(forwarded(&server, "X-Forwarded-For: 192.0.2.1, 10.0.0.7\r\n"), 200);
    assert_eq!(forwarded(&server, "X-Forwarded-For: 2001:db8::5\r\n"), 200);
    assert_eq!(forwarded(&server, "X-Forwarded-For: ::ffff:192.0.2.1\r\n"), 200);
    // A network of IPv6 from its first address to its last, and no further.
    for (address, status) in [
        ("2001:db8::", 200),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 200),
        ("2001:db9::", 503),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", 503),
    ] {
        assert_eq!(
            forwarded(&server, &format!("X-Forwarded-For: {address}\r\n")),
            status,
            "{address}"
        );
    }
    // What stands left of an address that is not trusted was written by whoever is there.
    assert_eq!(forwarded(&server, "X-Forwarded-For: 192.0.2.1, 198.51.100.7\r\n"), 503);
    assert_eq!(
        forwarded(&server, "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 198.51.100.7\r\n"),
        503
    );
    assert_eq!(forwarded(&server, "X-Forwarded-For: 192.0.2.1, nonsense\r\n"), 503);
    assert_eq!(forwarded(&server, "X-Real-IP: 192.0.2.1\r\n"), 503);
    assert_eq!(origin.connections(), 6);
}

#[test]
fn a_peer_that_is_not_trusted_names_nobody() {
    let origin = Origin::answering(OK);
    let server = closed(&origin, "listen %%listen%%; set_real_ip_from 10.0.0.1;");
    assert_eq!(forwarded(&server, "X-Real-IP: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.1\r\n"), 503);
    // Its location trusts whom its server does not.
    assert_eq!(ask(&server, "", "/own", "X-Real-IP: 192.0.2.1\r\n").status, 200);
    assert_eq!(ask(&server, "", "/own", "X-Real-IP: 192.0.2.2\r\n").status, 503);
}

#[test]
fn an_address_of_the_proxy_protocol_passes_if_its_sender_is_trusted() {
    let origin = Origin::answering(OK);
    let trusting = |from: &str| {
        let lines = format!(
            "listen %%listen%% proxy_protocol; set_real_ip_from {from}; real_ip_header proxy_protocol;"
        );
        closed(&origin, &lines)
    };
    let server = trusting("127.0.0.1");
    assert_eq!(ask(&server, binary([192, 0, 2, 1], b""), "/", "").status, 200);
    assert_eq!(ask(&server, binary([192, 0, 2, 2], b""), "/", "").status, 503);
    assert_eq!(ask(&server, "PROXY TCP6 2001:db8::7 ::1 1 2\r\n", "/", "").status, 200);
    assert_eq!(ask(&server, "PROXY UNKNOWN\r\n", "/", "X-Real-IP: 192.0.2.1\r\n").status, 503);
    let left = server
        .client()
        .send("PROXY TCP4 192.0.2.1\r\nGET / HTTP/1.0\r\n\r\n")
        .read_to_end_or_reset();
    assert!(left.is_empty());
    let server = trusting("10.0.0.1");
    assert_eq!(ask(&server, binary([192, 0, 2, 1], b""), "/", "").status, 503);
}

#[test]
fn ipv4_in_ipv6_is_trusted_and_listed_as_ipv4() {
    let origin = Origin::answering(OK);
    let probe = std::net::TcpListener::bind("[::]:0").expect("a port");
    let port = probe.local_addr().expect("an address").port();
    drop(probe);
    let _server =
        closed(&origin, &format!("listen [::]:{port} ipv6only=off; set_real_ip_from 127.0.0.1;"));
    let from = |host: &str, address: &str| -> Response {
        let mut client = Client::connect(format!("{host}:{port}").parse().expect("an address"));
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: {address}\r\n\r\n");
        client.send(request).response()
    };
    assert_eq!(from("127.0.0.1", "192.0.2.1").status, 200);
    assert_eq!(from("127.0.0.1", "::ffff:192.0.2.1").status, 200);
    assert_eq!(from("127.0.0.1", "192.0.2.2").status, 503);
    assert_eq!(from("[::1]", "192.0.2.1").status, 503);
}
