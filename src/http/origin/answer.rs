//! Owns the second half of an exchange: the answer's body, and what becomes of the connection.

use super::ahead::{Ahead, ReadAhead};
use super::exchange::{Exchange, Failure};
use super::sender::Source;
use crate::http::affinity::Lesson;
use crate::http::client::Client;
use crate::http::h1::chunked::Decoder;
use crate::http::h1::framing::Length;
use crate::http::headers::Headers;
use crate::http::io::{self as stream_io, Deadline};
use crate::http::pace::Pace;
use crate::http::passage::Passage;
use crate::http::request_body::RequestBody;
use crate::net::{Pipe, Stream};
use crate::upstream::{Group, Outcome, PeerRef, Pooled, Tag};
use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// What is needed to read a body and to give its connection back.
pub struct Plan {
    pub length: Length,
    pub read_timeout: Duration,
    pub group: Rc<Group>,
    pub peer: PeerRef,
    pub tag: Tag,
    /// The request's place in the count of its switch, until the answer has ended.
    pub passage: Option<Passage>,
    /// Requests on this connection, this one included, and when it was opened.
    pub requests: u64,
    pub since: tokio::time::Instant,
    /// Neither side has said that the connection ends here.
    pub keep: bool,
}

/// Steps of reading ahead before other connections get their turn.
const AHEAD_ROUNDS: usize = 16;

/// Bytes still to come that are worth a pipe.
const PASSED_ON: u64 = 64 * 1024;

/// Read at a time of a body that nobody wants.
const DISCARDED: usize = 64 * 1024;

/// How a body is being read.
enum Rest {
    /// Bytes still to come.
    Left(u64),
    Chunked(Box<Decoder>),
    UntilClose,
    Done,
}

/// An answer whose body is being read.
pub struct Answer {
    exchange: Option<Exchange>,
    plan: Option<Plan>,
    rest: Rest,
    /// `proxy_limit_rate`.
    pace: Option<Pace>,
    /// What has been read before the client wanted it; `None` where that is not done.
    ahead: Option<Box<(Ahead, Arc<ReadAhead>)>>,
    /// What is to be remembered of it when it has ended (`sticky learn`).
    lesson: Option<Box<Lesson>>,
    deadline: Deadline,
    /// Body bytes so far, framing undone.
    pub length: u64,
    pub sent: u64,
    pub received: u64,
    /// When the body ended.
    pub ended: Option<Instant>,
    /// Fields behind a chunked body, once it has ended.
    trailers: Option<Box<Headers>>,
    /// nginx's sentence on what went wrong, for the log.
    pub trouble: Option<&'static str>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("length", &self.length).finish_non_exhaustive()
    }
}

/// A connection that has been upgraded: from here on bytes go both ways as they are.
pub struct Tunnel {
    pub stream: RefCell<Stream>,
    /// Came behind the head.
    pub first: Vec<u8>,
    pub timeout: Duration,
    _peer: PeerRef,
    _passage: Option<Passage>,
}

impl Answer {
    /// Begins to read a body; one without bytes ends here.
    pub(super) fn new(exchange: Exchange, plan: Plan) -> Self {
        let rest = match plan.length {
            Length::None | Length::Known(0) => Rest::Done,
            Length::Known(n) => Rest::Left(n),
            Length::Chunked => Rest::Chunked(Box::default()),
            Length::UntilClose => Rest::UntilClose,
        };
        let mut answer = Self {
            sent: exchange.sent,
            received: exchange.received,
            deadline: Deadline::after(plan.read_timeout),
            exchange: Some(exchange),
            plan: Some(plan),
            rest,
            pace: None,
            ahead: None,
            lesson: None,
            length: 0,
            ended: None,
            trailers: None,
            trouble: None,
        };
        if matches!(answer.rest, Rest::Done) {
            answer.end();
        }
        answer
    }

    /// Reads no more than this many bytes a second from now on; 0 is any number.
    pub fn pace(&mut self, rate: u64) {
        if rate == 0 {
            return;
        }
        let mut pace = Pace::new(rate, 0, Instant::now());
        pace.wrote(self.exchange.as_ref().map_or(0, |exchange| exchange.unused().len()));
        self.pace = Some(pace);
    }

    /// Has this remembered when the answer has ended.
    pub fn teach(&mut self, lesson: Lesson) {
        if self.is_done() {
            lesson.learn();
        } else {
            self.lesson = Some(Box::new(lesson));
        }
    }

    /// Allows what the client is too slow for to be read all the same.
    pub fn read_ahead(&mut self, limits: &Arc<ReadAhead>) {
        self.ahead = Some(Box::new((Ahead::default(), limits.clone())));
    }

    /// What went into a file, for the log: whether anything did, and why no more.
    pub fn on_disk(&self) -> (bool, Option<&io::Error>) {
        let ahead = self.ahead.as_ref().map(|ahead| &ahead.0);
        (ahead.is_some_and(|ahead| ahead.used), ahead.and_then(|ahead| ahead.trouble.as_ref()))
    }

    /// Reads on while the client takes nothing.
    pub fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        let Some(mut kept) = self.ahead.take() else { return };
        let (ahead, limits) = &mut *kept;
        let mut read = Vec::new();
        for round in 0.. {
            if self.is_done() || !ahead.has_room(limits) {
                break;
            }
            if round == AHEAD_ROUNDS {
                cx.waker().wake_by_ref();
                break;
            }
            read.clear();
            let got = self.poll_upstream(&mut read, limits.step, cx);
            ahead.keep(&read, limits);
            match got {
                Poll::Pending => break,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => ahead.failed = Some(error),
            }
        }
        self.ahead = Some(kept);
    }

    /// What has been read ahead: `None` when there is none left.
    fn take_ahead(&mut self, out: &mut Vec<u8>, room: usize) -> Option<io::Result<bool>> {
        let done = self.is_done();
        let ahead = &mut self.ahead.as_mut()?.0;
        if ahead.is_empty() {
            return ahead.failed.take().map(Err);
        }
        let taken = ahead.take(out, room);
        Some(taken.map(|()| !(done && ahead.is_empty() && ahead.failed.is_none())))
    }

    /// Goes on with a request that was still being sent when its answer began. An error means that
    /// the client's part of it is lost.
    pub fn poll_request(
        &mut self,
        body: &mut RequestBody,
        client: &Client,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let Some(exchange) = &mut self.exchange else { return Ok(()) };
        let Some(mut sender) = exchange.sender.take() else { return Ok(()) };
        match sender.poll(exchange, &mut Source { head: &[], body, client }, cx) {
            Poll::Pending => exchange.sender = Some(sender),
            Poll::Ready(Ok(())) => exchange.request_sent = true,
            Poll::Ready(Err(Failure::Body(_))) => {
                self.trouble = Some("client request body could not be read while reading upstream");
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            // A server that reads no more may still have more to say.
            Poll::Ready(Err(_)) => {}
        }
        self.sent = exchange.sent;
        Ok(())
    }

    /// Whether fields may follow the body.
    pub fn may_have_trailers(&self) -> bool {
        matches!(self.rest, Rest::Chunked(_))
    }

    /// Those that did.
    pub fn trailers(&self) -> Option<&Headers> {
        self.trailers.as_deref()
    }

    /// Whether the whole body has been read.
    pub fn is_done(&self) -> bool {
        matches!(self.rest, Rest::Done)
    }

    /// Nobody wants the rest: the head has said what came of the request.
    pub fn dismiss(mut self) {
        self.suffices();
    }

    /// What has come of it is all that anybody wants, as [`dismiss`](Self::dismiss).
    pub fn suffices(&mut self) {
        if let Some(plan) = &mut self.plan {
            settle(plan);
        }
    }

    /// Whether it is to be read to its end although nobody wants it: what is under way when a switch
    /// closes is not given up, or nobody would know what came of it.
    pub fn outlasts_client(&self) -> bool {
        let passage = self.plan.as_ref().and_then(|plan| plan.passage.as_ref());
        passage.is_some_and(Passage::outlasts_client)
    }

    /// Reads the rest and throws it away.
    pub async fn outlast(&mut self, body: &mut RequestBody, client: &Client) {
        let mut out = Vec::new();
        poll_fn(|cx| {
            loop {
                if self.poll_request(body, client, cx).is_err() {
                    return Poll::Ready(());
                }
                out.clear();
                match ready!(self.poll_fill(&mut out, DISCARDED, cx)) {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }

    /// Gives up HTTP on this connection.
    pub fn into_tunnel(mut self) -> Option<Tunnel> {
        let (exchange, mut plan) = (self.exchange.take()?, self.plan.take()?);
        if let Some(passage) = &mut plan.passage {
            passage.upgrade();
        }
        Some(Tunnel {
            first: exchange.unused().to_vec(),
            stream: exchange.stream,
            timeout: plan.read_timeout,
            _peer: plan.peer,
            _passage: plan.passage,
        })
    }

    /// Appends body bytes; `Ready(Ok(false))` at the end. An error means that the answer is cut
    /// short: `trouble` says how.
    pub fn poll_fill(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        match self.take_ahead(out, room) {
            Some(taken) => Poll::Ready(taken),
            None => self.poll_upstream(out, room, cx),
        }
    }

    /// The same from the upstream itself.
    fn poll_upstream(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let start = out.len();
        loop {
            self.take(out)?;
            if self.is_done() {
                self.length += (out.len() - start) as u64;
                self.end();
                return Poll::Ready(Ok(false));
            }
            let got = out.len() - start;
            // A read that filled its buffer left more behind: one write for both is cheaper.
            if got > 0 && !(self.gushes() && got < room) {
                break;
            }
            match self.poll_read(out, room - got, cx) {
                Poll::Pending if got > 0 => break,
                read => ready!(read)?,
            }
        }
        self.length += (out.len() - start) as u64;
        self.deadline.restart();
        Poll::Ready(Ok(true))
    }

    fn gushes(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.gushes)
    }

    /// Undoes the framing of what has been read.
    fn take(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(exchange) = &mut self.exchange else { return Ok(()) };
        let input = exchange.unused();
        let used;
        match &mut self.rest {
            Rest::Done => return Ok(()),
            Rest::UntilClose => {
                out.extend_from_slice(input);
                used = input.len();
            }
            Rest::Left(left) => {
                let n = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.extend_from_slice(&input[..n]);
                used = n;
                *left -= n as u64;
                if *left == 0 {
                    self.rest = Rest::Done;
                }
            }
            Rest::Chunked(decoder) => {
                let mut at = 0;
                while at < input.len() {
                    let Ok(step) = decoder.decode(&input[at..]) else {
                        self.trouble =
                            Some("upstream sent invalid chunked response while reading upstream");
                        return Err(io::ErrorKind::InvalidData.into());
                    };
                    out.extend_from_slice(&input[at + step.data.start..at + step.data.end]);
                    at += step.consumed;
                    if step.finished {
                        let trailers = decoder.trailers();
                        if !trailers.is_empty() {
                            self.trailers = Some(Box::new(trailers.clone()));
                        }
                        self.rest = Rest::Done;
                        break;
                    }
                }
                used = at;
            }
        }
        exchange.consume(used);
        Ok(())
    }

    /// Reads once: a body of known length straight into `out`, others into the exchange's input.
    fn poll_read(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(Ok(())) };
        let Exchange { stream, input, .. } = exchange;
        let mut room = room;
        if let Some(pace) = &mut self.pace {
            let Poll::Ready(allowed) = pace.poll(cx) else {
                // The upstream is not slow: it is not asked.
                self.deadline.restart();
                return Poll::Pending;
            };
            room = room.min(allowed);
        }
        let got = match &mut self.rest {
            Rest::Left(left) => {
                room = room.min(usize::try_from(*left).unwrap_or(usize::MAX));
                let got = stream_io::poll_read(stream, out, room, cx);
                if let Poll::Ready(Ok(n)) = got {
                    *left -= n as u64;
                    if *left == 0 {
                        self.rest = Rest::Done;
                    }
                }
                got
            }
            Rest::UntilClose => stream_io::poll_read(stream, out, room, cx),
            _ => stream_io::poll_read(stream, input, room, cx),
        };
        self.note(got, room, cx)
    }

    /// What a read of up to `room` bytes came to; the time is counted while there is nothing to read.
    fn note(
        &mut self,
        got: Poll<io::Result<usize>>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match got {
            Poll::Ready(Ok(0)) => Poll::Ready(self.closed()),
            Poll::Ready(Ok(n)) => {
                if let Some(exchange) = &mut self.exchange {
                    exchange.received += n as u64;
                    exchange.gushes = n == room && self.pace.is_none();
                }
                if let Some(pace) = &mut self.pace {
                    pace.wrote(n);
                }
                self.received += n as u64;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(err)) => {
                self.trouble = Some("recv() failed while reading upstream");
                Poll::Ready(Err(err))
            }
            Poll::Pending => self.deadline.poll(cx).map(|error| {
                self.trouble =
                    Some("upstream timed out (110: Connection timed out) while reading upstream");
                Err(error)
            }),
        }
    }

    /// Whether so much is still to come, and goes on as it comes, that the kernel should pass it on.
    pub fn gushes_plainly(&self) -> bool {
        let Some(exchange) = &self.exchange else { return false };
        matches!(self.rest, Rest::Left(left) if left >= PASSED_ON)
            && self.pace.is_none()
            && self.ahead.as_ref().is_none_or(|kept| kept.0.is_empty() && kept.0.failed.is_none())
            && exchange.unused().is_empty()
            && exchange.sender.is_none()
            && exchange.stream.borrow().is_plain()
    }

    /// Has the kernel take body bytes into an empty pipe; how many. Only while it
    /// [`gushes_plainly`](Self::gushes_plainly).
    pub fn poll_pass(&mut self, pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let (Some(exchange), Rest::Left(left)) = (&self.exchange, &mut self.rest) else {
            return Poll::Ready(Ok(0));
        };
        let room = usize::try_from(*left).unwrap_or(usize::MAX);
        let got = stream_io::poll_fill(&exchange.stream, pipe, room, cx);
        let taken = if let Poll::Ready(Ok(n)) = got { n as u64 } else { 0 };
        *left -= taken;
        let finished = *left == 0;
        ready!(self.note(got, usize::MAX, cx))?;
        self.length += taken;
        self.deadline.restart();
        if finished {
            self.rest = Rest::Done;
            self.end();
        }
        Poll::Ready(Ok(taken))
    }

    /// The upstream has closed: the end of a body that has no other, else a truncation.
    fn closed(&mut self) -> io::Result<()> {
        if let Rest::UntilClose = self.rest {
            self.rest = Rest::Done;
            return Ok(());
        }
        self.trouble = Some("upstream prematurely closed connection while reading upstream");
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// The exchange is complete: the connection goes back to its group if it may.
    fn end(&mut self) {
        let (Some(exchange), Some(mut plan)) = (self.exchange.take(), self.plan.take()) else {
            return;
        };
        settle(&mut plan);
        if let Some(lesson) = self.lesson.take() {
            lesson.learn();
        }
        let now = tokio::time::Instant::now();
        self.ended = Some(now.into_std());
        if !exchange.unused().is_empty() {
            self.trouble = Some(
                "upstream sent more data than specified in \"Content-Length\" header while reading upstream",
            );
        } else if plan.keep && exchange.request_sent {
            let stream = exchange.stream.into_inner();
            let connection = Pooled { stream, requests: plan.requests, since: plan.since };
            plan.group.pool().put(&plan.peer, plan.tag, connection, now);
        } else {
            exchange.stream.into_inner().say_end();
        }
        plan.group.free(plan.peer, Outcome::Ok, now);
    }
}

/// What came of the request is known.
fn settle(plan: &mut Plan) {
    if let Some(passage) = &mut plan.passage {
        passage.settle();
    }
}
