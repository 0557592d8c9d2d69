//! A pipe through which the kernel passes bytes from one socket to another without copying them.
//!
//! Must not know sockets' states: an empty pipe always takes some, and is never asked for more than it
//! holds.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::{pipe2, read};

/// Bytes that a pipe is made to hold. Less is as good where the system allows no more.
const SIZE: i32 = 256 * 1024;

/// Empty pipes kept for the next answer; each has two descriptors.
const MOST: usize = 16;

#[derive(Debug)]
struct Ends {
    out: OwnedFd,
    into: OwnedFd,
}

thread_local! {
    static SPARE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// A pipe of one transfer at a time.
#[derive(Debug)]
pub struct Pipe {
    ends: Option<Ends>,
    holds: usize,
}

impl Pipe {
    /// An empty one. The error is the system's, which has no descriptors left.
    pub fn empty() -> io::Result<Pipe> {
        if let Some(ends) = SPARE.with_borrow_mut(Vec::pop) {
            return Ok(Pipe { ends: Some(ends), holds: 0 });
        }
        let (out, into) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(SIZE));
        Ok(Pipe { ends: Some(Ends { out, into }), holds: 0 })
    }

    /// Whether all that went in has come out.
    pub fn is_empty(&self) -> bool {
        self.holds == 0
    }

    fn ends(&self) -> io::Result<&Ends> {
        self.ends.as_ref().ok_or_else(|| ErrorKind::BrokenPipe.into())
    }

    /// Takes up to `len` bytes from a socket; the pipe must be empty, or `WouldBlock` tells nothing.
    pub(super) fn fill(&mut self, from: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
        let into = self.ends()?.into.as_fd();
        let taken = splice(from, None, into, None, len, flags())?;
        self.holds += taken;
        Ok(taken)
    }

    /// Gives what it holds to a socket, perhaps only a part.
    pub(super) fn drain(&mut self, to: BorrowedFd<'_>) -> io::Result<usize> {
        let given = splice(self.ends()?.out.as_fd(), None, to, None, self.holds, flags())?;
        self.holds -= given;
        Ok(given)
    }

    /// Appends what it holds to `bytes`.
    pub fn empty_into(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let start = bytes.len();
        bytes.resize(start + self.holds, 0);
        while self.holds > 0 {
            let at = bytes.len() - self.holds;
            let room = bytes.get_mut(at..).unwrap_or_default();
            match read(self.ends()?.out.as_fd(), room)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                got => self.holds -= got,
            }
        }
        Ok(())
    }
}

impl Drop for Pipe {
    /// An empty one is left for another transfer.
    fn drop(&mut self) {
        let Some(ends) = self.ends.take().filter(|_| self.holds == 0) else { return };
        // A thread that ends has no more use for it.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST {
                spare.push(ends);
            }
        });
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_go_through_and_what_is_left_can_be_had() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let (mut end, last) = UnixStream::pair().unwrap();
        near.write_all(b"abcdef").unwrap();
        let mut pipe = Pipe::empty().unwrap();
        assert_eq!(pipe.fill(far.as_fd(), 4).unwrap(), 4);
        assert_eq!(pipe.drain(last.as_fd()).unwrap(), 4);
        assert!(pipe.is_empty());
        assert_eq!(pipe.fill(far.as_fd(), 4).unwrap(), 2);
        let mut rest = b"> ".to_vec();
        pipe.empty_into(&mut rest).unwrap();
        assert_eq!(rest, b"> ef");
        far.set_nonblocking(true).unwrap();
        assert_eq!(pipe.fill(far.as_fd(), 4).unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut through = [0; 4];
        end.read_exact(&mut through).unwrap();
        assert_eq!(&through, b"abcd");
    }

    #[test]
    fn only_empty_ones_are_used_again() {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(b"x").unwrap();
        let mut pipe = Pipe::empty().unwrap();
        pipe.fill(far.as_fd(), 1).unwrap();
        drop(pipe);
        assert_eq!(SPARE.with_borrow(Vec::len), 0);
        drop(Pipe::empty().unwrap());
        assert_eq!(SPARE.with_borrow(Vec::len), 1);
    }
}
