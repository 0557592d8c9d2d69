//! The chunked coding (RFC 9112, section 7.1): a decoder that is fed bytes in any pieces and never
//! copies data, and the few bytes that encode a chunk. Line ends are CR LF only, as in nginx 1.31.

use std::fmt;
use std::ops::Range;

use super::fields::{Fields, Found, Rules};
use crate::http::headers::{Headers, Name};

/// Digits of a chunk size, leading zeros included.
const MAX_DIGITS: u32 = 16;
/// Bytes between the size of one chunk and its line end.
const MAX_EXTENSION: usize = 4096;
/// Bytes of the trailer section.
const MAX_TRAILER: usize = 8192;
/// The largest chunk; nginx's `off_t` less what it adds to it.
const MAX_SIZE: u64 = i64::MAX as u64 - 9;

/// Fields that frame, route or authenticate a message and so have no business behind its body
/// (RFC 9110, section 6.5.1); dropped from trailers.
const NOT_IN_TRAILERS: u128 = Name::ContentLength.bit()
    | Name::TransferEncoding.bit()
    | Name::Host.bit()
    | Name::Connection.bit()
    | Name::KeepAlive.bit()
    | Name::ProxyConnection.bit()
    | Name::Te.bit()
    | Name::Trailer.bit()
    | Name::Upgrade.bit()
    | Name::Expect.bit()
    | Name::Authorization.bit()
    | Name::ProxyAuthorization.bit()
    | Name::Cookie.bit()
    | Name::SetCookie.bit()
    | Name::ContentEncoding.bit()
    | Name::ContentType.bit()
    | Name::ContentRange.bit();

/// The body is not in the chunked coding; 400 for a client, an aborted answer for an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// What is wrong, in a few words.
    pub why: &'static str,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why)
    }
}

impl std::error::Error for Bad {}

/// What one call of `decode` came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are done with, the data included.
    pub consumed: usize,
    /// Where in the input there is data of the body; may be empty.
    pub data: Range<usize>,
    /// The body is over, and so are its trailers; what follows in the input is not part of it.
    pub finished: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    Trailer,
    TrailerLine,
    TrailerLineEnd,
    TrailerEnd,
    Finished,
}

/// The decoder of one body.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    state: State,
    /// Size of the chunk while it is read; then how much of the chunk is still to come.
    size: u64,
    digits: u32,
    extension: usize,
    trailer_text: Vec<u8>,
    trailers: Headers,
}

impl Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes on: up to the end of the input, of one run of data, or of the body, whichever comes
    /// first. Call again with what is left while `consumed` is less than the input.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, Bad> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            if self.state == State::Finished {
                break;
            }
            if self.state == State::Data {
                let data = at..at + self.take_data(input.len() - at);
                return Ok(Step { consumed: data.end, data, finished: false });
            }
            self.byte(byte)?;
            at += 1;
        }
        Ok(Step { consumed: at, data: at..at, finished: self.is_finished() })
    }

    /// Whether the end of the body has been seen.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Bytes of the current chunk that are still to come.
    pub fn left_in_chunk(&self) -> u64 {
        if self.state == State::Data { self.size } else { 0 }
    }

    /// Trailer fields, complete once finished, without those that must not be trailers.
    pub fn trailers(&self) -> &Headers {
        &self.trailers
    }

    fn take_data(&mut self, available: usize) -> usize {
        let taken = usize::try_from(self.size).map_or(available, |size| size.min(available));
        self.size -= taken as u64;
        if self.size == 0 {
            self.state = State::DataCr;
        }
        taken
    }

    fn byte(&mut self, byte: u8) -> Result<(), Bad> {
        self.state = match (self.state, byte) {
            (State::Size, _) => self.size(byte)?,
            (State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, _) => self.extension(byte)?,
            (State::SizeEnd, b'\n') => self.size_end(),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataCr, _) => return bad("chunk is longer than its size"),
            (State::DataLf, b'\n') => {
                (self.size, self.digits, self.extension) = (0, 0, 0);
                State::Size
            }
            // A line of trailers is kept as it is and read when the section is complete.
            (State::Trailer, b'\r') => State::TrailerEnd,
            (State::Trailer | State::TrailerLine, _) => self.trailer(byte)?,
            (State::TrailerLineEnd, b'\n') => {
                self.trailer_text.push(byte);
                State::Trailer
            }
            (State::TrailerEnd, b'\n') => {
                self.read_trailers()?;
                State::Finished
            }
            _ => return bad("line does not end with CR LF"),
        };
        Ok(())
    }

    fn size(&mut self, byte: u8) -> Result<State, Bad> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.digits == 0 => return bad("chunk size is missing"),
            b'\r' => return Ok(State::SizeEnd),
            b';' | b' ' | b'\t' => return Ok(State::Extension),
            _ => return bad("chunk size has an invalid character"),
        };
        self.digits += 1;
        if self.digits > MAX_DIGITS {
            return bad("chunk size is too long");
        }
        // 16 digits fit; the first bit of the first is caught by the limit below.
        self.size = self.size << 4 | u64::from(digit);
        if self.size > MAX_SIZE { bad("chunk size is too large") } else { Ok(State::Size) }
    }

    fn extension(&mut self, byte: u8) -> Result<State, Bad> {
        self.extension += 1;
        if self.extension > MAX_EXTENSION {
            return bad("chunk extension is too long");
        }
        if (byte < b' ' && byte != b'\t') || byte == 0x7f {
            return bad("chunk extension has a control character");
        }
        Ok(State::Extension)
    }

    fn size_end(&mut self) -> State {
        if self.size == 0 { State::Trailer } else { State::Data }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Bad> {
        if self.trailer_text.len() >= MAX_TRAILER {
            return bad("trailers are too long");
        }
        self.trailer_text.push(byte);
        match byte {
            b'\r' => Ok(State::TrailerLineEnd),
            b'\n' => bad("line does not end with CR LF"),
            _ => Ok(State::TrailerLine),
        }
    }

    fn read_trailers(&mut self) -> Result<(), Bad> {
        let rules = Rules { underscores: true, upstream: false };
        let mut fields = Fields::default();
        loop {
            match fields.next(&self.trailer_text, rules) {
                Ok(Found::Field) => {
                    let text = |range: &Range<usize>| {
                        self.trailer_text.get(range.clone()).unwrap_or_default()
                    };
                    let name = text(&fields.name);
                    if !fields.odd && Name::of(name).bit() & NOT_IN_TRAILERS == 0 {
                        self.trailers.push(name, text(&fields.value));
                    }
                }
                Ok(Found::Nothing | Found::End) => return Ok(()),
                Err(_) => return bad("trailer has an invalid field line"),
            }
        }
    }
}

fn bad<T>(why: &'static str) -> Result<T, Bad> {
    Err(Bad { why })
}

/// Ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Begins a chunk of `len` bytes; the data and CR LF go behind it. A chunk of 0 bytes would end
/// the body, so nothing is written for it.
pub fn write_chunk_head(len: usize, out: &mut Vec<u8>) {
    if len == 0 {
        return;
    }
    let digits = usize::BITS.div_ceil(4) - len.leading_zeros() / 4;
    for place in (0..digits).rev() {
        let digit = (len >> (place * 4)) & 0xf;
        out.push(b"0123456789abcdef".get(digit).copied().unwrap_or_default());
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes one whole chunk; nothing for no data.
pub fn write_chunk(data: &[u8], out: &mut Vec<u8>) {
    if data.is_empty() {
        return;
    }
    write_chunk_head(data.len(), out);
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Ends a chunked body with these trailers.
pub fn write_last_chunk(trailers: &Headers, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    trailers.write_to(out);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `bytes` given in pieces that end at `ends`: the data, and how much was consumed.
    fn decode_pieces(
        decoder: &mut Decoder,
        bytes: &[u8],
        ends: &[usize],
    ) -> Result<(Vec<u8>, usize), Bad> {
        let mut data = Vec::new();
        let mut at = 0;
        for end in ends {
            while at < *end && !decoder.is_finished() {
                let step = decoder.decode(&bytes[at..*end])?;
                data.extend_from_slice(&bytes[at..*end][step.data.clone()]);
                assert!(step.consumed > 0 && step.data.end <= step.consumed);
                at += step.consumed;
            }
        }
        Ok((data, at))
    }

    fn decode(text: &str) -> Result<(Vec<u8>, usize), Bad> {
        decode_pieces(&mut Decoder::new(), text.as_bytes(), &[text.len()])
    }

    #[test]
    fn bodies_are_decoded() {
        for (text, body) in [
            ("0\r\n\r\n", ""),
            ("6\r\nfoobar\r\n0\r\n\r\n", "foobar"),
            ("3\r\nfoo\r\n3;a=b\r\nbar\r\n00 ;x\r\n\r\n", "foobar"),
            ("000000000000000A \t;\"q\"\r\n0123456789\r\n0\r\nX: y\r\n\r\n", "0123456789"),
        ] {
            assert_eq!(decode(text), Ok((body.into(), text.len())), "{text:?}");
        }
        assert_eq!(decode("1\r\nx\r\n0\r\n\r\nGET /"), Ok((b"x".into(), 11)));
    }

    #[test]
    fn what_is_not_chunked_is_refused() {
        for text in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5\nhello\r\n",
            "5\r\r\n",
            "5;\n",
            "5;a\nb\r\n",
            "5;a\x01b\r\n",
            "5;\0\r\n",
            "5;a\rb\r\n",
            "5\r\nhello!\r\n",
            "5\r\nhello\n",
            "5\r\nhello\rx",
            "1_0\r\n",
            "5,\r\n",
            "0\r\n\n",
            "0\r\nX: y\n",
            "0\r\nX: y\rz",
            "0\r\nX : y\r\n\r\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\n\rx",
            "7fffffffffffffff\r\n",
            "ffffffffffffffff\r\n",
            "00000000000000005\r\n",
        ] {
            assert!(decode(text).is_err(), "{text:?}");
        }
        assert!(decode(&format!("1;{}", "a".repeat(MAX_EXTENSION + 1))).is_err());
        assert!(decode(&format!("0\r\n{}", "a: b\r\n".repeat(MAX_TRAILER / 6 + 1))).is_err());
    }

    #[test]
    fn trailers_are_kept_but_not_framing() {
        let text = b"0\r\nX-Sum: 1 \r\nContent-Length: 5\r\nHost: a\r\nfoo: bar\r\n\r\n";
        let mut decoder = Decoder::new();
        decode_pieces(&mut decoder, text, &[text.len()]).unwrap();
        let mut out = Vec::new();
        write_last_chunk(decoder.trailers(), &mut out);
        assert_eq!(out, b"0\r\nX-Sum: 1\r\nfoo: bar\r\n\r\n");
    }

    #[test]
    fn chunks_are_written_as_nginx_writes_them() {
        let mut out = Vec::new();
        for len in [1, 9, 10, 16, 255, 0x1000, usize::MAX] {
            out.clear();
            write_chunk_head(len, &mut out);
            assert_eq!(out, format!("{len:x}\r\n").into_bytes());
        }
        out.clear();
        write_chunk(b"", &mut out);
        write_chunk_head(0, &mut out);
        write_chunk(b"01234many", &mut out);
        assert_eq!(out, b"9\r\n01234many\r\n");
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            cuts in proptest::collection::vec(any::<usize>(), 0..10),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                write_chunk(chunk, &mut wire);
            }
            wire.extend_from_slice(LAST_CHUNK);
            let whole = wire.len();
            wire.extend_from_slice(b"next");
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut % wire.len()).collect();
            ends.sort_unstable();
            ends.push(wire.len());
            prop_assert_eq!(decode_pieces(&mut Decoder::new(), &wire, &ends), Ok((chunks.concat(), whole)));
        }

        #[test]
        fn pieces_do_not_matter(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("0"), Just("1"), Just("a"), Just(";"), Just("\r\n"), Just("\r"), Just("\n"), Just("x: y"),
                    Just("1\r\nx\r\n"), Just("0\r\n"), Just(" "),
                ],
                0..12,
            ),
            cuts in proptest::collection::vec(any::<usize>(), 0..10),
        ) {
            let wire = format!("2\r\nhi\r\n{}", pieces.concat()).into_bytes();
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut % wire.len()).collect();
            ends.sort_unstable();
            ends.push(wire.len());
            let whole = decode_pieces(&mut Decoder::new(), &wire, &[wire.len()]);
            prop_assert_eq!(decode_pieces(&mut Decoder::new(), &wire, &ends), whole);
        }
    }
}
