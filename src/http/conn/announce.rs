//! Owns the reading of what a proxy says before the first byte of a connection.
//!
//! Must not believe it: whoever asks for an address decides that.

use super::{Idle, begin, fill};
use crate::http::client::Client;
use crate::http::io::Deadline;
use crate::http::service::Service;
use crate::log::{Level, os_error};
use crate::net::proxy_protocol::{self, Progress};
use std::fmt;
use std::io;
use std::pin::pin;

const READING: &str = "while reading PROXY protocol";

/// Whether connections to this address begin with a header.
pub fn is_expected(service: &Service, client: &Client) -> bool {
    let snapshot = service.snapshot();
    begin::endpoint(&snapshot, client).is_some_and(|endpoint| endpoint.proxy_protocol)
}

/// Reads the header, in the time that there is for the head of the first request. False: there is
/// none, and the connection is to be closed.
pub async fn read(service: &Service, client: &Client) -> bool {
    let _waiting = Idle::enter(service, client);
    let mut deadline = Deadline::after(super::idle_limit(service, client, true));
    loop {
        let read = proxy_protocol::read(&client.input.borrow());
        match read {
            Ok(Progress::Complete { len, header }) => {
                client.input.borrow_mut().drain(..len);
                header.map(|header| client.announced.set(header));
                return true;
            }
            Ok(Progress::Partial) => {}
            Err(broken) => {
                log(service, client, Level::Error, format_args!("{broken}"), READING);
                return false;
            }
        }
        match more(client, &mut deadline).await {
            Some(Ok(n)) if n > 0 => {}
            Some(end) => {
                ended(service, client, end.err());
                return false;
            }
            None => return false,
        }
    }
}

/// Reads once; `None` when the connection was cut.
async fn more(client: &Client, deadline: &mut Deadline) -> Option<io::Result<usize>> {
    client.unless_cut(pin!(fill(client, proxy_protocol::LONGEST, deadline))).await
}

/// The end, or the time, came before the header.
fn ended(service: &Service, client: &Client, error: Option<io::Error>) {
    let say = |message: fmt::Arguments<'_>| {
        log(service, client, Level::Info, message, READING);
    };
    match error {
        Some(error) if error.kind() == io::ErrorKind::TimedOut => {
            say(format_args!("client timed out (110: Connection timed out)"));
        }
        Some(error) => say(format_args!("recv() failed{}", os_error(&error))),
        None => say(format_args!("client closed connection")),
    }
}

/// Tells of a connection before its first request.
pub fn log(
    service: &Service,
    client: &Client,
    level: Level,
    message: fmt::Arguments<'_>,
    doing: &str,
) {
    let (snapshot, live) = (service.snapshot(), service.live());
    let (_, location) = begin::default_location(&snapshot, client);
    let errors = live.error_log(snapshot.conf(location).error_log.set);
    let (peer, local) = (client.peer, client.local());
    let line = format_args!("{message} {doing}, client: {peer}, server: {local}");
    errors.write(level, Some(client.number), line);
}
