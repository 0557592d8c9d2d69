//! An HTTP/2 client that sends the frames it is told to, right or wrong, and shows those that come.
//!
//! It compresses nothing, and of a head that comes it reads the status alone.

use std::net::SocketAddr;

use super::client::Client;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame that has come.
#[derive(Debug, Clone)]
pub struct H2Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl H2Frame {
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// Four bytes of the payload as a number: an error code or a stream.
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// The status in the head of an answer: one of HPACK's own, or one that is written out, as another
    /// is when it comes first on a connection.
    fn status(&self) -> u16 {
        let known = [200, 204, 206, 304, 400, 404, 500];
        match self.payload[..] {
            [0x08 | 0x48, length, ref rest @ ..] => digits(length, rest),
            [index, ..] => {
                let index = usize::from(index).checked_sub(0x88);
                index.and_then(|index| known.get(index).copied()).unwrap_or(0)
            }
            [] => 0,
        }
    }
}

/// A number of a literal, by its digits or Huffman's codes for these (RFC 7541, appendix B).
fn digits(length: u8, bytes: &[u8]) -> u16 {
    let bytes = &bytes[..usize::from(length & 0x7f)];
    if length & 0x80 == 0 {
        return String::from_utf8_lossy(bytes).parse().unwrap_or(0);
    }
    let bit = |at: usize| Some(u16::from(bytes.get(at / 8)? >> (7 - at % 8) & 1));
    let code = |from: usize, bits: usize| {
        (from..from + bits).try_fold(0, |code, at| Some(code << 1 | bit(at)?))
    };
    let (mut at, mut number) = (0, 0);
    // Codes have five bits up to 2, six bits from 3 on; ones fill the last byte.
    while let Some(five) = code(at, 5) {
        let (digit, bits) = match (five, code(at, 6)) {
            (0..=2, _) => (five, 5),
            (_, Some(six @ 25..=31)) => (six - 22, 6),
            _ => break,
        };
        number = number * 10 + digit;
        at += bits;
    }
    number
}

/// What came on a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct H2Answer {
    /// 0 if the head names one that HPACK has no number for.
    pub status: u16,
    pub body: Vec<u8>,
    /// The error that ended it, instead of its last frame.
    pub reset: Option<u32>,
}

impl H2Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
pub struct H2 {
    client: Client,
    next: u32,
}

impl H2 {
    /// Connects and sends what every client begins with.
    pub fn connect(address: SocketAddr) -> H2 {
        H2::with_settings(address, &[])
    }

    /// The same with settings: identifier and value.
    pub fn with_settings(address: SocketAddr, settings: &[(u16, u32)]) -> H2 {
        let mut client = Client::connect(address);
        client.send(PREFACE);
        let mut h2 = H2 { client, next: 1 };
        h2.settings(settings);
        h2
    }

    pub fn settings(&mut self, settings: &[(u16, u32)]) {
        let payload = settings.iter().flat_map(|(id, value)| {
            id.to_be_bytes().into_iter().chain(value.to_be_bytes()).collect::<Vec<_>>()
        });
        self.frame(SETTINGS, 0, 0, &payload.collect::<Vec<_>>());
    }

    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.client.send(frame(kind, flags, stream, payload));
    }

    /// Begins a request; its stream.
    pub fn request(&mut self, method: &str, path: &str, more: &[(&str, &str)], ends: bool) -> u32 {
        let mut fields = vec![(":method", method), (":scheme", "http"), (":path", path)];
        fields.push((":authority", "localhost"));
        fields.extend_from_slice(more);
        self.fields(&fields, ends)
    }

    /// Begins a request of these fields alone; its stream.
    pub fn fields(&mut self, fields: &[(&str, &str)], ends: bool) -> u32 {
        let stream = self.next;
        self.next += 2;
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &block(fields));
        stream
    }

    pub fn get(&mut self, path: &str) -> u32 {
        self.request("GET", path, &[], true)
    }

    pub fn data(&mut self, stream: u32, bytes: &[u8], ends: bool) {
        self.frame(DATA, if ends { END_STREAM } else { 0 }, stream, bytes);
    }

    /// Lets the server send so many more bytes on a stream, or on all of them (0).
    pub fn allow(&mut self, stream: u32, bytes: u32) {
        self.frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    pub fn reset(&mut self, stream: u32, error: u32) {
        self.frame(RST_STREAM, 0, stream, &error.to_be_bytes());
    }

    /// The next frame; none at the end of the connection. PINGs and settings are answered, as every
    /// client does.
    pub fn next(&mut self) -> Option<H2Frame> {
        let head = self.client.read_until(|bytes| (bytes.len() >= 9).then_some(9));
        if head.len() < 9 {
            return None;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.client.read_exactly(length);
        let frame = H2Frame { kind: head[3], flags: head[4], stream, payload };
        match frame.kind {
            PING if frame.flags & ACK == 0 => self.frame(PING, ACK, 0, &frame.payload),
            SETTINGS if frame.flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, b""),
            _ => {}
        }
        Some(frame)
    }

    /// The next frame of this kind; others are passed over.
    pub fn next_of(&mut self, kind: u8) -> H2Frame {
        loop {
            let frame = self.next().unwrap_or_else(|| panic!("no frame of kind {kind}"));
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The answer on a stream, to its end. Others' frames are lost.
    pub fn answer(&mut self, stream: u32) -> H2Answer {
        let mut answer = H2Answer::default();
        loop {
            let frame = self.next().unwrap_or_else(|| panic!("cut after {answer:?}"));
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if answer.status == 0 => answer.status = frame.status(),
                DATA => answer.body.extend_from_slice(&frame.payload),
                RST_STREAM => {
                    answer.reset = Some(frame.number(0));
                    return answer;
                }
                _ => {}
            }
            if frame.ends_stream() {
                return answer;
            }
        }
    }

    /// The error of the last GOAWAY, once the connection has ended.
    pub fn farewell(&mut self) -> Option<u32> {
        let mut error = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                error = Some(frame.number(4));
            }
        }
        error
    }

    /// The same where a reset may cut it short: the server need not read all it was sent.
    pub fn farewell_or_reset(&mut self) -> Option<u32> {
        let bytes = self.client.read_to_end_or_reset();
        let (mut rest, mut error) = (&bytes[..], None);
        while let Some((head, more)) = rest.split_at_checked(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some((payload, more)) = more.split_at_checked(length) else { break };
            if head[3] == GOAWAY {
                error = Some(u32::from_be_bytes(payload[4..8].try_into().expect("a code")));
            }
            rest = more;
        }
        error
    }

    /// Waits until a stream, or the connection, has come to its end.
    pub fn ended(&mut self, stream: u32) {
        while let Some(frame) = self.next() {
            let ends = frame.ends_stream() || frame.kind == RST_STREAM;
            if frame.kind == GOAWAY || (ends && frame.stream == stream) {
                return;
            }
        }
    }

    /// Another handle on the same connection, for a second thread.
    pub fn handle(&self) -> std::net::TcpStream {
        self.client.handle()
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of literal fields, none of them indexed (RFC 7541, section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(name.as_bytes(), &mut block);
        string(value.as_bytes(), &mut block);
    }
    block
}

fn string(bytes: &[u8], out: &mut Vec<u8>) {
    let mut left = bytes.len();
    if left < 127 {
        out.push(u8::try_from(left).expect("a byte"));
    } else {
        out.push(127);
        left -= 127;
        while left >= 128 {
            out.push(u8::try_from(left % 128).expect("a byte") | 0x80);
            left /= 128;
        }
        out.push(u8::try_from(left).expect("a byte"));
    }
    out.extend_from_slice(bytes);
}
