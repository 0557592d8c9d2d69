//! The PROXY protocol on listening sockets.

use super::{ask, binary};
use crate::support::{Client, End, Server, Setup, is_reference};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

const WHO: &str = "'$remote_addr $proxy_protocol_addr:$proxy_protocol_port \
                   $proxy_protocol_server_addr:$proxy_protocol_server_port'";

fn server(inside: &str) -> Server {
    Server::http(&format!("server {{ listen %%listen%% proxy_protocol; {inside} }}"))
}

#[test]
fn both_versions_name_the_ends_of_a_connection() {
    let server = server(&format!(
        "location / {{ return 200 {WHO}; }}
        location /real {{ set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol; deny all; error_page 403 =200 /seen; }}
        location /seen {{ return 200 '$remote_addr:$remote_port $realip_remote_addr'; }}"
    ));
    let v4 = "PROXY TCP4 192.0.2.1 192.0.2.254 123 5678\r\n";
    let v6 = "PROXY TCP6 2001:Db8::1 2001:Db8::2 123 5678\r\n";
    let local = "127.0.0.1 : :";
    for (header, expected) in [
        (v4.as_bytes(), "127.0.0.1 192.0.2.1:123 192.0.2.254:5678"),
        (v6.as_bytes(), "127.0.0.1 2001:Db8::1:123 2001:Db8::2:5678"),
        (&binary([192, 0, 2, 9], b""), "127.0.0.1 192.0.2.9:123 192.0.2.254:5678"),
        (b"PROXY UNKNOWN\r\n", local),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0", local),
    ] {
        assert_eq!(ask(&server, header, "/", "").text(), expected);
    }
    assert_eq!(ask(&server, v6, "/real", "").text(), "2001:db8::1:123 127.0.0.1");
    assert_eq!(
        ask(&server, "PROXY UNKNOWN\r\n", "/real", "").text().split(':').next(),
        Some("127.0.0.1")
    );
}

#[test]
fn further_values_are_variables() {
    let server = server(
        "return 200 '$proxy_protocol_tlv_alpn $proxy_protocol_tlv_ssl_cn $proxy_protocol_tlv_ssl_verify \
         $proxy_protocol_tlv_0xe0.';",
    );
    let ssl = b"\x20\0\x0a\x01\0\0\0\x01\x22\0\x02me";
    let tlvs = [&b"\x01\0\x02h2"[..], ssl, b"\xe0\0\x01x"].concat();
    assert_eq!(ask(&server, binary([1, 2, 3, 4], &tlvs), "/", "").text(), "h2 me 1 x.");
    assert_eq!(ask(&server, binary([1, 2, 3, 4], b"\x01\0\x09h2"), "/", "").text(), "   .");
    server.logged("broken PROXY protocol TLV");
}

#[test]
fn what_is_no_header_ends_the_connection() {
    let server = server("return 200 in;");
    for (bytes, line) in [
        (
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            "broken header: \"GET / HTTP/1.1\" while reading PROXY protocol, client: 127.0.0.1",
        ),
        (b"PROXY TCP4 1.1.1.1\r\n\r\n", "broken header: \"PROXY TCP4 1.1.1.1\""),
        (b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0", "unknown PROXY protocol version: 3"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "header is too large"),
    ] {
        let left = server.client().send(bytes).read_to_end_or_reset();
        assert!(left.is_empty(), "{:?}", String::from_utf8_lossy(&left));
        server.logged(line);
    }
    assert!(server.read("access.log").is_empty());
}

#[test]
fn a_header_may_come_in_pieces_but_not_for_ever() {
    // nginx wants it in one.
    if is_reference() {
        return;
    }
    let server = server("client_header_timeout 300ms; return 200 $proxy_protocol_addr;");
    let mut client = server.client();
    for byte in b"PROXY TCP4 192.0.2.1 192.0.2.254 123 5678\r\nGE" {
        client.send([*byte]);
    }
    assert_eq!(client.send("T / HTTP/1.1\r\nHost: a\r\n\r\n").response().text(), "192.0.2.1");
    // It belongs to the connection: the next request needs none, and may not have one.
    let again = client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response();
    assert_eq!(again.text(), "192.0.2.1");
    let second = client.send("PROXY UNKNOWN\r\nHost: a\r\n\r\n").response();
    assert_eq!(second.status, 400);
    let mut slow = server.client();
    assert_eq!(slow.send("PROXY TCP4 192").end(), End::Closed);
    server.logged("client timed out (110: Connection timed out) while reading PROXY protocol");
}

#[test]
fn only_the_addresses_that_ask_for_it_have_it() {
    let server = Server::http(&format!(
        "server {{ listen %%listen%%; return 200 {WHO}; }}
        server {{ listen %%listen2%% proxy_protocol; server_name a; return 200 a; }}
        server {{ listen %%listen2%%; server_name b; return 200 b; }}"
    ));
    assert_eq!(server.get("/").text(), "127.0.0.1 : :");
    let request = "PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n";
    let answer = Client::connect(server.address_of("listen2")).send(request).response();
    assert_eq!(answer.text(), "b");
}

#[test]
fn it_works_on_unix_sockets() {
    let server = Server::http(
        "server { listen unix:%%dir%%/s.sock proxy_protocol; set_real_ip_from unix:;
            real_ip_header proxy_protocol; return 200 '$remote_addr $realip_remote_addr'; }",
    );
    let mut stream = UnixStream::connect(server.path("s.sock")).expect("a connection");
    stream.write_all(b"PROXY TCP4 192.0.2.1 1.1.1.1 1 2\r\nGET / HTTP/1.0\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("\r\n\r\n192.0.2.1 unix:"), "{answer}");
}

#[test]
fn it_comes_and_goes_with_a_reload() {
    // nginx does not wait for the outcome.
    if is_reference() {
        return;
    }
    let mut server = Setup::http("server { listen %%listen%%; return 200 old; }").start();
    let mut kept = server.client();
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(kept.send(request).response().text(), "old");
    server.configure(
        "server { listen %%listen%% proxy_protocol; return 200 new$proxy_protocol_addr; }",
    );
    let (code, messages) = server.command(&["-s", "reload"]);
    assert_eq!(code, Some(0), "{messages}");
    // A connection that was open before goes on as it began.
    assert_eq!(kept.send(request).response().text(), "new");
    assert_eq!(ask(&server, "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "/", "").text(), "new1.1.1.1");
}
