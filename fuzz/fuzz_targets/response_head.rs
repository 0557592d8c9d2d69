//! An upstream's answer in two pieces: parses as in one, and its framing is judged without panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxyd::http::h1::framing::response_body;
use proxyd::http::h1::response::{Answer, ResponseHead, ResponseParser};

fn parse(pieces: &[&[u8]]) -> (ResponseHead, Result<Answer, String>) {
    let mut head = ResponseHead::default();
    let mut parser = ResponseParser::new();
    let mut result = Ok(Answer::Partial);
    for piece in pieces {
        result = parser.feed(8192, piece, &mut head);
        if result != Ok(Answer::Partial) {
            break;
        }
    }
    (head, result)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let (head, result) = parse(&[bytes]);
    let first = &bytes[..usize::from(cut).min(bytes.len())];
    let (_, pieces) = parse(&[first, bytes]);
    assert_eq!(result, pieces);
    if let Ok(Answer::Complete { len }) = result {
        assert!(len <= bytes.len() && head.status < 1000);
        assert!(!head.status_line.contains(&b'\n') && !head.status_line.contains(&b'\r'));
        let mut out = Vec::new();
        for field in head.headers.iter() {
            assert!(!field.value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')));
            field.write_to(&mut out);
        }
        let _ = response_body(head.status, &head.headers, false);
    }
});
