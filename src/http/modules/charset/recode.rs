//! Owns the recoding of a body from one charset to another.
//!
//! Must not know their names.

use super::table::{Map, UNKNOWN, Utf8, Way};
use crate::http::filter::{Coder, Step, Then};
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

/// Recodes; holds back no more than a character that has not come to its end.
pub(super) struct Recoder {
    map: Arc<Map>,
    from: Vec<u8>,
    to: Vec<u8>,
    /// The beginning of a character in UTF-8.
    begun: Vec<u8>,
}

impl Recoder {
    /// With a map that knows a way between the two.
    pub fn new(map: Arc<Map>, from: Vec<u8>, to: Vec<u8>) -> Self {
        Self { map, from, to, begun: Vec::new() }
    }
}

impl fmt::Debug for Recoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recoder").field("begun", &self.begun).finish_non_exhaustive()
    }
}

impl Coder for Recoder {
    fn code(
        &mut self,
        input: &[u8],
        _then: Then,
        out: &mut Vec<u8>,
        _room: usize,
    ) -> io::Result<Step> {
        match self.map.way(&self.from, &self.to) {
            Some(Way::Bytes(table)) => out.extend(input.iter().map(|b| table[usize::from(*b)])),
            Some(Way::ToUtf8(utf8)) => {
                for byte in input {
                    out.extend_from_slice(&utf8.encoded[usize::from(*byte)]);
                }
            }
            Some(Way::FromUtf8(utf8)) => from_utf8(utf8, &mut self.begun, input, out),
            None => out.extend_from_slice(input),
        }
        Ok(Step { taken: input.len(), done: true })
    }
}

/// What stands at the beginning of some bytes that should be UTF-8, and how many of them it is.
#[derive(Debug, PartialEq, Eq)]
enum Decoded {
    Character(u32, usize),
    Invalid(usize),
    Incomplete,
}

/// nginx's decoder: a sequence is as long as its first byte says, or ends with the first ASCII byte, which
/// is lost with it.
fn decode(bytes: &[u8]) -> Decoded {
    let (length, bits, least) = match bytes.first() {
        Some(first @ 0xf0..0xf8) => (4, first & 7, 0x10000),
        Some(first @ 0xe0..0xf0) => (3, first & 15, 0x800),
        Some(first @ 0xc2..0xe0) => (2, first & 31, 0x80),
        Some(_) => return Decoded::Invalid(1),
        None => return Decoded::Incomplete,
    };
    let Some(rest) = bytes.get(1..length) else { return Decoded::Incomplete };
    let mut character = u32::from(bits);
    for (at, byte) in rest.iter().enumerate() {
        if *byte < 0x80 {
            return Decoded::Invalid(at + 2);
        }
        character = character << 6 | u32::from(byte & 0x3f);
    }
    match character {
        0..=0x0010_ffff if character >= least => Decoded::Character(character, length),
        _ => Decoded::Invalid(length),
    }
}

/// Appends the bytes of the characters; a reference to one that there is no byte for.
fn from_utf8(utf8: &Utf8, begun: &mut Vec<u8>, input: &[u8], out: &mut Vec<u8>) {
    let joined;
    let mut rest = input;
    if !begun.is_empty() {
        begun.extend_from_slice(input);
        joined = std::mem::take(begun);
        rest = &joined;
    }
    loop {
        let ascii = rest.iter().position(|byte| *byte >= 0x80).unwrap_or(rest.len());
        let (plain, other) = rest.split_at(ascii);
        out.extend_from_slice(plain);
        let length = match decode(other) {
            Decoded::Incomplete => {
                begun.extend_from_slice(other);
                return;
            }
            Decoded::Invalid(length) => {
                out.push(UNKNOWN);
                length
            }
            Decoded::Character(character, length) => {
                match utf8.bytes.get(&character) {
                    Some(byte) => out.push(*byte),
                    // Writing into a Vec cannot fail.
                    None => drop(write!(out, "&#{character};")),
                }
                length
            }
        };
        rest = other.get(length..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn utf_8_is_decoded_as_nginx_does() {
        assert_eq!(decode("жx".as_bytes()), Decoded::Character(0x436, 2));
        assert_eq!(decode("€".as_bytes()), Decoded::Character(0x20ac, 3));
        assert_eq!(decode("😀".as_bytes()), Decoded::Character(0x1f600, 4));
        assert_eq!(decode(b"\xe2\x82"), Decoded::Incomplete);
        assert_eq!(decode(b""), Decoded::Incomplete);
        assert_eq!(decode(b"\xc0\x80"), Decoded::Invalid(1));
        assert_eq!(decode(b"\xe2\x82x"), Decoded::Invalid(3));
        assert_eq!(decode(b"\xe0\x80\x80"), Decoded::Invalid(3));
        assert_eq!(decode(b"\xf7\xbf\xbf\xbf"), Decoded::Invalid(4));
    }

    #[test]
    fn characters_may_come_in_pieces() {
        let utf8 = Utf8 { encoded: Vec::new(), bytes: HashMap::from([(0x436, 0xd6)]) };
        let text = "aжb€\u{1f600}".as_bytes();
        for piece in 1..text.len() {
            let (mut begun, mut out) = (Vec::new(), Vec::new());
            for piece in text.chunks(piece) {
                from_utf8(&utf8, &mut begun, piece, &mut out);
            }
            assert_eq!(out, b"a\xd6b&#8364;&#128512;");
        }
    }
}
