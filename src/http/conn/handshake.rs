//! Owns the handshake of a connection that is TLS: the server by the name the client asks for, and the
//! time that there is for it.
//!
//! Must not choose certificates; a server's TLS does.

use super::{Idle, announce, begin};
use crate::http::client::{Client, Secured};
use crate::http::io::{Deadline, handshake_failed};
use crate::http::modules::ssl;
use crate::http::request::{Request, Start};
use crate::http::service::Service;
use crate::http::snapshot::Snapshot;
use crate::log::Level;
use crate::net::{Hello, Socket, Tls};
use crate::tls::server::with_certificates;
use crate::tls::{Certificate, Notes, Offer, Session};
use crate::zone::Gauge;
use rustls::Connection;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// What a connection begins with when it is TLS: a handshake record, or the first byte of SSL 2.0's.
const RECORD: [u8; 2] = [0x16, 0x80];

/// A fatal alert: nobody of that name is here (RFC 8446, section 6.2).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The same for what is the server's own fault.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

const REJECTED: &str = "handshake rejected";

/// Whether connections to this address are TLS.
pub fn is_expected(service: &Service, client: &Client) -> bool {
    let snapshot = service.snapshot();
    begin::endpoint(&snapshot, client).is_some_and(|endpoint| endpoint.tls)
}

/// Does the handshake, in the time that there is for the head of the first request. False: it came to
/// nothing, and the connection is to be closed. Plain HTTP is left to be read, and to be refused.
pub async fn run(service: &Service, client: &Client) -> bool {
    let _waiting = Idle::enter_with_input(service);
    let mut deadline = Deadline::after(super::idle_limit(service, client, true));
    let mut work = pin!(shake(service, client));
    let in_time = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Pending => deadline.poll(cx).map(|_| Err(ErrorKind::TimedOut.into())),
        done @ Poll::Ready(_) => done,
    });
    let shaken = client.unless_cut(pin!(in_time)).await;
    match shaken {
        Some(Ok(())) => true,
        Some(Err(error)) => {
            tell(service, client, &error);
            false
        }
        None => false,
    }
}

async fn shake(service: &Service, client: &Client) -> io::Result<()> {
    let early = client.input.take();
    if !is_tls(client, &early).await? {
        client.input.replace(early);
        return Ok(());
    }
    let mut hello = Hello::default();
    hello.feed(&early)?;
    let accepted = poll_fn(|cx| client.stream.borrow_mut().poll_hello(&mut hello, cx)).await?;
    let (snapshot, live) = (service.snapshot(), service.live());
    live.tickets.refresh();
    let name = accepted.client_hello().server_name().map(str::to_owned);
    let (server, conf) = find_server(&snapshot, client, name.as_deref());
    let number = conf.and_then(|conf| conf.server);
    let settings = number.and_then(|number| snapshot.tls.get(number));
    let config = number.and_then(|number| live.tls.get(number)?.clone());
    let (Some(settings), Some(mut config)) = (settings.filter(|found| !found.reject), config)
    else {
        return Err(alert(client, &UNRECOGNIZED_NAME, ErrorKind::PermissionDenied, REJECTED));
    };
    if let Some((conf, number)) = conf.zip(number)
        && !conf.responders.is_empty()
        && let Some(stapling) = live.stapling.get(number)
    {
        stapling.wake(&conf.responders, &live);
    }
    if let Some(conf) = conf.filter(|conf| !conf.varying.is_empty()) {
        let certificates = certificates(service, client, server, name.as_deref(), conf)?;
        config = Arc::new(with_certificates(&config, certificates));
    }
    let offer = Offer::new(&accepted.client_hello());
    let mut notes = Notes::default();
    match notes.of(|| accepted.into_connection(config)) {
        Ok(session) => client.stream.borrow_mut().secure(session),
        Err((error, mut words)) => {
            let mut bytes = Vec::new();
            words.write_all(&mut bytes)?;
            return Err(alert(client, &bytes, ErrorKind::InvalidData, error));
        }
    }
    poll_fn(|cx| notes.of(|| client.stream.borrow_mut().poll_handshake(cx))).await?;
    let stream = client.stream.borrow();
    if let Some(Connection::Server(connection)) = stream.tls().map(Tls::session) {
        let session = Session::new(connection, offer, notes, settings.client.as_ref());
        let _ = client.secured.set(Rc::new(Secured { session, server }));
    }
    Ok(())
}

/// What the server shows that knows its certificates by names with variables: they are given their
/// values by a request of which nothing is known but the connection.
fn certificates(
    service: &Service,
    client: &Client,
    server: usize,
    name: Option<&str>,
    conf: &ssl::Conf,
) -> io::Result<Vec<Certificate>> {
    let asking = client.stand_in()?;
    let session = Session { server_name: name.map(Into::into), ..Session::default() };
    let _ = asking.secured.set(Rc::new(Secured { session, server }));
    let (snapshot, live) = (service.snapshot(), service.live());
    let location = snapshot.servers.get(server).map_or(0, |found| found.root);
    live.counters.enter(Gauge::Reading);
    let req = Request::new(Start { client: Rc::new(asking), snapshot, live, server, location });
    let loaded: Result<_, _> = conf.varying.iter().map(|varying| varying.load(&req)).collect();
    loaded.map_err(|why: String| alert(client, &INTERNAL_ERROR, ErrorKind::NotFound, why))
}

/// Tells the client, as far as it goes at once; what is to be told in the log.
fn alert(
    client: &Client,
    bytes: &[u8],
    kind: ErrorKind,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> io::Error {
    let _ = client.stream.borrow_mut().try_write(bytes);
    io::Error::new(kind, why)
}

/// Looks at the first byte.
async fn is_tls(client: &Client, early: &[u8]) -> io::Result<bool> {
    if let Some(first) = early.first() {
        return Ok(RECORD.contains(first));
    }
    poll_fn(|cx| client.stream.borrow_mut().poll_disturbed(cx)).await;
    match client.stream.borrow().socket().map_or(Ok(None), Socket::peek_byte)? {
        Some(first) => Ok(RECORD.contains(&first)),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// The server by the name asked for, else the default one; and how TLS is spoken with it: a server that
/// says nothing of it is spoken to as the default one is.
fn find_server<'s>(
    snapshot: &'s Snapshot,
    client: &Client,
    name: Option<&str>,
) -> (usize, Option<&'s ssl::Conf>) {
    let (default, _) = begin::default_location(snapshot, client);
    let found = name.zip(begin::endpoint(snapshot, client)).and_then(|(name, endpoint)| {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let (mut captures, slots) = Default::default();
        endpoint.names.find(name.as_bytes(), &mut captures, &slots)
    });
    let server = found.unwrap_or(default);
    let tls_of = |server: usize| {
        let conf = &snapshot.conf(snapshot.servers.get(server)?.root).ssl;
        conf.server.map(|_| &**conf)
    };
    (server, tls_of(server).or_else(|| tls_of(default)))
}

/// What nginx says of a handshake that failed, at its level for what clients do.
fn tell(service: &Service, client: &Client, error: &io::Error) {
    let say = |message: fmt::Arguments<'_>| {
        announce::log(service, client, Level::Info, message, "while SSL handshaking");
    };
    match error.kind() {
        ErrorKind::TimedOut => say(format_args!("client timed out (110: Connection timed out)")),
        ErrorKind::NotFound => {
            let why = error.get_ref().map(ToString::to_string).unwrap_or_default();
            announce::log(
                service,
                client,
                Level::Error,
                format_args!("{why}"),
                "while SSL handshaking",
            );
        }
        _ => say(format_args!("{}", handshake_failed(error))),
    }
}
