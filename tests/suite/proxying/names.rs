//! Names that only a request knows, and the name servers that know their addresses.

use super::TWO;
use crate::support::{NameServer, Origin, Server, Setup};
use std::net::Ipv4Addr;

/// Passes to the host that the request's field `X-To` names, on the origin's port.
fn by_name(names: &NameServer, origin: &Origin, lines: &str) -> Server {
    let text = format!(
        "server {{ listen %%listen%%; {lines} error_page 502 = @failed; \
         location / {{ proxy_pass http://$http_x_to:{}; }} \
         location @failed {{ return 502 \"failed\"; }} }}",
        origin.address().port()
    );
    Setup::http(&text).set("names", names.address()).start()
}

fn ask(server: &Server, name: &str) -> u16 {
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX-To: {name}\r\nConnection: close\r\n\r\n");
    server.request(request).status
}

#[test]
fn a_name_is_asked_for_once_while_its_answer_is_valid() {
    let (names, origin) = (NameServer::new(), Origin::answering(TWO));
    names.set("app.example", 600, &[Ipv4Addr::LOCALHOST]);
    let server = by_name(&names, &origin, "resolver %%names%%;");
    for name in ["app.example", "APP.example", "app.example"] {
        assert_eq!(ask(&server, name), 200, "{name}");
    }
    assert_eq!(names.questions(), 1);
}

#[test]
fn a_name_that_nobody_knows_is_502_and_asked_for_again() {
    let (names, origin) = (NameServer::new(), Origin::answering(TWO));
    let server = by_name(&names, &origin, "resolver %%names%%;");
    assert_eq!(ask(&server, "app.example"), 502);
    server.logged("app.example could not be resolved (3: Host not found)");
    names.set("app.example", 600, &[Ipv4Addr::LOCALHOST]);
    assert_eq!(ask(&server, "app.example"), 200);
}

#[test]
fn an_address_that_does_not_answer_is_followed_by_the_next() {
    let (names, origin) = (NameServer::new(), Origin::answering(TWO));
    names.set("app.example", 600, &[Ipv4Addr::new(127, 0, 0, 77), Ipv4Addr::LOCALHOST]);
    let server = by_name(&names, &origin, "resolver %%names%% ipv6=off valid=10m;");
    assert_eq!(ask(&server, "app.example"), 200);
}

#[test]
fn without_a_resolver_and_without_an_answer_it_is_502() {
    let (names, origin) = (NameServer::new(), Origin::answering(TWO));
    let server = by_name(&names, &origin, "");
    assert_eq!(ask(&server, "app.example"), 502);
    server.logged("no resolver defined to resolve app.example");
    // Nobody listens there: the port was free a moment ago.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let lines =
        format!("resolver {}; resolver_timeout 100ms;", silent.local_addr().expect("an address"));
    let server = by_name(&names, &origin, &lines);
    assert_eq!(ask(&server, "app.example"), 502);
    server.logged("app.example could not be resolved (110: Operation timed out)");
}
