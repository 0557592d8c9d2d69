//! Owns a client's connection from its first byte, and as HTTP/1 to its close.
//!
//! Must not decide what a request is answered with; the pipeline does.

mod announce;
pub(super) mod begin;
pub(super) mod close;
mod farewell;
mod handshake;
pub(super) mod head;
pub(super) mod pump;
#[cfg(test)]
mod tests;
pub(super) mod tunnel;

use super::client::{Client, Doing};
use super::h2;
use super::io::{self as stream_io, Deadline};
use super::modules::{access_log, connection};
use super::pipeline::{self, Verdict};
use super::request::{Request, Try};
use super::service::Service;
use super::spare::Buffer;
use crate::log::Level;
use crate::net::Idle as Quiet;
use crate::zone::{Gauge, Total};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// What ended a wait for a request.
enum Waited {
    /// Bytes are there, or the connection's end.
    Readable,
    /// Idle for too long, or the worker is leaving, or the connection was cut.
    Over,
}

/// What a request leaves of its connection.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum After {
    Keep,
    /// Close; read for a while before if `linger`.
    Close {
        linger: bool,
    },
    /// The answer is not whole: nothing may say that this was all.
    Broken,
    /// Bytes go both ways from here on.
    Tunnel,
    /// The connection was cut.
    Cut,
}

/// Serves a connection until it ends. While it is idle it holds no buffer and little else.
pub async fn serve(service: &Rc<Service>, client: &Rc<Client>) {
    poll_fn(|cx| {
        client.served_by(cx);
        Poll::Ready(())
    })
    .await;
    // Boxed, as below.
    if announce::is_expected(service, client) && !Box::pin(announce::read(service, client)).await {
        return Box::pin(close::politely(client)).await;
    }
    if handshake::is_expected(service, client) && !Box::pin(handshake::run(service, client)).await {
        return Box::pin(close::politely(client)).await;
    }
    if client.has_chosen(b"h2") {
        return Box::pin(h2::serve(service, client)).await;
    }
    // The first byte is awaited without a buffer, as ever.
    if h2::preface::is_possible(service, client) {
        if client.input.borrow().is_empty()
            && let Waited::Over = wait(service, client).await
        {
            return Box::pin(close::politely(client)).await;
        }
        if Box::pin(h2::preface::comes(service, client)).await {
            return Box::pin(h2::serve(service, client)).await;
        }
    }
    loop {
        if client.input.borrow().is_empty() {
            match wait(service, client).await {
                Waited::Readable => {}
                Waited::Over => return Box::pin(close::politely(client)).await,
            }
        }
        // Boxed: what a request needs must not weigh on idle connections.
        match Box::pin(exchange(service, client)).await {
            After::Keep => {}
            After::Cut => return Box::pin(close::politely(client)).await,
            After::Close { linger: true } => {
                let snapshot = service.snapshot();
                let conf = begin::default_conf(&snapshot, client);
                return Box::pin(close::linger(client, conf)).await;
            }
            After::Close { linger: false } | After::Tunnel => {
                // Without it the end could be somebody else's, and clients forget the session.
                client.stream.borrow_mut().say_end();
                return;
            }
            After::Broken => return,
        }
    }
}

/// Waits for the first byte of a request.
async fn wait(service: &Service, client: &Client) -> Waited {
    client.doing.set(Doing::Idle);
    let first = client.requests.get() == 0;
    let idle = Idle::enter(service, client);
    loop {
        let mut drain = pin!(service.drain_begins.notified());
        let mut deadline = Deadline::after(idle_limit(service, client, first));
        let woken = poll_fn(|cx| {
            if client.is_cut() {
                return Poll::Ready(Some(Waited::Over));
            }
            if spoken(client, first, cx) {
                return Poll::Ready(Some(Waited::Readable));
            }
            // A connection that has not had its one answer keeps its time to ask.
            if !first && drain.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            deadline.poll(cx).map(|_| Some(Waited::Over))
        });
        let woken = woken.await;
        let crowded = woken.is_none() && service.make_room();
        if let Some(waited) = woken.or(crowded.then_some(Waited::Over)) {
            drop(idle);
            return waited;
        }
    }
}

/// Whether there is something to read. A connection just accepted counts as readable until it has
/// been looked at, so the first time a look is worth its system call: a silent one needs no buffer.
fn spoken(client: &Client, first: bool, cx: &mut Context<'_>) -> bool {
    let mut stream = client.stream.borrow_mut();
    if first { stream.poll_disturbed(cx).is_ready() } else { stream.poll_readable(cx).is_ready() }
}

/// How long the connection may stay silent now.
pub(super) fn idle_limit(service: &Service, client: &Client, first: bool) -> Duration {
    let snapshot = service.snapshot();
    let conf = begin::default_conf(&snapshot, client);
    if first {
        return conf.header_timeout.saturating_sub(client.accepted.elapsed());
    }
    let kept = client.keepalive.get().unwrap_or(conf.keepalive_timeout);
    service.idle_limit(client, kept, conf.keepalive_min_timeout)
}

/// Counts the connection as waiting, and takes its buffer away meanwhile.
pub(super) struct Idle(Rc<super::live::Live>);

impl Idle {
    fn enter(service: &Service, client: &Client) -> Self {
        drop(client.input.take());
        Self::enter_with_input(service)
    }

    pub(super) fn enter_with_input(service: &Service) -> Self {
        let live = service.live();
        live.counters.enter(Gauge::Waiting);
        Self(live)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.0.counters.leave(Gauge::Waiting);
    }
}

/// One request, its answer, and the tunnel it may lead to.
async fn exchange(service: &Rc<Service>, client: &Rc<Client>) -> After {
    client.doing.set(Doing::Request);
    client.pipelined.set(client.requests.get() > 0 && !client.input.borrow().is_empty());
    let mut req = begin::request(service, client);
    if client.input.borrow().capacity() == 0 {
        client.input.replace(Buffer::spare());
    }
    let after = client.unless_cut(pin!(respond(service, &mut req))).await.unwrap_or(After::Cut);
    match after {
        After::Tunnel => tunnel(&mut req).await,
        After::Cut => cut_off(&mut req),
        _ => after,
    }
}

/// What is to be said of a request that ends before its time.
fn cut_off(req: &mut Request) -> After {
    if req.logged.get() {
        return After::Cut;
    }
    pump::stop(req);
    access_log::run(req);
    if pump::ends_with_connection(req) {
        pump::reset(req);
        return After::Broken;
    }
    After::Cut
}

/// A request from its first byte to the end of its answer.
async fn respond(service: &Rc<Service>, req: &mut Request) -> After {
    let verdict = match begin::read_head(req).await {
        begin::Reading::Done => pipeline::run(req).await,
        begin::Reading::Refused(status) => pipeline::refuse(req, status).await,
        begin::Reading::Nothing => return After::Close { linger: false },
        begin::Reading::Failed(status) => {
            req.reply.status = status;
            access_log::run(req);
            return After::Close { linger: false };
        }
    };
    answer(service, req, verdict).await
}

/// Sends what the pipeline came to, and settles what becomes of the connection.
async fn answer(service: &Rc<Service>, req: &mut Request, verdict: Verdict) -> After {
    let client = req.client.clone();
    if verdict == Verdict::Close {
        pipeline::over(req);
        return After::Close { linger: false };
    }
    if failed_here(req) {
        req.live.counters.count(Total::Failed);
    }
    // A client that was never told to go on sends its body or not: what comes next cannot be known.
    if service.draining().is_some() || (req.body.wants_continue && !req.body.is_read()) {
        req.keepalive = false;
    }
    let mut out = Buffer::spare();
    let sent = pump::send(req, &mut out).await;
    drop(out);
    if req.reply.status == 101 && sent.is_ok() {
        return After::Tunnel;
    }
    pipeline::over(req);
    if sent.is_err() || client.broken.get() {
        return After::Broken;
    }
    settle(req).await
}

/// Passes bytes both ways until either side ends.
async fn tunnel(req: &mut Request) -> After {
    let client = req.client.clone();
    client.doing.set(Doing::Tunnel);
    let upstream = tunnel::run(req).await;
    pipeline::over(req);
    if let Some(upstream) = upstream {
        close::both(&client, &upstream.stream).await;
        return After::Close { linger: false };
    }
    // A client that is still sending must not lose the end of what it was sent to a reset.
    let sending = !client.broken.get() && client.stream.borrow_mut().idle() == Quiet::Data;
    After::Close { linger: sending }
}

/// Whether the answer is a failure of this server: its status is not what the server behind that was
/// asked last has answered with, be it passed on or given to `error_page`.
pub(super) fn failed_here(req: &Request) -> bool {
    let status = req.reply.status;
    let said = |last: &Try| last.header.is_some() && last.status == status;
    let turned_away = req.guest.action.is_refusal();
    status >= 500 && !turned_away && !req.tries.last().is_some_and(said)
}

/// After a complete answer: the rest of the body, then the next request or the end.
async fn settle(req: &mut Request) -> After {
    let client = req.client.clone();
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).connection;
    if req.keepalive && !req.body.is_read() {
        let (whole, silence) = (conf.lingering_time, conf.lingering_timeout);
        let discarded = req.body.discard(&client, whole, silence).await;
        req.keepalive = discarded.is_ok();
    }
    if req.keepalive && !client.eof.get() {
        client.keepalive.set(Some(conf.keepalive_timeout));
        client.blind.set(false);
        return After::Keep;
    }
    let more = !req.body.is_read()
        || !client.input.borrow().is_empty()
        || client.stream.borrow_mut().idle() == Quiet::Data;
    let linger = match conf.lingering_close {
        connection::Lingering::Off => false,
        connection::Lingering::On => more && !client.eof.get(),
        connection::Lingering::Always => !client.eof.get(),
    };
    After::Close { linger }
}

/// Logs a line about a connection that has no request yet.
fn log(req: &Request, level: Level, message: std::fmt::Arguments<'_>) {
    let local = req.client.local();
    let errors = req.errors();
    let line = format_args!("{message}, client: {}, server: {local}", req.client.peer);
    errors.write(level, Some(req.client.number), line);
}

/// Reads once into the connection's input.
pub(super) async fn fill(
    client: &Client,
    room: usize,
    deadline: &mut Deadline,
) -> std::io::Result<usize> {
    poll_fn(|cx| {
        let mut input = client.input.borrow_mut();
        if let Poll::Ready(done) = stream_io::poll_read(&client.stream, &mut input, room, cx) {
            return Poll::Ready(done);
        }
        deadline.poll(cx).map(Err)
    })
    .await
}
