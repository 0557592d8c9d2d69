//! Owns filters that need nothing but the bytes themselves: compressors, replacers. It feeds them what
//! the source has, in bounded pieces, and tells them when to let go of what they hold.
//!
//! Must not know what they make of the bytes.

use super::{Counts, Filter};
use crate::http::body::Body;
use std::fmt;
use std::io;
use std::task::{Context, Poll, ready};

/// Asked of the source at a time.
const INPUT: usize = 32 * 1024;

/// What comes behind the bytes that a coder is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// More bytes; it may hold back what it likes, within bounds.
    More,
    /// Nothing for the moment, and the client waits for what there is.
    Flush,
    /// Nothing ever.
    End,
}

/// What one call of a coder has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that it has taken.
    pub taken: usize,
    /// All of the input is taken, and nothing is left of what `then` asks for.
    pub done: bool,
}

/// A body's bytes in, other bytes out.
pub trait Coder: fmt::Debug {
    /// Takes from the front of `input` and appends to `out` until there is nothing more to do or about
    /// `room` bytes are appended; a step that is not done is followed by another one.
    fn code(
        &mut self,
        input: &[u8],
        then: Then,
        out: &mut Vec<u8>,
        room: usize,
    ) -> io::Result<Step>;

    /// As `Filter::counts`.
    fn counts(&self) -> Option<Counts> {
        None
    }
}

/// A coder as a filter.
#[derive(Debug)]
pub struct Coded<C> {
    coder: C,
    /// From the source, taken up to `at`.
    input: Vec<u8>,
    at: usize,
    state: State,
    /// The last step of the coder was not done.
    more: bool,
    /// What came is passed on even when the source has nothing more at the moment.
    flushes: bool,
}

/// Between a coder and its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has been given to the coder since it was last flushed.
    Clean,
    /// The coder may hold something back.
    Fed,
    /// The coder is being flushed.
    Flushing,
    /// The source has ended.
    Ended,
    /// The coder too.
    Done,
}

impl<C: Coder> Coded<C> {
    /// `flushes`: as `Reply::unbuffered` says.
    pub fn new(coder: C, flushes: bool) -> Self {
        Self { coder, input: Vec::new(), at: 0, state: State::Clean, more: false, flushes }
    }

    /// Takes the next piece from the source; pending when the source is and nothing has to be flushed.
    fn poll_input(&mut self, source: &mut Body, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.clear();
        self.at = 0;
        match source.poll_fill(&mut self.input, INPUT, cx) {
            Poll::Ready(more) => {
                self.state = if more? { State::Fed } else { State::Ended };
                Poll::Ready(Ok(()))
            }
            Poll::Pending if self.flushes && self.state == State::Fed => {
                self.state = State::Flushing;
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<C: Coder> Filter for Coded<C> {
    fn poll_fill(
        &mut self,
        source: &mut Body,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        if !self.more && matches!(self.state, State::Clean | State::Fed) {
            ready!(self.poll_input(source, cx))?;
        }
        let then = match self.state {
            State::Clean | State::Fed => Then::More,
            State::Flushing => Then::Flush,
            State::Ended => Then::End,
            State::Done => return Poll::Ready(Ok(false)),
        };
        let input = self.input.get(self.at..).unwrap_or_default();
        let step = self.coder.code(input, then, out, room)?;
        self.at += step.taken;
        self.more = !step.done;
        match self.state {
            State::Flushing if step.done => self.state = State::Clean,
            State::Ended if step.done => {
                self.state = State::Done;
                return Poll::Ready(Ok(false));
            }
            _ => {}
        }
        Poll::Ready(Ok(true))
    }

    fn counts(&self) -> Option<Counts> {
        self.coder.counts()
    }
}
