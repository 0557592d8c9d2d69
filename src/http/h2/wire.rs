//! Owns the engine's view of the client's connection: bytes in past the guard, bytes out within the time
//! a client has for taking them.
//!
//! Must not know frames.

use super::guard::Guard;
use crate::http::client::Client;
use crate::http::io::Deadline;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client's connection as the engine reads and writes it.
#[derive(Debug)]
pub struct Wire {
    client: Rc<Client>,
    guard: Rc<Guard>,
    /// `send_timeout`: between two successful writes.
    stalled: Deadline,
}

impl Wire {
    pub fn new(client: Rc<Client>, guard: Rc<Guard>, send_timeout: Duration) -> Self {
        Self { client, guard, stalled: Deadline::after(send_timeout) }
    }

    /// Gives what was read before the engine was asked.
    fn read_ahead(&self, buffer: &mut ReadBuf<'_>) -> bool {
        let mut input = self.client.input.borrow_mut();
        if input.is_empty() {
            return false;
        }
        let taken = input.len().min(buffer.remaining());
        let bytes = input.drain(..taken);
        buffer.put_slice(bytes.as_slice());
        self.guard.pass(bytes.as_slice());
        true
    }

    fn wrote(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        match &result {
            Ok(n) => {
                self.client.sent.set(self.client.sent.get() + *n as u64);
                self.stalled.restart();
            }
            Err(_) => self.client.broken.set(true),
        }
        result
    }

    /// Waits for room on the socket, as long as the client may take to make some.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(room) = self.client.stream.borrow().poll_writable(cx) {
            return Poll::Ready(room);
        }
        self.stalled.poll(cx).map(Err)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.guard.flood().is_some() {
            // Whoever drives the engine ends it now.
            return Poll::Pending;
        }
        if self.read_ahead(buffer) {
            return Poll::Ready(Ok(()));
        }
        loop {
            let before = buffer.filled().len();
            let got = self.client.stream.borrow_mut().try_read_buf(buffer);
            match got {
                Ok(_) => {
                    self.guard.pass(buffer.filled().get(before..).unwrap_or_default());
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.client.stream.borrow().poll_readable(cx))?;
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let got = self.client.stream.borrow_mut().try_write_vectored(pieces);
            match got {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(self.wrote(done)),
            }
            if let Err(error) = ready!(self.poll_room(cx)) {
                return Poll::Ready(self.wrote(Err(error)));
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The connection's own task closes it, in its own time.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
