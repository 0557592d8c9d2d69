//! Owns base64 as nginx takes and makes it (RFC 4648), in both alphabets.
//!
//! Must not know what is encoded.

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
    let text = text.get(..end)?;
    if text.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let sextets = group
            .iter()
            .try_fold(0_u32, |bits, byte| Some(bits << 6 | u32::from(sextet(*byte, alphabet)?)));
        // Four letters are three bytes; three are two, two are one.
        let aligned = sextets? << (6 * (4 - group.len()));
        out.extend(aligned.to_be_bytes().into_iter().skip(1).take(group.len() - 1));
    }
    Some(out)
}

fn sextet(byte: u8, alphabet: Alphabet) -> Option<u8> {
    Some(match (byte, alphabet) {
        (b'A'..=b'Z', _) => byte - b'A',
        (b'a'..=b'z', _) => byte - b'a' + 26,
        (b'0'..=b'9', _) => byte - b'0' + 52,
        (b'+', Alphabet::Standard) | (b'-', Alphabet::Url) => 62,
        (b'/', Alphabet::Standard) | (b'_', Alphabet::Url) => 63,
        _ => return None,
    })
}

/// The standard text of these bytes, with its padding.
pub fn encode(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut three = [0; 3];
        for (to, from) in three.iter_mut().zip(group) {
            *to = *from;
        }
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at > group.len() { '=' } else { char::from(letter) });
        }
    }
    out
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
