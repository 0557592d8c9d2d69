//! Owns the sending of a request, which may go on while its answer already comes.
//!
//! Must not read from the server.

use super::exchange::{Exchange, Failure};
use super::h2::Fault;
use crate::http::client::Client;
use crate::http::h1::chunked;
use crate::http::io::{self as stream_io, Deadline};
use crate::http::request_body::{BodyError, RequestBody};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// Sent to an upstream at a time.
const WRITE: usize = 64 * 1024;

/// Writes before other connections get their turn.
const ROUNDS: usize = 16;

/// What follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// No body, or it stands behind the head already.
    Nothing,
    /// The body kept before.
    Kept,
    /// The body as it comes; `chunked` frames it anew.
    Stream { chunked: bool },
}

/// Where the request comes from; lent for each step.
pub struct Source<'a> {
    pub head: &'a [u8],
    pub body: &'a mut RequestBody,
    pub client: &'a Client,
}

/// How far the sending has come.
pub struct Sender {
    outgoing: Outgoing,
    /// Body bytes waiting to be written, from `at` on.
    out: Vec<u8>,
    at: usize,
    /// How much of the head has gone.
    head_at: usize,
    /// How much has been taken of a kept body.
    kept_at: u64,
    /// The body has more than stands in `out`.
    more: bool,
    /// The connection broke while writing; the answer may still be readable.
    pub(super) broken: Option<String>,
    send: Deadline,
    from_client: Deadline,
}

impl Sender {
    /// Nothing sent yet. `send_timeout` is between two writes, `body_timeout` between two reads of a
    /// body that is passed on as it comes.
    pub fn new(outgoing: Outgoing, send_timeout: Duration, body_timeout: Duration) -> Self {
        Self {
            outgoing,
            out: Vec::new(),
            at: 0,
            head_at: 0,
            kept_at: 0,
            more: outgoing != Outgoing::Nothing,
            broken: None,
            send: Deadline::after(send_timeout),
            from_client: Deadline::after(body_timeout),
        }
    }

    /// Whether the client's bytes are waited for: its going then shows by itself.
    pub fn reads_client(&self) -> bool {
        let wants = self.more && self.at == self.out.len() && self.broken.is_none();
        wants && matches!(self.outgoing, Outgoing::Stream { .. })
    }

    /// Takes over what is left of the head: from here on `Source::head` is empty.
    pub fn own_head(&mut self, head: &[u8]) {
        let rest = head.get(self.head_at..).unwrap_or_default();
        if !rest.is_empty() {
            self.out.splice(..self.at, rest.iter().copied());
            self.at = 0;
        }
        self.head_at = 0;
    }

    /// Writes until all has gone out. `Pending` when the socket is full, the client is slow or the
    /// connection has broken.
    pub fn poll(
        &mut self,
        exchange: &mut Exchange,
        from: &mut Source<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        if self.broken.is_some() {
            return Poll::Pending;
        }
        for _ in 0..ROUNDS {
            if self.is_empty(from.head) {
                if !self.more {
                    return Poll::Ready(Ok(()));
                }
                match self.refill(from, cx) {
                    Poll::Ready(Ok(())) => {
                        // While there was nothing to write, the server was not slow.
                        self.send.restart();
                        continue;
                    }
                    Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                    Poll::Pending if self.head_at == from.head.len() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            match self.write(exchange, from.head, cx) {
                Poll::Ready(Ok(())) => self.send.restart(),
                Poll::Ready(Err(err)) => {
                    if let Some(fault) = Fault::of(&err) {
                        return Poll::Ready(Err(Failure::Unfit(fault.to_string())));
                    }
                    self.broken = Some(format!("send() failed{}", crate::log::os_error(&err)));
                    return Poll::Pending;
                }
                Poll::Pending => {
                    return self.send.poll(cx).map(|_| Err(Failure::TimedOut));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Nothing is ready to be written but perhaps the head, which waits for the body's first bytes.
    fn is_empty(&self, head: &[u8]) -> bool {
        self.at == self.out.len() && (self.more || self.head_at == head.len())
    }

    /// Writes once: the head with the first bytes of the body in one piece.
    fn write(
        &mut self,
        exchange: &mut Exchange,
        head: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &head[self.head_at..];
        let joined;
        let bytes = if rest.is_empty() {
            &self.out[self.at..]
        } else if self.out.is_empty() {
            rest
        } else {
            joined = [rest, &self.out[self.at..]].concat();
            &joined
        };
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let n = std::task::ready!(stream_io::poll_write(&exchange.stream, bytes, cx))?;
        exchange.sent += n as u64;
        let of_head = n.min(head.len() - self.head_at);
        self.head_at += of_head;
        self.at += n - of_head;
        if self.at == self.out.len() {
            self.out.clear();
            self.at = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes more of the body into `out`.
    fn refill(&mut self, from: &mut Source<'_>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match self.outgoing {
            Outgoing::Nothing => self.more = false,
            Outgoing::Kept => {
                let Some(kept) = &from.body.kept else {
                    return Poll::Ready(Err(Failure::Body(BodyError::NotKept)));
                };
                match kept.read_at(self.kept_at, &mut self.out, WRITE) {
                    Ok(n) => {
                        self.kept_at += n as u64;
                        self.more = self.kept_at < kept.len();
                    }
                    Err(_) => return Poll::Ready(Err(Failure::Body(BodyError::NotKept))),
                }
            }
            Outgoing::Stream { chunked } => {
                let mut chunk = Vec::new();
                match from.body.poll_next(from.client, &mut chunk, cx) {
                    Poll::Pending => {
                        let late = self.from_client.poll(cx);
                        return late.map(|_| Err(Failure::Body(BodyError::TimedOut)));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Body(error))),
                    Poll::Ready(Ok(more)) => {
                        self.more = more;
                        self.from_client.restart();
                        frame(&mut self.out, &chunk, chunked, !more);
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Appends body bytes, as one chunk where the body is chunked.
fn frame(out: &mut Vec<u8>, bytes: &[u8], in_chunks: bool, last: bool) {
    if !in_chunks {
        return out.extend_from_slice(bytes);
    }
    chunked::write_chunk(bytes, out);
    if last {
        out.extend_from_slice(chunked::LAST_CHUNK);
    }
}
