//! Reads the head of a request from bytes that arrive in any pieces. Owns the order of nginx's
//! checks, its limits, and which fields may occur only once; the syntax is in `line` and `fields`.

use std::ops::Range;

use super::fields::{Fields, Found, Rules};
use super::head::{Form, LineParts, RequestHead, Version};
use super::line::{BadLine, Line};
use super::{Progress, Reject, host};
use crate::http::headers::Name;
use crate::http::method::Method;

/// Limits and rules of the server that the connection came to.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `client_header_buffer_size`, bytes.
    pub first_buffer: usize,
    /// `large_client_header_buffers`: how many.
    pub buffers: usize,
    /// `large_client_header_buffers`: bytes of each, and so of the longest line.
    pub header_line: usize,
    /// `max_headers`.
    pub max_headers: usize,
    /// `underscores_in_headers`.
    pub underscores: bool,
    /// `ignore_invalid_headers`.
    pub ignore_invalid: bool,
    /// `merge_slashes`.
    pub merge_slashes: bool,
}

impl Default for Limits {
    /// nginx's defaults.
    fn default() -> Self {
        Self {
            first_buffer: 1024,
            buffers: 4,
            header_line: 8192,
            max_headers: 1000,
            underscores: false,
            ignore_invalid: true,
            merge_slashes: true,
        }
    }
}

/// Empty lines before a request may take this much, so that they cannot fill memory.
const EMPTY_LINES: usize = 1024;

/// What nginx can put of a line into one message.
const LONGEST_QUOTE: usize = 2048 - 300;

const READING_LINE: &str = "reading client request line";
const READING_HEADERS: &str = "reading client request headers";

/// Fields of which nginx refuses a second one with 400. Host, too, but with words of its own.
const UNIQUE: u128 = Name::IfModifiedSince.bit()
    | Name::IfUnmodifiedSince.bit()
    | Name::IfMatch.bit()
    | Name::IfNoneMatch.bit()
    | Name::IfRange.bit()
    | Name::ContentLength.bit()
    | Name::ContentRange.bit()
    | Name::TransferEncoding.bit()
    | Name::Expect.bit()
    | Name::Authorization.bit()
    | Name::ProxyAuthorization.bit();

/// Whether a request may have only one field of this name.
pub fn is_unique(id: Name) -> bool {
    (UNIQUE | Name::Host.bit()) & id.bit() != 0
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Line,
    Fields,
}

/// The parser of one request head; `reset` makes it ready for the next.
#[derive(Clone, Debug, Default)]
pub struct RequestParser {
    stage: Stage,
    line: Line,
    fields: Fields,
    /// Where the field lines begin.
    section: usize,
    /// Field lines so far that count against `max_headers`.
    count: usize,
    /// Where nginx's current buffer would end; `None` before the first byte.
    buffer_end: Option<usize>,
    /// Large buffers taken so far.
    large: usize,
}

impl RequestParser {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the request read so far.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether the first byte of a request has come; empty lines do not count.
    pub fn started(&self) -> bool {
        self.line.started()
    }

    /// What is going on, for messages such as `client timed out … while reading client request
    /// line`.
    pub fn action(&self) -> &'static str {
        if self.stage == Stage::Line { READING_LINE } else { READING_HEADERS }
    }

    /// Parses on. `buf` is everything received of this request, from its first byte, each time;
    /// bytes seen once are not looked at again. `head` must be clear at the first call. After an
    /// error it holds what had been read, for the log and for `error_page`.
    pub fn feed(
        &mut self,
        limits: &Limits,
        buf: &[u8],
        head: &mut RequestHead,
    ) -> Result<Progress, Reject> {
        let result = self.parse(limits, buf, head);
        match &result {
            Ok(Progress::Partial) => {}
            Err(_) if self.stage == Stage::Line => self.salvage_line(buf, head),
            Ok(Progress::Complete { .. }) | Err(_) => self.finish(buf, head),
        }
        result
    }

    fn parse(
        &mut self,
        limits: &Limits,
        buf: &[u8],
        head: &mut RequestHead,
    ) -> Result<Progress, Reject> {
        loop {
            let end = *self.buffer_end.get_or_insert(limits.first_buffer);
            let window = buf.get(..end).unwrap_or(buf);
            if self.stage == Stage::Line && self.line.run(window).map_err(bad_line)? {
                self.take_line(limits, window, head)?;
            }
            if self.stage == Stage::Fields && self.read_fields(limits, window, head)? {
                return Ok(Progress::Complete { len: self.fields.at });
            }
            // Only a full buffer can be too small; then nginx takes a large one or gives up.
            if window.len() < end {
                return Ok(Progress::Partial);
            }
            self.next_buffer(limits, window)?;
        }
    }

    /// Moves on to another buffer as nginx would, so that the same heads are too large.
    fn next_buffer(&mut self, limits: &Limits, window: &[u8]) -> Result<(), Reject> {
        let line = self.stage == Stage::Line;
        if line && !self.line.started() {
            if window.len() >= EMPTY_LINES {
                return Err(bad_line(BadLine::Request));
            }
            self.buffer_end = Some(window.len() + limits.first_buffer.max(1));
            return Ok(());
        }
        let moved = match self.stage {
            Stage::Line => window.len() - self.line.start,
            Stage::Fields if self.fields.within_line() => window.len() - self.fields.line,
            Stage::Fields => 0,
        };
        if moved >= limits.header_line || self.large >= limits.buffers {
            return Err(if line { too_long_line() } else { self.too_large(window) });
        }
        self.large += 1;
        self.buffer_end = Some(window.len() - moved + limits.header_line);
        Ok(())
    }

    fn too_large(&self, window: &[u8]) -> Reject {
        if self.fields.at == self.section {
            return Reject::new(
                494,
                "client sent too large request while reading client request headers",
            );
        }
        let line = window.get(self.fields.line..).unwrap_or_default();
        let quote = String::from_utf8_lossy(line.get(..LONGEST_QUOTE).unwrap_or(line));
        let why =
            format!("client sent too long header line: \"{quote}...\" while {READING_HEADERS}");
        Reject::new(494, why)
    }

    /// Fills the head from a complete request line, and goes on to the fields.
    fn take_line(
        &mut self,
        limits: &Limits,
        buf: &[u8],
        head: &mut RequestHead,
    ) -> Result<(), Reject> {
        let line = &self.line;
        head.line.extend_from_slice(buf.get(line.start..line.end).unwrap_or_default());
        head.parts = LineParts::of(line);
        head.method = Method::of(head.method_name());
        head.form = match (line.connect, line.has_host) {
            (true, _) => Form::Authority,
            (false, true) => Form::Absolute,
            (false, false) => Form::Origin,
        };
        head.version = match line.version() {
            9 => Version::Http09,
            1000 => Version::Http10,
            _ => Version::Http11,
        };
        head.size = line.at - line.start;
        // Now and not with the whole head: nginx refuses a bad path before it reads the fields.
        let mut uri = std::mem::take(&mut head.uri);
        let normalized = uri.read(head.target(), limits.merge_slashes);
        head.uri = uri;
        normalized.map_err(|_| bad_line(BadLine::Request))?;
        if line.has_host {
            let host = buf.get(line.host.clone()).unwrap_or_default();
            host::copy_host(host, &mut head.host, &mut head.port).map_err(|_| {
                Reject::new(
                    400,
                    "client sent invalid host in request line while reading client request line",
                )
            })?;
        }
        self.section = self.line.at;
        self.fields = Fields::at(self.section);
        self.stage = Stage::Fields;
        Ok(())
    }

    /// Takes what fields there are; `true` at the end of the head.
    fn read_fields(
        &mut self,
        limits: &Limits,
        window: &[u8],
        head: &mut RequestHead,
    ) -> Result<bool, Reject> {
        if head.version == Version::Http09 {
            return Ok(true);
        }
        let rules = Rules { underscores: limits.underscores, upstream: false };
        loop {
            match self.fields.next(window, rules) {
                Ok(Found::Nothing) => return Ok(false),
                Ok(Found::End) => return Ok(true),
                Ok(Found::Field) => self.take_field(limits, window, head)?,
                Err(bad) => {
                    let quote = self.fields.quote(window, &bad);
                    let why =
                        format!("client sent invalid header line: {quote} while {READING_HEADERS}");
                    return Err(Reject::new(400, why));
                }
            }
        }
    }

    fn take_field(
        &mut self,
        limits: &Limits,
        buf: &[u8],
        head: &mut RequestHead,
    ) -> Result<(), Reject> {
        let Fields { name, value, .. } = &self.fields;
        if self.fields.odd && limits.ignore_invalid {
            let at = head.dropped_text.len();
            let line = buf.get(self.fields.line..value.end).unwrap_or_default();
            head.dropped_text.extend_from_slice(line);
            head.dropped.push(at..at + line.len());
            return Ok(());
        }
        if self.count >= limits.max_headers {
            return Err(Reject::new(
                494,
                "client sent too many header lines while reading client request headers",
            ));
        }
        self.count += 1;
        let id = Name::of(buf.get(name.clone()).unwrap_or_default());
        if is_unique(id) && head.headers.contains(id) {
            return Err(self.duplicate(id, buf, head));
        }
        // The bytes follow with `finish`, in one piece.
        let section = self.section;
        head.headers.insert(
            id,
            name.start - section..name.end - section,
            value.start - section..value.end - section,
        );
        if id == Name::Host {
            take_host(buf.get(value.clone()).unwrap_or_default(), head)?;
        }
        Ok(())
    }

    fn duplicate(&self, id: Name, buf: &[u8], head: &RequestHead) -> Reject {
        let text = |range: &Range<usize>, base: usize| {
            let bytes = buf.get(base + range.start..base + range.end).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let (name, value) = head.headers.place_of(id).unwrap_or_default();
        let kind = if id == Name::Host { "host header" } else { "header line" };
        Reject::new(
            400,
            format!(
                "client sent duplicate {kind}: \"{}: {}\", previous value: \"{}: {}\" while {READING_HEADERS}",
                text(&self.fields.name, 0),
                text(&self.fields.value, 0),
                text(&name, self.section),
                text(&value, self.section),
            ),
        )
    }

    /// Gives the head its bytes: one copy for all fields.
    fn finish(&self, buf: &[u8], head: &mut RequestHead) {
        let end = self.fields.at;
        head.headers.adopt(buf.get(self.section..end).unwrap_or_default());
        head.size = end - self.line.start;
    }

    /// Keeps what came of a request line that was refused, for `$request`.
    fn salvage_line(&self, buf: &[u8], head: &mut RequestHead) {
        if head.line.is_empty() {
            let window = self.buffer_end.and_then(|end| buf.get(..end)).unwrap_or(buf);
            let line = window.get(self.line.start..).unwrap_or_default();
            let end = memchr::memchr2(b'\r', b'\n', line).unwrap_or(line.len());
            head.line.extend_from_slice(line.get(..end).unwrap_or_default());
        }
        head.size = buf.len() - self.line.start.min(buf.len());
        // Such a request gets its 400 without a status line.
        if self.line.is_complete() && self.line.version() == 9 {
            head.version = Version::Http09;
        }
    }
}

impl LineParts {
    /// The parts as offsets into the line instead of the buffer.
    fn of(line: &Line) -> Self {
        let part = |range: &Range<usize>| {
            range.start.saturating_sub(line.start)..range.end.saturating_sub(line.start)
        };
        Self {
            method: part(&line.method),
            scheme: part(&line.scheme),
            authority: part(&line.host),
            target: part(&line.target),
            protocol: part(&line.protocol),
        }
    }
}

/// The Host field is checked even where the absolute form has named the host already.
fn take_host(value: &[u8], head: &mut RequestHead) -> Result<(), Reject> {
    let valid = if head.form == Form::Origin {
        host::copy_host(value, &mut head.host, &mut head.port)
    } else {
        host::parts(value).map(|_| ())
    };
    valid.map_err(|_| {
        Reject::new(400, "client sent invalid host header while reading client request headers")
    })
}

fn too_long_line() -> Reject {
    Reject::new(414, "client sent too long URI while reading client request line")
}

fn bad_line(bad: BadLine) -> Reject {
    match bad {
        BadLine::Method => {
            Reject::new(400, "client sent invalid method while reading client request line")
        }
        BadLine::Request => {
            Reject::new(400, "client sent invalid request while reading client request line")
        }
        BadLine::Version => {
            Reject::new(505, "client sent invalid version while reading client request line")
        }
        BadLine::Method09 => Reject::new(
            400,
            "client sent invalid method in HTTP/0.9 request while reading client request line",
        ),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
