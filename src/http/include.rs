//! Owns a subrequest whose body becomes part of another body, in its place there.
//!
//! Must not know where that place is.

use super::modules::ssi;
use super::pipeline::Verdict;
use super::reply::Reply;
use super::request::Request;
use super::subrequest;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A subrequest and how far it is.
pub struct Include {
    state: State,
    /// Nothing of a body has come.
    empty: bool,
    /// What stands for a body that turns out empty, with its type.
    stub: Option<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A subrequest that is being answered.
type Asking = Pin<Box<dyn Future<Output = (Box<Request>, Verdict)>>>;

enum State {
    /// Not begun.
    New(Box<Request>),
    Asking(Asking),
    /// Its body is being read.
    Reading(Box<Request>),
    Done,
}

impl fmt::Debug for Include {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Include").finish_non_exhaustive()
    }
}

impl Include {
    /// One that begins when it is first polled.
    pub fn new(sub: Request) -> Self {
        Self { state: State::New(Box::new(sub)), empty: true, stub: None }
    }

    /// Gives it a body for the case that it has none.
    pub fn or_else(&mut self, body: Vec<u8>, content_type: Option<Vec<u8>>) {
        self.stub = Some((body, content_type));
    }

    /// The subrequest, once its answer's head is there.
    pub fn request(&self) -> Option<&Request> {
        match &self.state {
            State::Reading(sub) => Some(sub),
            _ => None,
        }
    }

    /// Goes on until the head of the answer is there; its status. An error means that the whole
    /// request is to end.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u16>> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Done) {
                State::New(sub) => State::Asking(Box::pin(asked(sub))),
                State::Asking(mut asking) => match asking.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.state = State::Asking(asking);
                        return Poll::Pending;
                    }
                    Poll::Ready((_, Verdict::Close)) => {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                    }
                    Poll::Ready((sub, Verdict::Send)) => State::Reading(sub),
                },
                State::Reading(sub) => {
                    let status = sub.reply.status;
                    self.state = State::Reading(sub);
                    return Poll::Ready(Ok(status));
                }
                State::Done => return Poll::Ready(Ok(0)),
            }
        }
    }

    /// Appends bytes of the body, as `Body::poll_fill` does.
    pub fn poll_fill(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        ready!(self.poll_head(cx))?;
        let State::Reading(sub) = &mut self.state else { return Poll::Ready(Ok(false)) };
        let before = out.len();
        let filled = if sub.header_only() {
            Ok(false)
        } else {
            ready!(sub.reply.body.poll_fill(out, room, cx))
        };
        self.empty &= out.len() == before;
        if matches!(filled, Ok(true)) {
            return Poll::Ready(filled);
        }
        sub.settle_try();
        if let (Ok(_), true, Some((body, content_type))) = (&filled, self.empty, self.stub.take()) {
            sub.reply = Reply { content_type, ..Reply::text(200, b"", body) };
            ssi::run(sub);
            return Poll::Ready(Ok(true));
        }
        subrequest::log(sub);
        self.state = State::Done;
        Poll::Ready(filled)
    }
}

async fn asked(mut sub: Box<Request>) -> (Box<Request>, Verdict) {
    let verdict = subrequest::run(&mut sub).await;
    (sub, verdict)
}
