//! The usual types of directive arguments: parsers, and setters that speak nginx's sentences.
//! Must not know any directive by name.

use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Directive, Env, Error, Word};

/// nginx keeps numbers in signed words: anything above is refused.
const MAX: u64 = i64::MAX as u64;

/// Digits only.
pub fn parse_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        value.checked_mul(10)?.checked_add(digit).filter(|&value| value <= MAX)
    })
}

/// Bytes, with `k` or `m`.
pub fn parse_size(text: &[u8]) -> Option<u64> {
    match text.last()? {
        b'g' | b'G' => None,
        _ => parse_offset(text),
    }
}

/// Bytes, with `k`, `m` or `g`.
pub fn parse_offset(text: &[u8]) -> Option<u64> {
    let (unit, number) = text.split_last()?;
    let shift = match unit.to_ascii_lowercase() {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        _ => return parse_number(text),
    };
    parse_number(number)?.checked_mul(1 << shift).filter(|&value| value <= MAX)
}

/// A time to the millisecond: `ms`, `s`, `m`, `h`, `d`, `w`, largest first; seconds without a unit.
pub fn parse_msec(text: &[u8]) -> Option<Duration> {
    parse_time(text, false).map(Duration::from_millis)
}

/// A time in whole seconds: also `M` (30 days) and `y` (365 days), but no `ms`.
pub fn parse_sec(text: &[u8]) -> Option<Duration> {
    parse_time(text, true).map(Duration::from_secs)
}

/// Units from the largest, with their seconds.
const UNITS: [(u8, u64); 7] = [
    (b'y', 31_536_000),
    (b'M', 2_592_000),
    (b'w', 604_800),
    (b'd', 86_400),
    (b'h', 3600),
    (b'm', 60),
    (b's', 1),
];

/// nginx's quirks are kept: `1h30` is an hour and 30 seconds, a space also ends a number of seconds.
fn parse_time(text: &[u8], whole_seconds: bool) -> Option<u64> {
    const MONTH: usize = 1;
    const SECOND: usize = 6;
    let scale = if whole_seconds { 1 } else { 1000 };
    // The first unit that may still come; a time in milliseconds has neither years nor months.
    let mut next = if whole_seconds { 0 } else { MONTH + 1 };
    let (mut total, mut value, mut digits) = (0u64, 0u64, false);
    let mut rest = text.iter().copied().peekable();
    while let Some(c) = rest.next() {
        if c.is_ascii_digit() {
            value =
                value.checked_mul(10)?.checked_add(u64::from(c - b'0')).filter(|&v| v <= MAX)?;
            digits = true;
            continue;
        }
        let unit = if c == b'm' && rest.next_if_eq(&b's').is_some() {
            if whole_seconds || next > SECOND + 1 {
                return None;
            }
            next = SECOND + 2;
            1
        } else {
            let at =
                UNITS.iter().position(|&(name, _)| name == c || (name == b's' && c == b' '))?;
            if at < next {
                return None;
            }
            next = if c == b' ' { SECOND + 2 } else { at + 1 };
            UNITS.get(at)?.1 * scale
        };
        total = total.checked_add(value.checked_mul(unit)?).filter(|&t| t <= MAX)?;
        value = 0;
        while rest.next_if_eq(&b' ').is_some() {}
    }
    let last = value.checked_mul(scale)?;
    total.checked_add(last).filter(|&t| digits && t <= MAX)
}

/// The error nginx makes of a setter's short verdict: `"name" directive is duplicate`.
pub fn verdict(directive: &Directive, verdict: &str) -> Error {
    directive.error(format_args!("\"{}\" directive {verdict}", directive.name_str()))
}

/// Refuses a second value for a slot.
pub fn once<T>(slot: &Option<T>, directive: &Directive) -> Result<(), Error> {
    match slot {
        Some(_) => Err(verdict(directive, "is duplicate")),
        None => Ok(()),
    }
}

fn invalid(directive: &Directive, what: &str, help: &str) -> Error {
    let error = verdict(directive, what).with_help(help);
    Error { span: directive.arg(0).span, ..error }
}

/// `on` or `off`, in any case.
pub fn flag(slot: &mut Option<bool>, directive: &Directive) -> Result<(), Error> {
    once(slot, directive)?;
    let value = directive.arg(0);
    *slot = Some(match value.text.to_ascii_lowercase().as_slice() {
        b"on" => true,
        b"off" => false,
        _ => {
            let (value_text, name) = (value.lossy(), directive.name_str());
            return Err(value.error(format_args!(
                "invalid value \"{value_text}\" in \"{name}\" directive, it must be \"on\" or \"off\""
            )));
        }
    });
    Ok(())
}

/// A number that fits `N`.
pub fn number<N: TryFrom<u64>>(slot: &mut Option<N>, directive: &Directive) -> Result<(), Error> {
    once(slot, directive)?;
    let value = parse_number(&directive.arg(0).text).and_then(|n| N::try_from(n).ok());
    *slot =
        Some(value.ok_or_else(|| invalid(directive, "invalid number", "digits only, such as 64"))?);
    Ok(())
}

/// A number within bounds.
pub fn between(
    slot: &mut Option<u16>,
    directive: &Directive,
    bounds: RangeInclusive<u16>,
) -> Result<(), Error> {
    number(slot, directive)?;
    if slot.is_some_and(|value| bounds.contains(&value)) {
        return Ok(());
    }
    let (least, most) = bounds.into_inner();
    Err(directive.arg(0).error(format_args!("value must be between {least} and {most}")))
}

/// Bytes, with `k` or `m`.
pub fn size(slot: &mut Option<u64>, directive: &Directive) -> Result<(), Error> {
    once(slot, directive)?;
    let value = parse_size(&directive.arg(0).text);
    *slot = Some(
        value.ok_or_else(|| invalid(directive, "invalid value", "a size such as 512, 8k or 1m"))?,
    );
    Ok(())
}

/// Bytes, with `k`, `m` or `g`.
pub fn offset(slot: &mut Option<u64>, directive: &Directive) -> Result<(), Error> {
    once(slot, directive)?;
    let value = parse_offset(&directive.arg(0).text);
    *slot = Some(
        value.ok_or_else(|| invalid(directive, "invalid value", "a size such as 8k, 1m or 2g"))?,
    );
    Ok(())
}

/// A time to the millisecond.
pub fn msec(slot: &mut Option<Duration>, directive: &Directive) -> Result<(), Error> {
    once(slot, directive)?;
    let value = parse_msec(&directive.arg(0).text);
    *slot = Some(value.ok_or_else(|| {
        invalid(directive, "invalid value", "a time such as 500ms, 30s or 1h30m")
    })?);
    Ok(())
}

/// A time in whole seconds.
pub fn sec(slot: &mut Option<Duration>, directive: &Directive) -> Result<(), Error> {
    once(slot, directive)?;
    let value = parse_sec(&directive.arg(0).text);
    *slot =
        Some(value.ok_or_else(|| {
            invalid(directive, "invalid value", "a time such as 30s, 1h30m or 1y")
        })?);
    Ok(())
}

/// Text, which has to be UTF-8.
pub fn string(slot: &mut Option<String>, directive: &Directive) -> Result<(), Error> {
    once(slot, directive)?;
    *slot = Some(directive.arg(0).str()?.to_owned());
    Ok(())
}

/// A word as written, for what may have variables in it.
pub fn word(slot: &mut Option<Word>, directive: &Directive) -> Result<(), Error> {
    once(slot, directive)?;
    *slot = Some(directive.arg(0).clone());
    Ok(())
}

/// A file name as written; what it is relative to is the directive's matter.
pub fn path(slot: &mut Option<PathBuf>, directive: &Directive) -> Result<(), Error> {
    once(slot, directive)?;
    *slot = Some(OsStr::from_bytes(&directive.arg(0).text).into());
    Ok(())
}

/// One of the listed words, in any case.
pub fn choice<T: Copy>(
    slot: &mut Option<T>,
    directive: &Directive,
    choices: &[(&str, T)],
) -> Result<(), Error> {
    once(slot, directive)?;
    *slot = Some(pick(directive.arg(0), choices)?);
    Ok(())
}

/// A number and a size, neither zero (`proxy_buffers 8 4k`).
pub fn buffers(slot: &mut Option<(usize, u64)>, directive: &Directive) -> Result<(), Error> {
    once(slot, directive)?;
    let count = parse_number(&directive.arg(0).text).and_then(|n| usize::try_from(n).ok());
    let size = parse_size(&directive.arg(1).text);
    let both = count.zip(size).filter(|&(count, size)| count > 0 && size > 0);
    *slot =
        Some(both.ok_or_else(|| {
            invalid(directive, "invalid value", "a number and a size, such as 8 4k")
        })?);
    Ok(())
}

/// Any of the listed words, each a bit; a repeated one is worth a warning.
pub fn mask(
    slot: &mut u32,
    directive: &Directive,
    choices: &[(&str, u32)],
    env: &mut Env<'_>,
) -> Result<(), Error> {
    for word in &directive.args {
        let bits = pick(word, choices)?;
        if *slot & bits != 0 {
            env.warn(word.error(format_args!("duplicate value \"{}\"", word.lossy())));
        }
        *slot |= bits;
    }
    Ok(())
}

fn pick<T: Copy>(word: &super::Word, choices: &[(&str, T)]) -> Result<T, Error> {
    let found = choices.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(&word.text));
    found.map(|&(_, value)| value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        word.error(format_args!("invalid value \"{}\"", word.lossy()))
            .with_help(format!("it must be one of {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{Bundle, parse_text};
    use std::path::Path;

    fn directive(text: &str) -> Directive {
        let mut world = Bundle::of(&[]);
        let mut env = Env::new(&mut world, Path::new("/"), Path::new("/"));
        parse_text(&mut env, "test", text.as_bytes()).remove(0)
    }

    #[test]
    fn sizes_and_offsets() {
        assert_eq!(parse_size(b"512"), Some(512));
        assert_eq!(parse_size(b"8K"), Some(8192));
        assert_eq!(parse_size(b"1m"), Some(1 << 20));
        assert_eq!(parse_size(b"1g"), None);
        assert_eq!(parse_offset(b"2G"), Some(2 << 30));
        assert_eq!(parse_offset(b"9223372036854775807"), Some(MAX));
        for bad in ["", "k", "-1", "1kk", "1 k", "1.5m", "9223372036854775808", "9007199254740992k"]
        {
            assert_eq!(parse_offset(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn times_as_nginx_reads_them() {
        let msec = |text: &str| parse_msec(text.as_bytes()).map(|time| time.as_millis());
        assert_eq!(msec("60"), Some(60_000));
        assert_eq!(msec("500ms"), Some(500));
        assert_eq!(msec("1h30m 5s 7ms"), Some(5_405_007));
        assert_eq!(msec("1m30"), Some(90_000));
        assert_eq!(msec("1w1d"), Some(691_200_000));
        for bad in ["", "s", "1s1m", "1m1m", "1y", "1M", "1x", "-1", "1ms1s", "9223372036854775807"]
        {
            assert_eq!(msec(bad), None, "{bad}");
        }
        let sec = |text: &str| parse_sec(text.as_bytes()).map(|time| time.as_secs());
        assert_eq!(sec("1y1M"), Some(31_536_000 + 2_592_000));
        assert_eq!(sec("1m1M"), None);
        assert_eq!(sec("5ms"), None);
    }

    #[test]
    fn setters_speak_nginxs_sentences() {
        let message = |result: Result<(), Error>| result.unwrap_err().message;
        let bad = directive("x bad;");
        let expected = "invalid value \"bad\" in \"x\" directive, it must be \"on\" or \"off\"";
        assert_eq!(message(flag(&mut None, &bad)), expected);
        assert_eq!(
            message(number::<u8>(&mut None, &directive("x 256;"))),
            "\"x\" directive invalid number"
        );
        assert_eq!(message(size(&mut None, &bad)), "\"x\" directive invalid value");
        assert_eq!(message(msec(&mut Some(Duration::ZERO), &bad)), "\"x\" directive is duplicate");
        assert_eq!(message(choice(&mut None, &bad, &[("a", 1)])), "invalid value \"bad\"");
        assert_eq!(
            message(buffers(&mut None, &directive("x 0 4k;"))),
            "\"x\" directive invalid value"
        );
    }

    #[test]
    fn setters_fill_their_slot() {
        let (mut on, mut count, mut both, mut bits) = (None, None, None, 0);
        flag(&mut on, &directive("x ON;")).unwrap();
        number(&mut count, &directive("x 64;")).unwrap();
        buffers(&mut both, &directive("x 8 4k;")).unwrap();
        assert_eq!((on, count, both), (Some(true), Some(64u16), Some((8, 4096))));

        let mut world = Bundle::of(&[]);
        let mut env = Env::new(&mut world, Path::new("/"), Path::new("/"));
        mask(&mut bits, &directive("x a b A;"), &[("a", 1), ("b", 2)], &mut env).unwrap();
        assert_eq!((bits, env.warnings.len()), (3, 1));
    }
}
