//! Running a program from a descriptor, with exactly the descriptors it is meant to have.
//!
//! Between fork and exec only async-signal-safe calls are made, on memory laid out before.

use std::ffi::{CString, c_char, c_int};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe2};

/// The highest signal number of Linux.
const LAST_SIGNAL: c_int = 64;

/// The kernel's own bound of descriptors (`fs.nr_open`), where the limit is infinite.
const NR_OPEN: u64 = 1 << 20;

/// An executable held open: it can be run again after its file is replaced or deleted. A script
/// (`#!`) cannot be run this way, its interpreter would find the descriptor closed.
#[derive(Debug)]
pub struct Program {
    file: File,
}

impl Program {
    /// The program this process runs. Call it at the start and keep it.
    pub fn current() -> io::Result<Program> {
        Program::open(Path::new("/proc/self/exe"))
    }

    /// The program at `path`.
    pub fn open(path: &Path) -> io::Result<Program> {
        Ok(Program { file: File::open(path)? })
    }

    /// A program received from another process.
    pub fn from_fd(fd: OwnedFd) -> Program {
        Program { file: fd.into() }
    }

    /// The executable's bytes, from the first.
    pub fn contents(&self) -> io::Result<File> {
        File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Device and inode: equal for two descriptors of the same executable.
    pub fn inode(&self) -> io::Result<(u64, u64)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Where it was when opened, for messages; the kernel adds ` (deleted)`.
    pub fn path(&self) -> io::Result<PathBuf> {
        std::fs::read_link(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Starts `program` as a child with these arguments and this environment, nothing inherited
/// from ours. Its descriptors are 0 to 2 as here, plus `inherit`: ours, and the number it has
/// there (which may be 0 to 2). Signals are unblocked and at their defaults.
///
/// Returns when the program runs; a failure to execute it is returned with the kernel's errno and
/// leaves no child behind.
pub fn spawn(
    program: &Program,
    argv: &[CString],
    envp: &[CString],
    inherit: &[(BorrowedFd<'_>, RawFd)],
) -> io::Result<Pid> {
    let (failure, report) = pipe2(OFlag::O_CLOEXEC)?;
    let mut plan = Plan::new(program, argv, envp, inherit, report.as_raw_fd());
    // A handler of ours that ran in the child would write to our event loop's pipe.
    let mask = block_signals()?;
    // SAFETY: the child only calls `Plan::execute`, which is async-signal-safe and never returns.
    let forked = unsafe { fork() };
    if let Ok(ForkResult::Child) = forked {
        plan.execute();
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
    let Ok(ForkResult::Parent { child }) = forked else {
        return Err(forked.err().map_or_else(io::Error::last_os_error, io::Error::from));
    };
    drop(report);
    let mut errno = [0; size_of::<c_int>()];
    if File::from(failure).read_exact(&mut errno).is_err() {
        // End of file: the pipe was closed by a successful exec.
        return Ok(child);
    }
    let _ = waitpid(child, None);
    Err(io::Error::from_raw_os_error(c_int::from_ne_bytes(errno)))
}

fn block_signals() -> io::Result<SigSet> {
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    Ok(before)
}

/// Everything the child needs, so that it need not allocate.
struct Plan {
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// Each descriptor and its number in the new program.
    moves: Vec<(RawFd, RawFd)>,
    /// Above every number the new program is given.
    floor: RawFd,
    program: RawFd,
    /// Where to write errno; close-on-exec.
    report: RawFd,
    /// Soft limit of descriptors.
    limit: RawFd,
}

impl Plan {
    fn new(
        program: &Program,
        argv: &[CString],
        envp: &[CString],
        inherit: &[(BorrowedFd<'_>, RawFd)],
        report: RawFd,
    ) -> Plan {
        let pointers = |strings: &[CString]| {
            let ends = std::iter::once(std::ptr::null());
            strings.iter().map(|string| string.as_ptr()).chain(ends).collect()
        };
        let highest = inherit.iter().map(|(_, number)| *number).max().unwrap_or(0);
        let (soft, _) = super::process::get_nofile().unwrap_or((1024, 1024));
        Plan {
            argv: pointers(argv),
            envp: pointers(envp),
            moves: inherit.iter().map(|(fd, number)| (fd.as_raw_fd(), *number)).collect(),
            floor: highest.max(2) + 1,
            program: program.file.as_raw_fd(),
            report,
            limit: RawFd::try_from(soft.min(NR_OPEN)).unwrap_or(RawFd::MAX),
        }
    }

    /// The child's whole life before the new program.
    fn execute(&mut self) -> ! {
        let Err(error) = self.arrange();
        let errno = error as c_int;
        let text = (&raw const errno).cast();
        // SAFETY: text points to an int on this stack.
        unsafe { libc::write(self.report, text, size_of::<c_int>()) };
        // SAFETY: _exit is async-signal-safe; it must not return into the parent's code.
        unsafe { libc::_exit(127) }
    }

    fn arrange(&mut self) -> nix::Result<std::convert::Infallible> {
        // First out of the way of each other, then all else shut, then to their places.
        self.report = duplicate_above(self.report, self.floor)?;
        self.program = duplicate_above(self.program, self.floor)?;
        for (fd, _) in &mut self.moves {
            *fd = duplicate_above(*fd, self.floor)?;
        }
        close_on_exec_from(3, self.limit);
        for (fd, number) in &self.moves {
            // SAFETY: both are plain numbers; a bad one is an error.
            nix::Error::result(unsafe { libc::dup2(*fd, *number) })?;
        }
        default_signals();
        let (argv, envp) = (self.argv.as_ptr(), self.envp.as_ptr());
        let flags = libc::AT_EMPTY_PATH;
        // SAFETY: both arrays end with null and point to strings that outlive the call.
        unsafe { libc::syscall(libc::SYS_execveat, self.program, c"".as_ptr(), argv, envp, flags) };
        Err(nix::Error::last())
    }
}

fn duplicate_above(fd: RawFd, floor: RawFd) -> nix::Result<RawFd> {
    // SAFETY: fcntl on a plain number; a bad one is an error.
    nix::Error::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, floor) })
}

/// Our own descriptors are close-on-exec already; this is for those a library or our parent left.
fn close_on_exec_from(first: RawFd, limit: RawFd) {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: only sets flags on descriptors of this process.
    if unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) } == 0 {
        return;
    }
    // Kernels before 5.11 do not know the flag.
    for fd in first..limit {
        // SAFETY: as above; numbers that are not open fail and nothing happens.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Exec keeps what is ignored (Rust ignores SIGPIPE) and what is blocked.
fn default_signals() {
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: SIG_DFL is valid for every signal; the few that refuse it are left alone.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fds::{memfd_sealed, socketpair_seqpacket};
    use nix::sys::wait::WaitStatus;

    fn c(text: &str) -> CString {
        CString::new(text).unwrap()
    }

    /// Runs a shell script to its end; what it wrote to descriptor 1, and its exit code.
    fn shell(script: &str, envp: &[CString], inherit: &[(BorrowedFd<'_>, RawFd)]) -> (String, i32) {
        let program = Program::open(Path::new("/bin/sh")).unwrap();
        let (output, stdout) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut inherit = inherit.to_vec();
        inherit.push((stdout.as_fd(), 1));
        let pid = spawn(&program, &[c("sh"), c("-c"), c(script)], envp, &inherit).unwrap();
        drop(stdout);
        let mut text = String::new();
        File::from(output).read_to_string(&mut text).unwrap();
        let WaitStatus::Exited(_, code) = waitpid(pid, None).unwrap() else { panic!("{text}") };
        (text, code)
    }

    #[test]
    fn runs_with_the_given_environment_only() {
        let (text, code) = shell("echo $A; /usr/bin/env | grep -c USER; exit 3", &[c("A=b")], &[]);
        assert_eq!((text.as_str(), code), ("b\n0\n", 3));
    }

    #[test]
    fn only_listed_descriptors_survive() {
        // Deliberately without close-on-exec, at a number of its own.
        let stray = File::open("/dev/null").unwrap();
        crate::sys::fds::set_cloexec(stray.as_fd(), false).unwrap();
        let (near, far) = socketpair_seqpacket().unwrap();
        // ls itself has 3 open on the directory it lists; the shell passes on what it has.
        let (text, _) = shell("exec ls /proc/self/fd", &[], &[(near.as_fd(), 5), (far.as_fd(), 9)]);
        let numbers: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(numbers, ["0", "1", "2", "3", "5", "9"]);
    }

    #[test]
    fn places_may_collide_with_sources() {
        let first = memfd_sealed("first", b"first\n").unwrap();
        let second = memfd_sealed("second", b"second\n").unwrap();
        let (a, b) = (first.as_raw_fd(), second.as_raw_fd());
        let script = format!("cat /proc/self/fd/{a} /proc/self/fd/{b}");
        let swapped = [(first.as_fd(), b), (second.as_fd(), a)];
        assert_eq!(shell(&script, &[c("PATH=/bin:/usr/bin")], &swapped).0, "second\nfirst\n");
    }

    #[test]
    fn signals_are_at_their_defaults() {
        let (text, _) = shell("while read a b; do echo $a $b; done < /proc/self/status", &[], &[]);
        for name in ["SigBlk: ", "SigIgn: "] {
            let set = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let set = u64::from_str_radix(set, 16).unwrap();
            // 2 is the shell's own; 32 and 33 belong to the C library, which lets nobody touch them.
            let others = [2, 32, 33].iter().fold(set, |set, signal| set & !(1 << (signal - 1)));
            assert_eq!(others, 0, "{name}{set:x}");
        }
    }

    #[test]
    fn our_own_mask_is_kept() {
        let before = SigSet::thread_get_mask().unwrap();
        shell("exit 0", &[], &[]);
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }

    #[test]
    fn failures_carry_the_errno_and_leave_no_child() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("garbage");
        std::fs::write(&path, "no program").unwrap();
        let run = |path: &Path| {
            let program = Program::open(path).unwrap();
            spawn(&program, &[c("x")], &[], &[]).unwrap_err().raw_os_error()
        };
        assert_eq!(run(&path), Some(libc::EACCES));
        let mut mode = std::fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        assert_eq!(run(&path), Some(libc::ENOEXEC));
        let writer = File::options().append(true).open(&path).unwrap();
        assert_eq!(run(&path), Some(libc::ETXTBSY));
        drop(writer);
    }

    #[test]
    fn a_deleted_program_still_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("true");
        std::fs::copy("/bin/true", &path).unwrap();
        let program = Program::open(&path).unwrap();
        drop(directory);
        // Another test's fork may hold the copy's writer for an instant.
        let pid = loop {
            match spawn(&program, &[c("true")], &[], &[]) {
                Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                    std::thread::yield_now();
                }
                outcome => break outcome.unwrap(),
            }
        };
        assert_eq!(waitpid(pid, None).unwrap(), WaitStatus::Exited(pid, 0));
        assert!(program.path().unwrap().to_string_lossy().ends_with(" (deleted)"));
    }
}
