//! Owns the reading of basic credentials (RFC 7617) as far as variables need them.
//!
//! Must not check a password.

/// The user name in an `Authorization` value; `None` for other schemes, bad base64, or no user.
pub(super) fn user(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = value.split_at_checked(b"Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let spaces = rest.iter().take_while(|b| **b == b' ').count();
    let mut text = decode(rest.get(spaces..)?)?;
    let colon = memchr::memchr(b':', &text).filter(|at| *at > 0)?;
    text.truncate(colon);
    Some(text)
}

/// Base64 as nginx takes it: what follows the first `=` is ignored, padding may be missing.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let end = memchr::memchr(b'=', text).unwrap_or(text.len());
    let text = text.get(..end)?;
    if text.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for byte in group {
            bits = bits << 6 | u32::from(sextet(*byte)?);
        }
        // Four letters are three bytes; three are two, two are one.
        let bytes = group.len() - 1;
        let aligned = bits << (6 * (4 - group.len()));
        out.extend(aligned.to_be_bytes().into_iter().skip(1).take(bytes));
    }
    Some(out)
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_stands_before_the_colon() {
        assert_eq!(user(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").unwrap(), b"Aladdin");
        assert_eq!(user(b"bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ").unwrap(), b"Aladdin");
        assert_eq!(user(b"Basic YTo").unwrap(), b"a");
    }

    #[test]
    fn what_is_no_user_is_not_found() {
        let bad = ["", "Basic", "Basic ", "Bearer QWxhOg==", "Basic Q", "Basic QQ==", "Basic OmE=", "Basic Q!E="];
        for value in bad {
            assert_eq!(user(value.as_bytes()), None, "{value}");
        }
    }
}
