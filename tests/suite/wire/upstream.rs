//! What upstreams answer, and what of it reaches the client.

use super::{Answer, Closed, Open, Row, SEEING, Then, Unsure, each, page_with, play_all, row};
use crate::support::{Origin, Setup};

/// The answer as it is passed on: status line and own headers of the upstream.
fn passed(status: &str, lines: &str, body: &str, then: Then) -> Answer {
    let head = format!("HTTP/1.1 {status}\nServer: nginx/1.31.5\nDate: *\n{lines}\n{body}");
    Answer::Whole(head, then)
}

fn bad_gateway() -> Answer {
    let status = "502 Bad Gateway";
    page_with(status, status, "", Open)
}

/// Plays rows whose bytes are what the upstream sends before it closes.
fn play_upstream<const N: usize>(rows: [Row; N]) {
    let answers: Vec<Vec<u8>> = rows.iter().map(|row| row.sent.clone()).collect();
    let origin = Origin::new(move |peer| {
        let Some(request) = peer.request() else {
            return;
        };
        let text = String::from_utf8_lossy(&request).into_owned();
        let number = text.split('/').nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        let answer = number.and_then(|number: usize| answers.get(number));
        peer.send(answer.expect("a row of that number"));
    });
    let server = Setup::http(&format!(
        "server {{ listen %%listen%%; location /up/ {{ proxy_pass http://%%origin%%/; }} {SEEING} }}"
    ))
    .set("origin", origin.address())
    .start();
    let numbered = rows.into_iter().enumerate().map(|(number, row)| Row {
        sent: format!("GET /up/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes(),
        ..row
    });
    play_all(&numbered.collect::<Vec<_>>(), &server);
}

/// A 200 with these lines.
fn lines(lines: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n").into_bytes()
}

/// A 200 with these lines and a body of two bytes.
fn with(lines: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok").into_bytes()
}

/// What the client gets of an answer with that body, below these lines.
fn fine(status: &str, lines: &str) -> Answer {
    let lines = format!("Content-Length: 2\nConnection: keep-alive\n{lines}");
    passed(status, &lines, "ok", Open)
}

fn chunks(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes()
}

fn passed_chunks(body: &str, then: Then) -> Answer {
    let lines = "Transfer-Encoding: chunked\nConnection: keep-alive\n";
    passed("200 OK", lines, body, then)
}

#[test]
fn framing_that_cannot_be_trusted() {
    let length_and_chunked = "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n";
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    let refused = [
        ("length of letters", lines("Content-Length: foo\r\n")),
        ("negative length", lines("Content-Length: -1\r\n")),
        ("length twice", lines("Content-Length: 0\r\nContent-Length: 0\r\n")),
        ("length and chunked", lines(length_and_chunked)),
        ("unknown coding", lines("Transfer-Encoding: foo\r\n")),
        ("identity", lines("Transfer-Encoding: identity\r\n")),
        ("chunked twice", lines(twice)),
    ];
    play_upstream(each(refused, &bad_gateway()));
}

#[test]
fn lengths_and_bodies() {
    let with_length = |length: &str, body: &str, then: Then| {
        let lines = format!("Content-Length: {length}\nConnection: keep-alive\n");
        passed("200 OK", &lines, body, then)
    };
    let no_length = "Transfer-Encoding: chunked\nConnection: keep-alive\nX-foo: a\n";
    play_upstream([
        row(
            "bare LF, no length",
            "HTTP/1.1 200 OK\nX-foo: a\n\nbody",
            passed("200 OK", no_length, "4\r\nbody\r\n0\r\n\r\n", Open),
        ),
        row(
            "longer than its length",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody and more",
            with_length("4", "body", Open),
        ),
        row(
            "shorter than its length",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbody",
            with_length("10", "body", Closed),
        ),
        row(
            "204 with a body",
            "HTTP/1.1 204 No Content\r\n\r\nbody",
            passed("204 No Content", "Connection: keep-alive\n", "", Open),
        ),
        row(
            "304 with a body",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok",
            passed("304 Not Modified", "Content-Length: 2\nConnection: keep-alive\n", "", Open),
        ),
    ]);
}

#[test]
fn chunked_bodies() {
    let whole = [
        ("plain", chunks("2\r\nok\r\n0\r\n\r\n")),
        ("extension", chunks("2;a=b\r\nok\r\n0\r\n\r\n")),
        ("trailers, which are dropped", chunks("2\r\nok\r\n0\r\nX-T: y\r\n\r\n")),
        ("junk after the last chunk", chunks("2\r\nok\r\n0\r\n\r\njunk")),
    ];
    play_upstream(each(whole, &passed_chunks("2\r\nok\r\n0\r\n\r\n", Open)));
    let cut = [
        ("cut in a chunk", chunks("5\r\nok")),
        ("cut before the last chunk", chunks("2\r\nok\r\n")),
    ];
    play_upstream(each(cut, &passed_chunks("2\r\nok\r\n", Closed)));
    let bad = [("bad size", chunks("zz\r\nok\r\n0\r\n\r\n"))];
    play_upstream(each(bad, &Answer::Nothing));
}

#[test]
fn status_lines() {
    let status = |line: &str| format!("{line}\r\nContent-Length: 2\r\n\r\nok");
    play_upstream([
        row("HTTP/0.9", "just text\n", Answer::Bare("just text\n", Open))
            .or_ours(Answer::Bare("just text\n", Closed)),
        row("HTTP/1.0", status("HTTP/1.0 200 OK"), fine("200 OK", "")),
        row("odd reason", status("HTTP/1.1 200 Fine"), fine("200 Fine", "")),
        row("status 099", status("HTTP/1.1 099 Odd"), fine("099 Odd", "")),
        row("no reason", status("HTTP/1.1 200"), fine("200", "")),
        row("empty reason", status("HTTP/1.1 200 "), fine("200 ", "")),
    ]);
    let incomplete = [
        ("nothing", Vec::new()),
        ("only a status line", b"HTTP/1.1 200 OK\r\n".to_vec()),
        ("cut in the head", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n".to_vec()),
    ];
    play_upstream(each(incomplete, &bad_gateway()));
}

#[test]
fn interim_answers() {
    let then_200 = |first: &str| [first.as_bytes(), &with("")].concat();
    let slip = "HTTP/1.1 100 Continue\nServer: nginx/1.31.5\nDate: *\nConnection: keep-alive\n\n";
    play_upstream([
        row(
            "103, then 200",
            then_200("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"),
            fine("200 OK", ""),
        ),
        // That the 100 is the answer, and the 200 its body, is nginx's slip.
        row(
            "100, then 200",
            then_200("HTTP/1.1 100 Continue\r\n\r\n"),
            Answer::Whole(slip.to_owned(), Unsure),
        )
        .or_ours(fine("200 OK", "")),
        row(
            "101 nobody asked for",
            "HTTP/1.1 101 Switching\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n",
            passed("101 Switching", "Connection: upgrade\nUpgrade: foo\n", "", Unsure),
        ),
    ]);
}

#[test]
fn fields_that_cannot_be_trusted() {
    let refused = [
        ("space in a name", with("X Foo: a\r\n")),
        ("continued line", with("X-Foo: a\r\n b\r\n")),
        ("bare CR", with("X-Foo: a\rb\r\n")),
        ("NUL", with("X-Foo: a\0b\r\n")),
        ("too large for the buffer", with(&format!("X: {}\r\n", "a".repeat(5000)))),
    ];
    play_upstream(each(refused, &bad_gateway()));
}

#[test]
fn fields_in_their_order() {
    let own =
        "Connection: close\r\nKeep-Alive: x\r\nDate: d\r\nServer: s\r\nX-Pad: p\r\nX-Own: o\r\n";
    let typed = "Content-Type: a/a\nContent-Length: 2\nConnection: keep-alive\n";
    play_upstream([
        row("hidden and hop-by-hop", with(own), fine("200 OK", "X-Own: o\n")),
        row("underscore", with("X_foo: 1\r\n"), fine("200 OK", "X_foo: 1\n")),
        row(
            "two content types",
            with("Content-Type: a/a\r\nContent-Type: b/b\r\n"),
            passed("200 OK", typed, "ok", Open),
        ),
        row(
            "known ones first, the rest as they came",
            "HTTP/1.1 302 Found\r\nServer: x\r\nSet-Cookie: a=b\r\nETag: \"x\"\r\n\
             Content-Type: text/html\r\nVary: a\r\nLocation: /q\r\nContent-Length: 2\r\n\
             X-Last: 1\r\n\r\nok",
            passed(
                "302 Found",
                "Content-Type: text/html\nContent-Length: 2\nConnection: keep-alive\n\
                 Set-Cookie: a=b\nETag: \"x\"\nVary: a\nLocation: /q\nX-Last: 1\n",
                "ok",
                Open,
            ),
        ),
    ]);
}

#[test]
fn the_upstream_receives_host_first_and_no_connection() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let server =
        Setup::http("server { listen %%listen%%; location / { proxy_pass http://%%origin%%; } }")
            .set("origin", origin.address())
            .start();
    server.request("GET /u HTTP/1.1\r\nConnection: close\r\nX-foo: q\r\nHost: localhost\r\n\r\n");
    let expected = format!("GET /u HTTP/1.1\r\nHost: {}\r\nX-foo: q\r\n\r\n", origin.address());
    assert_eq!(origin.received(), expected);
}
