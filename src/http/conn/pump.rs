//! Owns the sending of an answer: head and first bytes of body in one write, then body and socket
//! side by side, so that a slow client does not stop the reading of what feeds it.
//!
//! Must not know what feeds the body.

use super::head::{self, Framing};
use crate::http::body::Body;
use crate::http::client::Client;
use crate::http::h1::chunked;
use crate::http::h1::head::Version;
use crate::http::io::{self as stream_io, Deadline};
use crate::http::modules::{connection, headers, limit_rate, proxy};
use crate::http::pace::Pace;
use crate::http::request::Request;
use crate::http::request_body::RequestBody;
use crate::log::Level;
use crate::net::Pipe;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

/// Asked of a body at a time, and held for a slow client, unless the answer says otherwise.
const ROOM: usize = 64 * 1024;

/// A stretch of a file that is worth a system call of its own.
const SENT_BY_KERNEL: u64 = 32 * 1024;

/// Bytes of a file sent at once, so that a fast client does not keep the worker from the others
/// (nginx's `sendfile_max_chunk`).
const CHUNK: u64 = 2 * 1024 * 1024;

/// Rounds of reading and writing before other connections get their turn.
const ROUNDS: usize = 16;

/// The answer could not be sent whole; the connection cannot be used any more.
#[derive(Debug)]
pub struct Cut;

/// Sends the reply. `out` is scratch space.
pub async fn send(req: &mut Request, out: &mut Vec<u8>) -> Result<(), Cut> {
    let client = req.client.clone();
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).connection;
    let framing = head::framing(req, conf);
    if req.head.version != Version::Http09 && !req.reply.bare {
        head::write(req, conf, framing, out);
    }
    req.reply.head_sent = true;
    if req.header_only() || req.reply.status == 101 {
        let sent = client.write_all(out, conf.send_timeout).await;
        req.settle_try();
        return sent.map_err(|_| Cut);
    }
    let trailers = framing == Framing::Chunked && headers::has_trailers(req);
    body(req, out, framing, trailers).await?;
    if framing == Framing::Plain && req.reply.content_length.is_some_and(|n| n != req.body_sent) {
        // A length was promised that the body does not have, as when an upstream was asked HEAD for
        // a client's GET: the client would take the next answer for the rest.
        req.reply.truncated = true;
        return Err(Cut);
    }
    if trailers { end(req, out, conf).await } else { Ok(()) }
}

/// Sends what is in `out`, and the body behind it. `trailers` will follow.
pub async fn body(
    req: &mut Request,
    out: &mut Vec<u8>,
    framing: Framing,
    trailers: bool,
) -> Result<(), Cut> {
    let client = req.client.clone();
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).connection;
    let pace = limit_rate::begin(req).map(|(rate, after)| Pace::new(rate, after, req.started));
    let plain = framing == Framing::Plain && client.stream.borrow().is_plain();
    let by_kernel = plain && snapshot.conf(req.location).files.sendfile;
    let passes = plain && pace.is_none();
    let mut pump = Pump {
        pace,
        by_kernel,
        passes,
        trailers,
        promised: req.reply.content_length,
        client: &client,
        body: &mut req.reply.body,
        request: &mut req.body,
        watch: !req.reply.unwatched,
        framing,
        scratch: Vec::new(),
        out: std::mem::take(out),
        at: 0,
        more: true,
        failed: None,
        body_sent: &mut req.body_sent,
        head_waits: req.reply.head_waits,
        begun: false,
        room: if req.reply.window > 0 { req.reply.window } else { ROOM },
        deadline: Deadline::after(conf.send_timeout),
    };
    let sent = poll_fn(|cx| pump.poll(cx)).await;
    *out = std::mem::take(&mut pump.out);
    let failed = pump.failed.take();
    if sent.is_err() {
        outlast(req).await;
    }
    req.settle_try();
    if (sent.is_err() || failed.is_some()) && ends_with_connection(req) {
        reset(req);
    }
    report(req, sent, failed)
}

/// Whether a body is being sent whose end is that of the connection.
pub fn ends_with_connection(req: &Request) -> bool {
    req.reply.head_sent && head::ends_with_connection(req, &req.conf().connection)
}

/// Only a reset tells that such a body is not whole.
pub fn reset(req: &Request) {
    let _ = req.client.stream.borrow().reset_on_close();
}

/// The client has gone. What its request does behind is awaited all the same while its switch is closed.
async fn outlast(req: &mut Request) {
    if let Some(answer) = req.reply.body.answer_mut()
        && answer.outlasts_client()
    {
        answer.outlast(&mut req.body, &req.client).await;
    }
}

/// Takes note that the request ends here, whatever it had come to.
pub fn stop(req: &mut Request) {
    req.reply.truncated = true;
    req.settle_try();
}

/// Ends a chunked body whose trailers could be computed only now.
async fn end(req: &mut Request, out: &mut Vec<u8>, conf: &connection::Conf) -> Result<(), Cut> {
    proxy::trailers(req);
    headers::trailers(req);
    out.clear();
    req.reply.trailers.write_to(out);
    out.extend_from_slice(b"\r\n");
    req.body_sent += out.len() as u64;
    let client = req.client.clone();
    client.write_all(out, conf.send_timeout).await.map_err(|_| Cut)
}

/// Logs what went wrong; the answer's length or framing makes the client see it.
fn report(req: &mut Request, sent: io::Result<()>, failed: Option<io::Error>) -> Result<(), Cut> {
    if let Some(error) = failed {
        req.reply.truncated = true;
        if let Some(why) = error.get_ref() {
            // A filter's own words.
            req.log_error(format_args!("{why}"));
        } else if let Body::File(_) | Body::Parts(_) = req.reply.body.source() {
            req.log(Level::Crit, format_args!("read() failed{}", crate::log::os_error(&error)));
        }
        return Err(Cut);
    }
    sent.map_err(|error| {
        req.reply.truncated = true;
        if error.kind() == io::ErrorKind::TimedOut {
            req.log(
                Level::Info,
                format_args!(
                    "client timed out (110: Connection timed out) while sending response to client"
                ),
            );
        }
        Cut
    })
}

struct Pump<'a> {
    /// `limit_rate`.
    pace: Option<Pace>,
    /// The kernel may copy files.
    by_kernel: bool,
    /// The kernel may pass on what an upstream sends, as long as the client is fast enough.
    passes: bool,
    /// Trailers follow: the last chunk is written, the empty line after it is not.
    trailers: bool,
    /// The length that the head has promised.
    promised: Option<u64>,
    client: &'a Client,
    body: &'a mut Body,
    /// What may still have to go to who answers.
    request: &'a mut RequestBody,
    framing: Framing,
    scratch: Vec<u8>,
    /// Waiting to be written, from `at` on.
    out: Vec<u8>,
    at: usize,
    /// The body may have more.
    more: bool,
    /// The answer ends when the client goes away.
    watch: bool,
    /// Why the body ended early.
    failed: Option<io::Error>,
    body_sent: &'a mut u64,
    head_waits: bool,
    /// Something has been written.
    begun: bool,
    room: usize,
    deadline: Deadline,
}

impl Pump<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.more {
            // Even while the client takes nothing: it may be waiting to be read first.
            if let Err(error) = self.body.poll_request(self.request, self.client, cx) {
                self.fail(error);
            }
        }
        for _ in 0..ROUNDS {
            let filled = self.more
                && self.out.len() - self.at < self.room
                && !self.has_file()
                && (self.pass(cx)? || self.fill(cx).is_ready());
            let wrote = !self.holds_head() && self.write(cx)?;
            let empty = self.at == self.out.len();
            if empty && (self.failed.is_some() || !self.more) {
                return Poll::Ready(Ok(()));
            }
            // A write that has made room comes before a wait: the body has not been asked again yet.
            if !filled && !wrote {
                if self.more && !empty {
                    self.body.poll_ahead(cx);
                }
                // Nothing to send it from, or a client that is made to wait: is anybody still there?
                return self.waiting(self.watch && (empty || self.pace.is_some()), cx);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Nothing moves: pending, or the end if `watch` shows that the client has gone.
    fn waiting(&self, watch: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if watch && self.client.poll_gone(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Pending
    }

    /// What comes next is a file that the kernel is to copy.
    fn has_file(&self) -> bool {
        self.by_kernel
            && matches!(&*self.body, Body::File(slice) if slice.end - slice.at >= SENT_BY_KERNEL)
    }

    /// Has the kernel pass on what an upstream has sent; whether any of it moved. For a client that does
    /// not take it at once the rest is read, so that the upstream is not kept waiting.
    fn pass(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if !self.passes || self.at < self.out.len() {
            return Ok(false);
        }
        let Body::Upstream(answer) = &mut *self.body else { return Ok(false) };
        if !answer.gushes_plainly() {
            return Ok(false);
        }
        let Ok(mut pipe) = Pipe::empty() else {
            self.passes = false;
            return Ok(false);
        };
        let taken = answer.poll_pass(&mut pipe, cx);
        let done = answer.is_done();
        match taken {
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(error)) => {
                self.fail(error);
                return Ok(true);
            }
            Poll::Ready(Ok(taken)) => *self.body_sent += taken,
        }
        self.more = !done;
        self.drain(&mut pipe, cx)?;
        Ok(true)
    }

    /// Empties a pipe, into the socket as far as that goes.
    fn drain(&mut self, pipe: &mut Pipe, cx: &mut Context<'_>) -> io::Result<()> {
        while !pipe.is_empty() {
            match stream_io::poll_drain(&self.client.stream, pipe, cx) {
                Poll::Ready(Ok(n)) => self.note_sent(n),
                Poll::Ready(Err(error)) => {
                    self.client.broken.set(true);
                    return Err(error);
                }
                Poll::Pending => {
                    self.passes = false;
                    return pipe.empty_into(&mut self.out);
                }
            }
        }
        Ok(())
    }

    /// Takes what the body has, framed, into `out`.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at == self.out.len() {
            // While there was nothing to write, the client was not slow.
            self.deadline.restart();
        }
        let filled = match self.framing {
            Framing::Plain => {
                let before = self.out.len();
                let room = self.room - (self.out.len() - self.at);
                let filled = ready!(self.body.poll_fill(&mut self.out, room, cx));
                *self.body_sent += (self.out.len() - before) as u64;
                filled
            }
            Framing::Chunked => {
                self.scratch.clear();
                let filled = ready!(self.body.poll_fill(&mut self.scratch, self.room, cx));
                self.chunk(filled.as_ref().is_ok_and(|more| !more));
                filled
            }
        };
        match filled {
            Ok(more) => self.more = more,
            Err(error) => self.fail(error),
        }
        Poll::Ready(())
    }

    /// Nothing of a body has come that its head waits for.
    fn holds_head(&self) -> bool {
        self.head_waits && self.more && *self.body_sent == 0
    }

    /// The body cannot be completed; what there is of it still goes out.
    fn fail(&mut self, error: io::Error) {
        self.more = false;
        // An answer that is wrong from its first byte is none: nothing of it goes out.
        if error.kind() == io::ErrorKind::InvalidData && !self.begun && *self.body_sent == 0 {
            self.out.clear();
        }
        self.failed = Some(error);
    }

    /// Frames `scratch` as one chunk, and ends the body after the last.
    fn chunk(&mut self, last: bool) {
        let before = self.out.len();
        chunked::write_chunk(&self.scratch, &mut self.out);
        if last {
            self.out.extend_from_slice(if self.trailers { b"0\r\n" } else { chunked::LAST_CHUNK });
        }
        *self.body_sent += (self.out.len() - before) as u64;
    }

    fn is_as_promised(&self) -> bool {
        self.promised.is_none_or(|length| length == *self.body_sent)
    }

    /// Gives the room of what has been written back. A client that never takes all of it at once must
    /// not make `out` as long as the whole answer.
    fn forget_written(&mut self) {
        if self.at == self.out.len() {
            self.out.clear();
        } else if self.at >= self.room {
            self.out.drain(..self.at);
        } else {
            return;
        }
        self.at = 0;
    }

    /// Writes once; whether anything went out.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.at == self.out.len() {
            return if self.more && self.has_file() { self.send_file(cx) } else { Ok(false) };
        }
        let mut rest = &self.out[self.at..];
        if let Some(pace) = &mut self.pace {
            let Poll::Ready(room) = pace.poll(cx) else {
                self.deadline.restart();
                return Ok(false);
            };
            rest = &rest[..rest.len().min(room)];
        }
        let last = !self.more && rest.len() == self.out.len() - self.at;
        if last && !self.trailers && self.failed.is_none() && self.is_as_promised() {
            self.client.stream.borrow_mut().end_with_next();
        }
        match stream_io::poll_write(&self.client.stream, rest, cx) {
            Poll::Ready(Ok(n)) => {
                self.at += n;
                self.note_sent(n);
                self.forget_written();
                Ok(true)
            }
            Poll::Ready(Err(error)) => {
                self.client.broken.set(true);
                Err(error)
            }
            Poll::Pending => self.wait_to_write(cx),
        }
    }

    /// Has the kernel send some of the file.
    fn send_file(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Body::File(slice) = &mut *self.body else { return Ok(false) };
        let mut len = usize::try_from((slice.end - slice.at).min(CHUNK)).unwrap_or(usize::MAX);
        if let Some(pace) = &mut self.pace {
            let Poll::Ready(room) = pace.poll(cx) else {
                self.deadline.restart();
                return Ok(false);
            };
            len = len.min(room);
        }
        let (stream, at) = (&self.client.stream, slice.at);
        match stream_io::poll_send_file(stream, &slice.file, at, len, cx) {
            Poll::Ready(Ok(n)) => {
                slice.at += n as u64;
                self.more = slice.at < slice.end;
                *self.body_sent += n as u64;
                self.note_sent(n);
                Ok(true)
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.fail(error);
                Ok(true)
            }
            Poll::Ready(Err(error)) => {
                self.client.broken.set(true);
                Err(error)
            }
            Poll::Pending => self.wait_to_write(cx),
        }
    }

    /// Something has gone out.
    fn note_sent(&mut self, n: usize) {
        self.client.sent.set(self.client.sent.get() + n as u64);
        if let Some(pace) = &mut self.pace {
            pace.wrote(n);
        }
        self.begun = true;
        self.deadline.restart();
    }

    /// The client takes nothing; an error when that has lasted too long.
    fn wait_to_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        match self.deadline.poll(cx) {
            Poll::Ready(error) => Err(error),
            Poll::Pending => Ok(false),
        }
    }
}
