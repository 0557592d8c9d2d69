//! Requests in pieces, and bytes that are no requests: what must hold for any of them.

use proptest::prelude::*;

use super::*;

fn parse_with(limits: &Limits, bytes: &[u8]) -> (RequestHead, Result<Progress, Reject>) {
    let mut head = RequestHead::default();
    let result = RequestParser::new().feed(limits, bytes, &mut head);
    (head, result)
}

/// Feeds `bytes` cut at `cuts`, and reports like one feed of everything.
fn parse_in_pieces(
    limits: &Limits,
    bytes: &[u8],
    cuts: &[usize],
) -> (RequestHead, Result<Progress, Reject>) {
    let mut parser = RequestParser::new();
    let mut head = RequestHead::default();
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    let mut result = Ok(Progress::Partial);
    for end in ends {
        result = parser.feed(limits, &bytes[..end], &mut head);
        if result != Ok(Progress::Partial) {
            break;
        }
    }
    (head, result)
}

fn wire(head: &RequestHead) -> Vec<u8> {
    let mut out = Vec::new();
    head.headers.write_to(&mut out);
    out
}

/// Pieces of requests, good and bad, so that most of what is generated gets past the first bytes.
fn request_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("GET "),
        Just("POST "),
        Just("/"),
        Just("/a/../b"),
        Just("http://h:1"),
        Just("?x"),
        Just("%41"),
        Just(" HTTP/1.1\r\n"),
        Just(" HTTP/1.0\n"),
        Just("Host: a\r\n"),
        Just("Content-Length: 5\r\n"),
        Just("x_y: z\r\n"),
        Just("A: b  \r\n"),
        Just("A:\n"),
        Just("\r\n"),
        Just("\n"),
        Just("\r"),
        Just(" "),
        Just(":"),
        Just("\0"),
        Just("CONNECT "),
        Just("h:443"),
        Just("Expect: 1\r\n"),
        Just("abcdefgh"),
    ];
    let start = prop_oneof![
        4 => Just("GET /a?b HTTP/1.1\r\nHost: a\r\n"),
        1 => Just("GET http://h/ HTTP/1.1\r\n"),
        1 => Just("\r\nGET /"),
        1 => Just(""),
    ];
    (start, proptest::collection::vec(piece, 0..12), any::<bool>()).prop_map(
        |(start, pieces, end)| {
            let end = if end { "\r\n\r\n" } else { "" };
            format!("{start}{}{end}", pieces.concat()).into_bytes()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pieces_do_not_matter(
        bytes in request_text(),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
        small in any::<bool>(),
    ) {
        let limits = if small {
            Limits { first_buffer: 16, buffers: 3, header_line: 24, max_headers: 3, ..Limits::default() }
        } else {
            Limits::default()
        };
        let (whole, expected) = parse_with(&limits, &bytes);
        let (pieces, result) = parse_in_pieces(&limits, &bytes, &cuts);
        prop_assert_eq!(&result, &expected);
        // A refused line is logged as far as it was received.
        if result.is_ok() {
            prop_assert_eq!(&whole.line, &pieces.line);
            prop_assert_eq!(whole.size, pieces.size);
        }
        prop_assert_eq!(wire(&whole), wire(&pieces));
        prop_assert_eq!(&whole.host, &pieces.host);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_with(&Limits::default(), &bytes);
        let _ = parse_with(&Limits::default(), &[b"GET / HTTP/1.1\r\n", &bytes[..]].concat());
    }

    /// What is written again reads as the same fields.
    #[test]
    fn written_fields_read_the_same(bytes in request_text()) {
        let (head, result) = parse_with(&Limits::default(), &bytes);
        if let Ok(Progress::Complete { .. }) = result && head.version != Version::Http09 {
            let text = [&head.line[..], b"\r\n", &wire(&head), b"\r\n"].concat();
            let (again, result) = parse_with(&Limits::default(), &text);
            prop_assert_eq!(result, Ok(Progress::Complete { len: text.len() }));
            prop_assert_eq!(wire(&head), wire(&again));
        }
    }
}
