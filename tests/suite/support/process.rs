//! A started program: its end as an event, its messages, and what it left behind.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A child in a process group and a directory of its own.
pub struct Process {
    pid: Pid,
    directory: PathBuf,
    /// Readable, as end of file, once the child has been reaped.
    gone: UnixStream,
    waiter: Option<JoinHandle<ExitStatus>>,
    messages: mpsc::Receiver<Vec<u8>>,
    output: Option<mpsc::Receiver<Vec<u8>>>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts the program inside `directory`.
    pub fn spawn(command: &mut Command, directory: &Path) -> Process {
        Process::start(command.stdout(Stdio::null()), directory)
    }

    /// The same, and what it writes to standard output is kept as well.
    pub fn spawn_heard(command: &mut Command, directory: &Path) -> Process {
        Process::start(command.stdout(Stdio::piped()), directory)
    }

    fn start(command: &mut Command, directory: &Path) -> Process {
        command.process_group(0).current_dir(directory).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program under test starts");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        let messages = collect(child.stderr.take().expect("a piped stderr"));
        let output = child.stdout.take().map(collect);
        let (gone, held) = UnixStream::pair().expect("a socket pair");
        let waiter = thread::spawn(move || {
            let status = child.wait().expect("a status");
            drop(held);
            status
        });
        Process {
            pid,
            directory: directory.to_owned(),
            gone,
            waiter: Some(waiter),
            messages,
            output,
            status: None,
        }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Something to poll for the end of the process.
    pub fn gone(&self) -> &UnixStream {
        &self.gone
    }

    /// Its exit status, once it has ended.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        if self.status.is_none() && readable(&[&self.gone], limit)[0] {
            let waiter = self.waiter.take()?;
            self.status = waiter.join().ok();
        }
        self.status
    }

    /// What it and its children wrote to standard error, once all have closed it.
    pub fn messages(&self, limit: Duration) -> String {
        let bytes = self.messages.recv_timeout(limit).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The same of standard output, if it is heard.
    pub fn output(&self, limit: Duration) -> String {
        let bytes = self.output.as_ref().and_then(|output| output.recv_timeout(limit).ok());
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    /// Sends a signal to the process alone, unless it is known to be gone.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            kill(self.pid, signal).ok();
        }
    }

    /// Who still runs of its process group or in its directory, as `pid name`.
    /// A daemon leaves the group, and a worker may hide its directory.
    pub fn left_behind(&self) -> Vec<String> {
        self.survivors().into_iter().map(|(pid, name)| format!("{pid} {name}")).collect()
    }

    fn survivors(&self) -> Vec<(Pid, String)> {
        let entries = fs::read_dir("/proc").expect("/proc");
        let found = entries.flatten().filter_map(|entry| self.survivor(&entry.path()));
        found.collect()
    }

    /// Reads `/proc/PID/stat`, which says `pid (name) state ppid pgrp …`. A
    /// zombie has ended; whoever is process 1 here may never reap it.
    fn survivor(&self, entry: &Path) -> Option<(Pid, String)> {
        let stat = fs::read_to_string(entry.join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(") ")?;
        let (pid, name) = head.split_once(" (")?;
        let mut fields = rest.split(' ');
        let (state, group) = (fields.next()?, fields.nth(1)?);
        let here = fs::read_link(entry.join("cwd")).is_ok_and(|path| path == self.directory);
        let ours = here || group.parse() == Ok(self.pid.as_raw());
        let alive = !matches!(state, "Z" | "X");
        (ours && alive).then_some((Pid::from_raw(pid.parse().ok()?), name.to_owned()))
    }

    /// Kills all that `left_behind` tells of.
    pub fn kill_all(&self) {
        for (pid, _) in self.survivors() {
            // It may have ended meanwhile, which is what is wanted.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.wait(Duration::ZERO).is_none() {
            self.kill_all();
            self.wait(super::DEADLINE);
        }
    }
}

fn collect(mut source: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = source.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// Which of `sources` have something to read within `limit`; none on time-out.
pub fn readable(sources: &[&dyn AsFd], limit: Duration) -> Vec<bool> {
    let end = Instant::now() + limit;
    loop {
        let mut fds: Vec<_> =
            sources.iter().map(|source| PollFd::new(source.as_fd(), PollFlags::POLLIN)).collect();
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Err(nix::errno::Errno::EINTR) => {}
            _ => return fds.iter().map(|fd| fd.any() == Some(true)).collect(),
        }
    }
}

#[test]
fn what_a_program_leaves_behind_is_found() {
    let directory = super::Directory::new();
    let mut command = Command::new("sh");
    command.args(["-c", "tail -f /dev/null & exit 3"]);
    let mut process = Process::spawn(&mut command, directory.path());
    let status = process.wait(super::DEADLINE).expect("an end");
    assert_eq!(status.code(), Some(3));
    let left = process.left_behind();
    // The child may not have become `tail` yet.
    let named = |line: &String| line.ends_with(" tail") || line.ends_with(" sh");
    assert!(left.len() == 1 && left.iter().all(named), "{left:?}");
    process.kill_all();
}
