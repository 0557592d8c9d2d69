//! Tests of server and its names and addresses: what is read, what is refused, and with which words.

use crate::http::fixture::{errors, snapshot};
use crate::http::request::Captures;
use crate::http::slots::Slots;
use crate::http::snapshot::Snapshot;
use crate::net::Address;

/// The addresses to bind, in order.
fn sockets(http: &str) -> Vec<String> {
    let (snapshot, _) = snapshot(http, "listen 1;");
    let shown = snapshot.needs.listen.iter().map(|spec| spec.address.to_string());
    shown.filter(|address| address != "0.0.0.0:1").collect()
}

fn address(text: &str) -> Address {
    Address::Inet(text.parse().unwrap())
}

/// The first name of the server that takes a host.
fn server(snapshot: &Snapshot, at: &str, host: &str) -> String {
    let at = address(at);
    let endpoint = snapshot.endpoints.find(&at, &at).unwrap();
    let slots = Slots::new(snapshot.slots);
    let found = endpoint.names.find(host.as_bytes(), &mut Captures::default(), &slots);
    let name = &snapshot.servers[found.unwrap_or(endpoint.default)].name;
    String::from_utf8_lossy(name).into_owned()
}

#[test]
fn a_wildcard_takes_the_addresses_of_its_port() {
    let plain = "server { listen 10.0.0.1:80; listen 80; listen [::1]:80; listen [::]:81; }";
    assert_eq!(sockets(plain), ["[::1]:80", "0.0.0.0:80", "[::]:81"]);
    let bound = "server { listen 80; listen 10.0.0.1:80 bind; listen 10.0.0.2:80 backlog=5; }";
    assert_eq!(sockets(bound), ["10.0.0.1:80", "10.0.0.2:80", "0.0.0.0:80"]);
    assert_eq!(sockets("server { listen unix:/a; listen unix:/b; }"), ["unix:/a", "unix:/b"]);
}

#[test]
fn ranges_and_names_are_many_addresses() {
    assert_eq!(sockets("server { listen 8080-8082; }").len(), 3);
    assert_eq!(sockets("server { listen two:81; }"), ["10.0.0.1:81", "10.0.0.2:81"]);
}

#[test]
fn a_server_without_listen_has_one() {
    assert_eq!(sockets("server { }"), ["0.0.0.0:8000"]);
}

#[test]
fn options_may_stand_in_any_listen_of_the_address() {
    let (snapshot, _) = snapshot(
        "server { listen 80; } server { listen 80 backlog=9 default_server; }",
        "listen 1;",
    );
    let spec = snapshot.needs.listen.iter().find(|spec| spec.backlog == 9);
    assert_eq!(spec.unwrap().address.to_string(), "0.0.0.0:80");
    let at = address("0.0.0.0:80");
    assert_eq!(snapshot.endpoints.find(&at, &at).unwrap().default, 1);
}

#[test]
fn complaints_are_nginxs() {
    for (http, message) in [
        (
            "server { listen 80 default; } server { listen 80 default; }",
            "a duplicate default server for 0.0.0.0:80",
        ),
        (
            "server { listen 80 bind; } server { listen *:80 backlog=2; }",
            "duplicate listen options for 0.0.0.0:80",
        ),
        ("server { listen 80; listen *:80; }", "a duplicate listen 0.0.0.0:80"),
        (
            "server { listen nowhere:80; }",
            "host not found in \"nowhere:80\" of the \"listen\" directive",
        ),
        ("server { server_name *a; }", "server name \"*a\" is invalid"),
        ("server { server_name .; }", "server name \".\" is invalid"),
        ("server { server_name ~; }", "empty regex in server name \"~\""),
        (
            "server { server_name a.*.b; } server { }",
            "invalid server name or wildcard \"a.*.b\" on 0.0.0.0:8000",
        ),
    ] {
        assert_eq!(errors(http, "listen 1;"), [message], "{http}");
    }
}

#[test]
fn names_select_servers_as_nginx_does() {
    let (snapshot, warnings) = snapshot(
        "server { listen 80; server_name first; }
         server { listen 80; server_name exact.example .dot.example; }
         server { listen 80; server_name *.example; }
         server { listen 80; server_name WWW.example.*; }
         server { listen 80; server_name ~^(?<who>.+)\\.re$; }
         server { listen 80; server_name ''; }
         server { listen 80; server_name EXACT.example; }",
        "listen 1;",
    );
    assert_eq!(warnings, ["conflicting server name \"exact.example\" on 0.0.0.0:80, ignored"]);
    for (host, name) in [
        ("exact.example", "exact.example"),
        ("dot.example", "exact.example"),
        ("a.dot.example", "exact.example"),
        ("b.example", "*.example"),
        ("www.example.org", "www.example.*"),
        ("x.re", "~^(?<who>.+)\\.re$"),
        ("", ""),
        ("other", "first"),
    ] {
        assert_eq!(server(&snapshot, "0.0.0.0:80", host), name, "{host}");
    }
}

#[test]
fn the_first_name_loses_its_dot() {
    let (snapshot, warnings) = snapshot("server { server_name .a b/c; }", "listen 1;");
    assert_eq!(snapshot.servers[0].name, b"a");
    assert_eq!(warnings, ["server name \"b/c\" has suspicious symbols"]);
}
