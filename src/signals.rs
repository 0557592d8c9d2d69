//! Signals as messages: blocked in the whole process and read from a descriptor, with the sender's
//! process id, which the log names. What a signal means is the reader's.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

use crate::sys::process::{self, Pid};
use crate::sys::{fds, signals};

pub use nix::sys::signal::Signal;

/// What a server's processes react to.
const HEARD: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTERM,
    Signal::SIGCHLD,
    Signal::SIGWINCH,
];

/// And those without a name, counted from `SIGRTMIN`.
const HEARD_REAL_TIME: RangeInclusive<u8> = 1..=2;

fn heard() -> io::Result<SigSet> {
    signals::with_real_time(&HEARD.into_iter().collect(), HEARD_REAL_TIME)
}

/// Blocks the signals that [`Signals`] will read, so that none is lost or acted on before. Call it
/// before there is a second thread: threads inherit it.
pub fn block() -> io::Result<()> {
    Ok(pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&heard()?), None)?)
}

/// A signal that is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    Named(Signal),
    /// `SIGRTMIN` and so many more.
    RealTime(u8),
}

impl Heard {
    fn of(number: i32) -> Option<Heard> {
        let named = Signal::try_from(number).ok().map(Heard::Named);
        named.or_else(|| signals::nth(number).map(Heard::RealTime))
    }

    /// Sends the same to another process.
    pub fn send(self, pid: Pid) -> io::Result<()> {
        match self {
            Heard::Named(signal) => process::kill(pid, signal),
            Heard::RealTime(n) => signals::send(pid, n),
        }
    }
}

impl From<Signal> for Heard {
    fn from(signal: Signal) -> Heard {
        Heard::Named(signal)
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Heard::Named(signal) => write!(f, "{} ({})", *signal as i32, signal.as_str()),
            Heard::RealTime(n) => write!(f, "{} (SIGRTMIN+{n})", signals::real_time(*n)),
        }
    }
}

/// A signal that has come. Displays as nginx logs it: `signal 15 (SIGTERM) received from 1234`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    pub signal: Heard,
    /// 0 when the kernel sent it.
    pub sender: u32,
    /// Whose process the sender is.
    pub user: u32,
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signal {} received", self.signal)?;
        if self.sender == 0 { Ok(()) } else { write!(f, " from {}", self.sender) }
    }
}

/// The signals sent to this process.
pub struct Signals {
    queue: SignalFd,
    /// Another descriptor of the same queue, to be woken by.
    ready: AsyncFd<OwnedFd>,
}

impl Signals {
    /// Call it within a runtime, after [`block`].
    pub fn new() -> io::Result<Signals> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let queue = SignalFd::with_flags(&heard()?, flags)?;
        let ready = fds::watch(queue.as_fd().try_clone_to_owned()?)?;
        Ok(Signals { queue, ready })
    }

    /// The next signal. Cancel-safe.
    pub async fn next(&self) -> io::Result<Received> {
        loop {
            let mut guard = self.ready.readable().await?;
            match self.queue.read_signal()? {
                None => guard.clear_ready(),
                Some(info) => {
                    let number = i32::try_from(info.ssi_signo).unwrap_or_default();
                    if let Some(signal) = Heard::of(number) {
                        let (sender, user) = (info.ssi_pid, info.ssi_uid);
                        return Ok(Received { signal, sender, user });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_in_nginx() {
        let text = |signal, sender| Received { signal, sender, user: 0 }.to_string();
        let term = Heard::Named(Signal::SIGTERM);
        assert_eq!(text(term, 12), "signal 15 (SIGTERM) received from 12");
        assert_eq!(text(term, 0), "signal 15 (SIGTERM) received");
        let number = signals::real_time(1);
        let expected = format!("signal {number} (SIGRTMIN+1) received from 9");
        assert_eq!(text(Heard::RealTime(1), 9), expected);
    }

    #[test]
    fn hears_who_sent_it() {
        block().unwrap();
        nix::sys::signal::raise(Signal::SIGWINCH).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let received = runtime.block_on(async { Signals::new().unwrap().next().await.unwrap() });
        let (sender, user) = (std::process::id(), nix::unistd::getuid().as_raw());
        assert_eq!(received, Received { signal: Signal::SIGWINCH.into(), sender, user });
    }
}
