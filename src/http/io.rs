//! Owns the waits on a socket: one read or one write under a deadline, and bodies' plain loops.
//!
//! Must not know HTTP, and must never hold a borrow over a wait.

use super::spare::{Buffer, Spare};
use crate::log::os_error;
use crate::net::{Pipe, Stream};
use bytes::BufMut;
use std::cell::RefCell;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A time limit that costs nothing until something has to be waited for.
#[derive(Debug)]
pub struct Deadline {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// The timer counts from the wait that is going on.
    running: bool,
}

/// Some 30 years: no clock is asked for a time beyond its end.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

thread_local! {
    /// Timers of waits that are over. They go on running: to set one to a later time is a single
    /// store, where making and ending one takes the runtime's lock twice. One that runs out here wakes
    /// a task for nothing, once.
    static TIMERS: Spare<Pin<Box<Sleep>>> = const { Spare::new() };
}

impl Deadline {
    /// Runs out `limit` after the first wait begins.
    pub fn after(limit: Duration) -> Self {
        Self { limit, timer: None, running: false }
    }

    /// Starts over, as after progress.
    pub fn restart(&mut self) {
        self.running = false;
    }

    /// Ready with `TimedOut` when the time is over.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let at = || Instant::now() + self.limit.min(FOR_EVER);
        let timer = match &mut self.timer {
            Some(timer) => {
                if !self.running {
                    timer.as_mut().reset(at());
                }
                timer
            }
            none => {
                let spare = TIMERS.with(Spare::take).map(|mut timer| {
                    timer.as_mut().reset(at());
                    timer
                });
                none.insert(spare.unwrap_or_else(|| Box::pin(tokio::time::sleep_until(at()))))
            }
        };
        self.running = true;
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            // A thread that ends has no more use for it.
            let _ = TIMERS.try_with(|spare| spare.keep(timer));
        }
    }
}

/// nginx's sentence for a handshake that has failed.
pub fn handshake_failed(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "peer closed connection in SSL handshake".to_owned(),
        io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied => {
            let why = error.get_ref().map(ToString::to_string).unwrap_or_default();
            format!("SSL_do_handshake() failed (SSL: {why})")
        }
        _ => format!("SSL_do_handshake() failed{}", os_error(error)),
    }
}

/// Reads once into the end of `buf`, at most `room` bytes. `Ok(0)` is the peer's FIN.
pub fn poll_read(
    stream: &RefCell<Stream>,
    buf: &mut Vec<u8>,
    room: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    buf.reserve(room);
    loop {
        let got = stream.borrow_mut().try_read_buf(&mut (&mut *buf).limit(room));
        match got {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
        ready!(stream.borrow().poll_readable(cx))?;
    }
}

/// Reads once, waiting until the deadline.
pub async fn read(
    stream: &RefCell<Stream>,
    buf: &RefCell<Buffer>,
    room: usize,
    mut deadline: Deadline,
) -> io::Result<usize> {
    poll_fn(|cx| {
        if let Poll::Ready(done) = poll_read(stream, &mut buf.borrow_mut(), room, cx) {
            return Poll::Ready(done);
        }
        deadline.poll(cx).map(Err)
    })
    .await
}

/// Writes once, waiting until the deadline.
pub async fn write(
    stream: &RefCell<Stream>,
    bytes: &[u8],
    mut deadline: Deadline,
) -> io::Result<usize> {
    poll_fn(|cx| {
        if let Poll::Ready(done) = poll_write(stream, bytes, cx) {
            return Poll::Ready(done);
        }
        deadline.poll(cx).map(Err)
    })
    .await
}

/// Has the kernel send a part of a file; a file that ends before is an error.
pub fn poll_send_file(
    stream: &RefCell<Stream>,
    file: &File,
    at: u64,
    len: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    poll_writing(stream, cx, io::ErrorKind::UnexpectedEof, |to| to.try_send_file(file, at, len))
}

/// Has the kernel send what a pipe holds.
pub fn poll_drain(
    stream: &RefCell<Stream>,
    pipe: &mut Pipe,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    poll_writing(stream, cx, io::ErrorKind::WriteZero, |to| to.try_drain(pipe))
}

/// Has the kernel take up to `len` bytes into an empty pipe. `Ok(0)` is the peer's FIN.
pub fn poll_fill(
    stream: &RefCell<Stream>,
    pipe: &mut Pipe,
    len: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    loop {
        let got = stream.borrow_mut().try_fill(pipe, len);
        match got {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
        ready!(stream.borrow().poll_readable(cx))?;
    }
}

/// Writes once; an accepted length of 0 is an error.
pub fn poll_write(
    stream: &RefCell<Stream>,
    bytes: &[u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    poll_writing(stream, cx, io::ErrorKind::WriteZero, |to| to.try_write(bytes))
}

/// One transfer, when it can be made; `nothing` is what it means that no byte went.
fn poll_writing(
    stream: &RefCell<Stream>,
    cx: &mut Context<'_>,
    nothing: io::ErrorKind,
    mut transfer: impl FnMut(&mut Stream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        let got = transfer(&mut stream.borrow_mut());
        match got {
            Ok(0) => return Poll::Ready(Err(nothing.into())),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
        ready!(stream.borrow().poll_writable(cx))?;
    }
}
