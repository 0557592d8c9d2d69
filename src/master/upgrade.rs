//! The deeds of an upgrade on the old side: starting the program that is to take over, letting it
//! accept, and making it the server or sending it away. The order is decided in `succession`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use tokio::sync::mpsc::UnboundedSender;

use super::event::{End, Event, Id, Sample};
use super::plan::{Direction, Plan};
use super::relay::ToRelay;
use super::spawn::Launch;
use super::successor::{Start, Successor};
use super::telling::Told;
use super::{Master, pidfile, watch};
use crate::control::upgrade::Progress;
use crate::handover::{Attached, FromSuccessor, Hello, PROTOCOLS, Retired, ToSuccessor};
use crate::log::{Level, os_error};
use crate::sys::process::{self, Signal};
use crate::version;
use crate::zone::counters::Totals;

/// What the old side remembers of the upgrade in hand or the last one.
#[derive(Default)]
pub(super) struct Upgrading {
    pub plan: Option<Plan>,
    pub successor: Option<Successor>,
    /// Who wants to know, and whether to the end of it all.
    pub watchers: Vec<(UnboundedSender<Progress>, bool)>,
    /// How the new master's process ended, or why there was none.
    pub end: String,
    /// What both had served when they began to serve side by side.
    before: (Totals, Totals),
    /// Connections that were cut at the end of `worker_shutdown_timeout`.
    pub cut: u64,
    /// Of the successor, for what is told after it has gone.
    pub told: Told,
}

impl Master {
    pub(super) fn start_successor(&mut self) -> Event {
        match self.try_start() {
            Ok(()) => Event::SuccessorStarted,
            Err(text) => {
                self.upgrading.end = text;
                Event::SuccessorGone(End::NotStarted)
            }
        }
    }

    fn try_start(&mut self) -> Result<(), String> {
        let failed = |error: io::Error| format!("handing over failed{}", os_error(&error));
        let hello = self.hello().map_err(failed)?;
        let Some(plan) = &self.upgrading.plan else { return Err(String::new()) };
        let path = plan.path.clone();
        let mut kept = None;
        if plan.foreign {
            kept = Some(self.give_pid_file_up(&path)?);
        }
        let start = Start {
            program: &plan.program,
            words: &plan.words,
            sockets: self.current.sockets().cloned().collect(),
            foreign: plan.foreign,
        };
        match Successor::start(&start, &self.news) {
            Ok(mut successor) => {
                let pid = successor.pid;
                self.log().write(
                    Level::Notice,
                    None,
                    format_args!("start new binary process {pid}"),
                );
                let (hello, fds) = hello;
                let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
                successor.send(&ToSuccessor::Hello(Box::new(hello)), &fds);
                successor.kept = kept;
                successor.version = plan.version.clone().unwrap_or_default();
                if plan.foreign {
                    successor.version = path.display().to_string();
                }
                self.upgrading.told.pid = pid.as_raw();
                self.upgrading.successor = Some(successor);
                Ok(())
            }
            Err(error) => {
                if let Some(kept) = kept {
                    let _ = kept.restore();
                }
                Err(self.not_executed(&path, &error))
            }
        }
    }

    pub(super) fn not_executed(&self, path: &Path, error: &io::Error) -> String {
        let text = not_executed(path, error);
        self.log().write(Level::Alert, None, format_args!("{text}"));
        text
    }

    /// As nginx does before it knows whether the new program will run: a program that says nothing
    /// writes its own pid file.
    fn give_pid_file_up(&self, program: &Path) -> Result<pidfile::Kept, String> {
        let path = &self.current.process.pid;
        let given = pidfile::keep(path, std::process::id()).and_then(|kept| {
            kept.show()?;
            pidfile::remove(path, std::process::id()).map(|_| kept)
        });
        given.map_err(|error| {
            let (path, program, cause) = (path.display(), program.display(), os_error(&error));
            let text = format!(
                "rename() {path} to {path}.oldbin failed before executing new binary process \
                 \"{program}\"{cause}"
            );
            self.log().write(Level::Alert, None, format_args!("{text}"));
            text
        })
    }

    /// The first message and what goes with it.
    fn hello(&mut self) -> io::Result<(Hello, Vec<Rc<OwnedFd>>)> {
        self.open_relay()?;
        let (mut kinds, mut fds) = (Vec::new(), Vec::new());
        let mut attach = |kind, fd| {
            kinds.push(kind);
            fds.push(fd);
        };
        if let Some(control) = &self.control_socket {
            attach(Attached::Control, Rc::clone(control));
        }
        attach(Attached::Counters, Rc::clone(&self.counters_fd));
        attach(Attached::Gates, Rc::clone(&self.switches.fd));
        for zone in self.current.zones() {
            attach(Attached::Zone, Rc::clone(&zone.fd));
        }
        attach(Attached::Stderr, Rc::new(io::stderr().as_fd().try_clone_to_owned()?));
        if let Launch::Exec(program) = &self.launch {
            attach(Attached::Program, Rc::new(program.as_fd().try_clone_to_owned()?));
            attach(Attached::ProgramConfiguration, self.current.config());
        }
        if let Some(config) = self.upgrading.plan.as_ref().and_then(|plan| plan.config.clone()) {
            attach(Attached::Configuration, config);
        }
        if let Some(relay) = &self.relay {
            attach(Attached::Relay, Rc::clone(relay));
        }
        let (oldest_protocol, newest_protocol) = PROTOCOLS;
        let plan = self.upgrading.plan.as_ref();
        let hello = Hello {
            oldest_protocol,
            newest_protocol,
            version: version::PROXYD.to_owned(),
            pid: std::process::id(),
            generation: self.current.number,
            words: self.words.clone(),
            foreground: !self.daemon,
            manual: plan.is_some_and(|plan| plan.manual),
            canary: plan.and_then(|plan| plan.canary),
            fds: kinds,
        };
        Ok((hello, fds))
    }

    /// The new master has said something, or its end of the socket is closed.
    pub(super) fn hear_successor(&mut self, pid: process::Pid, word: Option<FromSuccessor>) {
        if word == Some(FromSuccessor::Reopen) {
            return self.take(Event::Reopen);
        }
        if word == Some(FromSuccessor::Superseded) {
            // The name is the next old master's.
            let _ =
                pidfile::remove(&pidfile::oldbin(&self.current.process.pid), std::process::id());
            self.links.clear();
            return self.take(Event::Superseded);
        }
        if let Some(FromSuccessor::Stop { fast }) = word {
            let current = self.upgrading.successor.as_ref().is_some_and(|found| found.pid == pid);
            if self.state.is_serving() && !current {
                // One that was sent away has no say.
                return;
            }
            if self.state.is_serving() {
                self.supervise_signal(Signal::SIGTERM);
            }
            return self.take(Event::Hurry { fast });
        }
        if word == Some(FromSuccessor::Accepting)
            && let Some(undone) = self.undone.values().find(|undone| undone.pid == pid)
        {
            self.reclaim_pid_file(undone);
        }
        let Some(successor) = self.upgrading.successor.as_mut().filter(|found| found.pid == pid)
        else {
            return;
        };
        match word {
            Some(FromSuccessor::Building { version, ready, of }) => {
                successor.version = version;
                successor.building = (ready, of);
            }
            Some(FromSuccessor::Ready(ready)) => {
                successor.version.clone_from(&ready.version);
                successor.ready = ready;
                self.upgrading.told.took = successor.begun.elapsed();
                self.take(Event::SuccessorReady);
            }
            Some(FromSuccessor::Accepting) => self.take(Event::SuccessorAccepting),
            Some(FromSuccessor::Failed { text } | FromSuccessor::WorkerLost { text }) => {
                self.take(Event::SuccessorTrouble(text));
            }
            // Its process will be reaped, which tells more; and what is unknown does not matter.
            _ => {}
        }
    }

    pub(super) fn let_successor_accept(&mut self) -> Option<Event> {
        let path = self.current.process.pid.clone();
        let direction = self.upgrading.plan.as_ref().map(|plan| plan.direction);
        let successor = self.upgrading.successor.as_mut()?;
        match pidfile::keep(&path, std::process::id()) {
            Ok(kept) => successor.kept = Some(kept),
            // The way back must be open even where nothing can be written.
            Err(error) if direction == Some(Direction::Rollback) => {
                let cause = os_error(&error);
                let text = format_args!("keeping \"{}\" failed{cause}", path.display());
                self.current.error_log.write(Level::Alert, None, text);
            }
            Err(error) => {
                let (path, cause) = (path.display(), os_error(&error));
                let text = format!("open() \"{path}.oldbin\" failed{cause}");
                return Some(Event::SuccessorTrouble(text));
            }
        }
        for link in &self.links {
            // From here on there are two who serve; a third must not return.
            link.wire.send(&FromSuccessor::Superseded, &[]);
        }
        if let Some(successor) = &self.upgrading.successor {
            successor.send(&ToSuccessor::Go, &[]);
        }
        None
    }

    pub(super) fn show_old(&mut self) {
        let me = std::process::id();
        let Some(successor) = &self.upgrading.successor else { return };
        let path = &self.current.process.pid;
        let shown = successor.kept.as_ref().map_or(Ok(()), pidfile::Kept::show);
        // Where the new configuration names another file, this one is nobody's any more.
        if let Err(error) = shown.and_then(|()| pidfile::remove(path, me)) {
            let (path, cause) = (path.display(), os_error(&error));
            let text = format_args!("rename() to \"{path}.oldbin\" failed{cause}");
            self.log().write(Level::Alert, None, text);
        }
        let new = u32::try_from(successor.pid.as_raw()).unwrap_or_default();
        self.upgrading.before = (self.counters.of_master(me), self.counters.of_master(new));
    }

    pub(super) fn measure(&self) -> Event {
        let Some(successor) = &self.upgrading.successor else {
            return Event::Measured(Sample::default());
        };
        let new = u32::try_from(successor.pid.as_raw()).unwrap_or_default();
        let ours = self.counters.of_master(std::process::id());
        let theirs = self.counters.of_master(new);
        let (old_before, new_before) = self.upgrading.before;
        let mut sample = Sample {
            old_requests: ours.requests.saturating_sub(old_before.requests),
            old_failed: ours.failed.saturating_sub(old_before.failed),
            new_requests: theirs.requests.saturating_sub(new_before.requests),
            new_failed: theirs.failed.saturating_sub(new_before.failed),
        };
        if sample.old_requests < watch::ENOUGH {
            // Too little of late: what it has done in its life says more.
            (sample.old_requests, sample.old_failed) = (ours.requests, ours.failed);
        }
        Event::Measured(sample)
    }

    pub(super) fn commit_successor(&mut self, reload: bool) {
        let Some(successor) = &self.upgrading.successor else { return };
        let pid = successor.pid;
        if let Some(relay) = &self.relay {
            super::supervision::tell_relay(relay, &ToRelay::Current { pid: pid.as_raw() });
        }
        let (mut retired, mut links) = (Vec::new(), Vec::new());
        for link in &self.links {
            if let Ok(fd) = link.wire.duplicate() {
                retired.push(Retired { age: link.age(), ..link.master.clone() });
                links.push(fd);
            }
        }
        let fds: Vec<BorrowedFd<'_>> = links.iter().map(AsFd::as_fd).collect();
        let kinds = vec![Attached::Link; fds.len()];
        let age = self.born.elapsed().as_secs();
        successor.send(&ToSuccessor::Commit { retired, age, fds: kinds }, &fds);
        if reload {
            let _ = process::kill(pid, Signal::SIGHUP);
        }
        let (foreign, listen) = (successor.wire.is_none(), successor.ready.listen.clone());
        let moved = successor.ready.control != self.current.process.control;
        if !self.state.may_return() {
            self.links.clear();
        }
        // One that knows nothing of handing over does not answer there either.
        self.stop_control(moved || foreign);
        if !foreign {
            let log = self.log().clone();
            self.current.keep_listening(&listen, &log);
        }
    }

    pub(super) fn dismiss_successor(&mut self, id: Id, reason: String) {
        self.remember();
        let Some(mut successor) = self.upgrading.successor.take() else { return };
        // The names first: whoever hears of it next finds them as they were.
        if let Some(kept) = successor.kept.take() {
            self.restore_pid_file(&kept);
        }
        successor.send(&ToSuccessor::Abort { reason }, &[]);
        if successor.wire.is_none() {
            let _ = process::kill(successor.pid, Signal::SIGQUIT);
        }
        self.undone.insert(id, successor);
    }

    pub(super) fn forget_successor(&mut self) {
        self.remember();
        self.bury_pid_file();
        if !self.state.is_serving() {
            // The server has ended with it. Later somebody else may listen there.
            self.current.bury_listeners();
        }
        if let Some(kept) = self.upgrading.successor.take().and_then(|mut gone| gone.kept.take())
            && self.state.is_serving()
        {
            self.restore_pid_file(&kept);
        }
    }

    /// A successor that was sent away has ended.
    pub(super) fn bury_undone(&mut self, id: Id) {
        if let Some(gone) = self.undone.remove(&id) {
            let pid = u32::try_from(gone.pid.as_raw()).unwrap_or_default();
            pidfile::bury_prepared(&self.current.process.pid, pid);
            self.reclaim_pid_file(&gone);
            let path = &self.current.process.pid;
            if gone.wire.is_none() && self.state.is_serving() && !path.exists() {
                // nginx removes the file of that name, whosever it is.
                let _ = pidfile::write(path, std::process::id());
            }
        }
    }

    /// A new master that was killed leaves the pid file it had prepared.
    fn bury_pid_file(&self) {
        if let Some(gone) = &self.upgrading.successor {
            let pid = u32::try_from(gone.pid.as_raw()).unwrap_or_default();
            let path = Some(&gone.ready.pid_file).filter(|path| !path.as_os_str().is_empty());
            pidfile::bury_prepared(path.unwrap_or(&self.current.process.pid), pid);
        }
    }

    /// A successor that was sent away may have put its pid file in place before it heard of that.
    pub(super) fn reclaim_pid_file(&self, undone: &Successor) {
        let theirs = u32::try_from(undone.pid.as_raw()).unwrap_or_default();
        let (path, other) = (&self.current.process.pid, &undone.ready.pid_file);
        if other != path {
            let _ = pidfile::remove(other, theirs);
        }
        if self.state.is_serving() && pidfile::read(path).is_ok_and(|found| found == Ok(theirs)) {
            self.claim_pid_file();
        }
    }

    fn restore_pid_file(&self, kept: &pidfile::Kept) {
        if kept.restore().is_err() {
            self.claim_pid_file();
        }
    }

    /// Has the pid file name this master, even where there is no room for another file.
    fn claim_pid_file(&self) {
        let (path, me) = (&self.current.process.pid, std::process::id());
        let written = pidfile::write(path, me).or_else(|_| pidfile::overwrite(path, me));
        if let Err(error) = written {
            let (path, cause) = (path.display(), os_error(&error));
            self.log().write(Level::Alert, None, format_args!("open() \"{path}\" failed{cause}"));
        }
    }

    /// The server again, after the new master has died.
    pub(super) fn come_back(&mut self) {
        let log = self.log().clone();
        let text = "the new master is gone, serving again";
        log.write(Level::Alert, None, format_args!("{text}"));
        // Whoever still waits was told that the new one serves.
        let text = format!("{}; {} serves again", self.upgrading.end, version::PROXYD);
        for (watcher, _) in self.upgrading.watchers.drain(..) {
            let state = "undone".to_owned();
            let _ = watcher.send(Progress { state, text: text.clone(), code: Some(2) });
        }
        self.upgrading.plan = None;
        self.code = 0;
        self.claim_pid_file();
        let _ = std::fs::remove_file(pidfile::oldbin(&self.current.process.pid));
        self.current.listen_again(&log);
        self.begin_switches();
        self.serve_control_again();
    }
}

pub(super) fn not_executed(path: &Path, error: &io::Error) -> String {
    let (path, cause) = (path.display(), os_error(error));
    format!("execve() failed while executing new binary process \"{path}\"{cause}")
}
