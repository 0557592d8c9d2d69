//! Owns the watching of idle connections: one task and one timer for each pool, whatever the
//! number of connections and requests. Must not decide what is kept; that is `pool`.
//!
//! A connection put back costs no timer and wakes nobody: it leaves the task's waker with the event
//! loop, and the timer already running is for an older connection, so it fires early rather than late.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Weak;
use std::task::{Context, Poll, Waker, ready};

use tokio::time::{Instant, sleep_until};

use crate::net::Stream;

use super::pool::IdleList;

/// Drops idle connections as they expire or turn readable, until the pool is gone.
pub(super) async fn run(pool: Weak<IdleList>) {
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut timer_runs = false;
    poll_fn(|cx| {
        let Some(pool) = pool.upgrade() else {
            return Poll::Ready(());
        };
        pool.keep_waker(cx);
        pool.drop_disturbed(cx);
        loop {
            if !timer_runs {
                let Some(expiry) = pool.next_expiry() else {
                    pool.asleep.set(true);
                    return Poll::Pending;
                };
                timer.as_mut().reset(expiry);
                timer_runs = true;
            }
            ready!(timer.as_mut().poll(cx));
            timer_runs = false;
            pool.drop_expired(Instant::now());
        }
    })
    .await;
}

/// Whether the origin has sent nothing, not even a FIN; if so, the waker is left with the stream.
/// Costs a system call only when the last read did not empty the socket.
pub(super) fn silent(stream: &mut Stream, cx: &mut Context<'_>) -> bool {
    // Twice, because readiness may be a memory of what has been read since.
    for _ in 0..2 {
        if stream.poll_readable(cx).is_pending() {
            return true;
        }
        if !nothing_to_read(stream) {
            return false;
        }
    }
    false
}

/// Takes the stream away from the watching task; false if it is not silent any more.
pub(super) fn let_go(stream: &mut Stream) -> bool {
    let silent = nothing_to_read(stream);
    if silent {
        // Or the answer to the next request would wake the watching task too.
        let _ = stream.poll_readable(&mut Context::from_waker(Waker::noop()));
    }
    silent
}

fn nothing_to_read(stream: &mut Stream) -> bool {
    match stream.try_read(&mut [0]) {
        Err(error) => error.kind() == ErrorKind::WouldBlock,
        Ok(_) => false,
    }
}
