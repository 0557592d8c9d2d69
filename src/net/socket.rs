//! A connected socket, TCP or unix, on the worker's event loop.
//!
//! The hot path is `try_read` / `try_write` after `readable()` / `writable()`: one system call for
//! one transfer, nothing allocated. Knows no protocol and no timeout.

use std::fmt;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use libc::MSG_NOSIGNAL;
use nix::sys::sendfile::sendfile64;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::address::Address;
use super::pipe::Pipe;
use crate::sys::fds::recv_buf;

/// The other end of an accepted connection. Displays as `$remote_addr`: the bare IP address, or
/// `unix:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Address and port.
    Inet(SocketAddr),
    /// Clients of unix sockets have no name.
    Unix,
}

impl Peer {
    /// `None` for a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Inet(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }

    /// `$remote_port`; `None` for a unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Peer::Inet(address) => Some(address.port()),
            Peer::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Inet(address) => address.ip().fmt(f),
            Peer::Unix => f.write_str("unix:"),
        }
    }
}

/// What an idle connection looks like from here, without taking anything from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Open, nothing to read.
    Silent,
    /// Bytes wait to be read.
    Data,
    /// The peer has sent its FIN, or the connection is broken.
    Closed,
}

/// A connected socket. What is asked of it is asked of the kernel.
#[derive(Debug)]
pub enum Socket {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
}

impl Socket {
    /// Connects; no timeout of its own. Dropping the future gives the attempt up.
    pub async fn connect(address: &Address) -> io::Result<Socket> {
        match address {
            Address::Inet(address) => Ok(Socket::Tcp(TcpStream::connect(address).await?)),
            Address::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// Reads once. `Ok(0)` is the peer's FIN; `WouldBlock`: wait with [`readable`](Self::readable).
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len();
        self.attempt(Interest::READABLE, room, |socket| (&**socket).read(buffer))
    }

    /// As [`try_read`](Self::try_read), appending to `buffer` within the room it has already (which
    /// must not be zero: that would look like a FIN). Nothing is zeroed first, nothing grows.
    pub fn try_read_buf(&mut self, buffer: &mut impl BufMut) -> io::Result<usize> {
        let room = buffer.chunk_mut().len();
        self.attempt(Interest::READABLE, room, |socket| recv_buf(socket.as_fd(), buffer))
    }

    /// Writes once, perhaps only a part; `WouldBlock`: wait with [`writable`](Self::writable).
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(Interest::WRITABLE, bytes.len(), |socket| {
            socket.send_with_flags(bytes, MSG_NOSIGNAL)
        })
    }

    /// Writes several pieces with one system call, perhaps only a part of them.
    pub fn try_write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        self.attempt(Interest::WRITABLE, len, |socket| {
            socket.send_vectored_with_flags(pieces, MSG_NOSIGNAL)
        })
    }

    /// Has the kernel copy `len` bytes of a file from `at` on, perhaps only a part of them. 0: the file
    /// ends before.
    pub fn try_send_file(&mut self, file: &File, at: u64, len: usize) -> io::Result<usize> {
        // A part tells nothing about the socket here: the file may have become shorter.
        self.attempt(Interest::WRITABLE, 0, |socket| {
            let mut at = i64::try_from(at).map_err(|_| ErrorKind::InvalidInput)?;
            Ok(sendfile64(socket.as_fd(), file, Some(&mut at), len)?)
        })
    }

    /// Has the kernel pass up to `len` bytes on into an empty pipe; 0 is the peer's FIN.
    pub fn try_fill(&mut self, pipe: &mut Pipe, len: usize) -> io::Result<usize> {
        // Fewer bytes tell nothing about the socket: the pipe may be full.
        self.attempt(Interest::READABLE, 0, |socket| pipe.fill(socket.as_fd(), len))
    }

    /// Has the kernel send what a pipe holds, perhaps only a part of it.
    pub fn try_drain(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        self.attempt(Interest::WRITABLE, 0, |socket| pipe.drain(socket.as_fd()))
    }

    /// Waits until a read can make progress. May wake for nothing. One task at a time.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// Waits until a write can make progress. May wake for nothing. One task at a time.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_writable(cx)).await
    }

    /// The poll form of [`readable`](Self::readable); only the latest waker is kept.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// The poll form of [`writable`](Self::writable); only the latest waker is kept.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_write_ready(cx),
            Socket::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Looks at a connection that should be quiet: one system call, takes no byte.
    pub fn idle(&self) -> Idle {
        let mut byte = [MaybeUninit::uninit()];
        match self.socket().peek(&mut byte) {
            Ok(0) => Idle::Closed,
            Ok(_) => Idle::Data,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Idle::Silent,
            Err(_) => Idle::Closed,
        }
    }

    /// The first byte that waits to be read, which stays; `None` at the end.
    pub fn peek_byte(&self) -> io::Result<Option<u8>> {
        let mut buffer = [0];
        let read = nix::sys::socket::recv(
            std::os::fd::AsRawFd::as_raw_fd(&self.as_fd()),
            &mut buffer,
            nix::sys::socket::MsgFlags::MSG_PEEK,
        )?;
        Ok((read > 0).then_some(buffer[0]))
    }

    /// Waits until a connection that should be quiet is not: bytes or FIN. Takes no byte.
    pub fn poll_disturbed(&self, cx: &mut Context<'_>) -> Poll<Idle> {
        loop {
            if ready!(self.poll_readable(cx)).is_err() {
                return Poll::Ready(Idle::Closed);
            }
            let mut byte = [MaybeUninit::uninit()];
            match self.attempt(Interest::READABLE, 0, |socket| socket.peek(&mut byte)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Poll::Ready(Idle::Closed),
                Ok(_) => return Poll::Ready(Idle::Data),
            }
        }
    }

    /// The peer, asked from the kernel; an accepted unix peer has no name.
    pub fn peer(&self) -> io::Result<Peer> {
        match self {
            Socket::Tcp(stream) => Ok(Peer::Inet(stream.peer_addr()?)),
            Socket::Unix(_) => Ok(Peer::Unix),
        }
    }

    /// This end's address, asked from the kernel: the address connected to, where `listen` had `*`.
    pub fn local(&self) -> io::Result<Address> {
        match self {
            Socket::Tcp(stream) => Ok(Address::Inet(stream.local_addr()?)),
            Socket::Unix(stream) => {
                let address = stream.local_addr()?;
                Ok(Address::Unix(address.as_pathname().map(Path::to_path_buf).unwrap_or_default()))
            }
        }
    }

    /// `TCP_NODELAY`; nothing to do on a unix socket. Accepted connections have it already, see
    /// [`tune`](super::listener::tune).
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.set_nodelay(on),
            Socket::Unix(_) => Ok(()),
        }
    }

    /// `SO_KEEPALIVE` with the kernel's times (`proxy_socket_keepalive`).
    pub fn set_keepalive(&self, on: bool) -> io::Result<()> {
        self.socket().set_keepalive(on)
    }

    /// What went wrong since it was last asked: how a connect that was under way has ended.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket().take_error()
    }

    /// Makes closing send RST at once and drop unsent bytes (`reset_timedout_connection`).
    pub fn reset_on_close(&self) -> io::Result<()> {
        self.socket().set_linger(Some(Duration::ZERO))
    }

    /// Sends FIN; reading goes on.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Write)
    }

    fn socket(&self) -> SockRef<'_> {
        match self {
            Socket::Tcp(stream) => SockRef::from(stream),
            Socket::Unix(stream) => SockRef::from(stream),
        }
    }

    /// One transfer. A short one has emptied (or filled) the socket's buffer, so the readiness kept by
    /// tokio is cleared at once: it saves the system call that would only say EAGAIN. A FIN cannot be
    /// missed by that, tokio never clears "closed".
    fn attempt(
        &self,
        interest: Interest,
        room: usize,
        transfer: impl FnOnce(&SockRef<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let socket = self.socket();
        let mut moved = 0;
        let transfer = || {
            moved = transfer(&socket)?;
            if moved > 0 && moved < room { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        let outcome = match self {
            Socket::Tcp(stream) => stream.try_io(interest, transfer),
            Socket::Unix(stream) => stream.try_io(interest, transfer),
        };
        match outcome {
            Err(error) if moved == 0 => Err(error),
            _ => Ok(moved),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Socket::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Socket::Unix(stream)
    }
}

/// For crates that want tokio's traits; our own code uses the `try_` methods.
impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().shutdown_write())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn tcp() -> (Socket, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Inet(listener.local_addr().unwrap());
        let near = Socket::connect(&address).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (near, far.into())
    }

    fn unix() -> (Socket, Socket) {
        let (near, far) = UnixStream::pair().unwrap();
        (near.into(), far.into())
    }

    fn would_block<T: std::fmt::Debug>(outcome: io::Result<T>) -> bool {
        outcome.unwrap_err().kind() == ErrorKind::WouldBlock
    }

    async fn read(stream: &mut Socket, room: usize) -> Vec<u8> {
        let mut buffer = vec![0; room];
        loop {
            stream.readable().await.unwrap();
            match stream.try_read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                got => {
                    buffer.truncate(got.unwrap());
                    return buffer;
                }
            }
        }
    }

    async fn exchange(mut near: Socket, mut far: Socket) {
        near.writable().await.unwrap();
        assert_eq!(near.try_write(b"one ").unwrap(), 4);
        let pieces = [IoSlice::new(b"two "), IoSlice::new(b"three")];
        assert_eq!(near.try_write_vectored(&pieces).unwrap(), 9);
        assert_eq!(read(&mut far, 6).await, b"one tw");
        assert_eq!(read(&mut far, 100).await, b"o three");
        // A short read has already told that there is no more.
        assert!(would_block(far.try_read(&mut [0; 1])));
        near.shutdown_write().unwrap();
        assert_eq!(read(&mut far, 100).await, b"");
        assert_eq!(far.try_write(b"answer").unwrap(), 6);
        assert_eq!(read(&mut near, 100).await, b"answer");
    }

    #[tokio::test]
    async fn exchanges() {
        let (near, far) = tcp().await;
        far.writable().await.unwrap();
        exchange(near, far).await;
        let (near, far) = unix();
        far.writable().await.unwrap();
        exchange(near, far).await;
    }

    #[tokio::test]
    async fn a_fin_right_behind_the_data_is_not_missed() {
        for _ in 0..200 {
            let (mut near, mut far) = tcp().await;
            near.writable().await.unwrap();
            near.try_write(b"last").unwrap();
            drop(near);
            assert_eq!(read(&mut far, 100).await, b"last");
            assert_eq!(read(&mut far, 100).await, b"");
        }
    }

    #[tokio::test]
    async fn a_short_read_saves_the_call_that_would_find_nothing() {
        let (mut near, mut far) = tcp().await;
        near.writable().await.unwrap();
        near.try_write(b"x").unwrap();
        assert_eq!(read(&mut far, 2).await, b"x");
        near.try_write(b"y").unwrap();
        while far.idle() != Idle::Data {}
        // It is there, but the event loop has not run: the kernel was not asked.
        assert!(would_block(far.try_read(&mut [0; 2])));
        assert_eq!(read(&mut far, 2).await, b"y");
    }

    #[tokio::test]
    async fn data_behind_a_short_read_wakes_again() {
        let (mut near, mut far) = tcp().await;
        near.writable().await.unwrap();
        for _ in 0..200 {
            near.try_write(b"x").unwrap();
            assert_eq!(read(&mut far, 2).await, b"x");
        }
    }

    #[tokio::test]
    async fn reads_into_spare_room_only() {
        let (mut near, mut far) = tcp().await;
        near.writable().await.unwrap();
        near.try_write(b"abcdef").unwrap();
        far.readable().await.unwrap();
        let mut buffer = bytes::BytesMut::with_capacity(4);
        buffer.extend_from_slice(b"-");
        let mut limited = (&mut buffer).limit(3);
        assert_eq!(far.try_read_buf(&mut limited).unwrap(), 3);
        assert_eq!(buffer, "-abc");
        let mut vector = Vec::with_capacity(64);
        assert_eq!(far.try_read_buf(&mut vector).unwrap(), 3);
        assert_eq!(vector, b"def");
        assert!(would_block(far.try_read_buf(&mut vector)));
    }

    #[tokio::test]
    async fn a_full_pipe_blocks_and_opens_again() {
        let (mut near, mut far) = tcp().await;
        near.writable().await.unwrap();
        let block = vec![b'x'; 1 << 20];
        let mut sent = 0;
        loop {
            match near.try_write(&block) {
                Ok(part) => sent += part,
                Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        let mut got = 0;
        while got < sent {
            got += read(&mut far, 1 << 16).await.len();
        }
        near.writable().await.unwrap();
        assert!(near.try_write(b"y").is_ok());
    }

    #[tokio::test]
    async fn idle_connections_show_their_state() {
        for (mut near, far) in [tcp().await, unix()] {
            assert_eq!(far.idle(), Idle::Silent);
            near.writable().await.unwrap();
            near.try_write(b"x").unwrap();
            assert_eq!(far.idle(), Idle::Data);
            near.shutdown_write().unwrap();
            let (near, far) = (far, near);
            drop(near);
            far.readable().await.unwrap();
            assert_eq!(far.idle(), Idle::Closed);
            let _ = far.set_nodelay(true);
        }
    }

    #[tokio::test]
    async fn closing_can_reset() {
        let (near, mut far) = tcp().await;
        near.reset_on_close().unwrap();
        drop(near);
        far.readable().await.unwrap();
        assert_eq!(far.idle(), Idle::Closed);
        let error = far.try_read(&mut [0; 1]);
        // `idle` may have taken the report of the reset; the end remains.
        assert!(matches!(error, Ok(0)) || error.unwrap_err().kind() == ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn peers_and_addresses() {
        let (near, far) = tcp().await;
        let Address::Inet(local) = near.local().unwrap() else { panic!() };
        let peer = far.peer().unwrap();
        assert_eq!(peer, Peer::Inet(local));
        assert_eq!((peer.ip(), peer.port()), (Some(local.ip()), Some(local.port())));
        assert_eq!(peer.to_string(), "127.0.0.1");
        let (near, _far) = unix();
        assert_eq!(near.peer().unwrap().to_string(), "unix:");
        let mapped = Peer::Inet("[::ffff:1.2.3.4]:5".parse().unwrap());
        assert_eq!(mapped.to_string(), "::ffff:1.2.3.4");
    }
}
