//! RFC 6455 as far as a tunnel test needs it: the handshake and small frames.

use super::client::Client;
use super::origin::{Origin, Peer};
use super::site::Site;

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What follows the request line of a client that wants a websocket.
pub const HANDSHAKE: &str = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// One unfragmented frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn text(text: &str) -> Frame {
        Frame { opcode: 1, payload: text.into() }
    }

    pub fn binary(payload: Vec<u8>) -> Frame {
        Frame { opcode: 2, payload }
    }

    pub fn close() -> Frame {
        Frame { opcode: 8, payload: vec![0x03, 0xe8] }
    }

    /// The bytes of the frame; a client's are masked.
    pub fn encode(&self, masked: bool) -> Vec<u8> {
        let mut bytes = vec![0x80 | self.opcode];
        let flag = if masked { 128 } else { 0 };
        match self.payload.len() {
            short @ 0..=125 => bytes.push(flag + u8::try_from(short).expect("a short length")),
            medium @ 126..=65_535 => {
                bytes.push(flag + 126);
                bytes.extend(u16::try_from(medium).expect("a length").to_be_bytes());
            }
            long => {
                bytes.push(flag + 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        let mask = if masked { [1, 2, 3, 4] } else { [0; 4] };
        if masked {
            bytes.extend(mask);
        }
        let content = self.payload.iter().zip(mask.iter().cycle());
        bytes.extend(content.map(|(byte, key)| byte ^ key));
        bytes
    }

    /// Takes a frame off `bytes`: it and its length; `None` if not all is there.
    pub fn decode(bytes: &[u8]) -> Option<(Frame, usize)> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (length, mut at) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => {
                let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
                (usize::try_from(length).ok()?, 10)
            }
            short => (usize::from(short), 2),
        };
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            mask.copy_from_slice(bytes.get(at..at + 4)?);
            at += 4;
        }
        let content = bytes.get(at..at + length)?.iter().zip(mask.iter().cycle());
        let payload = content.map(|(byte, key)| byte ^ key).collect();
        Some((Frame { opcode: first & 0x0f, payload }, at + length))
    }
}

/// The client's end of an open websocket.
pub struct WebSocket(pub Client);

impl WebSocket {
    /// Asks for the upgrade and checks the answer.
    pub fn open(mut client: Client, path: &str) -> WebSocket {
        client.send(format!("GET {path} HTTP/1.1\r\n{HANDSHAKE}"));
        let answer = client.response_head();
        assert_eq!(answer.status, 101, "{answer:?}");
        let protocol = answer.header("Upgrade").unwrap_or_default();
        assert!(protocol.eq_ignore_ascii_case("websocket"), "{answer:?}");
        let connection = answer.header("Connection").unwrap_or_default();
        assert!(connection.eq_ignore_ascii_case("upgrade"), "{answer:?}");
        assert_eq!(answer.header("Sec-WebSocket-Accept"), Some(accept_key(KEY).as_str()));
        WebSocket(client)
    }

    pub fn send(&mut self, frame: &Frame) {
        self.0.send(frame.encode(true));
    }

    pub fn receive(&mut self) -> Frame {
        let bytes = self.0.read_until(|bytes| Frame::decode(bytes).map(|frame| frame.1));
        Frame::decode(&bytes).expect("a frame before the end").0
    }
}

/// Opens so many, all of which echo.
pub fn websockets(site: &Site, number: usize) -> Vec<WebSocket> {
    let mut sockets: Vec<_> =
        (0..number).map(|_| WebSocket::open(site.client(), "/chat")).collect();
    still_there(&mut sockets);
    sockets
}

/// Fails unless each of them still echoes.
pub fn still_there(sockets: &mut [WebSocket]) {
    for (number, socket) in sockets.iter_mut().enumerate() {
        let frame = Frame::text(&format!("still {number}"));
        socket.send(&frame);
        assert_eq!(socket.receive(), frame);
    }
}

/// A backend that echoes on websockets.
pub fn echo() -> Origin {
    Origin::new(|peer| {
        accept_websocket(peer);
    })
}

/// The backend's end: shakes hands and echoes frames until one says close.
/// Answers the request as it came.
pub fn accept_websocket(peer: &mut Peer) -> Option<Vec<u8>> {
    let request = peer.head()?;
    let text = String::from_utf8_lossy(&request).into_owned();
    let key = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))?;
    peer.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept_key(key)
    ));
    peer.record(request.clone());
    while let Some(bytes) = peer.read_until(|bytes| Frame::decode(bytes).map(|frame| frame.1)) {
        let (frame, _) = Frame::decode(&bytes)?;
        peer.send(frame.encode(false));
        if frame.opcode == 8 {
            break;
        }
    }
    Some(request)
}

/// RFC 6455, 4.2.2: the proof that the key was read.
fn accept_key(key: &str) -> String {
    base64(&sha1(format!("{key}{GUID}").as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > group.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

/// FIPS 180-4. Here only because the handshake wants it.
fn sha1(message: &[u8]) -> Vec<u8> {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks(64) {
        sha1_block(&mut state, block);
    }
    state.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn sha1_block(state: &mut [u32; 5], block: &[u8]) {
    let mut words: Vec<u32> = block
        .chunks(4)
        .map(|four| u32::from_be_bytes(four.try_into().expect("four bytes")))
        .collect();
    for at in 16..80 {
        let mixed = words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16];
        words.push(mixed.rotate_left(1));
    }
    let mut now = *state;
    for (round, word) in words.iter().enumerate() {
        let [first, b, c, d, last] = now;
        let (mix, constant) = match round {
            0..20 => (b & c | !b & d, 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6_u32),
        };
        let sum = [mix, last, constant, *word].into_iter();
        let sum = sum.fold(first.rotate_left(5), u32::wrapping_add);
        now = [sum, first, b.rotate_left(30), c, d];
    }
    for (slot, value) in state.iter_mut().zip(now) {
        *slot = slot.wrapping_add(value);
    }
}

#[test]
fn the_handshake_example_of_the_rfc() {
    assert_eq!(accept_key(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}
