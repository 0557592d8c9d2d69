//! Owns a subrequest whose body becomes part of another body, in its place there.
//!
//! Must not know where that place is.

use super::pipeline::Verdict;
use super::request::Request;
use super::subrequest;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A subrequest and how far it is.
pub struct Include(State);

enum State {
    /// Not begun.
    New(Box<Request>),
    /// On its way to an answer.
    Asking(Pin<Box<dyn Future<Output = (Box<Request>, Verdict)>>>),
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
        Self(State::New(Box::new(sub)))
    }

    /// Goes on until the head of the answer is there; its status. An error means that the whole
    /// request is to end.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u16>> {
        loop {
            match &mut self.0 {
                State::New(_) => {
                    let State::New(mut sub) = std::mem::replace(&mut self.0, State::Done) else {
                        continue;
                    };
                    self.0 = State::Asking(Box::pin(async move {
                        let verdict = subrequest::run(&mut sub).await;
                        (sub, verdict)
                    }));
                }
                State::Asking(asking) => {
                    let (sub, verdict) = ready!(asking.as_mut().poll(cx));
                    if verdict == Verdict::Close {
                        self.0 = State::Done;
                        return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                    }
                    self.0 = State::Reading(sub);
                }
                State::Reading(sub) => return Poll::Ready(Ok(sub.reply.status)),
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
        let State::Reading(sub) = &mut self.0 else { return Poll::Ready(Ok(false)) };
        let filled = if sub.header_only() {
            Ok(false)
        } else {
            ready!(sub.reply.body.poll_fill(out, room, cx))
        };
        if !matches!(filled, Ok(true)) {
            sub.settle_try();
            subrequest::log(sub);
            self.0 = State::Done;
        }
        Poll::Ready(filled)
    }
}
