//! Owns a request on its way from HTTP/1 to HTTP/2: the head taken apart, the body's framing undone.
//!
//! The head is one that was written here, not a client's.

use super::fault::Fault;
use crate::http::h1::chunked::Decoder;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, Uri, Version};

/// What follows the head.
#[derive(Debug, Default)]
pub enum Body {
    #[default]
    Nothing,
    /// So many bytes.
    Left(u64),
    Chunked(Box<Decoder>),
}

/// Fields that are for one connection (RFC 9113, section 8.2.2), and `Host`, which has another place.
const NOT_PASSED: [&[u8]; 7] = [
    b"host",
    b"connection",
    b"proxy-connection",
    b"keep-alive",
    b"transfer-encoding",
    b"upgrade",
    b"http2-settings",
];

/// Takes a head apart, up to and with its empty line. HTTP/1 lets some through that have no place here,
/// such as control bytes in a value.
pub fn head(bytes: &[u8], tls: bool) -> Result<(Request<()>, Body), Fault> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let bad = Fault::Request;
    let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
    let method = words.next().and_then(|word| Method::from_bytes(word).ok());
    let target = words.next().ok_or_else(|| bad("invalid host or target"))?;
    let (mut request, mut body, mut host) = (Request::new(()), Body::Nothing, &b""[..]);
    *request.method_mut() = method.ok_or_else(|| bad("invalid method"))?;
    for line in lines.take_while(|line| !line.is_empty()) {
        let at = memchr::memchr(b':', line).ok_or_else(|| bad("invalid header field"))?;
        let (name, value) = (&line[..at], line[at + 1..].trim_ascii());
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"host") {
            host = value;
        }
        if is(b"transfer-encoding") {
            body = Body::Chunked(Box::default());
        }
        let other_coding = is(b"te") && !value.eq_ignore_ascii_case(b"trailers");
        if other_coding || NOT_PASSED.iter().any(|known| is(known)) {
            continue;
        }
        if is(b"content-length") && matches!(body, Body::Nothing) {
            body = length(value).ok_or_else(|| bad("invalid length"))?;
        }
        let name = HeaderName::from_bytes(name).map_err(|_| bad("invalid header field"))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| bad("invalid header field"))?;
        let room = request.headers_mut().try_append(name, value);
        room.map_err(|_| bad("too many header fields"))?;
    }
    *request.uri_mut() = uri(target, host, tls).ok_or_else(|| bad("invalid host or target"))?;
    if request.uri().authority().is_some() {
        *request.version_mut() = Version::HTTP_2;
    }
    Ok((request, body))
}

fn length(value: &[u8]) -> Option<Body> {
    let length = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(if length == 0 { Body::Nothing } else { Body::Left(length) })
}

fn uri(target: &[u8], host: &[u8], tls: bool) -> Option<Uri> {
    let path = |target: &[u8]| {
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(http::uri::PathAndQuery::try_from(target).ok()?);
        if !host.is_empty() {
            let scheme = if tls { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP };
            parts.scheme = Some(scheme);
            parts.authority = Some(http::uri::Authority::try_from(host).ok()?);
        }
        Uri::from_parts(parts).ok()
    };
    // What follows a `#` would be left out.
    let whole = memchr::memchr(b'#', target).is_none();
    whole.then(|| path(target)).flatten().or_else(|| path(&escaped(target)))
}

/// What the engine does not take as it is.
fn escaped(target: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(target.len());
    for byte in target {
        if !byte.is_ascii_graphic() || b"\"#<>`".contains(byte) {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            out.push(*byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads_become_what_http2_has_for_them() {
        let text =
            b"POST /a?b HTTP/1.1\r\nHost: x:1\r\nTE: gzip\r\nX-A:  1 \r\nConnection: close\r\n\
            Content-Length: 5\r\n\r\n";
        let (request, body) = head(text, true).unwrap();
        assert_eq!(request.uri(), "https://x:1/a?b");
        assert_eq!(request.method(), Method::POST);
        let names: Vec<_> = request.headers().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-a", "content-length"]);
        assert_eq!(request.headers()["x-a"], "1");
        assert!(matches!(body, Body::Left(5)));
        let text = b"GET /\"\xff HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n";
        let (request, body) = head(text, false).unwrap();
        assert!(request.uri().path().starts_with('/') && request.uri().authority().is_none());
        assert_eq!(request.headers().len(), 1);
        assert!(matches!(body, Body::Chunked(_)));
    }

    #[test]
    fn nothing_of_a_target_is_left_out() {
        let (request, _) = head(b"GET /a#b?c HTTP/1.1\r\nHost: x\r\n\r\n", false).unwrap();
        assert_eq!(request.uri(), "http://x/a%23b?c");
    }

    #[test]
    fn what_http2_has_no_place_for_is_said() {
        let why = |text: &str| match head(text.as_bytes(), false) {
            Err(Fault::Request(why)) => why,
            Ok(_) | Err(Fault::Answer(_)) => "nothing",
        };
        assert_eq!(why("GET / HTTP/1.1\r\nX-A: \x01\r\n\r\n"), "invalid header field");
        assert_eq!(why("GET / HTTP/1.1\r\nX-A: a\x7f\r\n\r\n"), "invalid header field");
        assert_eq!(why("GET / HTTP/1.1\r\nHost: a%b\r\n\r\n"), "invalid host or target");
        let many: Vec<_> = (0..40_000).map(|n| format!("a{n}:b\r\n")).collect();
        let text = format!("GET / HTTP/1.1\r\n{}\r\n", many.concat());
        assert_eq!(why(&text), "too many header fields");
    }

    proptest! {
        #[test]
        fn no_head_panics(bytes: Vec<u8>, tls: bool) {
            let _ = head(&bytes, tls);
        }
    }
}
