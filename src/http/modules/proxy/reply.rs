//! Owns what of an upstream's answer the client gets, and what is said when there is none.

use super::conf::Conf;
use crate::conf::values;
use crate::http::body::Body;
use crate::http::date;
use crate::http::headers::{Field, Headers, Name};
use crate::http::origin::{Answer, Failure, Reply as UpstreamReply};
use crate::http::phase::Stop;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::route;
use crate::http::uri;
use crate::log::Level;

const REDIRECT: u32 = 1;
const LIMIT_RATE: u32 = 1 << 1;
const BUFFERING: u32 = 1 << 2;
const CHARSET: u32 = 1 << 3;

/// The words of `proxy_ignore_headers`; those without a bit mean something to a cache only.
pub const IGNORED: &[(&str, u32)] = &[
    ("X-Accel-Redirect", REDIRECT),
    ("X-Accel-Limit-Rate", LIMIT_RATE),
    ("X-Accel-Buffering", BUFFERING),
    ("X-Accel-Charset", CHARSET),
    ("X-Accel-Expires", 0),
    ("Expires", 0),
    ("Cache-Control", 0),
    ("Set-Cookie", 0),
    ("Vary", 0),
];

/// At the end of a body: the fields that the upstream has sent behind it, but for those hidden.
pub fn trailers(req: &mut Request) {
    let Body::Upstream(answer) = req.reply.body.source() else { return };
    let Some(trailers) = answer.trailers().filter(|_| req.reply.passes_trailers).cloned() else {
        return;
    };
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).proxy;
    for field in trailers.iter().filter(|field| !conf.hides(field.name)) {
        req.reply.trailers.push_field(field);
    }
}

/// Turns an upstream's answer into the client's.
pub fn prepare(
    req: &mut Request,
    conf: &Conf,
    mut from: UpstreamReply,
    mut answer: Answer,
) -> Stop {
    req.upstream_headers = std::mem::take(&mut from.head.headers);
    let heeds = |field: u32| conf.ignored & field == 0;
    let rate = req.upstream_headers.get(Name::XAccelLimitRate).filter(|_| heeds(LIMIT_RATE));
    if let Some(rate) = rate.and_then(values::parse_number) {
        req.limit_rate = Some(rate);
    }
    if heeds(REDIRECT)
        && let Some(stop) = accel_redirect(req)
    {
        answer.dismiss();
        return stop;
    }
    if from.http09 {
        return without_head(req, answer);
    }
    let status = from.head.status;
    if conf.intercept_errors && status >= 300 && req.conf().error_page.has(status) {
        answer.dismiss();
        return intercepted(req, status);
    }
    let buffering = buffering(req, conf);
    if buffering {
        answer.pace(conf.limit_rate.value(req));
        if let Some(limits) = conf.ahead.as_ref().filter(|_| status != 101) {
            answer.read_ahead(limits);
        }
    }
    let mut reply = Reply {
        status,
        reason: Some(std::mem::take(&mut from.head.status_line)),
        unwatched: conf.ignore_abort,
        unbuffered: !buffering,
        window: if buffering { conf.window } else { conf.buffer_size },
        ..Reply::default()
    };
    let charset = req.upstream_headers.get(Name::XAccelCharset);
    reply.override_charset = charset.filter(|_| heeds(CHARSET)).map(<[u8]>::to_vec);
    if let Some(session) = req.session.take() {
        reply.headers.push_known(Name::SetCookie, &session);
    }
    copy_fields(req, conf, &mut reply);
    reply.passes_trailers = conf.pass_trailers && answer.may_have_trailers();
    if conf.force_ranges {
        reply.headers.remove(Name::AcceptRanges);
        reply.allow_ranges = true;
    }
    req.keepalive &= status != 101;
    reply.body = Body::Upstream(Box::new(answer));
    req.reply = reply;
    if let Some(store) = &conf.store {
        store.copy(req);
    }
    Stop::Reply
}

/// HTTP/0.9: all is body.
fn without_head(req: &mut Request, answer: Answer) -> Stop {
    req.log_error(format_args!(
        "upstream sent no valid HTTP/1.0 header while reading response header from upstream"
    ));
    req.keepalive = false;
    req.reply = Reply {
        status: 200,
        bare: true,
        body: Body::Upstream(Box::new(answer)),
        ..Reply::default()
    };
    Stop::Reply
}

/// Whether the answer is read ahead of the client; the upstream may know better than the configuration.
fn buffering(req: &Request, conf: &Conf) -> bool {
    let said =
        req.upstream_headers.get(Name::XAccelBuffering).filter(|_| conf.ignored & BUFFERING == 0);
    match said {
        Some(word) if word.eq_ignore_ascii_case(b"yes") => true,
        Some(word) if word.eq_ignore_ascii_case(b"no") => false,
        _ => conf.buffering,
    }
}

/// `proxy_intercept_errors`: the status goes to `error_page`; a challenge stays with it.
fn intercepted(req: &mut Request, status: u16) -> Stop {
    req.reply = Reply::default();
    if status == 401 {
        let challenges: Vec<Vec<u8>> =
            req.upstream_headers.get_all(Name::WwwAuthenticate).map(<[u8]>::to_vec).collect();
        for value in challenges {
            req.reply.headers.push_known(Name::WwwAuthenticate, &value);
        }
    }
    Stop::Status(status)
}

/// Copies fields in the upstream's order; hop-by-hop and hidden ones stay behind.
fn copy_fields(req: &Request, conf: &Conf, reply: &mut Reply) {
    let headers = &req.upstream_headers;
    let chunked = headers.contains(Name::TransferEncoding);
    let named = named_by_connection(headers);
    for field in headers.iter() {
        if conf.hides(field.name) || is_repeated(req, headers, field) {
            continue;
        }
        match field.id {
            Name::Connection | Name::KeepAlive | Name::TransferEncoding | Name::ProxyConnection => {
            }
            Name::ContentType => reply.content_type = Some(field.value.to_vec()),
            Name::ContentLength => {
                if !chunked {
                    reply.content_length =
                        std::str::from_utf8(field.value).ok().and_then(|v| v.parse().ok());
                }
            }
            Name::LastModified => {
                reply.last_modified = date::parse(field.value);
                reply.headers.push_field(field);
            }
            Name::Location => match conf.redirects.location(req, field.value) {
                // One of our own paths: it may yet become absolute.
                Some(value) if value.starts_with(b"/") => reply.location = Some(value),
                Some(value) => reply.headers.push(field.name, &value),
                None => reply.headers.push_field(field),
            },
            Name::Refresh => match conf.redirects.refresh(req, field.value) {
                Some(value) => reply.headers.push(field.name, &value),
                None => reply.headers.push_field(field),
            },
            Name::SetCookie => {
                match conf.cookies.as_ref().and_then(|c| c.rewrite(req, field.value)) {
                    Some(value) => reply.headers.push(field.name, &value),
                    None => reply.headers.push_field(field),
                }
            }
            Name::Other if named.iter().any(|name| name.eq_ignore_ascii_case(field.name)) => {}
            _ => reply.headers.push_field(field),
        }
    }
    if matches!(reply.status, 204 | 304) && reply.status == 204 {
        reply.content_length = None;
    }
}

/// Fields that the upstream's `Connection` makes hop-by-hop (RFC 9110, section 7.6.1).
fn named_by_connection(headers: &Headers) -> Vec<&[u8]> {
    let values = headers.get_all(Name::Connection);
    values.flat_map(|value| value.split(|b| *b == b',')).map(<[u8]>::trim_ascii).collect()
}

/// A second field of those that may come once; nginx keeps the first and says so.
fn is_repeated(req: &Request, headers: &Headers, field: Field<'_>) -> bool {
    let single = matches!(
        field.id,
        Name::ContentType
            | Name::Date
            | Name::LastModified
            | Name::ETag
            | Name::Server
            | Name::Location
            | Name::Refresh
            | Name::Expires
    );
    let Some(first) = headers.get(field.id).filter(|_| single) else { return false };
    if std::ptr::eq(first, field.value) {
        return false;
    }
    let (name, text) = (String::from_utf8_lossy(field.name), String::from_utf8_lossy(field.value));
    let before = String::from_utf8_lossy(first);
    req.log(Level::Warn, format_args!(
        "upstream sent duplicate header line: \"{name}: {text}\", previous value: \"{name}: {before}\", ignored while reading response header from upstream"
    ));
    true
}

/// `X-Accel-Redirect`: the answer is another location's.
fn accel_redirect(req: &mut Request) -> Option<Stop> {
    let target = req.upstream_headers.get_str(b"x-accel-redirect")?.to_vec();
    let mut kept = Reply::default();
    for field in req.upstream_headers.iter() {
        match field.id {
            Name::ContentType => kept.content_type = Some(field.value.to_vec()),
            Name::SetCookie
            | Name::ContentDisposition
            | Name::CacheControl
            | Name::Expires
            | Name::AcceptRanges => kept.headers.push_field(field),
            _ => {}
        }
    }
    req.reply = kept;
    if target.first() == Some(&b'@') {
        let found = route::find_named(&req.snapshot, req.server, &target);
        return Some(found.map_or(Stop::Status(500), Stop::Named));
    }
    let Ok((path, args)) = uri::safe_parts(&target) else {
        let shown = String::from_utf8_lossy(&target).into_owned();
        req.log_error(format_args!("unsafe URI \"{shown}\" was detected"));
        return Some(Stop::Status(404));
    };
    let (path, args) = (path.into_owned(), args.to_vec());
    req.set_uri(path, Some(args));
    if req.method != crate::http::method::Method::Head {
        req.method = crate::http::method::Method::Get;
    }
    Some(Stop::Redirect)
}

/// The client went away: nothing to answer, 499 in the log.
pub fn client_gone(req: &mut Request) -> Stop {
    let doing = match req.tries.last() {
        Some(last) if last.connect.is_some() => "sending request to upstream",
        _ => "connecting to upstream",
    };
    req.log(Level::Info, format_args!(
        "client prematurely closed connection, so upstream connection is closed too while {doing}"
    ));
    req.asking = false;
    req.reply.status = 499;
    req.keepalive = false;
    Stop::Close
}

/// nginx's line for a failed try.
pub fn log_failure(req: &Request, why: &Failure, sent: bool) {
    let doing = match req.tries.last() {
        Some(last) if last.connect.is_none() && last.securing => "SSL handshaking to upstream",
        Some(last) if last.connect.is_none() => "connecting to upstream",
        _ if sent => "reading response header from upstream",
        _ => "sending request to upstream",
    };
    match why {
        Failure::Error(sentence) if sentence.is_empty() => {}
        Failure::Error(sentence) => req.log_error(format_args!("{sentence} while {doing}")),
        Failure::Unfit(sentence) => {
            req.log_error(format_args!("{sentence} while sending request to upstream"));
        }
        Failure::Invalid(sentence) if sentence.contains(" while ") => {
            req.log_error(format_args!("{sentence}"));
        }
        Failure::Invalid(sentence) => {
            req.log_error(format_args!("{sentence} while reading response header from upstream"));
        }
        Failure::TimedOut => {
            req.log_error(format_args!(
                "upstream timed out (110: Connection timed out) while {doing}"
            ));
        }
        Failure::Here | Failure::ClientGone | Failure::Body(_) => {}
    }
}
