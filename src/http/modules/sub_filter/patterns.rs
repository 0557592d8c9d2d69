//! Owns the search for several texts at once, whatever their case: Horspool's algorithm with the shifts of
//! all of them in one table.
//!
//! Must not know what becomes of a find.

/// What is looked for, in the order that decides when two are found at the same place.
#[derive(Debug)]
pub(super) struct Patterns {
    /// In lower case; none is empty.
    texts: Box<[Box<[u8]>]>,
    /// By the byte at the end of the shortest text's length: how far a find is away at least.
    shifts: Box<[u8; 256]>,
    /// Lengths of the shortest and of the longest text.
    shortest: usize,
    longest: usize,
}

/// A place where a text begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub at: usize,
    /// Which of the texts.
    pub number: usize,
}

impl Patterns {
    /// `None` without any text.
    pub fn new(texts: Vec<&[u8]>) -> Option<Self> {
        let lower = |text: &[u8]| text.to_ascii_lowercase().into_boxed_slice();
        let texts: Box<[_]> = texts.into_iter().map(lower).collect();
        let lengths = texts.iter().map(|text| text.len());
        let (shortest, longest) = (lengths.clone().min()?, lengths.max()?);
        let most = u8::try_from(shortest).unwrap_or(u8::MAX);
        let mut shifts = Box::new([most; 256]);
        for text in &texts {
            for (shift, byte) in (0..most).zip(text[..shortest].iter().rev()) {
                let known = &mut shifts[usize::from(*byte)];
                *known = shift.min(*known);
            }
        }
        Some(Self { texts, shifts, shortest, longest })
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// The length of one of the texts.
    pub fn length(&self, number: usize) -> usize {
        self.texts.get(number).map_or(0, |text| text.len())
    }

    /// The first place in `bytes` from `at` to before `end` where a text begins that `active` says yes to.
    pub fn find(
        &self,
        bytes: &[u8],
        at: usize,
        end: usize,
        active: impl Fn(usize) -> bool,
    ) -> Option<Found> {
        let reach = self.shortest - 1;
        let mut last = at + reach;
        while last < end + reach {
            let byte = bytes.get(last)?.to_ascii_lowercase();
            let shift = self.shifts[usize::from(byte)];
            if shift > 0 {
                last += usize::from(shift);
                continue;
            }
            let at = last - reach;
            let rest = bytes.get(at..)?;
            let numbers = 0..self.texts.len();
            let mut whole = numbers.filter(|n| active(*n) && begins(rest, &self.texts[*n]));
            if let Some(number) = whole.next() {
                return Some(Found { at, number });
            }
            last += 1;
        }
        None
    }

    /// The first place from `at` on where more bytes could complete a text that goes before any that is
    /// complete there; the length of `bytes` if there is none.
    pub fn first_part(&self, bytes: &[u8], at: usize, active: impl Fn(usize) -> bool) -> usize {
        let from = at.max((bytes.len() + 1).saturating_sub(self.longest));
        let is_part = |at: &usize| {
            let rest = bytes.get(*at..).unwrap_or_default();
            let texts = self.texts.iter().enumerate().filter(|(n, _)| active(*n));
            for (_, text) in texts {
                if begins(rest, text) {
                    return false;
                }
                if begins(text, rest) {
                    return true;
                }
            }
            false
        };
        (from..bytes.len()).find(is_part).unwrap_or(bytes.len())
    }
}

/// Whether `bytes` begin with a text, in any case.
fn begins(bytes: &[u8], text: &[u8]) -> bool {
    bytes.get(..text.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(texts: &[&str], bytes: &str) -> Option<(usize, usize)> {
        let patterns = Patterns::new(texts.iter().map(|text| text.as_bytes()).collect()).unwrap();
        let found = patterns.find(bytes.as_bytes(), 0, bytes.len(), |_| true);
        found.map(|found| (found.at, found.number))
    }

    #[test]
    fn the_leftmost_is_found_and_the_first_of_equals() {
        assert_eq!(find(&["b"], "abc"), Some((1, 0)));
        assert_eq!(find(&["cd", "BC"], "aabCd"), Some((2, 1)));
        assert_eq!(find(&["ab", "abc"], "xABC"), Some((1, 0)));
        assert_eq!(find(&["abc", "ab"], "xABC"), Some((1, 0)));
        assert_eq!(find(&["abcd", "ab"], "xABC"), Some((1, 1)));
        assert_eq!(find(&["aab", "long text"], "aaab"), Some((1, 0)));
        assert_eq!(find(&["x"], ""), None);
        assert!(Patterns::new(Vec::new()).is_none());
        let long = "y".repeat(300);
        assert_eq!(find(&[&long], &format!("{}x{long}", "y".repeat(299))), Some((300, 0)));
    }

    #[test]
    fn parts_wait_for_the_rest() {
        let part = |texts: &[&str], bytes: &str| {
            let patterns = Patterns::new(texts.iter().map(|t| t.as_bytes()).collect()).unwrap();
            patterns.first_part(bytes.as_bytes(), 0, |_| true)
        };
        assert_eq!(part(&["abc"], "xxaB"), 2);
        assert_eq!(part(&["abc"], "xxabx"), 5);
        assert_eq!(part(&["abc", "bc"], "xxab"), 2);
        assert_eq!(part(&["ab", "abc"], "xxab"), 4);
        assert_eq!(part(&["abc", "ab"], "xxab"), 2);
        assert_eq!(part(&["a"], "xa"), 2);
    }
}
