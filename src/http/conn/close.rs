//! Owns the ways a connection ends without losing what was said: FIN first, then a while of reading.
//!
//! Must not answer.

use crate::http::client::{Client, Doing};
use crate::http::io::{self as stream_io, Deadline};
use crate::http::modules::connection::Conf;
use crate::http::service::GRACE;
use crate::http::spare::Buffer;
use crate::net::Stream;
use std::cell::RefCell;
use std::time::{Duration, Instant};
use tokio::task::coop::consume_budget;

/// Closes an idle connection, or one that is cut.
pub async fn politely(client: &Client) {
    client.doing.set(Doing::Closing);
    if client.requests.get() > 0 || client.is_cut() {
        drain(&client.stream, &client.input, GRACE, GRACE).await;
    }
}

/// nginx's lingering close: what the client still sends is read and dropped for a while, because
/// closing a socket with unread bytes resets it and may take the answer with it.
pub async fn linger(client: &Client, conf: &Conf) {
    client.doing.set(Doing::Closing);
    drain(&client.stream, &client.input, conf.lingering_time, conf.lingering_timeout).await;
}

/// Closes both sides of a tunnel that is cut.
pub async fn both(client: &Client, upstream: &RefCell<Stream>) {
    let input = RefCell::default();
    tokio::join!(politely(client), drain(upstream, &input, GRACE, GRACE));
}

/// Sends FIN, then reads until the other side ends as well or takes too long for that.
async fn drain(
    stream: &RefCell<Stream>,
    input: &RefCell<Buffer>,
    whole: Duration,
    silence: Duration,
) {
    if stream.borrow_mut().shutdown_write().is_err() {
        return;
    }
    let end = Instant::now() + whole;
    loop {
        input.borrow_mut().clear();
        let left = end.saturating_duration_since(Instant::now());
        let deadline = Deadline::after(silence.min(left));
        match stream_io::read(stream, input, 4096, deadline).await {
            // A peer that sends without pause must not keep the worker from the others.
            Ok(n) if n > 0 && !left.is_zero() => consume_budget().await,
            _ => return,
        }
    }
}
