//! Owns the lines of a `map` block as written.
//!
//! Must not compile expressions or variables; that waits until all names are known.

use crate::conf::{Directive, Env, Error, Word};
use crate::http::computed::name_of;

/// A `map` block.
#[derive(Debug)]
pub(super) struct Written {
    pub source: Word,
    /// Without its dollar sign.
    pub name: Word,
    /// A dot at the end of the source does not count, and keys after this word may be wildcards.
    pub hostnames: bool,
    pub volatile: bool,
    pub default: Option<Word>,
    pub lines: Vec<Line>,
}

/// `key value`.
#[derive(Debug)]
pub(super) struct Line {
    pub key: Key,
    /// The key for messages.
    pub word: Word,
    pub value: Word,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A string in lower case.
    Exact(Vec<u8>),
    /// The same, or a wildcard such as `*.example.com`.
    Hostname(Vec<u8>),
    Regex {
        pattern: Vec<u8>,
        caseless: bool,
    },
}

impl Written {
    /// Reads a block; errors of its lines go to `env`.
    pub fn read(dir: &Directive, env: &mut Env) -> Result<Self, Error> {
        let mut map = Self {
            source: dir.arg(0).clone(),
            name: name_of(dir.arg(1))?,
            hostnames: false,
            volatile: false,
            default: None,
            lines: Vec::new(),
        };
        for line in dir.block.as_deref().unwrap_or_default() {
            if let Err(error) = map.line(line) {
                env.report(error);
            }
        }
        Ok(map)
    }

    fn line(&mut self, line: &Directive) -> Result<(), Error> {
        if line.block.is_some() {
            return Err(line.error("unexpected \"{\""));
        }
        match (&line.name.text[..], &line.args[..]) {
            (b"hostnames", []) => self.hostnames = true,
            (b"volatile", []) => self.volatile = true,
            (b"default", [value]) => {
                if self.default.is_some() {
                    return Err(line.error("duplicate default map parameter"));
                }
                self.default = Some(value.clone());
            }
            (key, [value]) => {
                let key = Key::new(key, self.hostnames);
                self.lines.push(Line { key, word: line.name.clone(), value: value.clone() });
            }
            _ => return Err(line.error("invalid number of the map parameters")),
        }
        Ok(())
    }
}

impl Key {
    /// A backslash protects a key that would otherwise mean something else.
    fn new(text: &[u8], hostnames: bool) -> Self {
        if let Some(pattern) = text.strip_prefix(b"~") {
            let (pattern, caseless) = match pattern.strip_prefix(b"*") {
                Some(rest) => (rest, true),
                None => (pattern, false),
            };
            return Self::Regex { pattern: pattern.to_vec(), caseless };
        }
        let text = text.strip_prefix(b"\\").unwrap_or(text).to_ascii_lowercase();
        if hostnames { Self::Hostname(text) } else { Self::Exact(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let exact = |text: &str| Key::Exact(text.into());
        assert_eq!(Key::new(b"Ab", false), exact("ab"));
        assert_eq!(Key::new(b"\\default", false), exact("default"));
        assert_eq!(Key::new(b"\\~x", false), exact("~x"));
        assert_eq!(Key::new(b"", false), exact(""));
        assert_eq!(Key::new(b"*.A", true), Key::Hostname(b"*.a".into()));
        let regex = |pattern: &str, caseless| Key::Regex { pattern: pattern.into(), caseless };
        assert_eq!(Key::new(b"~^A", false), regex("^A", false));
        assert_eq!(Key::new(b"~*^A", true), regex("^A", true));
    }
}
