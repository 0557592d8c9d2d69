//! A connected byte stream: a socket, or TLS over one.
//!
//! Must not know a protocol above, nor timeouts.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::net::{TcpStream, UnixStream};

use super::address::Address;
use super::socket::{Idle, Peer, Socket};
use super::tls::Tls;

/// A connected stream. A write that would block is tried again with the same bytes, to which more may
/// have been added: TLS may have taken them already.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(Socket),
    /// After a handshake.
    Tls(Box<Tls>),
}

impl Stream {
    /// Connects without TLS; no timeout of its own. Dropping the future gives the attempt up.
    pub async fn connect(address: &Address) -> io::Result<Stream> {
        Ok(Stream::Plain(Socket::connect(address).await?))
    }

    /// Reads once. `Ok(0)` is the peer's end; `WouldBlock`: wait with [`readable`](Self::readable).
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.try_read(buffer),
            Stream::Tls(tls) => tls.try_read(buffer),
        }
    }

    /// As [`try_read`](Self::try_read), appending to `buffer` within the room it has already (which
    /// must not be zero: that would look like an end).
    pub fn try_read_buf(&mut self, buffer: &mut impl BufMut) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.try_read_buf(buffer),
            Stream::Tls(tls) => tls.try_read_buf(buffer),
        }
    }

    /// Writes once, perhaps only a part; `WouldBlock`: wait with [`writable`](Self::writable).
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.try_write(bytes),
            Stream::Tls(tls) => tls.try_write_vectored(&[IoSlice::new(bytes)]),
        }
    }

    /// Writes several pieces at once, perhaps only a part of them.
    pub fn try_write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.try_write_vectored(pieces),
            Stream::Tls(tls) => tls.try_write_vectored(pieces),
        }
    }

    /// Waits until a read can make progress. May wake for nothing. One task at a time.
    pub async fn readable(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// Waits until a write can make progress. May wake for nothing. One task at a time.
    pub async fn writable(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_writable(cx)).await
    }

    /// The poll form of [`readable`](Self::readable); only the latest waker is kept.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(socket) => socket.poll_readable(cx),
            Stream::Tls(tls) => tls.poll_readable(cx),
        }
    }

    /// The poll form of [`writable`](Self::writable); only the latest waker is kept.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_writable(cx)
    }

    /// Looks at a connection that should be quiet; takes nothing that a read would give.
    pub fn idle(&mut self) -> Idle {
        match self {
            Stream::Plain(socket) => socket.idle(),
            Stream::Tls(tls) => tls.idle(),
        }
    }

    /// Waits until a connection that should be quiet is not: bytes or its end. Takes nothing that a
    /// read would give.
    pub fn poll_disturbed(&mut self, cx: &mut Context<'_>) -> Poll<Idle> {
        match self {
            Stream::Plain(socket) => socket.poll_disturbed(cx),
            Stream::Tls(tls) => tls.poll_disturbed(cx),
        }
    }

    /// Says that nothing more will be sent; reading goes on.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.shutdown_write(),
            Stream::Tls(tls) => tls.shutdown_write(),
        }
    }

    /// What the handshake came to, if there was one.
    pub fn tls(&self) -> Option<&Tls> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => Some(tls),
        }
    }

    /// What is below.
    pub fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => tls.socket(),
        }
    }

    /// See [`Socket::peer`].
    pub fn peer(&self) -> io::Result<Peer> {
        self.socket().peer()
    }

    /// See [`Socket::local`].
    pub fn local(&self) -> io::Result<Address> {
        self.socket().local()
    }

    /// See [`Socket::set_nodelay`].
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.socket().set_nodelay(on)
    }

    /// See [`Socket::set_keepalive`].
    pub fn set_keepalive(&self, on: bool) -> io::Result<()> {
        self.socket().set_keepalive(on)
    }

    /// See [`Socket::reset_on_close`].
    pub fn reset_on_close(&self) -> io::Result<()> {
        self.socket().reset_on_close()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Stream::Plain(stream.into())
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Stream::Plain(stream.into())
    }
}
