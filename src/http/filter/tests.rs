//! Coders as filters, on sources that have nothing at times.

use super::{Coded, Coder, Counts, Filter, Filtered, Step, Then};
use crate::http::body::Body;
use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};

/// Holds every byte back until it is flushed, gives out one at a time, and `/` behind a flush.
#[derive(Debug, Default)]
struct Miser {
    held: VecDeque<u8>,
    taken: u64,
}

impl Coder for Miser {
    fn code(
        &mut self,
        input: &[u8],
        then: Then,
        out: &mut Vec<u8>,
        _room: usize,
    ) -> io::Result<Step> {
        self.held.extend(input);
        self.taken += input.len() as u64;
        if then != Then::More {
            out.extend(self.held.pop_front());
        }
        if then == Then::Flush && self.held.is_empty() {
            out.push(b'/');
        }
        Ok(Step { taken: input.len(), done: then == Then::More || self.held.is_empty() })
    }

    fn counts(&self) -> Option<Counts> {
        Some(Counts {
            coding: "miser",
            taken: self.taken,
            made: self.taken - self.held.len() as u64,
        })
    }
}

/// A source that gives what it is told to, with pauses (`None`) between.
#[derive(Debug)]
struct Halting(VecDeque<Option<&'static str>>);

impl Filter for Halting {
    fn poll_fill(
        &mut self,
        _: &mut Body,
        out: &mut Vec<u8>,
        _: usize,
        _: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        match self.0.pop_front() {
            None => Poll::Ready(Ok(false)),
            Some(None) => Poll::Pending,
            Some(Some("bad")) => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            Some(Some(text)) => {
                out.extend_from_slice(text.as_bytes());
                Poll::Ready(Ok(!self.0.is_empty()))
            }
        }
    }
}

fn halting(steps: &[Option<&'static str>]) -> Body {
    let steps = Halting(steps.iter().copied().collect());
    Body::Filtered(Box::new(Filtered::new(Body::Empty, Box::new(steps))))
}

fn filtered(source: Body, flushes: bool) -> Body {
    let filter = Box::new(Coded::new(Miser::default(), flushes));
    Body::Filtered(Box::new(Filtered::new(source, filter)))
}

/// Polls until the end; `|` where it had to wait.
fn read(body: &mut Body) -> io::Result<String> {
    let mut out = Vec::new();
    loop {
        match body.poll_fill(&mut out, 100, &mut Context::from_waker(Waker::noop())) {
            Poll::Pending => out.push(b'|'),
            Poll::Ready(Ok(true)) => {}
            Poll::Ready(Ok(false)) => return Ok(String::from_utf8(out).unwrap()),
            Poll::Ready(Err(error)) => return Err(error),
        }
    }
}

#[test]
fn the_end_brings_out_what_is_held() {
    let mut body = filtered(Body::Bytes(b"abc"[..].into()), false);
    assert_eq!(read(&mut body).unwrap(), "abc");
    assert_eq!(body.counts(), Some(Counts { coding: "miser", taken: 3, made: 3 }));
    assert_eq!(read(&mut filtered(Body::Empty, false)).unwrap(), "");
}

#[test]
fn a_pause_flushes_if_it_shall() {
    let steps = [Some("ab"), None, Some("c"), None, None, Some("d")];
    assert_eq!(read(&mut filtered(halting(&steps), true)).unwrap(), "ab/c/|d");
    assert_eq!(read(&mut filtered(halting(&steps), false)).unwrap(), "|||abcd");
}

#[test]
fn filters_stand_behind_one_another() {
    let mut body = filtered(filtered(halting(&[Some("ab"), None, Some("c")]), true), true);
    assert_eq!(read(&mut body).unwrap(), "ab/c");
    assert!(matches!(body.source(), Body::Empty));
    let error = read(&mut filtered(halting(&[Some("ab"), Some("bad")]), false)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
