//! Addresses that trusted proxies name in fields.

use super::ask;
use crate::support::{Origin, Server};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

#[test]
fn variables_logs_and_backends_see_the_believed_address() {
    let origin = Origin::answering_once("HTTP/1.1 204 No Content\r\n\r\n");
    let mut server = crate::support::Setup::http(
        "log_format who '$remote_addr $realip_remote_addr $remote_port.';
        geo $place { default elsewhere; 192.0.2.0/24 here; }
        server { listen %%listen%%; access_log who.log who;
            set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;
            location / { proxy_pass http://%%origin%%;
                proxy_set_header X-Seen '$remote_addr $place';
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }
            location /refused { deny 192.0.2.1; allow all; } }",
    )
    .set("origin", origin.address())
    .start();
    let fields = "X-Forwarded-For: 192.0.2.1:77\r\n";
    assert_eq!(ask(&server, "", "/", fields).status, 204);
    let request = origin.received();
    assert!(request.contains("\r\nX-Seen: 192.0.2.1 here\r\n"), "{request}");
    assert!(request.contains("\r\nX-Forwarded-For: 192.0.2.1:77, 192.0.2.1\r\n"), "{request}");
    assert_eq!(ask(&server, "", "/refused", fields).status, 403);
    assert!(server.logged("access forbidden by rule").contains(", client: 192.0.2.1,"));
    server.quit();
    assert_eq!(server.read("who.log"), "192.0.2.1 127.0.0.1 77.\n".repeat(2));
}

#[test]
fn a_kept_connection_is_looked_at_anew_for_each_request() {
    let server = Server::http(
        "server { listen %%listen%%; set_real_ip_from 127.0.0.1; real_ip_recursive on;
            return 200 $remote_addr; }",
    );
    let mut client = server.client();
    for (field, expected) in [
        ("X-Real-IP: 192.0.2.1\r\n", "192.0.2.1"),
        ("", "127.0.0.1"),
        ("X-Real-IP: ::9\r\n", "::9"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n");
        assert_eq!(client.send(request).response().text(), expected);
    }
}

#[test]
fn a_location_may_trust_whom_its_server_does_not() {
    let server = Server::http(
        "server { listen %%listen%%; error_page 403 /who;
            location / { set_real_ip_from 127.0.0.1; set $early $remote_addr; deny 192.0.2.1; }
            location /who { return 200 '$proxy_add_x_forwarded_for $early'; } }",
    );
    // As in nginx, rewriting comes before: it sees the proxy.
    let answer = ask(&server, "", "/", "X-Real-IP: 192.0.2.1\r\n");
    assert_eq!(answer.text(), "192.0.2.1 127.0.0.1");
    assert_eq!(ask(&server, "", "/who", "X-Real-IP: 192.0.2.1\r\n").text(), "127.0.0.1 ");
}

#[test]
fn clients_of_unix_sockets_are_trusted_as_such() {
    let server = Server::http(
        "server { listen unix:%%dir%%/s.sock; return 200 $remote_addr;
            location / { set_real_ip_from unix:; alias html/; add_header X-IP '$remote_addr'; deny all; error_page 403 =200 /ip; }
            location /ip { return 200 '$remote_addr'; } }",
    );
    let mut stream = UnixStream::connect(server.path("s.sock")).expect("a connection");
    stream.write_all(b"GET / HTTP/1.0\r\nX-Real-IP: 192.0.2.1\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("\r\n\r\nunix:"), "{answer}");
}
