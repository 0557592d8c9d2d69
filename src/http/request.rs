//! Owns the request as the pipeline sees it, whatever protocol it came by.
//!
//! Must not read from or write to a connection; bodies come through `body`.

use super::body::Body;
use super::client::Client;
use super::h1::head::RequestHead;
use super::headers::{Headers, Name};
use super::live::Live;
use super::method::Method;
use super::modules::Conf;
use super::modules::ssi::Page;
use super::modules::userid::Uid;
use super::origin::Origin;
use super::passage::Guest;
use super::reply::Reply;
use super::request_body::RequestBody;
use super::slots::Slots;
use super::snapshot::{Location, Server, Snapshot};
use super::spare::Spare;
use super::subrequest;
use super::zones::Limited;
use crate::conf::values;
use crate::log::{ErrorLog, Level};
use crate::net::Peer;
use crate::zone::Gauge;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One try at an upstream, for `$upstream_addr` and its kin.
#[derive(Debug, Clone, Default)]
pub struct Try {
    /// Address as `$upstream_addr` shows it; the group's name when no peer could be picked.
    pub peer: String,
    /// Status the upstream gave, or the one that stands for its failure; 0 while unknown.
    pub status: u16,
    pub began: Option<Instant>,
    /// Time to connect, to the head, and to the end of the answer.
    pub connect: Option<Duration>,
    pub header: Option<Duration>,
    pub response: Option<Duration>,
    /// Bytes of body received from the upstream.
    pub length: u64,
    /// All bytes sent to and received from the upstream.
    pub sent: u64,
    pub received: u64,
    /// The connection is there and becomes TLS.
    pub securing: bool,
    /// This try began a new list (` : ` instead of `, `), after an internal redirect.
    pub new_list: bool,
}

/// Groups captured by the last regular expression, as offsets into the matched text.
#[derive(Debug, Default, Clone)]
pub struct Captures {
    pub text: Vec<u8>,
    pub groups: Vec<Option<(usize, usize)>>,
    /// Memory for the next try, which may fail.
    pub(super) spare: Vec<Option<(usize, usize)>>,
}

impl Captures {
    /// `$n`; `None` when the group took no part.
    pub fn get(&self, n: usize) -> Option<&[u8]> {
        let (start, end) = (*self.groups.get(n)?)?;
        self.text.get(start..end)
    }
}

/// A request on its way through the pipeline. Re-entered by internal redirects.
#[derive(Debug)]
pub struct Request {
    pub client: Rc<Client>,
    pub snapshot: Arc<Snapshot>,
    /// What the worker runs for this snapshot: groups, log writers.
    pub live: Rc<Live>,
    /// Who the client is believed to be behind proxies that are trusted; `peer()` tells in any case.
    pub real: Option<Peer>,
    /// As it arrived: raw target, header spelling and order.
    pub head: RequestHead,
    /// Decoded path; `$uri`. What locations match.
    pub uri: Vec<u8>,
    /// `$args`, raw.
    pub args: Vec<u8>,
    /// The target needed no decoding and has not been changed: it may be passed on as sent.
    pub uri_unchanged: bool,
    /// The URI still belongs to the location that was selected for it, so that `proxy_pass` with a URI
    /// may replace the location's path. `break` after a rewrite ends it.
    pub valid_location: bool,
    /// An `if` with a `proxy_pass` has been entered and left for one without. nginx keeps the handler and
    /// finds nowhere to pass the request on to: 500.
    pub stranded: bool,
    /// What makes it a subrequest; nothing for a client's own request.
    pub sub: Option<Box<Sub>>,
    /// Index into `snapshot.servers` and `snapshot.locations`.
    pub server: usize,
    pub location: usize,
    /// Internal redirect has happened: `internal` locations are open.
    pub internal: bool,
    /// `try_files` has found a file below a regular expression's `alias`: the URI follows it.
    pub add_uri_to_alias: bool,
    /// Internal redirects left before the cycle is cut with 500.
    pub redirects_left: u8,
    /// An `error_page` has taken over: a second error does not loop.
    pub error_page: bool,
    /// The status that `error_page` was entered with, or its `=code`; 0 while there is none.
    pub error_status: u16,
    /// Method as seen by content (an `error_page` redirect turns it into GET).
    pub method: Method,
    /// Values of `set`, `map`, named captures: one slot a name. Reading a variable may fill one.
    pub slots: Slots,
    pub captures: RefCell<Captures>,
    /// How many computed variables are being computed, each for the one before.
    pub depth: Cell<usize>,
    pub body: RequestBody,
    pub reply: Reply,
    pub tries: Vec<Try>,
    /// The next try begins a new list: an internal redirect lies between.
    pub begin_list: bool,
    /// The head of the last upstream answer, for `$upstream_http_*`.
    pub upstream_headers: Headers,
    /// What maintenance mode knows of it.
    pub guest: Guest,
    /// What it has met of the limits.
    pub limited: Limited,
    /// Refused while it was read: nothing of it may be used for routing.
    pub refused: bool,
    /// Counted as writing, until it is dropped.
    pub writing: bool,
    /// An upstream is being asked: log lines name it.
    pub asking: bool,
    /// The Set-Cookie field that ties the client to it (`sticky cookie`).
    pub session: Option<Vec<u8>>,
    /// The request target sent to it.
    pub upstream_target: Vec<u8>,
    /// Where it is passed to; `$proxy_host`, `$proxy_port`.
    pub origin: Option<Arc<Origin>>,
    /// The connection is kept after this request, as far as is known now.
    pub keepalive: bool,
    /// Bytes a second that the answer may take, 0 for any; `None` until it is known.
    pub limit_rate: Option<u64>,
    /// Bytes of request head and body read from the client so far.
    pub received: u64,
    /// Value of the connection's sent counter when this request began.
    pub sent_before: u64,
    /// Bytes of body sent to the client.
    pub body_sent: u64,
    pub started: Instant,
    /// The client's number, and the one that it is given.
    pub uid: Uid,
    /// `$request_id`, made when first asked for.
    pub id: OnceCell<[u8; 32]>,
    /// The access log has been written or must not be.
    pub logged: Cell<bool>,
}

/// What a subrequest is beside a request.
#[derive(Debug, Clone, Default)]
pub struct Sub {
    /// `$request_method` is the main request's.
    pub main_method: Method,
    /// Nobody wants its answer's body.
    pub header_only: bool,
    /// How many more may stand inside of it, one in another.
    pub left: u8,
    /// The main request's page, if this one is a part of it.
    pub page: Option<Rc<Page>>,
    /// It follows its request (`post_action`): who may ask for the one need not be allowed the other.
    pub follows: bool,
    /// It begins in this named location.
    pub named: Option<usize>,
    /// Something stands ready for the case that it fails: no error page is wanted.
    pub has_stub: bool,
}

/// What a request is born with.
pub struct Start {
    pub client: Rc<Client>,
    pub snapshot: Arc<Snapshot>,
    pub live: Rc<Live>,
    pub server: usize,
    pub location: usize,
}

impl Request {
    /// A request of which nothing is known but its connection.
    pub fn new(start: Start) -> Self {
        let slots = Slots::new(start.snapshot.slots);
        let memory = SPARE.with(Spare::take).unwrap_or_default();
        Self {
            sent_before: start.client.sent.get(),
            client: start.client,
            snapshot: start.snapshot,
            live: start.live,
            real: None,
            head: memory.head,
            uri: memory.uri,
            args: memory.args,
            uri_unchanged: false,
            valid_location: true,
            stranded: false,
            sub: None,
            server: start.server,
            location: start.location,
            internal: false,
            add_uri_to_alias: false,
            redirects_left: 10,
            error_page: false,
            error_status: 0,
            method: Method::Get,
            slots,
            captures: RefCell::default(),
            depth: Cell::new(0),
            body: RequestBody::default(),
            reply: Reply::default(),
            tries: memory.tries,
            begin_list: false,
            upstream_headers: Headers::new(),
            guest: Guest::default(),
            limited: Limited::default(),
            refused: false,
            writing: false,
            asking: false,
            session: None,
            upstream_target: memory.target,
            origin: None,
            keepalive: false,
            limit_rate: None,
            received: 0,
            body_sent: 0,
            started: Instant::now(),
            uid: Uid::default(),
            id: OnceCell::new(),
            logged: Cell::new(false),
        }
    }

    /// Takes method, path and arguments over from a head that is complete.
    pub fn take_target(&mut self) {
        self.method = self.head.method;
        self.uri.clone_from(&self.head.uri.path);
        self.args.clear();
        self.args.extend_from_slice(self.head.args());
        self.uri_unchanged = self.head.target_is_valid();
    }

    /// The client's address: the one it is believed to have, else that of the connection.
    pub fn peer(&self) -> Peer {
        self.real.unwrap_or(self.client.peer)
    }

    /// Whether the answer has no body whatever its head says.
    pub fn header_only(&self) -> bool {
        let asked = self.head.method == Method::Head;
        self.sub.as_ref().map_or(asked, |sub| sub.header_only)
            || matches!(self.reply.status, 204 | 304)
    }

    /// Whether it is a client's own, not a subrequest.
    pub fn is_main(&self) -> bool {
        self.sub.is_none()
    }

    /// What is known of an upstream's answer once it has been read, for the log.
    pub fn settle_try(&mut self) {
        let Body::Upstream(answer) = self.reply.body.source() else { return };
        if let Some(last) = self.tries.last_mut() {
            last.length = answer.length;
            (last.sent, last.received) = (answer.sent, answer.received);
            let ended = answer.ended.unwrap_or_else(Instant::now);
            last.response = last.began.map(|began| ended.saturating_duration_since(began));
        }
        let (used, full) = answer.on_disk();
        if used {
            let line =
                "an upstream response is buffered to a temporary file while reading upstream";
            self.log(Level::Warn, format_args!("{line}"));
        }
        if let Some(error) = full {
            let cause = crate::log::os_error(error);
            let line =
                format_args!("a temporary file could not be written{cause} while reading upstream");
            self.log(Level::Crit, line);
        }
        if let Some(trouble) = answer.trouble {
            let level = if answer.is_done() { Level::Warn } else { Level::Error };
            self.log(level, format_args!("{trouble}"));
        }
    }

    /// The selected location.
    pub fn location(&self) -> &Location {
        &self.snapshot.locations[self.location]
    }

    /// What is in force there.
    pub fn conf(&self) -> &Conf {
        &self.location().conf
    }

    /// The selected server.
    pub fn server(&self) -> &Server {
        &self.snapshot.servers[self.server]
    }

    /// Bytes written to the client for this request, head included.
    pub fn bytes_sent(&self) -> u64 {
        self.client.sent.get().saturating_sub(self.sent_before)
    }

    /// `$host`: what the request names, else the server's first name.
    pub fn host(&self) -> &[u8] {
        if self.head.host.is_empty() { &self.server().name } else { &self.head.host }
    }

    /// Replaces path and arguments: from here on the target is no longer as sent.
    pub fn set_uri(&mut self, uri: Vec<u8>, args: Option<Vec<u8>>) {
        self.uri = uri;
        if let Some(args) = args {
            self.args = args;
        }
        self.uri_unchanged = false;
    }

    /// `set $limit_rate`: goes before the directive.
    pub fn set_limit_rate(&mut self, value: &[u8]) {
        if let Some(rate) = values::parse_size(value) {
            self.limit_rate = Some(rate);
        } else {
            let shown = String::from_utf8_lossy(value).into_owned();
            self.log_error(format_args!("invalid $limit_rate \"{shown}\""));
        }
    }

    /// The error log in force in the selected location.
    pub fn errors(&self) -> &ErrorLog {
        self.live.error_log(self.conf().error_log.set)
    }

    /// Writes a line about this request, in nginx's shape.
    pub fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        let errors = self.errors();
        if errors.enabled(level) {
            let line = format_args!("{message}{}", About(self));
            errors.write(level, Some(self.client.number), line);
        }
    }

    /// The same at level error.
    pub fn log_error(&self, message: fmt::Arguments<'_>) {
        self.log(Level::Error, message);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.is_main() {
            return;
        }
        let gauge = if self.writing { Gauge::Writing } else { Gauge::Reading };
        self.live.counters.leave(gauge);
        // A thread that ends has no more use for it.
        let _ = SPARE.try_with(|spare| spare.keep(self.leave()));
    }
}

/// What a request needs memory for, and leaves to the next.
#[derive(Debug, Default)]
struct Memory {
    head: RequestHead,
    uri: Vec<u8>,
    args: Vec<u8>,
    target: Vec<u8>,
    tries: Vec<Try>,
}

thread_local! {
    static SPARE: Spare<Memory> = const { Spare::new() };
}

impl Request {
    /// Its memory, emptied; uncommonly long parts are not kept.
    fn leave(&mut self) -> Memory {
        let emptied = |bytes: &mut Vec<u8>| {
            let mut bytes = std::mem::take(bytes);
            bytes.clear();
            if bytes.capacity() > LONG { Vec::new() } else { bytes }
        };
        let (uri, args) = (emptied(&mut self.uri), emptied(&mut self.args));
        let target = emptied(&mut self.upstream_target);
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        if head.line.capacity() > LONG || head.host.capacity() > LONG {
            head = RequestHead::default();
        }
        let mut tries = std::mem::take(&mut self.tries);
        tries.clear();
        Memory { head, uri, args, target, tries }
    }
}

/// Bytes of a part that is too long to be kept for another request.
const LONG: usize = 4096;

/// What nginx appends to a line about a request: `, client: …, server: …, request: "…", host: "…"`.
struct About<'a>(&'a Request);

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let req = self.0;
        let text = |bytes| String::from_utf8_lossy(bytes);
        write!(f, ", client: {}, server: {}", req.peer(), text(&req.server().name))?;
        if !req.head.line.is_empty() {
            write!(f, ", request: \"{}\"", text(&req.head.line))?;
        }
        if req.sub.as_ref().is_some_and(|sub| sub.left < subrequest::DEPTH) {
            write!(f, ", subrequest: \"{}\"", text(&req.uri))?;
        }
        if let Some(last) = req.tries.last().filter(|_| req.asking) {
            let colon = if last.peer.starts_with("unix:") { ":" } else { "" };
            let target = text(&req.upstream_target);
            let tls = req.origin.as_ref().is_some_and(|origin| origin.tls);
            let scheme = if tls { "https" } else { "http" };
            write!(f, ", upstream: \"{scheme}://{}{colon}{target}\"", last.peer)?;
        }
        if let Some(host) = req.head.headers.get(Name::Host) {
            write!(f, ", host: \"{}\"", text(host))?;
        }
        match req.head.headers.get(Name::Referer) {
            Some(referer) => write!(f, ", referrer: \"{}\"", text(referer)),
            None => Ok(()),
        }
    }
}
