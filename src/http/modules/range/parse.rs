//! Owns the grammar of `Range: bytes=…` and nginx's rules on what of it is honoured.
//!
//! Must not know a reply.

/// Begin and end of each range, in the order asked for; the end is not part of it.
pub type Ranges = Vec<(u64, u64)>;

/// What the ranges come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// 206 with these.
    Partial(Ranges),
    /// 200 with everything: too many ranges, or they would be more than the whole.
    Whole,
    /// 416.
    NotSatisfiable,
}

/// What one range of the list says, before the length is looked at.
#[derive(Debug, Clone, Copy)]
enum Spec {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

/// Reads what follows `bytes=` for a body of `length` bytes.
pub fn parse(text: &[u8], length: u64, max: Option<u32>) -> Answer {
    let most = max.map_or(i32::MAX as usize, |max| max as usize);
    let mut ranges = Ranges::new();
    let mut size = 0u64;
    let mut rest = Cursor(text);
    loop {
        let Some(spec) = rest.spec() else { return Answer::NotSatisfiable };
        let (start, end) = bounds(spec, length);
        if start < end {
            ranges.push((start, end));
            size = match size.checked_add(end - start) {
                Some(size) if i64::try_from(size).is_ok() => size,
                _ => return Answer::NotSatisfiable,
            };
            if ranges.len() > most {
                return Answer::Whole;
            }
        } else if start == 0 {
            // `-0`, or anything of an empty body.
            return Answer::Whole;
        }
        if !rest.skip(b',') {
            break;
        }
    }
    match ranges.len() {
        0 => Answer::NotSatisfiable,
        1 => Answer::Partial(ranges),
        _ if size > length => Answer::Whole,
        // Without a limit of one's own, many small parts must not cost more than the whole.
        count
            if max.is_none_or(|max| max == i32::MAX.unsigned_abs())
                && size + 256 * count as u64 > length + 4096 =>
        {
            Answer::Whole
        }
        _ => Answer::Partial(ranges),
    }
}

fn bounds(spec: Spec, length: u64) -> (u64, u64) {
    match spec {
        Spec::From(start) => (start, length),
        Spec::Between(start, last) => (start, length.min(last.saturating_add(1))),
        Spec::Last(count) => (length.saturating_sub(count), length),
    }
}

/// What is left of the list.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn skip(&mut self, byte: u8) -> bool {
        match self.0.strip_prefix(&[byte]) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn spaces(&mut self) {
        while self.skip(b' ') {}
    }

    /// Whether nothing, or a comma, follows: the end of one range.
    fn at_end(&self) -> bool {
        matches!(self.0.first(), None | Some(b','))
    }

    /// At least one digit; `None` also for what nginx's signed offsets cannot hold.
    fn number(&mut self) -> Option<u64> {
        let count = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        let text = std::str::from_utf8(digits).ok()?;
        text.parse::<i64>().ok().map(i64::unsigned_abs)
    }

    fn spec(&mut self) -> Option<Spec> {
        self.spaces();
        let spec = if self.skip(b'-') {
            Spec::Last(self.number()?)
        } else {
            let start = self.number()?;
            self.spaces();
            if !self.skip(b'-') {
                return None;
            }
            self.spaces();
            if self.at_end() { Spec::From(start) } else { Spec::Between(start, self.number()?) }
        };
        self.spaces();
        self.at_end().then_some(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Answer {
        parse(text.as_bytes(), 1000, None)
    }

    fn is(ranges: &[(u64, u64)]) -> Answer {
        Answer::Partial(ranges.to_vec())
    }

    #[test]
    fn single_ranges() {
        assert_eq!(at("0-8"), is(&[(0, 9)]));
        assert_eq!(at("-10"), is(&[(990, 1000)]));
        assert_eq!(at("990-"), is(&[(990, 1000)]));
        assert_eq!(at("990-1990"), is(&[(990, 1000)]));
        assert_eq!(at("-5000"), is(&[(0, 1000)]));
        assert_eq!(at(" 1 - 2 "), is(&[(1, 3)]));
    }

    #[test]
    fn lists_leave_out_what_lies_beyond() {
        let three = is(&[(0, 10), (990, 1000), (10, 20)]);
        assert_eq!(at("0-9, -10, 10-19"), three);
        assert_eq!(at("0-9, -10, 100000-, 10-19"), three);
        assert_eq!(at("5-4,7-7"), is(&[(7, 8)]));
    }

    #[test]
    fn nonsense_is_not_satisfiable() {
        for text in ["100000-", "alpha", "10-alpha", "10", "10-11 12-", "1-2,", "--1", "-"] {
            assert_eq!(at(text), Answer::NotSatisfiable, "{text}");
        }
        assert_eq!(at("9223372036854775808-"), Answer::NotSatisfiable);
        assert_eq!(parse(b"0-0", 0, None), Answer::Whole);
        assert_eq!(parse(b"-0", 10, None), Answer::NotSatisfiable);
    }

    #[test]
    fn costly_lists_get_the_whole() {
        assert_eq!(at("0-10001, 0-0"), Answer::Whole);
        let many = vec!["0-0"; 100].join(",");
        assert_eq!(at(&many), Answer::Whole);
        assert!(matches!(parse(many.as_bytes(), 1000, Some(100)), Answer::Partial(_)));
    }

    #[test]
    fn max_ranges_counts_those_that_can_be_given() {
        let two = Some(2);
        assert!(matches!(parse(b"0-9, -10", 1000, two), Answer::Partial(_)));
        assert!(matches!(parse(b"0-9, -10, 10000-", 1000, two), Answer::Partial(_)));
        assert_eq!(parse(b"0-9, -10, 10-19", 1000, two), Answer::Whole);
    }

    proptest::proptest! {
        #[test]
        fn ranges_lie_within_the_body(text in "[0-9, -]{0,40}", length in 0u64..2000) {
            if let Answer::Partial(ranges) = parse(text.as_bytes(), length, None) {
                proptest::prop_assert!(!ranges.is_empty());
                for (start, end) in ranges {
                    proptest::prop_assert!(start < end && end <= length);
                }
            }
        }
    }
}
