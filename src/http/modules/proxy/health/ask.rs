//! Owns one health check: the connection, the request, and whether the answer is a good one.
//!
//! Must not count for or against the server; whoever asked for it does.

use super::super::conf::{Conf, HttpVersion};
use super::super::request::{self, Announced};
use super::Check;
use crate::http::h1::chunked::Decoder;
use crate::http::h1::framing::{self, Length};
use crate::http::io as stream_io;
use crate::http::origin::h2;
use crate::http::origin::{Ask, Exchange, Failure, Outgoing, Source};
use crate::http::request::{Request, Try};
use crate::http::upstream_ssl::Trouble;
use crate::net::{Address, Stream};
use crate::upstream::{self, Checked};
use std::cell::RefCell;
use std::future::poll_fn;

/// Of a body so much is looked at; nginx's number.
const BODY: usize = 256 * 1024;

/// Read at a time.
const READ: usize = 16 * 1024;

/// Asks a server; the error says what is wrong with it.
pub async fn ask(req: &mut Request, check: &Check, server: &Checked) -> Result<(), String> {
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).proxy;
    let address = address(check, server);
    let mut stream = connect(req, conf, &address).await?;
    if check.tcp {
        return Ok(());
    }
    let Some(origin) = conf.pass.as_ref().and_then(|pass| pass.origin()) else {
        return Err("nothing is known of it".to_owned());
    };
    req.origin = Some(origin.clone());
    if origin.tls {
        let group = snapshot.groups.get(check.group).map_or("", |group| &group.name);
        let ssl = &snapshot.conf(req.location).proxy_ssl;
        let secure = ssl.secure(req, &snapshot.upstream_ssl, &origin.host);
        let secure = secure.ok_or("TLS cannot be set up")?;
        let shaken = secure.shake(req, &mut stream, (group, &address));
        let shaken = tokio::time::timeout(conf.connect_timeout, shaken).await;
        shaken.map_err(|_| "timed out")?.map_err(Trouble::into_sentence)?;
    }
    if conf.http_version == HttpVersion::Http2 {
        let begun = h2::begin(stream, origin.tls).await;
        stream = begun.map_err(|error| error.to_string())?;
    }
    let mut head = Vec::new();
    request::write(req, conf, &check.uri, &origin.host, Announced::Nothing, &mut head);
    let mut exchange = Exchange::new(stream);
    req.guest.asks();
    let reply = exchange.ask(question(req, conf, &head)).await;
    req.guest.is_answered();
    let reply = reply.map_err(said)?;
    let status = if reply.http09 { 200 } else { reply.head.status };
    req.upstream_headers = reply.head.headers;
    req.tries.push(Try { peer: server.name().to_owned(), status, ..Try::default() });
    check.expected.head(status, &req.upstream_headers, req)?;
    if !check.expected.wants_body() {
        return Ok(());
    }
    let length = if reply.http09 {
        Length::UntilClose
    } else {
        framing::response_body(status, &req.upstream_headers, false)?
    };
    let body = read(exchange, length);
    let body = tokio::time::timeout(conf.read_timeout, body).await;
    check.expected.body(&body.map_err(|_| "timed out".to_owned())??)
}

fn address(check: &Check, server: &Checked) -> Address {
    match (server.address(), check.port) {
        (Address::Inet(inet), Some(port)) => Address::Inet((inet.ip(), port).into()),
        (address, _) => address.clone(),
    }
}

async fn connect(req: &Request, conf: &Conf, address: &Address) -> Result<Stream, String> {
    let socket = upstream::SocketOptions { local: conf.bind.value(req), ..conf.socket };
    let connected = upstream::connect(address, conf.connect_timeout, &socket).await;
    connected.map_err(|error| error.to_string())
}

fn question<'a>(req: &'a mut Request, conf: &Conf, head: &'a [u8]) -> Ask<'a> {
    Ask {
        outgoing: Outgoing::Nothing,
        ignore_abort: true,
        passage: req.guest.passage.as_ref(),
        send_timeout: conf.send_timeout,
        read_timeout: conf.read_timeout,
        body_timeout: conf.read_timeout,
        head_limit: conf.buffer_size,
        hints: None,
        source: Source { head, body: &mut req.body, client: &req.client },
    }
}

fn said(failure: Failure) -> String {
    match failure {
        Failure::Error(why) | Failure::Invalid(why) | Failure::Unfit(why) => why,
        Failure::TimedOut => "timed out".to_owned(),
        Failure::Here | Failure::ClientGone | Failure::Body(_) => "could not be asked".to_owned(),
    }
}

/// The beginning of a body.
async fn read(mut exchange: Exchange, length: Length) -> Result<Vec<u8>, String> {
    let mut raw = exchange.unused().to_vec();
    let (mut decoder, mut body) = (Decoder::new(), Vec::new());
    loop {
        let over = match length {
            Length::Chunked => decode(&mut decoder, &mut raw, &mut body)?,
            Length::None => true,
            Length::Known(bytes) => {
                body.append(&mut raw);
                body.len() as u64 >= bytes
            }
            Length::UntilClose => {
                body.append(&mut raw);
                false
            }
        };
        if over || body.len() >= BODY {
            body.truncate(BODY);
            return Ok(body);
        }
        match more(&exchange.stream, &mut raw).await {
            Ok(0) if length == Length::UntilClose => return Ok(body),
            Ok(0) => return Err("prematurely closed connection".to_owned()),
            Ok(_) => exchange.input.clear(),
            Err(error) => return Err(format!("recv() failed{}", crate::log::os_error(&error))),
        }
    }
}

async fn more(stream: &RefCell<Stream>, raw: &mut Vec<u8>) -> std::io::Result<usize> {
    poll_fn(|cx| stream_io::poll_read(stream, raw, READ, cx)).await
}

/// Decodes what has come; whether the body is over.
fn decode(decoder: &mut Decoder, raw: &mut Vec<u8>, body: &mut Vec<u8>) -> Result<bool, String> {
    let mut at = 0;
    while at < raw.len() {
        let rest = raw.get(at..).unwrap_or_default();
        let step = decoder.decode(rest).map_err(|_| "sent invalid chunked response".to_owned())?;
        body.extend_from_slice(rest.get(step.data).unwrap_or_default());
        at += step.consumed;
        if step.finished {
            return Ok(true);
        }
    }
    raw.clear();
    Ok(false)
}
