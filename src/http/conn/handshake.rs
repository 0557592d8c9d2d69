//! Owns the handshake of a connection that is TLS: the server by the name the client asks for, and the
//! time that there is for it.
//!
//! Must not choose certificates; a server's TLS does.

use super::{Idle, announce, begin};
use crate::http::client::{Client, Secured};
use crate::http::io::Deadline;
use crate::http::service::Service;
use crate::http::snapshot::Snapshot;
use crate::log::{Level, os_error};
use crate::net::{Hello, Socket};
use crate::tls::Session;
use rustls::Connection;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// What a connection begins with when it is TLS: a handshake record, or the first byte of SSL 2.0's.
const RECORD: [u8; 2] = [0x16, 0x80];

/// A fatal alert: nobody of that name is here (RFC 8446, section 6.2).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

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
    let shaken = {
        let mut work = pin!(shake(service, client));
        poll_fn(|cx| {
            if client.is_cut() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            deadline.poll(cx).map(|_| Some(Err(ErrorKind::TimedOut.into())))
        })
        .await
    };
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
    let server = find_server(&snapshot, client, name.as_deref());
    let tls_of = |server: usize| snapshot.conf(snapshot.servers.get(server)?.root).ssl.server;
    // A server that says nothing of TLS is spoken to as the default one is.
    let (default, _) = begin::default_location(&snapshot, client);
    let number = tls_of(server).or_else(|| tls_of(default));
    let settings = number.and_then(|number| snapshot.tls.get(number));
    let config = number.and_then(|number| live.tls.get(number)?.clone());
    let (Some(settings), Some(config)) = (settings.filter(|found| !found.reject), config) else {
        let _ = client.stream.borrow_mut().try_write(&UNRECOGNIZED_NAME);
        return Err(io::Error::new(ErrorKind::PermissionDenied, "handshake rejected"));
    };
    let session = match accepted.into_connection(config) {
        Ok(session) => session,
        Err((error, mut alert)) => {
            let mut bytes = Vec::new();
            alert.write_all(&mut bytes)?;
            let _ = client.stream.borrow_mut().try_write(&bytes);
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
    };
    client.stream.borrow_mut().secure(session);
    poll_fn(|cx| client.stream.borrow_mut().poll_handshake(cx)).await?;
    let stream = client.stream.borrow();
    if let Some(Connection::Server(connection)) = stream.tls().map(crate::net::Tls::session) {
        let session = Session::new(connection, settings.client.as_ref());
        let _ = client.secured.set(Rc::new(Secured { session, server }));
    }
    Ok(())
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

/// The server by the name asked for, else the default one.
fn find_server(snapshot: &Snapshot, client: &Client, name: Option<&str>) -> usize {
    let (default, _) = begin::default_location(snapshot, client);
    let Some(endpoint) = begin::endpoint(snapshot, client) else { return default };
    let Some(name) = name else { return default };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let (mut captures, slots) = Default::default();
    endpoint.names.find(name.as_bytes(), &mut captures, &slots).unwrap_or(default)
}

/// What nginx says of a handshake that failed, at its level: what clients do is worth info.
fn tell(service: &Service, client: &Client, error: &io::Error) {
    let say = |level, message: std::fmt::Arguments<'_>| {
        announce::log(service, client, level, message, "while SSL handshaking");
    };
    match error.kind() {
        ErrorKind::TimedOut => {
            say(Level::Info, format_args!("client timed out (110: Connection timed out)"));
        }
        ErrorKind::UnexpectedEof => {
            say(Level::Info, format_args!("peer closed connection in SSL handshake"));
        }
        ErrorKind::InvalidData | ErrorKind::PermissionDenied => {
            let why = error.get_ref().map(ToString::to_string).unwrap_or_default();
            say(Level::Info, format_args!("SSL_do_handshake() failed (SSL: {why})"));
        }
        _ => say(Level::Info, format_args!("SSL_do_handshake() failed{}", os_error(error))),
    }
}
