//! Owns a server that runs, with its directory: starting it as a daemon, finding its processes,
//! stopping all of them. Must not measure.

use crate::configuration::{self, Purpose, Site};
use crate::options::{Kind, Subject};
use crate::{Outcome, leash, probe, process};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For everything that a server does in well under a second.
pub const LIMIT: Duration = Duration::from_secs(10);

/// After the first answer, before anything is measured.
const SETTLE: Duration = Duration::from_millis(500);

pub struct Server {
    pub kind: Kind,
    pub address: SocketAddr,
    /// The number in its newest configuration.
    pub generation: u64,
    /// Which of the two programs is the newest that runs.
    pub turn: usize,
    pub purpose: Purpose,
    // Dropped in this order: the leash has nothing left to do then.
    dir: TempDir,
    leash: leash::Leash,
}

impl Server {
    /// Starts it in the background and waits until it answers.
    pub fn start(subject: &Subject, purpose: Purpose) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        for (number, program) in subject.programs.iter().enumerate() {
            let copy = place(dir.path(), subject.kind, number);
            fs::create_dir_all(copy.parent().ok_or("no directory")?)?;
            fs::copy(program, copy)?;
        }
        let leash = leash::Leash::new(dir.path())?;
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let (kind, generation, turn) = (subject.kind, 0, 0);
        let server = Self { kind, address, generation, turn, purpose, dir, leash };
        server.configure()?;
        let begun = server.explain(server.begin());
        begun.map(|()| server)
    }

    fn begin(&self) -> Outcome<()> {
        let mut command = self.command();
        if self.kind == Kind::Haproxy {
            command.args(["-W", "-D", "-p", "server.pid"]);
        }
        let status = command.status()?;
        if !status.success() {
            return Err(format!("it does not start: {status}").into());
        }
        until("the pid file", || Ok(self.pid_in("server.pid").is_some()))?;
        probe::first_answer(self.address, 0)?;
        // haproxy's master is not ready for signals when its worker answers.
        sleep(SETTLE);
        Ok(())
    }

    /// The program whose turn it is, with what it always needs. Its messages go to a file.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program(self.turn));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        // It names a program to us, and inherited sockets to servers.
        command.env_remove("NGINX");
        let output = fs::File::options().create(true).append(true).open(self.path("output"));
        match output.and_then(|file| Ok((file.try_clone()?, file))) {
            Ok((out, err)) => command.stdout(out).stderr(err),
            Err(_) => command.stdout(Stdio::null()).stderr(Stdio::null()),
        };
        // The directory in it makes it ours for the leash.
        if self.kind == Kind::Haproxy {
            command.arg("-f").arg(self.path("server.conf"));
        } else {
            command.arg("-p").arg(self.dir.path());
            command.args(["-c", "server.conf", "-e", "error.log"]);
        }
        command
    }

    /// Where the copy of one of the two programs is.
    pub fn program(&self, turn: usize) -> PathBuf {
        place(self.dir.path(), self.kind, turn)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the configuration of its generation.
    pub fn configure(&self) -> Outcome<()> {
        let site = Site { address: self.address, purpose: self.purpose };
        self.configure_with(&configuration::text(self.kind, site, self.generation))
    }

    pub fn configure_with(&self, text: &str) -> Outcome<()> {
        Ok(fs::write(self.path("server.conf"), text)?)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("error.log")).unwrap_or_default()
    }

    pub fn pid_in(&self, file: &str) -> Option<Pid> {
        let text = fs::read_to_string(self.path(file)).ok()?;
        text.trim().parse().ok().map(Pid::from_raw)
    }

    pub fn master(&self) -> Outcome<Pid> {
        Ok(self.pid_in("server.pid").ok_or("the pid file names no process")?)
    }

    /// All its processes: nothing else descends from this one.
    pub fn processes(&self) -> Outcome<Vec<Pid>> {
        let own = [Pid::this(), self.leash.pid()];
        let mut all = process::tree(Pid::this())?;
        all.retain(|pid| !own.contains(pid) && !gone(*pid));
        Ok(all)
    }

    /// An error with the last of what the server had to say.
    pub fn explain<T>(&self, outcome: Outcome<T>) -> Outcome<T> {
        outcome.map_err(|e| {
            let output = fs::read_to_string(self.path("output")).unwrap_or_default();
            let said = [output, self.log()].map(|text| {
                let lines: Vec<&str> = text.lines().collect();
                lines[lines.len().saturating_sub(12)..].join("\n")
            });
            format!("{e}\n{}", said.join("\n")).into()
        })
    }
}

fn place(dir: &Path, kind: Kind, number: usize) -> PathBuf {
    let name = match kind {
        Kind::Nginx => "nginx",
        Kind::Haproxy => "haproxy",
        Kind::Proxyd { .. } => "proxyd",
    };
    dir.join(number.to_string()).join(name)
}

impl Drop for Server {
    /// TERM to the masters, which end the others; KILL to what is left when that took too long.
    fn drop(&mut self) {
        for file in ["server.pid", "server.pid.oldbin"] {
            if let Some(pid) = self.pid_in(file) {
                let _ = kill(pid, Signal::SIGTERM);
            }
        }
        let left = || Ok(self.processes()?.is_empty());
        if until_within(Duration::from_secs(3), "the end", left).is_err() {
            for pid in self.processes().unwrap_or_default() {
                let _ = kill(pid, Signal::SIGKILL);
            }
            let _ = until("the end", left);
        }
    }
}

/// Whether a process has ended. Orphans of a server become children of this process, which must
/// not leave them as zombies.
pub fn gone(pid: Pid) -> bool {
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) => false,
        Err(Errno::ECHILD) => state(pid).is_none_or(|state| state == 'Z'),
        Ok(_) | Err(_) => true,
    }
}

/// The third field of `/proc/PID/stat`; the second, a name in parentheses, may hold anything.
pub fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Looks every millisecond: nothing common to these servers tells of what they have done.
pub fn until(what: &str, done: impl FnMut() -> Outcome<bool>) -> Outcome<Instant> {
    until_within(LIMIT, what, done)
}

pub fn until_within(
    limit: Duration,
    what: &str,
    mut done: impl FnMut() -> Outcome<bool>,
) -> Outcome<Instant> {
    let deadline = Instant::now() + limit;
    while !done()? {
        if Instant::now() > deadline {
            return Err(format!("waited {limit:?} for {what}").into());
        }
        sleep(Duration::from_millis(1));
    }
    Ok(Instant::now())
}
