//! A connected byte stream: a socket, or TLS over one.
//!
//! Must not know a protocol above, nor timeouts.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use bytes::BufMut;
use rustls::Connection;
use rustls::server::Accepted;
use tokio::net::{TcpStream, UnixStream};

use super::address::Address;
use super::socket::{Idle, Peer, Socket};
use super::tls::{Hello, Tls};

/// A connected stream. A write that would block is tried again with the same bytes, to which more may
/// have been added: TLS may have taken them already.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    tls: Option<Box<Tls>>,
}

impl Stream {
    /// Connects without TLS; no timeout of its own. Dropping the future gives the attempt up.
    pub async fn connect(address: &Address) -> io::Result<Stream> {
        Ok(Socket::connect(address).await?.into())
    }

    /// Waits for the first message of a handshake, from which a server chooses what to answer.
    pub fn poll_hello(
        &mut self,
        hello: &mut Hello,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Accepted>> {
        hello.poll(&mut self.socket, cx)
    }

    /// Speaks TLS from now on; [`poll_handshake`](Self::poll_handshake) must follow.
    pub fn secure(&mut self, session: impl Into<Connection>) {
        self.tls = Some(Box::new(Tls::new(session)));
    }

    /// Goes on with the handshake; nothing else may be asked of the stream before its end.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => tls.poll_handshake(&mut self.socket, cx),
        }
    }

    /// Reads once. `Ok(0)` is the peer's end; `WouldBlock`: wait with [`readable`](Self::readable).
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.try_read(buffer),
            Some(tls) => tls.try_read(&mut self.socket, buffer),
        }
    }

    /// As [`try_read`](Self::try_read), appending to `buffer` within the room it has already (which
    /// must not be zero: that would look like an end).
    pub fn try_read_buf(&mut self, buffer: &mut impl BufMut) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.try_read_buf(buffer),
            Some(tls) => tls.try_read_buf(&mut self.socket, buffer),
        }
    }

    /// Writes once, perhaps only a part; `WouldBlock`: wait with [`writable`](Self::writable).
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.try_write(bytes),
            Some(tls) => tls.try_write_vectored(&mut self.socket, &[IoSlice::new(bytes)]),
        }
    }

    /// Writes several pieces at once, perhaps only a part of them.
    pub fn try_write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.try_write_vectored(pieces),
            Some(tls) => tls.try_write_vectored(&mut self.socket, pieces),
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
        match &self.tls {
            None => self.socket.poll_readable(cx),
            Some(tls) => tls.poll_readable(&self.socket, cx),
        }
    }

    /// The poll form of [`writable`](Self::writable); only the latest waker is kept.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_writable(cx)
    }

    /// Looks at a connection that should be quiet; takes nothing that a read would give.
    pub fn idle(&mut self) -> Idle {
        match &mut self.tls {
            None => self.socket.idle(),
            Some(tls) => tls.idle(&mut self.socket),
        }
    }

    /// Waits until a connection that should be quiet is not: bytes or its end. Takes nothing that a
    /// read would give.
    pub fn poll_disturbed(&mut self, cx: &mut Context<'_>) -> Poll<Idle> {
        match &mut self.tls {
            None => self.socket.poll_disturbed(cx),
            Some(tls) => tls.poll_disturbed(&mut self.socket, cx),
        }
    }

    /// Says that nothing more will be sent; reading goes on.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.say_end(&mut self.socket);
        }
        self.socket.shutdown_write()
    }

    /// The session, where TLS is spoken.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// What is below.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// See [`Socket::peer`].
    pub fn peer(&self) -> io::Result<Peer> {
        self.socket.peer()
    }

    /// See [`Socket::local`].
    pub fn local(&self) -> io::Result<Address> {
        self.socket.local()
    }

    /// See [`Socket::set_nodelay`].
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.socket.set_nodelay(on)
    }

    /// See [`Socket::set_keepalive`].
    pub fn set_keepalive(&self, on: bool) -> io::Result<()> {
        self.socket.set_keepalive(on)
    }

    /// See [`Socket::reset_on_close`].
    pub fn reset_on_close(&self) -> io::Result<()> {
        self.socket.reset_on_close()
    }
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Stream { socket, tls: None }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Socket::from(stream).into()
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Socket::from(stream).into()
    }
}
