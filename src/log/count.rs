//! Owns how many of something there are, as a sentence says it.
//!
//! Must not count.

use std::fmt;

/// So many of what is named in the singular.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a>(u64, &'a str);

/// `1 request`, `2 requests`.
pub fn counted(number: u64, what: &str) -> Counted<'_> {
    Counted(number, what)
}

impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{end}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_no_plural() {
        let said = [0, 1, 2].map(|number| counted(number, "request").to_string());
        assert_eq!(said, ["0 requests", "1 request", "2 requests"]);
    }
}
