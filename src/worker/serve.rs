//! A worker's life after it was built: obeys the master, hears signals, swaps configurations, drains.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::account;
use super::build::{self, Built, SocketId};
use crate::http::service::{Drain, GRACE, Service};
use crate::ipc::{AsyncWorkerEnd, Bundle, FromWorker, Received, Spec, ToWorker};
use crate::log::{Files, Level, clock, trace};
use crate::net::{ListenSpec, Listener};
use crate::signals::{self, Heard, Signal, Signals};
use crate::sys::process::set_title;
use crate::zone::{Counters, Door, Gates, Slot};

/// An address being accepted from; dropping it ends that.
struct Accepting {
    spec: ListenSpec,
    _stop: oneshot::Sender<Infallible>,
}

pub(super) struct Worker {
    pub(super) service: Rc<Service>,
    accepting: BTreeMap<SocketId, Accepting>,
    current: Built,
    prepared: Option<Built>,
    files: Files,
    slot: usize,
    counters: Slot,
    door: Door,
    draining: bool,
    /// When it leaves, whatever is left of the connections.
    deadline: Option<Instant>,
    parent: u32,
    own_process: bool,
}

/// Why the loop goes on or ends.
enum Next {
    Go,
    Leave,
}

impl Worker {
    /// Builds everything from the specification and what came with it.
    pub(super) fn new(spec: Spec, fds: Vec<OwnedFd>, parent: u32) -> Result<Worker, String> {
        let slot = spec.slot;
        let failed = |error: io::Error| format!("worker process: {error}");
        let (unpacked, counters, gates) = spec.unpack(fds).map_err(failed)?;
        let counters = Counters::attach(counters.as_fd()).map_err(failed)?;
        let counters = counters.slot(slot).ok_or("worker process: no counters left")?;
        let gates = Gates::attach(gates.as_fd()).map_err(failed)?;
        let door = gates.door(slot).ok_or("worker process: no counters left")?;
        let mut files = Files::new();
        let current = build::build(unpacked, &mut files, slot)?;
        trace::send_to(current.error_log.clone());
        // The time zone is read now, not under the first request.
        let _ = clock::seconds();
        let live = current.live(None, &files, &counters, &door)?;
        let limit = current.process.worker_connections;
        let service = Service::new(current.snapshot.clone(), live, limit);
        let own_process = parent != std::process::id();
        Ok(Worker {
            service,
            accepting: BTreeMap::new(),
            current,
            prepared: None,
            files,
            slot,
            counters,
            door,
            draining: false,
            deadline: None,
            parent,
            own_process,
        })
    }

    pub(super) fn log(&self, level: Level, text: &str) {
        self.current.error_log.write(level, None, format_args!("{text}"));
    }

    /// Serves until told to leave or drained; answers how many connections were cut.
    pub(super) async fn serve(
        &mut self,
        end: &mut AsyncWorkerEnd,
        signals: Option<Signals>,
    ) -> u64 {
        say(end, &FromWorker::Ready);
        let mut orphaned = false;
        loop {
            let service = Rc::clone(&self.service);
            let live = service.live();
            let next = tokio::select! {
                received = end.receive(), if !orphaned => match received {
                    Ok(Received::Message(message, fds)) => self.obey(message, fds, end),
                    Ok(Received::Closed) | Err(_) => {
                        orphaned = true;
                        self.orphaned();
                        Next::Go
                    }
                },
                received = next_signal(signals.as_ref()) => self.signal(received),
                () = live.flush_wanted.notified() => Next::Go,
                () = deadline(live.next_flush().map(Instant::from)) => {
                    live.flush_logs(false);
                    Next::Go
                }
                () = service.drained(), if self.draining => Next::Leave,
                () = deadline(self.deadline) => Next::Leave,
            };
            if matches!(next, Next::Leave) {
                return self.tell_cut();
            }
        }
    }

    fn obey(&mut self, message: ToWorker, fds: Vec<OwnedFd>, end: &mut AsyncWorkerEnd) -> Next {
        match message {
            ToWorker::Spec(_) => {}
            ToWorker::Prepare(bundle) => say(end, &self.prepare(bundle, fds)),
            ToWorker::Commit { generation } => {
                if self.commit(generation) {
                    say(end, &FromWorker::Committed { generation });
                }
            }
            ToWorker::Abort { .. } => {
                self.prepared = None;
                self.files.prune();
            }
            ToWorker::Reopen { logs } => self.reopen(logs, fds),
            ToWorker::Quit { replaced } => {
                self.drain(if replaced { Drain::Replaced } else { Drain::Final });
                say(end, &FromWorker::Leaving);
            }
            ToWorker::Terminate => return Next::Leave,
            ToWorker::Report { number } => {
                let account = account::of(&self.service);
                say(end, &FromWorker::Account { number, account });
            }
            ToWorker::Obey => self.service.live().calls.obey(),
        }
        Next::Go
    }

    fn prepare(&mut self, bundle: Bundle, fds: Vec<OwnedFd>) -> FromWorker {
        let generation = bundle.generation;
        let unpacked = bundle.unpack(&mut fds.into_iter());
        let built = unpacked
            .map_err(|error| error.to_string())
            .and_then(|unpacked| build::build(unpacked, &mut self.files, self.slot));
        match built {
            Ok(built) => {
                self.prepared = Some(built);
                FromWorker::Prepared { generation }
            }
            Err(text) => FromWorker::Refused { generation, text },
        }
    }

    /// Serves with this generation; says whether it is one that was built.
    fn commit(&mut self, generation: u64) -> bool {
        if self.draining {
            return false;
        }
        if let Some(built) = self.prepared.take_if(|built| built.number == generation)
            && let Err(text) = self.swap(built)
        {
            self.log(Level::Alert, &text);
        }
        if self.current.number != generation {
            return false;
        }
        self.accept();
        true
    }

    fn swap(&mut self, built: Built) -> Result<(), String> {
        let before = self.service.live();
        let live = built.live(Some(&before), &self.files, &self.counters, &self.door)?;
        trace::send_to(built.error_log.clone());
        self.service.swap(built.snapshot.clone(), live, built.process.worker_connections);
        self.current = built;
        drop(before);
        self.files.prune();
        Ok(())
    }

    /// Accepts from exactly the sockets of the current generation: goes on with those it has.
    fn accept(&mut self) {
        self.service.start();
        let mut before = std::mem::take(&mut self.accepting);
        for (spec, socket) in self.current.listeners.drain(..) {
            let Ok(id) = build::socket_id(&socket) else { continue };
            if let Some(same) = before.remove(&id) {
                self.accepting.insert(id, Accepting { spec, ..same });
                continue;
            }
            match Listener::from_fd(socket) {
                Ok(listener) => {
                    let (stop, stopped) = oneshot::channel::<Infallible>();
                    let service = Rc::clone(&self.service);
                    let stopped = async move { drop(stopped.await) };
                    tokio::task::spawn_local(service.accept(listener, stopped));
                    self.accepting.insert(id, Accepting { spec, _stop: stop });
                }
                Err(error) => {
                    let text = format_args!("could not accept on {}: {error}", spec.address);
                    self.current.error_log.write(Level::Alert, None, text);
                }
            }
        }
        for gone in before.into_values() {
            let text = format_args!("no longer accepting on {}", gone.spec.address);
            self.current.error_log.write(Level::Info, None, text);
        }
    }

    fn reopen(&mut self, logs: Vec<PathBuf>, fds: Vec<OwnedFd>) {
        self.log(Level::Notice, "reopening logs");
        self.service.live().flush_logs(true);
        for (path, fd) in logs.into_iter().zip(fds) {
            if let Some(file) = self.files.get(&path) {
                file.replace(fd);
            }
        }
    }

    fn signal(&mut self, received: signals::Received) -> Next {
        let Heard::Named(signal) = received.signal else {
            self.log(Level::Notice, &format!("{received}, ignoring"));
            return Next::Go;
        };
        let (note, next) = match signal {
            Signal::SIGTERM | Signal::SIGINT => (", exiting", Next::Leave),
            Signal::SIGQUIT => (", shutting down", Next::Go),
            // Descriptors are the master's to renew; a signal sent here by hand only empties buffers.
            Signal::SIGUSR1 | Signal::SIGHUP | Signal::SIGUSR2 => (", ignoring", Next::Go),
            _ => ("", Next::Go),
        };
        self.log(Level::Notice, &format!("{received}{note}"));
        match signal {
            Signal::SIGQUIT => self.drain(Drain::Final),
            Signal::SIGUSR1 => self.service.live().flush_logs(true),
            _ => {}
        }
        next
    }

    /// Stops accepting and lets what there is come to its end.
    fn drain(&mut self, mode: Drain) {
        if self.draining {
            // The end of the server hurries those that were leaving at leisure.
            if mode == Drain::Final {
                self.service.drain(mode);
            }
            return;
        }
        self.log(Level::Notice, "gracefully shutting down");
        if self.own_process {
            let _ = set_title("proxyd: worker process is shutting down");
        }
        self.draining = true;
        if let Some(limit) = self.current.process.shutdown_timeout {
            self.deadline = Some(Instant::now() + limit + GRACE);
            tokio::task::spawn_local(Rc::clone(&self.service).cut_within(limit));
        }
        self.accepting.clear();
        self.prepared = None;
        self.service.live().flush_logs(true);
        self.service.drain(mode);
    }

    fn orphaned(&mut self) {
        let text = format!("master process {} is gone, draining", self.parent);
        self.log(Level::Alert, &text);
        self.drain(Drain::Replaced);
    }

    /// Logs which connections did not end in time, and counts them.
    fn tell_cut(&self) -> u64 {
        let tally = self.service.tally();
        if tally.sum() > 0 {
            self.log(Level::Notice, &format!("drain deadline: {tally}"));
        }
        tally.sum()
    }
}

/// Says something to the master. If it is gone, the channel's end tells so.
fn say(end: &mut AsyncWorkerEnd, word: &FromWorker) {
    let _ = end.send(word, &[]);
}

async fn next_signal(signals: Option<&Signals>) -> signals::Received {
    if let Some(signals) = signals
        && let Ok(received) = signals.next().await
    {
        return received;
    }
    std::future::pending().await
}

async fn deadline(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
