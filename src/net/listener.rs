//! Listening sockets: made and tuned by the master, accepted from by the workers. Never shuts one
//! down: that would close it for every process that shares it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use super::address::Address;
use super::socket::Peer;
use super::stream::Stream;
use crate::sys::{self, fds};

/// nginx's `NGX_LISTEN_BACKLOG` on Linux.
pub const DEFAULT_BACKLOG: i32 = 511;

/// One listening socket as configured: everything in `listen` that is a property of the socket.
/// Whether a socket can be kept over a reload is decided by `address` and `reuseport` alone; the
/// rest is applied to a living socket by [`tune`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ListenSpec {
    /// Where to bind.
    pub address: Address,
    /// `backlog=`; 511 unless set.
    pub backlog: i32,
    /// `reuseport`: one socket for each worker, all made and held by the master.
    pub reuseport: bool,
    /// `ipv6only=`; unset counts as on.
    pub ipv6only: Option<bool>,
    /// `rcvbuf=`, bytes.
    pub rcvbuf: Option<usize>,
    /// `sndbuf=`, bytes.
    pub sndbuf: Option<usize>,
    /// `so_keepalive=`.
    pub keepalive: Option<KeepAlive>,
    /// `deferred`: `TCP_DEFER_ACCEPT`.
    pub deferred: bool,
    /// `fastopen=`: length of the `TCP_FASTOPEN` queue.
    pub fastopen: Option<u32>,
}

/// `so_keepalive=on|off|[idle]:[interval]:[count]`; what is not given is the kernel's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeepAlive {
    /// `SO_KEEPALIVE`.
    pub on: bool,
    /// `TCP_KEEPIDLE`, seconds.
    pub idle: Option<u32>,
    /// `TCP_KEEPINTVL`, seconds.
    pub interval: Option<u32>,
    /// `TCP_KEEPCNT`.
    pub count: Option<u32>,
}

impl ListenSpec {
    /// nginx's defaults for `listen ADDRESS`.
    pub fn new(address: Address) -> ListenSpec {
        ListenSpec {
            address,
            backlog: DEFAULT_BACKLOG,
            reuseport: false,
            ipv6only: None,
            rcvbuf: None,
            sndbuf: None,
            keepalive: None,
            deferred: false,
            fastopen: None,
        }
    }
}

/// A system call on a socket failed. Displays in nginx's form:
/// `bind() to 0.0.0.0:80 failed (98: Address already in use)`.
#[derive(Debug)]
pub struct SocketError {
    /// The call and its object, e.g. `bind() to 0.0.0.0:80`.
    pub call: String,
    /// The cause.
    pub source: io::Error,
}

impl SocketError {
    /// Someone else holds the address: worth another try, as nginx does, 5 times every 500 ms.
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed ({})", self.call, sys::Cause(&self.source))
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<SocketError> for io::Error {
    fn from(error: SocketError) -> io::Error {
        io::Error::new(error.source.kind(), error)
    }
}

/// Creates, binds and starts a listening socket: non-blocking, close-on-exec. Call [`tune`] after it.
/// A stale unix socket file is an error (`Address already in use`), as in nginx.
pub fn bind(spec: &ListenSpec) -> Result<OwnedFd, SocketError> {
    let address = &spec.address;
    let failed = |call: String| move |source| SocketError { call, source };
    let name = socket_address(address).map_err(failed(format!("bind() to {address}")))?;
    let socket = Socket::new(name.domain(), Type::STREAM.nonblocking(), None)
        .map_err(failed(format!("socket() {address}")))?;
    socket
        .set_reuse_address(true)
        .map_err(failed(format!("setsockopt(SO_REUSEADDR) {address}")))?;
    if spec.reuseport {
        socket
            .set_reuse_port(true)
            .map_err(failed(format!("setsockopt(SO_REUSEPORT) {address}")))?;
    }
    if name.domain() == Domain::IPV6 {
        socket
            .set_only_v6(spec.ipv6only.unwrap_or(true))
            .map_err(failed(format!("setsockopt(IPV6_V6ONLY) {address}")))?;
    }
    socket.bind(&name).map_err(failed(format!("bind() to {address}")))?;
    if let Some(path) = address.path() {
        // Who may connect is decided by the directory, as with nginx.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
            .map_err(failed(format!("chmod() \"{}\"", path.display())))?;
    }
    socket
        .listen(spec.backlog)
        .map_err(failed(format!("listen() to {address}, backlog {}", spec.backlog)))?;
    Ok(socket.into())
}

fn socket_address(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Inet(address) => Ok((*address).into()),
        Address::Unix(path) => SockAddr::unix(path),
    }
}

/// Applies everything that can change on a living socket, our own or an inherited one. What fails is
/// returned for an `[alert] … failed (…), ignored`; the socket serves all the same.
///
/// TCP sockets also get `TCP_NODELAY`, which Linux passes on to the accepted connections: one system
/// call less for each of them.
pub fn tune(socket: BorrowedFd<'_>, spec: &ListenSpec) -> Vec<SocketError> {
    let mut tuning = Tuning { socket: SockRef::from(&socket), spec, failures: Vec::new() };
    if let Some(size) = spec.rcvbuf {
        tuning.set(&format!("SO_RCVBUF, {size}"), |socket| socket.set_recv_buffer_size(size));
    }
    if let Some(size) = spec.sndbuf {
        tuning.set(&format!("SO_SNDBUF, {size}"), |socket| socket.set_send_buffer_size(size));
    }
    if let Some(keepalive) = spec.keepalive {
        tuning.keepalive(keepalive);
    }
    if matches!(spec.address, Address::Inet(_)) {
        tuning.tcp();
    }
    if let Err(source) = tuning.socket.listen(spec.backlog) {
        let call = format!("listen() to {}, backlog {}", spec.address, spec.backlog);
        tuning.failures.push(SocketError { call, source });
    }
    tuning.failures
}

/// One pass of [`tune`].
struct Tuning<'a> {
    socket: SockRef<'a>,
    spec: &'a ListenSpec,
    failures: Vec<SocketError>,
}

impl Tuning<'_> {
    fn set(&mut self, what: &str, call: impl FnOnce(&Socket) -> io::Result<()>) {
        if let Err(source) = call(&self.socket) {
            let call = format!("setsockopt({what}) {}", self.spec.address);
            self.failures.push(SocketError { call, source });
        }
    }

    fn keepalive(&mut self, keepalive: KeepAlive) {
        self.set("SO_KEEPALIVE", |socket| socket.set_keepalive(keepalive.on));
        let seconds = |value: u32| Duration::from_secs(value.into());
        let mut times = TcpKeepalive::new();
        if let Some(idle) = keepalive.idle {
            times = times.with_time(seconds(idle));
        }
        if let Some(interval) = keepalive.interval {
            times = times.with_interval(seconds(interval));
        }
        if let Some(count) = keepalive.count {
            times = times.with_retries(count);
        }
        if keepalive.on && matches!(self.spec.address, Address::Inet(_)) {
            self.set("TCP_KEEPIDLE", |socket| socket.set_tcp_keepalive(&times));
        }
    }

    fn tcp(&mut self) {
        self.set("TCP_NODELAY", |socket| socket.set_tcp_nodelay(true));
        if let Some(queue) = self.spec.fastopen {
            self.set(&format!("TCP_FASTOPEN, {queue}"), |socket| {
                fds::set_tcp_fastopen(socket.as_fd(), queue)
            });
        }
        // Always set, so that a reload without `deferred` takes it off an old socket.
        let deferred = self.spec.deferred;
        self.set("TCP_DEFER_ACCEPT", |socket| fds::set_tcp_defer_accept(socket.as_fd(), deferred));
    }
}

/// What the kernel says about a listening socket that came from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// Where it is bound.
    pub address: Address,
    /// `SO_REUSEPORT`.
    pub reuseport: bool,
    /// `IPV6_V6ONLY`; `None` when it is not an IPv6 socket.
    pub ipv6only: Option<bool>,
}

impl Inherited {
    /// True if this socket is the one `spec` asks for. A different `ipv6only` needs a new socket,
    /// unless the configuration does not mind.
    pub fn matches(&self, spec: &ListenSpec) -> bool {
        self.address == spec.address
            && self.reuseport == spec.reuseport
            && (spec.ipv6only.is_none()
                || self.ipv6only.is_none()
                || self.ipv6only == spec.ipv6only)
    }
}

/// Examines a descriptor that is said to be a listening socket. Errors: not a socket, not a stream,
/// not listening, or bound to something we have no notation for.
pub fn inherit(socket: BorrowedFd<'_>) -> io::Result<Inherited> {
    let socket = SockRef::from(&socket);
    let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if socket.r#type()? != Type::STREAM {
        return invalid("not a stream socket");
    }
    if !socket.is_listener()? {
        return invalid("not a listening socket");
    }
    let name = socket.local_addr()?;
    let address = match (name.as_socket(), name.as_pathname()) {
        (Some(address), _) => Address::Inet(address),
        (None, Some(path)) => Address::Unix(path.to_path_buf()),
        (None, None) => return invalid("neither an inet nor a named unix socket"),
    };
    let inet = matches!(address, Address::Inet(_));
    Ok(Inherited {
        reuseport: inet && socket.reuse_port()?,
        ipv6only: if name.is_ipv6() { Some(socket.only_v6()?) } else { None },
        address,
    })
}

/// True when `accept` failed for want of descriptors or memory: accepting again at once would spin.
pub fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// A listening socket on the worker's event loop. Dropping it closes this process's descriptor only.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix stream.
    Unix(UnixListener),
}

impl Listener {
    /// Takes a listening socket into the running tokio runtime.
    pub fn from_fd(socket: OwnedFd) -> io::Result<Listener> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        if socket.local_addr()?.is_unix() {
            Ok(Listener::Unix(UnixListener::from_std(socket.into())?))
        } else {
            Ok(Listener::Tcp(TcpListener::from_std(socket.into())?))
        }
    }

    /// The next connection. Cancel-safe: a connection is either returned or still queued.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// The poll form of [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        Poll::Ready(Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                (stream.into(), Peer::Inet(peer))
            }
            Listener::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                (stream.into(), Peer::Unix)
            }
        }))
    }

    /// The address it is bound to.
    pub fn local(&self) -> io::Result<Address> {
        Ok(inherit(self.as_fd())?.address)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener as Std;
    use std::path::PathBuf;

    fn inet(text: &str) -> ListenSpec {
        ListenSpec::new(Address::Inet(text.parse().unwrap()))
    }

    fn flags(fd: BorrowedFd<'_>) -> (bool, bool) {
        use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
        let cloexec = fcntl(fd, FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits() != 0;
        let status = fcntl(fd, FcntlArg::F_GETFL).unwrap();
        (cloexec, status & OFlag::O_NONBLOCK.bits() != 0)
    }

    #[test]
    fn binds_and_is_recognised() {
        let spec = ListenSpec { reuseport: true, ..inet("127.0.0.1:0") };
        let socket = bind(&spec).unwrap();
        assert_eq!(flags(socket.as_fd()), (true, true));
        let found = inherit(socket.as_fd()).unwrap();
        assert!(found.address.port().unwrap() > 0);
        assert!(found.reuseport);
        let spec = ListenSpec { address: found.address.clone(), ..spec };
        assert!(found.matches(&spec));
        assert!(!found.matches(&ListenSpec { reuseport: false, ..spec.clone() }));
        bind(&spec).unwrap();
    }

    #[test]
    fn ipv6_stands_alone_unless_told_otherwise() {
        let Ok(socket) = bind(&inet("[::]:0")) else {
            return;
        };
        let found = inherit(socket.as_fd()).unwrap();
        assert_eq!(found.ipv6only, Some(true));
        let mut spec = ListenSpec { address: found.address.clone(), ..inet("[::]:0") };
        assert!(found.matches(&spec));
        spec.ipv6only = Some(false);
        assert!(!found.matches(&spec));
        let both = bind(&ListenSpec { ipv6only: Some(false), ..inet("[::]:0") }).unwrap();
        assert_eq!(inherit(both.as_fd()).unwrap().ipv6only, Some(false));
    }

    #[test]
    fn an_address_in_use_reads_as_in_nginx() {
        let other = Std::bind("127.0.0.1:0").unwrap();
        let spec = ListenSpec::new(Address::Inet(other.local_addr().unwrap()));
        let error = bind(&spec).unwrap_err();
        assert!(error.is_in_use());
        let expected = format!("bind() to {} failed (98: Address already in use)", spec.address);
        assert_eq!(error.to_string(), expected);
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn unix_sockets_are_open_to_all_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let spec = ListenSpec::new(Address::Unix(directory.path().join("s")));
        let socket = bind(&spec).unwrap();
        assert!(tune(socket.as_fd(), &spec).is_empty());
        assert!(inherit(socket.as_fd()).unwrap().matches(&spec));
        let mode = std::fs::metadata(directory.path().join("s")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        drop(socket);
        assert!(bind(&spec).unwrap_err().is_in_use());
        let nowhere = ListenSpec::new(Address::Unix(PathBuf::from("/no/such/directory/s")));
        let expected = "bind() to unix:/no/such/directory/s failed (2: No such file or directory)";
        assert_eq!(bind(&nowhere).unwrap_err().to_string(), expected);
    }

    #[test]
    fn tunes() {
        let keepalive = KeepAlive { on: true, idle: Some(77), interval: Some(5), count: Some(3) };
        let spec = ListenSpec {
            rcvbuf: Some(20_000),
            sndbuf: Some(30_000),
            keepalive: Some(keepalive),
            deferred: true,
            fastopen: Some(16),
            ..inet("127.0.0.1:0")
        };
        let socket = bind(&spec).unwrap();
        assert!(tune(socket.as_fd(), &spec).is_empty());
        let found = SockRef::from(&socket);
        // The kernel doubles what it is asked for.
        assert_eq!(found.recv_buffer_size().unwrap(), 40_000);
        assert_eq!(found.send_buffer_size().unwrap(), 60_000);
        assert!(found.keepalive().unwrap() && found.tcp_nodelay().unwrap());
        assert_eq!(found.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
        assert_eq!(found.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
        assert_eq!(found.tcp_keepalive_retries().unwrap(), 3);
    }

    #[test]
    fn what_cannot_be_tuned_is_told() {
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let failures = tune(socket.as_fd(), &inet("127.0.0.1:1"));
        let text = failures[0].to_string();
        assert!(text.starts_with("setsockopt(TCP_NODELAY) 127.0.0.1:1 failed ("), "{text}");
    }

    #[test]
    fn strangers_are_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(inherit(file.as_fd()).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
        let (stream, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(inherit(stream.as_fd()).unwrap_err().to_string(), "not a listening socket");
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(inherit(datagram.as_fd()).unwrap_err().to_string(), "not a stream socket");
    }

    #[tokio::test]
    async fn accepted_connections_have_nodelay_from_the_listener() {
        let spec = inet("127.0.0.1:0");
        let socket = bind(&spec).unwrap();
        tune(socket.as_fd(), &spec);
        let listener = Listener::from_fd(socket).unwrap();
        let client = Stream::connect(&listener.local().unwrap()).await.unwrap();
        let (accepted, peer) = listener.accept().await.unwrap();
        assert_eq!(
            Address::from(match peer {
                Peer::Inet(a) => a,
                Peer::Unix => unreachable!(),
            }),
            client.local().unwrap()
        );
        assert!(SockRef::from(accepted.socket().unwrap()).tcp_nodelay().unwrap());
        assert_eq!(flags(accepted.socket().unwrap().as_fd()), (true, true));
    }

    #[tokio::test]
    async fn dropping_a_listener_leaves_its_copies_open() {
        let socket = bind(&inet("127.0.0.1:0")).unwrap();
        let copy = socket.try_clone().unwrap();
        let listener = Listener::from_fd(socket).unwrap();
        let address = listener.local().unwrap();
        drop(listener);
        let _client = Stream::connect(&address).await.unwrap();
        Listener::from_fd(copy).unwrap().accept().await.unwrap();
    }

    #[tokio::test]
    async fn unix_peers_have_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let spec = ListenSpec::new(Address::Unix(directory.path().join("s")));
        let listener = Listener::from_fd(bind(&spec).unwrap()).unwrap();
        assert_eq!(listener.local().unwrap(), spec.address);
        let _client = Stream::connect(&spec.address).await.unwrap();
        let (accepted, peer) = listener.accept().await.unwrap();
        assert_eq!((peer, peer.to_string().as_str()), (Peer::Unix, "unix:"));
        assert_eq!(accepted.local().unwrap(), spec.address);
    }
}
