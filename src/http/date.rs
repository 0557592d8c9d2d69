//! Owns dates of HTTP fields: reads the three forms of RFC 9110 section 5.6.7, writes the first.
//!
//! Must not read the clock; `log::clock` does.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Seconds since the epoch. As in nginx neither the day of the week nor the zone is looked at.
pub fn parse(text: &[u8]) -> Option<i64> {
    let mark = text.iter().position(|b| matches!(b, b',' | b' '))?;
    let comma = text[mark] == b',';
    let mut rest = Cursor(text[mark + 1..].trim_ascii_start());
    let date = if comma { rest.day_first()? } else { rest.asctime()? };
    let zoned = date.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_second())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`. What lies before 1970 is shown as 1970, as nginx shows it;
/// what lies beyond the calendar as its end.
pub fn format(seconds: i64) -> String {
    let moment = Timestamp::from_second(seconds.max(0)).unwrap_or(Timestamp::MAX);
    DateTimePrinter::new().timestamp_to_rfc9110_string(&moment).unwrap_or_default()
}

/// `Sun, 06-Nov-94 08:49:37 GMT`, the date of cookies; the year has four digits from 2038 on.
pub fn cookie(seconds: i64) -> String {
    let date = format(seconds);
    let words: Vec<_> = date.split(' ').collect();
    let [week, day, month, year, time, zone] = words[..] else { return date };
    let short = year.parse().is_ok_and(|year: u32| year < 2038);
    let year = if short { year.get(2..).unwrap_or(year) } else { year };
    format!("{week} {day}-{month}-{year} {time} {zone}")
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn byte(&mut self, wanted: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        (*first == wanted).then_some(())
    }

    fn digits(&mut self, count: usize) -> Option<i16> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits
            .iter()
            .try_fold(0i16, |value, b| b.is_ascii_digit().then(|| value * 10 + i16::from(b - b'0')))
    }

    /// Two digits, for parts that jiff takes as `i8`.
    fn two(&mut self) -> Option<i8> {
        i8::try_from(self.digits(2)?).ok()
    }

    fn month(&mut self) -> Option<i8> {
        let (name, rest) = self.0.split_first_chunk::<3>()?;
        self.0 = rest;
        let at = MONTHS.iter().position(|month| *month == name)?;
        i8::try_from(at + 1).ok()
    }

    fn time(&mut self) -> Option<(i8, i8, i8)> {
        let hour = self.two()?;
        self.byte(b':')?;
        let minute = self.two()?;
        self.byte(b':')?;
        Some((hour, minute, self.two()?))
    }

    /// `06 Nov 1994 08:49:37`, or `06-Nov-94 08:49:37` of RFC 850.
    fn day_first(&mut self) -> Option<DateTime> {
        let day = self.two()?;
        let dashed = self.0.first() == Some(&b'-');
        let between = if dashed { b'-' } else { b' ' };
        self.byte(between)?;
        let month = self.month()?;
        self.byte(between)?;
        let year = if dashed {
            let year = self.digits(2)?;
            year + if year < 70 { 2000 } else { 1900 }
        } else {
            self.digits(4)?
        };
        self.byte(b' ')?;
        let (hour, minute, second) = self.time()?;
        DateTime::new(year, month, day, hour, minute, second, 0).ok()
    }

    /// `Nov  6 08:49:37 1994`.
    fn asctime(&mut self) -> Option<DateTime> {
        let month = self.month()?;
        self.byte(b' ')?;
        let day = if self.0.first() == Some(&b' ') {
            self.byte(b' ')?;
            i8::try_from(self.digits(1)?).ok()?
        } else {
            self.two()?
        };
        self.byte(b' ')?;
        let (hour, minute, second) = self.time()?;
        self.byte(b' ')?;
        let year = self.digits(4)?;
        DateTime::new(year, month, day, hour, minute, second, 0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_one_moment() {
        let forms: [&[u8]; 4] = [
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
            b"x,06 Nov 1994 08:49:37",
        ];
        for form in forms {
            assert_eq!(parse(form), Some(784_111_777), "{}", String::from_utf8_lossy(form));
        }
    }

    #[test]
    fn cookies_have_years_of_their_own() {
        assert_eq!(cookie(784_111_777), "Sun, 06-Nov-94 08:49:37 GMT");
        assert_eq!(cookie(2_145_916_799), "Thu, 31-Dec-37 23:59:59 GMT");
        assert_eq!(cookie(2_145_916_800), "Fri, 01-Jan-2038 00:00:00 GMT");
    }

    #[test]
    fn what_is_no_date_is_none() {
        let bad: [&[u8]; 6] = [
            b"",
            b"wrong",
            b"Sun, 06 Nov 1994 08:49:60 GMT",
            b"Sun, 31 Feb 1994 08:49:37 GMT",
            b"Sun, 6 Nov 1994 08:49:37 GMT",
            b"Sun, 06 Nov 1994 08:49",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn times_outside_the_calendar_are_shown_as_its_ends() {
        assert_eq!(format(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(format(-5), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert!(format(i64::MAX).contains("Dec 9999"));
    }

    #[test]
    fn dates_beyond_32_bits_are_told_apart() {
        assert_eq!(parse(b"Tue, 19 Jan 2038 03:14:08 GMT"), Some(0x8000_0000));
        assert_eq!(parse(b"Fri, 25 Feb 2174 09:42:23 GMT"), Some(0x1_7fff_ffff));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_the_same(seconds in 0i64..253_402_200_000) {
            proptest::prop_assert_eq!(parse(format(seconds).as_bytes()), Some(seconds));
        }

        #[test]
        fn nothing_panics(text: Vec<u8>) {
            let _ = parse(&text);
        }
    }
}
