//! A connected byte stream: a socket, TLS over one, or what another connection carries.
//!
//! Must not know a protocol above, nor timeouts.

use std::fs::File;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BufMut;
use rustls::Connection;
use rustls::server::Accepted;
use tokio::net::{TcpStream, UnixStream};

use super::address::Address;
use super::carried::Carried;
use super::pipe::Pipe;
use super::socket::{Idle, Peer, Socket};
use super::tls::{Hello, Tls};

/// A connected stream. A write that would block is tried again with the same bytes, to which more may
/// have been added: TLS may have taken them already.
#[derive(Debug)]
pub enum Stream {
    /// A socket, and the session where TLS is spoken over it.
    Own(Socket, Option<Box<Tls>>),
    /// Beside others on a connection that belongs to none of them.
    Carried(Rc<dyn Carried>),
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
        match self {
            Stream::Own(socket, _) => hello.poll(socket, cx),
            Stream::Carried(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Speaks TLS from now on; [`poll_handshake`](Self::poll_handshake) must follow.
    pub fn secure(&mut self, session: impl Into<Connection>) {
        if let Stream::Own(_, tls) = self {
            *tls = Some(Box::new(Tls::new(session)));
        }
    }

    /// Goes on with the handshake; nothing else may be asked of the stream before its end.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Own(socket, Some(tls)) => tls.poll_handshake(socket, cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Reads once. `Ok(0)` is the peer's end; `WouldBlock`: wait with [`readable`](Self::readable).
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Own(socket, None) => socket.try_read(buffer),
            Stream::Own(socket, Some(tls)) => tls.try_read(socket, buffer),
            Stream::Carried(inner) => take(&**inner, &mut &mut *buffer),
        }
    }

    /// As [`try_read`](Self::try_read), appending to `buffer` within the room it has already (which
    /// must not be zero: that would look like an end).
    pub fn try_read_buf(&mut self, buffer: &mut impl BufMut) -> io::Result<usize> {
        match self {
            Stream::Own(socket, None) => socket.try_read_buf(buffer),
            Stream::Own(socket, Some(tls)) => tls.try_read_buf(socket, buffer),
            Stream::Carried(inner) => take(&**inner, buffer),
        }
    }

    /// Writes once, perhaps only a part; `WouldBlock`: wait with [`writable`](Self::writable).
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Own(socket, None) => socket.try_write(bytes),
            Stream::Own(socket, Some(tls)) => {
                tls.try_write_vectored(socket, &[IoSlice::new(bytes)])
            }
            Stream::Carried(inner) => inner.try_write(bytes),
        }
    }

    /// Whether what is read and written here is what goes over the socket, so that the kernel can be
    /// asked to pass it on.
    pub fn is_plain(&self) -> bool {
        matches!(self, Stream::Own(_, None))
    }

    /// Has the kernel copy a part of a file; see [`Socket::try_send_file`].
    pub fn try_send_file(&mut self, file: &File, at: u64, len: usize) -> io::Result<usize> {
        match self {
            Stream::Own(socket, None) => socket.try_send_file(file, at, len),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Has the kernel take bytes into an empty pipe; see [`Socket::try_fill`].
    pub fn try_fill(&mut self, pipe: &mut Pipe, len: usize) -> io::Result<usize> {
        match self {
            Stream::Own(socket, None) => socket.try_fill(pipe, len),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Has the kernel send what a pipe holds; see [`Socket::try_drain`].
    pub fn try_drain(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        match self {
            Stream::Own(socket, None) => socket.try_drain(pipe),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes several pieces at once, perhaps only a part of them.
    pub fn try_write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Own(socket, None) => socket.try_write_vectored(pieces),
            Stream::Own(socket, Some(tls)) => tls.try_write_vectored(socket, pieces),
            Stream::Carried(inner) => inner.try_write(
                pieces.iter().find(|piece| !piece.is_empty()).map_or(&[], |piece| piece),
            ),
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
            Stream::Own(socket, None) => socket.poll_readable(cx),
            Stream::Own(socket, Some(tls)) => tls.poll_readable(socket, cx),
            Stream::Carried(inner) => inner.poll_readable(cx),
        }
    }

    /// The poll form of [`writable`](Self::writable); only the latest waker is kept.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Own(socket, _) => socket.poll_writable(cx),
            Stream::Carried(inner) => inner.poll_writable(cx),
        }
    }

    /// Looks at a connection that should be quiet; takes nothing that a read would give.
    pub fn idle(&mut self) -> Idle {
        match self {
            Stream::Own(socket, None) => socket.idle(),
            Stream::Own(socket, Some(tls)) => tls.idle(socket),
            Stream::Carried(_) => Idle::Silent,
        }
    }

    /// Waits until a connection that should be quiet is not: bytes or its end. Takes nothing that a
    /// read would give.
    pub fn poll_disturbed(&mut self, cx: &mut Context<'_>) -> Poll<Idle> {
        match self {
            Stream::Own(socket, None) => socket.poll_disturbed(cx),
            Stream::Own(socket, Some(tls)) => tls.poll_disturbed(socket, cx),
            // What it has to read is no sign that its request has been given up.
            Stream::Carried(inner) => inner.poll_gone(cx).map(|()| Idle::Closed),
        }
    }

    /// Says that nothing more will be sent; reading goes on.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        let Stream::Own(socket, tls) = self else { return Ok(()) };
        if let Some(tls) = tls {
            tls.say_end(socket);
        }
        socket.shutdown_write()
    }

    /// Says that this was all, where TLS is spoken, as far as it goes now. Then it can be dropped.
    pub fn say_end(&mut self) {
        if let Stream::Own(socket, Some(tls)) = self {
            tls.say_end(socket);
        }
    }

    /// The session, where TLS is spoken.
    pub fn tls(&self) -> Option<&Tls> {
        match self {
            Stream::Own(_, tls) => tls.as_deref(),
            Stream::Carried(_) => None,
        }
    }

    /// What is below; nothing that a carried one would have for itself.
    pub fn socket(&self) -> Option<&Socket> {
        match self {
            Stream::Own(socket, _) => Some(socket),
            Stream::Carried(_) => None,
        }
    }

    fn below<T>(&self, ask: impl FnOnce(&Socket) -> io::Result<T>) -> io::Result<T> {
        self.socket().map_or_else(|| Err(io::ErrorKind::NotConnected.into()), ask)
    }

    /// What is written next, if it is taken whole, is the last: a carried stream's protocol can say both
    /// in one. Nothing otherwise.
    pub fn end_with_next(&mut self) {
        if let Stream::Carried(inner) = self {
            inner.end_with_next();
        }
    }

    /// See [`Socket::peer`].
    pub fn peer(&self) -> io::Result<Peer> {
        self.below(Socket::peer)
    }

    /// See [`Socket::local`].
    pub fn local(&self) -> io::Result<Address> {
        self.below(Socket::local)
    }

    /// See [`Socket::set_nodelay`].
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.below(|socket| socket.set_nodelay(on))
    }

    /// See [`Socket::set_keepalive`].
    pub fn set_keepalive(&self, on: bool) -> io::Result<()> {
        self.below(|socket| socket.set_keepalive(on))
    }

    /// See [`Socket::reset_on_close`].
    pub fn reset_on_close(&self) -> io::Result<()> {
        self.below(Socket::reset_on_close)
    }
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Stream::Own(socket, None)
    }
}

/// Takes what has come, within the room that there is.
fn take(inner: &dyn Carried, buffer: &mut impl BufMut) -> io::Result<usize> {
    let bytes = inner.try_take(buffer.remaining_mut())?;
    buffer.put_slice(&bytes);
    Ok(bytes.len())
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

impl From<Rc<dyn Carried>> for Stream {
    fn from(inner: Rc<dyn Carried>) -> Self {
        Stream::Carried(inner)
    }
}
