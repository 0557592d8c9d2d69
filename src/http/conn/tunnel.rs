//! Owns a connection after `101 Switching Protocols`: bytes both ways until either side ends.
//!
//! Must not look at the bytes; `farewell` does, for one that a switch may end.

use super::farewell::Farewell;
use crate::http::body::Body;
use crate::http::client::Client;
use crate::http::io::{self as stream_io, Deadline};
use crate::http::origin::Tunnel;
use crate::http::request::Request;
use crate::http::service::GRACE;
use crate::log::Level;
use crate::net::Stream;
use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// Held for one direction at most.
const ROOM: usize = 16 * 1024;

/// Runs the tunnel of an upgraded request until either side ends. One that is ended from here, by a cut
/// or by a switch that has closed, is given back with both sides as they are.
pub async fn run(req: &mut Request) -> Option<Tunnel> {
    let Body::Upstream(answer) = std::mem::take(&mut req.reply.body) else { return None };
    let tunnel = answer.into_tunnel()?;
    let client = req.client.clone();
    let mut up = Way { out: std::mem::take(&mut *client.input.borrow_mut()), ..Way::default() };
    let mut down = Way { out: tunnel.first.clone(), ..Way::default() };
    let mut deadline = Deadline::after(tunnel.timeout);
    let mut farewell = Farewell::new(req);
    farewell.pass(&down.out);
    let mut ended = false;
    let timed_out = poll_fn(|cx| {
        if !ended && farewell.poll(req, cx) {
            ended = true;
            farewell.say(&mut down.out, down.at);
            deadline = Deadline::after(GRACE);
        }
        if ended {
            return poll_end(&client, &mut down, &mut deadline, cx);
        }
        poll(&client, &tunnel, &mut up, &mut down, &mut farewell, &mut deadline, cx)
    });
    let timed_out = timed_out.await && !ended;
    client.sent.set(client.sent.get() + down.sent);
    req.body_sent += down.sent;
    req.received += up.received;
    if let Some(last) = req.tries.last_mut() {
        last.sent += up.sent;
        last.received += down.received;
        last.length += down.received;
        last.response = last.began.map(|began| began.elapsed());
    }
    if timed_out {
        req.log(
            Level::Info,
            format_args!(
                "upstream timed out (110: Connection timed out) while proxying upgraded connection"
            ),
        );
    }
    (ended || client.is_cut()).then_some(tunnel)
}

/// Writes what is left for the client, for a while.
fn poll_end(
    client: &Client,
    down: &mut Way,
    deadline: &mut Deadline,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    while down.write(&client.stream, cx) {}
    if down.at == down.out.len() || down.broken || client.is_cut() {
        return Poll::Ready(false);
    }
    deadline.poll(cx).map(|_| true)
}

/// Moves bytes both ways; ready with true when nothing moved for too long.
fn poll(
    client: &Client,
    tunnel: &Tunnel,
    up: &mut Way,
    down: &mut Way,
    farewell: &mut Farewell,
    deadline: &mut Deadline,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    if client.is_cut() {
        return Poll::Ready(false);
    }
    let moved = up.poll(&client.stream, &tunnel.stream, |_| (), cx)
        | down.poll(&tunnel.stream, &client.stream, |bytes| farewell.pass(bytes), cx);
    if moved {
        deadline.restart();
    }
    if up.broken || down.broken || up.is_over() || down.is_over() {
        return Poll::Ready(false);
    }
    deadline.poll(cx).map(|_| true)
}

/// One direction.
#[derive(Default)]
struct Way {
    /// Read and not written, from `at` on.
    out: Vec<u8>,
    at: usize,
    sent: u64,
    received: u64,
    ended: bool,
    broken: bool,
}

impl Way {
    /// The source has ended and all of it has been passed on.
    fn is_over(&self) -> bool {
        self.ended && self.at == self.out.len()
    }

    /// Reads and writes while both go on; whether anything moved.
    fn poll(
        &mut self,
        from: &RefCell<Stream>,
        to: &RefCell<Stream>,
        mut note: impl FnMut(&[u8]),
        cx: &mut Context<'_>,
    ) -> bool {
        let mut moved = false;
        for _ in 0..16 {
            let before = self.out.len();
            let read = self.read(from, cx);
            note(&self.out[before..]);
            let wrote = self.write(to, cx);
            moved |= read | wrote;
            if !(read | wrote) {
                return moved;
            }
        }
        cx.waker().wake_by_ref();
        moved
    }

    fn read(&mut self, from: &RefCell<Stream>, cx: &mut Context<'_>) -> bool {
        if self.ended || self.broken || self.out.len() >= ROOM {
            return false;
        }
        match stream_io::poll_read(from, &mut self.out, ROOM, cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(0)) => {
                self.ended = true;
                true
            }
            Poll::Ready(Ok(n)) => {
                self.received += n as u64;
                true
            }
            Poll::Ready(Err(_)) => {
                self.broken = true;
                false
            }
        }
    }

    fn write(&mut self, to: &RefCell<Stream>, cx: &mut Context<'_>) -> bool {
        if self.at == self.out.len() || self.broken {
            return false;
        }
        match stream_io::poll_write(to, &self.out[self.at..], cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(n)) => {
                self.sent += n as u64;
                self.at += n;
                if self.at == self.out.len() {
                    self.out.clear();
                    self.at = 0;
                }
                true
            }
            Poll::Ready(Err(_)) => {
                self.broken = true;
                false
            }
        }
    }
}
