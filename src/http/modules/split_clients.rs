//! Owns `split_clients`: a variable whose value depends on the hash of others, in given proportions.
//!
//! Must not keep values from one reading to the next; `computed` does.

use crate::conf::values::parse_number;
use crate::conf::{Args, Contexts, Directive, Env, Error, Row, Word};
use crate::http::computed::{self, How};
use crate::http::draft::{Scope, block};
use crate::http::finish::Finish;
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::vars::Variable;
use std::sync::Arc;

/// Parts are measured in hundredths of a per cent.
const WHOLE: u32 = 10_000;

/// As written: the blocks of `http`.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    blocks: Vec<Arc<Written>>,
}

/// In force: nothing but the variables.
#[derive(Debug)]
pub struct Conf {}

impl Draft {
    pub fn inherit(&mut self, _outer: &Self) {}

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf {}
    }
}

#[derive(Debug)]
struct Written {
    source: Word,
    /// Without its dollar sign.
    name: Word,
    parts: Vec<Part>,
}

/// Hashes below `end` that no part before has taken; all that are left without an end.
#[derive(Debug, Clone)]
struct Part {
    end: Option<u32>,
    value: Arc<[u8]>,
}

pub static ROWS: &[Row<Scope>] = &[block(
    "split_clients",
    Contexts::HTTP,
    Args::Exactly(2),
    "A variable that has each of the values for so many per cent of what it is computed from, and the \
     value beside `*` for the rest.",
    |scope, dir, env| {
        let parts = read_parts(dir, env)?;
        let name = computed::name_of(dir.arg(1))?;
        let written = Written { source: dir.arg(0).clone(), name, parts };
        scope.drafts.split_clients.blocks.push(Arc::new(written));
        Ok(())
    },
)];

pub static VARIABLES: &[Variable] = &[];

fn read_parts(dir: &Directive, env: &mut Env) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    let (mut sum, mut end) = (0, 0_u32);
    for line in dir.block.as_deref().unwrap_or_default() {
        let share = match read_share(line) {
            Ok(share) => share,
            Err(error) => {
                env.report(error);
                continue;
            }
        };
        sum = share.map_or(WHOLE, |share| sum + share);
        if sum > WHOLE {
            return Err(dir.error("percent total is greater than 100%"));
        }
        if let Some(share) = share {
            end = end.wrapping_add(scaled(share));
        }
        // What makes the whole complete takes the hashes that rounding would leave out.
        let end = (sum < WHOLE).then_some(end);
        parts.push(Part { end, value: line.arg(0).text.as_slice().into() });
    }
    Ok(parts)
}

/// How many hashes a share stands for.
fn scaled(share: u32) -> u32 {
    u32::try_from(u64::from(share) * u64::from(u32::MAX) / u64::from(WHOLE)).unwrap_or(u32::MAX)
}

/// The share in `12.5% value;`; `None` is the rest.
fn read_share(line: &Directive) -> Result<Option<u32>, Error> {
    if line.block.is_some() {
        return Err(line.error("unexpected \"{\""));
    }
    if line.args.len() != 1 {
        return Err(line.error("invalid number of the split_clients parameters"));
    }
    let text = &line.name.text[..];
    if text == b"*" {
        return Ok(None);
    }
    let share = text.strip_suffix(b"%").and_then(hundredths).filter(|share| *share > 0);
    let message = format_args!("invalid percent value \"{}\"", line.name_str());
    share.map(Some).ok_or_else(|| line.error(message))
}

/// A number with at most two digits after its dot.
fn hundredths(text: &[u8]) -> Option<u32> {
    let (whole, fraction) = match memchr::memchr(b'.', text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b""[..]),
    };
    if text.is_empty() || fraction.len() > 2 {
        return None;
    }
    let digits = [whole, fraction, &b"00"[fraction.len()..]].concat();
    // Shares above the whole are refused by their sum; it must only not overflow.
    parse_number(&digits).map(|n| u32::try_from(n).unwrap_or(u32::MAX).min(WHOLE + 1))
}

/// Makes the variables known everywhere, before anything is compiled.
pub fn define(http: &Scope, cx: &mut Finish) {
    for written in &http.drafts.split_clients.blocks {
        computed::define(&written.name, cx);
    }
}

/// Compiles them; all names are known by now.
pub fn compile(http: &Scope, cx: &mut Finish) {
    for written in &http.drafts.split_clients.blocks {
        let source = cx.template(&written.source);
        let split = Split { source, parts: written.parts.clone() };
        computed::keep(&written.name, false, How::Split(split), cx);
    }
}

/// The variable, compiled.
#[derive(Debug)]
pub struct Split {
    source: Template,
    parts: Vec<Part>,
}

impl Split {
    /// What is hashed.
    pub fn source(&self) -> &Template {
        &self.source
    }

    /// Appends the value for this request.
    pub fn append(&self, req: &Request, out: &mut Vec<u8>) {
        let hash = murmur2(&self.source.value(req));
        if let Some(part) = self.parts.iter().find(|part| part.end.is_none_or(|end| hash < end)) {
            out.extend_from_slice(&part.value);
        }
    }
}

/// MurmurHash2 with seed 0, as nginx computes it.
fn murmur2(text: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    // The hash starts from the length in 32 bits; nobody sends that much.
    let mut hash = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let (words, rest) = text.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(M);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(M) ^ mixed.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Site, errors};

    #[test]
    fn hashes_are_murmur2() {
        // Known values of MurmurHash2 (32 bits, seed 0).
        for (text, hash) in
            [("", 0), ("a", 0x9268_5f5e), ("abcd", 0x2687_3021), ("test", 403_862_830)]
        {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn parts_have_their_share() {
        let blocks =
            "split_clients $args $x { 0.5% a; 20% b; * c; } split_clients $args $y { 33.33% a; }";
        let site = Site::new(blocks, "listen 1;");
        let mut counts = [0; 5];
        for n in 0..10_000 {
            let mut req = site.request();
            req.args = format!("client{n}").into_bytes();
            let value = |at| {
                let mut out = Vec::new();
                assert!(computed::append(&req, at, &mut out));
                out
            };
            match &value(0)[..] {
                b"a" => counts[0] += 1,
                b"b" => counts[1] += 1,
                _ => counts[2] += 1,
            }
            counts[if value(1).is_empty() { 3 } else { 4 }] += 1;
        }
        let expected = [50, 2000, 7950, 6667, 3333];
        for (count, expected) in counts.into_iter().zip(expected) {
            assert!(i32::abs(count - expected) < expected / 20 + 20, "{counts:?}");
        }
    }

    #[test]
    fn a_sum_of_a_hundred_leaves_nothing_out() {
        let ends = |text: &str| {
            let (snapshot, _) = crate::http::fixture::snapshot(text, "listen 1;");
            match snapshot.computed[0].how() {
                How::Split(split) => split.parts.iter().map(|part| part.end).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(ends("split_clients a $x { 50% a; 50.00% b; }"), [Some(0x7fff_ffff), None]);
        assert_eq!(ends("split_clients a $x { .25% a; * b; }"), [Some(10_737_418), None]);
    }

    #[test]
    fn complaints_are_nginxs() {
        for (inside, expected) in [
            ("60% a; 40.01% b;", "percent total is greater than 100%"),
            ("99999999999999% a;", "percent total is greater than 100%"),
            ("0% a;", "invalid percent value \"0%\""),
            ("1 a;", "invalid percent value \"1\""),
            ("1.234% a;", "invalid percent value \"1.234%\""),
            ("1.2.3% a;", "invalid percent value \"1.2.3%\""),
            ("% a;", "invalid percent value \"%\""),
        ] {
            let text = format!("split_clients a $x {{ {inside} }}");
            assert_eq!(errors(&text, "listen 1;"), [expected], "{inside}");
        }
    }
}
