//! Owns the answers of a closed door.
//!
//! Must not judge who gets one.

use super::assets;
use super::conf::{Conf, Json, RetryAfter};
use super::cors::Cors;
use super::page::Said;
use super::wants::{self, Wants};
use crate::http::headers::Name;
use crate::http::method::Method;
use crate::http::passage::Action;
use crate::http::phase::{Phase, Stop};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::uri;
use crate::log::clock;
use crate::zone::gates::{Order, State};
use serde::Serialize;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Makes the reply for who is turned away.
pub fn turn_away(req: &mut Request) -> Stop {
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).maintenance;
    let order = req.live.gate.order(conf.switch);
    let said = said(req, conf, &order);
    let action = choose(req, conf);
    let reply = match action {
        Action::Grpc => grpc(&said),
        Action::Redirect => redirect(req, conf),
        Action::Json => json(conf, &said),
        Action::Preflight => Cors::preflight(req),
        _ => {
            let page = conf.page.render(req, &said);
            Reply::text(conf.status, conf.page.content_type, page)
        }
    };
    let retry_after = said.retry_after;
    leave_body(req);
    // It may have been on the way to the page of another error.
    req.error_status = 0;
    req.guest.action = action;
    req.guest.found_closed = Some(true);
    req.reply = reply;
    let headers = &mut req.reply.headers;
    headers.push_known(Name::CacheControl, b"no-store");
    if matches!(action, Action::Page | Action::Json) {
        headers.push_known(Name::RetryAfter, retry_after.to_string().as_bytes());
        headers.push_known(Name::Vary, vary(conf));
    }
    allow_scripts(req, conf);
    Stop::Reply
}

/// Lets scripts of other origins read the answer, as the configuration says.
fn allow_scripts(req: &mut Request, conf: &Conf) {
    let mut headers = std::mem::take(&mut req.reply.headers);
    conf.cors.allow(req, &mut headers);
    req.reply.headers = headers;
}

/// What a client is told of the closing. A file that closes the door says nothing.
fn said<'a>(req: &Request, conf: &Conf, order: &'a Order) -> Said<'a> {
    let ordered = order.state != State::Open;
    let until = order.until.filter(|_| ordered);
    Said {
        reason: if ordered { &order.reason } else { "" },
        until,
        retry_after: retry_after(req, conf.retry_after, until),
    }
}

/// The rest of the time that was announced, else what the configuration says; and this client's share
/// of the jitter.
fn retry_after(req: &Request, conf: RetryAfter, until: Option<u64>) -> u64 {
    let now = u64::try_from(clock::seconds()).unwrap_or(0);
    let usual = conf.time.as_secs();
    let left = until.map(|until| until.saturating_sub(now)).filter(|left| *left > 0);
    let most = usual * u64::from(conf.jitter) / 100;
    let mut hasher = DefaultHasher::new();
    req.peer().ip().hash(&mut hasher);
    left.unwrap_or(usual) + hasher.finish() % (most + 1)
}

fn choose(req: &Request, conf: &Conf) -> Action {
    if conf.cors.is_preflight(req) {
        return Action::Preflight;
    }
    match wants::of(req) {
        Wants::Grpc => Action::Grpc,
        Wants::Json if !matches!(conf.json, Json::Off) => Action::Json,
        Wants::Json => Action::Page,
        Wants::Page => match &conf.redirect {
            Some((target, _)) if wants::is_navigation(req) && !leads_here(req, target) => {
                Action::Redirect
            }
            _ => Action::Page,
        },
    }
}

fn vary(conf: &Conf) -> &'static [u8] {
    if conf.page.has_languages() { b"Accept, Accept-Language" } else { b"Accept" }
}

/// A problem document (RFC 9457), in the order in which it is written.
#[derive(Serialize)]
struct Problem<'a> {
    status: u16,
    title: &'a str,
    detail: &'a str,
    retry_after: u64,
}

fn detail<'a>(said: &Said<'a>) -> &'a str {
    if said.reason.is_empty() { "The service is closed for maintenance." } else { said.reason }
}

fn json(conf: &Conf, said: &Said<'_>) -> Reply {
    if let Json::File(text) = &conf.json {
        return Reply::text(conf.status, b"application/json", text.to_vec());
    }
    let problem = Problem {
        status: conf.status,
        title: "Service Unavailable",
        detail: detail(said),
        retry_after: said.retry_after,
    };
    // Numbers and texts can always be written.
    let document = serde_json::to_vec(&problem).unwrap_or_default();
    Reply::text(conf.status, b"application/problem+json", document)
}

/// An answer that is all head, with the status that means: try again later.
fn grpc(said: &Said<'_>) -> Reply {
    let mut reply = Reply::text(200, b"application/grpc", b"");
    let pushback = said.retry_after.saturating_mul(1000).to_string();
    reply.headers.push(b"grpc-status", b"14");
    reply.headers.push(b"grpc-message", grpc_message(detail(said)).as_bytes());
    reply.headers.push(b"grpc-retry-pushback-ms", pushback.as_bytes());
    reply
}

/// Everything but visible ASCII is escaped, and the escape itself.
fn grpc_message(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    escaped.collect()
}

fn redirect(req: &Request, conf: &Conf) -> Reply {
    let Some((target, status)) = &conf.redirect else { return Reply::empty(conf.status) };
    let mut reply = Reply::text(*status, b"text/plain", b"");
    reply.location = Some(target.value(req).into_owned());
    reply
}

/// Whether the redirect would lead to what was asked for: the page is shown instead.
fn leads_here(req: &Request, target: &Template) -> bool {
    let target = target.value(req);
    let rest = target.strip_prefix(b"https://").or_else(|| target.strip_prefix(b"http://"));
    let path = match rest {
        None => &target[..],
        Some(rest) => {
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
            let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
            if !host_of(authority).eq_ignore_ascii_case(req.host()) {
                return false;
            }
            if path.starts_with(b"/") { path } else { b"/" }
        }
    };
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    let path = &path[..end];
    path == req.uri || uri::normalize(path, true).is_ok_and(|uri| uri.path == req.uri)
}

/// The host of an authority, without its port.
fn host_of(authority: &[u8]) -> &[u8] {
    let after = memchr::memrchr(b']', authority).unwrap_or(0);
    match memchr::memchr(b':', &authority[after..]) {
        Some(colon) => &authority[..after + colon],
        None => authority,
    }
}

/// A body that has come is passed over. One that has not is not waited for: the answer goes out at
/// once, and with it the connection.
fn leave_body(req: &mut Request) {
    let client = req.client.clone();
    if req.body.skip(&client).is_err() || !req.body.is_read() {
        req.keepalive = false;
    }
}

/// Answers with a file that belongs to the page, if one is asked for.
pub(super) fn asset(req: &mut Request) -> Phase {
    let snapshot = req.snapshot.clone();
    let conf = snapshot.conf(req.location);
    let Some(assets) = &conf.maintenance.assets else { return Ok(()) };
    if !assets.own(&req.uri) || !matches!(req.method, Method::Get | Method::Head) {
        return Ok(());
    }
    req.guest.action = Action::Asset;
    req.reply = match assets.find(&req.uri) {
        Some(bytes) => {
            let known = assets::content_type(&req.uri).map(<[u8]>::to_vec);
            let kind = known.or_else(|| conf.files.content_type(&req.uri));
            Reply::text(200, &kind.unwrap_or_default(), bytes.to_vec())
        }
        None => Reply::text(404, b"text/plain", b"Not Found\n"),
    };
    req.reply.headers.push_known(Name::CacheControl, b"no-store");
    allow_scripts(req, &conf.maintenance);
    Err(Stop::Reply)
}

/// Who stays where a redirect has led to is led back when the door has opened: only this server knows
/// that path, the one behind does not.
pub(super) fn lead_back(req: &mut Request) -> Phase {
    let snapshot = req.snapshot.clone();
    let conf = snapshot.conf(req.location);
    let Some((target, _)) = &conf.maintenance.redirect else { return Ok(()) };
    let asks = matches!(req.method, Method::Get | Method::Head) && conf.proxy.pass.is_some();
    if !asks || req.uri == b"/" || !leads_here(req, target) {
        return Ok(());
    }
    req.guest.action = Action::Asset;
    req.reply = Reply::text(302, b"text/plain", b"");
    req.reply.location = Some(b"/".to_vec());
    req.reply.headers.push_known(Name::CacheControl, b"no-store");
    Err(Stop::Reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_grpc_are_escaped() {
        assert_eq!(grpc_message("back at 5%, \u{e9}\n"), "back at 5%25, %C3%A9%0A");
    }

    #[test]
    fn hosts_of_authorities() {
        for (authority, host) in
            [("a", "a"), ("a:80", "a"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]"), ("", "")]
        {
            assert_eq!(host_of(authority.as_bytes()), host.as_bytes());
        }
    }
}
