//! TLS over a socket, once the handshake is done: bytes as they are meant here, records on the wire.
//!
//! Must not decide whom to trust nor what to show; `crate::tls` does.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use rustls::Connection;

use super::socket::{Idle, Socket};

/// Taken by one write: a few records.
const MOST: usize = 64 * 1024;

/// A session and the socket it is carried by.
#[derive(Debug)]
pub struct Tls {
    socket: Socket,
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
    /// After the handshake. What the peer has sent right behind it is there already.
    pub fn new(socket: Socket, session: impl Into<Connection>) -> io::Result<Tls> {
        let mut session = session.into();
        session.set_buffer_limit(None);
        let mut tls = Tls { socket, session, plain: 0, taken: 0, ended: false };
        tls.process()?;
        Ok(tls)
    }

    /// What was agreed on.
    pub fn session(&self) -> &Connection {
        &self.session
    }

    /// What it is carried by.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// See [`Stream::try_read`](super::Stream::try_read).
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.has_plain()? {
            return Ok(0);
        }
        let read = self.session.reader().read(buffer)?;
        self.plain -= read.min(self.plain);
        Ok(read)
    }

    /// See [`Stream::try_read_buf`](super::Stream::try_read_buf).
    pub fn try_read_buf(&mut self, buffer: &mut impl BufMut) -> io::Result<usize> {
        if !self.has_plain()? {
            return Ok(0);
        }
        let mut moved = 0;
        while self.plain > 0 && buffer.has_remaining_mut() {
            let mut piece = [0; 4096];
            let room = piece.len().min(buffer.remaining_mut());
            let read = self.session.reader().read(&mut piece[..room])?;
            buffer.put_slice(&piece[..read]);
            self.plain -= read.min(self.plain);
            moved += read;
        }
        Ok(moved)
    }

    /// See [`Stream::try_write_vectored`](super::Stream::try_write_vectored).
    pub fn try_write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.taken == 0 {
            for piece in pieces {
                let room = MOST - self.taken;
                self.taken += self.session.writer().write(&piece[..piece.len().min(room)])?;
            }
        }
        self.flush()?;
        Ok(std::mem::take(&mut self.taken))
    }

    /// See [`Stream::poll_readable`](super::Stream::poll_readable).
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.plain > 0 || self.ended {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_readable(cx)
    }

    /// See [`Stream::idle`](super::Stream::idle). Records that are no data, such as tickets, do not
    /// disturb.
    pub fn idle(&mut self) -> Idle {
        match self.has_plain() {
            Ok(true) => Idle::Data,
            // The event loop may not know yet what the kernel does.
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.socket.idle(),
            Ok(false) | Err(_) => Idle::Closed,
        }
    }

    /// See [`Stream::poll_disturbed`](super::Stream::poll_disturbed).
    pub fn poll_disturbed(&mut self, cx: &mut Context<'_>) -> Poll<Idle> {
        loop {
            match self.has_plain() {
                Ok(true) => return Poll::Ready(Idle::Data),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(false) | Err(_) => return Poll::Ready(Idle::Closed),
            }
            if ready!(self.socket.poll_readable(cx)).is_err() {
                return Poll::Ready(Idle::Closed);
            }
        }
    }

    /// Says `close_notify`, then FIN.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        // What does not go now will not go any more.
        let _ = self.flush();
        self.socket.shutdown_write()
    }

    /// Reads records until there is something to read, which it tells, or the end. `WouldBlock`
    /// otherwise.
    fn has_plain(&mut self) -> io::Result<bool> {
        while self.plain == 0 && !self.ended {
            let read = self.session.read_tls(&mut Wire(&mut self.socket))?;
            // Without a `close_notify` that is no proof of the end; like nginx, who reads looks at
            // lengths.
            self.ended = read == 0;
            self.process()?;
        }
        Ok(self.plain > 0)
    }

    fn process(&mut self) -> io::Result<()> {
        let processed = self.session.process_new_packets();
        if self.session.wants_write()
            && let Err(error) = self.flush()
            && error.kind() != ErrorKind::WouldBlock
        {
            return Err(error);
        }
        let state = processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        self.plain = state.plaintext_bytes_to_read();
        self.ended |= state.peer_has_closed();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut Wire(&mut self.socket))?;
        }
        Ok(())
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
