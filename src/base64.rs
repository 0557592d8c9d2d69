//! Owns base64 as nginx takes and makes it (RFC 4648), in both alphabets.
//!
//! Must not know what is encoded.

use ::base64::Engine as _;
use ::base64::alphabet;
use ::base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ::base64::prelude::BASE64_STANDARD;

/// As nginx reads it: what is left of the last sextet does not matter.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::RequireNone);

static STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
static URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The letters for 62 and 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// `+` and `/`.
    Standard,
    /// `-` and `_`.
    Url,
}

/// What a text stands for. What follows the first `=` is ignored, padding may be missing; `None` when
/// there is any other letter.
pub fn decode(text: &[u8], alphabet: Alphabet) -> Option<Vec<u8>> {
    let end = memchr::memchr(b'=', text).unwrap_or(text.len());
    let engine = match alphabet {
        Alphabet::Standard => &STANDARD,
        Alphabet::Url => &URL,
    };
    engine.decode(text.get(..end)?).ok()
}

/// The standard text of these bytes, with its padding.
pub fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_of_the_rfc() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text.as_bytes(), Alphabet::Standard).unwrap(), plain.as_bytes());
        }
        assert_eq!(decode(b"-_8", Alphabet::Url).unwrap(), [0xfb, 0xff]);
        for bad in ["Z", "Zm9vY", "-_8=", "Zm 9", "Z\0=="] {
            assert_eq!(decode(bad.as_bytes(), Alphabet::Standard), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_made_reads_the_same(bytes: Vec<u8>) {
            prop_assert_eq!(decode(encode(&bytes).as_bytes(), Alphabet::Standard), Some(bytes));
        }

        #[test]
        fn nothing_panics(text: Vec<u8>) {
            let _ = decode(&text, Alphabet::Url);
        }
    }
}
