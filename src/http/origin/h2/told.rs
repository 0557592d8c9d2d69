//! Owns an answer on its way from HTTP/2 to HTTP/1: the head written out, the body framed.

use super::fault::Fault;
use bytes::{BufMut, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{Response, StatusCode};

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Nothing,
    /// By its length, which the head has told; so many bytes are left.
    Length(u64),
    Chunked,
}

/// Writes a head; how its body is framed. `to_head` is one of an answer to HEAD. No answer switches
/// protocols (RFC 9113, section 8.6): a stream has none but this.
pub fn head<T>(
    response: &Response<T>,
    to_head: bool,
    out: &mut BytesMut,
) -> Result<Framing, Fault> {
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Fault::Answer("upstream sent \"101\" response over HTTP/2"));
    }
    line(status, out);
    fields(response.headers(), out);
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = if to_head || bodiless || status.is_informational() {
        Framing::Nothing
    } else if let Some(length) = response.headers().get(CONTENT_LENGTH) {
        // The engine has refused one that is no number.
        let length = length.to_str().ok().and_then(|length| length.parse().ok());
        Framing::Length(length.unwrap_or(u64::MAX))
    } else {
        out.put_slice(b"Transfer-Encoding: chunked\r\n");
        Framing::Chunked
    };
    out.put_slice(b"\r\n");
    Ok(framing)
}

/// Writes a part of a body.
pub fn data(bytes: &[u8], framing: &mut Framing, out: &mut BytesMut) {
    match framing {
        Framing::Nothing => {}
        Framing::Length(left) => {
            *left = left.saturating_sub(bytes.len() as u64);
            out.put_slice(bytes);
        }
        Framing::Chunked if bytes.is_empty() => {}
        Framing::Chunked => {
            out.put_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
            out.put_slice(bytes);
            out.put_slice(b"\r\n");
        }
    }
}

/// Writes the end of a body.
pub fn end(trailers: Option<&HeaderMap>, framing: Framing, out: &mut BytesMut) {
    if framing == Framing::Chunked {
        out.put_slice(b"0\r\n");
        if let Some(trailers) = trailers {
            fields(trailers, out);
        }
        out.put_slice(b"\r\n");
    }
}

fn line(status: StatusCode, out: &mut BytesMut) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

/// The engine has refused those of a connection, and values with line ends.
fn fields(fields: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in fields {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_framed() {
        let mut out = BytesMut::new();
        let response = Response::builder().status(200).header("a", "1").body(()).unwrap();
        let mut framing = head(&response, false, &mut out).unwrap();
        data(b"xyz", &mut framing, &mut out);
        let trailers: HeaderMap =
            [(http::HeaderName::from_static("t"), "2".parse().unwrap())].into_iter().collect();
        end(Some(&trailers), framing, &mut out);
        let expected = "HTTP/1.1 200 OK\r\na: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nxyz\r\n0\r\nt: 2\r\n\r\n";
        assert_eq!(out, expected);
        let response = Response::builder().header("content-length", "3").body(()).unwrap();
        let framing = |to_head| head(&response, to_head, &mut BytesMut::new());
        assert_eq!(framing(false), Ok(Framing::Length(3)));
        let mut left = Framing::Length(3);
        data(b"xy", &mut left, &mut BytesMut::new());
        assert_eq!(left, Framing::Length(1));
        assert_eq!(framing(true), Ok(Framing::Nothing));
        let response = Response::builder().status(101).body(()).unwrap();
        assert!(head(&response, false, &mut BytesMut::new()).is_err());
    }
}
