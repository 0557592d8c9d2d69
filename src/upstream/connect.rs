//! Owns the opening of a connection to a peer, and nginx's words for its failure.
//! Must not choose peers, pool or retry.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, SockAddr, Type};
use tokio::net::{TcpStream, UnixStream};

use crate::net::{Address, Socket, Stream};

/// Where an attempt to connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `socket()` or its options: the fault is here, and nginx answers 500.
    Socket,
    /// `bind()` to the local address: also a fault on this side.
    Bind,
    /// `connect()` was refused at once.
    Connect,
    /// The connection was refused while waiting for it.
    Wait,
    /// The peer did not answer in time.
    Timeout,
}

/// Why there is no connection. Displays as the error log has it, up to ` while connecting to upstream`.
#[derive(Debug)]
pub struct ConnectError {
    /// What was being done.
    pub stage: Stage,
    /// With the system's error number; `ETIMEDOUT` for [`Stage::Timeout`].
    pub error: io::Error,
    address: String,
}

impl ConnectError {
    fn new(stage: Stage, error: io::Error, address: &impl ToString) -> Self {
        Self { stage, error, address: address.to_string() }
    }

    /// Whether a peer that is merely down explains it: such a failure belongs in the log at `error`,
    /// any other at `crit`.
    pub fn is_ordinary(&self) -> bool {
        const ORDINARY: [i32; 8] = [
            libc::ECONNREFUSED,
            // A full listen queue of a unix socket.
            libc::EAGAIN,
            libc::ECONNRESET,
            libc::ENETDOWN,
            libc::ENETUNREACH,
            libc::EHOSTDOWN,
            libc::EHOSTUNREACH,
            libc::ETIMEDOUT,
        ];
        self.error.raw_os_error().is_some_and(|number| ORDINARY.contains(&number))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage {
            Stage::Socket => f.write_str("socket() failed")?,
            Stage::Bind => write!(f, "bind({}) failed", self.address)?,
            Stage::Connect => write!(f, "connect() to {} failed", self.address)?,
            Stage::Wait => f.write_str("connect() failed")?,
            Stage::Timeout => f.write_str("upstream timed out")?,
        }
        let Some(number) = self.error.raw_os_error() else {
            return write!(f, " ({})", self.error);
        };
        // The standard library repeats the number after the sentence.
        let text = self.error.to_string();
        let sentence = text.split(" (os error").next().unwrap_or(&text);
        write!(f, " ({number}: {sentence})")
    }
}

impl std::error::Error for ConnectError {}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        error.error
    }
}

/// What a TCP socket is set up with before it connects; the system's choice where `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Where it connects from.
    pub local: Option<SocketAddr>,
    /// Sizes of its buffers, in bytes.
    pub receive: Option<usize>,
    pub send: Option<usize>,
}

/// Connects without delaying small writes (`TCP_NODELAY`).
pub async fn connect(
    address: &Address,
    timeout: Duration,
    socket: &SocketOptions,
) -> Result<Stream, ConnectError> {
    let stream = begin(address, socket)?;
    match tokio::time::timeout(timeout, finish(&stream)).await {
        Ok(Ok(())) => Ok(stream),
        Ok(Err(error)) => Err(ConnectError::new(Stage::Wait, error, address)),
        Err(_) => {
            let error = io::Error::from_raw_os_error(libc::ETIMEDOUT);
            Err(ConnectError::new(Stage::Timeout, error, address))
        }
    }
}

fn begin(address: &Address, with: &SocketOptions) -> Result<Stream, ConnectError> {
    let fail = |stage| move |error| ConnectError::new(stage, error, address);
    let target = match address {
        Address::Inet(inet) => SockAddr::from(*inet),
        Address::Unix(path) => SockAddr::unix(path).map_err(fail(Stage::Connect))?,
    };
    let socket = open(target.domain()).map_err(fail(Stage::Socket))?;
    with.size_buffers(&socket).map_err(fail(Stage::Socket))?;
    if let (Address::Inet(_), Some(local)) = (address, with.local) {
        bind(&socket, local).map_err(|error| ConnectError::new(Stage::Bind, error, &local))?;
    }
    match socket.connect(&target) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
            return Err(ConnectError::new(Stage::Connect, error, address));
        }
        _ => {}
    }
    let stream = match address {
        Address::Inet(_) => TcpStream::from_std(socket.into()).map(Stream::from),
        Address::Unix(_) => UnixStream::from_std(socket.into()).map(Stream::from),
    };
    stream.map_err(fail(Stage::Socket))
}

impl SocketOptions {
    fn size_buffers(&self, socket: &socket2::Socket) -> io::Result<()> {
        self.receive.map_or(Ok(()), |size| socket.set_recv_buffer_size(size))?;
        self.send.map_or(Ok(()), |size| socket.set_send_buffer_size(size))
    }
}

fn open(domain: Domain) -> io::Result<socket2::Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = socket2::Socket::new_raw(domain, kind, None)?;
    if domain != Domain::UNIX {
        socket.set_tcp_nodelay(true)?;
    }
    Ok(socket)
}

fn bind(socket: &socket2::Socket, local: SocketAddr) -> io::Result<()> {
    if local.port() == 0 {
        // Lets the kernel choose the port at connect(), when it knows the whole pair of addresses,
        // so that ports do not run out. A kernel without it still binds.
        let _ = setsockopt(socket, IpBindAddressNoPort, &true);
    }
    socket.bind(&local.into())
}

async fn finish(stream: &Stream) -> io::Result<()> {
    // A unix socket is connected at once or not at all, which does no harm to ask.
    stream.writable().await?;
    let error = stream.socket().map_or(Ok(None), Socket::take_error)?;
    error.map_or(Ok(()), Err)
}
