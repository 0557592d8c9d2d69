//! Owns one request on a stream, from its head to the end of its answer.
//!
//! Must not know the connection's other streams, nor decide what is answered; the pipeline does.

use super::channel::Channel;
use super::{head, reply, websocket};
use crate::http::client::Client;
use crate::http::conn::head::Framing;
use crate::http::conn::pump::{self, Cut};
use crate::http::conn::{begin, failed_here};
use crate::http::h1::Reject;
use crate::http::modules::{access_log, headers, proxy};
use crate::http::pipeline::{self, Verdict};
use crate::http::request::Request;
use crate::http::request_body::RequestBody;
use crate::http::service::Service;
use crate::http::spare::Buffer;
use crate::log::Level;
use crate::zone::Total;
use h2::Reason;
use http::request::Parts;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// A request that has come.
pub struct Asked {
    pub parts: Parts,
    /// Nothing follows its head.
    pub ended: bool,
    /// Bytes of its head on the wire.
    pub head: u64,
}

/// Answers one request. `client` stands for its stream.
pub async fn serve(service: &Rc<Service>, client: &Rc<Client>, channel: &Channel, asked: Asked) {
    poll_fn(|cx| {
        client.served_by(cx);
        Poll::Ready(())
    })
    .await;
    let mut req = begin::request(service, client);
    let done = {
        let mut work = pin!(respond(&mut req, channel, asked));
        poll_fn(|cx| {
            if client.is_cut() {
                return Poll::Ready(false);
            }
            work.as_mut().poll(cx).map(|()| true)
        })
        .await
    };
    if !done {
        channel.reset(Reason::CANCEL);
        if !req.logged.get() {
            pump::stop(&mut req);
            access_log::run(&req);
        }
    }
}

async fn respond(req: &mut Request, channel: &Channel, asked: Asked) {
    req.live.counters.count(Total::Requests);
    let socket = websocket::is_asked(&asked.parts);
    let mut verdict = match enter(req, &asked) {
        Ok(()) => match begin::refused_for_tls(req) {
            None => pipeline::run(req).await,
            Some(status) => pipeline::refuse(req, status).await,
        },
        Err(reject) => {
            req.refused = true;
            req.log(Level::Info, format_args!("{}", reject.why));
            pipeline::refuse(req, reject.status).await
        }
    };
    if verdict == Verdict::Send && !websocket::fits(req, socket) {
        let status = req.reply.status;
        req.log_error(format_args!("{status} is no answer to what the stream was to become"));
        verdict = pipeline::refuse(req, 502).await;
    }
    if verdict == Verdict::Close || !websocket::fits(req, socket) {
        pipeline::over(req);
        return channel.reset(Reason::INTERNAL_ERROR);
    }
    if failed_here(req) {
        req.live.counters.count(Total::Failed);
    }
    let mut out = Buffer::spare();
    let sent = if req.reply.status == 101 {
        websocket::run(req, channel).await
    } else {
        send(req, channel, &mut out).await
    };
    drop(out);
    pipeline::over(req);
    if sent.is_err() {
        channel.reset(Reason::INTERNAL_ERROR);
    }
}

/// What follows from the head.
fn enter(req: &mut Request, asked: &Asked) -> Result<(), Reject> {
    begin::enter_writing(req);
    req.keepalive = true;
    req.received = asked.head;
    let snapshot = req.snapshot.clone();
    let limits = &snapshot.conf(req.location).connection.limits;
    let read = head::read(&asked.parts, limits, &mut req.head);
    begin::log_dropped(req);
    begin::find_server(req);
    read?;
    if !begin::speaks_h2(&snapshot, &req.client, req.server) {
        let why = "client attempted to request the server name for which the negotiated protocol is disabled";
        return Err(Reject::new(421, why));
    }
    req.take_target();
    let length = head::length(&req.head, asked.ended)?;
    // What follows the head of a WebSocket is no body.
    let socket = websocket::is_asked(&asked.parts);
    req.body = RequestBody::of_stream(length, asked.ended || socket);
    if socket {
        websocket::complete(req);
    }
    Ok(())
}

/// Sends the reply.
async fn send(req: &mut Request, channel: &Channel, out: &mut Vec<u8>) -> Result<(), Cut> {
    let chunk = req.conf().http2.chunk;
    let whole = req.header_only() || req.reply.content_length == Some(0);
    let (head, bytes) = reply::head(req).ok_or(Cut)?;
    req.reply.head_sent = true;
    let responded = channel.respond(head, whole, chunk);
    req.client.sent.set(req.client.sent.get() + bytes as u64);
    if whole || responded.is_err() {
        if responded.is_err() {
            pump::stop(req);
        }
        req.settle_try();
        return responded.map_err(|_| Cut);
    }
    let trailers = headers::has_trailers(req);
    pump::body(req, out, Framing::Plain, trailers).await?;
    if req.reply.content_length.is_some_and(|length| length != req.body_sent) {
        req.reply.truncated = true;
        return Err(Cut);
    }
    if trailers {
        proxy::trailers(req);
        headers::trailers(req);
    }
    channel.end(reply::trailers(&req.reply.trailers)).map_err(|_| Cut)
}
