//! Owns the reading of a request's body: framing undone, limits kept, kept whole where asked.
//!
//! Must not know what the body is for.

use super::client::Client;
use super::h1::chunked::Decoder;
use super::h1::framing::Length;
use super::io::{self as stream_io, Deadline};
use super::spool::{Room, Spool};
use std::future::poll_fn;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::task::coop::consume_budget;

/// Read from the socket at a time.
const READ: usize = 16 * 1024;

/// `client_body_in_file_only`: whether a body is always written to a file, and whether that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFile {
    Off,
    Clean,
    On,
}

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// Longer than `client_max_body_size`.
    TooLarge,
    /// Framed wrongly.
    Malformed,
    /// Nothing came for `client_body_timeout`.
    TimedOut,
    /// The client closed the connection.
    Gone,
    /// It could not be kept (temporary file).
    NotKept,
}

impl BodyError {
    /// The status nginx answers with; 499 is only ever logged.
    pub fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::Malformed => 400,
            Self::TimedOut => 408,
            Self::Gone => 499,
            Self::NotKept => 500,
        }
    }
}

#[derive(Debug, Default)]
enum Framing {
    /// No body, or all of it has been read.
    #[default]
    Done,
    /// This many bytes are still to come.
    Left(u64),
    /// All that the stream brings, which ends with it.
    UntilEnd,
    Chunked(Box<Decoder>),
}

/// A request's body.
#[derive(Debug, Default)]
pub struct RequestBody {
    framing: Framing,
    /// `Content-Length`, when that is how it is framed.
    pub announced: Option<u64>,
    /// It came chunked.
    pub chunked: bool,
    /// The client waits for `100 Continue` before it sends anything.
    pub wants_continue: bool,
    /// `client_max_body_size` of the location; 0 for none.
    pub limit: u64,
    /// Bytes of body read so far, framing undone.
    pub received: u64,
    /// Bytes taken from the connection for it, framing included.
    pub raw: u64,
    /// The body, where it was asked for whole.
    pub kept: Option<Rc<Spool>>,
    /// Too long or framed wrongly: nothing of it is used any more, whatever answers the error.
    pub refused: bool,
}

impl RequestBody {
    /// The body that a head announces.
    pub fn new(length: &Length, wants_continue: bool) -> Self {
        let mut body = Self { wants_continue, ..Self::default() };
        match length {
            Length::Known(n) => {
                body.announced = Some(*n);
                body.framing = if *n > 0 { Framing::Left(*n) } else { Framing::Done };
            }
            Length::Chunked => {
                body.chunked = true;
                body.framing = Framing::Chunked(Box::default());
            }
            _ => {}
        }
        body
    }

    /// The body that a stream of its own brings, of this length if that is known.
    pub fn of_stream(announced: Option<u64>, ended: bool) -> Self {
        let framing = if ended { Framing::Done } else { Framing::UntilEnd };
        Self { framing, announced, chunked: announced.is_none() && !ended, ..Self::default() }
    }

    /// The same body for another request, as far as it has been kept; nothing of it is left to be read
    /// there.
    #[must_use]
    pub fn share(&self) -> Self {
        let Some(kept) = &self.kept else { return Self::default() };
        Self {
            announced: self.announced,
            chunked: self.chunked,
            received: self.received,
            kept: Some(kept.clone()),
            ..Self::default()
        }
    }

    /// Whether nothing of it is left on the connection.
    pub fn is_read(&self) -> bool {
        matches!(self.framing, Framing::Done)
    }

    /// Whether there is a body at all, read or not.
    pub fn exists(&self) -> bool {
        self.chunked || self.announced.is_some_and(|n| n > 0)
    }

    /// Whether its head framed one, be it empty.
    pub fn is_framed(&self) -> bool {
        self.chunked || self.announced.is_some()
    }

    /// Whether some of it has been taken from the connection: it cannot be read from its start again.
    pub fn is_begun(&self) -> bool {
        self.raw > 0 || self.kept.is_some() || self.refused
    }

    /// Whether reading all of it needs no waiting.
    pub fn has_come(&self, client: &Client) -> bool {
        match &self.framing {
            Framing::Done => true,
            Framing::Left(left) => client.input.borrow().len() as u64 >= *left,
            Framing::UntilEnd => false,
            Framing::Chunked(decoder) => ends_in(decoder.as_ref().clone(), &client.input.borrow()),
        }
    }

    /// Appends decoded bytes that are there or come next. `Ready(Ok(false))`: that was the end.
    pub fn poll_next(
        &mut self,
        client: &Client,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, BodyError>> {
        let start = out.len();
        loop {
            self.decode(client, out)?;
            if out.len() > start || self.is_read() {
                return Poll::Ready(Ok(!self.is_read()));
            }
            let mut input = client.input.borrow_mut();
            match ready!(stream_io::poll_read(&client.stream, &mut input, READ, cx)) {
                Ok(n) if n > 0 => client.blind.set(false),
                Ok(_) if self.ends_with_stream() => return Poll::Ready(Ok(false)),
                _ => {
                    client.eof.set(true);
                    return Poll::Ready(Err(BodyError::Gone));
                }
            }
        }
    }

    /// Undoes the framing of what has been read ahead.
    fn decode(&mut self, client: &Client, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let mut input = client.input.borrow_mut();
        let start = out.len();
        let mut taken = 0;
        match &mut self.framing {
            Framing::Done => {}
            Framing::UntilEnd => {
                taken = input.len();
                out.append(&mut input);
            }
            Framing::Left(left) => {
                taken = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.extend_from_slice(&input[..taken]);
                *left -= taken as u64;
                if *left == 0 {
                    self.framing = Framing::Done;
                }
            }
            Framing::Chunked(decoder) => {
                while taken < input.len() {
                    let Ok(step) = decoder.decode(&input[taken..]) else {
                        // Where it ends cannot be known: nobody may look for it again.
                        self.framing = Framing::Done;
                        self.refused = true;
                        return Err(BodyError::Malformed);
                    };
                    let data = taken + step.data.start..taken + step.data.end;
                    out.extend_from_slice(&input[data]);
                    taken += step.consumed;
                    if step.finished {
                        self.framing = Framing::Done;
                        break;
                    }
                }
            }
        }
        let left = input.len();
        input.drain(..taken.min(left));
        self.raw += taken as u64;
        self.received += (out.len() - start) as u64;
        if self.limit > 0 && self.received > self.limit {
            self.refused = true;
            return Err(BodyError::TooLarge);
        }
        Ok(())
    }

    /// The stream has ended: so has the body, if that is how it ends and all of it has come.
    fn ends_with_stream(&mut self) -> bool {
        let whole = self.announced.is_none_or(|n| n == self.received);
        let ends = matches!(self.framing, Framing::UntilEnd) && whole;
        if ends {
            self.framing = Framing::Done;
        }
        ends
    }

    /// Reads the next bytes, waiting at most `limit` for them.
    pub async fn next(
        &mut self,
        client: &Client,
        out: &mut Vec<u8>,
        limit: Duration,
    ) -> Result<bool, BodyError> {
        self.send_continue(client, limit).await?;
        let mut deadline = Deadline::after(limit);
        poll_fn(|cx| {
            if let Poll::Ready(done) = self.poll_next(client, out, cx) {
                return Poll::Ready(done);
            }
            deadline.poll(cx).map(|_| Err(BodyError::TimedOut))
        })
        .await
    }

    /// Tells a waiting client to go on, once, when the body is first wanted.
    pub async fn send_continue(
        &mut self,
        client: &Client,
        limit: Duration,
    ) -> Result<(), BodyError> {
        let come = self.is_read() && self.raw > 0;
        if !std::mem::take(&mut self.wants_continue) || come {
            return Ok(());
        }
        let sent = client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", limit).await;
        sent.map_err(|_| BodyError::Gone)
    }

    /// Reads all of it and keeps it: up to `in_memory` bytes in memory, more in a file in `dir`.
    pub async fn keep(
        &mut self,
        client: &Client,
        limit: Duration,
        room: Room,
        dir: &Path,
    ) -> Result<(), BodyError> {
        // As in nginx, even where there is nothing to wait for.
        self.send_continue(client, limit).await?;
        let mut spool = Spool::default();
        let mut chunk = Vec::new();
        while !self.is_read() {
            chunk.clear();
            self.next(client, &mut chunk, limit).await?;
            // A client that sends without pause must not keep the worker from the others.
            consume_budget().await;
            spool.append(&chunk, room, dir).map_err(|_| BodyError::NotKept)?;
        }
        self.kept = Some(Rc::new(spool));
        Ok(())
    }

    /// Forgets what of it has come already. After an error nothing of it can be read.
    pub fn skip(&mut self, client: &Client) -> Result<(), BodyError> {
        self.limit = 0;
        let skipped = self.decode(client, &mut Vec::new());
        if skipped.is_err() {
            self.framing = Framing::Done;
        }
        skipped
    }

    /// Reads and forgets what is left, so that the next request can begin: for `whole` at most, with
    /// no more than `silence` between two reads.
    pub async fn discard(
        &mut self,
        client: &Client,
        whole: Duration,
        silence: Duration,
    ) -> Result<(), BodyError> {
        let end = Instant::now() + whole;
        let mut chunk = Vec::new();
        while !self.is_read() {
            chunk.clear();
            self.limit = 0;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(BodyError::TimedOut);
            }
            self.next(client, &mut chunk, silence.min(left)).await?;
            consume_budget().await;
        }
        Ok(())
    }
}

/// Whether these bytes bring a chunked body to its end, as far as they are in order.
fn ends_in(mut decoder: Decoder, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        match decoder.decode(rest) {
            Ok(step) if step.finished => return true,
            Ok(step) => rest = rest.get(step.consumed..).unwrap_or_default(),
            // The one who reads it will say what is wrong.
            Err(_) => return true,
        }
    }
    false
}
