//! Scans the field lines of a head or a trailer section, resumably. Owns nginx's rules on names
//! and values; knows no names and no limits.

use std::ops::Range;

/// What is let through beyond a client's strict syntax.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// `_` is an ordinary character of names.
    pub underscores: bool,
    /// Line ends CR CR LF and stray `HTTP/…` status lines among the fields, which some servers
    /// send. Never for requests, where another parser could see a line end in a lone CR.
    pub upstream: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Name,
    Space,
    Value,
    /// After the CR of a field line.
    LineEnd,
    /// After the CR of the empty line.
    HeadEnd,
    /// In a status line that is skipped.
    Ignored,
}

/// What the scan came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// All bytes are used up within a line or between lines.
    Nothing,
    /// A field; see the accessors.
    Field,
    /// The empty line.
    End,
}

/// Offset of the byte that is not allowed where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadByte(pub usize);

/// The scanner. Its offsets are into the buffer given to `next`, which must begin with the same
/// bytes each time.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    state: State,
    /// Next byte to look at; after `Field` or `End`, the first byte behind that line.
    pub at: usize,
    /// The first byte of the current or last line.
    pub line: usize,
    pub name: Range<usize>,
    pub value: Range<usize>,
    /// The name has characters that `ignore_invalid_headers` objects to.
    pub odd: bool,
}

/// What a byte means within a name; one bit each, so that a scan can collect them.
mod class {
    pub const TOKEN: u8 = 0;
    pub const UNDERSCORE: u8 = 1;
    pub const ODD: u8 = 2;
    pub const STOP: u8 = 4;
}

/// Letters, digits and `-` are good; anything else that is visible is odd; the rest ends a name or
/// is an error.
static CLASSES: [u8; 256] = {
    let mut classes = [class::ODD; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation)] // below 256
        let it = byte as u8;
        if it.is_ascii_alphanumeric() || it == b'-' {
            classes[byte] = class::TOKEN;
        } else if it == b'_' {
            classes[byte] = class::UNDERSCORE;
        } else if it <= b' ' || it == 0x7f || it == b':' {
            classes[byte] = class::STOP;
        }
        byte += 1;
    }
    classes
};

impl Fields {
    /// A scanner for the lines that begin at `at`.
    pub fn at(at: usize) -> Self {
        Self { at, line: at, ..Self::default() }
    }

    /// Whether a line has been begun.
    pub fn within_line(&self) -> bool {
        self.state != State::Start
    }

    /// The offending line up to `bad`, in quotes and as nginx logs it.
    pub fn quote(&self, buf: &[u8], bad: &BadByte) -> String {
        let text = buf.get(self.line..bad.0).unwrap_or_default();
        let byte = buf.get(bad.0).copied().unwrap_or_default();
        format!("\"{}\\x{byte:02x}...\"", String::from_utf8_lossy(text))
    }

    /// Scans on in `buf`, whose first `self.at` bytes have been seen before.
    pub fn next(&mut self, buf: &[u8], rules: Rules) -> Result<Found, BadByte> {
        while let Some(&byte) = buf.get(self.at) {
            let found = match self.state {
                State::Start => self.start(buf, byte, rules)?,
                State::Name => self.name(buf, rules)?,
                State::Space => self.space(buf)?,
                State::Value => self.value(buf)?,
                State::LineEnd => self.line_end(byte, rules)?,
                State::HeadEnd => self.head_end(byte)?,
                State::Ignored => self.ignored(buf),
            };
            if found != Found::Nothing {
                return Ok(found);
            }
        }
        Ok(Found::Nothing)
    }

    fn start(&mut self, buf: &[u8], byte: u8, rules: Rules) -> Result<Found, BadByte> {
        self.line = self.at;
        self.odd = false;
        match byte {
            b'\r' => {
                self.state = State::HeadEnd;
                self.at += 1;
                Ok(Found::Nothing)
            }
            b'\n' => Ok(self.finish(Found::End)),
            // A space here would continue the line before (obs-fold), which nobody reads alike.
            _ if classify(byte) == class::STOP => Err(BadByte(self.at)),
            _ => {
                self.state = State::Name;
                self.name(buf, rules)
            }
        }
    }

    fn name(&mut self, buf: &[u8], rules: Rules) -> Result<Found, BadByte> {
        let mut at = self.at;
        let mut seen = 0;
        while let Some(&byte) = buf.get(at) {
            let class = classify(byte);
            if class == class::STOP {
                break;
            }
            seen |= class;
            at += 1;
        }
        self.at = at;
        self.odd |= seen & class::ODD != 0 || (seen & class::UNDERSCORE != 0 && !rules.underscores);
        if rules.upstream && buf.get(self.line..).is_some_and(|line| line.starts_with(b"HTTP/")) {
            self.state = State::Ignored;
            return Ok(Found::Nothing);
        }
        let Some(&stop) = buf.get(self.at) else {
            return Ok(Found::Nothing);
        };
        self.name = self.line..self.at;
        self.value = self.at..self.at;
        match stop {
            b':' => {
                self.state = State::Space;
                self.at += 1;
                return self.space(buf);
            }
            b'\r' => self.state = State::LineEnd,
            // A line without a colon is a field without a value, as in nginx.
            b'\n' => return Ok(self.finish(Found::Field)),
            _ => return Err(BadByte(self.at)),
        }
        self.at += 1;
        Ok(Found::Nothing)
    }

    fn space(&mut self, buf: &[u8]) -> Result<Found, BadByte> {
        let rest = buf.get(self.at..).unwrap_or_default();
        let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
        self.at += spaces;
        self.value = self.at..self.at;
        if spaces < rest.len() {
            self.state = State::Value;
            return self.value(buf);
        }
        Ok(Found::Nothing)
    }

    fn value(&mut self, buf: &[u8]) -> Result<Found, BadByte> {
        let rest = buf.get(self.at..).unwrap_or_default();
        let Some(length) = end_of_value(rest) else {
            self.at = buf.len();
            return Ok(Found::Nothing);
        };
        self.at += length;
        let text = buf.get(self.value.start..self.at).unwrap_or_default();
        let trailing = text.iter().rev().take_while(|byte| **byte == b' ').count();
        self.value.end = self.at - trailing;
        match (buf.get(self.at), buf.get(self.at + 1)) {
            (Some(b'\r'), Some(b'\n')) => {
                self.at += 1;
                Ok(self.finish(Found::Field))
            }
            (Some(b'\r'), _) => {
                self.state = State::LineEnd;
                self.at += 1;
                Ok(Found::Nothing)
            }
            (Some(b'\n'), _) => Ok(self.finish(Found::Field)),
            _ => Err(BadByte(self.at)),
        }
    }

    fn line_end(&mut self, byte: u8, rules: Rules) -> Result<Found, BadByte> {
        match byte {
            b'\n' => Ok(self.finish(Found::Field)),
            b'\r' if rules.upstream => {
                self.at += 1;
                Ok(Found::Nothing)
            }
            // The lone CR is what is wrong here, not the byte behind it.
            _ => Err(BadByte(self.at - 1)),
        }
    }

    fn head_end(&mut self, byte: u8) -> Result<Found, BadByte> {
        if byte == b'\n' { Ok(self.finish(Found::End)) } else { Err(BadByte(self.at - 1)) }
    }

    fn ignored(&mut self, buf: &[u8]) -> Found {
        let rest = buf.get(self.at..).unwrap_or_default();
        let Some(length) = memchr::memchr(b'\n', rest) else {
            self.at = buf.len();
            return Found::Nothing;
        };
        self.at += length;
        self.finish(Found::Nothing)
    }

    /// Steps over the LF of a line that came to `found`.
    fn finish(&mut self, found: Found) -> Found {
        self.at += 1;
        self.state = State::Start;
        found
    }
}

/// The first CR, LF or NUL. Values are short: eight bytes at a time beat a search that has to be set up.
fn end_of_value(bytes: &[u8]) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = EACH << 7;
    let (words, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // The high bit of each byte that is below 0x10, and perhaps of some behind such a one.
        let low = word.wrapping_sub(EACH << 4) & !word & HIGH;
        if low != 0
            && let Some(found) = bytes.get(at..at + 8).and_then(first_end)
        {
            return Some(at + found);
        }
        at += 8;
    }
    bytes.get(at..).and_then(first_end).map(|found| at + found)
}

fn first_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

fn classify(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(class::STOP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_end_where_they_end(bytes in prop::collection::vec(prop_oneof![
            20 => any::<u8>(), 1 => Just(b'\r'), 1 => Just(b'\n'), 1 => Just(0), 2 => Just(b'\t'),
        ], 0..80)) {
            prop_assert_eq!(end_of_value(&bytes), first_end(&bytes));
        }
    }
}
