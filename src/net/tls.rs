//! TLS over a socket: its handshake, then bytes as they are meant here and records on the wire.
//!
//! Must not decide whom to trust nor what to show; `crate::tls` does.

use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use rustls::Connection;
use rustls::server::{Accepted, Acceptor};

use super::socket::{Idle, Socket};

/// Taken by one write: a few records.
const MOST: usize = 64 * 1024;

/// A session; the socket that carries it comes with each call.
#[derive(Debug)]
pub struct Tls {
    session: Connection,
    /// Decrypted bytes that wait to be read.
    plain: usize,
    /// Bytes of a write that were encrypted and have not all gone. The write is said to have been done
    /// only when they have.
    taken: usize,
    /// The peer has said that this was all, or closed.
    ended: bool,
}

impl Tls {
    /// Before or after the handshake.
    pub fn new(session: impl Into<Connection>) -> Tls {
        let mut session = session.into();
        session.set_buffer_limit(None);
        Tls { session, plain: 0, taken: 0, ended: false }
    }

    /// What was agreed on.
    pub fn session(&self) -> &Connection {
        &self.session
    }

    /// Goes on with the handshake. What the peer has sent right behind it can be read then.
    pub(super) fn poll_handshake(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            // Also what a session made elsewhere has not looked at.
            self.process(socket)?;
            match self.flush(socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(socket.poll_writable(cx))?;
                    continue;
                }
                outcome => outcome?,
            }
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            match self.session.read_tls(&mut Wire(socket)) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(socket.poll_readable(cx))?;
                }
                outcome => drop(outcome?),
            }
        }
    }

    /// See [`Stream::try_read`](super::Stream::try_read).
    pub(super) fn try_read(&mut self, socket: &mut Socket, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.has_plain(socket)? {
            return Ok(0);
        }
        let read = self.session.reader().read(buffer)?;
        self.plain -= read.min(self.plain);
        Ok(read)
    }

    /// See [`Stream::try_read_buf`](super::Stream::try_read_buf).
    pub(super) fn try_read_buf(
        &mut self,
        socket: &mut Socket,
        buffer: &mut impl BufMut,
    ) -> io::Result<usize> {
        if !self.has_plain(socket)? {
            return Ok(0);
        }
        let mut reader = self.session.reader();
        let decrypted = reader.fill_buf()?;
        let read = decrypted.len().min(buffer.chunk_mut().len());
        buffer.put_slice(&decrypted[..read]);
        reader.consume(read);
        self.plain -= read.min(self.plain);
        Ok(read)
    }

    /// See [`Stream::try_write_vectored`](super::Stream::try_write_vectored).
    pub(super) fn try_write_vectored(
        &mut self,
        socket: &mut Socket,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        if self.taken == 0 {
            for piece in pieces {
                let room = MOST - self.taken;
                self.taken += self.session.writer().write(&piece[..piece.len().min(room)])?;
            }
        }
        self.flush(socket)?;
        Ok(std::mem::take(&mut self.taken))
    }

    /// See [`Stream::poll_readable`](super::Stream::poll_readable).
    pub(super) fn poll_readable(
        &self,
        socket: &Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.plain > 0 || self.ended {
            return Poll::Ready(Ok(()));
        }
        socket.poll_readable(cx)
    }

    /// See [`Stream::idle`](super::Stream::idle). Records that are no data, such as tickets, do not
    /// disturb.
    pub(super) fn idle(&mut self, socket: &mut Socket) -> Idle {
        match self.has_plain(socket) {
            Ok(true) => Idle::Data,
            // The event loop may not know yet what the kernel does.
            Err(error) if error.kind() == ErrorKind::WouldBlock => socket.idle(),
            Ok(false) | Err(_) => Idle::Closed,
        }
    }

    /// See [`Stream::poll_disturbed`](super::Stream::poll_disturbed).
    pub(super) fn poll_disturbed(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<Idle> {
        loop {
            match self.has_plain(socket) {
                Ok(true) => return Poll::Ready(Idle::Data),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(false) | Err(_) => return Poll::Ready(Idle::Closed),
            }
            if ready!(socket.poll_readable(cx)).is_err() {
                return Poll::Ready(Idle::Closed);
            }
        }
    }

    /// Says `close_notify`, as far as it goes now.
    pub(super) fn say_end(&mut self, socket: &mut Socket) {
        self.session.send_close_notify();
        let _ = self.flush(socket);
    }

    /// Reads records until there is something to read, which it tells, or the end. `WouldBlock`
    /// otherwise.
    fn has_plain(&mut self, socket: &mut Socket) -> io::Result<bool> {
        while self.plain == 0 && !self.ended {
            let read = self.session.read_tls(&mut Wire(socket))?;
            // Without a `close_notify` that is no proof of the end; whoever reads goes by lengths.
            self.ended = read == 0;
            self.process(socket)?;
        }
        Ok(self.plain > 0)
    }

    fn process(&mut self, socket: &mut Socket) -> io::Result<()> {
        let processed = self.session.process_new_packets();
        if let Err(error) = self.flush(socket)
            && error.kind() != ErrorKind::WouldBlock
        {
            return Err(error);
        }
        let state = processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        self.plain = state.plaintext_bytes_to_read();
        self.ended |= state.peer_has_closed();
        Ok(())
    }

    fn flush(&mut self, socket: &mut Socket) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut Wire(socket))?;
        }
        Ok(())
    }
}

/// A handshake whose first message has not wholly come.
#[derive(Default)]
pub struct Hello {
    acceptor: Acceptor,
}

impl Hello {
    /// Takes bytes that were read before.
    pub fn feed(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.acceptor.read_tls(&mut bytes)?;
        }
        Ok(())
    }

    /// Waits for the whole of it. What is no such thing is answered with an alert.
    pub(super) fn poll(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Accepted>> {
        loop {
            match self.acceptor.accept() {
                Ok(Some(accepted)) => return Poll::Ready(Ok(accepted)),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let _ = alert.write_all(&mut Wire(socket));
                    return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, error)));
                }
            }
            match self.acceptor.read_tls(&mut Wire(socket)) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(socket.poll_readable(cx))?;
                }
                outcome => drop(outcome?),
            }
        }
    }
}

/// A socket as rustls wants one.
struct Wire<'a>(&'a mut Socket);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
