//! Owns the replacing itself, across the pieces in which a body comes.
//!
//! Must not know where texts and values are from.

use super::patterns::Patterns;
use crate::http::filter::{Coder, Step, Then};
use std::io;
use std::sync::Arc;

/// Replaces texts by values.
#[derive(Debug)]
pub(super) struct Replacer {
    patterns: Arc<Patterns>,
    /// By the numbers of the texts.
    values: Vec<Vec<u8>>,
    /// Which texts are still replaced; all of them, again and again, without `once`.
    active: Vec<bool>,
    once: bool,
    /// Taken and not passed on: the part of a text, or what there was no room for.
    held: Vec<u8>,
}

impl Replacer {
    pub fn new(patterns: Arc<Patterns>, values: Vec<Vec<u8>>, once: bool) -> Self {
        let active = vec![true; patterns.len()];
        Self { patterns, values, active, once, held: Vec::new() }
    }

    /// Passes on what can be; how much of `bytes` that was, and whether it ended for want of room.
    fn pass(&mut self, bytes: &[u8], end: bool, out: &mut Vec<u8>, room: usize) -> (usize, bool) {
        let limit = out.len().saturating_add(room);
        let mut at = 0;
        let mut stop = self.stop(bytes, at, end);
        loop {
            let active = |number: usize| self.active.get(number).is_some_and(|active| *active);
            let Some(found) = self.patterns.find(bytes, at, stop, active) else {
                out.extend_from_slice(bytes.get(at..stop).unwrap_or_default());
                return (at.max(stop), true);
            };
            out.extend_from_slice(bytes.get(at..found.at).unwrap_or_default());
            out.extend_from_slice(self.values.get(found.number).map_or(&[][..], Vec::as_slice));
            at = found.at + self.patterns.length(found.number);
            if self.once
                && let Some(active) = self.active.get_mut(found.number)
            {
                *active = false;
            }
            if at > stop || self.once {
                stop = self.stop(bytes, at, end);
            }
            if out.len() >= limit {
                return (at, false);
            }
        }
    }

    /// Up to where all is known that can begin there.
    fn stop(&self, bytes: &[u8], at: usize, end: bool) -> usize {
        let active = |number: usize| self.active.get(number).is_some_and(|active| *active);
        if end { bytes.len() } else { self.patterns.first_part(bytes, at, active) }
    }
}

impl Coder for Replacer {
    fn code(
        &mut self,
        input: &[u8],
        then: Then,
        out: &mut Vec<u8>,
        room: usize,
    ) -> io::Result<Step> {
        let end = then == Then::End;
        let done;
        if self.held.is_empty() {
            let (passed, all) = self.pass(input, end, out, room);
            self.held.extend_from_slice(input.get(passed..).unwrap_or_default());
            done = all;
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(input);
            let (passed, all) = self.pass(&held, end, out, room);
            held.drain(..passed.min(held.len()));
            (self.held, done) = (held, all);
        }
        Ok(Step { taken: input.len(), done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replace(pairs: &[(&str, &str)], once: bool, input: &[u8], piece: usize) -> String {
        let texts = pairs.iter().map(|(text, _)| text.as_bytes()).collect();
        let values = pairs.iter().map(|(_, value)| value.as_bytes().to_vec()).collect();
        let mut coder = Replacer::new(Arc::new(Patterns::new(texts).unwrap()), values, once);
        let mut out = Vec::new();
        let pieces = input.chunks(piece).map(|piece| (piece, Then::More));
        for (mut piece, then) in pieces.chain([(&b""[..], Then::End)]) {
            while !coder.code(piece, then, &mut out, 3).unwrap().done {
                piece = b"";
            }
        }
        assert!(coder.held.is_empty());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_are_replaced_across_pieces() {
        let pairs = [("<Head>", "[h]"), ("</p>", "")];
        let input = b"x<hEad>y</P>z<head></p></";
        for piece in 1..input.len() {
            assert_eq!(replace(&pairs, false, input, piece), "x[h]yz[h]</");
            assert_eq!(replace(&pairs, true, input, piece), "x[h]yz<head></p></");
        }
    }

    #[test]
    fn what_is_inserted_is_not_looked_at() {
        assert_eq!(replace(&[("a", "aa")], false, b"aba", 1), "aabaa");
        assert_eq!(replace(&[("aa", "b"), ("b", "c")], false, b"aaab", 2), "bac");
    }

    /// nginx's rule in so many words: at each place the first text that is there.
    fn plainly(pairs: &[(&str, &str)], input: &[u8]) -> String {
        let (mut out, mut at) = (Vec::new(), 0);
        while at < input.len() {
            let rest = &input[at..];
            let found = pairs.iter().find(|(text, _)| rest.starts_with(text.as_bytes()));
            out.extend_from_slice(found.map_or(&rest[..1], |(_, value)| value.as_bytes()));
            at += found.map_or(1, |(text, _)| text.len());
        }
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(input in "[ab]{0,60}", piece in 1..20_usize) {
            let pairs = [("aab", "1"), ("ab", "22"), ("abba", "3"), ("bbb", "")];
            let expected = plainly(&pairs, input.as_bytes());
            prop_assert_eq!(replace(&pairs, false, input.as_bytes(), piece), expected);
        }
    }
}
