//! Owns what is known of a client's connection while it lasts: addresses, counters, the socket and
//! the bytes read ahead from it.
//!
//! Must not know requests or HTTP's grammar; `conn*` speaks the protocol.

use super::io::{self as stream_io, Deadline};
use super::spare::Buffer;
use crate::net::proxy_protocol::Header;
use crate::net::{Address, Idle, Peer, Stream};
use crate::tls::Session;
use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;

/// What a connection is at, for those who end it from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Waits for a request, the first or the next.
    Idle,
    Request,
    /// Upgraded: bytes go both ways as they are.
    Tunnel,
    /// It ends by itself.
    Closing,
}

/// What a handshake came to, and for which server it was.
#[derive(Debug)]
pub struct Secured {
    pub session: Session,
    /// A number of `Snapshot::servers`.
    pub server: usize,
}

/// A client's connection, shared by the connection's task and the request it is serving.
///
/// No borrow of `stream` or `input` is ever held over an await.
#[derive(Debug)]
pub struct Client {
    /// `$connection`: serial number in this worker.
    pub number: u64,
    /// The other side.
    pub peer: Peer,
    /// What a proxy has said of the connection before its first request (`listen … proxy_protocol`).
    pub announced: OnceCell<Box<Header>>,
    /// What the handshake came to, where TLS is spoken.
    pub secured: OnceCell<Rc<Secured>>,
    /// The address that was bound; `local()` tells the one the client used.
    pub bound: Rc<Address>,
    local: OnceCell<Rc<Address>>,
    pub stream: RefCell<Stream>,
    /// Bytes read from the socket and not yet consumed: a head, a body, the next request.
    pub input: RefCell<Buffer>,
    /// All bytes written to the socket.
    pub sent: Cell<u64>,
    /// Requests begun on this connection, this one included; `$connection_requests`.
    pub requests: Cell<u64>,
    /// The present request had begun to arrive before the last answer was sent; `$pipe`.
    pub pipelined: Cell<bool>,
    pub accepted: Instant,
    /// `keepalive_timeout` of the location that answered last.
    pub keepalive: Cell<Option<Duration>>,
    /// The client has closed its side.
    pub eof: Cell<bool>,
    /// More bytes wait than the request being served: `poll_gone` cannot look past them.
    pub blind: Cell<bool>,
    /// A read or write failed: nothing more can be said to this client.
    pub broken: Cell<bool>,
    pub doing: Cell<Doing>,
    cut: Cell<bool>,
    /// Wakes the task that serves it.
    task: OnceCell<Waker>,
}

impl Client {
    /// A connection just accepted.
    pub fn new(number: u64, stream: Stream, peer: Peer, bound: Rc<Address>) -> Self {
        Self {
            number,
            peer,
            announced: OnceCell::new(),
            secured: OnceCell::new(),
            bound,
            local: OnceCell::new(),
            stream: RefCell::new(stream),
            input: RefCell::default(),
            sent: Cell::new(0),
            requests: Cell::new(0),
            pipelined: Cell::new(false),
            accepted: Instant::now(),
            keepalive: Cell::new(None),
            eof: Cell::new(false),
            blind: Cell::new(false),
            broken: Cell::new(false),
            doing: Cell::new(Doing::Idle),
            cut: Cell::new(false),
            task: OnceCell::new(),
        }
    }

    /// One that stands for no client at all: what is asked for its sake nobody has sent.
    pub fn nobody() -> io::Result<Self> {
        let (stream, _) = std::os::unix::net::UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        let stream = Stream::from(UnixStream::from_std(stream)?);
        let client = Self::new(0, stream, Peer::Unix, Address::Unix(PathBuf::new()).into());
        client.blind.set(true);
        client.doing.set(Doing::Request);
        Ok(client)
    }

    /// One that stands for this one where no bytes are to be read or written, while this one goes on
    /// or ends. It never looks as if its client had gone.
    pub fn stand_in(&self) -> io::Result<Self> {
        let (stream, _) = std::os::unix::net::UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        let stream = Stream::from(UnixStream::from_std(stream)?);
        let client = Self::new(self.number, stream, self.peer, self.bound.clone());
        let client = Self {
            local: OnceCell::from(self.shared_local().clone()),
            announced: self.announced.clone(),
            secured: self.secured.clone(),
            requests: self.requests.clone(),
            accepted: self.accepted,
            ..client
        };
        client.blind.set(true);
        client.doing.set(Doing::Request);
        Ok(client)
    }

    /// Whether this protocol was agreed on in the handshake.
    pub fn has_chosen(&self, protocol: &[u8]) -> bool {
        self.secured.get().is_some_and(|secured| secured.session.alpn.as_deref() == Some(protocol))
    }

    /// Whether it is TLS.
    pub fn is_secure(&self) -> bool {
        self.secured.get().is_some()
    }

    /// One for a request that this connection carries beside others, with a stream of its own.
    #[must_use]
    pub fn carry(&self, stream: Stream) -> Self {
        let client = Self::new(self.number, stream, self.peer, self.bound.clone());
        client.doing.set(Doing::Request);
        Self {
            local: OnceCell::from(self.shared_local().clone()),
            announced: self.announced.clone(),
            secured: self.secured.clone(),
            requests: self.requests.clone(),
            accepted: self.accepted,
            ..client
        }
    }

    /// Whether it is one that another connection carries.
    pub fn is_carried(&self) -> bool {
        matches!(*self.stream.borrow(), Stream::Carried(_))
    }

    /// Tells which task serves this connection: the one that runs.
    pub fn served_by(&self, cx: &Context<'_>) {
        let _ = self.task.set(cx.waker().clone());
    }

    /// Ends the connection from outside, whatever it is at: its task finds that out now.
    pub fn cut(&self) {
        self.cut.set(true);
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    /// Does some work, unless the connection is cut before it is done.
    pub fn unless_cut<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> impl Future<Output = Option<T>> {
        poll_fn(
            move |cx| {
                if self.is_cut() { Poll::Ready(None) } else { work.as_mut().poll(cx).map(Some) }
            },
        )
    }

    /// Whether it is to end now.
    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// The address the client connected to. Asked of the kernel only for wildcard sockets, once.
    pub fn local(&self) -> &Address {
        self.shared_local()
    }

    fn shared_local(&self) -> &Rc<Address> {
        self.local.get_or_init(|| {
            if !self.bound.is_wildcard() {
                return self.bound.clone();
            }
            let local = self.stream.borrow().local();
            local.map_or_else(|_| self.bound.clone(), Rc::new)
        })
    }

    /// Reads once into `input`, at most `room` bytes. `Ok(0)` is the client's FIN.
    pub async fn fill(&self, room: usize, limit: Duration) -> io::Result<usize> {
        let got = stream_io::read(&self.stream, &self.input, room, Deadline::after(limit)).await;
        match &got {
            Ok(0) => self.eof.set(true),
            Err(err) if err.kind() != io::ErrorKind::TimedOut => self.broken.set(true),
            _ => {}
        }
        got
    }

    /// Writes all of `bytes`; `limit` is the time allowed between two successful writes.
    pub async fn write_all(&self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match stream_io::write(&self.stream, rest, Deadline::after(limit)).await {
                Ok(n) => {
                    self.sent.set(self.sent.get() + n as u64);
                    rest = &rest[n..];
                }
                Err(err) => {
                    self.broken.set(true);
                    return Err(err);
                }
            }
        }
        Ok(())
    }

    /// Whether the client has gone away, as far as can be seen without taking its bytes. Once it has
    /// sent more (a pipelined request), its going can no longer be told from that.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> bool {
        if self.eof.get() || self.broken.get() {
            return true;
        }
        if self.blind.get() || !self.input.borrow().is_empty() {
            return false;
        }
        match self.stream.borrow_mut().poll_disturbed(cx) {
            Poll::Pending | Poll::Ready(Idle::Silent) => false,
            Poll::Ready(Idle::Data) => {
                self.blind.set(true);
                false
            }
            Poll::Ready(Idle::Closed) => {
                self.eof.set(true);
                true
            }
        }
    }
}
