//! Owns what `Accept-Encoding` says of one coding, in nginx's reading of it.
//!
//! Must not choose between codings.

/// Whether a value accepts a coding: named, and not with a weight of 0 or one that is none. As in nginx
/// the first mention counts, `*` is no mention, and weights are not compared with one another.
pub(super) fn accepts(value: &[u8], coding: &str) -> bool {
    mention(value, coding.as_bytes()).is_some_and(|rest| weighs(rest.trim_ascii_start()))
}

/// What follows the first mention of the coding as a word of its own to the left.
fn mention<'a>(value: &'a [u8], coding: &[u8]) -> Option<&'a [u8]> {
    (0..value.len()).find_map(|at| {
        let begins = at == 0 || matches!(value.get(at - 1), Some(b',' | b' '));
        let (word, rest) = value.get(at..)?.split_at_checked(coding.len())?;
        (begins && word.eq_ignore_ascii_case(coding)).then_some(rest)
    })
}

/// Judges what follows a coding's name: nothing, a comma, or `;q=` and a weight.
fn weighs(rest: &[u8]) -> bool {
    let Some(parameter) = rest.strip_prefix(b";") else {
        return matches!(rest.first(), None | Some(b','));
    };
    let parameter = parameter.trim_ascii_start();
    match parameter {
        [] => true,
        [b'q' | b'Q', b'=', weight @ ..] => is_above_zero(weight),
        _ => false,
    }
}

/// A weight from 0.001 to 1.000, as far as the next comma or space.
fn is_above_zero(weight: &[u8]) -> bool {
    let end = weight.iter().position(|byte| matches!(byte, b',' | b' ')).unwrap_or(weight.len());
    let (whole, digits) = match &weight[..end] {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (*whole, digits),
        _ => return false,
    };
    let any = digits.iter().any(|digit| *digit != b'0');
    digits.iter().all(u8::is_ascii_digit) && (whole == b'1') != any
}

#[cfg(test)]
mod tests {
    use super::accepts;

    #[test]
    fn the_first_mention_counts() {
        for value in [
            "gzip",
            "gzip,deflate",
            "deflate, GZIP",
            "br,gzip , x",
            "xgzip gzip",
            "gzip;",
            "gzip ; q=1",
            "gzip;q=0.001",
            "gzip;q=1.000",
            "gzip;q=0.5,br;q=1",
            "gzip;Q=1 , x",
            "gzip;q=1.",
        ] {
            assert!(accepts(value.as_bytes(), "gzip"), "{value}");
        }
        for value in [
            "",
            "*",
            "deflate",
            "gzi",
            "x-gzip",
            "gzipx",
            "gzip x",
            "gzip;x=1",
            "gzip;q",
            "gzip;q =1",
            "gzip;q=",
            "gzip;q=0",
            "gzip;q=0.000",
            "gzip;q=0, gzip;q=1",
            "gzip;q=0.0001",
            "gzip;q=1.001",
            "gzip;q=2",
            "gzip;q=0.x",
            "gzip;q=01",
        ] {
            assert!(!accepts(value.as_bytes(), "gzip"), "{value}");
        }
    }
}
