//! Owns the epoll set of a process with one listener. Knows nothing of what is served.

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io;
use std::net::{TcpListener, TcpStream};

/// The token that is not a connection's.
pub const LISTENER: usize = usize::MAX;

pub struct Watch {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

impl Watch {
    /// Watches the listener.
    pub fn new(listener: &TcpListener) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(listener, event(LISTENER, EpollFlags::EPOLLIN))?;
        Ok(Self { epoll, events: vec![EpollEvent::empty(); 256] })
    }

    /// Watches a connection for reading, level-triggered.
    pub fn add(&self, stream: &TcpStream, token: usize) -> io::Result<()> {
        Ok(self.epoll.add(stream, event(token, EpollFlags::EPOLLIN))?)
    }

    pub fn change(&self, stream: &TcpStream, token: usize, to: EpollFlags) -> io::Result<()> {
        Ok(self.epoll.modify(stream, &mut event(token, to))?)
    }

    /// Tokens with what happened to them; waits until there are some.
    pub fn wait(&mut self) -> io::Result<Vec<(usize, EpollFlags)>> {
        let count = match self.epoll.wait(&mut self.events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => 0,
            count => count?,
        };
        let token = |event: &EpollEvent| usize::try_from(event.data()).unwrap_or(LISTENER);
        Ok(self.events[..count].iter().map(|event| (token(event), event.events())).collect())
    }
}

fn event(token: usize, flags: EpollFlags) -> EpollEvent {
    EpollEvent::new(flags, token as u64)
}
