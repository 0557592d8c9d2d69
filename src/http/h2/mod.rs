//! Owns a client's HTTP/2 connection from its preface to its close: the engine's settings, the streams,
//! and when it is to end.
//!
//! Must not decide what a request is answered with; the pipeline does.

mod channel;
mod exchange;
mod guard;
mod head;
pub mod preface;
mod reply;
mod websocket;
mod wire;

use super::client::{Client, Doing};
use super::conn::{self, begin, close};
use super::io::Deadline;
use super::modules::connection;
use super::service::{GRACE, Service};
use super::snapshot::Snapshot;
use crate::log::Level;
use bytes::Bytes;
use channel::Channel;
use exchange::Asked;
use guard::Guard;
use h2::Reason;
use h2::server::{Builder, Connection, SendResponse};
use http::Request;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::sync::Notify;
use wire::Wire;

/// What a client begins with (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Held of an answer for each stream whose client does not take it.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that the client may give up before they have been looked at.
const RESET_UNSEEN: usize = 20;

/// Streams that may be refused for what they are, over the life of a connection.
const MALFORMED: usize = 100;

type Engine = Connection<Wire, Bytes>;
type Accepted = (Request<h2::RecvStream>, SendResponse<Bytes>);

/// The requests under way on a connection.
#[derive(Debug, Default)]
struct Streams {
    open: RefCell<BTreeMap<u32, Rc<Client>>>,
    ended: Notify,
}

impl Streams {
    /// Waits for the requests whose end is awaited although their client has gone.
    async fn all_ended(&self, client: &Client) {
        while !self.open.borrow().is_empty() {
            client.doing.set(Doing::Request);
            let mut ended = pin!(self.ended.notified());
            poll_fn(|cx| {
                if client.is_cut() {
                    self.cut();
                }
                ended.as_mut().poll(cx)
            })
            .await;
        }
    }

    fn cut(&self) {
        self.open.borrow().values().for_each(|client| client.cut());
    }
}

/// Why a connection is to end.
#[derive(Debug)]
enum End {
    /// The engine has come to its end, or the client has gone.
    Over,
    /// Nothing was asked for too long, or others need the place.
    Idle,
    /// A head did not come to its end in time.
    Slow,
    Flood(guard::Flood),
    Failed(h2::Error),
    Cut,
}

/// Serves a connection until it ends.
pub async fn serve(service: &Rc<Service>, client: &Rc<Client>) {
    let guard = Rc::new(Guard::default());
    let snapshot = service.snapshot();
    let wire = Wire::new(client.clone(), guard.clone(), conf(&snapshot, client).send_timeout);
    let handshake = builder(&snapshot, client).handshake::<_, Bytes>(wire);
    let limit = conf(&snapshot, client).header_timeout;
    drop(snapshot);
    let Ok(Ok(engine)) = tokio::time::timeout(limit, handshake).await else {
        return close::politely(client).await;
    };
    let streams = Rc::new(Streams::default());
    let mut serving =
        Serving { service, client, guard, streams, engine, leaving: false, heading: None };
    let end = serving.run().await;
    serving.finish(end).await;
    let streams = serving.streams.clone();
    // Whoever is still asked on a stream's behalf finds out now that nobody listens.
    drop(serving);
    close::politely(client).await;
    streams.all_ended(client).await;
}

fn conf<'a>(snapshot: &'a Snapshot, client: &Client) -> &'a connection::Conf {
    begin::default_conf(snapshot, client)
}

/// The engine's settings.
fn builder(snapshot: &Snapshot, client: &Client) -> Builder {
    let limits = &conf(snapshot, client).limits;
    let http2 = &snapshot.conf(begin::default_location(snapshot, client).1).http2;
    // What is only somewhat too large gets nginx's answer; the engine stops what is far beyond.
    let heads = limits.header_line.saturating_mul(limits.buffers).saturating_mul(2);
    let fields = limits.max_headers.saturating_mul(32);
    let heads = heads.saturating_add(fields).clamp(64 * 1024, 1 << 20);
    // One stream that nobody reads must not keep the others from sending.
    let window = u64::from(http2.window.max(1 << 16)) * u64::from(http2.streams.max(1));
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(http2.streams)
        .initial_window_size(http2.window)
        .initial_connection_window_size(
            u32::try_from(window).unwrap_or(u32::MAX).min((1 << 31) - 1),
        )
        .max_header_list_size(u32::try_from(heads).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_concurrent_reset_streams(RESET_UNSEEN)
        .max_local_error_reset_streams(Some(MALFORMED))
        .enable_connect_protocol();
    builder
}

struct Serving<'a> {
    service: &'a Rc<Service>,
    client: &'a Rc<Client>,
    guard: Rc<Guard>,
    streams: Rc<Streams>,
    engine: Engine,
    /// The client has been told that no more requests are taken.
    leaving: bool,
    /// Until a head that has begun must have come to its end.
    heading: Option<Deadline>,
}

impl Serving<'_> {
    /// Takes requests until there are to be no more.
    async fn run(&mut self) -> End {
        loop {
            if self.service.draining().is_some() || self.is_old() {
                self.leave();
            }
            let accepted = if self.is_idle() { self.wait().await } else { self.work().await };
            match accepted {
                Ok(Some(accepted)) => self.open(accepted),
                Ok(None) => {}
                Err(end) => return end,
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.streams.open.borrow().is_empty()
    }

    /// Whether `keepalive_requests` or `keepalive_time` let it take no more.
    fn is_old(&self) -> bool {
        let snapshot = self.service.snapshot();
        let conf = conf(&snapshot, self.client);
        let asked = self.client.requests.get();
        asked > 0
            && (asked >= conf.keepalive_requests
                || self.client.accepted.elapsed() > conf.keepalive_time
                || conf.keepalive_timeout.is_zero())
    }

    /// The first of two words: no more requests, please. The second names the last that was taken, once
    /// the client is known to have heard the first.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            self.engine.graceful_shutdown();
        }
    }

    /// Waits for a request while none is under way.
    async fn wait(&mut self) -> Result<Option<Accepted>, End> {
        self.client.doing.set(Doing::Idle);
        let first = self.client.requests.get() == 0;
        let limit = conn::idle_limit(self.service, self.client, first);
        let mut deadline = Deadline::after(if self.leaving { limit.min(GRACE) } else { limit });
        let _idle = conn::Idle::enter_with_input(self.service);
        let mut drain = pin!(self.service.drain_begins.notified());
        let service = self.service;
        let leaving = self.leaving;
        poll_fn(|cx| {
            if let Poll::Ready(done) = self.poll(cx) {
                return Poll::Ready(done);
            }
            if !leaving && drain.as_mut().poll(cx).is_ready() {
                let crowded = service.make_room();
                return Poll::Ready(if crowded { Err(End::Idle) } else { Ok(None) });
            }
            let slow = self.guard.heading().is_some();
            deadline.poll(cx).map(|_| Err(if slow { End::Slow } else { End::Idle }))
        })
        .await
    }

    /// Waits for a request, or for the last one under way to end.
    async fn work(&mut self) -> Result<Option<Accepted>, End> {
        self.client.doing.set(Doing::Request);
        let streams = self.streams.clone();
        let mut ended = pin!(streams.ended.notified());
        let mut drain = pin!(self.service.drain_begins.notified());
        let leaving = self.leaving;
        poll_fn(|cx| {
            if let Poll::Ready(done) = self.poll(cx) {
                return Poll::Ready(done);
            }
            if !leaving && drain.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(None));
            }
            ended.as_mut().poll(cx).map(|()| Ok(None))
        })
        .await
    }

    /// Drives the engine.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Accepted>, End>> {
        if self.client.is_cut() {
            return Poll::Ready(Err(End::Cut));
        }
        let accepted = self.engine.poll_accept(cx);
        if let Some(flood) = self.guard.flood() {
            return Poll::Ready(Err(End::Flood(flood)));
        }
        match accepted {
            Poll::Ready(Some(Ok(accepted))) => Poll::Ready(Ok(Some(accepted))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(End::Failed(error))),
            Poll::Ready(None) => Poll::Ready(Err(End::Over)),
            Poll::Pending => self.poll_head(cx).map(Err),
        }
    }

    /// A head that has begun must come to its end.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Some(since) = self.guard.heading() else {
            self.heading = None;
            return Poll::Pending;
        };
        let limit = conf(&self.service.snapshot(), self.client).header_timeout;
        let left = limit.saturating_sub(since.elapsed());
        let timer = self.heading.get_or_insert_with(|| Deadline::after(left));
        timer.poll(cx).map(|_| End::Slow)
    }

    /// Starts the task of a request.
    fn open(&mut self, (request, respond): Accepted) {
        let stream = respond.stream_id().as_u32();
        let (parts, body) = request.into_parts();
        let asked = Asked { parts, ended: body.is_end_stream(), head: self.guard.head_of(stream) };
        let channel = Rc::new(Channel::new(body, respond));
        self.client.requests.set(self.client.requests.get() + 1);
        let carried: Rc<dyn crate::net::Carried> = channel.clone();
        let client = Rc::new(self.client.carry(carried.into()));
        self.streams.open.borrow_mut().insert(stream, client.clone());
        let place = Place { streams: self.streams.clone(), stream };
        let service = self.service.clone();
        tokio::task::spawn_local(async move {
            exchange::serve(&service, &client, &channel, asked).await;
            drop(place);
        });
    }

    /// Says why it ends, if there is anybody to hear it.
    async fn finish(&mut self, end: End) {
        self.client.doing.set(Doing::Closing);
        let reason = match &end {
            End::Over => return,
            End::Idle | End::Slow | End::Cut => Reason::NO_ERROR,
            End::Flood(_) => Reason::ENHANCE_YOUR_CALM,
            End::Failed(error) => error.reason().unwrap_or(Reason::PROTOCOL_ERROR),
        };
        let flood = self.flood(&end);
        if let Some(flood) = flood {
            self.service.live().counters.count_flood(flood.counted());
        }
        self.tell(&end, flood);
        if let End::Cut = end {
            self.streams.cut();
        }
        if !matches!(end, End::Failed(_)) {
            self.engine.abrupt_shutdown(reason);
            let closed = poll_fn(|cx| self.engine.poll_closed(cx));
            let _ = tokio::time::timeout(GRACE, closed).await;
        }
    }

    /// What the client did too much of, if that is why. The engine counts as well, and the guard knows
    /// what was done when that had enough.
    fn flood(&self, end: &End) -> Option<guard::Flood> {
        let calm = Some(Reason::ENHANCE_YOUR_CALM);
        match end {
            End::Flood(what) => Some(*what),
            End::Failed(error) if error.reason() == calm && !error.is_remote() => {
                Some(self.guard.last())
            }
            _ => None,
        }
    }

    fn tell(&self, end: &End, flood: Option<guard::Flood>) {
        if let Some(what) = flood {
            let frames = what.frames();
            let text = format_args!("http2 flood detected: client sent too many {frames} frames");
            return self.log(text);
        }
        match end {
            End::Slow => self.log(format_args!(
                "client timed out (110: Connection timed out) while reading client request headers"
            )),
            End::Failed(error) => {
                self.log(format_args!("client sent what HTTP/2 does not allow: {error}"));
            }
            End::Over | End::Idle | End::Cut | End::Flood(_) => {}
        }
    }

    fn log(&self, message: fmt::Arguments<'_>) {
        let (snapshot, live) = (self.service.snapshot(), self.service.live());
        let (_, location) = begin::default_location(&snapshot, self.client);
        let errors = live.error_log(snapshot.conf(location).error_log.set);
        let (peer, local) = (self.client.peer, self.client.local());
        let line = format_args!("{message}, client: {peer}, server: {local}");
        errors.write(Level::Info, Some(self.client.number), line);
    }
}

/// A request's place on its connection, given up however it ends.
struct Place {
    streams: Rc<Streams>,
    stream: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open.borrow_mut();
        open.remove(&self.stream);
        if open.is_empty() {
            self.streams.ended.notify_one();
        }
    }
}
