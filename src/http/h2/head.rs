//! Owns the making of a request's head from the fields of a stream, with nginx's checks.
//!
//! Must not read from the connection; what it refuses goes through the pipeline like any other request.

use super::websocket;
use crate::http::h1::Reject;
use crate::http::h1::framing::parse_length;
use crate::http::h1::head::{RequestHead, Version};
use crate::http::h1::host;
use crate::http::h1::request::{Limits, is_unique};
use crate::http::headers::Name;
use crate::http::method::Method;
use http::request::Parts;

const READING: &str = "while reading client request headers";

/// Fields that speak of one connection: HTTP/2 has none (RFC 9113, section 8.2.2).
const OF_A_CONNECTION: [Name; 4] =
    [Name::Connection, Name::KeepAlive, Name::TransferEncoding, Name::Upgrade];

fn refuse(status: u16, why: &str) -> Reject {
    Reject::new(status, format!("{why} {READING}"))
}

/// Fills `head`. After an error it holds what had been read, for the log and for `error_page`.
pub fn read(parts: &Parts, limits: &Limits, head: &mut RequestHead) -> Result<(), Reject> {
    head.version = Version::Http2;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    // A WebSocket is asked for as HTTP/1.1 does (RFC 8441, section 5).
    let method = if websocket::is_asked(parts) { "GET" } else { parts.method.as_str() };
    head.write_line(method.as_bytes(), target.as_bytes(), b"HTTP/2.0");
    let method = head.method_name();
    if !method.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'_' | b'-')) {
        let method = String::from_utf8_lossy(method);
        return Err(refuse(400, &format!("client sent invalid method: \"{method}\"")));
    }
    head.method = Method::of(method);
    if let Some(odd) = websocket::protocol(parts).filter(|_| !websocket::is_asked(parts)) {
        return Err(refuse(501, &format!("client sent unknown :protocol header: \"{odd}\"")));
    }
    if head.method != Method::Connect {
        take_target(target.as_bytes(), limits, head)?;
    }
    take_fields(parts, limits, head)?;
    take_host(parts, head)
}

fn take_target(target: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<(), Reject> {
    if target.len() > limits.header_line {
        return Err(refuse(414, "client sent too long URI"));
    }
    head.uri.read(target, limits.merge_slashes).map_err(|_| {
        let target = String::from_utf8_lossy(target);
        refuse(400, &format!("client sent invalid :path header: \"{target}\""))
    })
}

/// Takes the fields over, as far as they may be sent.
fn take_fields(parts: &Parts, limits: &Limits, head: &mut RequestHead) -> Result<(), Reject> {
    let (mut count, mut bytes) = (0, head.line.len());
    for (name, value) in &parts.headers {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        bytes += name.len() + value.len();
        if name.len().max(value.len()) > limits.header_line
            || bytes > limits.header_line.saturating_mul(limits.buffers)
        {
            return Err(refuse(494, "client sent too large header"));
        }
        if limits.ignore_invalid && !is_usual(name, limits.underscores) {
            head.drop_line(name, value);
            continue;
        }
        count += 1;
        if count > limits.max_headers {
            return Err(refuse(494, "client sent too many header lines"));
        }
        take_field(name, value, head)?;
    }
    join_cookies(head);
    Ok(())
}

/// What `ignore_invalid_headers` lets pass.
fn is_usual(name: &[u8], underscores: bool) -> bool {
    let usual =
        |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || (underscores && *byte == b'_');
    name.iter().all(usual)
}

fn take_field(name: &[u8], value: &[u8], head: &mut RequestHead) -> Result<(), Reject> {
    let id = Name::of(name);
    let shown = String::from_utf8_lossy(name);
    if OF_A_CONNECTION.contains(&id) {
        return Err(refuse(400, &format!("client sent \"{}\" header", id.as_str())));
    }
    if id == Name::Te && !value.eq_ignore_ascii_case(b"trailers") {
        return Err(refuse(400, "client sent invalid \"TE\" header"));
    }
    if is_unique(id) && head.headers.contains(id) {
        return Err(refuse(400, &format!("client sent duplicate header line: \"{shown}\"")));
    }
    // A value that came with spaces around it must not mean something else further on.
    let value = value.trim_ascii();
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(refuse(400, &format!("client sent header \"{shown}\" with invalid value")));
    }
    head.headers.push(name, value);
    Ok(())
}

/// Clients may send the crumbs of a cookie apart (RFC 9113, section 8.2.3); whoever reads it wants one.
fn join_cookies(head: &mut RequestHead) {
    let crumbs: Vec<&[u8]> = head.headers.get_all(Name::Cookie).collect();
    if crumbs.len() > 1 {
        let whole = crumbs.join(&b"; "[..]);
        head.headers.set(Name::Cookie, &whole);
    }
}

/// Who is asked: `:authority`, else Host. Both together must say the same.
fn take_host(parts: &Parts, head: &mut RequestHead) -> Result<(), Reject> {
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let given = head.headers.get(Name::Host).map(<[u8]>::to_vec);
    let (what, named) = match (authority, &given) {
        (Some(authority), Some(host)) if authority != host => {
            let why = "client sent \":authority\" and \"Host\" headers with different values";
            return Err(refuse(400, why));
        }
        (Some(authority), _) => ("\":authority\"", authority),
        (None, Some(host)) => ("host", &host[..]),
        (None, None) => {
            return Err(refuse(400, "client sent neither \":authority\" nor \"Host\" header"));
        }
    };
    host::copy_host(named, &mut head.host, &mut head.port)
        .map_err(|_| refuse(400, &format!("client sent invalid {what} header")))?;
    if given.is_none() {
        // `$http_host`, and everybody else who looks there.
        head.headers.push(b"host", named);
    }
    Ok(())
}

/// The length that the head announces for the body; checked against what has `ended` already.
pub fn length(head: &RequestHead, ended: bool) -> Result<Option<u64>, Reject> {
    let length = match head.headers.get(Name::ContentLength).map(parse_length) {
        Some(None) => return Err(refuse(400, "client sent invalid \"Content-Length\" header")),
        Some(Some(length)) => Some(length),
        None => None,
    };
    if ended && length.is_some_and(|length| length > 0) {
        return Err(refuse(400, "client prematurely closed stream"));
    }
    match head.method {
        Method::Connect => Err(refuse(405, "client sent CONNECT method")),
        Method::Trace => Err(refuse(405, "client sent TRACE method")),
        _ => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(request: http::request::Builder) -> Result<RequestHead, Reject> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut head = RequestHead::default();
        read(&parts, &Limits::default(), &mut head)?;
        Ok(head)
    }

    fn get(uri: &str) -> http::request::Builder {
        http::Request::builder().uri(uri)
    }

    #[test]
    fn a_head_looks_as_if_it_had_come_as_text() {
        let head = head(get("http://Example.com:81/a%20b?c=d").header("x-y", " z ")).unwrap();
        assert_eq!(head.line, b"GET /a%20b?c=d HTTP/2.0");
        assert_eq!((&head.uri.path[..], head.args()), (&b"/a b"[..], &b"c=d"[..]));
        assert_eq!((&head.host[..], &head.port[..]), (&b"example.com"[..], &b"81"[..]));
        assert_eq!(head.headers.get_str(b"x-y"), Some(&b"z"[..]));
        assert_eq!(head.headers.get(Name::Host), Some(&b"Example.com:81"[..]));
        assert_eq!(head.protocol(), b"HTTP/2.0");
    }

    #[test]
    fn crumbs_make_one_cookie() {
        let head = head(get("http://a/").header("cookie", "a=1").header("cookie", "b=2")).unwrap();
        assert_eq!(head.headers.get_all(Name::Cookie).collect::<Vec<_>>(), [b"a=1; b=2"]);
    }

    #[test]
    fn what_two_could_read_differently_is_refused() {
        let why = |request| head(request).unwrap_err().why.into_owned();
        assert!(why(get("http://a/").header("host", "b")).contains("different values"));
        assert!(why(get("/")).contains("neither"));
        assert!(why(get("http://a/").header("connection", "close")).contains("\"Connection\""));
        assert!(why(get("http://a/").header("te", "gzip")).contains("\"TE\""));
        assert!(
            why(get("http://a/").header("host", "a").header("host", "a")).contains("duplicate")
        );
        assert!(why(get("http://a/..")).contains(":path"));
        let mut many = get("http://a/");
        for n in 0..1001 {
            many = many.header(format!("x{n}"), "");
        }
        assert_eq!(head(many).unwrap_err().status, 494);
        assert_eq!(head(get("http://a/").header("x", "x".repeat(8193))).unwrap_err().status, 494);
    }

    #[test]
    fn lengths_fit_what_comes() {
        let with = |length| head(get("http://a/").header("content-length", length)).unwrap();
        assert_eq!(length(&with("7"), false), Ok(Some(7)));
        assert_eq!(length(&with("0"), true), Ok(Some(0)));
        assert!(length(&with("7"), true).is_err() && length(&with("+7"), false).is_err());
    }
}
