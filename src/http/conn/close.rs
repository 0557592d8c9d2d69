//! Owns the ways a connection ends without losing what was said: FIN first, then a while of reading.
//!
//! Must not answer.

use super::fill;
use crate::http::client::Client;
use crate::http::io::Deadline;
use crate::http::modules::connection::Conf;
use std::time::{Duration, Instant};
use tokio::task::coop::consume_budget;

/// How long a closed idle connection is still read, so that a request that was already on its way
/// meets a FIN and not a reset.
const POLITE: Duration = Duration::from_secs(2);

/// Closes an idle connection.
pub async fn politely(client: &Client) {
    if client.requests.get() > 0 {
        drain(client, POLITE, POLITE).await;
    }
}

/// nginx's lingering close: what the client still sends is read and dropped for a while, because
/// closing a socket with unread bytes resets it and may take the answer with it.
pub async fn linger(client: &Client, conf: &Conf) {
    drain(client, conf.lingering_time, conf.lingering_timeout).await;
}

async fn drain(client: &Client, whole: Duration, silence: Duration) {
    if client.stream.borrow_mut().shutdown_write().is_err() {
        return;
    }
    let end = Instant::now() + whole;
    loop {
        client.input.borrow_mut().clear();
        let left = end.saturating_duration_since(Instant::now());
        let mut deadline = Deadline::after(silence.min(left));
        match fill(client, 4096, &mut deadline).await {
            // A client that sends without pause must not keep the worker from the others.
            Ok(n) if n > 0 && !left.is_zero() => consume_budget().await,
            _ => return,
        }
    }
}
