//! A chunked body in two pieces: decodes as in one; what was decoded survives another round.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxyd::http::h1::chunked::{Bad, Decoder, LAST_CHUNK, write_chunk};

/// The data, the bytes used, and whether the body is over.
fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), Bad> {
    let mut decoder = Decoder::new();
    let mut data = Vec::new();
    let mut used = 0;
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() && !decoder.is_finished() {
            let step = decoder.decode(rest)?;
            assert!(step.consumed > 0 && step.data.end <= step.consumed);
            data.extend_from_slice(&rest[step.data]);
            rest = &rest[step.consumed..];
            used += step.consumed;
        }
    }
    Ok((data, used, decoder.is_finished()))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let whole = decode(&[bytes]);
    assert_eq!(whole, decode(&[first, second]));
    if let Ok((data, _, true)) = whole {
        let mut wire = Vec::new();
        write_chunk(&data, &mut wire);
        wire.extend_from_slice(LAST_CHUNK);
        assert_eq!(decode(&[&wire]), Ok((data, wire.len(), true)));
    }
});
