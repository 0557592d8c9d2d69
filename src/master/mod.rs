//! The master: owns sockets, configuration and workers, and never sees a client's byte. This is the
//! loop: it waits for something to happen, asks [`state`] what to do about it, and does that.
//!
//! Must not decide, and must not know what a worker does.

pub mod change;
pub mod event;
pub mod generation;
pub mod pidfile;
mod reload;
mod signal;
pub mod spawn;
pub mod state;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
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
use crate::sys::process::{self, Signal};
use crate::zone::counters::{Counters, MAX_SLOTS};
use event::{Action, End, Event, Id};
use generation::Generation;
use spawn::{Child, Launch, News};
use state::State;

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
    pub control: Option<std::os::unix::net::UnixListener>,
    /// Whether it went into the background.
    pub daemon: bool,
}

/// Runs until the last worker has left after a stop. An error means that it could not begin.
pub async fn run(setup: Setup) -> io::Result<()> {
    let signals = Signals::new()?;
    let (asks, mut asked) = mpsc::channel(ASKS);
    let (news, mut told) = mpsc::unbounded_channel();
    let mut master = Master::new(setup, news, asks)?;
    master.redirect_stderr();
    master.take(Event::Start);
    while !master.done {
        let deadline = master.state.deadline();
        tokio::select! {
            signal = signals.next() => master.signal(signal?),
            Some(news) = told.recv() => master.hear(news),
            Some(ask) = asked.recv() => master.ask(ask),
            () = until(deadline) => master.take(Event::Tick),
        }
    }
    master.leave(&mut told);
    Ok(())
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
    current: Generation,
    candidate: Option<Generation>,
    children: BTreeMap<Id, Child>,
    files: Files,
    counters: Counters,
    counters_fd: Rc<OwnedFd>,
    news: UnboundedSender<News>,
    asks: mpsc::Sender<Ask>,
    control: Option<tokio::task::JoinHandle<()>>,
    /// Who waits for the reload in hand, and who for the next one.
    waiting: Vec<oneshot::Sender<ReloadOutcome>>,
    next: Vec<oneshot::Sender<ReloadOutcome>>,
    /// Why the configuration could not be loaded.
    rejected: Report,
}

impl Master {
    fn new(
        setup: Setup,
        news: UnboundedSender<News>,
        asks: mpsc::Sender<Ask>,
    ) -> io::Result<Master> {
        let (counters_fd, counters) = Counters::create()?;
        let mut master = Master {
            state: State::new(setup.generation.process.workers),
            options: setup.options,
            launch: setup.launch,
            daemon: setup.daemon,
            done: false,
            current: setup.generation,
            candidate: None,
            children: BTreeMap::new(),
            files: setup.files,
            counters,
            counters_fd: Rc::new(counters_fd),
            news,
            asks,
            control: None,
            waiting: Vec::new(),
            next: Vec::new(),
            rejected: Report::default(),
        };
        if let Some(listener) = setup.control {
            master.serve_control(listener)?;
        }
        Ok(master)
    }

    fn log(&self) -> &ErrorLog {
        &self.current.error_log
    }

    fn serve_control(&mut self, listener: std::os::unix::net::UnixListener) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let asks = self.asks.clone();
        let serve = async move { match control::serve(listener, asks).await {} };
        if let Some(old) = self.control.replace(tokio::task::spawn_local(serve)) {
            old.abort();
        }
        Ok(())
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
            Action::CloseListeners => self.current.close_listeners(&self.current.error_log.clone()),
            Action::ReopenLogs => self.reopen_logs(),
            Action::Exit => self.done = true,
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
        let taken = |slot: &usize| self.children.values().any(|child| child.counters == *slot);
        let free = (0..MAX_SLOTS).find(|slot| !taken(slot));
        let counters = free.ok_or_else(|| io::Error::other("too many worker processes"))?;
        let (bundle, mut fds) = generation.parcel(slot)?;
        fds.push(Rc::clone(&self.counters_fd));
        let environment = generation.process.worker_environment(std::env::vars_os());
        let child = self.launch.start(id, slot, counters, environment, &self.news)?;
        let settings = generation.settings(slot);
        let spec = Spec { worker: slot, slot: counters, settings, bundle };
        child.send(ToWorker::Spec(spec), fds);
        Ok(child)
    }

    fn kill(&self, id: Id) {
        if let (Some(child), Launch::Exec(_)) = (self.children.get(&id), &self.launch)
            && let Err(error) = process::kill(child.pid, Signal::SIGKILL)
        {
            let (pid, cause) = (child.pid, os_error(&error));
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
            News::Said(id, word) => match word {
                FromWorker::Started | FromWorker::Drained { .. } => {}
                FromWorker::Ready => self.take(Event::Ready(id)),
                FromWorker::Prepared { generation } => self.take(Event::Prepared(id, generation)),
                FromWorker::Committed { generation } => self.take(Event::Committed(id, generation)),
                FromWorker::Refused { generation, text } => {
                    self.log().write(Level::Emerg, None, format_args!("{text}"));
                    self.take(Event::Refused(id, generation, text));
                }
            },
        }
    }

    /// A worker has ended; its number stays known until what follows from it is done.
    fn gone(&mut self, id: Id, end: End) {
        if let Some(child) = self.children.get(&id) {
            self.counters.clear_gauges(child.counters);
        }
        self.take(Event::Gone(id, end));
        self.children.remove(&id);
    }

    fn ask(&mut self, ask: Ask) {
        // Whoever has gone away meanwhile does not want the answer any more.
        match ask {
            Ask::Reload(reply) => {
                self.next.push(reply);
                self.take(Event::Reload);
            }
            Ask::Processes(reply) => drop(reply.send(self.processes())),
            Ask::Config(reply) => {
                let file = |(path, text): &(std::path::PathBuf, Vec<u8>)| ConfigFile {
                    name: path.display().to_string(),
                    content: String::from_utf8_lossy(text).into_owned(),
                };
                let _ = reply.send(self.current.files.iter().map(file).collect());
            }
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
        let log = self.log().clone();
        let pid = &self.current.process.pid;
        if let Err(error) = pidfile::remove(pid, std::process::id()) {
            let (pid, cause) = (pid.display(), os_error(&error));
            log.write(Level::Alert, None, format_args!("unlink() \"{pid}\" failed{cause}"));
        }
        if self.control.is_some() {
            let _ = std::fs::remove_file(&self.current.process.control);
        }
        log.write(Level::Notice, None, format_args!("exit"));
        self.current.close_listeners(&log);
    }
}

#[cfg(test)]
mod tests;
