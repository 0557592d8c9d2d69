//! Listening sockets that come through the environment: how their numbers are written in it and
//! read from it, and what each of them turns out to be. The variable is nginx's, so that either
//! program can take over from the other.
//!
//! Must not decide which of them are wanted.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use socket2::SockRef;

use super::address::Address;
use super::listener;
use crate::sys::Cause;
use crate::sys::fds::{self, SocketKind};

/// The environment variable that has the numbers.
pub const VARIABLE: &str = "NGINX";

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The variable cannot be read.
    Emerg,
    /// What a number stands for cannot be used.
    Crit,
}

/// Sockets that came with the environment.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Listening stream sockets in the order they were named, non-blocking and close-on-exec. An
    /// address may be there several times: `reuseport`.
    pub sockets: Vec<(Address, OwnedFd)>,
    /// What is wrong with the others.
    pub complaints: Vec<(Severity, String)>,
}

/// The variable's value for sockets with these numbers: `4;5;`.
pub fn encode(numbers: impl Iterator<Item = RawFd>) -> String {
    numbers.fold(String::new(), |mut value, number| {
        // Writing into a String cannot fail.
        let _ = write!(value, "{number};");
        value
    })
}

/// Reads the variable's value (`4;5;`, or `4:5:`), takes the sockets and examines each. To be called
/// once, before anything else could have come by one of the numbers.
///
/// What is no socket, or a connection, belongs to somebody else and is left alone.
pub fn take(value: &OsStr) -> Inherited {
    let (numbers, complaint) = decode(value.as_bytes());
    let mut found = Inherited::default();
    found.complaints.extend(complaint.map(|text| (Severity::Emerg, text)));
    for number in numbers {
        match found.examine(number) {
            Ok(socket) => found.sockets.push(socket),
            Err(text) => found.complaints.push((Severity::Crit, text)),
        }
    }
    found
}

impl Inherited {
    /// Takes one socket, or says why not.
    fn examine(&self, number: RawFd) -> Result<(Address, OwnedFd), String> {
        let is = |what: &str| format!("the inherited socket #{number} {what}");
        let failed = |error| format!("getsockname() of {} ({})", is("failed"), Cause(&error));
        if self.sockets.iter().any(|(_, socket)| socket.as_raw_fd() == number) {
            return Err(is("is named twice, ignored"));
        }
        let kind = fds::socket_kind(number).map_err(failed)?;
        if kind == SocketKind::Other {
            return Err(is("is not listening, ignored"));
        }
        let socket = fds::take_fd(number).map_err(failed)?;
        if kind == SocketKind::Datagram {
            // Left open, it would go on to collect what nobody reads.
            return Err(is("is a datagram socket, closed"));
        }
        fds::set_nonblocking(socket.as_fd(), true).map_err(failed)?;
        match listener::inherit(socket.as_fd()) {
            Ok(found) => Ok((found.address, socket)),
            Err(error) if error.raw_os_error().is_some() => Err(failed(error)),
            Err(_) if is_unix(&socket) => Err(is("listens on an abstract name, closed")),
            Err(_) => Err(is("has an unsupported protocol family")),
        }
    }
}

fn is_unix(socket: &OwnedFd) -> bool {
    SockRef::from(socket).local_addr().is_ok_and(|name| name.is_unix())
}

/// The numbers as far as they can be read, and nginx's sentence about the rest.
fn decode(value: &[u8]) -> (Vec<RawFd>, Option<String>) {
    let invalid = |text: &[u8], ignoring: &str| {
        let text = String::from_utf8_lossy(text);
        Some(format!(
            "invalid socket number \"{text}\" in {VARIABLE} environment variable, {ignoring}"
        ))
    };
    let (mut numbers, mut rest) = (Vec::new(), value);
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b';' | b':')) {
        let Some(number) = parse(&rest[..end]) else {
            return (numbers, invalid(rest, "ignoring the rest of the variable"));
        };
        numbers.push(number);
        rest = &rest[end + 1..];
    }
    let complaint = if rest.is_empty() { None } else { invalid(rest, "ignoring") };
    (numbers, complaint)
}

/// Digits and nothing else: a sign would be taken by the standard library and not by nginx.
fn parse(text: &[u8]) -> Option<RawFd> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::listener::{ListenSpec, bind};
    use crate::sys::tests::{is_alone, passes_alone};
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    use proptest::prelude::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::IntoRawFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    /// Above every limit of descriptors that a test runs under.
    const CLOSED: RawFd = 1_999_999_999;

    fn taken(value: &str) -> (Vec<Address>, Vec<String>) {
        let Inherited { sockets, complaints } = take(OsStr::new(value));
        let level = |severity| if severity == Severity::Emerg { "emerg" } else { "crit" };
        let complaints = complaints.into_iter();
        let complaints = complaints.map(|(severity, text)| format!("[{}] {text}", level(severity)));
        (sockets.into_iter().map(|(address, _)| address).collect(), complaints.collect())
    }

    /// Gives a socket away, as exec does.
    fn give(socket: impl Into<OwnedFd>) -> RawFd {
        let socket = socket.into();
        fds::set_cloexec(socket.as_fd(), false).unwrap();
        socket.into_raw_fd()
    }

    fn inet(listener: &TcpListener) -> Address {
        listener.local_addr().unwrap().into()
    }

    #[test]
    fn takes_listeners_of_every_family_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = UnixListener::bind(&path).unwrap();
        let mut expected = vec![inet(&four), Address::Unix(path)];
        let mut numbers = vec![give(four), give(unix)];
        if let Ok(six) = TcpListener::bind("[::1]:0") {
            expected.push(inet(&six));
            numbers.push(give(six));
        }
        let value = encode(numbers.iter().copied());
        let found = take(OsStr::new(&value));
        assert_eq!(found.complaints, []);
        for (_, socket) in &found.sockets {
            let descriptor = FdFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFD).unwrap());
            let file = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL).unwrap());
            assert!(descriptor.contains(FdFlag::FD_CLOEXEC) && file.contains(OFlag::O_NONBLOCK));
        }
        let addresses: Vec<_> = found.sockets.iter().map(|(address, _)| address.clone()).collect();
        assert_eq!(addresses, expected);
        let same: Vec<_> = found.sockets.iter().map(|(_, socket)| socket.as_raw_fd()).collect();
        assert_eq!(same, numbers);
    }

    #[test]
    fn an_address_may_come_twice_but_a_number_may_not() {
        let spec = ListenSpec::new(Address::Inet("127.0.0.1:0".parse().unwrap()));
        let first = bind(&ListenSpec { reuseport: true, ..spec }).unwrap();
        let address = listener::inherit(first.as_fd()).unwrap().address;
        let spec = ListenSpec { reuseport: true, ..ListenSpec::new(address.clone()) };
        let (one, two) = (give(first), give(bind(&spec).unwrap()));
        let expected = format!("[crit] the inherited socket #{one} is named twice, ignored");
        let (addresses, complaints) = taken(&format!("{one};{two};{one};"));
        assert_eq!(addresses, [address.clone(), address]);
        assert_eq!(complaints, [expected]);
    }

    #[test]
    fn a_colon_separates_as_well() {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let second = TcpListener::bind("127.0.0.1:0").unwrap();
        let expected = vec![inet(&first), inet(&second)];
        let value = format!("{}:{};", give(first), give(second));
        assert_eq!(taken(&value), (expected, vec![]));
    }

    #[test]
    fn what_is_no_number_ends_the_reading() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let expected = vec![inet(&listener)];
        let rest = "[emerg] invalid socket number \"x;8;\" in NGINX environment variable, \
                    ignoring the rest of the variable";
        assert_eq!(taken(&format!("{};x;8;", give(listener))), (expected, vec![rest.to_owned()]));
        let bad = |value: &str| decode(value.as_bytes()).1.unwrap();
        for value in [";", "+3;", "-1;", " 3;", "3 ;", "99999999999;"] {
            let expected = format!("invalid socket number \"{value}\" in NGINX ");
            assert!(bad(value).starts_with(&expected), "{value}");
        }
        let last = "invalid socket number \"4\" in NGINX environment variable, ignoring";
        assert_eq!(decode(b"3;4"), (vec![3], Some(last.to_owned())));
    }

    #[test]
    fn nothing_comes_from_nothing() {
        assert_eq!(taken(""), (vec![], vec![]));
        assert_eq!(encode(std::iter::empty()), "");
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = file.as_raw_fd();
        let (sockets, complaints) = taken(&format!("{CLOSED};{number};"));
        assert_eq!(sockets, []);
        let failed = "[crit] getsockname() of the inherited socket";
        let closed = format!("{failed} #{CLOSED} failed (9: Bad file descriptor)");
        let other = format!("{failed} #{number} failed (88: Socket operation on non-socket)");
        assert_eq!(complaints, [closed, other]);
        file.metadata().unwrap();
    }

    #[test]
    fn connections_are_left_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (packets, _peer) = fds::socketpair_seqpacket().unwrap();
        let numbers = [client.as_raw_fd(), packets.as_raw_fd()];
        let (sockets, complaints) = taken(&encode(numbers.into_iter()));
        assert_eq!(sockets, []);
        let text =
            |number| format!("[crit] the inherited socket #{number} is not listening, ignored");
        assert_eq!(complaints, numbers.map(text));
        client.peer_addr().unwrap();
    }

    #[test]
    fn what_nobody_would_read_from_is_closed() {
        passes_alone("net::inherit::tests::what_nobody_would_read_from_in_its_own_process");
    }

    /// Another test's child would hold what is given away here.
    #[test]
    fn what_nobody_would_read_from_in_its_own_process() {
        if !is_alone() {
            return;
        }
        let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = datagram.local_addr().unwrap();
        let name = format!("proxyd-inherit-{}", std::process::id());
        let name = SocketAddr::from_abstract_name(name).unwrap();
        let hidden = UnixListener::bind_addr(&name).unwrap();
        let (first, second) = (give(datagram), give(hidden));
        let (sockets, complaints) = taken(&format!("{first};{second};"));
        assert_eq!(sockets, []);
        let expected = [
            format!("[crit] the inherited socket #{first} is a datagram socket, closed"),
            format!("[crit] the inherited socket #{second} listens on an abstract name, closed"),
        ];
        assert_eq!(complaints, expected);
        UdpSocket::bind(address).unwrap();
        UnixListener::bind_addr(&name).unwrap();
    }

    proptest! {
        #[test]
        fn any_value_is_read(value: Vec<u8>) {
            let _ = decode(&value);
        }

        #[test]
        fn what_is_encoded_is_read_back(numbers in prop::collection::vec(0..=RawFd::MAX, 0..20)) {
            let value = encode(numbers.iter().copied());
            prop_assert_eq!(decode(value.as_bytes()), (numbers, None));
        }
    }
}
