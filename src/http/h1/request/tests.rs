//! Requests as they come over the wire, and what nginx 1.31.5 makes of each.

use super::*;
use crate::http::h1::framing::{Length, check_request};

fn parse_with(limits: &Limits, bytes: &[u8]) -> (RequestHead, Result<Progress, Reject>) {
    let mut head = RequestHead::default();
    let result = RequestParser::new().feed(limits, bytes, &mut head);
    (head, result)
}

/// Head and body length of a request that must be accepted.
fn accept(text: &str) -> (RequestHead, Length) {
    let (head, result) = parse_with(&Limits::default(), text.as_bytes());
    assert_eq!(result, Ok(Progress::Complete { len: text.len() }), "{text:?}");
    let length = check_request(&head, false).unwrap();
    (head, length)
}

/// Status and reason of a request that must be refused.
fn refuse_with(limits: &Limits, text: &[u8]) -> (u16, String) {
    let (head, result) = parse_with(limits, text);
    let reject = match result {
        Ok(Progress::Partial) => panic!("not refused: {}", String::from_utf8_lossy(text)),
        Ok(Progress::Complete { .. }) => check_request(&head, false).unwrap_err(),
        Err(reject) => reject,
    };
    (reject.status, reject.why.into_owned())
}

fn refuse(text: &str) -> (u16, String) {
    refuse_with(&Limits::default(), text.as_bytes())
}

fn status(text: &str) -> u16 {
    refuse(text).0
}

/// Status for a request with these header lines, CR LF included.
fn status_of_fields(lines: &str) -> u16 {
    status(&format!("POST / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"))
}

fn field<'a>(head: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    head.headers.get_str(name.as_bytes())
}

#[test]
fn a_usual_request_is_taken_apart() {
    let text =
        "GET /a%20b/c.html?x=1 HTTP/1.1\r\nHost: WWW.Example.com:8080\r\nX-foo:  a b \r\n\r\n";
    let (head, length) = accept(text);
    assert_eq!(length, Length::None);
    assert_eq!(head.line, b"GET /a%20b/c.html?x=1 HTTP/1.1");
    assert_eq!((head.method, head.version), (Method::Get, Version::Http11));
    assert_eq!(head.method_name(), b"GET");
    assert_eq!(head.target(), b"/a%20b/c.html?x=1");
    assert_eq!(head.uri.path, b"/a b/c.html");
    assert_eq!(head.args(), b"x=1");
    assert_eq!(head.uri.extension(), Some(&b"html"[..]));
    assert_eq!(head.protocol(), b"HTTP/1.1");
    assert_eq!((&head.host[..], &head.port[..]), (&b"www.example.com"[..], &b"8080"[..]));
    assert_eq!(field(&head, "x-FOO"), Some(&b"a b"[..]));
    assert_eq!(head.size, text.len());
    let mut out = Vec::new();
    head.headers.write_to(&mut out);
    assert_eq!(out, b"Host: WWW.Example.com:8080\r\nX-foo: a b\r\n");
}

#[test]
fn old_versions_and_loose_line_ends_are_taken() {
    let (head, _) = accept("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert_eq!(head.version, Version::Http10);
    let (head, _) = accept("GET / HTTP/1.0\nHost: localhost\nX: y\n\n");
    assert_eq!(field(&head, "x"), Some(&b"y"[..]));
    let (head, length) = accept("GET /\r\n");
    assert_eq!((head.version, length, head.protocol()), (Version::Http09, Length::None, &b""[..]));
    assert_eq!(accept("GET / HTTP/1.2\r\nHost: a\r\n\r\n").0.version, Version::Http11);
    assert_eq!(accept("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").0.line, b"GET / HTTP/1.1");
    let (head, _) = accept("GET   /  HTTP/1.1 \r\nHost: a\r\n\r\n");
    assert_eq!((head.target(), head.protocol()), (&b"/"[..], &b"HTTP/1.1 "[..]));
}

#[test]
fn bad_request_lines_are_refused_as_nginx_does() {
    for (text, expected) in [
        ("get / HTTP/1.1\r\n", 400),
        ("GE(T / HTTP/1.1\r\n", 400),
        ("GET foo HTTP/1.1\r\n", 400),
        ("GET * HTTP/1.1\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\n", 400),
        ("GET / / HTTP/1.1\r\n", 400),
        ("GET /\x02 HTTP/1.1\r\n", 400),
        ("GET /\0 HTTP/1.1\r\n", 400),
        ("GET /\x7f HTTP/1.1\r\n", 400),
        ("GET /\t HTTP/1.1\r\n", 400),
        ("GET /bar% HTTP/1.1\r\n", 400),
        ("GET /bar%1 HTTP/1.1\r\n", 400),
        ("GET /bar%00 HTTP/1.1\r\n", 400),
        ("GET /../ HTTP/1.1\r\n", 400),
        ("GET / HTTP/2.0\r\n", 505),
        ("GET / HTTP/11.0\r\n", 505),
        ("GET / HTTP/0.9\r\n", 400),
        ("GET / HTTP/1.1x\r\n", 400),
        ("GET / HTTP/1.\r\n", 400),
        ("GET / HTTP/1\r\n", 400),
        ("GET / http/1.1\r\n", 400),
        ("GET / HTTP/1.1 x\r\n", 400),
        ("GET / HTTP/1.1\rX", 400),
        ("GET /a\rb HTTP/1.1\r\n", 400),
        ("\rGET / HTTP/1.1\r\n", 400),
        ("\r\rGET / HTTP/1.1\r\n", 400),
        ("POST /\r\n", 400),
        ("PUT /\r\n", 400),
        ("CONNECT localhost HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT localhost:8080 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("\x16\x03\x01\x02", 400),
        ("garbage\r\n", 400),
    ] {
        assert_eq!(status(text), expected, "{text:?}");
    }
}

#[test]
fn messages_are_those_of_nginx() {
    let tail = "while reading client request line";
    assert_eq!(refuse("x").1, format!("client sent invalid method {tail}"));
    assert_eq!(refuse("GET x\r\n").1, format!("client sent invalid request {tail}"));
    assert_eq!(refuse("GET / HTTP/3").1, format!("client sent invalid version {tail}"));
    assert_eq!(
        refuse("PUT /\r\n").1,
        format!("client sent invalid method in HTTP/0.9 request {tail}")
    );
    let tail = "while reading client request headers";
    assert_eq!(
        refuse("GET / HTTP/1.1\r\nfoo\x02: bar\r\n").1,
        format!("client sent invalid header line: \"foo\\x02...\" {tail}")
    );
    assert_eq!(
        refuse("GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n").1,
        format!(
            "client sent duplicate host header: \"Host: b\", previous value: \"host: a\" {tail}"
        )
    );
    assert_eq!(
        refuse("GET / HTTP/1.1\r\nExpect: a\r\nExpect: b\r\n").1,
        format!(
            "client sent duplicate header line: \"Expect: b\", previous value: \"Expect: a\" {tail}"
        )
    );
    assert_eq!(
        refuse("GET / HTTP/1.1\r\n\r\n").1,
        format!("client sent HTTP/1.1 request without \"Host\" header {tail}")
    );
    assert_eq!(
        refuse("GET / HTTP/1.0\r\nTransfer-Encoding: foo\r\n\r\n").1,
        format!("client sent HTTP/1.0 request with \"Transfer-Encoding\" header {tail}")
    );
}

#[test]
fn unusual_targets_are_taken_raw() {
    for (target, path) in [
        ("/a/.#frag", "/a/"),
        ("/<>\"{}|^", "/<>\"{}|^"),
        ("/\u{d1}", "/\u{d1}"),
        ("//a///b", "/a/b"),
        ("/%02", "/\x02"),
        ("/a?b#c", "/a"),
    ] {
        let (head, _) = accept(&format!("GET {target} HTTP/1.0\r\n\r\n"));
        assert_eq!(head.target(), target.as_bytes());
        assert_eq!(String::from_utf8_lossy(&head.uri.path), path);
    }
}

#[test]
fn the_absolute_form_wins_over_the_host_field() {
    for (target, raw, path, args) in [
        ("http://LocalHost/x?y", "/x?y", "/x", "y"),
        ("http://localhost", "/", "/", ""),
        ("http://localhost:8080", "/", "/", ""),
        ("http://localhost:", "/", "/", ""),
        ("http://localhost?args", "?args", "/", "args"),
        ("http://localhost:80?args#frag", "?args#frag", "/", "args"),
        ("svn+ssh://localhost/", "/", "/", ""),
    ] {
        let (head, _) = accept(&format!("GET {target} HTTP/1.1\r\nHost: other:99\r\n\r\n"));
        assert_eq!(head.form, Form::Absolute);
        assert_eq!(head.host, b"localhost", "{target}");
        assert_eq!(head.target(), raw.as_bytes());
        assert_eq!(head.uri.path, path.as_bytes());
        assert_eq!(head.args(), args.as_bytes());
        assert_eq!(head.target_is_valid(), !raw.starts_with('?'));
    }
    let (head, _) = accept("GET http://a:81/ HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!((head.authority(), head.scheme()), (Some(&b"a:81"[..]), Some(&b"http"[..])));
    assert_eq!(head.port, b"81");
    for target in
        ["http:///", "http://u@h/", "http://u:p@h/", "http:/h/", "http//h/", "http://a_b/"]
    {
        assert_eq!(status(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")), 400, "{target}");
    }
    assert_eq!(status("GET http://a/ HTTP/1.1\r\nHost: b/c\r\n\r\n"), 400);
    assert_eq!(status("GET http://a/ HTTP/1.1\r\n\r\n"), 400);
}

#[test]
fn connect_is_taken_where_it_is_allowed() {
    let text = b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n";
    let (head, result) = parse_with(&Limits::default(), text);
    assert_eq!(result, Ok(Progress::Complete { len: text.len() }));
    assert_eq!(check_request(&head, true), Ok(Length::None));
    assert_eq!(
        (head.form, &head.host[..], &head.port[..]),
        (Form::Authority, &b"[::1]"[..], &b"443"[..])
    );
    assert_eq!((head.target(), &head.uri.path[..]), (&b"/"[..], &b"/"[..]));
    let with_body = b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n";
    let (head, _) = parse_with(&Limits::default(), with_body);
    assert_eq!(check_request(&head, true).unwrap_err().status, 400);
}

#[test]
fn framing_fields_leave_no_doubt() {
    for lines in [
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: \r\n",
        "Content-Length\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5\t\r\n",
        "Content-Length:\t5\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\ncontent-length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(status_of_fields(lines), 400, "{lines:?}");
    }
    for coding in [
        "identity",
        "chunked, identity",
        "identity, chunked",
        "\tchunked",
        "xchunked",
        "",
        "\x0bchunked",
    ] {
        assert_eq!(
            status_of_fields(&format!("Transfer-Encoding: {coding}\r\n")),
            501,
            "{coding:?}"
        );
    }
    assert_eq!(status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    let body = |lines: &str| accept(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")).1;
    assert_eq!(body("Content-Length: 9223372036854775807\r\n"), Length::Known(i64::MAX as u64));
    assert_eq!(body("Content-Length:  007  \r\n"), Length::Known(7));
    assert_eq!(body("transfer-ENCODING: CHUNKED\r\n"), Length::Chunked);
}

#[test]
fn fields_that_must_be_single_are() {
    for name in [
        "If-Modified-Since",
        "If-Unmodified-Since",
        "If-Match",
        "If-None-Match",
        "If-Range",
        "Content-Length",
        "Content-Range",
        "Transfer-Encoding",
        "Expect",
        "Authorization",
        "Proxy-Authorization",
        "Host",
    ] {
        let text = format!("GET / HTTP/1.0\r\n{name}: 1\r\n{}: 1\r\n\r\n", name.to_lowercase());
        assert_eq!(status(&text), 400, "{name}");
    }
    for name in ["X-Foo", "Cookie", "User-Agent", "Referer", "Via", "Content-Type", "Range", "TE"] {
        let (head, _) = accept(&format!("GET / HTTP/1.0\r\n{name}: 1\r\n{name}: 2\r\n\r\n"));
        assert_eq!(head.headers.len(), 2, "{name}");
    }
}

#[test]
fn hosts_are_checked() {
    for host in ["", "a/b", "a b", "\t", "a\tb", ".", "u@h"] {
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), 400, "{host:?}");
    }
    assert_eq!(status("GET / HTTP/1.1\r\nHost\r\n\r\n"), 400);
    assert_eq!(accept("GET / HTTP/1.0\r\n\r\n").0.host, b"");
}

#[test]
fn malformed_field_lines_are_refused() {
    for line in [
        ":foo: x",
        " foo: x",
        "\tfoo: x",
        "foo : x",
        "foo\t: x",
        "foo\x02: x",
        "f\0o: x",
        "foo: x\0y",
        "foo: x\r",
        "foo: x\ry",
        "foo\r\r",
        "foo: \0",
        "foo\x7f: x",
        "a: b\r\n c",
    ] {
        assert_eq!(status_of_fields(&format!("{line}\r\n")), 400, "{line:?}");
    }
    assert_eq!(status("GET / HTTP/1.0\r\n\rX"), 400);
}

#[test]
fn odd_names_are_dropped_or_kept() {
    let text = "GET / HTTP/1.0\r\nx_foo: 1\r\n_y: 2\r\nx.y: 3 \r\n</k>: 4\r\nok: 5\r\n\r\n";
    let (head, _) = accept(text);
    assert_eq!(head.headers.len(), 1);
    let dropped: Vec<_> = head.dropped_lines().collect();
    assert_eq!(dropped, [&b"x_foo: 1"[..], b"_y: 2", b"x.y: 3", b"</k>: 4"]);

    let limits = Limits { underscores: true, ..Limits::default() };
    let (head, _) = parse_with(&limits, text.as_bytes());
    assert_eq!((head.headers.len(), head.dropped_lines().len()), (3, 2));

    let limits = Limits { ignore_invalid: false, ..Limits::default() };
    let (head, _) = parse_with(&limits, text.as_bytes());
    assert_eq!((head.headers.len(), head.dropped_lines().len()), (5, 0));
    assert_eq!(field(&head, "X.Y"), Some(&b"3"[..]));
}

#[test]
fn lines_without_a_colon_have_no_value() {
    let (head, _) = accept("GET / HTTP/1.0\r\nfoo\r\nbar\nbaz:\r\n\r\n");
    for name in ["foo", "bar", "baz"] {
        assert_eq!(field(&head, name), Some(&b""[..]));
    }
}

#[test]
fn sizes_are_limited_as_in_nginx() {
    let limits = Limits {
        first_buffer: 128,
        buffers: 2,
        header_line: 256,
        max_headers: 5,
        ..Limits::default()
    };
    let refused = |text: &str| refuse_with(&limits, text.as_bytes());
    let fits = |text: &str| {
        matches!(parse_with(&limits, text.as_bytes()).1, Ok(Progress::Complete { .. }))
    };
    let line = |n: usize| format!("GET /{} HTTP/1.0\r\n", "a".repeat(n));
    assert!(fits(&format!("{}\r\n", line(256 - 16))));
    assert_eq!(refused(&line(256)).0, 414);
    assert_eq!(refused(&"G".repeat(256)).0, 414);
    let header = |n: usize| format!("x: {}\r\n", "a".repeat(n));
    assert!(fits(&format!("GET / HTTP/1.0\r\n{}\r\n", header(256 - 5))));
    let (status, why) = refused(&format!("GET / HTTP/1.0\r\n{}\r\n", header(256)));
    assert_eq!(status, 494);
    assert!(
        why.starts_with("client sent too long header line: \"x: aaa")
            && why.contains("...\" while")
    );
    assert!(fits(&format!("GET / HTTP/1.0\r\n{}{}\r\n", header(200), header(200))));
    assert_eq!(refused(&format!("GET / HTTP/1.0\r\n{}\r\n", header(200).repeat(3))).0, 494);
    assert!(fits(&format!("GET / HTTP/1.0\r\n{}\r\n", header(1).repeat(5))));
    let (status, why) = refused(&format!("GET / HTTP/1.0\r\n{}\r\n", header(1).repeat(6)));
    assert_eq!(status, 494);
    assert!(why.starts_with("client sent too many header lines"));
    // With the first buffer full at the end of a line and no other, there is no line to blame.
    let limits = Limits { first_buffer: 16, buffers: 0, ..limits };
    let why = refuse_with(&limits, b"GET / HTTP/1.0\r\nHost: a\r\n").1;
    assert!(why.starts_with("client sent too large request"), "{why}");
}

#[test]
fn defaults_allow_what_nginx_allows() {
    let many = "X-Blah: 1\r\n".repeat(110);
    assert_eq!(accept(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).0.headers.len(), 111);
    assert_eq!(status_of_fields(&format!("X: {}\r\n", "a".repeat(9000))), 494);
    assert_eq!(status(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000))), 414);
}

#[test]
fn empty_lines_do_not_fill_memory() {
    let mut parser = RequestParser::new();
    let mut head = RequestHead::default();
    assert_eq!(parser.feed(&Limits::default(), b"\r\n\r\n", &mut head), Ok(Progress::Partial));
    assert!(!parser.started());
    let flood = b"\r\n".repeat(1000);
    assert_eq!(parser.feed(&Limits::default(), &flood, &mut head).unwrap_err().status, 400);
}

#[test]
fn a_refused_line_is_kept_for_the_log() {
    for (text, line) in [
        (&b"\x16\x03\x01\r\n"[..], &b"\x16\x03\x01"[..]),
        (b"\r\nGET / HTTP/9.0\r\nHost: a\r\n", b"GET / HTTP/9.0"),
        (b"GET /%0 HTTP/1.0\r\n", b"GET /%0 HTTP/1.0"),
        (b"GET / HTTP/1.1\r\nX: y\r\nHost: a/b\r\n", b"GET / HTTP/1.1"),
    ] {
        let (head, result) = parse_with(&Limits::default(), text);
        assert!(result.is_err());
        assert_eq!(head.line, line);
    }
    let (head, _) =
        parse_with(&Limits::default(), b"GET / HTTP/1.1\r\nUser-Agent: me\r\nHost: a/b\r\n");
    assert_eq!(head.headers.get(Name::UserAgent), Some(&b"me"[..]));
}

#[test]
fn a_refused_line_without_version_is_one_of_http_09() {
    for (text, version) in [
        (&b"PUT /\r\n"[..], Version::Http09),
        (b"GET /%\r\n", Version::Http09),
        (b"PUT /\rx", Version::Http11),
        (b"PUT", Version::Http11),
        (b"PUT / HTTP/1.0\r\n:\r\n", Version::Http10),
    ] {
        assert_eq!(parse_with(&Limits::default(), text).0.version, version);
    }
}

#[test]
fn bytes_behind_the_head_are_left_alone() {
    let text = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET ";
    let (_, result) = parse_with(&Limits::default(), text);
    assert_eq!(result, Ok(Progress::Complete { len: text.len() - 7 }));
    let (head, result) = parse_with(&Limits::default(), b"GET /\r\nHost: a\r\n");
    assert_eq!((head.headers.len(), result), (0, Ok(Progress::Complete { len: 7 })));
}
