//! Owns how a body is changed on its way to the client: filters, each between the body before it and
//! whoever asks for bytes.
//!
//! Must not know any filter; modules bring theirs, and the order is in the pipeline.

mod coded;
#[cfg(test)]
mod tests;

use super::body::Body;
use std::fmt;
use std::io;
use std::task::{Context, Poll};

pub use coded::{Coded, Coder, Step, Then};

/// What makes one body of another. It is asked for bytes and asks `source` for what it needs, so that
/// it may as well put something before, between or after, or wait for something else.
pub trait Filter: fmt::Debug {
    /// The contract is that of `Body::poll_fill`. A filter that holds something back while `source`
    /// has nothing at the moment decides itself whether that may wait.
    fn poll_fill(
        &mut self,
        source: &mut Body,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>>;

    /// What a compressor that has come to its end has done.
    fn counts(&self) -> Option<Counts> {
        None
    }
}

/// Bytes that a compressor has taken, and bytes that it has made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// As in `Content-Encoding`.
    pub coding: &'static str,
    pub taken: u64,
    pub made: u64,
}

/// A body and what it goes through.
#[derive(Debug)]
pub struct Filtered {
    source: Body,
    filter: Box<dyn Filter>,
}

impl Filtered {
    pub fn new(source: Body, filter: Box<dyn Filter>) -> Self {
        Self { source, filter }
    }

    /// What the filter is fed with, perhaps a filtered body itself.
    pub fn source(&self) -> &Body {
        &self.source
    }

    pub fn source_mut(&mut self) -> &mut Body {
        &mut self.source
    }

    /// The counts of the last filter that has any.
    pub fn counts(&self) -> Option<Counts> {
        self.filter.counts().or_else(|| self.source.counts())
    }

    /// Asks the filter, which asks the source.
    pub fn poll_fill(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        self.filter.poll_fill(&mut self.source, out, room, cx)
    }
}
