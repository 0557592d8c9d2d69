//! What clients send, and how it is answered, refused or dropped.

use super::{
    Answer, Closed, Open, SEEING, bad_request, each, ok, page, page_with, play_all, row, saw,
};
use crate::support::{End, Server};

fn server() -> Server {
    Server::http(&format!("server {{ listen %%listen%%; {SEEING} }}"))
}

/// A request with these lines after its request line, `Host` and `Connection:
/// close` among them unless they are there.
fn get(lines: &str) -> Vec<u8> {
    request("GET / HTTP/1.1", lines)
}

fn request(line: &str, lines: &str) -> Vec<u8> {
    let mut text = format!("{line}\r\n{lines}");
    if !lines.contains("Host:") {
        text.push_str("Host: localhost\r\n");
    }
    text.push_str("Connection: close\r\n\r\n");
    text.into_bytes()
}

fn target(target: &str) -> Vec<u8> {
    request(&format!("GET {target} HTTP/1.1"), "")
}

fn chunked(body: &str) -> Vec<u8> {
    let mut bytes = request("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n");
    bytes.extend(body.as_bytes());
    bytes
}

/// A GET with an odd request line, fields as usual.
fn line(line: &str) -> Vec<u8> {
    request(line, "")
}

fn post(lines: &str) -> Vec<u8> {
    request("POST / HTTP/1.1", lines)
}

#[test]
fn versions() {
    let served = [
        ("HTTP/1.0", b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n".to_vec()),
        ("HTTP/1.2", line("GET / HTTP/1.2")),
        ("HTTP/1.10", line("GET / HTTP/1.10")),
    ];
    let refused = [
        ("HTTP/1.1000", line("GET / HTTP/1.1000")),
        ("HTTP/1.1x", line("GET / HTTP/1.1x")),
        ("HTTP/0.9 in so many words", line("GET / HTTP/0.9")),
        ("lower case", line("GET / http/1.1")),
    ];
    let unsupported = [("HTTP/2.0", line("GET / HTTP/2.0")), ("HTTP/3.0", line("GET / HTTP/3.0"))];
    let server = server();
    play_all(&each(served, &ok()), &server);
    play_all(&each(refused, &bad_request()), &server);
    play_all(&each(unsupported, &page("505 HTTP Version Not Supported")), &server);
    let bare = row("HTTP/0.9", "GET /\r\n", Answer::Bare("ok\n", Closed));
    play_all(&[bare], &server);
}

#[test]
fn request_lines() {
    let served = [
        ("bare LF", b"GET / HTTP/1.0\nHost: localhost\n\n".to_vec()),
        ("leading CRLF", [b"\r\n".to_vec(), get("")].concat()),
        ("leading LF", [b"\n".to_vec(), get("")].concat()),
        ("two spaces before the target", line("GET  / HTTP/1.1")),
        ("two spaces before the version", line("GET /  HTTP/1.1")),
        ("spaces at the end", line("GET / HTTP/1.1  ")),
    ];
    let refused = [
        ("leading space", [b" ".to_vec(), get("")].concat()),
        ("CR within", line("GET / HTTP/1.1\r ")),
        ("garbage", b"garbage\r\n\r\n".to_vec()),
        ("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec()),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
    ];
    let server = server();
    play_all(&each(served, &ok()), &server);
    play_all(&each(refused, &bad_request()), &server);
}

#[test]
fn methods() {
    let served =
        [("unknown", line("FOO / HTTP/1.1")), ("with - and _", line("FOO_BAR-X / HTTP/1.1"))];
    let refused = [
        ("lower case", line("get / HTTP/1.1")),
        ("with a digit", line("F00 / HTTP/1.1")),
        ("CONNECT without a port", line("CONNECT localhost HTTP/1.1")),
    ];
    let not_allowed =
        [("TRACE", line("TRACE / HTTP/1.1")), ("CONNECT", line("CONNECT localhost:443 HTTP/1.1"))];
    let server = server();
    play_all(&each(served, &ok()), &server);
    play_all(&each(refused, &bad_request()), &server);
    play_all(&each(not_allowed, &page("405 Not Allowed")), &server);
}

#[test]
fn targets() {
    let seen = [
        ("/a/.#frag", "/a/.#frag|/a/|localhost|"),
        ("/<>\"{}|^", "/<>\"{}|^|/<>\"{}|^|localhost|"),
        ("/a/b/../c/./d//e", "/a/b/../c/./d//e|/a/c/d/e|localhost|"),
        ("/a%2fb%20c?%20", "/a%2fb%20c?%20|/a/b c|localhost|"),
        ("http://localhost/x?y", "/x?y|/x|localhost|"),
        ("http://localhost?args", "?args|/|localhost|"),
        ("http://other/x", "/x|/x|other|"),
    ];
    let server = server();
    let rows = seen.map(|(sent, seen)| row(sent, target(sent), saw(seen, Closed)));
    play_all(&rows, &server);
    let high = [b"GET /\xd1 HTTP/1.1\r\n".to_vec(), get("")[16..].to_vec()].concat();
    let high = row("8-bit byte", high, saw("/\u{d1}|/\u{d1}|localhost|", Closed));
    play_all(&[high], &server);
}

#[test]
fn bad_targets() {
    let refused = [
        "/bar%",
        "/%zz",
        "/%00",
        "/\0",
        "/\t",
        "/\x7f",
        "/a b",
        "/\r",
        "x",
        "*",
        "/../x",
        "/a/%2e%2e/%2E%2e/x",
        "http:///x",
        "http://u:p@localhost/x",
    ];
    let rows = refused.map(|text| row(text, target(text), bad_request()));
    let server = server();
    play_all(&rows, &server);
    let asterisk = row("asterisk of OPTIONS", line("OPTIONS * HTTP/1.1"), bad_request());
    play_all(&[asterisk], &server);
}

#[test]
fn hosts() {
    let host = |value: &str| get(&format!("Host: {value}\r\n"));
    let seen = [
        ("LOCALhost:80", "localhost"),
        ("localhost.", "localhost"),
        ("[::1]:80", "[::1]"),
        ("a%41b", "a%41b"),
    ];
    let rows = seen.map(|(sent, seen)| row(sent, host(sent), saw(&format!("/|/|{seen}|"), Closed)));
    let server = server();
    play_all(&rows, &server);
    let refused = [
        "a/b",
        "a b",
        "u@localhost",
        "a\x01b",
        "a#b",
        "a?b",
        "a\\b",
        "a..b",
        "localhost:abc",
        "localhost:99999",
        "[::1",
    ];
    play_all(&refused.map(|value| row(value, host(value), bad_request())), &server);
    let refused = [
        ("none", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec()),
        ("none beside an absolute target", b"GET http://a/ HTTP/1.1\r\n\r\n".to_vec()),
        ("two", get("Host: localhost\r\nHost: b\r\n")),
        ("empty", get("Host:\r\n")),
    ];
    play_all(&each(refused, &bad_request()), &server);
}

#[test]
fn framing() {
    let refused = [
        ("length twice, same", post("Content-Length: 0\r\nContent-Length: 0\r\n")),
        ("length and chunked", post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n")),
        ("signed length", post("Content-Length: +5\r\n")),
        ("negative length", post("Content-Length: -1\r\n")),
        ("list of lengths", post("Content-Length: 5, 5\r\n")),
        ("empty length", post("Content-Length:\r\n")),
        ("length beyond 64 bits", post("Content-Length: 99999999999999999999\r\n")),
        ("chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        ("chunked in HTTP/1.0", request("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n")),
    ];
    let unknown = [
        ("chunked listed twice", post("Transfer-Encoding: chunked, chunked\r\n")),
        ("identity", post("Transfer-Encoding: identity\r\n")),
        ("chunked, identity", post("Transfer-Encoding: chunked, identity\r\n")),
        ("vertical tab", post("Transfer-Encoding: \x0bchunked\r\n")),
        ("no coding", post("Transfer-Encoding:\r\n")),
    ];
    let server = server();
    play_all(&each(refused, &bad_request()), &server);
    play_all(&each(unknown, &page("501 Not Implemented")), &server);
    let capitals = [post("Transfer-Encoding: CHUNKED\r\n"), b"0\r\n\r\n".to_vec()].concat();
    play_all(&[row("chunked in capitals", capitals, ok())], &server);
}

#[test]
fn chunks() {
    let refused = [
        ("bad size", chunked("zz\r\n")),
        ("hexadecimal prefix", chunked("0x3\r\nabc\r\n0\r\n\r\n")),
        ("negative size", chunked("-1\r\n")),
        ("size beyond 64 bits", chunked("fffffffffffffffff\r\n")),
        ("space before the size", chunked(" 3\r\nabc\r\n0\r\n\r\n")),
        ("more than the size", chunked("3\r\nabcd\r\n0\r\n\r\n")),
        ("bare LF", chunked("3\nabc\n0\n\n")),
        ("bare LF after the data", chunked("3\r\nabc\n0\r\n\r\n")),
        ("bare LF in an extension", chunked("3;a\nabc\r\n0\r\n\r\n")),
        ("bare CR in an extension", chunked("3;a\rb\r\nabc\r\n0\r\n\r\n")),
    ];
    let served = [
        ("extension", chunked("3;a=b\r\nabc\r\n0\r\n\r\n")),
        ("trailers", chunked("3\r\nabc\r\n0\r\nX: y\r\n\r\n")),
    ];
    let server = server();
    play_all(&each(refused, &bad_request()), &server);
    play_all(&each(served, &ok()), &server);
    let control = chunked("3;a\x01b\r\nabc\r\n0\r\n\r\n");
    let control = row("control byte in an extension", control, ok()).or_ours(bad_request());
    play_all(&[control], &server);
}

#[test]
fn field_names() {
    let dropped = [
        ("underscore", get("x_foo: v\r\n")),
        ("mark", get("x<foo: v\r\n")),
        ("dot", get("X.Foo: v\r\n")),
        ("no colon", get("x\r\n")),
    ];
    let refused = [
        ("starts with a colon", get(":x: v\r\n")),
        ("none", get(": v\r\n")),
        ("space before the colon", get("X-Foo : v\r\n")),
        ("control byte", get("X-F\x01oo: v\r\n")),
        ("space before the first", get(" X-Foo: v\r\n")),
        ("If-None-Match twice", get("If-None-Match: a\r\nIf-None-Match: b\r\n")),
        ("Authorization twice", get("Authorization: a\r\nAuthorization: b\r\n")),
    ];
    let server = server();
    play_all(&each(dropped, &ok()), &server);
    play_all(&each(refused, &bad_request()), &server);
}

#[test]
fn field_values() {
    let foo = |value: &str| saw(&format!("/|/|localhost|{value}"), Closed);
    let refused = [
        ("continued by a space", get("X-Foo: a\r\n b\r\n")),
        ("continued by a tab", get("X-Foo: a\r\n\tb\r\n")),
        ("bare CR", get("X-Foo: a\rb\r\n")),
        ("NUL", get("X-Foo: a\0b\r\n")),
    ];
    let rows = [
        row("CR CR LF", get("X-Foo: a\r\r\n"), foo("a")).or_ours(bad_request()),
        row("empty", get("X-Foo:\r\n"), foo("")),
        row("spaces around", get("X-Foo:   a b  \r\n"), foo("a b")),
        row("two of a name", get("X-Foo: a\r\nX-Foo: b\r\n"), foo("a, b")),
        row("unknown expectation", get("Expect: unknown\r\n"), ok()),
    ];
    let server = server();
    play_all(&each(refused, &bad_request()), &server);
    play_all(&rows, &server);
}

#[test]
fn sizes() {
    let nine_k = "a".repeat(9000);
    let many: Vec<_> = (0..110).map(|number| format!("A{number}: b\r\n")).collect();
    let too_large = page_with(
        "400 Request Header Or Cookie Too Large",
        "400 Bad Request",
        "<center>Request Header Or Cookie Too Large</center>\r\n",
        Closed,
    );
    let long_target = target(&format!("/{nine_k}"));
    let rows = [
        row("9k field", get(&format!("X: {nine_k}\r\n")), too_large),
        row("9k target", long_target, page("414 Request-URI Too Large")),
        row("110 fields", get(&many.concat()), ok()),
    ];
    play_all(&rows, &server());
}

#[test]
fn kept_connections() {
    let open = || saw("/|/|localhost|", Open);
    let rows = [
        row("HTTP/1.1", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", open()),
        row(
            "HTTP/1.0, asked for",
            "GET / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
            open(),
        ),
        row(
            "close among others",
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, close\r\n\r\n",
            ok(),
        ),
        row(
            "GET with a body",
            "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
            open(),
        ),
        row(
            "chunked body nobody reads",
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            open(),
        ),
    ];
    play_all(&rows, &server());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = server();
    let mut client = server.client();
    let first = "GET /1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.send([first.as_bytes(), &target("/2")].concat());
    assert_eq!(client.response().header("X-Saw"), Some("/1|/1|localhost|"));
    assert_eq!(client.response().header("X-Saw"), Some("/2|/2|localhost|"));
    assert_eq!(client.end(), End::Closed);
}

#[test]
fn a_bad_request_on_a_kept_connection_closes_it() {
    let server = server();
    let mut client = server.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /% HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert_eq!(client.response().status, 200);
    let refused = client.response();
    assert_eq!((refused.status, refused.header("Connection")), (400, Some("close")));
    assert_eq!(client.end(), End::Closed);
}

#[test]
fn a_request_in_single_bytes_is_the_same_request() {
    let server = server();
    let mut client = server.client();
    for byte in get("X-Foo: slow\r\n") {
        client.send([byte]);
    }
    assert_eq!(client.response().header("X-Saw"), Some("/|/|localhost|slow"));
}
