//! Owns WebSockets on streams (RFC 8441): an extended CONNECT is taken for the handshake of HTTP/1.1 that
//! servers behind know, and their 101 answered as HTTP/2 has it.
//!
//! Must not look at frames; the tunnel moves bytes.

use super::channel::Channel;
use super::reply;
use crate::base64;
use crate::http::body::Body;
use crate::http::client::Doing;
use crate::http::conn::pump::Cut;
use crate::http::conn::tunnel;
use crate::http::headers::Name;
use crate::http::modules::variables;
use crate::http::request::Request;
use h2::ext::Protocol;
use http::request::Parts;

const ACCEPT: &[u8] = b"sec-websocket-accept";

/// What a stream is to become, by its `:protocol`.
pub fn protocol(parts: &Parts) -> Option<&str> {
    parts.extensions.get::<Protocol>().map(Protocol::as_str)
}

/// Whether it is to become a WebSocket.
pub fn is_asked(parts: &Parts) -> bool {
    protocol(parts) == Some("websocket")
}

/// Adds the fields that HTTP/1.1 asks for one with. The key proves to a client that its server knows the
/// protocol; here `:protocol` does, and any key will do.
pub fn complete(req: &mut Request) {
    let key = variables::made_id(req).first_chunk::<16>().map(|id| base64::encode(id));
    let headers = &mut req.head.headers;
    headers.push_known(Name::Upgrade, b"websocket");
    headers.push_known(Name::Connection, b"Upgrade");
    headers.set(Name::SecWebSocketKey, key.unwrap_or_default().as_bytes());
}

/// Whether a client will take the reply for what it is. To one that asked for a WebSocket every 2xx says
/// that it has one (RFC 8441, section 5); nobody else can be given one.
pub fn fits(req: &Request, asked: bool) -> bool {
    match req.reply.status {
        101 => asked && matches!(req.reply.body, Body::Upstream(_)),
        200..300 => !asked,
        _ => true,
    }
}

/// Tells the client that it has its WebSocket, and passes bytes both ways until either side ends.
pub async fn run(req: &mut Request, channel: &Channel) -> Result<(), Cut> {
    req.reply.status = 200;
    req.reply.headers.remove_str(ACCEPT);
    let (head, bytes) = reply::head(req).ok_or(Cut)?;
    req.reply.head_sent = true;
    req.client.sent.set(req.client.sent.get() + bytes as u64);
    let responded = channel.respond(head, false, req.conf().http2.chunk);
    req.settle_try();
    responded.map_err(|_| Cut)?;
    req.client.doing.set(Doing::Tunnel);
    drop(tunnel::run(req).await);
    channel.end(None).map_err(|_| Cut)
}
