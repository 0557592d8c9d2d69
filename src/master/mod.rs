//! The master: owns sockets, configuration and workers, and never sees a client's byte. This is the
//! loop: it waits for something to happen, asks [`mod@state`] what to do about it, and does that.
//!
//! Must not decide, and must not know what a worker does.

pub mod change;
mod elder;
pub mod event;
pub mod generation;
mod heir;
pub mod inheritance;
pub mod notify;
pub mod pidfile;
mod plan;
pub mod relay;
mod reload;
mod signal;
pub mod spawn;
pub mod state;
mod status;
mod succession;
mod successor;
mod supervision;
mod survey;
pub mod switches;
mod telling;
mod upgrade;
pub mod watch;
mod wire;
pub mod zones;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use crate::config::{Options, Report};
use crate::control::routes::{ConfigFile, Process, ReloadOutcome};
use crate::control::{self, Ask};
use crate::ipc::{FromWorker, Spec, ToWorker};
use crate::log::{ErrorLog, Files, Level, os_error};
use crate::signals::Signals;
use crate::sys::process::{self, Pid, Signal};
use crate::zone::counters::Counters;
use elder::{Link, Predecessor};
use event::{Action, End, Event, Id};
use generation::Generation;
use inheritance::Inheritance;
use plan::{Direction, Previous};
use spawn::{Child, Launch, News};
use state::State;
use successor::Successor;
use supervision::Supervision;
use switches::Switches;
use upgrade::Upgrading;

/// How many requests of the control API may wait for the loop.
const ASKS: usize = 16;

/// Everything a master starts with; sockets listen already.
pub struct Setup {
    pub options: Options,
    pub generation: Generation,
    /// Every log file the generation has open.
    pub files: Files,
    pub launch: Launch,
    /// The control API's socket, if it could be had.
    pub control: Option<UnixListener>,
    /// Whether it went into the background.
    pub daemon: bool,
    /// The words it was started with; the first is where its executable is.
    pub words: Vec<OsString>,
    /// What another master has left to it.
    pub inheritance: Option<Inheritance>,
    /// The configuration was part of that: a way back.
    pub is_rollback: bool,
}

/// Runs until the last worker has left after a stop, or after another master has taken over; then,
/// if this is the process that somebody supervises, until that one ends. Answers the exit code. An
/// error means that it could not begin.
pub async fn run(setup: Setup) -> io::Result<u8> {
    let signals = Signals::new()?;
    let (asks, mut asked) = mpsc::channel(ASKS);
    let (news, mut told) = mpsc::unbounded_channel();
    let mut master = Master::new(setup, news, asks)?;
    if !master.state.is_heir() {
        master.redirect_stderr();
        master.begin_switches();
    }
    master.take(Event::Start);
    while !master.done {
        let deadline = master.state.deadline();
        tokio::select! {
            signal = signals.next() => master.signal(signal?),
            Some(news) = told.recv() => master.hear(news),
            Some(ask) = asked.recv() => master.ask(ask),
            () = until(deadline) => master.take(Event::Tick),
            () = until(master.supervision.deadline()) => master.extend_stop(),
            () = until(master.switches_deadline()) => master.tend_switches(),
        }
    }
    master.leave(&mut told);
    say_goodbye().await;
    match master.into_relay(signals) {
        Ok(relay) => Ok(relay.run().await),
        Err(code) => Ok(code),
    }
}

/// Lets the tasks run that answer the control API: the last lines are written without waiting.
async fn say_goodbye() {
    const TURNS: usize = 32;
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

struct Master {
    options: Options,
    state: State,
    launch: Launch,
    daemon: bool,
    done: bool,
    /// The exit code.
    code: u8,
    born: Instant,
    words: Vec<OsString>,
    /// Where the executable is that `USR2` means.
    origin: PathBuf,
    current: Generation,
    candidate: Option<Generation>,
    children: BTreeMap<Id, Child>,
    files: Files,
    counters: Counters,
    counters_fd: Rc<OwnedFd>,
    switches: Switches,
    surveys: survey::Surveys,
    news: UnboundedSender<News>,
    asks: mpsc::Sender<Ask>,
    control: Option<tokio::task::JoinHandle<()>>,
    /// The socket that `control` serves.
    control_socket: Option<Rc<OwnedFd>>,
    /// Who waits for the reload in hand, and who for the next one.
    waiting: Vec<oneshot::Sender<ReloadOutcome>>,
    next: Vec<oneshot::Sender<ReloadOutcome>>,
    /// When the last reload ended, and how.
    last_reload: Option<(Instant, ReloadOutcome)>,
    /// Why the configuration could not be loaded.
    rejected: Report,
    /// Why a worker of a master that is to take over cannot use its configuration.
    refusal: Option<String>,
    upgrading: Upgrading,
    /// Successors that were sent away and still live.
    undone: BTreeMap<Id, Successor>,
    previous: Option<Previous>,
    /// The process that left sockets to this one.
    parent: Option<Pid>,
    predecessor: Option<Predecessor>,
    /// Its age in seconds when it said so, and when that was.
    elder_age: (u64, Instant),
    elder_pid: u32,
    /// Masters that have been replaced and still finish what they had.
    links: Vec<Link>,
    /// The socket to the process that whoever started the server knows.
    relay: Option<Rc<OwnedFd>>,
    supervision: Supervision,
    /// What it was before this newcomer made itself expendable.
    oom_score: i32,
}

impl Master {
    fn new(
        setup: Setup,
        news: UnboundedSender<News>,
        asks: mpsc::Sender<Ask>,
    ) -> io::Result<Master> {
        let (counters_fd, counters) = counters(setup.inheritance.as_ref())?;
        let state_file = &setup.generation.process.runtime_state;
        let switches = Switches::new(setup.inheritance.as_ref(), state_file)?;
        let origin = setup.words.first().map(PathBuf::from).unwrap_or_default();
        let first = !setup.daemon && setup.inheritance.is_none();
        let mut master = Master {
            state: state(&setup),
            options: setup.options,
            launch: setup.launch,
            daemon: setup.daemon,
            done: false,
            code: 0,
            born: Instant::now(),
            words: setup.words,
            origin,
            current: setup.generation,
            candidate: None,
            children: BTreeMap::new(),
            files: setup.files,
            counters,
            counters_fd: Rc::new(counters_fd),
            switches,
            surveys: survey::Surveys::default(),
            news,
            asks,
            control: None,
            control_socket: None,
            waiting: Vec::new(),
            next: Vec::new(),
            last_reload: None,
            rejected: Report::default(),
            refusal: None,
            upgrading: Upgrading::default(),
            undone: BTreeMap::new(),
            previous: None,
            parent: None,
            predecessor: None,
            elder_age: (0, Instant::now()),
            elder_pid: 0,
            links: Vec::new(),
            relay: None,
            supervision: Supervision::new(first),
            oom_score: 0,
        };
        if let Some(inheritance) = setup.inheritance {
            master.meet(inheritance, setup.is_rollback)?;
        }
        if let Some(listener) = setup.control {
            master.serve_control(listener)?;
        }
        Ok(master)
    }

    fn log(&self) -> &ErrorLog {
        &self.current.error_log
    }

    fn serve_control(&mut self, listener: UnixListener) -> io::Result<()> {
        let socket = listener.as_fd().try_clone_to_owned()?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let asks = self.asks.clone();
        let serve = async move { match control::serve(listener, asks).await {} };
        if let Some(old) = self.control.replace(tokio::task::spawn_local(serve)) {
            old.abort();
        }
        self.control_socket = Some(Rc::new(socket));
        Ok(())
    }

    /// Another master answers from now on; those who are being answered still are.
    fn stop_control(&mut self, elsewhere: bool) {
        if let Some(task) = self.control.take() {
            task.abort();
            if elsewhere {
                let _ = std::fs::remove_file(&self.current.process.control);
            }
        }
    }

    /// The same the other way round.
    fn serve_control_again(&mut self) {
        let path = self.current.process.control.clone();
        let socket = self.control_socket.as_ref().map(|socket| socket.try_clone());
        let listener = match socket {
            Some(socket) if path.exists() => socket.map(UnixListener::from),
            _ => control::bind(&path),
        };
        self.serve_control_at(&path, listener);
    }

    /// Serves the control API on a listener of this name; the server does without it if it must.
    fn serve_control_at(&mut self, path: &Path, listener: io::Result<UnixListener>) -> bool {
        let Err(error) = listener.and_then(|listener| self.serve_control(listener)) else {
            return true;
        };
        let (path, cause) = (path.display(), os_error(&error));
        let text = format_args!("control: bind() to unix:{path} failed{cause}");
        self.log().write(Level::Emerg, None, text);
        false
    }

    /// Takes an event in and does what it leads to; doing may lead to further events.
    fn take(&mut self, event: Event) {
        let mut queue = VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            for action in self.state.step(event, Instant::now()) {
                queue.extend(self.act(action));
            }
        }
    }

    /// Performs one action; the answer, if there is one, is the next event.
    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Notice(text) => self.log().write(Level::Notice, None, format_args!("{text}")),
            Action::Load => return Some(self.load()),
            Action::Spawn { id, slot, generation } => return self.spawn(id, slot, generation),
            Action::Prepare(id) => self.prepare(id),
            Action::Commit { id, generation } => self.tell(id, ToWorker::Commit { generation }),
            Action::Abort(id) => {
                let generation = self.candidate.as_ref().map_or(0, |candidate| candidate.number);
                self.tell(id, ToWorker::Abort { generation });
            }
            Action::Adopt => self.adopt(),
            Action::Discard => self.discard(),
            Action::Answer(result) => self.answer(result),
            Action::Refuse(why) => self.refuse(why),
            Action::Quit { id, replaced } => self.tell(id, ToWorker::Quit { replaced }),
            Action::Terminate(id) => self.tell(id, ToWorker::Terminate),
            Action::Kill(id) => self.kill(id),
            Action::Fatal(id) => self.tell_fatal(id),
            Action::CloseListeners => self.close_listeners(),
            Action::ReopenLogs => self.reopen_logs(),
            Action::Exit => self.done = true,
            other => return self.act_on_masters(other),
        }
        None
    }

    /// The actions that are about other masters.
    fn act_on_masters(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::StartSuccessor => return Some(self.start_successor()),
            Action::LetSuccessorAccept => return self.let_successor_accept(),
            Action::ShowOld => self.show_old(),
            Action::Measure => return Some(self.measure()),
            Action::CommitSuccessor { reload } => {
                self.commit_successor(reload);
                return Some(Event::Retired(0));
            }
            Action::DismissSuccessor(id, reason) => self.dismiss_successor(id, reason),
            Action::ForgetSuccessor => self.forget_successor(),
            Action::KillSuccessor(id) => self.kill_successor(id),
            Action::Return => {
                self.come_back();
                return Some(Event::Retired(self.links.len()));
            }
            Action::Tell(milestone) => self.tell_milestone(&milestone),
            Action::StopOthers { fast } => self.stop_others(fast),
            Action::Building { ready, of } => self.building(ready, of),
            Action::AnnounceReady => return self.announce_ready(),
            Action::AnnounceAccepting => self.announce_accepting(),
            Action::AnnounceLost(id, end) => self.announce_lost(id, end),
            Action::AnnounceStop(whole) => self.announce_stop(whole),
            Action::GiveUp(id, end) => self.give_up(id, end),
            Action::TakeOver => {
                self.take_over();
                return Some(Event::Retired(self.links.len()));
            }
            Action::LeaveListeners => {
                self.current.leave_listeners(&self.current.error_log.clone());
            }
            Action::PassReload => self.pass_reload(),
            // All others are done above.
            _ => {}
        }
        None
    }

    fn tell(&self, id: Id, message: ToWorker) {
        if let Some(child) = self.children.get(&id) {
            child.send(message, Vec::new());
        }
    }

    /// The generation of that number: the current one, or the one that may replace it.
    fn generation(&self, number: event::Generation) -> &Generation {
        self.candidate.as_ref().filter(|next| next.number == number).unwrap_or(&self.current)
    }

    fn spawn(&mut self, id: Id, slot: usize, number: event::Generation) -> Option<Event> {
        match self.start(id, slot, number) {
            Ok(child) => {
                let pid = child.pid;
                self.children.insert(id, child);
                self.log().write(Level::Notice, None, format_args!("start worker process {pid}"));
                None
            }
            Err(error) => {
                let cause = os_error(&error);
                let text = "could not start worker process";
                self.log().write(Level::Alert, None, format_args!("{text}{cause}"));
                Some(Event::Gone(id, End::NotStarted))
            }
        }
    }

    fn start(&self, id: Id, slot: usize, number: event::Generation) -> io::Result<Child> {
        let generation = self.generation(number);
        let (bundle, mut fds) = generation.parcel(slot)?;
        fds.extend([Rc::clone(&self.counters_fd), Rc::clone(&self.switches.fd)]);
        let environment = generation.process.worker_environment(std::env::vars_os());
        let me = std::process::id();
        let free = self.counters.claim(me).or_else(|| {
            self.sweep_counters();
            self.counters.claim(me)
        });
        let counters = free.ok_or_else(|| io::Error::other("too many worker processes"))?;
        let stderr = self.lasting_stderr();
        let stderr = stderr.as_ref().map(AsFd::as_fd);
        let started = self.launch.start(id, slot, counters, environment, stderr, &self.news);
        let child = started.inspect_err(|_| self.counters.release(counters))?;
        self.counters.assign(counters, u32::try_from(child.pid.as_raw()).unwrap_or_default());
        let settings = generation.settings(slot);
        let spec = Spec { worker: slot, slot: counters, settings, bundle };
        child.send(ToWorker::Spec(spec), fds);
        Ok(child)
    }

    fn kill(&self, id: Id) {
        if let (Some(child), Launch::Exec(_)) = (self.children.get(&id), &self.launch) {
            self.kill_process(child.pid);
        }
    }

    fn kill_successor(&self, id: Id) {
        if let Some(undone) = self.undone.get(&id) {
            self.kill_process(undone.pid);
        }
    }

    fn kill_process(&self, pid: Pid) {
        if let Err(error) = process::kill(pid, Signal::SIGKILL) {
            let cause = os_error(&error);
            self.log().write(Level::Alert, None, format_args!("kill({pid}, 9) failed{cause}"));
        }
    }

    fn tell_fatal(&self, id: Id) {
        if let Some(child) = self.children.get(&id) {
            let pid = child.pid;
            let text = "exited with fatal code 2 and cannot be respawned";
            self.log().write(Level::Alert, None, format_args!("worker process {pid} {text}"));
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Ended(id, code) => self.gone(id, End::Code(code)),
            News::Successor(pid, word) => self.hear_successor(pid, word),
            News::Predecessor(heard) => self.hear_predecessor(heard),
            News::RetiredGone(pid) => self.retired_gone(pid),
            News::Relay(word) => self.hear_for_relay(word),
            News::Said(id, word) => match word {
                FromWorker::Started => {}
                FromWorker::Leaving => self.take(Event::Leaving(id)),
                FromWorker::Drained { cut } => self.upgrading.cut += cut,
                FromWorker::Account { number, account } => self.hear_account(id, number, account),
                FromWorker::Ready => self.take(Event::Ready(id)),
                FromWorker::Prepared { generation } => self.take(Event::Prepared(id, generation)),
                FromWorker::Committed { generation } => {
                    self.take(Event::Committed(id, generation));
                    self.supervise_start();
                }
                FromWorker::Refused { generation, text } => {
                    self.log().write(Level::Emerg, None, format_args!("{text}"));
                    self.refusal = Some(text.clone());
                    self.take(Event::Refused(id, generation, text));
                }
            },
        }
    }

    /// A worker has ended; its number stays known until what follows from it is done.
    fn gone(&mut self, id: Id, end: End) {
        if let Some(child) = self.children.get(&id) {
            self.switches.gates.bury(child.counters);
            zones::bury(self.current.zones(), child.counters);
            self.counters.release(child.counters);
        }
        self.take(Event::Gone(id, end));
        self.children.remove(&id);
    }

    fn ask(&mut self, ask: Ask) {
        // Whoever has gone away meanwhile does not want the answer any more.
        match ask {
            Ask::Reload(reply) if self.state.can_undo() => {
                let _ = reply.send(reload::failed("another change is in progress (upgrade)"));
            }
            Ask::Reload(reply) => {
                self.next.push(reply);
                self.take(Event::Reload);
            }
            Ask::Status(reply) => self.tell_status(reply),
            Ask::Upgrade(request, progress) => self.order(Direction::Upgrade, &request, progress),
            Ask::Rollback(request, progress) => self.order(Direction::Rollback, &request, progress),
            Ask::Processes(reply) => drop(reply.send(self.processes())),
            Ask::Config(reply) => {
                let file = |(path, text): &(std::path::PathBuf, Vec<u8>)| ConfigFile {
                    name: path.display().to_string(),
                    content: String::from_utf8_lossy(text).into_owned(),
                };
                let _ = reply.send(self.current.files.iter().map(file).collect());
            }
            other => self.ask_about_switches(other),
        }
    }

    fn processes(&self) -> Vec<Process> {
        let process = |(id, exiting)| {
            let pid = self.children.get(&id)?.pid.as_raw();
            Some(Process { name: "worker process".to_owned(), pid, exiting })
        };
        self.state.workers().filter_map(process).collect()
    }

    fn leave(&mut self, told: &mut UnboundedReceiver<News>) {
        told.close();
        while let Ok(news) = told.try_recv() {
            // Whom to stand for; everything else does not matter any more.
            if let News::Relay(word) = news {
                self.hear_for_relay(word);
            }
        }
        let log = self.log().clone();
        if self.upgrading.plan.is_some() && self.state.has_handed_over() {
            self.tell_milestone(&event::Milestone::Done);
        }
        let pid = &self.current.process.pid;
        // One that was not to be the server leaves the file to the old master.
        let ours = self.predecessor.is_none().then(|| pid.clone());
        for pid in ours.into_iter().chain([pidfile::oldbin(pid)]) {
            if let Err(error) = pidfile::remove(&pid, std::process::id()) {
                let (pid, cause) = (pid.display(), os_error(&error));
                log.write(Level::Alert, None, format_args!("unlink() \"{pid}\" failed{cause}"));
            }
        }
        if self.control.is_some() {
            let _ = std::fs::remove_file(&self.current.process.control);
        }
        log.write(Level::Notice, None, format_args!("exit"));
        if self.state.has_handed_over() {
            self.current.forget_listeners();
        }
        self.close_listeners();
    }

    /// Stops listening. Sockets that another master serves as well stay where they are.
    fn close_listeners(&mut self) {
        let log = self.log().clone();
        if self.has_living_parent() {
            self.current.leave_listeners(&log);
        }
        self.current.close_listeners(&log);
    }

    /// Whether the master that this one was to replace, and that does not speak, is still there: one
    /// that speaks has said who stays; of one that does not, its death is the only sign.
    fn has_living_parent(&self) -> bool {
        self.elder_pid == 0 && self.parent.is_some_and(|parent| Pid::parent() == parent)
    }
}

/// The counters of all masters are the same memory.
fn counters(inheritance: Option<&Inheritance>) -> io::Result<(OwnedFd, Counters)> {
    let elder = inheritance.and_then(|inheritance| inheritance.elder.as_ref());
    let mut fds = elder.iter().flat_map(|elder| &elder.fds);
    if let Some((_, fd)) = fds.find(|(kind, _)| *kind == crate::handover::Attached::Counters)
        && let Ok(counters) = Counters::attach(fd.as_fd())
    {
        return Ok((fd.try_clone()?, counters));
    }
    // An older or newer layout: these begin anew.
    Counters::create()
}

fn state(setup: &Setup) -> State {
    let workers = setup.generation.process.workers;
    let elder = setup.inheritance.as_ref().and_then(|inheritance| inheritance.elder.as_ref());
    let mut state = match elder {
        Some(elder) => {
            let hello = &elder.hello;
            State::heir(workers, setup.generation.number, hello.canary, hello.manual)
        }
        None => State::new(workers),
    };
    state.most_draining = setup.generation.process.max_draining;
    state.in_foreground(!setup.daemon)
}

#[cfg(test)]
mod tests;
