//! Owns how each server is replaced by its successor while it runs, in the order that is kindest to
//! clients. Must not measure more than when each step was taken.

use crate::options::Kind;
use crate::server::{Server, gone, until, until_within};
use crate::{Outcome, process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// What happened when.
pub struct Change {
    /// The signal was sent, the command started.
    pub requested: Instant,
    /// The first answer of the new one came; the old one serves as well.
    pub first: Instant,
    /// The old one was told to go, or whoever asked was told that it is.
    pub done: Instant,
    /// The processes that are to leave: workers, and the master when the next upgrade by signal can
    /// only begin after it.
    pub old: Vec<Pid>,
}

/// Finds out when a generation first answers.
pub type Witness<'a> = &'a mut dyn FnMut(u64) -> Outcome<Instant>;

/// How long idle connections may hold an old process.
const DRAIN: Duration = Duration::from_secs(30);

impl Change {
    pub fn until_first(&self) -> Duration {
        self.first - self.requested
    }

    /// Waits until nothing of the old one is left.
    pub fn wait_for_end(&self) -> Outcome<Instant> {
        let left = || Ok(self.old.iter().all(|pid| gone(*pid)));
        until_within(DRAIN, "the old processes to go", left)
    }
}

impl Server {
    pub fn upgrade(&mut self, witness: Witness) -> Outcome<Change> {
        self.generation += 1;
        self.configure()?;
        let change = match self.kind {
            Kind::Nginx => self.upgrade_nginx(witness),
            Kind::Haproxy => self.reload_haproxy(witness),
            Kind::Proxyd { .. } => self.upgrade_proxyd(witness),
        };
        self.explain(change)
    }

    /// Both masters have their pid files then.
    pub fn both_there(&self, old: Pid) -> bool {
        let new = self.pid_in("server.pid").is_some_and(|pid| pid != old);
        new && self.pid_in("server.pid.oldbin") == Some(old)
    }

    fn upgrade_nginx(&self, witness: Witness) -> Outcome<Change> {
        let master = self.master()?;
        let old = process::tree(master)?;
        let requested = Instant::now();
        kill(master, Signal::SIGUSR2)?;
        let first = witness(self.generation)?;
        until("both pid files", || Ok(self.both_there(master)))?;
        kill(master, Signal::SIGWINCH)?;
        kill(master, Signal::SIGQUIT)?;
        Ok(Change { requested, first, done: Instant::now(), old })
    }

    /// The master executes itself again and starts a worker, which has the old one go.
    fn reload_haproxy(&self, witness: Witness) -> Outcome<Change> {
        let master = self.master()?;
        let mut old = process::tree(master)?;
        old.retain(|pid| *pid != master);
        let requested = Instant::now();
        kill(master, Signal::SIGUSR2)?;
        let first = witness(self.generation)?;
        Ok(Change { requested, first, done: first, old })
    }

    /// The other of the two versions is what it becomes.
    fn upgrade_proxyd(&mut self, witness: Witness) -> Outcome<Change> {
        let master = self.master()?;
        let mut old = process::tree(master)?;
        old.retain(|pid| *pid != master || self.purpose.leave);
        self.turn = 1 - self.turn;
        let mut command = self.command();
        command.args(["-s", "upgrade"]);
        let requested = Instant::now();
        let mut child = command.spawn()?;
        let first = witness(self.generation);
        // Before anything else is an error: it must not be left as a zombie.
        let status = child.wait()?;
        let done = Instant::now();
        if !status.success() {
            return Err(format!("-s upgrade: {status}").into());
        }
        Ok(Change { requested, first: first?, done, old })
    }
}
