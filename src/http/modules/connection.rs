//! Owns the directives on how a client's connection is read, kept and closed.
//!
//! Must not do any of it; `conn` does, by these values.

use super::inherit;
use crate::conf::{Args, Row, values};
use crate::http::draft::{HS, HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::h1::request::Limits;
use crate::http::headers::Name;
use crate::http::method::Method;
use crate::http::request::Request;
use crate::http::vars::Variable;
use std::time::Duration;

/// When a closing connection is read for a while, so that the client sees the whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lingering {
    Off,
    /// When more may be coming: an unread body, a pipelined request.
    On,
    Always,
}

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    header_timeout: Option<Duration>,
    header_buffer_size: Option<u64>,
    large_header_buffers: Option<(usize, u64)>,
    max_headers: Option<usize>,
    underscores: Option<bool>,
    ignore_invalid: Option<bool>,
    merge_slashes: Option<bool>,
    keepalive_timeout: Option<(Duration, Option<u64>)>,
    keepalive_min_timeout: Option<Duration>,
    keepalive_requests: Option<u64>,
    keepalive_time: Option<Duration>,
    keepalive_disable: Option<Disable>,
    send_timeout: Option<Duration>,
    lingering_close: Option<Lingering>,
    lingering_time: Option<Duration>,
    lingering_timeout: Option<Duration>,
    reset_timedout: Option<bool>,
    chunked: Option<bool>,
}

/// Browsers that must not be kept: nginx's `keepalive_disable`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Disable {
    pub msie6: bool,
    pub safari: bool,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// Limits and rules of the request head.
    pub limits: Limits,
    /// Time for the whole head.
    pub header_timeout: Duration,
    /// How long a connection may stay idle; zero keeps none.
    pub keepalive_timeout: Duration,
    /// Seconds told to the client in `Keep-Alive: timeout=`.
    pub keepalive_header: Option<u64>,
    /// Idle connections of a worker that is leaving stay at least this long.
    pub keepalive_min_timeout: Duration,
    pub keepalive_requests: u64,
    pub keepalive_time: Duration,
    pub keepalive_disable: Disable,
    /// Between two successful writes to the client.
    pub send_timeout: Duration,
    pub lingering_close: Lingering,
    pub lingering_time: Duration,
    pub lingering_timeout: Duration,
    /// A connection that timed out is reset, not closed.
    pub reset_timedout: bool,
    /// Chunked coding is used for answers of unknown length.
    pub chunked: bool,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer;
            header_timeout, header_buffer_size, large_header_buffers, max_headers, underscores,
            ignore_invalid, merge_slashes, keepalive_timeout, keepalive_min_timeout,
            keepalive_requests, keepalive_time, keepalive_disable, send_timeout, lingering_close,
            lingering_time, lingering_timeout, reset_timedout, chunked,
        );
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        let seconds = Duration::from_secs;
        let (keepalive_timeout, keepalive_header) =
            self.keepalive_timeout.unwrap_or((seconds(75), None));
        Conf {
            limits: self.limits(),
            header_timeout: self.header_timeout.unwrap_or(seconds(60)),
            keepalive_timeout,
            keepalive_header,
            keepalive_min_timeout: self.keepalive_min_timeout.unwrap_or_default(),
            keepalive_requests: self.keepalive_requests.unwrap_or(1000),
            keepalive_time: self.keepalive_time.unwrap_or(seconds(3600)),
            keepalive_disable: self
                .keepalive_disable
                .unwrap_or(Disable { msie6: true, safari: false }),
            send_timeout: self.send_timeout.unwrap_or(seconds(60)),
            lingering_close: self.lingering_close.unwrap_or(Lingering::On),
            lingering_time: self.lingering_time.unwrap_or(seconds(30)),
            lingering_timeout: self.lingering_timeout.unwrap_or(seconds(5)),
            reset_timedout: self.reset_timedout.unwrap_or(false),
            chunked: self.chunked.unwrap_or(true),
        }
    }

    fn limits(&self) -> Limits {
        let bytes = |n| usize::try_from(n).unwrap_or(usize::MAX);
        let (buffers, header_line) = self.large_header_buffers.unwrap_or((4, 8192));
        Limits {
            first_buffer: bytes(self.header_buffer_size.unwrap_or(1024)),
            buffers,
            header_line: bytes(header_line),
            max_headers: self.max_headers.unwrap_or(1000),
            underscores: self.underscores.unwrap_or(false),
            ignore_invalid: self.ignore_invalid.unwrap_or(true),
            merge_slashes: self.merge_slashes.unwrap_or(true),
        }
    }
}

/// Ends keep-alive where the selected location's limits say so; it never begins again.
pub fn limit_keepalive(req: &mut Request) {
    let conf = &req.conf().connection;
    let client = &req.client;
    let over = conf.keepalive_timeout.is_zero()
        || client.requests.get() >= conf.keepalive_requests
        || client.accepted.elapsed() > conf.keepalive_time
        || is_disabled(req, conf.keepalive_disable);
    if over {
        req.keepalive = false;
    }
}

/// `keepalive_disable`: browsers that mishandle kept connections.
fn is_disabled(req: &Request, disable: Disable) -> bool {
    let agent = req.head.headers.get(Name::UserAgent).unwrap_or_default();
    let has = |word: &[u8]| memchr::memmem::find(agent, word).is_some();
    (disable.msie6 && req.head.method == Method::Post && is_old_msie(agent))
        || (disable.safari && has(b"Safari/") && has(b"Mac OS X"))
}

/// MSIE 4 to 6, but not 6 as of Windows XP's second service pack.
fn is_old_msie(agent: &[u8]) -> bool {
    let Some(at) = memchr::memmem::find(agent, b"MSIE ") else { return false };
    match agent.get(at + 5..at + 7) {
        Some([b'4' | b'5', b'.']) => true,
        Some([b'6', b'.']) => memchr::memmem::find(agent, b"SV1").is_none(),
        _ => false,
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "client_header_timeout",
        HS,
        Args::Exactly(1),
        "Time in which a client must send its whole request head (default 60s).",
        |s, dir, _| values::msec(&mut s.drafts.connection.header_timeout, dir),
    ),
    row(
        "client_header_buffer_size",
        HS,
        Args::Exactly(1),
        "Size of the first buffer for a request head (default 1k).",
        |s, dir, _| values::size(&mut s.drafts.connection.header_buffer_size, dir),
    ),
    row(
        "large_client_header_buffers",
        HS,
        Args::Exactly(2),
        "Number and size of the buffers for large heads; no line may exceed one (default 4 8k).",
        |s, dir, _| values::buffers(&mut s.drafts.connection.large_header_buffers, dir),
    ),
    row(
        "max_headers",
        HS,
        Args::Exactly(1),
        "The largest number of header lines a client may send (default 1000).",
        |s, dir, _| values::number(&mut s.drafts.connection.max_headers, dir),
    ),
    row(
        "underscores_in_headers",
        HS,
        Args::Flag,
        "Whether header names with underscores are valid (default off).",
        |s, dir, _| values::flag(&mut s.drafts.connection.underscores, dir),
    ),
    row(
        "ignore_invalid_headers",
        HS,
        Args::Flag,
        "Whether header lines with invalid names are dropped (default on).",
        |s, dir, _| values::flag(&mut s.drafts.connection.ignore_invalid, dir),
    ),
    row(
        "merge_slashes",
        HS,
        Args::Flag,
        "Whether adjacent slashes of a path count as one (default on).",
        |s, dir, _| values::flag(&mut s.drafts.connection.merge_slashes, dir),
    ),
    row(
        "keepalive_timeout",
        HSL,
        Args::Between(1, 2),
        "How long an idle client connection stays open, and what is told to the client (default 75s).",
        |s, dir, _| {
            let slot = &mut s.drafts.connection.keepalive_timeout;
            values::once(slot, dir)?;
            let bad = || values::verdict(dir, "invalid value");
            let timeout = values::parse_msec(&dir.arg(0).text).ok_or_else(bad)?;
            let header = match dir.args.get(1) {
                Some(word) => Some(values::parse_sec(&word.text).ok_or_else(bad)?.as_secs()),
                None => None,
            };
            *slot = Some((timeout, header));
            Ok(())
        },
    ),
    row(
        "keepalive_min_timeout",
        HSL,
        Args::Exactly(1),
        "How long at least an idle connection is kept by a worker that is shutting down (default 0).",
        |s, dir, _| values::msec(&mut s.drafts.connection.keepalive_min_timeout, dir),
    ),
    row(
        "keepalive_requests",
        HSL,
        Args::Exactly(1),
        "Requests served on one connection before it is closed (default 1000).",
        |s, dir, _| values::number(&mut s.drafts.connection.keepalive_requests, dir),
    ),
    row(
        "keepalive_time",
        HSL,
        Args::Exactly(1),
        "Age at which a connection is closed after the request being served (default 1h).",
        |s, dir, _| values::msec(&mut s.drafts.connection.keepalive_time, dir),
    ),
    row(
        "keepalive_disable",
        HSL,
        Args::AtLeast(1),
        "Browsers whose connections are not kept: `none`, `msie6` (default), `safari`.",
        |s, dir, _| {
            let slot = &mut s.drafts.connection.keepalive_disable;
            values::once(slot, dir)?;
            let mut disable = Disable::default();
            for word in &dir.args {
                match &*word.text {
                    b"none" => {}
                    b"msie6" => disable.msie6 = true,
                    b"safari" => disable.safari = true,
                    _ => return Err(word.error(format!("invalid value \"{}\"", word.lossy()))),
                }
            }
            *slot = Some(disable);
            Ok(())
        },
    ),
    row(
        "send_timeout",
        HSL,
        Args::Exactly(1),
        "Time allowed between two successful writes to a client (default 60s).",
        |s, dir, _| values::msec(&mut s.drafts.connection.send_timeout, dir),
    ),
    row(
        "lingering_close",
        HSL,
        Args::Exactly(1),
        "Whether a closing connection is read for a while: `off`, `on` (default), `always`.",
        |s, dir, _| {
            let choices =
                [("off", Lingering::Off), ("on", Lingering::On), ("always", Lingering::Always)];
            values::choice(&mut s.drafts.connection.lingering_close, dir, &choices)
        },
    ),
    row(
        "lingering_time",
        HSL,
        Args::Exactly(1),
        "How long at most a closing connection is read (default 30s).",
        |s, dir, _| values::msec(&mut s.drafts.connection.lingering_time, dir),
    ),
    row(
        "lingering_timeout",
        HSL,
        Args::Exactly(1),
        "How long a closing connection may be silent before it is closed (default 5s).",
        |s, dir, _| values::msec(&mut s.drafts.connection.lingering_timeout, dir),
    ),
    row(
        "reset_timedout_connection",
        HSL,
        Args::Flag,
        "Whether timed out connections are reset instead of closed (default off).",
        |s, dir, _| values::flag(&mut s.drafts.connection.reset_timedout, dir),
    ),
    row(
        "chunked_transfer_encoding",
        HSL,
        Args::Flag,
        "Whether answers of unknown length to HTTP/1.1 clients are chunked (default on).",
        |s, dir, _| values::flag(&mut s.drafts.connection.chunked, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[];
