//! Owns the feeding of compressors: memory when the first byte comes, output in pieces, and counting.
//!
//! Must not know a coding.

use crate::http::filter::{Coder, Counts, Step, Then};
use std::fmt;
use std::io;

/// Asked of a library at a time.
const PIECE: usize = 16 * 1024;

/// A library's state for one body.
pub(super) trait Packer {
    /// Takes from `input`, writes to `out`.
    fn pack(&mut self, input: &[u8], out: &mut [u8], then: Then) -> io::Result<Packed>;
}

/// What one call has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    pub taken: usize,
    pub made: usize,
    /// All of the input is taken, and nothing is left of what `then` asks for.
    pub done: bool,
}

/// A compressor as a coder.
pub(super) struct Packing {
    make: Box<dyn Fn() -> io::Result<Box<dyn Packer>>>,
    /// From the first byte to the end: its memory is the largest part of what an answer costs.
    packer: Option<Box<dyn Packer>>,
    counts: Counts,
    ended: bool,
}

impl Packing {
    /// With what `make` makes as soon as it is needed.
    pub fn new(
        coding: &'static str,
        make: impl Fn() -> io::Result<Box<dyn Packer>> + 'static,
    ) -> Self {
        let counts = Counts { coding, taken: 0, made: 0 };
        Self { make: Box::new(make), packer: None, counts, ended: false }
    }
}

impl fmt::Debug for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packing").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Coder for Packing {
    fn code(
        &mut self,
        input: &[u8],
        then: Then,
        out: &mut Vec<u8>,
        room: usize,
    ) -> io::Result<Step> {
        let packer = match &mut self.packer {
            Some(packer) => packer,
            none => none.insert((self.make)()?),
        };
        let mut taken = 0;
        let limit = out.len().saturating_add(room);
        while out.len() < limit {
            let rest = input.get(taken..).unwrap_or_default();
            let packed = append(out, |piece| {
                let packed = packer.pack(rest, piece, then);
                (packed.as_ref().map_or(0, |packed| packed.made), packed)
            })?;
            taken += packed.taken;
            self.counts.taken += packed.taken as u64;
            self.counts.made += packed.made as u64;
            if packed.done {
                if then == Then::End {
                    (self.packer, self.ended) = (None, true);
                }
                return Ok(Step { taken, done: true });
            }
            if packed.taken == 0 && packed.made == 0 {
                return Err(failed(format_args!("{} has come to a halt", self.counts.coding)));
            }
        }
        Ok(Step { taken, done: false })
    }

    fn counts(&self) -> Option<Counts> {
        self.ended.then_some(self.counts)
    }
}

/// Has a piece of `out` filled, as far as `fill` says, and passes on what else it says.
pub(super) fn append<T>(out: &mut Vec<u8>, fill: impl FnOnce(&mut [u8]) -> (usize, T)) -> T {
    let start = out.len();
    out.resize(start + PIECE, 0);
    let (made, said) = fill(&mut out[start..]);
    out.truncate(start + made);
    said
}

/// An error of a filter, in words for the log.
pub(super) fn failed(why: fmt::Arguments<'_>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::modules::compress::{CODINGS, Coding};

    fn restored(coding: Coding, packed: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Zstd => out = zstd::stream::decode_all(packed).unwrap(),
            Coding::Brotli => brotli::BrotliDecompress(&mut &*packed, &mut out).unwrap(),
            Coding::Gzip => {
                let mut gunzip = zlib_rs::Inflate::new(true, 31);
                out.resize(2 << 20, 0);
                gunzip.decompress(packed, &mut out, zlib_rs::InflateFlush::Finish).unwrap();
                out.truncate(usize::try_from(gunzip.total_out()).unwrap());
            }
        }
        out
    }

    /// Codes pieces of a length with a flush behind each third.
    fn code(coder: &mut Packing, text: &[u8], length: usize, room: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let pieces = text.chunks(length).enumerate();
        let pieces =
            pieces.map(|(n, piece)| (piece, if n % 3 == 2 { Then::Flush } else { Then::More }));
        for (mut piece, then) in pieces.chain([(&[][..], Then::End)]) {
            loop {
                let step = coder.code(piece, then, &mut out, room).unwrap();
                piece = &piece[step.taken..];
                if step.done {
                    break;
                }
            }
            assert!(piece.is_empty());
        }
        out
    }

    #[test]
    fn every_coding_can_be_undone() {
        let text: Vec<u8> =
            (0..150_000_u32).flat_map(|n| (n % 1009 * (n % 977)).to_le_bytes()).collect();
        for coding in CODINGS {
            for (text, known) in [(&text[..], true), (&text[..], false), (b"x", true), (b"", false)]
            {
                let mut coder = coding.packing(3, known.then_some(text.len() as u64));
                let packed = code(&mut coder, text, 40_000, 20_000);
                assert_eq!(restored(coding, &packed), text, "{coding:?} {known}");
                let counts = coder.counts().unwrap();
                assert_eq!(counts.coding, coding.name());
                assert_eq!((counts.taken, counts.made), (text.len() as u64, packed.len() as u64));
            }
        }
    }

    #[test]
    fn the_highest_levels_keep_to_the_window() {
        for (coding, level) in [(Coding::Zstd, 22), (Coding::Brotli, 11), (Coding::Gzip, 9)] {
            let mut coder = coding.packing(level, None);
            let packed = code(&mut coder, b"a text, a text", 5, 100);
            assert_eq!(restored(coding, &packed), b"a text, a text");
        }
    }
}
