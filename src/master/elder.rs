//! The deeds of an upgrade on the new side: what the old master is told, what follows from what it
//! says, and taking over what it had. The order is decided in `heir`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::event::{End, Event, Id};
use super::inheritance::{Elder, Inheritance};
use super::plan::Previous;
use super::relay::ToRelay;
use super::spawn::News;
use super::supervision::tell_relay;
use super::wire::Wire;
use super::{Master, pidfile};
use crate::handover::{Attached, FromSuccessor, Hello, Ready, Retired, ToSuccessor, sort, take};
use crate::ipc::Channel;
use crate::log::{Level, os_error};
use crate::sys::process::{self, Pid, Signal, stderr_to};
use crate::version;

/// A newcomer is the first to go when memory runs out, until it is the server.
pub const EXPENDABLE: i32 = 500;

/// The master that this one is to replace.
pub(super) struct Predecessor {
    wire: Wire<FromSuccessor, ToSuccessor>,
    hello: Hello,
    fds: Vec<(Attached, OwnedFd)>,
    pid_file: Option<pidfile::Prepared>,
    /// Its configuration was given, so that this is a way back: nothing may be in the way.
    is_rollback: bool,
}

/// A master that has been replaced and still finishes what it had.
pub(super) struct Link {
    pub master: Retired,
    /// When `master.age` was true.
    seen: Instant,
    pub wire: Wire<FromSuccessor, ToSuccessor>,
}

impl Link {
    /// Seconds since its start.
    pub(super) fn age(&self) -> u64 {
        self.master.age + self.seen.elapsed().as_secs()
    }
}

impl Master {
    /// Takes what `Hello` brought; from here on the old master is listened to.
    pub(super) fn meet(&mut self, inheritance: Inheritance, is_rollback: bool) -> io::Result<()> {
        self.parent = Some(inheritance.parent);
        let Some(Elder { channel, hello, mut fds }) = inheritance.elder else { return Ok(()) };
        self.oom_score = process::oom_score_adj().unwrap_or_default();
        let _ = process::set_oom_score_adj(Pid::this(), EXPENDABLE);
        if let Some(relay) = take(&mut fds, Attached::Relay) {
            self.relay = Some(Rc::new(relay));
        }
        let (program, config) =
            (take(&mut fds, Attached::Program), take(&mut fds, Attached::ProgramConfiguration));
        if let (Some(program), Some(config)) = (program, config) {
            let (version, words) = (hello.version.clone(), hello.words.clone());
            let (program, config) = (Rc::new(program), Rc::new(config));
            self.previous = Some(Previous { program, config, version, words });
        }
        self.elder_pid = hello.pid;
        let news = self.news.clone();
        let wire = Wire::open(channel.into_async()?, move |heard| {
            // The loop is gone only when the process is about to be.
            let _ = news.send(News::Predecessor(heard));
        });
        self.predecessor = Some(Predecessor { wire, hello, fds, pid_file: None, is_rollback });
        Ok(())
    }

    fn say(&self, word: &FromSuccessor) {
        if let Some(predecessor) = &self.predecessor {
            predecessor.wire.send(word, &[]);
        }
    }

    pub(super) fn hear_predecessor(&mut self, heard: Option<(ToSuccessor, Vec<OwnedFd>)>) {
        match heard {
            None => self.predecessor_gone(),
            Some((ToSuccessor::Go, _)) => {
                self.take_stderr();
                self.take(Event::Go);
            }
            Some((ToSuccessor::Commit { retired, age, fds: kinds }, fds)) => {
                let links = sort(&kinds, fds).into_iter().map(|(_, fd)| fd);
                self.take_links(retired, links, age);
                self.take(Event::Confirmed);
            }
            Some((ToSuccessor::Abort { reason }, _)) => {
                self.log().write(Level::Notice, None, format_args!("not taking over: {reason}"));
                self.take(Event::Abandoned);
            }
            Some((ToSuccessor::Hello(_) | ToSuccessor::Unknown, _)) => {}
        }
    }

    fn predecessor_gone(&mut self) {
        if self.predecessor.is_none() {
            // It had retired.
            return self.retired_gone(self.elder_pid);
        }
        if let Some(pid) = self.predecessor.as_ref().map(|found| found.hello.pid)
            && self.state.is_heir()
        {
            self.log().write(Level::Alert, None, format_args!("master process {pid} is gone"));
            self.take(Event::PredecessorGone);
            // It cannot do that itself any more.
            let _ = pidfile::remove(&pidfile::oldbin(&self.current.process.pid), pid);
        }
        self.predecessor = None;
        self.retired_gone(self.elder_pid);
    }

    /// Standard error as it will be when this is the server; until then the old master listens to it,
    /// and will not for ever.
    pub(super) fn lasting_stderr(&self) -> Option<OwnedFd> {
        let fds = &self.predecessor.as_ref().filter(|_| self.state.is_heir())?.fds;
        let log = self.log().targets().iter().find(|target| target.file.path().is_some());
        if let Some(target) = log.filter(|_| self.daemon) {
            return target.file.duplicate().ok();
        }
        let (_, fd) = fds.iter().find(|(kind, _)| *kind == Attached::Stderr)?;
        fd.try_clone().ok()
    }

    /// Standard error was listened to by the old master; from now on it is what the old one's is.
    fn take_stderr(&mut self) {
        if let Some(fd) = self.lasting_stderr() {
            let _ = stderr_to(fd.as_fd());
        }
        self.redirect_stderr();
    }

    /// What is known of the masters that were replaced before, and of the one just replaced, which
    /// keeps the socket that it has.
    fn take_links(
        &mut self,
        retired: Vec<Retired>,
        links: impl Iterator<Item = OwnedFd>,
        age: u64,
    ) {
        let seen = Instant::now();
        for (master, fd) in retired.into_iter().zip(links) {
            let (news, pid) = (self.news.clone(), master.pid);
            let opened = Channel::new(fd).and_then(Channel::into_async).map(|channel| {
                Wire::open(channel, move |heard| {
                    if heard.is_none() {
                        let _ = news.send(News::RetiredGone(pid));
                    }
                })
            });
            if let Ok(wire) = opened {
                self.links.push(Link { master, seen, wire });
            }
        }
        self.elder_age = (age, seen);
    }

    pub(super) fn building(&self, ready: usize, of: usize) {
        let version = version::PROXYD.to_owned();
        self.say(&FromSuccessor::Building { version, ready, of });
    }

    /// Everything is there but the pid file's name.
    pub(super) fn announce_ready(&mut self) -> Option<Event> {
        let settings = &self.current.process;
        let ready = Ready {
            version: version::PROXYD.to_owned(),
            workers: self.children.len(),
            listen: self.current.addresses(),
            pid_file: settings.pid.clone(),
            control: settings.control.clone(),
        };
        let prepared = pidfile::prepare(&settings.pid, std::process::id());
        let predecessor = self.predecessor.as_mut()?;
        match prepared {
            Ok(file) => predecessor.pid_file = Some(file),
            Err(_) if predecessor.is_rollback => {}
            Err(error) => {
                let path = self.current.process.pid.display();
                let text = format!("open() \"{path}\" failed{}", os_error(&error));
                self.log().write(Level::Emerg, None, format_args!("{text}"));
                self.say(&FromSuccessor::Failed { text });
                self.code = 1;
                return Some(Event::Abandoned);
            }
        }
        self.say(&FromSuccessor::Ready(ready));
        None
    }

    /// All workers accept: the pid file names this master.
    pub(super) fn announce_accepting(&mut self) {
        let path = self.current.process.pid.clone();
        let prepared = self.predecessor.as_mut().and_then(|found| found.pid_file.take());
        let put = match prepared {
            Some(file) => file.put(),
            None => pidfile::overwrite(&path, std::process::id()),
        };
        if let Err(error) = put {
            let (path, cause) = (path.display(), os_error(&error));
            self.log().write(Level::Alert, None, format_args!("open() \"{path}\" failed{cause}"));
        }
        self.say(&FromSuccessor::Accepting);
    }

    pub(super) fn announce_lost(&self, id: Id, end: End) {
        let after = self.age_of(id).as_secs_f64();
        let text = format!("{} after {after:.1} s", self.epitaph(id, end));
        self.say(&FromSuccessor::WorkerLost { text });
    }

    pub(super) fn announce_stop(&self, whole: Option<bool>) {
        let text = "the new master was told to stop".to_owned();
        self.say(&match whole {
            Some(fast) => FromSuccessor::Stop { fast },
            None => FromSuccessor::Failed { text },
        });
    }

    pub(super) fn give_up(&mut self, id: Id, end: End) {
        let text = match self.refusal.take() {
            Some(text) => text,
            None => format!("{} before it was ready", self.epitaph(id, end)),
        };
        self.say(&FromSuccessor::Failed { text });
        self.code = 1;
    }

    fn age_of(&self, id: Id) -> Duration {
        self.children.get(&id).map(|child| child.begun.elapsed()).unwrap_or_default()
    }

    fn epitaph(&self, id: Id, end: End) -> String {
        let pid = self.children.get(&id).map_or(0, |child| child.pid.as_raw());
        match end {
            End::Code(code) => format!("worker {pid} exited with code {code}"),
            End::Signal(number) => format!("worker {pid} exited on signal {number}"),
            End::NotStarted => "a worker could not be started".to_owned(),
        }
    }

    /// The server from now on.
    pub(super) fn take_over(&mut self) {
        let text = "this process is the server now";
        self.log().write(Level::Notice, None, format_args!("{text}"));
        if let Some(relay) = &self.relay {
            // The old master may have died before it could say so.
            tell_relay(relay, &ToRelay::Current { pid: Pid::this().as_raw() });
        }
        self.unexpend();
        self.begin_switches();
        self.take_control();
        self.take_elder();
        self.limit_retired();
    }

    /// Newcomers no longer.
    fn unexpend(&self) {
        let ours = self.children.values().map(|child| child.pid);
        for pid in ours.chain([Pid::this()]) {
            // Where this may not be done, it was not done to begin with.
            let _ = process::set_oom_score_adj(pid, self.oom_score);
        }
    }

    fn take_control(&mut self) {
        let path = self.current.process.control.clone();
        let inherited = self.predecessor.as_mut();
        let inherited = inherited.and_then(|found| take(&mut found.fds, Attached::Control));
        let same = |listener: &UnixListener| {
            listener.local_addr().is_ok_and(|name| name.as_pathname() == Some(&*path))
        };
        let inherited = inherited.map(UnixListener::from).filter(same);
        let listener = inherited.map_or_else(|| crate::control::bind(&path), Ok);
        self.serve_control_at(&path, listener);
    }

    /// The old master's socket is one to a retired master now.
    fn take_elder(&mut self) {
        let Some(Predecessor { wire, hello, .. }) = self.predecessor.take() else { return };
        let (age, seen) = self.elder_age;
        let Hello { pid, version, generation, .. } = hello;
        self.links.push(Link { master: Retired { pid, version, generation, age }, seen, wire });
    }

    /// Old masters do not pile up: the oldest beyond the limit are cut short.
    fn limit_retired(&mut self) {
        let limit = self.current.process.max_draining;
        self.links.sort_by_key(|link| link.master.generation);
        let beyond = self.links.len().saturating_sub(limit);
        for link in &self.links[..beyond] {
            let Retired { pid, generation, .. } = link.master;
            let text =
                "more draining generations than max_draining_generations, stopping the oldest";
            let text = format_args!("{text}: generation {generation}, master {pid}");
            self.log().write(Level::Warn, None, text);
            link.wire.send(&FromSuccessor::Stop { fast: true }, &[]);
        }
    }

    /// The retired masters that this one answers for. Those of one that has retired itself are its
    /// successor's as well; it keeps them only as long as it may have to return.
    pub(super) fn links(&self) -> &[Link] {
        if self.state.has_handed_over() { &[] } else { &self.links }
    }

    pub(super) fn retired_gone(&mut self, pid: u32) {
        self.links.retain(|link| link.master.pid != pid);
        self.take(Event::Retired(self.links().len()));
        self.sweep_counters();
    }

    pub(super) fn sweep_counters(&self) {
        super::switches::sweep(&self.counters, &self.switches.gates, self.current.zones());
    }

    /// The process that is the server as long as this one is not.
    pub(super) fn elder_pid(&self) -> Option<Pid> {
        let pid = self.predecessor.as_ref()?.hello.pid;
        i32::try_from(pid).ok().map(Pid::from_raw)
    }

    /// Those that are not the server any more, or never were, still write to their logs.
    pub(super) fn reopen_others(&self) {
        self.say(&FromSuccessor::Reopen);
        for link in self.links() {
            link.wire.send(&FromSuccessor::Reopen, &[]);
        }
        for undone in self.undone.values() {
            let _ = process::kill(undone.pid, Signal::SIGUSR1);
        }
    }

    /// Those that are not the server any more, or never were, stop with it.
    pub(super) fn stop_others(&self, fast: bool) {
        for link in self.links() {
            link.wire.send(&FromSuccessor::Stop { fast }, &[]);
        }
        let signal = if fast { Signal::SIGTERM } else { Signal::SIGQUIT };
        for undone in self.undone.values() {
            let _ = process::kill(undone.pid, signal);
        }
    }

    pub(super) fn pass_reload(&self) {
        if let Some(predecessor) = &self.predecessor
            && let Ok(pid) = i32::try_from(predecessor.hello.pid)
        {
            let _ = process::kill(Pid::from_raw(pid), Signal::SIGHUP);
        }
    }
}
