//! Owns `charset_map`: which byte of one charset stands for what in another.
//!
//! Must not read a body; `recode` does.

use crate::conf::{Directive, Env, Error, Word};
use std::collections::HashMap;
use std::sync::Arc;

/// Written for what has no counterpart.
pub(super) const UNKNOWN: u8 = b'?';

/// A `charset_map` block.
#[derive(Debug)]
pub(super) struct Map {
    source: Vec<u8>,
    target: Vec<u8>,
    table: Table,
}

#[derive(Debug)]
enum Table {
    /// Both have one byte a character: there and back.
    Bytes(Box<[u8; 256]>, Box<[u8; 256]>),
    /// The target is UTF-8.
    Utf8(Box<Utf8>),
}

/// A charset of one byte a character, and UTF-8.
#[derive(Debug)]
pub(super) struct Utf8 {
    /// What each byte is in UTF-8.
    pub encoded: Vec<Vec<u8>>,
    /// Characters above 0x7f that there is a byte for.
    pub bytes: HashMap<u32, u8>,
}

/// How one charset becomes another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'a> {
    Bytes(&'a [u8; 256]),
    ToUtf8(&'a Utf8),
    FromUtf8(&'a Utf8),
}

/// Whether two names mean the same charset.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// ASCII as it is, nothing else.
fn ascii() -> Box<[u8; 256]> {
    let mut table = Box::new([UNKNOWN; 256]);
    for byte in 0..128_u8 {
        table[usize::from(byte)] = byte;
    }
    table
}

impl Map {
    /// Reads a block, which must not repeat one of the others; errors of its lines go to `env`.
    pub fn read(dir: &Directive, others: &[Arc<Self>], env: &mut Env<'_>) -> Result<Self, Error> {
        let (source, target) = (dir.arg(0), dir.arg(1));
        let (from, to) = (source.lossy(), target.lossy());
        if same(&source.text, &target.text) {
            let why = format!("\"charset_map\" between the same charsets \"{from}\" and \"{to}\"");
            return Err(dir.error(why));
        }
        if same(&source.text, b"utf-8") {
            let why = "\"charset_map\" with \"utf-8\" charset should be given in the second column";
            return Err(dir.error(why));
        }
        if others.iter().any(|other| other.way(&source.text, &target.text).is_some()) {
            let why = format!("duplicate \"charset_map\" between \"{from}\" and \"{to}\"");
            return Err(dir.error(why));
        }
        let table = if same(&target.text, b"utf-8") {
            let encoded = ascii().iter().map(|byte| vec![*byte]).collect();
            Table::Utf8(Box::new(Utf8 { encoded, bytes: HashMap::new() }))
        } else {
            Table::Bytes(ascii(), ascii())
        };
        let mut map = Self { source: source.text.clone(), target: target.text.clone(), table };
        for line in dir.block.as_deref().unwrap_or_default() {
            if let Err(error) = map.line(line) {
                env.report(error);
            }
        }
        Ok(map)
    }

    /// `byte byte` or `byte utf8bytes`, hexadecimal.
    fn line(&mut self, line: &Directive) -> Result<(), Error> {
        let ([value], None) = (&line.args[..], &line.block) else {
            return Err(line.error("invalid parameters number"));
        };
        let byte = single(&line.name)?;
        match &mut self.table {
            Table::Bytes(there, back) => {
                let other = single(value)?;
                there[usize::from(byte)] = other;
                back[usize::from(other)] = byte;
            }
            Table::Utf8(utf8) => {
                let bytes = several(value).ok_or_else(|| invalid(value))?;
                let text = std::str::from_utf8(&bytes).ok();
                let mut characters = text.into_iter().flat_map(str::chars);
                let (Some(character), None) = (characters.next(), characters.next()) else {
                    return Err(invalid(value));
                };
                if !(0x80..0x10000).contains(&u32::from(character)) {
                    return Err(invalid(value));
                }
                utf8.bytes.insert(character.into(), byte);
                utf8.encoded[usize::from(byte)] = bytes;
            }
        }
        Ok(())
    }

    pub fn knows(&self, name: &[u8]) -> bool {
        same(&self.source, name) || same(&self.target, name)
    }

    /// How a body in one charset is recoded to another with this map.
    pub fn way(&self, from: &[u8], to: &[u8]) -> Option<Way<'_>> {
        let forth = same(&self.source, from) && same(&self.target, to);
        let back = same(&self.source, to) && same(&self.target, from);
        match &self.table {
            Table::Bytes(there, _) if forth => Some(Way::Bytes(there)),
            Table::Bytes(_, table) if back => Some(Way::Bytes(table)),
            Table::Utf8(utf8) if forth => Some(Way::ToUtf8(utf8)),
            Table::Utf8(utf8) if back => Some(Way::FromUtf8(utf8)),
            _ => None,
        }
    }
}

fn invalid(word: &Word) -> Error {
    word.error(format_args!("invalid value \"{}\"", word.lossy()))
}

/// One byte in up to any number of hexadecimal digits.
fn single(word: &Word) -> Result<u8, Error> {
    let text = std::str::from_utf8(&word.text).ok();
    let digits = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits.and_then(|text| u8::from_str_radix(text, 16).ok()).ok_or_else(|| invalid(word))
}

/// Up to three bytes in two hexadecimal digits each.
fn several(word: &Word) -> Option<Vec<u8>> {
    let (pairs, rest) = word.text.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > 3 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
