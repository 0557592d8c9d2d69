//! Owns the order of things in a page: its text and what it includes, one behind the other, while
//! subrequests further on have already begun.
//!
//! Must not carry out commands; `command` does.

use super::Conf;
use super::page::{Page, TIME_FORMAT, View};
use super::parse::Parser;
use crate::http::body::Body;
use crate::http::filter::Filter;
use crate::http::include::Include;
use crate::http::request::Request;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Read from the page at a time.
const INPUT: usize = 16 * 1024;

/// Pieces that may wait for the one before them: so many subrequests are under way at a time.
const AHEAD: usize = 64;

/// What is said in the place of a command that fails.
const ERROR: &[u8] = b"[an error occurred while processing the directive]";

/// A page as a filter.
#[derive(Debug)]
pub struct Ssi {
    pub(super) view: View,
    pub(super) silent: bool,
    pub(super) error_text: Vec<u8>,
    pub(super) encoding: Encoding,
    pub(super) branch: Branch,
    /// What follows waits until the queue is empty.
    pub(super) blocked: bool,
    parser: Parser,
    /// From the source, parsed up to `at`.
    input: Vec<u8>,
    at: usize,
    ended: bool,
    queue: VecDeque<Piece>,
}

/// How `echo` writes values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    None,
    Url,
    Entity,
}

/// Where in conditions and blocks the page is.
#[derive(Debug)]
pub(super) struct Branch {
    /// Text is shown and commands are carried out.
    pub output: bool,
    /// A branch of the present `if` has been taken.
    pub chosen: bool,
    /// 0 outside of any `if`, 1 before its `else`, 2 behind that.
    pub conditional: u8,
    /// Everything goes to a block.
    pub block: bool,
}

/// A part of the output.
#[derive(Debug)]
enum Piece {
    Text(Vec<u8>),
    Show(Include),
    /// The answer becomes the value of a variable.
    Set {
        include: Include,
        name: Vec<u8>,
        value: Vec<u8>,
    },
}

impl Ssi {
    pub fn new(page: Rc<Page>, of: Request, conf: &Conf) -> Self {
        Self {
            view: View { page, of: Box::new(of), time_format: TIME_FORMAT.to_vec() },
            silent: conf.silent_errors,
            error_text: ERROR.to_vec(),
            encoding: Encoding::Entity,
            branch: Branch { output: true, chosen: false, conditional: 0, block: false },
            blocked: false,
            parser: Parser::new(conf.value_length),
            input: Vec::new(),
            at: 0,
            ended: false,
            queue: VecDeque::new(),
        }
    }

    /// Text of the page, in the place where it stands.
    pub(super) fn text(&mut self, text: Vec<u8>) {
        if self.branch.output {
            self.show(text);
        } else if self.branch.block {
            self.view.page.add_to_block(&text);
        }
    }

    /// Text to be sent.
    pub(super) fn show(&mut self, text: Vec<u8>) {
        match self.queue.back_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(before)) => before.extend(text),
            _ => self.queue.push_back(Piece::Text(text)),
        }
    }

    /// Another body, in its place.
    pub(super) fn include(&mut self, include: Include, set: Option<Vec<u8>>) {
        self.queue.push_back(match set {
            Some(name) => Piece::Set { include, name, value: Vec::new() },
            None => Piece::Show(include),
        });
    }

    fn is_finished(&self) -> bool {
        self.ended && self.at == self.input.len()
    }

    /// Takes more of the page, as far as it may be looked at yet.
    fn poll_page(&mut self, source: &mut Body, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.at == self.input.len() {
            self.input.clear();
            self.at = 0;
            self.ended = !ready!(source.poll_fill(&mut self.input, INPUT, cx))?;
        }
        let input = std::mem::take(&mut self.input);
        while self.at < input.len() && !self.blocked && self.queue.len() < AHEAD {
            let mut text = Vec::new();
            let (read, outcome) =
                self.parser.feed(input.get(self.at..).unwrap_or_default(), &mut text);
            self.at += read;
            self.text(text);
            if let Some(outcome) = outcome {
                self.carry_out(outcome);
            }
        }
        self.input = input;
        if self.is_finished() {
            let mut text = Vec::new();
            self.parser.end(&mut text);
            self.text(text);
        }
        Poll::Ready(Ok(()))
    }

    /// Lets subrequests begin whose place has not come.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        for piece in self.queue.iter_mut().skip(1) {
            let (Piece::Show(include) | Piece::Set { include, .. }) = piece else { continue };
            if let Poll::Ready(Err(error)) = include.poll_head(cx) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Appends from the first piece; false when that was all of it.
    fn poll_piece(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        match self.queue.front_mut() {
            None => Poll::Ready(Ok(false)),
            Some(Piece::Text(text)) => {
                out.append(text);
                Poll::Ready(Ok(false))
            }
            Some(Piece::Show(include)) => include.poll_fill(out, room, cx),
            Some(Piece::Set { include, name, value }) => {
                let status = ready!(include.poll_head(cx))?;
                let limit = include.request().map_or(0, |sub| sub.conf().ssi.output_buffer);
                while ready!(include.poll_fill(value, limit + 1, cx))? && value.len() <= limit {}
                if value.len() > limit {
                    let length = value.len();
                    self.view.of.log_error(format_args!("too big subrequest response: {length}"));
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                let page = &self.view.page;
                if status < 300 && !value.is_empty() {
                    page.set(name, std::mem::take(value));
                } else if page.get(name).is_none() {
                    page.set(name, Vec::new());
                }
                Poll::Ready(Ok(false))
            }
        }
    }

    /// Appends what stands in front; true when that has to be waited for.
    fn poll_queue(
        &mut self,
        out: &mut Vec<u8>,
        most: usize,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        while !self.queue.is_empty() && out.len() < most {
            match self.poll_piece(out, most - out.len(), cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => drop(self.queue.pop_front()),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(true),
            }
        }
        self.blocked &= !self.queue.is_empty();
        Ok(false)
    }
}

impl Filter for Ssi {
    fn poll_fill(
        &mut self,
        source: &mut Body,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let start = out.len();
        loop {
            let waits = self.poll_queue(out, start + room, cx)?;
            self.poll_ahead(cx)?;
            if self.is_finished() && self.queue.is_empty() {
                return Poll::Ready(Ok(false));
            }
            let full = out.len() >= start + room;
            let behind = waits && (self.blocked || self.queue.len() >= AHEAD);
            let stuck = full || behind || self.is_finished();
            if stuck || self.poll_page(source, cx)?.is_pending() {
                let nothing = out.len() == start;
                return if nothing { Poll::Pending } else { Poll::Ready(Ok(true)) };
            }
        }
    }
}
