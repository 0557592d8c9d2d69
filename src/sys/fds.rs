//! File descriptors: validity, inheritance, passing between processes, sealed memory files.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use bytes::BufMut;
use nix::fcntl::{FcntlArg, FdFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair, sockopt,
};
use tokio::io::unix::AsyncFd;

/// The longest packet [`recv_with_fds`] takes, in bytes. Well below the default send buffer, so that
/// several are in flight before a sender must wait.
pub const MAX_PACKET: usize = 32 * 1024;

/// The most descriptors in one packet: the kernel's `SCM_MAX_FD`.
pub const MAX_PACKET_FDS: usize = 253;

/// Sets or clears close-on-exec.
pub fn set_cloexec(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let flags = if on { FdFlag::FD_CLOEXEC } else { FdFlag::empty() };
    fcntl(fd, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

/// Sets or clears `O_NONBLOCK`, which all holders of the same open file share.
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    use nix::fcntl::OFlag;
    let mut flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, on);
    fcntl(fd, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// Hands a descriptor to the running tokio runtime's event loop; it must be non-blocking.
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor, and `AsyncFd` gives nobody the means to swap it.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Takes ownership of a descriptor known by its number only (from the environment or by agreement
/// with the parent), and makes it close-on-exec. Refuses numbers that are not open, and 0 to 2,
/// which belong to the standard streams. The caller must take each number once.
pub fn take_fd(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: F_SETFD on any number is harmless; it fails if the number is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and the caller promises that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// What a socket is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// A stream socket that connections can be accepted from.
    Listener,
    /// A datagram socket.
    Datagram,
    /// A connection, or anything else.
    Other,
}

/// What kind of socket a number is of, which may be anybody's: it is looked at and not taken.
/// Errors: `EBADF` for a number that is not open, `ENOTSOCK` for what is no socket.
pub fn socket_kind(number: RawFd) -> io::Result<SocketKind> {
    Ok(match get_socket_option(number, libc::SO_TYPE)? {
        libc::SOCK_STREAM if get_socket_option(number, libc::SO_ACCEPTCONN)? != 0 => {
            SocketKind::Listener
        }
        libc::SOCK_DGRAM => SocketKind::Datagram,
        _ => SocketKind::Other,
    })
}

fn get_socket_option(number: RawFd, option: i32) -> io::Result<i32> {
    let mut value: i32 = 0;
    let mut len = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    let place = (&raw mut value).cast();
    // SAFETY: place points to an int that lives through the call, and len is its size; a number that
    // is no socket is an error.
    let rc = unsafe { libc::getsockopt(number, libc::SOL_SOCKET, option, place, &raw mut len) };
    if rc == -1 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// A connected pair of unix packet sockets, blocking, close-on-exec.
pub fn socketpair_seqpacket() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends one packet with descriptors attached; the caller keeps its own copies. A packet is sent
/// whole or not at all. Errors: `WouldBlock` on a full non-blocking socket, `BrokenPipe` or
/// `ConnectionReset` when the peer is gone.
pub fn send_with_fds(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let attached = if numbers.is_empty() { &[][..] } else { &rights[..] };
    let piece = [IoSlice::new(bytes)];
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &piece, attached, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one packet into `buffer` (replacing its contents) and the descriptors that came with it,
/// close-on-exec. A length of 0 is the end: the peer has closed and nothing is left to read.
///
/// A peer that closes with packets unread makes the kernel report `ECONNRESET` once, ahead of the
/// packets it had sent itself; that report is skipped here, so nothing sent is lost.
pub fn recv_with_fds(
    socket: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    buffer.resize(MAX_PACKET, 0);
    let mut room = nix::cmsg_space!([RawFd; MAX_PACKET_FDS]);
    let mut piece = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut piece, Some(&mut room), flags) {
            Err(nix::Error::EINTR | nix::Error::ECONNRESET) => {}
            outcome => break outcome?,
        }
    };
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just made these descriptors for us; nobody else knows them.
            fds.extend(numbers.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "packet is too long"));
    }
    let len = message.bytes;
    buffer.truncate(len);
    Ok((len, fds))
}

/// Receives once from a stream socket into the spare room of `buffer`, which does not grow.
pub fn recv_buf(socket: BorrowedFd<'_>, buffer: &mut impl BufMut) -> io::Result<usize> {
    let room = buffer.chunk_mut();
    let (start, len) = (room.as_mut_ptr(), room.len());
    // SAFETY: start and len describe memory that `buffer`, borrowed mutably, has set aside.
    let got = unsafe { libc::recv(socket.as_raw_fd(), start.cast(), len, 0) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has written the first `got` bytes, and got <= len.
    unsafe { buffer.advance_mut(got) };
    Ok(got)
}

/// A sealed memory file with these contents: nobody, not even its maker, can change it any more.
pub fn memfd_sealed(name: &str, contents: &[u8]) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    let fd = memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(contents)?;
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// The contents of a memory file from its beginning. Does not move the file position, which all
/// holders share.
pub fn read_memfd(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let file = File::from(fd.try_clone_to_owned()?);
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut contents = vec![0; len];
    file.read_exact_at(&mut contents, 0)?;
    Ok(contents)
}

/// Who is at the other end of a unix socket, as the kernel noted it at connect time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Process id.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// `SO_PEERCRED`.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let found = nix::sys::socket::getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(Credentials { pid: found.pid(), uid: found.uid(), gid: found.gid() })
}

/// `TCP_FASTOPEN` with a queue length.
pub fn set_tcp_fastopen(socket: BorrowedFd<'_>, queue: u32) -> io::Result<()> {
    set_tcp_option(socket, libc::TCP_FASTOPEN, i32::try_from(queue).unwrap_or(i32::MAX))
}

/// `TCP_DEFER_ACCEPT`, with nginx's one second.
pub fn set_tcp_defer_accept(socket: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_tcp_option(socket, libc::TCP_DEFER_ACCEPT, on.into())
}

fn set_tcp_option(socket: BorrowedFd<'_>, option: i32, value: i32) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    let value = (&raw const value).cast();
    // SAFETY: value points to an int that lives through the call, and len is its size.
    let rc = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, value, len) };
    if rc == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::os::fd::{AsFd, IntoRawFd};

    fn cloexec(fd: &OwnedFd) -> bool {
        fcntl(fd, FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits() != 0
    }

    #[test]
    fn takes_open_numbers_only() {
        for number in [-1, 0, 2, 1_000_000] {
            assert_eq!(take_fd(number).unwrap_err().raw_os_error(), Some(libc::EBADF));
        }
        let fd = memfd_sealed("taken", b"x").unwrap();
        set_cloexec(fd.as_fd(), false).unwrap();
        assert!(!cloexec(&fd));
        let taken = take_fd(fd.into_raw_fd()).unwrap();
        assert!(cloexec(&taken));
        assert_eq!(read_memfd(taken.as_fd()).unwrap(), b"x");
    }

    #[test]
    fn tells_sockets_apart() {
        let kind = |fd: &dyn AsRawFd| socket_kind(fd.as_raw_fd());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(kind(&listener).unwrap(), SocketKind::Listener);
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(kind(&client).unwrap(), SocketKind::Other);
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(kind(&datagram).unwrap(), SocketKind::Datagram);
        let (near, _far) = socketpair_seqpacket().unwrap();
        assert_eq!(kind(&near).unwrap(), SocketKind::Other);
        let file = memfd_sealed("file", b"").unwrap();
        assert_eq!(kind(&file).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
        for number in [-1, 1_000_000] {
            assert_eq!(socket_kind(number).unwrap_err().raw_os_error(), Some(libc::EBADF));
        }
    }

    #[test]
    fn sealed_files_cannot_be_changed() {
        let fd = memfd_sealed("config", b"http {}").unwrap();
        let file = File::from(fd.try_clone().unwrap());
        assert_eq!(file.write_at(b"x", 0).unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert!(file.set_len(0).is_err());
        assert_eq!(read_memfd(fd.as_fd()).unwrap(), b"http {}");
        assert_eq!(read_memfd(fd.as_fd()).unwrap(), b"http {}");
    }

    #[test]
    fn packets_carry_descriptors() {
        let (near, far) = socketpair_seqpacket().unwrap();
        let file = memfd_sealed("file", b"contents").unwrap();
        send_with_fds(near.as_fd(), b"one", &[file.as_fd(), near.as_fd()]).unwrap();
        send_with_fds(near.as_fd(), b"two", &[]).unwrap();
        let mut buffer = Vec::new();
        let (len, fds) = recv_with_fds(far.as_fd(), &mut buffer).unwrap();
        assert_eq!((len, buffer.as_slice(), fds.len()), (3, &b"one"[..], 2));
        assert!(fds.iter().all(cloexec));
        assert_eq!(read_memfd(fds[0].as_fd()).unwrap(), b"contents");
        drop(fds);
        let (_, fds) = recv_with_fds(far.as_fd(), &mut buffer).unwrap();
        assert_eq!((buffer.as_slice(), fds.len()), (&b"two"[..], 0));
        drop(near);
        assert_eq!(recv_with_fds(far.as_fd(), &mut buffer).unwrap().0, 0);
    }

    #[test]
    fn the_fullest_packet_fits() {
        let (near, far) = socketpair_seqpacket().unwrap();
        let fds = vec![near.as_fd(); MAX_PACKET_FDS];
        send_with_fds(near.as_fd(), &vec![7; MAX_PACKET], &fds).unwrap();
        let mut buffer = Vec::new();
        let (len, fds) = recv_with_fds(far.as_fd(), &mut buffer).unwrap();
        assert_eq!((len, fds.len()), (MAX_PACKET, MAX_PACKET_FDS));
    }

    #[test]
    fn a_longer_packet_is_an_error_not_a_part() {
        let (near, far) = socketpair_seqpacket().unwrap();
        send_with_fds(near.as_fd(), &vec![7; MAX_PACKET + 1], &[]).unwrap();
        let error = recv_with_fds(far.as_fd(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn knows_the_peer() {
        let (near, _far) = socketpair_seqpacket().unwrap();
        let peer = peer_credentials(near.as_fd()).unwrap();
        assert_eq!(peer.pid, nix::unistd::getpid().as_raw());
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
    }
}
