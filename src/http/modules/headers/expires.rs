//! Owns `expires`: its forms, and the `Expires` and `Cache-Control` that come of them.
//!
//! Must not write them into a reply.

use crate::conf::{Directive, Error, Word, values};
use crate::http::date;
use crate::http::finish::Finish;
use crate::http::request::Request;
use crate::http::template::Template;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// What a time is counted from, and the times that need no count. Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Off,
    Epoch,
    Max,
    /// From now.
    Access(i64),
    /// From the last modification, or now when there is none.
    Modified(i64),
    /// The next time that the local clock shows this.
    Daily(i64),
}

/// As written.
#[derive(Debug, Clone)]
pub struct Written {
    modified: bool,
    value: Word,
    /// `None`: the value has variables and is read per request.
    time: Option<Time>,
}

/// In force.
#[derive(Debug)]
pub enum Expires {
    Fixed(Moment),
    Computed { modified: bool, value: Template },
}

/// A time that is not `off`.
#[derive(Debug)]
pub struct Moment(Time);

impl Written {
    /// Reads the directive; times without variables are checked at once.
    pub fn read(dir: &Directive) -> Result<Self, Error> {
        let modified = dir.args.len() == 2;
        if modified && dir.arg(0).text != b"modified" {
            return Err(values::verdict(dir, "invalid value"));
        }
        let value = dir.arg(usize::from(modified)).clone();
        let time = if value.text.contains(&b'$') {
            None
        } else {
            let time = parse(&value.text, modified);
            Some(time.map_err(|message| values::verdict(dir, message))?)
        };
        Ok(Self { modified, value, time })
    }
}

impl Expires {
    /// Compiles what was written; `None` is `off`.
    pub fn finish(written: &Written, cx: &mut Finish) -> Option<Self> {
        match written.time {
            Some(Time::Off) => None,
            Some(time) => Some(Self::Fixed(Moment(time))),
            None => {
                let value = cx.template(&written.value);
                Some(Self::Computed { modified: written.modified, value })
            }
        }
    }

    /// `Expires` and `Cache-Control` for an answer made at `now`. `None` when a computed value is
    /// `off` or no time.
    pub fn fields(
        &self,
        req: &Request,
        modified: Option<i64>,
        now: i64,
    ) -> Option<(String, String)> {
        let time = match self {
            Self::Fixed(Moment(time)) => *time,
            Self::Computed { modified, value } => parse(&value.value(req), *modified).ok()?,
        };
        fields(time, modified, now)
    }
}

/// Reads a time; the error is what nginx says of it.
fn parse(text: &[u8], modified: bool) -> Result<Time, &'static str> {
    match text {
        b"epoch" if !modified => return Ok(Time::Epoch),
        b"max" if !modified => return Ok(Time::Max),
        b"off" if !modified => return Ok(Time::Off),
        _ => {}
    }
    let (sign, digits) = match text.split_first() {
        Some((sign @ (b'@' | b'+' | b'-'), digits)) => (*sign, digits),
        _ => (b'+', text),
    };
    if sign == b'@' && modified {
        return Err("daily time cannot be used with \"modified\" parameter");
    }
    let seconds = values::parse_sec(digits).and_then(|time| i64::try_from(time.as_secs()).ok());
    let seconds = seconds.ok_or("invalid value")?;
    match sign {
        b'@' if seconds > 86_400 => Err("daily time value must be less than 24 hours"),
        b'@' => Ok(Time::Daily(seconds)),
        b'-' if modified => Ok(Time::Modified(-seconds)),
        b'-' => Ok(Time::Access(-seconds)),
        _ if modified => Ok(Time::Modified(seconds)),
        _ => Ok(Time::Access(seconds)),
    }
}

fn fields(time: Time, modified: Option<i64>, now: i64) -> Option<(String, String)> {
    let pair = |date: &str, cache: &str| Some((date.to_owned(), cache.to_owned()));
    let (at, negative) = match time {
        Time::Off => return None,
        Time::Epoch => return pair("Thu, 01 Jan 1970 00:00:01 GMT", "no-cache"),
        Time::Max => return pair("Thu, 31 Dec 2037 23:55:55 GMT", "max-age=315360000"),
        Time::Access(0) | Time::Modified(0) => return pair(&date::format(now), "max-age=0"),
        Time::Daily(seconds) => (next(seconds, now), false),
        Time::Access(seconds) => (now.saturating_add(seconds), seconds < 0),
        Time::Modified(seconds) => (modified.unwrap_or(now).saturating_add(seconds), seconds < 0),
    };
    let age = at.saturating_sub(now);
    let cache = if negative || age < 0 { "no-cache".to_owned() } else { format!("max-age={age}") };
    Some((date::format(at), cache))
}

/// The next moment after `now` at which that many seconds of a local day have passed.
fn next(seconds: i64, now: i64) -> i64 {
    let zone = TimeZone::system();
    let moment = || {
        let here = Timestamp::from_second(now).ok()?.to_zoned(zone.clone());
        let midnight = here.date().at(0, 0, 0, 0);
        let on = |days: i64| {
            let local = midnight.checked_add(Span::new().days(days).seconds(seconds)).ok()?;
            Some(local.to_zoned(zone.clone()).ok()?.timestamp().as_second())
        };
        let today = on(0)?;
        if today > now { Some(today) } else { on(1) }
    };
    // Only a clock beyond the calendar has no next day.
    moment().unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 784_111_777;

    fn of(text: &str, modified: Option<i64>) -> (String, String) {
        fields(parse(text.as_bytes(), false).unwrap(), modified, NOW).unwrap()
    }

    fn cache(time: Time, modified: Option<i64>) -> String {
        fields(time, modified, NOW).unwrap().1
    }

    #[test]
    fn fixed_forms() {
        assert_eq!(of("epoch", None).1, "no-cache");
        assert_eq!(of("max", None).1, "max-age=315360000");
        assert_eq!(parse(b"off", false), Ok(Time::Off));
        assert_eq!(fields(Time::Off, None, NOW), None);
        assert!(parse(b"epoch", true).is_err() && parse(b"", false).is_err());
    }

    #[test]
    fn times_from_now_and_from_the_last_modification() {
        let date = "Sun, 06 Nov 1994 09:23:45 GMT".to_owned();
        assert_eq!(of("2048", None), (date.clone(), "max-age=2048".to_owned()));
        assert_eq!(of("+2048", Some(0)), (date, "max-age=2048".to_owned()));
        assert_eq!(of("-2048", None).1, "no-cache");
        assert_eq!(of("0", None), (date::format(NOW), "max-age=0".to_owned()));
        assert_eq!(cache(Time::Modified(2048), Some(NOW - 48)), "max-age=2000");
        assert_eq!(cache(Time::Modified(10), Some(NOW - 48)), "no-cache");
        assert_eq!(cache(Time::Modified(10), None), "max-age=10");
        assert_eq!(cache(Time::Modified(-10), Some(NOW + 100)), "no-cache");
    }

    #[test]
    fn daily_times_are_less_than_a_day_away() {
        assert_eq!(parse(b"@15h30m33s", false), Ok(Time::Daily(55_833)));
        for seconds in [0, 1, 55_833, 86_399, 86_400] {
            let at = next(seconds, NOW);
            // A day may be an hour longer or shorter where clocks are changed.
            assert!(at > NOW && at <= NOW + 90_000, "{seconds}");
            assert_eq!(at % 60, seconds % 60);
        }
    }
}
