//! How a value is written into an access log line: `log_format … escape=`.

/// The `escape` parameter of `log_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Escape {
    /// `"`, `\`, control and 8-bit bytes as `\xHH`; no value is `-`.
    #[default]
    Default,
    /// As inside a JSON string; no value is empty.
    Json,
    /// As it is; no value is empty.
    None,
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

impl Escape {
    /// Reads the word after `escape=`; `None` when it is not one.
    pub fn parse(word: &str) -> Option<Escape> {
        match word {
            "default" => Some(Escape::Default),
            "json" => Some(Escape::Json),
            "none" => Some(Escape::None),
            _ => None,
        }
    }

    /// Whether `append` would write this value otherwise than it is.
    pub fn changes(self, value: &[u8]) -> bool {
        match self {
            Escape::Default => value.iter().any(|byte| !is_plain(*byte)),
            Escape::Json => value.iter().any(|byte| matches!(byte, b'"' | b'\\' | ..0x20)),
            Escape::None => false,
        }
    }

    /// Appends a variable's value; `None` is a variable that was not found.
    pub fn append(self, value: Option<&[u8]>, line: &mut Vec<u8>) {
        match (self, value) {
            (Escape::Default, None) => line.push(b'-'),
            (_, None) => {}
            (Escape::Default, Some(bytes)) => append_default(bytes, line),
            (Escape::Json, Some(bytes)) => append_json(bytes, line),
            (Escape::None, Some(bytes)) => line.extend_from_slice(bytes),
        }
    }
}

/// Whether `escape=default` leaves this byte alone.
fn is_plain(byte: u8) -> bool {
    !matches!(byte, b'"' | b'\\' | ..0x20 | 0x7f..)
}

fn append_default(bytes: &[u8], line: &mut Vec<u8>) {
    for &byte in bytes {
        if is_plain(byte) {
            line.push(byte);
        } else {
            line.extend_from_slice(&[b'\\', b'x', high(byte), low(byte)]);
        }
    }
}

fn append_json(bytes: &[u8], line: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            0x08 => line.extend_from_slice(b"\\b"),
            0x0c => line.extend_from_slice(b"\\f"),
            ..0x20 => line.extend_from_slice(&[b'\\', b'u', b'0', b'0', high(byte), low(byte)]),
            _ => line.push(byte),
        }
    }
}

fn high(byte: u8) -> u8 {
    HEX[usize::from(byte >> 4)]
}

fn low(byte: u8) -> u8 {
    HEX[usize::from(byte & 15)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(how: Escape, value: Option<&[u8]>) -> Vec<u8> {
        let mut line = Vec::new();
        how.append(value, &mut line);
        line
    }

    #[test]
    fn default_hides_quotes_controls_and_high_bytes() {
        let value = b"a \"\\\x00\x1f\x7e\x7f\xd1";
        assert_eq!(escaped(Escape::Default, Some(value)), b"a \\x22\\x5C\\x00\\x1F~\\x7F\\xD1");
        assert_eq!(escaped(Escape::Default, None), b"-");
        assert_eq!(escaped(Escape::Default, Some(b"")), b"");
    }

    #[test]
    fn json_keeps_high_bytes() {
        let value = b"\"\\\n\r\t\x08\x0c\x1b\x7f\xd1/";
        assert_eq!(escaped(Escape::Json, Some(value)), b"\\\"\\\\\\n\\r\\t\\b\\f\\u001B\x7f\xd1/");
        assert_eq!(escaped(Escape::Json, None), b"");
    }

    #[test]
    fn changes_tells_what_append_does() {
        for how in [Escape::Default, Escape::Json, Escape::None] {
            for byte in 0..=u8::MAX {
                let differs = escaped(how, Some(&[byte])) != [byte];
                assert_eq!(how.changes(&[b'a', byte]), differs, "{how:?} {byte}");
            }
        }
    }

    #[test]
    fn none_changes_nothing() {
        assert_eq!(escaped(Escape::None, Some(b"\"\n")), b"\"\n");
        assert_eq!(escaped(Escape::None, None), b"");
    }
}
