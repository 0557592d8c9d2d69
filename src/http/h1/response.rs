//! Reads the head of an upstream's answer as nginx's proxy module does. Owns status line, version
//! and syntax; 1xx answers are the caller's to skip, framing is `framing`'s.

use super::fields::{Fields, Found, Rules};
use super::framing::contains_ignore_case;
use crate::http::headers::{Headers, Name};

/// The head of an answer; kept and cleared between answers.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// Three digits as sent, 0 to 999.
    pub status: u16,
    /// Status and reason as sent, `200 Fine`; goes to the client behind `HTTP/1.1 `.
    pub status_line: Vec<u8>,
    /// Major version times 1000 plus minor version.
    pub version: u32,
    pub headers: Headers,
    /// Bytes of the head.
    pub size: usize,
}

impl ResponseHead {
    /// Forgets the answer and keeps the memory.
    pub fn clear(&mut self) {
        self.status = 0;
        self.status_line.clear();
        self.version = 0;
        self.headers.clear();
        self.size = 0;
    }

    /// The upstream will close, or must be closed: it is older than 1.1 or says so.
    pub fn closes(&self) -> bool {
        self.version < 1001
            || self
                .headers
                .get_all(Name::Connection)
                .any(|value| contains_ignore_case(value, b"close"))
    }
}

/// How far the parser has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// More bytes are needed. At the end of the stream: `upstream prematurely closed connection
    /// while reading response header from upstream`.
    Partial,
    /// The head is complete and took the first `len` bytes.
    Complete { len: usize },
    /// No HTTP/1 status line: all bytes are the body of an HTTP/0.9 answer with status 200, to the
    /// end of the connection. nginx logs `upstream sent no valid HTTP/1.0 header` at level error.
    Http09,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Protocol,
    FirstMajor,
    Major,
    FirstMinor,
    Minor,
    Status,
    AfterStatus,
    Reason,
    LineEnd,
    Fields,
}

/// The parser of one answer's head; `reset` makes it ready for the next.
#[derive(Clone, Debug, Default)]
pub struct ResponseParser {
    state: State,
    at: usize,
    major: u32,
    minor: u32,
    status: u16,
    digits: u8,
    /// Where the three digits begin and the reason ends.
    line: (usize, usize),
    /// Where the field lines begin.
    section: usize,
    fields: Fields,
}

/// What nearly every answer begins with.
const USUAL_START: &[u8] = b"HTTP/1.1 ";

/// The status line is not one.
struct NotHttp;

impl ResponseParser {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the answer read so far.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Parses on. `buf` is everything received of this answer, from its first byte, each time.
    /// `limit` is `proxy_buffer_size`, bytes. The error is nginx's sentence for the log.
    pub fn feed(
        &mut self,
        limit: usize,
        buf: &[u8],
        head: &mut ResponseHead,
    ) -> Result<Answer, String> {
        let window = buf.get(..limit).unwrap_or(buf);
        if self.state != State::Fields {
            match self.status_line(window) {
                Err(NotHttp) => return Ok(Answer::Http09),
                Ok(true) => self.take_line(window, head),
                Ok(false) => {}
            }
        }
        if self.state == State::Fields && self.read_fields(window, head)? {
            head.headers.adopt(window.get(self.section..self.fields.at).unwrap_or_default());
            head.size = self.fields.at;
            return Ok(Answer::Complete { len: self.fields.at });
        }
        if window.len() >= limit {
            return Err(
                "upstream sent too big header while reading response header from upstream".into()
            );
        }
        Ok(Answer::Partial)
    }

    fn take_line(&mut self, buf: &[u8], head: &mut ResponseHead) {
        let line = buf.get(self.line.0..self.line.1).unwrap_or_default();
        head.status_line.extend_from_slice(line);
        head.status = self.status;
        head.version = self.major * 1000 + self.minor;
        self.section = self.at;
        self.fields = Fields::at(self.at);
    }

    fn read_fields(&mut self, buf: &[u8], head: &mut ResponseHead) -> Result<bool, String> {
        let rules = Rules { underscores: true, upstream: true };
        loop {
            match self.fields.next(buf, rules) {
                Ok(Found::Nothing) => return Ok(false),
                Ok(Found::End) => return Ok(true),
                Ok(Found::Field) => {
                    let Fields { name, value, .. } = &self.fields;
                    let id = Name::of(buf.get(name.clone()).unwrap_or_default());
                    let from = self.section;
                    head.headers.insert(
                        id,
                        name.start - from..name.end - from,
                        value.start - from..value.end - from,
                    );
                }
                Err(bad) => {
                    let quote = self.fields.quote(buf, &bad);
                    return Err(format!(
                        "upstream sent invalid header: {quote} while reading response header from upstream"
                    ));
                }
            }
        }
    }

    /// Scans the status line; `true` when it is complete.
    fn status_line(&mut self, buf: &[u8]) -> Result<bool, NotHttp> {
        if self.at == 0 && buf.starts_with(USUAL_START) {
            self.at = USUAL_START.len();
            (self.major, self.minor, self.state) = (1, 1, State::Status);
        }
        while let Some(&byte) = buf.get(self.at) {
            match self.state {
                State::Protocol => self.protocol(byte)?,
                State::FirstMajor | State::Major | State::FirstMinor | State::Minor => {
                    self.version(byte)?;
                }
                State::Status | State::AfterStatus => self.status(byte)?,
                State::Reason => self.reason(byte),
                State::LineEnd if byte == b'\n' => self.state = State::Fields,
                State::LineEnd => return Err(NotHttp),
                State::Fields => return Ok(true),
            }
            self.at += 1;
            if self.state == State::Fields {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn protocol(&mut self, byte: u8) -> Result<(), NotHttp> {
        if b"HTTP/".get(self.at) != Some(&byte) {
            return Err(NotHttp);
        }
        if byte == b'/' {
            self.state = State::FirstMajor;
        }
        Ok(())
    }

    fn version(&mut self, byte: u8) -> Result<(), NotHttp> {
        match (self.state, byte) {
            (State::Major, b'.') => self.state = State::FirstMinor,
            (State::Minor, b' ') => self.state = State::Status,
            (State::FirstMajor, b'1'..=b'9') | (State::Major, b'0'..=b'9') if self.major <= 99 => {
                self.major = self.major * 10 + u32::from(byte - b'0');
                self.state = State::Major;
            }
            (State::FirstMinor | State::Minor, b'0'..=b'9') if self.minor <= 99 => {
                self.minor = self.minor * 10 + u32::from(byte - b'0');
                self.state = State::Minor;
            }
            _ => return Err(NotHttp),
        }
        Ok(())
    }

    fn status(&mut self, byte: u8) -> Result<(), NotHttp> {
        match (self.state, byte) {
            (State::Status, b' ') if self.digits == 0 => {}
            (State::Status, b'0'..=b'9') => {
                self.status = self.status * 10 + u16::from(byte - b'0');
                self.digits += 1;
                if self.digits == 3 {
                    self.line.0 = self.at.saturating_sub(2);
                    self.state = State::AfterStatus;
                }
            }
            // IIS may send 403.1.
            (State::AfterStatus, b' ' | b'.') => self.state = State::Reason,
            (State::AfterStatus, b'\r' | b'\n') => self.reason(byte),
            _ => return Err(NotHttp),
        }
        Ok(())
    }

    fn reason(&mut self, byte: u8) {
        self.line.1 = self.at;
        match byte {
            b'\r' => self.state = State::LineEnd,
            b'\n' => self.state = State::Fields,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::h1::framing::{Length, response_body};

    const LIMIT: usize = 4096;

    fn parse(bytes: &[u8]) -> (ResponseHead, Result<Answer, String>) {
        let mut head = ResponseHead::default();
        let result = ResponseParser::new().feed(LIMIT, bytes, &mut head);
        (head, result)
    }

    fn accept(text: &str) -> ResponseHead {
        let (head, result) = parse(text.as_bytes());
        assert_eq!(result, Ok(Answer::Complete { len: text.len() }), "{text:?}");
        head
    }

    #[test]
    fn a_usual_answer_is_taken_apart() {
        let head = accept("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nx_foo:bar \r\n\r\n");
        assert_eq!((head.status, head.version, &head.status_line[..]), (200, 1001, &b"200 OK"[..]));
        assert_eq!(head.headers.get_str(b"X_Foo"), Some(&b"bar"[..]));
        assert_eq!(response_body(head.status, &head.headers, false), Ok(Length::Known(3)));
        assert!(!head.closes());
    }

    #[test]
    fn odd_status_lines_pass_as_in_nginx() {
        for (line, status, text) in [
            ("HTTP/1.1 200 Fine", 200, "200 Fine"),
            ("HTTP/1.1 099 Odd", 99, "099 Odd"),
            ("HTTP/1.1 200", 200, "200"),
            ("HTTP/1.1 200 ", 200, "200 "),
            ("HTTP/1.1   404 Not Found", 404, "404 Not Found"),
            ("HTTP/1.1 403.1 IIS", 403, "403.1 IIS"),
            ("HTTP/1.0 200 OK", 200, "200 OK"),
            ("HTTP/2.0 200 OK", 200, "200 OK"),
            ("HTTP/1.1 101 Switching", 101, "101 Switching"),
        ] {
            for end in ["\r\n", "\n"] {
                let head = accept(&format!("{line}{end}{end}"));
                assert_eq!(
                    (head.status, &head.status_line[..]),
                    (status, text.as_bytes()),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn anything_else_is_http_09() {
        for text in [
            "just text\n",
            "HTTPS",
            "HTTP/x",
            "HTTP/1.1 20x",
            "HTTP/1.1 2000 OK",
            "HTTP/1.1 200\r\r\n",
            "HTTP/1.1 2 00",
            "HTTP 1.1 200 OK",
            "ICY 200 OK",
            "HTTP/1.1 200x",
            "\r\nHTTP/1.1 200 OK\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()).1, Ok(Answer::Http09), "{text:?}");
        }
        for text in ["", "HT", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n"]
        {
            assert_eq!(parse(text.as_bytes()).1, Ok(Answer::Partial), "{text:?}");
        }
    }

    #[test]
    fn bad_fields_are_refused() {
        let why = parse(b"HTTP/1.1 200 OK\r\nX foo: a\r\n\r\n").1.unwrap_err();
        let tail = "while reading response header from upstream";
        assert_eq!(why, format!("upstream sent invalid header: \"X\\x20...\" {tail}"));
        for line in [" a: b", ":a", "a\0: b", "a: \0", "a: b\rc"] {
            assert!(
                parse(format!("HTTP/1.1 200 OK\r\n{line}\r\n").as_bytes()).1.is_err(),
                "{line:?}"
            );
        }
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(LIMIT));
        let why = parse(long.as_bytes()).1.unwrap_err();
        assert_eq!(why, format!("upstream sent too big header {tail}"));
    }

    #[test]
    fn what_broken_servers_send_is_mended() {
        let head = accept("HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\nA: b\r\r\nx.y: z\r\n\r\n");
        assert_eq!(head.headers.len(), 2);
        assert_eq!(head.headers.get_str(b"a"), Some(&b"b"[..]));
        assert_eq!(head.headers.get_str(b"x.y"), Some(&b"z"[..]));
    }

    #[test]
    fn closing_is_noticed() {
        assert!(accept("HTTP/1.0 200 OK\r\n\r\n").closes());
        assert!(accept("HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n").closes());
        assert!(!accept("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n").closes());
    }

    fn answer_text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just("HTTP/1.1 "),
            Just("200"),
            Just(" OK"),
            Just("\r\n"),
            Just("\n"),
            Just("\r"),
            Just("A: b "),
            Just("HTTP/"),
            Just("x"),
            Just(":"),
            Just(" "),
            Just("Content-Length: 3\r\n"),
            Just("\0"),
        ];
        let start = prop_oneof![3 => Just("HTTP/1.1 200 OK\r\n"), 1 => Just("HTTP/1.0 404\n"), 1 => Just("")];
        (start, proptest::collection::vec(piece, 0..10))
            .prop_map(|(start, pieces)| format!("{start}{}\r\n\r\n", pieces.concat()).into_bytes())
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in answer_text(), cuts in proptest::collection::vec(any::<usize>(), 0..8)) {
            let (whole, expected) = parse(&bytes);
            let mut parser = ResponseParser::new();
            let mut head = ResponseHead::default();
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
            ends.sort_unstable();
            ends.push(bytes.len());
            let mut result = Ok(Answer::Partial);
            for end in ends {
                result = parser.feed(LIMIT, &bytes[..end], &mut head);
                if result != Ok(Answer::Partial) {
                    break;
                }
            }
            prop_assert_eq!(result, expected.clone());
            if let Ok(Answer::Complete { .. }) = expected {
                prop_assert_eq!(&head.status_line, &whole.status_line);
                let wire = |head: &ResponseHead| {
                    let mut out = Vec::new();
                    head.headers.write_to(&mut out);
                    out
                };
                prop_assert_eq!(wire(&head), wire(&whole));
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&bytes);
            let _ = parse(&[b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat());
        }
    }
}
