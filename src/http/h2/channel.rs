//! Owns one stream of a connection: its request's body coming in, its answer going out, its end.
//!
//! Must not decide what is answered.

use crate::net::Carried;
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};
use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};

/// Frames are put together up to this many bytes.
const PIECE: usize = 16 * 1024;

/// A stream of an HTTP/2 connection.
#[derive(Debug)]
pub struct Channel {
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    body: RecvStream,
    /// Of the body: taken from the engine, and not from here.
    come: Option<Bytes>,
    respond: SendResponse<Bytes>,
    /// Where the answer's body goes, once its head has gone.
    answer: Option<SendStream<Bytes>>,
    /// Nothing more will be said.
    ended: bool,
    /// The next write is the last if it is taken whole.
    last: bool,
    /// `http2_chunk_size`.
    chunk: usize,
}

/// What the engine says of a stream that cannot go on.
fn broken(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl Channel {
    pub fn new(body: RecvStream, respond: SendResponse<Bytes>) -> Self {
        let inner = Inner {
            body,
            come: None,
            respond,
            answer: None,
            ended: false,
            last: false,
            chunk: usize::MAX,
        };
        Self { inner: RefCell::new(inner) }
    }

    /// Sends the head of the answer, which is all of it if `whole`; then bodies go in pieces of `chunk`.
    pub fn respond(&self, head: Response<()>, whole: bool, chunk: usize) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        inner.answer = Some(inner.respond.send_response(head, whole).map_err(broken)?);
        (inner.ended, inner.chunk) = (whole, chunk);
        Ok(())
    }

    /// Ends an answer that has not come to its end with its last byte.
    pub fn end(&self, trailers: Option<HeaderMap>) -> io::Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        let Some(answer) = inner.answer.as_mut().filter(|_| !inner.ended) else { return Ok(()) };
        inner.ended = true;
        match trailers {
            Some(trailers) => answer.send_trailers(trailers),
            None => answer.send_data(Bytes::new(), true),
        }
        .map_err(broken)
    }

    /// Gives the stream up.
    pub fn reset(&self, reason: Reason) {
        let mut inner = self.inner.borrow_mut();
        inner.ended = true;
        inner.respond.send_reset(reason);
    }
}

impl Inner {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.come.is_some() {
            return Poll::Ready(Ok(()));
        }
        let Some(first) = ready!(self.body.poll_data(cx)).transpose().map_err(broken)? else {
            self.come = Some(Bytes::new());
            return Poll::Ready(Ok(()));
        };
        // What has come in several frames goes on in one piece. An error waits for the next time.
        let mut whole = BytesMut::new();
        while first.len() + whole.len() < PIECE
            && let Poll::Ready(Some(Ok(more))) = self.body.poll_data(cx)
        {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&more);
        }
        self.come = Some(if whole.is_empty() { first } else { whole.freeze() });
        Poll::Ready(Ok(()))
    }
}

impl Carried for Channel {
    fn try_take(&self, most: usize) -> io::Result<Bytes> {
        let inner = &mut *self.inner.borrow_mut();
        let Some(come) = &mut inner.come else { return Err(io::ErrorKind::WouldBlock.into()) };
        let taken = come.split_to(come.len().min(most));
        if come.is_empty() && !inner.body.is_end_stream() {
            inner.come = None;
        }
        // Only now may the client send as much again.
        let _ = inner.body.flow_control().release_capacity(taken.len());
        Ok(taken)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let inner = &mut *self.inner.borrow_mut();
        let last = std::mem::take(&mut inner.last);
        let Some(answer) = &mut inner.answer else { return Err(io::ErrorKind::BrokenPipe.into()) };
        answer.reserve_capacity(bytes.len());
        let taken = answer.capacity().min(bytes.len());
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut rest = Bytes::copy_from_slice(bytes.get(..taken).unwrap_or_default());
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(inner.chunk));
            let ends = last && taken == bytes.len() && rest.is_empty();
            answer.send_data(piece, ends).map_err(broken)?;
            inner.ended |= ends;
        }
        Ok(taken)
    }

    fn end_with_next(&self) {
        self.inner.borrow_mut().last = true;
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.borrow_mut().poll_body(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner.borrow_mut();
        let Some(answer) = &mut inner.answer else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        match ready!(answer.poll_capacity(cx)) {
            Some(room) => Poll::Ready(room.map(|_| ()).map_err(broken)),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        if inner.ended {
            return Poll::Pending;
        }
        let gone = match &mut inner.answer {
            Some(answer) => answer.poll_reset(cx),
            None => inner.respond.poll_reset(cx),
        };
        gone.map(|_| ())
    }
}
