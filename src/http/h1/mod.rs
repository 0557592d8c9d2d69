//! HTTP/1 on the wire, without input or output: heads, framing, chunked bodies (RFC 9112). Behaves
//! as nginx does, except that nothing is accepted that two parsers could read as different
//! messages. Must not touch sockets, configuration or logs.

pub mod chunked;
mod fields;
pub mod framing;
pub mod head;
pub mod host;
mod line;
pub mod request;
pub mod response;

use std::borrow::Cow;
use std::fmt;

/// Why a request was refused, and how it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// 400, 405, 414, 494 (answered as 400), 501 or 505.
    pub status: u16,
    /// nginx's sentence for the log at level info, including `while reading client request …`.
    pub why: Cow<'static, str>,
}

impl Reject {
    pub(in crate::http) fn new(status: u16, why: impl Into<Cow<'static, str>>) -> Self {
        Self { status, why: why.into() }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Reject {}

/// How far a parser has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Partial,
    /// The head is complete and took the first `len` bytes.
    Complete { len: usize },
}
