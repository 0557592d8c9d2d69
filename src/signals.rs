//! Signals as messages: blocked in the whole process and read from a descriptor, with the sender's
//! process id, which the log names. What a signal means is the reader's.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

use crate::sys::fds;

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

fn heard() -> SigSet {
    HEARD.into_iter().collect()
}

/// Blocks the signals that [`Signals`] will read, so that none is lost or acted on before. Call it
/// before there is a second thread: threads inherit it.
pub fn block() -> io::Result<()> {
    Ok(pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&heard()), None)?)
}

/// A signal that has come. Displays as nginx logs it: `signal 15 (SIGTERM) received from 1234`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    pub signal: Signal,
    /// 0 when the kernel sent it.
    pub sender: u32,
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signal {} ({}) received", self.signal as i32, self.signal.as_str())?;
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
        let queue = SignalFd::with_flags(&heard(), flags)?;
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
                    if let Ok(signal) = Signal::try_from(number) {
                        return Ok(Received { signal, sender: info.ssi_pid });
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
        let text = |sender| Received { signal: Signal::SIGTERM, sender }.to_string();
        assert_eq!(text(12), "signal 15 (SIGTERM) received from 12");
        assert_eq!(text(0), "signal 15 (SIGTERM) received");
    }

    #[test]
    fn hears_who_sent_it() {
        block().unwrap();
        nix::sys::signal::raise(Signal::SIGWINCH).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let received = runtime.block_on(async { Signals::new().unwrap().next().await.unwrap() });
        assert_eq!(received, Received { signal: Signal::SIGWINCH, sender: std::process::id() });
    }
}
