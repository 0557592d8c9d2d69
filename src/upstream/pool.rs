//! Owns the idle connections of one group in one worker: reuse, limits, and dropping what the
//! origin closes or writes into unasked. Must not know what protocol they speak.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::time::Instant;

use crate::net::Stream;

use super::peer::{Peer, PeerRef};
use super::spec::KeepaliveSpec;
use super::watch;

/// Says whose settings opened a connection: one value for each location that passes to a group.
/// With `keepalive N local` (the default) nobody else gets it, because TLS names, client
/// certificates or a local address may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    settings: usize,
    /// What is spoken below the protocol, if anything is. Where that differs, no connection stands for
    /// another, whoever may share them otherwise.
    below: Option<Rc<[u8]>>,
}

impl Tag {
    /// Of the location with this number, from this local address, and with this below.
    pub fn new(settings: usize, local: Option<SocketAddr>, below: Option<Rc<[u8]>>) -> Self {
        let Some(local) = local else { return Self { settings, below } };
        let mut hasher = DefaultHasher::new();
        (settings, local).hash(&mut hasher);
        Self { settings: usize::try_from(hasher.finish()).unwrap_or(usize::MAX), below }
    }
}

/// A connection that can carry another request.
#[derive(Debug)]
pub struct Pooled {
    /// The connection; nothing unread, nothing unsent.
    pub stream: Stream,
    /// Requests sent on it so far.
    pub requests: u64,
    /// When it was opened.
    pub since: Instant,
}

/// Idle connections, most recently used first.
pub struct Pool {
    spec: KeepaliveSpec,
    idle: Rc<IdleList>,
}

impl Pool {
    pub(super) fn new(spec: KeepaliveSpec) -> Self {
        Self { spec, idle: Rc::default() }
    }

    /// The most recently used idle connection to this peer's address.
    pub fn take(&self, peer: &PeerRef, tag: &Tag) -> Option<Pooled> {
        let suits = |idle: &Idle| {
            idle.tag.below == tag.below
                && (!self.spec.local || idle.tag.settings == tag.settings)
                && (Rc::ptr_eq(&idle.peer, &peer.peer) || idle.peer.address == peer.peer.address)
        };
        loop {
            let mut list = self.idle.list.borrow_mut();
            let found = list.iter().position(suits)?;
            let mut idle = list.remove(found)?;
            drop(list);
            if watch::let_go(&mut idle.connection.stream) {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection after a complete exchange, unless it has reached `keepalive_requests` or
    /// `keepalive_time`, or is not silent. The least recently used one makes room. True if kept.
    ///
    /// Must run in a `LocalSet`: the first call starts the task that watches idle connections.
    pub fn put(&self, peer: &PeerRef, tag: Tag, mut connection: Pooled, now: Instant) -> bool {
        let age = now.saturating_duration_since(connection.since);
        if self.spec.connections == 0
            || self.idle.closed.get()
            || connection.requests >= self.spec.requests
            || age > self.spec.time
            || self.idle.renewed.get().is_some_and(|renewed| connection.since <= renewed)
            || !self.idle.watch(&mut connection.stream)
        {
            return false;
        }
        let idle = Idle {
            peer: Rc::clone(&peer.peer),
            tag,
            connection,
            expires: now.checked_add(self.spec.timeout),
        };
        let mut list = self.idle.list.borrow_mut();
        list.push_front(idle);
        let evicted = if list.len() > self.spec.connections { list.pop_back() } else { None };
        drop(list);
        drop(evicted);
        self.idle.wake_if_asleep();
        true
    }

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.idle.list.borrow().len()
    }

    /// Whether no connection is idle.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes the idle connections and keeps none that is open by now: the servers may be others
    /// from now on. How many were idle.
    pub fn renew(&self, now: Instant) -> usize {
        self.idle.renewed.set(Some(now));
        let closing = std::mem::take(&mut *self.idle.list.borrow_mut());
        closing.len()
    }

    /// Closes the idle connections and keeps none from now on: the worker is leaving.
    pub fn close(&self) {
        self.idle.closed.set(true);
        let closing = std::mem::take(&mut *self.idle.list.borrow_mut());
        drop(closing);
    }
}

/// Ends the watching task.
impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
        if let Some(waker) = self.idle.waker.take() {
            waker.wake();
        }
    }
}

struct Idle {
    peer: Rc<Peer>,
    tag: Tag,
    connection: Pooled,
    /// `None` for a time too far to express.
    expires: Option<Instant>,
}

/// What the pool and its watching task share.
#[derive(Default)]
pub(super) struct IdleList {
    list: RefCell<VecDeque<Idle>>,
    closed: Cell<bool>,
    /// Connections from before are not kept any more.
    renewed: Cell<Option<Instant>>,
    started: Cell<bool>,
    /// The watching task has no timer and must be told of the next connection.
    pub(super) asleep: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl IdleList {
    /// Makes the watching task wake when this stream has something to read; false if it has already.
    fn watch(self: &Rc<Self>, stream: &mut Stream) -> bool {
        if !self.started.replace(true) {
            tokio::task::spawn_local(watch::run(Rc::downgrade(self)));
        }
        let waker = self.waker.borrow();
        // Until the task has run once it has no waker; its first run watches all there is.
        let waker = waker.as_ref().unwrap_or(Waker::noop());
        watch::silent(stream, &mut Context::from_waker(waker))
    }

    fn wake_if_asleep(&self) {
        if self.asleep.replace(false)
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }

    pub(super) fn keep_waker(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match waker.as_mut() {
            Some(known) => known.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    /// Drops every connection that is not silent and watches the others.
    pub(super) fn drop_disturbed(&self, cx: &mut Context<'_>) {
        let mut list = self.list.borrow_mut();
        list.retain_mut(|idle| watch::silent(&mut idle.connection.stream, cx));
    }

    pub(super) fn drop_expired(&self, now: Instant) {
        let mut list = self.list.borrow_mut();
        while list.back().is_some_and(|idle| idle.expires.is_some_and(|time| time <= now)) {
            list.pop_back();
        }
    }

    /// When the next connection must go. All have the same timeout, so it is the one unused longest.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.list.borrow().back().and_then(|idle| idle.expires)
    }
}
