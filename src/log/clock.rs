//! The time of day as logs and headers print it, computed once per second.
//!
//! Owns the cached strings. Reading costs one `clock_gettime` (no system call
//! on Linux) and allocates nothing; the local offset is looked up only when
//! the second changes. Like nginx, the zone itself is read once at start.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const DAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

/// Every spelling of one moment; the strings have second precision.
#[derive(Clone, Debug)]
pub struct Times {
    seconds: i64,
    millis: u16,
    error_log: Text<19>,
    time_local: Text<26>,
    time_iso8601: Text<25>,
    http_date: Text<29>,
    syslog: Text<15>,
}

impl Times {
    /// Seconds since the epoch.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }

    /// Milliseconds within the second, 0 to 999; `$msec` is `seconds.millis`.
    pub fn millis(&self) -> u16 {
        self.millis
    }

    /// Local time as error log lines start, `2026/11/22 13:00:00`.
    pub fn error_log(&self) -> &str {
        self.error_log.as_str()
    }

    /// `$time_local`, `22/Nov/2026:13:00:00 +0100`.
    pub fn time_local(&self) -> &str {
        self.time_local.as_str()
    }

    /// `$time_iso8601`, `2026-11-22T13:00:00+01:00`.
    pub fn time_iso8601(&self) -> &str {
        self.time_iso8601.as_str()
    }

    /// The `Date` header (RFC 9110, 5.6.7), `Sun, 22 Nov 2026 12:00:00 GMT`.
    pub fn http_date(&self) -> &str {
        self.http_date.as_str()
    }

    /// Local time as syslog lines carry it (RFC 3164, 4.1.2), `Nov 22 13:00:00`.
    pub fn syslog(&self) -> &str {
        self.syslog.as_str()
    }

    fn at(seconds: i64, millis: u16, zone: &TimeZone) -> Times {
        // Only a clock set outside years -9999 to 9999 falls back to 1970.
        let moment = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        let offset = zone.to_offset(moment);
        let local = offset.to_datetime(moment);
        Times {
            seconds,
            millis,
            error_log: error_log(local),
            time_local: time_local(local, offset),
            time_iso8601: time_iso8601(local, offset),
            http_date: http_date(Offset::UTC.to_datetime(moment)),
            syslog: syslog(local),
        }
    }
}

/// A clock for one thread: its zone and the strings of its latest second.
#[derive(Debug)]
pub struct Clock {
    zone: TimeZone,
    times: Times,
}

impl Clock {
    /// A clock in the zone of this machine (`TZ`, else `/etc/localtime`, else UTC).
    pub fn system() -> Clock {
        Clock::new(TimeZone::system())
    }

    /// A clock in a given zone.
    pub fn new(zone: TimeZone) -> Clock {
        let times = Times::at(0, 0, &zone);
        Clock { zone, times }
    }

    /// Moves to `now`, making new strings only if the second is another one.
    pub fn update(&mut self, now: SystemTime) -> &Times {
        let (seconds, millis) = split(now);
        if seconds == self.times.seconds {
            self.times.millis = millis;
        } else {
            self.times = Times::at(seconds, millis, &self.zone);
        }
        &self.times
    }
}

fn split(now: SystemTime) -> (i64, u16) {
    // A clock before 1970 reads as 1970; nothing else here could make sense of it.
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    (seconds, u16::try_from(since.subsec_millis()).unwrap_or(999))
}

thread_local! {
    static CLOCK: RefCell<Clock> = RefCell::new(Clock::system());
}

/// Hands the present moment to `read`. Calls must not nest.
pub fn now<R>(read: impl FnOnce(&Times) -> R) -> R {
    CLOCK.with_borrow_mut(|clock| read(clock.update(SystemTime::now())))
}

/// The time now in the words of `strftime()`, local or UTC, which nginx calls GMT. `None` if they
/// cannot be read.
pub fn strftime(format: &str, utc: bool) -> Option<String> {
    let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
    // Two percent signs are one, whatever follows.
    let named = |part: &str| if utc { part.replace("%Z", "GMT") } else { part.to_owned() };
    let format = format.split("%%").map(named).collect::<Vec<_>>().join("%%");
    jiff::fmt::strtime::format(format, &Timestamp::now().to_zoned(zone)).ok()
}

/// Seconds since the epoch, without touching the strings.
pub fn seconds() -> i64 {
    split(SystemTime::now()).0
}

fn error_log(t: DateTime) -> Text<19> {
    let mut text = Text::new();
    text.number(t.year(), 4).put(b"/").number(t.month(), 2).put(b"/");
    text.number(t.day(), 2).put(b" ");
    time_of_day(&mut text, t);
    text
}

fn time_local(t: DateTime, offset: Offset) -> Text<26> {
    let mut text = Text::new();
    text.number(t.day(), 2).put(b"/").put(month(t)).put(b"/");
    text.number(t.year(), 4).put(b":");
    time_of_day(&mut text, t);
    text.put(b" ");
    zone_offset(&mut text, offset, b"");
    text
}

fn time_iso8601(t: DateTime, offset: Offset) -> Text<25> {
    let mut text = Text::new();
    text.number(t.year(), 4).put(b"-").number(t.month(), 2).put(b"-");
    text.number(t.day(), 2).put(b"T");
    time_of_day(&mut text, t);
    zone_offset(&mut text, offset, b":");
    text
}

fn http_date(t: DateTime) -> Text<29> {
    let day = usize::try_from(t.weekday().to_monday_zero_offset()).unwrap_or(0);
    let mut text = Text::new();
    text.put(DAYS.get(day).map_or(b"Mon", |name| *name)).put(b", ");
    text.number(t.day(), 2).put(b" ").put(month(t)).put(b" ");
    text.number(t.year(), 4).put(b" ");
    time_of_day(&mut text, t);
    text.put(b" GMT");
    text
}

fn syslog(t: DateTime) -> Text<15> {
    let mut text = Text::new();
    text.put(month(t)).put(b" ");
    if t.day() < 10 {
        text.put(b" ").number(t.day(), 1);
    } else {
        text.number(t.day(), 2);
    }
    text.put(b" ");
    time_of_day(&mut text, t);
    text
}

fn month(t: DateTime) -> &'static [u8] {
    let index = usize::try_from(t.month() - 1).unwrap_or(0);
    MONTHS.get(index).map_or(b"Jan", |name| *name)
}

fn time_of_day<const N: usize>(text: &mut Text<N>, t: DateTime) {
    text.number(t.hour(), 2).put(b":").number(t.minute(), 2);
    text.put(b":").number(t.second(), 2);
}

fn zone_offset<const N: usize>(text: &mut Text<N>, offset: Offset, colon: &[u8]) {
    let minutes = offset.seconds().abs() / 60;
    text.put(if offset.is_negative() { b"-" } else { b"+" });
    text.number(minutes / 60, 2).put(colon).number(minutes % 60, 2);
}

/// ASCII of at most `N` bytes, kept in place.
#[derive(Clone, Debug)]
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    fn new() -> Self {
        Text { bytes: [b' '; N], len: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
        self
    }

    /// Decimal, filled with zeros up to `width` digits, at most four.
    fn number(&mut self, value: impl Into<i32>, width: usize) -> &mut Self {
        let mut rest = value.into().unsigned_abs();
        let mut digits = [b'0'; 4];
        for place in digits.iter_mut().rev() {
            *place = b"0123456789"[(rest % 10) as usize];
            rest /= 10;
        }
        self.put(digits.get(4 - width..).unwrap_or(&digits))
    }

    fn as_str(&self) -> &str {
        let used = self.bytes.get(..self.len).unwrap_or(&self.bytes);
        std::str::from_utf8(used).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn spellings_in_a_zone_with_summer_time() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let mut clock = Clock::new(zone);
        let t = clock.update(at(1_795_348_805) + Duration::from_millis(42));
        assert_eq!(t.error_log(), "2026/11/22 13:00:05");
        assert_eq!(t.time_local(), "22/Nov/2026:13:00:05 +0100");
        assert_eq!(t.time_iso8601(), "2026-11-22T13:00:05+01:00");
        assert_eq!(t.http_date(), "Sun, 22 Nov 2026 12:00:05 GMT");
        assert_eq!(t.syslog(), "Nov 22 13:00:05");
        assert_eq!((t.seconds(), t.millis()), (1_795_348_805, 42));
        let summer = clock.update(at(1_782_900_000));
        assert_eq!(summer.time_local(), "01/Jul/2026:12:00:00 +0200");
        assert_eq!(summer.syslog(), "Jul  1 12:00:00");
    }

    #[test]
    fn negative_and_half_hour_offsets() {
        let mut clock = Clock::new(TimeZone::posix("NST3:30").unwrap());
        let t = clock.update(at(0));
        assert_eq!(t.time_local(), "31/Dec/1969:20:30:00 -0330");
        assert_eq!(t.time_iso8601(), "1969-12-31T20:30:00-03:30");
        assert_eq!(t.http_date(), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn milliseconds_move_within_a_second() {
        let mut clock = Clock::new(TimeZone::UTC);
        let before = clock.update(at(7)).error_log().to_owned();
        let later = clock.update(at(7) + Duration::from_millis(999));
        assert_eq!(later.millis(), 999);
        assert_eq!(later.error_log(), before);
    }

    #[test]
    fn agrees_with_a_calendar_for_any_second() {
        proptest::proptest!(|(seconds in 0_u64..4_000_000_000)| {
            let mut clock = Clock::new(TimeZone::UTC);
            let expected = Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
            let t = clock.update(at(seconds));
            assert_eq!(t.http_date(), expected.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
            assert_eq!(t.error_log(), expected.strftime("%Y/%m/%d %H:%M:%S").to_string());
        });
    }

    #[test]
    fn the_thread_clock_reads() {
        assert!(now(|t| t.error_log().len() == 19 && t.seconds() > 1_700_000_000));
    }
}
