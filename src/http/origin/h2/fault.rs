//! Owns what HTTP/2 cannot say although HTTP/1 can, and the other way round.
//!
//! Must not be used for connections that fail.

use std::fmt;
use std::io;

/// A message that is at fault, while its connection is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What is wrong with a request. No server was given it whole, and none could be.
    Request(&'static str),
    /// What is wrong with an answer: a sentence as nginx's.
    Answer(&'static str),
}

impl Fault {
    /// What an error of a line is, if not the connection's.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(what) => write!(f, "request cannot be sent over HTTP/2: {what}"),
            Self::Answer(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        let kind = match fault {
            Fault::Request(_) => io::ErrorKind::InvalidInput,
            Fault::Answer(_) => io::ErrorKind::InvalidData,
        };
        Self::new(kind, fault)
    }
}
