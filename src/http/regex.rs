//! Owns regular expressions of the configuration together with where their captures go.
//!
//! Must not choose what they are matched against.

use super::request::{Captures, Request};
use super::slots::Slots;
use crate::conf::Pattern;
use std::sync::Arc;

/// A compiled pattern and the slots of its named groups.
#[derive(Debug, Clone)]
pub struct Regex {
    pattern: Arc<Pattern>,
    /// (group number, slot) of each named group.
    names: Arc<[(usize, usize)]>,
}

impl Regex {
    /// Joins a pattern with the slots that its named groups fill.
    pub fn new(pattern: Pattern, names: Vec<(usize, usize)>) -> Self {
        Self { pattern: Arc::new(pattern), names: names.into() }
    }

    /// Matches without keeping captures.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.pattern.is_match(text)
    }

    /// Matches `text`; on success the request's captures and named variables are replaced, else they
    /// stay what an earlier expression has made them.
    pub fn apply(&self, text: &[u8], captures: &mut Captures, slots: &Slots) -> bool {
        let mut groups = std::mem::take(&mut captures.spare);
        let hit = self.pattern.captures(text, &mut groups);
        if hit {
            std::mem::swap(&mut captures.groups, &mut groups);
        }
        captures.spare = groups;
        if !hit {
            return false;
        }
        captures.text.clear();
        captures.text.extend_from_slice(text);
        for (group, slot) in &*self.names {
            slots.set(*slot, captures.get(*group).map(<[u8]>::to_vec));
        }
        true
    }

    /// Matches `text` and keeps what was captured in the request.
    pub fn apply_in(&self, text: &[u8], req: &Request) -> bool {
        self.apply(text, &mut req.captures.borrow_mut(), &req.slots)
    }

    /// Matches the request's URI and keeps what was captured.
    pub fn apply_uri(&self, req: &Request) -> bool {
        self.apply_in(&req.uri, req)
    }
}
