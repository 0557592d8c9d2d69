//! Owns the finding out, on a connection without TLS, whether the client speaks HTTP/2 from the start.
//!
//! Must not take a byte: whoever speaks next reads the preface again.

use super::PREFACE;
use crate::http::client::Client;
use crate::http::conn::{begin, fill, idle_limit};
use crate::http::io::Deadline;
use crate::http::service::Service;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Whether the servers behind this address speak HTTP/2 without TLS: not where TLS is expected.
pub fn is_possible(service: &Service, client: &Client) -> bool {
    let snapshot = service.snapshot();
    let tls = begin::endpoint(&snapshot, client).is_some_and(|endpoint| endpoint.tls);
    !tls && begin::speaks_h2(&snapshot, client, begin::default_location(&snapshot, client).0)
}

/// Reads as far as is needed to tell. True: the client begins with the preface. Anything else, silence
/// and a close included, is for HTTP/1.
pub async fn comes(service: &Service, client: &Client) -> bool {
    let mut deadline = Deadline::after(idle_limit(service, client, true));
    loop {
        let same = {
            let input = client.input.borrow();
            let same = input.iter().zip(PREFACE).take_while(|(a, b)| a == b).count();
            if same == PREFACE.len() {
                return true;
            }
            same == input.len()
        };
        if !same || !more(client, &mut deadline).await {
            return false;
        }
    }
}

/// Reads once; false when nothing came.
async fn more(client: &Client, deadline: &mut Deadline) -> bool {
    let mut filled = pin!(fill(client, 4096, deadline));
    poll_fn(|cx| {
        if client.is_cut() {
            return Poll::Ready(false);
        }
        filled.as_mut().poll(cx).map(|read| read.is_ok_and(|n| n > 0))
    })
    .await
}
