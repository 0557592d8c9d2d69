//! Owns the gzip coding (RFC 1952): a body compressed, a compressed body restored.
//!
//! Must not decide whose body.

use super::packing::{Packed, Packer, Packing, append, failed};
use crate::http::filter::{Coder, Step, Then};
use std::fmt;
use std::io;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};

/// Added to the window bits of zlib's interface: a gzip header and trailer.
const GZIP_FRAME: u8 = 16;

/// Bytes that zlib's window of a size cannot look back.
const LOOKAHEAD: u64 = 262;

/// A compressor at a level of `gzip_comp_level`, for a body of a length that may be known.
pub(super) fn packing(level: u8, length: Option<u64>) -> Packing {
    let (window_bits, mem_level) = sizes(length);
    let config = DeflateConfig {
        level: same_ratio(level),
        window_bits: window_bits + i32::from(GZIP_FRAME),
        mem_level,
        ..DeflateConfig::default()
    };
    Packing::new("gzip", move || Ok(Box::new(Deflate::new_with_config(config))))
}

impl Packer for Deflate {
    fn pack(&mut self, input: &[u8], out: &mut [u8], then: Then) -> io::Result<Packed> {
        let flush = match then {
            Then::More => DeflateFlush::NoFlush,
            Then::Flush => DeflateFlush::SyncFlush,
            Then::End => DeflateFlush::Finish,
        };
        let before = (self.total_in(), self.total_out());
        let status = self.compress(input, out, flush);
        let status =
            status.map_err(|error| failed(format_args!("deflate() failed: {}", error as i32)))?;
        let (taken, made) =
            (length(self.total_in() - before.0), length(self.total_out() - before.1));
        let done = match then {
            Then::End => status == Status::StreamEnd,
            _ => made < out.len(),
        };
        Ok(Packed { taken, made, done })
    }
}

/// zlib-rs's two lowest levels trade more of the ratio for speed than zlib's. A level higher they are
/// still faster than zlib, and what they make is no longer than what nginx sends.
fn same_ratio(level: u8) -> i32 {
    i32::from(if level <= 2 { level + 1 } else { level })
}

/// Window and memory as nginx chooses them: a body known to be short needs little.
fn sizes(length: Option<u64>) -> (i32, i32) {
    let (mut window_bits, mut mem_level) = (15, 8);
    let length = length.filter(|length| *length > 0).unwrap_or(u64::MAX);
    while length.saturating_add(LOOKAHEAD) < 1 << (window_bits - 1) {
        window_bits -= 1;
        mem_level -= 1;
    }
    (window_bits.max(9), mem_level.max(1))
}

/// What one call has moved is no longer than memory.
fn length(moved: u64) -> usize {
    usize::try_from(moved).unwrap_or(usize::MAX)
}

fn cut_short() -> io::Error {
    failed(format_args!("inflate() returned -5 on response end"))
}

/// Restores what was compressed. Several members behind one another are one body.
#[derive(Default)]
pub(super) struct Gunzip {
    /// Inside a member.
    stream: Option<Inflate>,
    /// There has been a whole member.
    any: bool,
}

impl fmt::Debug for Gunzip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gunzip").finish_non_exhaustive()
    }
}

impl Coder for Gunzip {
    fn code(
        &mut self,
        input: &[u8],
        then: Then,
        out: &mut Vec<u8>,
        room: usize,
    ) -> io::Result<Step> {
        let mut taken = 0;
        let limit = out.len() + room;
        while out.len() < limit {
            let rest = input.get(taken..).unwrap_or_default();
            if rest.is_empty() && self.stream.is_none() {
                return if then == Then::End && !self.any {
                    Err(cut_short())
                } else {
                    Ok(Step { taken, done: true })
                };
            }
            let stream = self.stream.get_or_insert_with(|| Inflate::new(true, 15 + GZIP_FRAME));
            let before = (stream.total_in(), stream.total_out());
            let (full, status) = append(out, |piece| {
                let status = stream.decompress(rest, piece, InflateFlush::NoFlush);
                let made = length(stream.total_out() - before.1);
                (made, (made == piece.len(), status))
            });
            let status = status
                .map_err(|error| failed(format_args!("inflate() failed: {}", error.as_str())))?;
            taken += length(stream.total_in() - before.0);
            if status == Status::StreamEnd {
                (self.stream, self.any) = (None, true);
            } else if !full {
                return if then == Then::End {
                    Err(cut_short())
                } else {
                    Ok(Step { taken, done: true })
                };
            }
        }
        Ok(Step { taken, done: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds a coder pieces of a length, the last with the end; flushes after those that `flush` says.
    fn code(coder: &mut dyn Coder, input: &[u8], piece: usize, room: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let pieces = input.chunks(piece).map(|piece| (piece, Then::More));
        for (mut piece, then) in pieces.chain([(&[][..], Then::End)]) {
            loop {
                let before = out.len();
                let step = coder.code(piece, then, &mut out, room)?;
                assert!(out.len() - before < room + 16 * 1024);
                piece = &piece[step.taken..];
                if step.done {
                    assert!(piece.is_empty());
                    break;
                }
            }
        }
        Ok(out)
    }

    fn zip(input: &[u8]) -> Vec<u8> {
        code(&mut packing(6, None), input, 1 << 20, 1 << 20).unwrap()
    }

    fn unzip(input: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        code(&mut Gunzip::default(), input, piece, 1000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_compressed_can_be_restored(
            words in proptest::collection::vec(0..300_u16, 0..40_000),
            level in 1..=9_u8, piece in 1..50_000_usize, room in 1..70_000_usize, known: bool,
        ) {
            let text: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let mut coder = packing(level, known.then_some(text.len() as u64));
            let packed = code(&mut coder, &text, piece, room).unwrap();
            prop_assert_eq!(&unzip(&packed, piece).unwrap(), &text);
            let counts = coder.counts().unwrap();
            prop_assert_eq!(counts.taken, text.len() as u64);
            prop_assert_eq!(counts.made, packed.len() as u64);
        }
    }

    #[test]
    fn a_flush_brings_out_all_there_is() {
        let (mut zip, mut unzip) = (packing(1, None), Gunzip::default());
        for text in [b"one".to_vec(), b"two".to_vec(), vec![b'x'; 100_000]] {
            let mut out = Vec::new();
            let mut taken = zip.code(&text, Then::More, &mut out, 1000).unwrap().taken;
            loop {
                let step = zip.code(&text[taken..], Then::Flush, &mut out, 1000).unwrap();
                taken += step.taken;
                if step.done {
                    break;
                }
            }
            let mut plain = Vec::new();
            unzip.code(&out, Then::More, &mut plain, 1 << 20).unwrap();
            assert_eq!(plain, text);
        }
    }

    #[test]
    fn members_follow_one_another() {
        let two = [zip(b"one "), zip(b""), zip(b"two")].concat();
        for piece in [1, 7, 1000] {
            assert_eq!(unzip(&two, piece).unwrap(), b"one two");
        }
    }

    #[test]
    fn what_is_no_gzip_is_an_error() {
        let whole = zip(b"text of some length");
        for (input, why) in [
            (&b""[..], "inflate() returned -5 on response end"),
            (&whole[..whole.len() - 1], "inflate() returned -5 on response end"),
            (&[&whole[..], b"\x1f"].concat(), "inflate() returned -5 on response end"),
            (b"text", "inflate() failed: data error"),
        ] {
            let error = unzip(input, 5).unwrap_err();
            assert_eq!(error.to_string(), why, "{input:?}");
        }
    }

    #[test]
    fn short_bodies_need_little_memory() {
        assert_eq!(sizes(None), (15, 8));
        assert_eq!(sizes(Some(0)), (15, 8));
        assert_eq!(sizes(Some(16_384 - 262)), (15, 8));
        assert_eq!(sizes(Some(16_384 - 263)), (14, 7));
        assert_eq!(sizes(Some(20)), (9, 2));
    }
}
