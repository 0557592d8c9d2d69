//! Owns the answer on its way to the client: status, head fields, body; whatever protocol carries it.
//!
//! Must not write to a connection; `conn` does, in its protocol's form.

use super::body::Body;
use super::headers::{Headers, Name};
use std::borrow::Cow;

/// An answer. Fields that nginx writes at fixed places of the head are kept apart from `headers`.
#[derive(Debug, Default)]
pub struct Reply {
    /// 0 until something has answered.
    pub status: u16,
    /// Reason phrase of the upstream, passed on as it came.
    pub reason: Option<Vec<u8>>,
    /// `Content-Type` with its charset; `None` sends none.
    pub content_type: Option<Vec<u8>>,
    /// Length of `body` when it is known; else the body is chunked or ends with the connection.
    pub content_length: Option<u64>,
    /// Seconds since the epoch; the header filter writes `Last-Modified`.
    pub last_modified: Option<i64>,
    /// Absolute or relative; made absolute by the header filter if so configured.
    pub location: Option<Vec<u8>>,
    /// Everything else, in order. A `Server` or `Date` here replaces the server's own.
    pub headers: Headers,
    /// Sent after a chunked body.
    pub trailers: Headers,
    /// Fields behind an upstream's body go on (`proxy_pass_trailers`).
    pub passes_trailers: bool,
    pub body: Body,
    /// `Range` may be applied (static files).
    pub allow_ranges: bool,
    /// No head at all: an HTTP/0.9 answer passed on.
    pub bare: bool,
    /// Bytes of body held for a slow client; 0 for the usual.
    pub window: usize,
    /// Another client might get it in another form: `Vary` may have to say so.
    pub varies: bool,
    /// Charset that the upstream asks for (`X-Accel-Charset`), whatever is configured.
    pub override_charset: Option<Vec<u8>>,
    /// Filters hold nothing back while more is to come (`proxy_buffering off`).
    pub unbuffered: bool,
    /// It is sent to its end although the client may have closed its side (`proxy_ignore_client_abort`).
    pub unwatched: bool,
    /// The head waits for the first bytes of the body, which may yet turn out to be impossible.
    pub head_waits: bool,
    /// The head has gone out: nothing of it can change any more.
    pub head_sent: bool,
    /// The body could not be sent whole: the connection must be cut so that the client sees it.
    pub truncated: bool,
}

impl Reply {
    /// An answer with a body held in memory.
    pub fn text(status: u16, content_type: &[u8], body: impl Into<Cow<'static, [u8]>>) -> Self {
        let body = body.into();
        Self {
            status,
            content_type: Some(content_type.to_vec()),
            content_length: Some(body.len() as u64),
            body: Body::Bytes(body),
            ..Self::default()
        }
    }

    /// Whether an upstream answers.
    pub fn is_proxied(&self) -> bool {
        matches!(self.body.source(), Body::Upstream(_))
    }

    /// An answer without a body, not even an empty one with a length (204, 304).
    pub fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// The length is not known any more: a filter changes it.
    pub fn clear_length(&mut self) {
        self.content_length = None;
        self.headers.remove(Name::ContentLength);
    }

    /// Parts of what is sent are not parts of what there is.
    pub fn clear_ranges(&mut self) {
        self.allow_ranges = false;
        self.headers.remove(Name::AcceptRanges);
    }

    pub fn clear_last_modified(&mut self) {
        self.last_modified = None;
        self.headers.remove(Name::LastModified);
    }

    pub fn clear_etag(&mut self) {
        self.headers.remove(Name::ETag);
    }

    /// The same content in other bytes: a strong tag becomes weak, and what is no tag goes.
    pub fn weaken_etag(&mut self) {
        let Some(tag) = self.headers.get(Name::ETag) else { return };
        if tag.starts_with(b"\"") {
            let weak = [b"W/", tag].concat();
            self.headers.set(Name::ETag, &weak);
        } else if !tag.starts_with(b"W/") {
            self.headers.remove(Name::ETag);
        }
    }

    /// Whether the content is encoded, as far as the head says.
    pub fn is_encoded(&self) -> bool {
        self.headers.get(Name::ContentEncoding).is_some_and(|value| !value.is_empty())
    }

    /// Takes away what describes a body when the status (204) allows none.
    pub fn bare_of_content(&mut self) {
        if self.status == 204 {
            self.content_type = None;
            self.content_length = None;
            self.last_modified = None;
        }
    }
}

/// nginx's reason phrases; `None` for a status it has no phrase for.
pub fn reason(status: u16) -> Option<&'static str> {
    Some(match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Time-out",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => return None,
    })
}
