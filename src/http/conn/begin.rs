//! Owns the beginning of a request: its head read and checked, its server found, its connection's
//! future decided.
//!
//! Must not answer; what it refuses goes through the pipeline like any other request.

use super::{fill, log};
use crate::http::client::Client;
use crate::http::h1::framing::{self, Persistence};
use crate::http::h1::head::{Form, Version};
use crate::http::h1::request::RequestParser;
use crate::http::h1::{Progress, Reject};
use crate::http::headers::Name;
use crate::http::io::Deadline;
use crate::http::modules::connection::Conf;
use crate::http::modules::ssl;
use crate::http::request::{Request, Start};
use crate::http::request_body::RequestBody;
use crate::http::route::Endpoint;
use crate::http::service::Service;
use crate::http::snapshot::Snapshot;
use crate::log::Level;
use crate::zone::{Gauge, Total};
use std::io;
use std::rc::Rc;

/// Read from the socket at a time while a head is read.
const READ: usize = 4096;

/// How the reading of a head ended.
pub enum Reading {
    /// The request may enter the pipeline.
    Done,
    /// Answer with this status.
    Refused(u16),
    /// The client closed before it sent anything.
    Nothing,
    /// Nothing can be answered any more; log this status.
    Failed(u16),
}

/// The servers behind the address that the client has connected to.
pub fn endpoint<'a>(snapshot: &'a Snapshot, client: &Client) -> Option<&'a Endpoint> {
    let local =
        if snapshot.endpoints.shares_port(&client.bound) { client.local() } else { &client.bound };
    snapshot.endpoints.find(local, &client.bound)
}

/// The server's own level that applies before a request names one.
pub fn default_location(snapshot: &Snapshot, client: &Client) -> (usize, usize) {
    let server = endpoint(snapshot, client).map_or(0, |endpoint| endpoint.default);
    (server, snapshot.servers.get(server).map_or(0, |s| s.root))
}

/// The connection directives that apply before a request names a server.
pub fn default_conf<'a>(snapshot: &'a Snapshot, client: &Client) -> &'a Conf {
    &snapshot.conf(default_location(snapshot, client).1).connection
}

/// A request of which nothing has been read.
pub fn request(service: &Service, client: &Rc<Client>) -> Request {
    let snapshot = service.snapshot();
    let (server, location) = default_location(&snapshot, client);
    let live = service.live();
    live.counters.enter(Gauge::Reading);
    if !client.is_carried() {
        client.requests.set(client.requests.get() + 1);
    }
    Request::new(Start { client: client.clone(), snapshot, live, server, location })
}

/// Reads and checks the head. Early refusals are nginx's: a bad line is answered before the rest
/// of the head has come.
pub async fn read_head(req: &mut Request) -> Reading {
    let client = req.client.clone();
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).connection;
    let mut parser = RequestParser::new();
    let mut deadline = Deadline::after(conf.header_timeout);
    let mut counted = false;
    loop {
        // An end of the connection where a request could have begun is none.
        if !counted && !client.input.borrow().is_empty() {
            req.live.counters.count(Total::Requests);
            counted = true;
        }
        let fed = parser.feed(&conf.limits, &client.input.borrow(), &mut req.head);
        match fed {
            Ok(Progress::Complete { len }) => {
                client.input.borrow_mut().drain(..len);
                req.received += req.head.size as u64;
                return match enter(req) {
                    Ok(()) => admitted(req),
                    Err(reject) => refuse(req, &reject),
                };
            }
            Ok(Progress::Partial) => {}
            Err(reject) => {
                if req.head.version != Version::Http09 || !req.head.headers.is_empty() {
                    req.received += client.input.borrow().len() as u64;
                }
                find_server(req);
                return refuse(req, &reject);
            }
        }
        match fill(&client, READ, &mut deadline).await {
            Ok(n) if n > 0 => {}
            outcome => return cut_short(req, &parser, outcome),
        }
    }
}

/// The client closed, reset or timed out before its head was complete.
fn cut_short(req: &mut Request, parser: &RequestParser, outcome: io::Result<usize>) -> Reading {
    let started = !req.client.input.borrow().is_empty();
    let first = req.client.requests.get() == 1;
    req.client.broken.set(true);
    match outcome {
        Err(err) if err.kind() == io::ErrorKind::TimedOut => {
            let action = parser.action();
            log(
                req,
                Level::Info,
                format_args!("client timed out (110: Connection timed out) while {action}"),
            );
            if started { Reading::Failed(408) } else { Reading::Nothing }
        }
        Err(err) => {
            let (why, action) = (crate::log::os_error(&err), parser.action());
            log(req, Level::Info, format_args!("recv() failed{why} while {action}"));
            if started { Reading::Failed(400) } else { Reading::Nothing }
        }
        Ok(_) if started => {
            let action = parser.action();
            log(
                req,
                Level::Info,
                format_args!("client prematurely closed connection while {action}"),
            );
            Reading::Failed(400)
        }
        Ok(_) => {
            if first {
                log(
                    req,
                    Level::Info,
                    format_args!("client closed connection while waiting for request"),
                );
            }
            Reading::Nothing
        }
    }
}

/// Logs a refusal as nginx does, at info, and answers with its status.
fn refuse(req: &mut Request, reject: &Reject) -> Reading {
    req.keepalive = false;
    req.refused = true;
    req.log(Level::Info, format_args!("{}", reject.why));
    Reading::Refused(reject.status)
}

/// What the handshake came to may be in the way.
fn admitted(req: &mut Request) -> Reading {
    refused_for_tls(req).map_or(Reading::Done, Reading::Refused)
}

/// Refuses a request for what its handshake came to: the status to answer with.
pub fn refused_for_tls(req: &mut Request) -> Option<u16> {
    // Where no server speaks TLS nothing has to be looked up.
    if req.snapshot.tls.is_empty() {
        return None;
    }
    let expected = endpoint(&req.snapshot, &req.client).is_some_and(|endpoint| endpoint.tls);
    let status = ssl::refusal(req, expected)?;
    req.keepalive = false;
    req.refused = true;
    Some(status)
}

/// Counts it as being answered.
pub fn enter_writing(req: &mut Request) {
    req.live.counters.shift(Gauge::Reading, Gauge::Writing);
    req.writing = true;
}

/// Tells of what was dropped for the sake of `ignore_invalid_headers`.
pub fn log_dropped(req: &Request) {
    for line in req.head.dropped_lines() {
        let line = String::from_utf8_lossy(line);
        req.log(Level::Info, format_args!("client sent invalid header line: \"{line}\""));
    }
}

/// Whether a server may be asked over HTTP/2 at the address that the client has connected to.
pub fn speaks_h2(snapshot: &Snapshot, client: &Client, server: usize) -> bool {
    endpoint(snapshot, client).is_some_and(|endpoint| endpoint.http2)
        || snapshot.servers.get(server).is_some_and(|server| snapshot.conf(server.root).http2.on)
}

/// What follows from a complete head.
fn enter(req: &mut Request) -> Result<(), Reject> {
    enter_writing(req);
    log_dropped(req);
    find_server(req);
    req.take_target();
    let length = framing::check_request(&req.head, false)?;
    take_authority(req);
    let expects = req.head.headers.get(Name::Expect);
    let wants_continue = req.head.version == Version::Http11
        && expects.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    req.body = RequestBody::new(&length, wants_continue);
    req.keepalive = keeps(req);
    Ok(())
}

/// A target in absolute form says who is meant; a Host field that says otherwise is replaced by it
/// (RFC 9112, section 3.2.2), so that nobody further on reads the other one.
fn take_authority(req: &mut Request) {
    if let Some(authority) = req.head.authority().filter(|_| req.head.form == Form::Absolute) {
        let authority = authority.to_vec();
        req.head.headers.set(Name::Host, &authority);
    }
}

/// The server by the name the request asks for.
pub fn find_server(req: &mut Request) {
    let snapshot = req.snapshot.clone();
    let Some(endpoint) = endpoint(&snapshot, &req.client) else { return };
    let found = endpoint.names.find(&req.head.host, req.captures.get_mut(), &req.slots);
    if let Some(server) = found {
        req.server = server;
        req.location = snapshot.servers[server].root;
    }
}

/// Whether the client wants its connection kept.
fn keeps(req: &Request) -> bool {
    match framing::persistence(&req.head.headers) {
        Persistence::Close => false,
        Persistence::KeepAlive => req.head.version != Version::Http09,
        Persistence::Default => req.head.version == Version::Http11,
    }
}
