//! Owns one HTTP/2 connection to an upstream as the exchange sees it: HTTP/1 is written to it and read
//! from it, and goes over the wire as a stream.
//!
//! Must not keep time; whoever waits does.

use super::asked::{self, Body};
use super::fault::Fault;
use super::told::{self, Framing};
use crate::net::Carried;
use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::Method;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::sync::oneshot;

/// Read at a time.
const PIECE: usize = 16 * 1024;

/// Whether the connection has ended, and who waits to know.
#[derive(Debug, Default)]
pub struct Over {
    over: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Over {
    /// It has.
    pub fn tell(&self) {
        self.over.set(true);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.over.get() {
            return Poll::Ready(());
        }
        self.waiting.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// A connection.
#[derive(Debug)]
pub struct Line {
    inner: RefCell<Inner>,
    over: std::rc::Rc<Over>,
    /// Its end tells the engine's task that nobody has the connection any more.
    _held: oneshot::Sender<Infallible>,
    tls: bool,
}

#[derive(Debug)]
struct Inner {
    send: SendRequest<Bytes>,
    /// Of a request: as much of its head as has come.
    head: Vec<u8>,
    body: Body,
    /// Where the body goes, until it has ended.
    out: Option<SendStream<Bytes>>,
    answer: Answer,
    /// Of the answer: what waits to be read.
    back: BytesMut,
}

/// How far an answer has come.
#[derive(Debug)]
enum Answer {
    /// Nothing is asked, or all has been told.
    Nothing,
    /// Whether it is one to HEAD.
    Awaited(ResponseFuture, bool),
    Body(RecvStream, Framing),
}

/// Bytes that the framing of a request does not cover; taken for a head, they would be another request.
const BEYOND: Fault = Fault::Request("more bytes than its header fields announce");

/// What the engine says of a stream or connection that cannot go on.
pub fn broken(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl Line {
    pub fn new(
        send: SendRequest<Bytes>,
        over: std::rc::Rc<Over>,
        held: oneshot::Sender<Infallible>,
        tls: bool,
    ) -> Self {
        let inner = Inner {
            send,
            head: Vec::new(),
            body: Body::Nothing,
            out: None,
            answer: Answer::Nothing,
            back: BytesMut::new(),
        };
        Self { inner: RefCell::new(inner), over, _held: held, tls }
    }
}

impl Inner {
    /// Takes bytes of a head, and what stands behind it.
    fn write_head(&mut self, bytes: &[u8], tls: bool) -> io::Result<usize> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let end = memchr::memmem::find(&self.head, b"\r\n\r\n");
        let Some(end) = end.map(|at| at + 4) else { return Ok(bytes.len()) };
        let (request, body) = asked::head(&self.head[..end], tls)?;
        self.head.clear();
        let rest = &bytes[end - before..];
        let to_head = request.method() == Method::HEAD;
        let whole = matches!(body, Body::Nothing);
        if whole && !rest.is_empty() {
            return Err(BEYOND.into());
        }
        let (answer, out) = self.send.send_request(request, whole).map_err(broken)?;
        self.answer = Answer::Awaited(answer, to_head);
        self.back.clear();
        self.body = body;
        self.out = (!whole).then_some(out);
        self.write_body(rest)?;
        Ok(bytes.len())
    }

    /// Whether an exchange is under way, as HTTP/1 sees it: not all of its answer has been read.
    fn is_busy(&self) -> bool {
        !self.back.is_empty()
            || match self.answer {
                Answer::Nothing | Answer::Body(_, Framing::Nothing | Framing::Length(0)) => false,
                Answer::Awaited(..) | Answer::Body(..) => true,
            }
    }

    /// Takes bytes of a body as HTTP/1 frames it.
    fn write_body(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let ended = match &mut self.body {
            Body::Nothing => true,
            Body::Left(left) => {
                *left = left.checked_sub(bytes.len() as u64).ok_or(BEYOND)?;
                if !bytes.is_empty() {
                    let data = Bytes::copy_from_slice(bytes);
                    out.send_data(data, *left == 0).map_err(broken)?;
                }
                *left == 0
            }
            Body::Chunked(decoder) => {
                let (mut rest, mut ended) = (bytes, false);
                while !rest.is_empty() && !ended {
                    let step = decoder.decode(rest).map_err(|_| io::ErrorKind::InvalidInput)?;
                    let data = rest.get(step.data).unwrap_or_default();
                    ended = step.finished;
                    if !data.is_empty() || ended {
                        out.send_data(Bytes::copy_from_slice(data), ended).map_err(broken)?;
                    }
                    rest = &rest[step.consumed..];
                }
                if !rest.is_empty() {
                    return Err(BEYOND.into());
                }
                ended
            }
        };
        if ended {
            self.out = None;
        }
        Ok(())
    }

    /// Waits until there is something to be read.
    fn poll_answer(&mut self, over: &Over, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.back.is_empty() {
            match &mut self.answer {
                Answer::Nothing => return over.poll(cx).map(Ok),
                Answer::Awaited(awaited, to_head) => {
                    if let Poll::Ready(Some(interim)) = awaited.poll_informational(cx) {
                        told::head(&interim.map_err(broken)?, false, &mut self.back)?;
                        continue;
                    }
                    let response = ready!(Pin::new(awaited).poll(cx)).map_err(broken)?;
                    let framing = told::head(&response, *to_head, &mut self.back)?;
                    self.answer = Answer::Body(response.into_body(), framing);
                }
                Answer::Body(body, framing) => {
                    if let Some(data) = ready!(body.poll_data(cx)) {
                        let mut data = data.map_err(broken)?;
                        loop {
                            let _ = body.flow_control().release_capacity(data.len());
                            told::data(&data, framing, &mut self.back);
                            // What has come in several frames goes on in one piece.
                            if self.back.len() >= PIECE {
                                break;
                            }
                            let Poll::Ready(Some(more)) = body.poll_data(cx) else { break };
                            data = more.map_err(broken)?;
                        }
                    } else {
                        let trailers = ready!(body.poll_trailers(cx)).map_err(broken)?;
                        told::end(trailers.as_ref(), *framing, &mut self.back);
                        self.answer = Answer::Nothing;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Carried for Line {
    fn try_take(&self, most: usize) -> io::Result<Bytes> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.back.is_empty() {
            let ended = self.over.over.get() && matches!(inner.answer, Answer::Nothing);
            return if ended { Ok(Bytes::new()) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let taken = inner.back.len().min(most);
        Ok(inner.back.split_to(taken).freeze())
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let inner = &mut *self.inner.borrow_mut();
        if let Some(out) = &mut inner.out {
            out.reserve_capacity(bytes.len());
            if out.capacity() == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            inner.write_body(bytes)?;
            return Ok(bytes.len());
        }
        if inner.is_busy() {
            return Err(BEYOND.into());
        }
        match inner.send.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ready) => ready.map_err(broken)?,
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
        }
        inner.write_head(bytes, self.tls)
    }

    fn end_with_next(&self) {}

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.borrow_mut().poll_answer(&self.over, cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.inner.borrow_mut();
        let Some(out) = &mut inner.out else {
            return inner.send.poll_ready(cx).map_err(broken);
        };
        match ready!(out.poll_capacity(cx)) {
            Some(room) => Poll::Ready(room.map(|_| ()).map_err(broken)),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.over.poll(cx)
    }
}
