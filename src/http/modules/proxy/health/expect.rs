//! Owns the lines of a `match` block: what an answer to a health check must be like.
//!
//! Must not ask anything.

use crate::conf::values::parse_number;
use crate::conf::{Directive, Env, Error, Word};
use crate::http::finish::Finish;
use crate::http::headers::Headers;
use crate::http::regex::Regex;
use crate::http::request::Request;
use crate::http::template::Template;
use std::ops::RangeInclusive;

/// What is said of a text, and whether the opposite is.
#[derive(Debug, Clone)]
enum Said<T> {
    Is(Vec<u8>),
    Like(T),
    /// A field is there at all.
    There,
}

/// One line as written.
#[derive(Debug, Clone)]
enum Line {
    Status { not: bool, among: Vec<RangeInclusive<u16>> },
    Header { not: bool, name: Vec<u8>, said: Said<Word> },
    Body { not: bool, pattern: Word },
    Require(Vec<Word>),
}

/// A `match` block as written.
#[derive(Debug, Clone, Default)]
pub struct ExpectDraft(Vec<Line>);

/// A `match` block in force; without lines it is what nginx takes for good by itself.
#[derive(Debug, Default)]
pub struct Expected {
    statuses: Vec<(bool, Vec<RangeInclusive<u16>>)>,
    headers: Vec<(bool, Vec<u8>, Said<Regex>)>,
    body: Vec<(bool, Regex)>,
    required: Vec<(Template, String)>,
}

impl ExpectDraft {
    /// Reads a block; errors of its lines go to `env`.
    pub fn read(dir: &Directive, env: &mut Env) -> Self {
        let mut lines = Vec::new();
        for line in dir.block.as_deref().unwrap_or_default() {
            match read(line) {
                Ok(line) => lines.push(line),
                Err(error) => env.report(error),
            }
        }
        Self(lines)
    }

    /// Compiles its expressions.
    pub fn finish(&self, cx: &mut Finish) -> Expected {
        let mut expected = Expected::default();
        let regex = |word: &Word, cx: &mut Finish| cx.regex(word, &word.lossy(), false);
        for line in &self.0 {
            match line {
                Line::Status { not, among } => expected.statuses.push((*not, among.clone())),
                Line::Header { not, name, said } => {
                    let said = match said {
                        Said::Is(text) => Said::Is(text.clone()),
                        Said::There => Said::There,
                        Said::Like(word) => match regex(word, cx) {
                            Some(regex) => Said::Like(regex),
                            None => continue,
                        },
                    };
                    expected.headers.push((*not, name.clone(), said));
                }
                Line::Body { not, pattern } => {
                    expected.body.extend(regex(pattern, cx).map(|regex| (*not, regex)));
                }
                Line::Require(words) => {
                    let compiled = |word: &Word| (cx.template(word), word.lossy().into_owned());
                    expected.required.extend(words.iter().map(compiled));
                }
            }
        }
        expected
    }
}

fn read(line: &Directive) -> Result<Line, Error> {
    let words = &line.args[..];
    let wrong = || {
        let name = line.name_str();
        line.error(format_args!("invalid number of arguments in \"{name}\" directive"))
    };
    match &*line.name.text {
        b"status" => {
            let (not, codes) = match words {
                [first, rest @ ..] if first.text == b"!" => (true, rest),
                all => (false, all),
            };
            if codes.is_empty() {
                return Err(wrong());
            }
            let among = codes.iter().map(range).collect::<Result<_, _>>()?;
            Ok(Line::Status { not, among })
        }
        b"header" => header(words).ok_or_else(wrong),
        b"body" => match words {
            [how, pattern] if how.text == b"~" || how.text == b"!~" => {
                Ok(Line::Body { not: how.text == b"!~", pattern: pattern.clone() })
            }
            _ => Err(wrong()),
        },
        b"require" if !words.is_empty() => Ok(Line::Require(words.to_vec())),
        b"require" => Err(wrong()),
        _ => Err(line.error(format_args!("unknown directive \"{}\"", line.name_str()))),
    }
}

fn header(words: &[Word]) -> Option<Line> {
    let name = |word: &Word| word.text.to_ascii_lowercase();
    match words {
        [no, field] if no.text == b"!" => {
            Some(Line::Header { not: true, name: name(field), said: Said::There })
        }
        [field] => Some(Line::Header { not: false, name: name(field), said: Said::There }),
        [field, how, value] => {
            let (not, said) = match &*how.text {
                b"=" => (false, Said::Is(value.text.clone())),
                b"!=" => (true, Said::Is(value.text.clone())),
                b"~" => (false, Said::Like(value.clone())),
                b"!~" => (true, Said::Like(value.clone())),
                _ => return None,
            };
            Some(Line::Header { not, name: name(field), said })
        }
        _ => None,
    }
}

/// `200` or `200-399`.
fn range(word: &Word) -> Result<RangeInclusive<u16>, Error> {
    let code = |text: &[u8]| {
        let code = parse_number(text).and_then(|code| u16::try_from(code).ok());
        code.filter(|code| (100..=999).contains(code))
    };
    let range = match memchr::memchr(b'-', &word.text) {
        None => code(&word.text).map(|code| code..=code),
        Some(at) => code(&word.text[..at]).zip(code(&word.text[at + 1..])).map(|(a, b)| a..=b),
    };
    // One that ends before it begins has nothing in it: no answer would ever do.
    let range = range.filter(|range| !range.is_empty());
    range.ok_or_else(|| word.error(format_args!("invalid status \"{}\"", word.lossy())))
}

impl Expected {
    /// Whether the body has to be looked at.
    pub fn wants_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// What is wrong with a head; nothing if it is as expected. Variables are those of `req`.
    pub fn head(&self, status: u16, headers: &Headers, req: &Request) -> Result<(), String> {
        let among =
            |ranges: &[RangeInclusive<u16>]| ranges.iter().any(|range| range.contains(&status));
        let usual = self.statuses.is_empty() && self.headers.is_empty() && self.required.is_empty();
        let good = if usual && self.body.is_empty() {
            (200..400).contains(&status)
        } else {
            self.statuses.iter().all(|(not, ranges)| among(ranges) != *not)
        };
        if !good {
            return Err(format!("status {status}"));
        }
        for (not, name, said) in &self.headers {
            let is = |value: &[u8]| match said {
                Said::There => true,
                Said::Is(text) => text == value,
                Said::Like(regex) => regex.is_match(value),
            };
            let mut values = headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            if values.any(|field| is(field.value)) == *not {
                return Err(format!("header \"{}\"", String::from_utf8_lossy(name)));
            }
        }
        let unmet = self.required.iter().find(|(template, _)| !template.is_true(req));
        unmet.map_or(Ok(()), |(_, word)| Err(format!("\"{word}\" is not true")))
    }

    /// What is wrong with a body.
    pub fn body(&self, body: &[u8]) -> Result<(), String> {
        let good = self.body.iter().all(|(not, regex)| regex.is_match(body) != *not);
        if good { Ok(()) } else { Err("body".to_owned()) }
    }
}
