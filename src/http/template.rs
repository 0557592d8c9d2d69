//! Owns words with variables: `"http://$host$uri"` compiled once, evaluated per request.
//!
//! Must not know any variable by name; names are resolved by `vars`.

use super::request::{Captures, Request};
use super::uri;
use super::vars::Var;
use std::borrow::Cow;

/// One piece of a compiled word.
#[derive(Clone, Debug)]
enum Part {
    Text(Box<[u8]>),
    Var(Var),
}

/// A word whose variables have been resolved to functions and slots.
#[derive(Clone, Debug, Default)]
pub struct Template {
    parts: Box<[Part]>,
}

impl Template {
    /// A template without variables.
    pub fn literal(text: &[u8]) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        Self { parts: Box::new([Part::Text(text.into())]) }
    }

    /// The computed variables in it, by their numbers.
    pub fn computed(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| match part {
            Part::Var(Var::Computed(at)) => Some(*at),
            _ => None,
        })
    }

    /// The text, when there is nothing to evaluate.
    pub fn as_literal(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the value for this request; a variable that is not found adds nothing.
    pub fn append(&self, req: &Request, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Var(var) => {
                    var.append(req, out);
                }
            }
        }
    }

    /// The same with captures escaped for a query string: what `rewrite` does with parts of a URI
    /// that arrived escaped.
    pub fn append_escaped(&self, req: &Request, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Var(Var::Capture(n)) => {
                    let captures = req.captures.borrow();
                    uri::escape_into(out, captures.get(*n).unwrap_or_default(), uri::Set::Args);
                }
                Part::Var(var) => {
                    var.append(req, out);
                }
            }
        }
    }

    /// The same, with `$1` … of a match that is not the request's own.
    pub fn append_with(&self, req: &Request, captures: &Captures, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Var(Var::Capture(n)) => {
                    super::vars::push(captures.get(*n), out);
                }
                Part::Var(var) => {
                    var.append(req, out);
                }
            }
        }
    }

    /// The value for this request, borrowed when it is constant.
    pub fn value(&self, req: &Request) -> Cow<'_, [u8]> {
        if let Some(text) = self.as_literal() {
            return Cow::Borrowed(text);
        }
        let mut out = Vec::with_capacity(64);
        self.append(req, &mut out);
        Cow::Owned(out)
    }

    /// nginx's truth: neither empty nor `0`.
    pub fn is_true(&self, req: &Request) -> bool {
        !matches!(&*self.value(req), b"" | b"0")
    }
}

/// A piece of a word before names are resolved.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes to copy.
    Text(&'a [u8]),
    /// A variable's name, without `$` and braces.
    Name(&'a str),
}

/// Splits a word at its variables. `Err` holds nginx's sentence.
pub fn split(word: &[u8]) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = word;
    while let Some(at) = memchr::memchr(b'$', rest) {
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        let (name, after) = variable_name(&rest[at + 1..])?;
        pieces.push(Piece::Name(name));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Reads `name` or `{name}` after a dollar sign.
fn variable_name(rest: &[u8]) -> Result<(&str, &[u8]), String> {
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let (name, after) = if rest.first() == Some(&b'{') {
        let body = &rest[1..];
        let end = body.iter().take_while(|b| is_name(b)).count();
        if body.get(end) != Some(&b'}') {
            let shown = String::from_utf8_lossy(&body[..end]);
            return Err(format!("the closing bracket in \"{shown}\" variable is missing"));
        }
        (&body[..end], &body[end + 1..])
    } else {
        // `$1` is one digit; what follows it is text.
        let end = match rest.first() {
            Some(b) if b.is_ascii_digit() => 1,
            _ => rest.iter().take_while(|b| is_name(b)).count(),
        };
        (&rest[..end], &rest[end..])
    };
    match std::str::from_utf8(name) {
        Ok(name) if !name.is_empty() => Ok((name, after)),
        _ => Err("invalid variable name".to_owned()),
    }
}

/// Builds a template from pieces, each name looked up by `resolve`.
pub fn compile<E>(
    pieces: &[Piece<'_>],
    mut resolve: impl FnMut(&str) -> Result<Var, E>,
) -> Result<Template, E> {
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        parts.push(match piece {
            Piece::Text(text) => Part::Text((*text).into()),
            Piece::Name(name) => Part::Var(resolve(name)?),
        });
    }
    Ok(Template { parts: parts.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_where_nginx_ends_them() {
        let got = split(b"a$b.c${d}e$1x").unwrap();
        let want = [
            Piece::Text(b"a"),
            Piece::Name("b"),
            Piece::Text(b".c"),
            Piece::Name("d"),
            Piece::Text(b"e"),
            Piece::Name("1"),
            Piece::Text(b"x"),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn bad_names_are_nginx_s_errors() {
        assert_eq!(split(b"a$").unwrap_err(), "invalid variable name");
        assert!(split(b"${ab").unwrap_err().contains("closing bracket"));
    }
}
