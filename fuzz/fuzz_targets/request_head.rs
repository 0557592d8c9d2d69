//! A request head in two pieces: parses as in one; and what is accepted is, written again, one
//! request to a parser that knows nothing of nginx.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxyd::http::h1::framing::{Length, check_request};
use proxyd::http::h1::head::{RequestHead, Version};
use proxyd::http::h1::request::{Limits, RequestParser};
use proxyd::http::h1::{Progress, Reject};

fn parse(limits: &Limits, pieces: &[&[u8]]) -> (RequestHead, Result<Progress, Reject>) {
    let mut head = RequestHead::default();
    let mut parser = RequestParser::new();
    let mut result = Ok(Progress::Partial);
    for piece in pieces {
        result = parser.feed(limits, piece, &mut head);
        if result != Ok(Progress::Partial) {
            break;
        }
    }
    (head, result)
}

fn written(head: &RequestHead) -> Vec<u8> {
    let mut out = [head.method_name(), b" ", head.target(), b" HTTP/1.1\r\n"].concat();
    head.headers.write_to(&mut out);
    out.extend_from_slice(b"\r\n");
    out
}

/// Every line ends with CR LF, none is folded or without a colon, and one field at most frames.
fn lint(head: &[u8]) {
    let text = head.strip_suffix(b"\r\n\r\n").expect("an empty line at the end");
    let mut framing = 0;
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.contains(&b'\r') && !line.contains(&0), "stray line end");
        if at == 0 {
            assert_eq!(line.iter().filter(|byte| **byte == b' ').count(), 2);
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').expect("a colon");
        let name = &line[..colon];
        assert!(!name.is_empty() && name.iter().all(|byte| *byte > b' ' && *byte != 0x7f));
        framing += usize::from(name.eq_ignore_ascii_case(b"content-length"));
        framing += usize::from(name.eq_ignore_ascii_case(b"transfer-encoding"));
    }
    assert!(framing <= 1, "two fields frame the body");
}

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (cut, lax, bytes) = input;
    let limits = Limits { underscores: lax, ignore_invalid: !lax, ..Limits::default() };
    let (head, result) = parse(&limits, &[bytes]);
    let first = &bytes[..usize::from(cut).min(bytes.len())];
    let (_, pieces) = parse(&limits, &[first, bytes]);
    assert_eq!(result, pieces);
    let Ok(Progress::Complete { len }) = result else {
        return;
    };
    assert!(len <= bytes.len() && head.size <= len);
    if head.version == Version::Http09 {
        return;
    }
    if let Ok(length) = check_request(&head, true) {
        let text = written(&head);
        lint(&text);
        if head.version == Version::Http11 && head.target().starts_with(b"/") {
            let (again, result) = parse(&Limits { first_buffer: usize::MAX, ..limits }, &[&text]);
            assert_eq!(result, Ok(Progress::Complete { len: text.len() }));
            let same = check_request(&again, true).unwrap_or(Length::UntilClose);
            assert!(again.method_name() == b"CONNECT" || same == length);
        }
    }
});
