//! Owns the zstd coding (RFC 8878).
//!
//! Must not decide whose body.

use super::packing::{Packed, Packer, Packing};
use crate::http::filter::Then;
use std::io;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

/// What clients must be able to look back, 8 MB, as a power of two (RFC 9659).
const WINDOW: u32 = 23;

/// The lowest level that would look back further.
const WIDE: u8 = 20;

/// A compressor at a level of `zstd_comp_level`, for a body of a length that may be known.
pub(super) fn packing(level: u8, length: Option<u64>) -> Packing {
    Packing::new("zstd", move || {
        let mut encoder = Encoder::new(level.into())?;
        if level >= WIDE {
            encoder.set_parameter(CParameter::WindowLog(WINDOW))?;
        }
        encoder.set_pledged_src_size(length)?;
        Ok(Box::new(encoder))
    })
}

impl Packer for Encoder<'static> {
    fn pack(&mut self, input: &[u8], out: &mut [u8], then: Then) -> io::Result<Packed> {
        let mut from = InBuffer::around(input);
        let mut to = OutBuffer::around(out);
        while from.pos() < input.len() && to.pos() < to.capacity() {
            self.run(&mut from, &mut to)?;
        }
        let (all, room) = (from.pos() == input.len(), to.pos() < to.capacity());
        let done = match then {
            _ if !all || !room => false,
            Then::More => true,
            Then::Flush => self.flush(&mut to)? == 0,
            Then::End => self.finish(&mut to, true)? == 0,
        };
        Ok(Packed { taken: from.pos(), made: to.pos(), done })
    }
}
