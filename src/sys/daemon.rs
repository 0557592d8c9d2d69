//! Becoming a daemon: the parent waits until the child says how it went.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{self, ForkResult, Pid, fork, pipe2};

/// The child's word to the waiting parent. Dropping it without a word, as dying does, makes the
/// parent exit with the child's own status.
#[derive(Debug)]
pub struct Launch {
    pipe: File,
}

impl Launch {
    /// Lets the parent exit with this code.
    pub fn report(mut self, code: u8) -> io::Result<()> {
        self.pipe.write_all(&[code])
    }
}

/// Forks. The child, leader of a new session, returns; the parent stays until [`Launch::report`] or
/// the child's death and then exits, so that whoever started it learns whether the server runs.
/// There must be no other thread.
pub fn fork_parent_waits() -> io::Result<Launch> {
    let (parent, child) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: with a single thread the child may go on as if nothing had happened.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(parent);
            unistd::setsid()?;
            Ok(Launch { pipe: child.into() })
        }
        ForkResult::Parent { child: pid } => {
            drop(child);
            std::process::exit(outcome(parent, pid))
        }
    }
}

fn outcome(pipe: OwnedFd, child: Pid) -> i32 {
    let mut code = [0];
    if File::from(pipe).read_exact(&mut code).is_ok() {
        return code[0].into();
    }
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, code)) => code,
        _ => 1,
    }
}

/// Points standard input and output at `/dev/null`; standard error stays for the error log.
pub fn detach_stdio() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    unistd::dup2_stdin(&null)?;
    unistd::dup2_stdout(&null)?;
    Ok(())
}

/// Points standard error at `file`: what panics and libraries print lands in the error log.
pub fn stderr_to(file: BorrowedFd<'_>) -> io::Result<()> {
    Ok(unistd::dup2_stderr(file)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tests::{alone, is_alone};

    #[test]
    fn the_parent_exits_with_the_reported_code() {
        let output = alone("sys::daemon::tests::reports");
        assert_eq!(output.status.code(), Some(33));
    }

    #[test]
    fn the_parent_exits_with_a_dead_childs_code() {
        let output = alone("sys::daemon::tests::dies");
        assert_eq!(output.status.code(), Some(44));
    }

    #[test]
    fn reports() {
        if !is_alone() {
            return;
        }
        let launch = fork_parent_waits().unwrap();
        detach_stdio().unwrap();
        stderr_to(std::os::fd::AsFd::as_fd(&std::io::stdout())).unwrap();
        assert_eq!(std::fs::read_link("/proc/self/fd/2").unwrap().as_os_str(), "/dev/null");
        assert_eq!(unistd::getsid(None).unwrap(), Pid::this());
        launch.report(33).unwrap();
        std::process::exit(0);
    }

    #[test]
    fn dies() {
        if !is_alone() {
            return;
        }
        let _launch = fork_parent_waits().unwrap();
        std::process::exit(44);
    }
}
