//! Owns the course of a proxied request: body, server after server, answer.

use super::conf::{Conf, HttpVersion};
use super::request::{self, Announced};
use super::target::Chosen;
use super::{reply, retry};
use crate::http::affinity::Affinity;
use crate::http::client::Client;
use crate::http::h1::framing::{self, Length};
use crate::http::h1::head::Version;
use crate::http::headers::Name;
use crate::http::method::Method;
use crate::http::origin::h2;
use crate::http::origin::{Ask, Exchange, Failure, Outgoing, Plan, Reply, Source};
use crate::http::passage;
use crate::http::phase::{Phase, Stop};
use crate::http::request::{Request, Try};
use crate::http::request_body::RequestBody;
use crate::http::snapshot::Snapshot;
use crate::http::spool::Spool;
use crate::http::upstream_ssl::{Secure, Trouble};
use crate::http::whole_body;
use crate::log::{Level, os_error};
use crate::net::{Address, Stream};
use crate::upstream::{self, Outcome, PeerRef, Selection, Tag};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::{Instant as Now, timeout};

/// A request being passed on.
struct Course<'a> {
    conf: &'a Conf,
    chosen: Chosen,
    /// Head of the request, the same for every server; a set body stands behind it.
    head: Vec<u8>,
    streamed: bool,
    chunked: bool,
    /// Where connections come from (`proxy_bind`), and whose connections may be used again.
    local: Option<SocketAddr>,
    tag: Tag,
    secure: Option<Secure<'a>>,
    began: Instant,
}

/// A connection to a server and what is known of it.
struct Connected {
    exchange: Exchange,
    peer: PeerRef,
    requests: u64,
    since: Now,
}

/// What one try came to.
#[allow(clippy::large_enum_variant, reason = "made once for a try and taken apart at once")]
enum Attempt {
    Answered(Reply, Connected),
    Failed { why: Failure, peer: PeerRef, sent: bool, kept: bool },
}

/// Passes the request to an upstream and prepares its answer.
pub async fn run(req: &mut Request) -> Stop {
    let snapshot = req.snapshot.clone();
    let all = snapshot.conf(req.location);
    let conf = &all.proxy;
    let Some(pass) = &conf.pass else { return Stop::Status(500) };
    let chosen = match pass.choose(req).await {
        Ok(chosen) => chosen,
        Err(unknown) => {
            req.log_error(format_args!("{}", unknown.why));
            return Stop::Status(unknown.status);
        }
    };
    req.origin = Some(chosen.origin.clone());
    let streams = !conf.request_buffering && conf.set_body.is_none() && conf.pass_request_body;
    let streamed = streams
        && (!req.body.chunked || conf.http_version != HttpVersion::Http10)
        && !req.body.is_begun()
        && !req.body.has_come(&req.client);
    if !streamed && let Err(stop) = keep(req, streams).await {
        return stop;
    }
    let target = pass.uri(req, &chosen);
    if target.is_empty() {
        req.log_error(format_args!("zero length URI to proxy"));
        return Stop::Status(500);
    }
    let chunked = streamed && req.body.chunked;
    let local = conf.bind.value(req);
    let over_tls = chosen.origin.tls;
    let secure =
        over_tls.then(|| all.proxy_ssl.secure(req, &snapshot.upstream_ssl, &chosen.origin.host));
    let secure = secure.flatten();
    if over_tls && secure.is_none() {
        return Stop::Status(500);
    }
    let mut course = Course {
        conf,
        chosen,
        head: Vec::with_capacity(512),
        streamed,
        chunked,
        local,
        tag: Tag::new(pass.tag, local, below(conf, secure.as_ref())),
        secure,
        began: Instant::now(),
    };
    course.write_head(req, &target);
    req.upstream_target = target;
    if let Err(stop) = passage::enter(req, method(req, conf)) {
        return stop;
    }
    let stop = course.run(req).await;
    // Unless an answer has taken it along, the exchange is over.
    req.guest.passage = None;
    stop
}

/// Reads the body before anything is sent. One that was to be streamed and has come already needs no file.
async fn keep(req: &mut Request, streams: bool) -> Phase {
    if streams && !req.body.is_begun() {
        return whole_body::keep_what_has_come(req).await;
    }
    whole_body::keep(req).await
}

/// What is spoken below HTTP/1 as far as connections have to be told apart by it.
fn below(conf: &Conf, secure: Option<&Secure<'_>>) -> Option<Rc<[u8]>> {
    match secure {
        Some(secure) => Some(secure.mark.clone()),
        None => (conf.http_version == HttpVersion::Http2).then(|| b"h2"[..].into()),
    }
}

/// The method that a server is asked with.
fn method(req: &Request, conf: &Conf) -> Method {
    conf.method.as_ref().map_or(req.method, |method| Method::of(&method.value(req)))
}

impl Course<'_> {
    fn write_head(&mut self, req: &Request, target: &[u8]) {
        let set_body = self.conf.set_body.as_ref().map(|body| body.value(req));
        let announced = match (&set_body, &req.body.kept) {
            (Some(body), _) => Announced::Length(body.len() as u64),
            // What is not sent must not be announced: the server would take the next request for it.
            _ if !self.conf.pass_request_body && req.body.exists() => Announced::Length(0),
            (None, Some(kept)) if req.body.is_framed() => Announced::Length(kept.len()),
            _ if self.chunked => Announced::Chunked,
            _ => req.body.announced.map_or(Announced::Nothing, Announced::Length),
        };
        let host = &self.chosen.origin.host;
        request::write(req, self.conf, target, host, announced, &mut self.head);
        self.head.extend_from_slice(set_body.as_deref().unwrap_or_default());
    }

    /// Asks server after server until one answers or no more may be asked.
    async fn run(&self, req: &mut Request) -> Stop {
        let mut selection = self.chosen.group.selection(req.peer().ip());
        let snapshot = req.snapshot.clone();
        let affinity = self.affinity(&snapshot);
        if let Some(affinity) = affinity {
            affinity.apply(req, &mut selection);
        }
        selection.limit_tries(self.conf.next_tries);
        loop {
            let Ok(peer) = self.chosen.group.select(&mut selection, Now::now()) else {
                return self.nobody(req);
            };
            Self::begin_try(req, peer.name().to_owned());
            req.guest.turns_to(&self.chosen.group, &peer);
            req.session = affinity.and_then(|affinity| affinity.cookie(req, &peer));
            let attempt = self.attempt(req, peer).await;
            let stop = match attempt {
                Attempt::Answered(reply, on) => self.answered(req, reply, on, &selection),
                Attempt::Failed { why, peer, sent, kept } => {
                    if kept && matches!(why, Failure::Error(_)) {
                        selection.tries += 1;
                    }
                    self.failed(req, &why, Some(peer), sent, selection.tries)
                }
            };
            if let Some(stop) = stop {
                // Lines on the rest of an answer name its server too.
                req.asking = matches!(stop, Stop::Reply);
                return stop;
            }
            if !req.guest.may_go_on() {
                req.asking = false;
                return Stop::Closed;
            }
        }
    }

    /// What requests say of their server in this group.
    fn affinity<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Affinity> {
        snapshot.affinities.get(&self.chosen.at?)
    }

    /// No server can be asked at all.
    fn nobody(&self, req: &mut Request) -> Stop {
        Self::begin_try(req, self.chosen.group.name().to_owned());
        req.log_error(format_args!("no live upstreams while connecting to upstream"));
        end_try(req, 502);
        req.asking = false;
        Stop::Status(502)
    }

    fn begin_try(req: &mut Request, peer: String) {
        req.asking = true;
        let new_list = std::mem::take(&mut req.begin_list);
        req.tries.push(Try { peer, new_list, began: Some(Instant::now()), ..Try::default() });
    }

    /// One server: a kept connection or a new one, the request, the head of its answer.
    async fn attempt(&self, req: &mut Request, peer: PeerRef) -> Attempt {
        let pool = self.chosen.group.pool();
        let kept = pool.take(&peer, &self.tag);
        let (stream, requests, since, kept) = match kept {
            Some(pooled) => (pooled.stream, pooled.requests + 1, pooled.since, true),
            None => match self.connect(req, &peer).await {
                Ok(stream) => (stream, 1, Now::now(), false),
                Err(why) => return Attempt::Failed { why, peer, sent: false, kept: false },
            },
        };
        if let Some(last) = req.tries.last_mut() {
            last.connect = last.began.map(|began| began.elapsed());
        }
        let mut exchange = Exchange::new(stream);
        req.guest.asks();
        let asked = self.ask(req, &mut exchange).await;
        note_bytes(req, &exchange);
        if exchange.sent == 0 {
            req.guest.is_answered();
        }
        match asked {
            Ok(reply) => Attempt::Answered(reply, Connected { exchange, peer, requests, since }),
            Err(why) => Attempt::Failed { why, peer, sent: exchange.sent > 0, kept },
        }
    }

    async fn connect(&self, req: &mut Request, peer: &PeerRef) -> Result<Stream, Failure> {
        let began = self.secure.is_some().then(Now::now);
        let socket = upstream::SocketOptions { local: self.local, ..self.conf.socket };
        let connecting = upstream::connect(peer.address(), self.conf.connect_timeout, &socket);
        let client = req.client.clone();
        let watch = !self.conf.ignore_abort && self.streamed_done(req);
        let connected = or_gone(connecting, &client, watch).await?;
        match connected {
            Ok(mut stream) => {
                if self.conf.socket_keepalive {
                    let _ = stream.set_keepalive(true);
                }
                if let (Some(secure), Some(began)) = (&self.secure, began) {
                    let server = (self.chosen.group.name(), peer.address());
                    let left = self.conf.connect_timeout.saturating_sub(began.elapsed());
                    // Apart, so that requests that need none are no larger for it.
                    let shaken = Box::pin(shake(req, secure, &mut stream, server, left));
                    or_gone(shaken, &client, watch).await??;
                }
                if self.conf.http_version == HttpVersion::Http2 {
                    return Box::pin(h2::begin(stream, self.secure.is_some())).await.map_err(
                        |error| Failure::Error(format!("send() failed{}", os_error(&error))),
                    );
                }
                Ok(stream)
            }
            Err(error) if error.stage == upstream::Stage::Timeout => Err(Failure::TimedOut),
            Err(error) => {
                let level = if error.is_ordinary() { Level::Error } else { Level::Crit };
                req.log(level, format_args!("{error} while connecting to upstream"));
                if matches!(error.stage, upstream::Stage::Socket | upstream::Stage::Bind) {
                    return Err(Failure::Here);
                }
                Err(Failure::Error(String::new()))
            }
        }
    }

    /// Nothing of the request is left on the client's connection: its going can be watched.
    fn streamed_done(&self, req: &Request) -> bool {
        !self.streamed || req.body.is_read()
    }

    /// What is sent behind the head.
    fn outgoing(&self, body: &RequestBody) -> Outgoing {
        if self.conf.set_body.is_some() || !self.conf.pass_request_body {
            return Outgoing::Nothing;
        }
        match &body.kept {
            _ if self.streamed && body.is_read() => Outgoing::Nothing,
            _ if self.streamed => Outgoing::Stream { chunked: self.chunked },
            Some(kept) if !Spool::is_empty(kept) => Outgoing::Kept,
            _ => Outgoing::Nothing,
        }
    }

    /// Whether the client can be told of early hints, and is to be.
    fn wants_hints(&self, req: &Request) -> bool {
        self.conf.early_hints.iter().any(|value| value.is_true(req))
            && req.is_main()
            && req.head.version == Version::Http11
            && !req.client.is_carried()
    }

    async fn ask(&self, req: &mut Request, exchange: &mut Exchange) -> Result<Reply, Failure> {
        let client = req.client.clone();
        let snapshot = req.snapshot.clone();
        let all = snapshot.conf(req.location);
        let hints = self.wants_hints(req);
        let ask = Ask {
            outgoing: self.outgoing(&req.body),
            source: Source { head: &self.head, body: &mut req.body, client: &client },
            ignore_abort: self.conf.ignore_abort,
            passage: req.guest.passage.as_ref(),
            send_timeout: self.conf.send_timeout,
            read_timeout: self.conf.read_timeout,
            body_timeout: all.client_body.timeout,
            head_limit: self.conf.buffer_size,
            hints: hints.then_some(&self.conf.hidden[..]),
        };
        let reply = exchange.ask(ask).await;
        let left = std::mem::take(&mut exchange.hints);
        if !left.is_empty() && reply.is_ok() {
            // What follows must not come into the middle of it; a client that fails is met again.
            let _ = client.write_all(&left, all.connection.send_timeout).await;
        }
        reply
    }

    /// An answer has begun: it goes to the client, or its status sends us to the next server.
    fn answered(
        &self,
        req: &mut Request,
        reply: Reply,
        mut on: Connected,
        selection: &Selection,
    ) -> Option<Stop> {
        let status = reply.head.status;
        if let Some(last) = req.tries.last_mut() {
            last.status = if reply.http09 { 200 } else { status };
            last.header = last.began.map(|began| began.elapsed());
        }
        on.peer.head_came();
        let sent = on.exchange.sent > 0;
        if let Some(condition) = retry::of_status(status) {
            let may =
                selection.tries > 0 && retry::allowed(self.conf, &self.tried(req, condition, sent));
            if may {
                req.guest.is_answered();
                let outcome = match status {
                    403 | 404 => Outcome::NextWithoutFault,
                    _ => Outcome::Failed,
                };
                self.free(req, on.peer, outcome);
                end_try(req, status);
                return None;
            }
        }
        let head_request = self.asks_head(req);
        let upgrades = req.head.headers.contains(Name::Upgrade);
        let length = match Self::length(&reply, head_request, upgrades, on.exchange.request_sent) {
            Ok(length) => length,
            Err(why) => {
                let why = Failure::Invalid(why);
                // As in nginx, a head that cannot be used has never come.
                if let Some(last) = req.tries.last_mut() {
                    last.header = None;
                }
                return self.failed(req, &why, Some(on.peer), sent, selection.tries);
            }
        };
        let snapshot = req.snapshot.clone();
        let teaches = self.affinity(&snapshot).is_some_and(Affinity::learns);
        let id = teaches.then(|| on.peer.id().to_owned());
        req.guest.is_answered_with(reply.head.headers.get(Name::ContentType).unwrap_or_default());
        let keep = !reply.http09 && !reply.head.closes() && status != 101;
        let plan = Plan {
            length,
            read_timeout: self.conf.read_timeout,
            group: self.chosen.group.clone(),
            peer: on.peer,
            tag: self.tag.clone(),
            passage: req.guest.passage.take(),
            requests: on.requests,
            since: on.since,
            keep: keep && self.conf.http_version != HttpVersion::Http10,
        };
        let answer = on.exchange.into_answer(plan);
        let stop = reply::prepare(req, self.conf, reply, answer);
        let lesson = self.affinity(&snapshot).and_then(|affinity| affinity.lesson(req, id?));
        match (lesson, req.reply.body.answer_mut()) {
            (Some((lesson, false)), Some(answer)) => answer.teach(lesson),
            (Some((lesson, _)), _) => lesson.learn(),
            (None, _) => {}
        }
        Some(stop)
    }

    /// How the answer's body is framed; the error is nginx's sentence.
    fn length(
        reply: &Reply,
        head_request: bool,
        upgrades: bool,
        sent: bool,
    ) -> Result<Length, String> {
        if reply.http09 {
            return Ok(Length::UntilClose);
        }
        // What follows a 101 has no frame: it is the new protocol's.
        if reply.head.status == 101 && upgrades {
            return if sent {
                Ok(Length::UntilClose)
            } else {
                // Bytes of the request must not become bytes of another protocol.
                Err("upstream sent \"101\" response before it had the whole request".to_owned())
            };
        }
        framing::response_body(reply.head.status, &reply.head.headers, head_request)
    }

    fn asks_head(&self, req: &Request) -> bool {
        match &self.conf.method {
            Some(method) => method.value(req).eq_ignore_ascii_case(b"HEAD"),
            None => req.method == crate::http::method::Method::Head,
        }
    }

    /// A try has failed: the next server, or the end with a status.
    fn failed(
        &self,
        req: &mut Request,
        why: &Failure,
        peer: Option<PeerRef>,
        sent: bool,
        tries: u32,
    ) -> Option<Stop> {
        let (condition, status) = match why {
            Failure::Error(_) => (retry::ERROR, 502),
            Failure::TimedOut => (retry::TIMEOUT, 504),
            Failure::Invalid(_) => (retry::INVALID_HEADER, 502),
            Failure::Unfit(_) => {
                reply::log_failure(req, why, sent);
                end_try(req, 502);
                return Some(Stop::Status(502));
            }
            Failure::Here => {
                end_try(req, 500);
                return Some(Stop::Status(500));
            }
            Failure::ClientGone => {
                end_try(req, 499);
                return Some(reply::client_gone(req));
            }
            Failure::Body(error) => {
                end_try(req, error.status());
                return Some(whole_body::failed(req, *error));
            }
        };
        req.guest.has_failed();
        reply::log_failure(req, why, sent);
        if let Some(peer) = peer {
            self.free(req, peer, Outcome::Failed);
        }
        end_try(req, status);
        let tried = self.tried(req, condition, sent);
        if tries > 0 && retry::allowed(self.conf, &tried) {
            None
        } else {
            Some(Stop::Status(status))
        }
    }

    fn tried(&self, req: &Request, condition: u32, sent: bool) -> retry::Tried {
        let (method, elapsed) = (req.method, self.began.elapsed());
        let spent = self.streamed && (sent || req.body.is_begun());
        retry::Tried { condition, method, sent, spent, elapsed }
    }

    fn free(&self, req: &Request, peer: PeerRef, outcome: Outcome) {
        if self.chosen.group.free(peer, outcome, Now::now()) {
            req.log(
                Level::Warn,
                format_args!("upstream server temporarily disabled while connecting to upstream"),
            );
        }
    }
}

/// The rest of the time to connect is for the handshake.
async fn shake(
    req: &mut Request,
    secure: &Secure<'_>,
    stream: &mut Stream,
    server: (&str, &Address),
    left: Duration,
) -> Result<(), Failure> {
    if let Some(last) = req.tries.last_mut() {
        last.securing = true;
    }
    match timeout(left, secure.shake(req, stream, server)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Trouble::There(why))) => Err(Failure::Error(why)),
        Ok(Err(Trouble::Here(why))) => {
            req.log_error(format_args!("{why} while SSL handshaking to upstream"));
            Err(Failure::Here)
        }
        Err(_) => Err(Failure::TimedOut),
    }
}

/// The bytes of the exchange so far, for `$upstream_bytes_*`.
fn note_bytes(req: &mut Request, exchange: &Exchange) {
    if let Some(last) = req.tries.last_mut() {
        (last.sent, last.received) = (exchange.sent, exchange.received);
    }
}

/// A try is over without an answer that goes on.
fn end_try(req: &mut Request, status: u16) {
    if let Some(last) = req.tries.last_mut() {
        last.status = status;
        last.response = last.began.map(|began| began.elapsed());
    }
}

/// A wait that ends early when the client goes away.
async fn or_gone<T>(
    wait: impl Future<Output = T>,
    client: &Client,
    watch: bool,
) -> Result<T, Failure> {
    let mut wait = std::pin::pin!(wait);
    std::future::poll_fn(|cx| {
        if let std::task::Poll::Ready(done) = wait.as_mut().poll(cx) {
            return std::task::Poll::Ready(Ok(done));
        }
        if watch && client.poll_gone(cx) {
            return std::task::Poll::Ready(Err(Failure::ClientGone));
        }
        std::task::Poll::Pending
    })
    .await
}
