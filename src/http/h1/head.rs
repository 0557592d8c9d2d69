//! The head of a request as it was sent: request line, its parts, and the header fields. Owns the
//! bytes; must not read them from anywhere nor judge the body's framing (`framing` does).

use std::ops::Range;

use crate::http::headers::Headers;
use crate::http::method::Method;
use crate::http::uri::Uri;

/// The protocol version of a message. 1.2 to 1.9 count as 1.1; a request line with 2.0 or above is
/// refused with 505.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    Http09,
    Http10,
    #[default]
    Http11,
    /// The head did not come as text at all.
    Http2,
}

/// The form of the request target (RFC 9112, section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `/path?args`.
    #[default]
    Origin,
    /// `http://host/path?args`.
    Absolute,
    /// `host:port`, of CONNECT.
    Authority,
}

/// The head of a request. Kept and cleared between the requests of a connection, so that nothing
/// is allocated for one that is not larger than those before.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The request line as sent, without its line end; `$request`. After a rejected request line:
    /// what came of it.
    pub line: Vec<u8>,
    pub method: Method,
    pub version: Version,
    pub form: Form,
    /// Fields that are passed on and shown in variables.
    pub headers: Headers,
    /// Decoded path and its parts; `$uri`.
    pub uri: Uri,
    /// `$host` if the request names one: lower case, without port. The absolute form wins over the
    /// Host field, which is checked all the same.
    pub host: Vec<u8>,
    /// Digits of the port beside that host.
    pub port: Vec<u8>,
    /// Bytes from the first of the request line to the end of the head; `$request_length` starts
    /// with it.
    pub size: usize,
    pub(super) parts: LineParts,
    /// Lines dropped for the sake of `ignore_invalid_headers`, as ranges of `dropped_text`.
    pub(super) dropped: Vec<Range<usize>>,
    pub(super) dropped_text: Vec<u8>,
}

/// Where the parts of the request line are in it.
#[derive(Clone, Debug, Default)]
pub(super) struct LineParts {
    pub method: Range<usize>,
    pub scheme: Range<usize>,
    pub authority: Range<usize>,
    pub target: Range<usize>,
    pub protocol: Range<usize>,
}

impl RequestHead {
    /// Forgets the request and keeps the memory.
    pub fn clear(&mut self) {
        self.line.clear();
        self.method = Method::Get;
        self.version = Version::Http11;
        self.form = Form::Origin;
        self.headers.clear();
        self.uri.clear();
        self.host.clear();
        self.port.clear();
        self.size = 0;
        self.parts = LineParts::default();
        self.dropped.clear();
        self.dropped_text.clear();
    }

    /// Makes the request line that a head would have had which came in another form.
    pub fn write_line(&mut self, method: &[u8], target: &[u8], protocol: &[u8]) {
        let line = &mut self.line;
        line.clear();
        let mut part = |bytes: &[u8], end: &[u8]| {
            let start = line.len();
            line.extend_from_slice(bytes);
            let range = start..line.len();
            line.extend_from_slice(end);
            range
        };
        let (method, target) = (part(method, b" "), part(target, b" "));
        let protocol = part(protocol, b"");
        self.parts = LineParts { method, target, protocol, ..LineParts::default() };
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.line.get(range.clone()).unwrap_or_default()
    }

    /// `$request_method`.
    pub fn method_name(&self) -> &[u8] {
        self.part(&self.parts.method)
    }

    /// The target from its first `/` or `?` on, raw; `$request_uri`. `/` for an absolute form
    /// without a path and for CONNECT.
    pub fn target(&self) -> &[u8] {
        self.part(&self.parts.target)
    }

    /// `$args`: what follows the first `?`, up to a `#`.
    pub fn args(&self) -> &[u8] {
        self.target().get(self.uri.args.clone()).unwrap_or_default()
    }

    /// Makes unreadable what follows `known` in the target, or all of it when it begins otherwise:
    /// the place of every part stays as it is.
    pub fn mask_target(&mut self, known: &[u8]) {
        let target = self.parts.target.clone();
        let Some(target) = self.line.get_mut(target) else { return };
        let kept = if target.starts_with(known) { known.len() } else { 1 };
        target.iter_mut().skip(kept).for_each(|byte| *byte = b'*');
    }

    /// Scheme of an absolute form.
    pub fn scheme(&self) -> Option<&[u8]> {
        (self.form == Form::Absolute).then(|| self.part(&self.parts.scheme))
    }

    /// Host and port of an absolute form or of CONNECT, as sent.
    pub fn authority(&self) -> Option<&[u8]> {
        (self.form != Form::Origin).then(|| self.part(&self.parts.authority))
    }

    /// `$server_protocol`: the version as sent; empty for HTTP/0.9.
    pub fn protocol(&self) -> &[u8] {
        self.part(&self.parts.protocol)
    }

    /// Whether the target may be passed on as sent: not when `?` follows the host at once.
    pub fn target_is_valid(&self) -> bool {
        !self.uri.flags.empty_path
    }

    /// Takes note of a field that was dropped as invalid.
    pub fn drop_line(&mut self, name: &[u8], value: &[u8]) {
        let at = self.dropped_text.len();
        for part in [name, b": ", value] {
            self.dropped_text.extend_from_slice(part);
        }
        self.dropped.push(at..self.dropped_text.len());
    }

    /// Header lines that were dropped as invalid, for the log:
    /// `client sent invalid header line: "…"`.
    pub fn dropped_lines(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.dropped.iter().map(|range| self.dropped_text.get(range.clone()).unwrap_or_default())
    }
}
