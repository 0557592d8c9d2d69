//! What comes before, within and behind an answer: early hints, ranges, trailers.

use super::proxy;
use crate::support::Origin;

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Pad: x\r\n\r\n";
const TEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: \"e\"\r\n\r\n0123456789";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
                       X-Sum: 7\r\nX-Hidden: 1\r\nContent-Length: 3\r\n\r\n";

#[test]
fn early_hints_go_on_to_those_who_can_have_them() {
    let origin = Origin::answering([HINTS, HINTS, TEN].concat());
    let server = proxy(&origin, "early_hints $http_x_wants;");
    let ask = |version: &str, fields: &str| {
        let mut client = server.client();
        client.send(format!("GET / {version}\r\nHost: h\r\nConnection: close\r\n{fields}\r\n"));
        String::from_utf8(client.read_to_end()).expect("text")
    };
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let told = ask("HTTP/1.1", "X-Wants: 1\r\n");
    assert!(told.starts_with(&format!("{hint}{hint}HTTP/1.1 200 OK\r\n")), "{told}");
    assert!(told.ends_with("\r\n\r\n0123456789"), "{told}");
    for (version, fields) in
        [("HTTP/1.1", ""), ("HTTP/1.1", "X-Wants: 0\r\n"), ("HTTP/1.0", "X-Wants: 1\r\n")]
    {
        let told = ask(version, fields);
        assert!(told.starts_with("HTTP/1.1 200 OK\r\n"), "{told}");
    }
}

#[test]
fn ranges_of_any_answer_can_be_had() {
    let origin = Origin::answering(TEN);
    let server = proxy(&origin, "proxy_force_ranges on;");
    let range = |fields: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n\r\n");
        let answer = server.request(request);
        (answer.status, answer.text(), answer.header("Content-Range").unwrap_or("").to_owned())
    };
    let part = |text: &str, range: &str| (206, text.to_owned(), format!("bytes {range}/10"));
    assert_eq!(range("Range: bytes=2-4"), part("234", "2-4"));
    assert_eq!(range("Range: bytes=-2"), part("89", "8-9"));
    assert_eq!(range("Range: bytes=2-4\r\nIf-Range: \"e\""), part("234", "2-4"));
    for whole in ["Range: bytes=2-4\r\nIf-Range: \"f\"", "Range: bytes=1-2,4-5", "X: y"] {
        assert_eq!(range(whole), (200, "0123456789".to_owned(), String::new()), "{whole}");
    }
    assert_eq!(range("Range: bytes=10-").0, 416);
}

#[test]
fn trailers_go_on_where_they_are_wanted() {
    let origin = Origin::answering(CHUNKED);
    let whole = |lines: &str| {
        let server = proxy(&origin, lines);
        let mut client = server.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let text = String::from_utf8(client.read_to_end()).expect("text");
        let log = server.wait_for("access.log", |log| !log.is_empty());
        (text.split_once("\r\n\r\n").expect("a head").1.to_owned(), log)
    };
    let plain = "2\r\nok\r\n0\r\n\r\n";
    assert_eq!(whole("").0, plain);
    let hidden = "proxy_pass_trailers on; proxy_hide_header X-Hidden; \
                  add_trailer X-More $upstream_trailer_x_hidden;";
    assert_eq!(whole(hidden).0, "2\r\nok\r\n0\r\nX-Sum: 7\r\nX-More: 1\r\n\r\n");
}
