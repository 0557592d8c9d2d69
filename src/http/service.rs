//! Owns what a worker runs for HTTP: the snapshot in force, the connections, and their leaving.
//!
//! Must not know processes or signals; the worker calls it.

mod cut;

use super::client::Client;
use super::conn;
use super::health;
use super::live::Live;
use super::snapshot::Snapshot;
use crate::log::Level;
use crate::net::{Address, Listener, Peer, Stream, listener};
use crate::zone::{Gauge, Total};
use arc_swap::ArcSwap;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub use cut::Tally;

/// How long accepting pauses when descriptors have run out and no connection ends before.
const PAUSE: Duration = Duration::from_millis(500);

/// Idle connections of a replaced worker stay at most this long.
const REPLACED_IDLE: Duration = Duration::from_secs(10);

/// How long a connection that is ended from here is still read, so that what was already on its way
/// meets a FIN and not a reset.
pub const GRACE: Duration = Duration::from_secs(2);

/// How a worker leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Nobody follows: idle connections are closed at once.
    Final,
    /// Another worker accepts already: idle connections stay until their next request, or a while.
    Replaced,
}

/// The HTTP side of a worker.
#[derive(Debug)]
pub struct Service {
    snapshot: ArcSwap<Snapshot>,
    live: RefCell<Rc<Live>>,
    /// `worker_connections`.
    limit: Cell<usize>,
    last_number: Cell<u64>,
    /// Open client connections by their number.
    open: RefCell<BTreeMap<u64, Rc<Client>>>,
    /// What was cut at the end of the time for leaving.
    tally: Cell<Tally>,
    drain: Cell<Option<Drain>>,
    /// An idle connection is to make room.
    unwanted: Cell<bool>,
    /// Wakes idle connections when draining begins, or one of them to make room.
    pub(super) drain_begins: Notify,
    /// Wakes `drained`, and an accept loop that waits for room.
    connection_ends: Notify,
    /// Health checks of the configuration in force.
    checks: RefCell<JoinSet<()>>,
}

impl Service {
    /// Ready to accept.
    pub fn new(snapshot: Arc<Snapshot>, live: Live, limit: usize) -> Rc<Self> {
        Rc::new(Self {
            snapshot: ArcSwap::new(snapshot),
            live: RefCell::new(Rc::new(live)),
            limit: Cell::new(limit),
            last_number: Cell::new(0),
            open: RefCell::default(),
            tally: Cell::default(),
            drain: Cell::new(None),
            unwanted: Cell::new(false),
            drain_begins: Notify::new(),
            connection_ends: Notify::new(),
            checks: RefCell::default(),
        })
    }

    /// Puts a new configuration in force: requests that begin from now on use it, on whatever
    /// connection they come.
    pub fn swap(&self, snapshot: Arc<Snapshot>, live: Live, limit: usize) {
        self.snapshot.store(snapshot);
        let old = self.live.replace(Rc::new(live));
        self.start();
        old.flush_logs(true);
        self.limit.set(limit);
    }

    /// Begins what goes on beside requests. Must run in a `LocalSet`.
    pub fn start(&self) {
        let live = self.live();
        if live.start() {
            self.checks.replace(health::start(&self.snapshot(), &live));
        }
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// What runs beside it.
    pub fn live(&self) -> Rc<Live> {
        self.live.borrow().clone()
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.open.borrow().len()
    }

    /// How this worker is leaving, if it is.
    pub fn draining(&self) -> Option<Drain> {
        self.drain.get()
    }

    /// Begins to leave. Listeners are dropped by the caller before; every answer from now on says
    /// `Connection: close`.
    pub fn drain(&self, how: Drain) {
        self.drain.set(Some(how));
        self.checks.take();
        for group in &self.live.borrow().groups {
            group.pool().close();
        }
        self.drain_begins.notify_waiters();
    }

    /// Resolves when the last connection has ended, and what goes on behind them.
    pub async fn drained(&self) {
        while self.connections() > 0 {
            self.connection_ends.notified().await;
        }
        let live = self.live();
        while !live.background.is_empty() {
            live.background.next_end().await;
        }
    }

    /// How long an idle connection may stay once draining has begun.
    pub(super) fn idle_limit(
        &self,
        client: &Client,
        keepalive: Duration,
        least: Duration,
    ) -> Duration {
        match self.drain.get() {
            None => keepalive,
            Some(Drain::Final) => least.min(keepalive),
            Some(Drain::Replaced) => {
                // Spread by connection number, so that clients do not come back all at once.
                let share = u32::try_from(client.number % 8).unwrap_or(0);
                let spread = REPLACED_IDLE / 2 + REPLACED_IDLE / 16 * share;
                keepalive.min(spread).max(least.min(keepalive))
            }
        }
    }

    /// Accepts until `stop` resolves; each connection runs in a task of its own.
    pub async fn accept(self: Rc<Self>, listener: Listener, stop: impl Future<Output = ()>) {
        let Ok(bound) = listener.local().map(Rc::new) else { return };
        let mut next = None;
        tokio::select! {
            biased;
            () = stop => {}
            () = self.accept_for_ever(&listener, &bound, &mut next) => {}
        }
        // It was accepted, so it is answered, room or not.
        if let Some((stream, peer)) = next {
            self.open(stream, peer, &bound);
        }
    }

    /// Accepts and never ends; a connection that has to wait for room does so in `next`.
    async fn accept_for_ever(
        self: &Rc<Self>,
        listener: &Listener,
        bound: &Rc<Address>,
        next: &mut Option<(Stream, Peer)>,
    ) {
        // One line tells of a shortage, however many clients it meets: it lasts until none waits.
        let mut told = false;
        loop {
            let accepted = poll_fn(|cx| {
                let accepted = listener.poll_accept(cx);
                told &= accepted.is_ready();
                accepted
            });
            match accepted.await {
                Ok(connection) => *next = Some(connection),
                Err(error) => self.cannot_accept(&error, &mut told).await,
            }
            if next.is_some() && self.connections() >= self.limit.get() {
                self.full(&mut told).await;
            }
            if let Some((stream, peer)) = next.take() {
                self.open(stream, peer, bound);
            }
        }
    }

    /// Starts a connection's task.
    fn open(self: &Rc<Self>, stream: Stream, peer: Peer, bound: &Rc<Address>) {
        self.last_number.set(self.last_number.get() + 1);
        let client = Client::new(self.last_number.get(), stream, peer, bound.clone());
        let open = Open::new(self, Rc::new(client));
        tokio::task::spawn_local(async move {
            conn::serve(&open.service, &open.client).await;
            drop(open);
        });
    }

    /// Logs why nothing could be accepted; waits for a connection to end when that may help.
    async fn cannot_accept(&self, error: &std::io::Error, told: &mut bool) {
        let cause = crate::log::os_error(error);
        let line = format_args!("accept4() failed{cause}");
        if !listener::is_exhausted(error) {
            self.live().main_log.write(Level::Error, None, line);
            return;
        }
        if !std::mem::replace(told, true) {
            self.live().main_log.write(Level::Alert, None, line);
        }
        self.close_idle();
        let _ = tokio::time::timeout(PAUSE, self.connection_ends.notified()).await;
    }

    /// Waits until there is room below `worker_connections` again.
    async fn full(&self, told: &mut bool) {
        let limit = self.limit.get();
        if !std::mem::replace(told, true) {
            let line = format_args!("{limit} worker_connections are not enough");
            self.live().main_log.write(Level::Alert, None, line);
        }
        self.close_idle();
        while self.connections() >= self.limit.get() {
            self.connection_ends.notified().await;
        }
    }

    /// Has the connection that has been idle longest make room for one that waits, as nginx does. If
    /// none is idle, the next one that would be is closed.
    fn close_idle(&self) {
        self.unwanted.set(true);
        self.drain_begins.notify_one();
    }

    /// Whether an idle connection is to close because others wait for its place; asked once for each.
    pub(super) fn make_room(&self) -> bool {
        self.unwanted.take()
    }
}

/// An open connection's place in the service and the counters, given up when its task ends however it ends.
struct Open {
    service: Rc<Service>,
    live: Rc<Live>,
    client: Rc<Client>,
}

impl Open {
    fn new(service: &Rc<Service>, client: Rc<Client>) -> Self {
        let live = service.live();
        live.counters.count(Total::Accepted);
        live.counters.count(Total::Handled);
        live.counters.enter(Gauge::Active);
        service.open.borrow_mut().insert(client.number, client.clone());
        Self { service: service.clone(), live, client }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.live.counters.leave(Gauge::Active);
        self.service.open.borrow_mut().remove(&self.client.number);
        self.service.connection_ends.notify_waiters();
        self.service.connection_ends.notify_one();
    }
}
