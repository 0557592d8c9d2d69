//! Clients that come at a steady pace, check every answer, and tell exactly what was lost.
//!
//! They all run in one thread, so that hundreds of them cost little beside the server.

mod chat;
mod fresh;
mod kept;
mod multiplexed;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::system;

/// Where clients connect to.
#[derive(Clone)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Target {
        Target::Tcp(address)
    }
}

/// What became of a request that did not get its answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// No connection came about.
    Connect(String),
    /// The connection was reset under it.
    Reset,
    /// It was sent, and the connection ended without an answer.
    NoAnswer,
    /// The connection ended within the answer.
    CutShort,
    /// Another status than 200.
    Status(u16),
    /// Another content than asked for.
    Wrong(String),
    /// Nothing came in time.
    Late,
    Other(String),
    /// It was above the last stream that a GOAWAY without an error names.
    NotTaken,
}

/// What clients have seen.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests that got their whole, right answer.
    pub answered: usize,
    /// Connections made.
    pub connections: usize,
    /// Answers that said `Connection: close`.
    pub told_to_close: usize,
    /// Connections the server ended while the client had nothing to ask.
    pub closed_idle: usize,
    pub losses: BTreeMap<Loss, usize>,
    /// Every different content.
    pub contents: BTreeSet<String>,
    /// The longest that one took from the start of its connection, or of its request on a kept one.
    pub longest: Duration,
    /// The longest time in which no answer came to anybody.
    pub gap: Duration,
    last: Option<Instant>,
}

impl Report {
    fn answer(&mut self, begun: Instant) {
        let now = Instant::now();
        self.answered += 1;
        self.longest = self.longest.max(now - begun);
        self.gap = self.gap.max(self.last.map_or(Duration::ZERO, |last| now - last));
        self.last = Some(now);
    }

    fn lose(&mut self, loss: Loss) {
        *self.losses.entry(loss).or_insert(0) += 1;
    }

    /// Fails unless every request got its answer.
    pub fn expect_no_loss(&self) {
        assert!(self.losses.is_empty() && self.answered > 0, "{self:#?}");
    }
}

/// Running clients. Stop them, or dropping it will.
pub struct Traffic {
    stop: watch::Sender<bool>,
    answered: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Report>>,
}

/// What the clients of one kind of traffic share.
struct Shared {
    target: Target,
    stopped: watch::Receiver<bool>,
    answered: Arc<AtomicUsize>,
    report: std::cell::RefCell<Report>,
}

impl Traffic {
    /// So many new connections a second, one request on each.
    pub fn fresh(target: impl Into<Target>, per_second: u32) -> Traffic {
        Traffic::run(target.into(), move |shared| fresh::run(shared, per_second))
    }

    /// So many clients that keep their connections and think about so long before each request.
    pub fn kept(target: impl Into<Target>, clients: u32, think: Duration) -> Traffic {
        Traffic::run(target.into(), move |shared| kept::run(shared, clients, think))
    }

    /// So many clients of HTTP/2, each of which has that many requests under way on its connection and
    /// thinks about so long before the next on each.
    pub fn multiplexed(
        target: impl Into<Target>,
        clients: u32,
        streams: u32,
        think: Duration,
    ) -> Traffic {
        let run = move |shared| multiplexed::run(shared, clients, streams, think);
        Traffic::run(target.into(), run)
    }

    /// So many websockets on `/chat`, each sending a message that often.
    pub fn chat(target: impl Into<Target>, clients: u32, pause: Duration) -> Traffic {
        Traffic::run(target.into(), move |shared| chat::run(shared, clients, pause))
    }

    fn run<C, F>(target: Target, clients: C) -> Traffic
    where
        C: FnOnce(Rc<Shared>) -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let (stop, stopped) = watch::channel(false);
        let answered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&answered);
        let thread = thread::spawn(move || {
            let report = std::cell::RefCell::default();
            let shared = Rc::new(Shared { target, stopped, answered: count, report });
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime.expect("a runtime"), clients(Rc::clone(&shared)));
            shared.report.take()
        });
        Traffic { stop, answered, thread: Some(thread) }
    }

    /// Requests answered so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Relaxed)
    }

    /// Waits until so many more have been answered.
    pub fn goes_on(&self, more: usize) {
        let wanted = self.answered() + more;
        system::until(&format!("{wanted} answers"), || self.answered() >= wanted);
    }

    /// Lets every client finish its request.
    pub fn stop(mut self) -> Report {
        self.stop.send_replace(true);
        let thread = self.thread.take().expect("it runs");
        thread.join().expect("clients")
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Shared {
    fn stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Waits for so long, or for the end of it all; false at that.
    async fn pause(&self, time: Duration) -> bool {
        let mut stopped = self.stopped.clone();
        tokio::time::timeout(time, stopped.wait_for(|stop| *stop)).await.is_err()
    }

    fn answer(&self, begun: Instant, content: String) {
        let mut report = self.report.borrow_mut();
        report.answer(begun);
        report.contents.insert(content);
        self.answered.fetch_add(1, Relaxed);
    }

    fn lose(&self, loss: Loss) {
        self.report.borrow_mut().lose(loss);
    }
}

/// Runs all of these to their end.
async fn all<F: Future<Output = ()> + 'static>(clients: impl Iterator<Item = F>) {
    let mut set = JoinSet::new();
    for client in clients {
        set.spawn_local(client);
    }
    while let Some(ended) = set.join_next().await {
        ended.expect("a client");
    }
}
