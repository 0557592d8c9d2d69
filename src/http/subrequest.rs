//! Owns subrequests: another URI asked for inside a request, through the same pipeline, with the same
//! head and the same variables.
//!
//! Must not decide what becomes of an answer; who asks does.

use super::body::Body;
use super::method::Method;
use super::modules::{access_log, variables};
use super::passage::Guest;
use super::pipeline::{self, Verdict};
use super::request::{Request, Start, Sub};
use super::uri::Flags;
use std::cell::OnceCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};

/// How many may stand one in another; nginx's number.
pub const DEPTH: u8 = 51;

/// Read at most of a body that nobody wants, for the sake of its connection.
const DISCARDED: usize = 64 * 1024;

/// A GET of another URI. `None` when too many stand in one another; the log says so.
pub fn new(parent: &Request, uri: &[u8], args: &[u8]) -> Option<Request> {
    let Some(left) = left(parent).checked_sub(1) else {
        let uri = String::from_utf8_lossy(uri);
        parent.log_error(format_args!("subrequests cycle while processing \"{uri}\""));
        return None;
    };
    let mut sub = inside(parent, left);
    // Whether the main request's target came escaped says nothing of this one.
    sub.head.uri.flags = Flags::default();
    sub.uri = uri.to_vec();
    sub.args = args.to_vec();
    Some(sub)
}

/// One that stands for a request where its variables are wanted and it cannot be had itself. It is
/// never run.
pub fn double(req: &Request) -> Request {
    let mut double = inside(req, left(req));
    double.uri.clone_from(&req.uri);
    double.args.clone_from(&req.args);
    double.method = req.method;
    double.location = req.location;
    double.error_status = req.error_status;
    double.captures.clone_from(&req.captures);
    double.tries.clone_from(&req.tries);
    double.upstream_headers.clone_from(&req.upstream_headers);
    double.reply.status = req.reply.status;
    double.reply.content_type.clone_from(&req.reply.content_type);
    double.reply.headers.clone_from(&req.reply.headers);
    if let (Some(about), Some(sub)) = (&mut double.sub, &req.sub) {
        about.page.clone_from(&sub.page);
    }
    double
}

/// How many may stand inside of a request.
fn left(req: &Request) -> u8 {
    req.sub.as_ref().map_or(DEPTH, |sub| sub.left)
}

/// A request with everything that it shares with another one.
fn inside(parent: &Request, left: u8) -> Request {
    let mut sub = Request::new(Start {
        client: parent.client.clone(),
        snapshot: parent.snapshot.clone(),
        live: parent.live.clone(),
        server: parent.server,
        location: parent.server().root,
    });
    sub.real = parent.real;
    sub.head = parent.head.clone();
    sub.method = Method::Get;
    sub.body = parent.body.share();
    sub.slots = parent.slots.share();
    sub.id = OnceCell::from(*variables::made_id(parent));
    sub.internal = true;
    // What the main request has passed is not asked again.
    sub.limited.requests = parent.limited.requests;
    sub.limited.connections = parent.limited.connections;
    sub.guest = Guest { tokens: parent.guest.tokens.clone(), ..Guest::default() };
    let main_method = parent.sub.as_ref().map_or(parent.method, |sub| sub.main_method);
    let about = Sub { main_method, left, ..Sub::default() };
    sub.sub = Some(Box::new(about));
    sub
}

/// The same for an answer of which only the head is wanted.
pub fn header_only(parent: &Request, uri: &[u8], args: &[u8]) -> Option<Request> {
    let mut sub = new(parent, uri, args)?;
    if let Some(about) = &mut sub.sub {
        about.header_only = true;
    }
    Some(sub)
}

/// Runs it until its answer's head stands ready. Boxed, because it may have subrequests of its own.
pub fn run<'a>(sub: &'a mut Request) -> Pin<Box<dyn Future<Output = Verdict> + 'a>> {
    Box::pin(pipeline::run(sub))
}

/// Reads a body that nobody wants, as long as that is worth it for its connection.
pub async fn read_through(sub: &mut Request) {
    let (mut out, mut read) = (Vec::new(), 0);
    poll_fn(|cx| {
        while read < DISCARDED && sub.reply.is_proxied() {
            out.clear();
            match ready!(sub.reply.body.poll_fill(&mut out, DISCARDED, cx)) {
                Ok(true) => read += out.len(),
                Ok(false) | Err(_) => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// Ends one whose body nobody wants. What has come of the body is read, so that its connection may
/// serve another request; what has not is not waited for.
pub async fn dismiss(sub: &mut Request) {
    {
        let mut come = pin!(read_through(sub));
        poll_fn(|cx| Poll::Ready(come.as_mut().poll(cx))).await.is_ready();
    }
    sub.settle_try();
    if let Body::Upstream(answer) = std::mem::take(&mut sub.reply.body) {
        answer.dismiss();
    }
    log(sub);
}

/// The line in the access log that is due at a subrequest's end, where `log_subrequest` asks for one.
pub fn log(sub: &Request) {
    if access_log::wants_subrequests(sub) {
        access_log::run(sub);
    }
}
