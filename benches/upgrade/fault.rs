//! Owns upgrades that fail: what is wrong with them, and that the old server is as before.
//! Must not judge what was measured.

use crate::options::Kind;
use crate::server::{Server, gone, until};
use crate::{Outcome, process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::Duration;

/// A program that is no server and ends at once with code 1.
const FALSE: &str = "/bin/false";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The new master is killed while both serve.
    Killed,
    /// The new binary is /bin/false, by signal.
    False,
    /// The same, asked for over the control API.
    FalseAsked,
    /// The new configuration is refused.
    Configuration,
}

/// What can go wrong with a server without ending it. haproxy's master executes itself in its own
/// place: with a program that fails, nothing would be left.
pub fn faults(kind: Kind) -> &'static [Fault] {
    match kind {
        Kind::Nginx => &[Fault::Killed, Fault::False, Fault::Configuration],
        Kind::Haproxy => &[Fault::Configuration],
        Kind::Proxyd { .. } => &[Fault::Killed, Fault::False, Fault::FalseAsked],
    }
}

impl Server {
    /// Returns when the old one is alone again.
    pub fn fail(&mut self, fault: Fault) -> Outcome<()> {
        let master = self.master()?;
        let outcome = match fault {
            Fault::Killed => self.fail_killed(master),
            Fault::False => self.fail_false(master),
            Fault::FalseAsked => self.fail_asked(),
            Fault::Configuration => self.fail_configuration(master),
        };
        self.explain(outcome)?;
        let restored = || {
            let alone = self.pid_in("server.pid.oldbin").is_none();
            Ok(alone && self.pid_in("server.pid") == Some(master))
        };
        self.explain(until("the old one to be alone again", restored).map(drop))
    }

    fn fail_killed(&mut self, master: Pid) -> Outcome<()> {
        self.generation += 1;
        self.configure()?;
        kill(master, Signal::SIGUSR2)?;
        until("both pid files", || Ok(self.both_there(master)))?;
        let successor = self.master()?;
        until("the new workers", || Ok(process::tree(successor)?.len() == 3))?;
        let new = process::tree(successor)?;
        // nginx's workers would outlive their master for ever. The master is the first.
        let killed = if self.kind == Kind::Nginx { new.len() } else { 1 };
        for pid in &new[..killed] {
            kill(*pid, Signal::SIGKILL)?;
        }
        until("the killed ones to be gone", || Ok(new.iter().all(|pid| gone(*pid)))).map(drop)
    }

    fn fail_false(&self, master: Pid) -> Outcome<()> {
        let program = self.program(self.turn);
        let (kept, link) = (program.with_extension("kept"), program.with_extension("false"));
        symlink(FALSE, &link)?;
        fs::hard_link(&program, &kept)?;
        fs::rename(&link, &program)?;
        let outcome = self.noticed(master);
        fs::rename(&kept, &program)?;
        outcome
    }

    fn fail_configuration(&self, master: Pid) -> Outcome<()> {
        self.configure_with("nothing that a server knows;\n")?;
        if self.kind == Kind::Haproxy {
            kill(master, Signal::SIGUSR2)?;
            // It does not say when it is ready again.
            sleep(Duration::from_millis(200));
            return self.configure();
        }
        let outcome = self.noticed(master);
        self.configure()?;
        outcome
    }

    /// By signal; the old master says in its log that it knows.
    fn noticed(&self, master: Pid) -> Outcome<()> {
        let ends = || {
            let is_end =
                |line: &&str| line.contains("new binary process") && line.contains(" exited ");
            self.log().lines().filter(is_end).count()
        };
        let before = ends();
        kill(master, Signal::SIGUSR2)?;
        until("the end of the new one to be noticed", || Ok(ends() > before)).map(drop)
    }

    fn fail_asked(&self) -> Outcome<()> {
        let mut stream = UnixStream::connect(self.path("server.pid.ctl"))?;
        let body = format!("{{\"executable\":\"{FALSE}\"}}");
        write!(
            stream,
            "POST /1/proxyd/upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.contains("\"code\":1") {
            return Ok(());
        }
        Err(format!("{FALSE} was not refused:\n{answer}").into())
    }
}
