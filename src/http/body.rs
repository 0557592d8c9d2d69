//! Owns the two directions of a body: what the client sends, what is sent to the client.
//!
//! Must not know how a body is framed on the wire towards the client; `conn` frames what it is given.

use super::client::Client;
use super::filter::{Counts, Filter, Filtered};
use super::origin::Answer;
use super::request_body::RequestBody;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The answer's body.
#[derive(Debug, Default)]
pub enum Body {
    #[default]
    Empty,
    /// Bytes in memory.
    Bytes(Cow<'static, [u8]>),
    /// A stretch of a file.
    File(Slice),
    /// Several stretches and the text between them (`multipart/byteranges`).
    Parts(VecDeque<Part>),
    /// What an upstream server is sending.
    Upstream(Box<Answer>),
    /// Any of these, changed on its way.
    Filtered(Box<Filtered>),
}

/// A stretch of an open file.
#[derive(Debug, Clone)]
pub struct Slice {
    pub file: Rc<File>,
    /// Offset of the next byte.
    pub at: u64,
    /// Offset after the last byte.
    pub end: u64,
}

/// One piece of a body made of several.
#[derive(Debug)]
pub enum Part {
    Bytes(Vec<u8>),
    Slice(Slice),
}

impl Slice {
    /// Appends up to `room` bytes. A file that has become shorter is an error: the length was promised.
    fn fill(&mut self, out: &mut Vec<u8>, room: usize) -> io::Result<()> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let start = out.len();
        out.resize(start + left.min(room), 0);
        let got = self.file.read_at(&mut out[start..], self.at);
        let n = *got.as_ref().unwrap_or(&0);
        out.truncate(start + n);
        self.at += n as u64;
        match got {
            Ok(0) if left > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(err) => Err(err),
        }
    }
}

impl Body {
    /// Puts a filter behind what there is so far.
    pub fn filter(&mut self, filter: Box<dyn Filter>) {
        let source = std::mem::take(self);
        *self = Self::Filtered(Box::new(Filtered::new(source, filter)));
    }

    /// The body before all filters.
    pub fn source(&self) -> &Self {
        match self {
            Self::Filtered(filtered) => filtered.source().source(),
            plain => plain,
        }
    }

    pub fn source_mut(&mut self) -> &mut Self {
        match self {
            Self::Filtered(filtered) => filtered.source_mut().source_mut(),
            plain => plain,
        }
    }

    /// The upstream's answer that this is, or is made of.
    pub fn answer_mut(&mut self) -> Option<&mut Answer> {
        match self.source_mut() {
            Self::Upstream(answer) => Some(answer),
            _ => None,
        }
    }

    /// What the last compressor behind it has done.
    pub fn counts(&self) -> Option<Counts> {
        match self {
            Self::Filtered(filtered) => filtered.counts(),
            _ => None,
        }
    }

    /// Goes on with a request whose answer began before all of it had been sent.
    pub fn poll_request(
        &mut self,
        request: &mut RequestBody,
        client: &Client,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        match self.answer_mut() {
            Some(answer) => answer.poll_request(request, client, cx),
            None => Ok(()),
        }
    }

    /// Reads on what an upstream sends while the client takes nothing, where that is allowed.
    pub fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        if let Some(answer) = self.answer_mut() {
            answer.poll_ahead(cx);
        }
    }

    /// Appends at most about `room` bytes to `out`. `Ready(Ok(true))`: there may be more, at once if
    /// nothing came; `Ready(Ok(false))`: that was the last of it. An error means that the body cannot
    /// be completed.
    pub fn poll_fill(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        match self {
            Self::Empty => Poll::Ready(Ok(false)),
            Self::Bytes(bytes) => {
                out.extend_from_slice(bytes);
                *self = Self::Empty;
                Poll::Ready(Ok(false))
            }
            Self::File(slice) => Poll::Ready(slice.fill(out, room).map(|()| slice.at < slice.end)),
            Self::Parts(parts) => Poll::Ready(next_part(parts, out, room)),
            Self::Upstream(answer) => answer.poll_fill(out, room, cx),
            Self::Filtered(filtered) => filtered.poll_fill(out, room, cx),
        }
    }
}

/// Appends from the first part that has something left; true while parts remain.
fn next_part(parts: &mut VecDeque<Part>, out: &mut Vec<u8>, room: usize) -> io::Result<bool> {
    match parts.front_mut() {
        None => return Ok(false),
        Some(Part::Bytes(bytes)) => out.append(bytes),
        Some(Part::Slice(slice)) => {
            slice.fill(out, room)?;
            if slice.at < slice.end {
                return Ok(true);
            }
        }
    }
    parts.pop_front();
    Ok(!parts.is_empty())
}
