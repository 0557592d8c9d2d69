//! Owns a compiled `log_format`: how a request becomes a line.
//!
//! Must not know where lines go.

use super::written::FormatWritten;
use crate::http::finish::Finish;
use crate::http::request::Request;
use crate::http::template::{self, Piece};
use crate::http::vars::Var;
use crate::log::Escape;

/// A compiled `log_format`.
#[derive(Debug)]
pub struct Format {
    escape: Escape,
    parts: Box<[Part]>,
}

#[derive(Debug)]
enum Part {
    Text(Box<[u8]>),
    Var(Var),
}

impl Format {
    /// Compiles each word of the directive and sets them one after the other without a space.
    pub(super) fn compile(written: &FormatWritten, cx: &mut Finish) -> Self {
        let mut parts = Vec::new();
        for word in &written.words {
            let pieces = match template::split(&word.text) {
                Ok(pieces) => pieces,
                Err(message) => {
                    cx.report(word.error(message));
                    continue;
                }
            };
            parts.extend(pieces.into_iter().map(|piece| match piece {
                Piece::Text(text) => Part::Text(text.into()),
                Piece::Name(name) => Part::Var(cx.variable(name, word)),
            }));
        }
        Self { escape: written.escape, parts: parts.into() }
    }

    /// Appends the line, without its line feed.
    pub(super) fn append(&self, req: &Request, line: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => line.extend_from_slice(text),
                Part::Var(var) => append(self.escape, line, |line| var.append(req, line)),
            }
        }
    }
}

/// Appends a value in place; only one that has to be escaped is copied.
fn append(escape: Escape, line: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>) -> bool) {
    let start = line.len();
    if !value(line) {
        line.truncate(start);
        escape.append(None, line);
    } else if escape.changes(line.get(start..).unwrap_or_default()) {
        let value = line.split_off(start);
        escape.append(Some(&value), line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(escape: Escape, value: &[u8], found: bool) -> Vec<u8> {
        let mut line = b"\"> ".to_vec();
        append(escape, &mut line, |line| {
            line.extend_from_slice(value);
            found
        });
        line
    }

    #[test]
    fn only_the_value_is_escaped() {
        assert_eq!(line(Escape::Default, b"a b", true), b"\"> a b");
        assert_eq!(line(Escape::Default, b"a\"b", true), b"\"> a\\x22b");
        assert_eq!(line(Escape::Json, b"a\"b", true), b"\"> a\\\"b");
        assert_eq!(line(Escape::None, b"a\"b", true), b"\"> a\"b");
        assert_eq!(line(Escape::Default, b"", true), b"\"> ");
    }

    #[test]
    fn what_is_not_found_is_a_dash_by_default() {
        assert_eq!(line(Escape::Default, b"left over", false), b"\"> -");
        assert_eq!(line(Escape::Json, b"", false), b"\"> ");
        assert_eq!(line(Escape::None, b"", false), b"\"> ");
    }
}
