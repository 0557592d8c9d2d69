//! Attributes of this process and its children: limits, priority, processors, signals, exits.

use std::ffi::CStr;
use std::fmt;
use std::io;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

pub use nix::sys::signal::Signal;
pub use nix::unistd::Pid;

pub use super::daemon::{Launch, detach_stdio, fork_parent_waits, stderr_to};
pub use super::title::set_title;

/// How a child ended. Displays as nginx does: `exited with code 2`, `exited on signal 9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// Killed.
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether a core file was written.
        core: bool,
    },
}

impl Exit {
    /// As a shell tells it: the code, or 128 and the signal's number.
    pub fn shell_code(self) -> u8 {
        let code = match self {
            Exit::Code(code) => code,
            Exit::Signal { number, .. } => 128 + number,
        };
        u8::try_from(code).unwrap_or(1)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exited with code {code}"),
            Exit::Signal { number, core: false } => write!(f, "exited on signal {number}"),
            Exit::Signal { number, core: true } => {
                write!(f, "exited on signal {number} (core dumped)")
            }
        }
    }
}

/// Reaps every child that has ended, without waiting. One SIGCHLD may stand for several.
pub fn wait_any() -> Vec<(Pid, Exit)> {
    let mut ended = Vec::new();
    loop {
        let mut status = 0;
        // SAFETY: status is there to be written to. nix would lose who was killed by a signal that
        // has no name.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match pid {
            0 => return ended,
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return ended,
            pid => ended.extend(exit(status).map(|exit| (Pid::from_raw(pid), exit))),
        }
    }
}

/// What a status says, if it is about an end.
fn exit(status: i32) -> Option<Exit> {
    if libc::WIFEXITED(status) {
        return Some(Exit::Code(libc::WEXITSTATUS(status)));
    }
    libc::WIFSIGNALED(status)
        .then(|| Exit::Signal { number: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) })
}

/// Sends a signal.
pub fn kill(pid: Pid, signal: Signal) -> io::Result<()> {
    Ok(nix::sys::signal::kill(pid, signal)?)
}

/// True if a process of that id exists, whoever owns it.
pub fn exists(pid: Pid) -> bool {
    !matches!(nix::sys::signal::kill(pid, None), Err(Errno::ESRCH))
}

/// True if it exists and has not ended: not every parent buries its children.
pub fn lives(pid: Pid) -> bool {
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // The name, which comes before, may hold anything.
    let ended =
        |stat: String| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z"));
    exists(pid) && !stat().is_ok_and(ended)
}

/// Makes this process the parent of its descendants' orphans, so that it can reap them. Kept over
/// exec.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Binds this process to these processors, counted from 0.
pub fn set_affinity(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// The processors this process may use: its affinity mask, and the CPU quota of its cgroup (v1 or v2)
/// rounded down; at least 1.
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The nice value, -20 to 20.
pub fn set_priority(nice: i32) -> io::Result<()> {
    // SAFETY: takes plain numbers only; 0 is this process.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) })?;
    Ok(())
}

/// How early the kernel kills this process for want of memory: -1000 never, 0 as any other, 1000
/// first. Children begin with their parent's.
pub fn oom_score_adj() -> io::Result<i32> {
    let text = std::fs::read_to_string("/proc/self/oom_score_adj")?;
    text.trim_end().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Sets it for a process of ours. Going below what a privileged process has set needs privileges.
pub fn set_oom_score_adj(process: Pid, score: i32) -> io::Result<()> {
    std::fs::write(format!("/proc/{process}/oom_score_adj"), score.to_string())
}

/// The name that `ps -o comm` and `pgrep` go by, at most 15 bytes. A program run from a descriptor
/// may otherwise bear a number for a name.
pub fn set_name(name: &CStr) -> io::Result<()> {
    Ok(nix::sys::prctl::set_name(name)?)
}

/// The limit of open descriptors: soft, hard.
pub fn get_nofile() -> io::Result<(u64, u64)> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?)
}

/// Sets both limits of open descriptors, as `worker_rlimit_nofile` does. Raising the hard one needs
/// privileges.
pub fn set_nofile(limit: u64) -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?)
}

/// Sets both limits of a core file, in bytes (`worker_rlimit_core`).
pub fn set_core(limit: u64) -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_CORE, limit, limit)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::exec::{Program, spawn};
    use crate::sys::tests::{is_alone, passes_alone};
    use std::ffi::CString;
    use std::path::Path;

    fn shell(script: &str) -> Pid {
        let program = Program::open(Path::new("/bin/sh")).unwrap();
        let argv = ["sh", "-c", script].map(|word| CString::new(word).unwrap());
        spawn(&program, &argv, &[], &[]).unwrap()
    }

    #[test]
    fn counts_processors() {
        assert!(cpu_count() >= 1);
    }

    #[test]
    fn knows_who_exists() {
        assert!(exists(Pid::this()));
        assert!(exists(Pid::from_raw(1)));
        assert!(!exists(Pid::from_raw(i32::MAX)));
    }

    #[test]
    fn exits_read_as_in_nginx() {
        assert_eq!(Exit::Code(2).to_string(), "exited with code 2");
        let core = |core| Exit::Signal { number: 11, core }.to_string();
        assert_eq!(core(false), "exited on signal 11");
        assert_eq!(core(true), "exited on signal 11 (core dumped)");
    }

    #[test]
    fn reaps() {
        passes_alone("sys::process::tests::reaps_in_its_own_process");
    }

    #[test]
    fn reaps_in_its_own_process() {
        if !is_alone() {
            return;
        }
        assert_eq!(wait_any(), []);
        let (quick, slow) = (shell("exit 7"), shell("read line < /dev/zero; exec cat /dev/zero"));
        let mut ended = Vec::new();
        while ended.is_empty() {
            ended = wait_any();
        }
        assert_eq!(ended, [(quick, Exit::Code(7))]);
        kill(slow, Signal::SIGKILL).unwrap();
        while ended.len() == 1 {
            ended.extend(wait_any());
        }
        assert_eq!(ended[1], (slow, Exit::Signal { number: 9, core: false }));
        assert!(!exists(slow));
    }

    #[test]
    fn name_and_oom_score() {
        passes_alone("sys::process::tests::name_and_oom_score_in_its_own_process");
    }

    #[test]
    fn name_and_oom_score_in_its_own_process() {
        if !is_alone() {
            return;
        }
        set_name(c"proxyd").unwrap();
        assert_eq!(std::fs::read_to_string("/proc/thread-self/comm").unwrap(), "proxyd\n");
        // Raising it is everybody's right.
        set_oom_score_adj(Pid::this(), 900).unwrap();
        assert_eq!(oom_score_adj().unwrap(), 900);
        let outside = set_oom_score_adj(Pid::this(), 1001).unwrap_err();
        assert_eq!(outside.kind(), io::ErrorKind::InvalidInput);
        let nobody = set_oom_score_adj(Pid::from_raw(i32::MAX), 0).unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn limits() {
        passes_alone("sys::process::tests::limits_in_its_own_process");
    }

    #[test]
    fn limits_in_its_own_process() {
        if !is_alone() {
            return;
        }
        set_nofile(100).unwrap();
        assert_eq!(get_nofile().unwrap(), (100, 100));
        set_core(0).unwrap();
        set_priority(5).unwrap();
        set_affinity(&[0]).unwrap();
        assert_eq!(cpu_count(), 1);
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let nice = stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap();
        assert_eq!(nice, "5");
    }
}
