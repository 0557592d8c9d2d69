//! The form of a stream that another connection carries beside others, as HTTP/2 does.
//!
//! Must not know the protocol that carries it.

use std::fmt;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;

/// A byte stream without a socket of its own. The rules of [`Stream`](super::Stream) hold: one task at a
/// time, and only its latest waker is kept.
pub trait Carried: fmt::Debug {
    /// Takes at most `most` bytes that have come. None at all are the peer's end.
    fn try_take(&self, most: usize) -> io::Result<Bytes>;

    /// Hands over what may be sent now, perhaps only a part.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// What is written next, if it is taken whole, is the last.
    fn end_with_next(&self);

    /// Waits until something can be taken.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Waits until something can be written.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Waits until the peer does not want it any more.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()>;
}
