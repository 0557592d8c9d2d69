//! Owns the brotli coding (RFC 7932).
//!
//! Must not decide whose body.

use super::packing::{Packed, Packer, Packing, failed};
use crate::http::filter::Then;
use brotli::enc::StandardAlloc;
use brotli::enc::encode::{
    BrotliEncoderOperation as Operation, BrotliEncoderParameter as Parameter,
    BrotliEncoderStateStruct as Encoder,
};
use std::io;

/// The window of nginx's module, 512 KB, as a power of two; and the smallest that brotli has.
const WINDOW: u32 = 19;
const LEAST_WINDOW: u32 = 10;

/// A compressor at a level of `brotli_comp_level`, for a body of a length that may be known.
pub(super) fn packing(level: u8, length: Option<u64>) -> Packing {
    let mut window = WINDOW;
    while window > LEAST_WINDOW && length.is_some_and(|length| length <= 1 << (window - 1)) {
        window -= 1;
    }
    Packing::new("br", move || {
        let mut encoder = Encoder::new(StandardAlloc::default());
        encoder.set_parameter(Parameter::BROTLI_PARAM_QUALITY, level.into());
        encoder.set_parameter(Parameter::BROTLI_PARAM_LGWIN, window);
        Ok(Box::new(encoder))
    })
}

impl Packer for Encoder<StandardAlloc> {
    fn pack(&mut self, input: &[u8], out: &mut [u8], then: Then) -> io::Result<Packed> {
        let operation = match then {
            Then::More => Operation::BROTLI_OPERATION_PROCESS,
            Then::Flush => Operation::BROTLI_OPERATION_FLUSH,
            Then::End => Operation::BROTLI_OPERATION_FINISH,
        };
        let (mut left, mut room) = (input.len(), out.len());
        let (mut taken, mut made) = (0, 0);
        let went = self.compress_stream(
            operation,
            &mut left,
            input,
            &mut taken,
            &mut room,
            out,
            &mut made,
            &mut None,
            &mut |_, _, _, _| (),
        );
        if !went {
            return Err(failed(format_args!("brotli failed")));
        }
        let done = match then {
            Then::End => self.is_finished(),
            _ => left == 0 && !self.has_more_output(),
        };
        Ok(Packed { taken, made, done })
    }
}
