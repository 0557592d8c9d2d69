//! Where a message's body ends (RFC 9112, section 6), and what a head as a whole must satisfy.
//! Strict where laxness lets one message be read as two; must not look at body bytes.

use super::Reject;
use super::head::{RequestHead, Version};
use crate::http::headers::{Headers, Name};
use crate::http::method::Method;

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// There is none.
    None,
    /// So many bytes; 0 when a length of 0 was given.
    Known(u64),
    Chunked,
    /// Up to the end of the connection; answers only.
    UntilClose,
}

/// What the Connection field asks for; substrings count, and the last field that says either wins,
/// as in nginx.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persistence {
    /// Neither: HTTP/1.1 keeps the connection, older versions do not.
    #[default]
    Default,
    Close,
    KeepAlive,
}

/// Checks what nginx checks of a request once its head is complete, in nginx's order, and finds
/// the length of its body. `allow_connect` is for a server that tunnels.
pub fn check_request(head: &RequestHead, allow_connect: bool) -> Result<Length, Reject> {
    if head.version == Version::Http09 {
        return Ok(Length::None);
    }
    if head.version == Version::Http11 && !head.headers.contains(Name::Host) {
        return Err(refuse(400, "client sent HTTP/1.1 request without \"Host\" header"));
    }
    let length = request_body(head)?;
    match head.method {
        Method::Connect if head.version != Version::Http11 || !allow_connect => {
            Err(refuse(405, "client sent CONNECT method"))
        }
        Method::Connect if !matches!(length, Length::None | Length::Known(0)) => {
            Err(refuse(400, "client sent CONNECT request with body"))
        }
        Method::Trace => Err(refuse(405, "client sent TRACE method")),
        _ => Ok(length),
    }
}

/// The length of a request's body.
pub fn request_body(head: &RequestHead) -> Result<Length, Reject> {
    let length = match head.headers.get(Name::ContentLength).map(parse_length) {
        Some(None) => return Err(refuse(400, "client sent invalid \"Content-Length\" header")),
        Some(Some(bytes)) => Length::Known(bytes),
        None => Length::None,
    };
    let Some(coding) = head.headers.get(Name::TransferEncoding) else {
        return Ok(length);
    };
    if head.version < Version::Http11 {
        let why = "client sent HTTP/1.0 request with \"Transfer-Encoding\" header";
        return Err(refuse(400, why));
    }
    if !coding.eq_ignore_ascii_case(b"chunked") {
        let coding = String::from_utf8_lossy(coding);
        let why = format!("client sent unknown \"Transfer-Encoding\": \"{coding}\"");
        return Err(refuse(501, &why));
    }
    if length != Length::None {
        let why =
            "client sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time";
        return Err(refuse(400, why));
    }
    Ok(Length::Chunked)
}

fn refuse(status: u16, why: &str) -> Reject {
    Reject::new(status, format!("{why} while reading client request headers"))
}

/// The length of an answer's body; `head_request` when the request was HEAD. The error is nginx's
/// sentence for the log; the answer must not be used.
pub fn response_body(status: u16, headers: &Headers, head_request: bool) -> Result<Length, String> {
    let length = upstream_length(headers)?;
    if head_request || matches!(status, 100..=199 | 204 | 304) {
        return Ok(Length::None);
    }
    Ok(length)
}

/// Judges the framing fields even of answers without a body: nginx refuses those as well.
fn upstream_length(headers: &Headers) -> Result<Length, String> {
    unique(headers, Name::ContentLength)?;
    unique(headers, Name::TransferEncoding)?;
    match (headers.get(Name::ContentLength), headers.get(Name::TransferEncoding)) {
        (Some(_), Some(_)) => Err(
            "upstream sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time"
                .into(),
        ),
        (Some(value), None) => parse_length(value).map(Length::Known).ok_or_else(|| {
            let value = String::from_utf8_lossy(value);
            format!("upstream sent invalid \"Content-Length\" header: \"Content-Length: {value}\"")
        }),
        (None, Some(value)) if value.eq_ignore_ascii_case(b"chunked") => Ok(Length::Chunked),
        (None, Some(value)) => Err(format!(
            "upstream sent unknown \"Transfer-Encoding\": \"{}\"",
            String::from_utf8_lossy(value)
        )),
        (None, None) => Ok(Length::UntilClose),
    }
}

fn unique(headers: &Headers, id: Name) -> Result<(), String> {
    let mut values = headers.get_all(id);
    let (Some(first), Some(second)) = (values.next(), values.next()) else {
        return Ok(());
    };
    Err(format!(
        "upstream sent duplicate header line: \"{name}: {}\", previous value: \"{name}: {}\"",
        String::from_utf8_lossy(second),
        String::from_utf8_lossy(first),
        name = id.as_str(),
    ))
}

/// A Content-Length: digits only, at least one, no more than nginx's `off_t` holds.
pub fn parse_length(value: &[u8]) -> Option<u64> {
    const MAX: u64 = i64::MAX as u64;
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit).filter(|sum| *sum <= MAX)
    })
}

/// What the Connection fields ask for.
pub fn persistence(headers: &Headers) -> Persistence {
    let mut asked = Persistence::Default;
    for value in headers.get_all(Name::Connection) {
        if contains_ignore_case(value, b"close") {
            asked = Persistence::Close;
        } else if contains_ignore_case(value, b"keep-alive") {
            asked = Persistence::KeepAlive;
        }
    }
    asked
}

/// Whether `part`, in any case, is somewhere in `text`.
pub(super) fn contains_ignore_case(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        headers
    }

    fn answer(status: u16, fields: &[(&str, &str)]) -> Result<Length, String> {
        response_body(status, &headers(fields), false)
    }

    const LENGTH: (&str, &str) = ("Content-Length", "5");
    const CHUNKED: (&str, &str) = ("transfer-encoding", "Chunked");

    #[test]
    fn answers_end_where_they_say() {
        assert_eq!(answer(200, &[LENGTH]), Ok(Length::Known(5)));
        assert_eq!(answer(200, &[CHUNKED]), Ok(Length::Chunked));
        assert_eq!(answer(200, &[]), Ok(Length::UntilClose));
        for status in [100, 101, 103, 204, 304] {
            assert_eq!(answer(status, &[LENGTH]), Ok(Length::None));
        }
        assert_eq!(response_body(200, &headers(&[CHUNKED]), true), Ok(Length::None));
    }

    #[test]
    fn doubtful_answers_are_refused() {
        for (fields, why) in [
            (
                &[("Content-Length", "foo")][..],
                "invalid \"Content-Length\" header: \"Content-Length: foo\"",
            ),
            (&[("Content-Length", "")], "invalid \"Content-Length\" header: \"Content-Length: \""),
            (
                &[("Content-Length", "+5")],
                "invalid \"Content-Length\" header: \"Content-Length: +5\"",
            ),
            (
                &[LENGTH, LENGTH],
                "duplicate header line: \"Content-Length: 5\", previous value: \"Content-Length: 5\"",
            ),
            (
                &[LENGTH, CHUNKED],
                "\"Content-Length\" and \"Transfer-Encoding\" headers at the same time",
            ),
            (
                &[CHUNKED, LENGTH],
                "\"Content-Length\" and \"Transfer-Encoding\" headers at the same time",
            ),
            (&[("Transfer-Encoding", "foo")], "unknown \"Transfer-Encoding\": \"foo\""),
            (
                &[("Transfer-Encoding", "gzip, chunked")],
                "unknown \"Transfer-Encoding\": \"gzip, chunked\"",
            ),
            (
                &[CHUNKED, CHUNKED],
                "duplicate header line: \"Transfer-Encoding: Chunked\", previous value: \"Transfer-Encoding: Chunked\"",
            ),
        ] {
            assert_eq!(answer(200, fields), Err(format!("upstream sent {why}")));
            assert!(answer(204, fields).is_err());
        }
    }

    #[test]
    fn the_connection_field_is_searched() {
        let asked = |values: &[&str]| {
            persistence(&headers(
                &values.iter().map(|value| ("Connection", *value)).collect::<Vec<_>>(),
            ))
        };
        assert_eq!(asked(&[]), Persistence::Default);
        assert_eq!(asked(&["Upgrade"]), Persistence::Default);
        assert_eq!(asked(&["te, CLOSE"]), Persistence::Close);
        assert_eq!(asked(&["close", "Keep-Alive"]), Persistence::KeepAlive);
        assert_eq!(asked(&["keep-alive, close"]), Persistence::Close);
    }
}
