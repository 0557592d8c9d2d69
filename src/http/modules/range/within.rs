//! Owns one range of a body that is still arriving: what comes before it is thrown away, what comes after it
//! is not waited for.
//!
//! Must not know what the range was asked by.

use crate::http::body::Body;
use crate::http::filter::Filter;
use std::io;
use std::task::{Context, Poll, ready};

/// Bytes thrown away at a time.
const STEP: usize = 32 * 1024;

/// The bytes from one place to another.
#[derive(Debug)]
pub(super) struct Within {
    /// Still to come before the range, and in it.
    before: u64,
    left: u64,
}

impl Within {
    pub fn new(start: u64, end: u64) -> Self {
        Self { before: start, left: end.saturating_sub(start) }
    }
}

impl Filter for Within {
    fn poll_fill(
        &mut self,
        source: &mut Body,
        out: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let start = out.len();
        if self.left == 0 {
            return Poll::Ready(Ok(false));
        }
        let room = if self.before > 0 { STEP } else { room };
        let more = ready!(source.poll_fill(out, room, cx))?;
        let come = out.len() - start;
        let skipped = usize::try_from(self.before).unwrap_or(usize::MAX).min(come);
        self.before -= skipped as u64;
        out.drain(start..start + skipped);
        let kept = usize::try_from(self.left).unwrap_or(usize::MAX).min(come - skipped);
        self.left -= kept as u64;
        out.truncate(start + kept);
        if !more && self.left > 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        if self.left == 0
            && let Some(answer) = source.answer_mut()
        {
            answer.suffices();
        }
        Poll::Ready(Ok(self.left > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::Part;
    use std::collections::VecDeque;
    use std::task::Waker;

    fn cut(start: u64, end: u64) -> Option<String> {
        let parts = ["abc", "def", "ghi"].map(|text| Part::Bytes(text.as_bytes().to_vec()));
        let mut body = Body::Parts(VecDeque::from(parts));
        body.filter(Box::new(Within::new(start, end)));
        let (mut out, mut cx) = (Vec::new(), Context::from_waker(Waker::noop()));
        loop {
            match body.poll_fill(&mut out, 100, &mut cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return String::from_utf8(out).ok(),
                _ => return None,
            }
        }
    }

    #[test]
    fn bytes_around_a_range_are_left_out() {
        let whole = "abcdefghi";
        for start in 0..9 {
            for end in start + 1..=9 {
                let (from, to) = (start as u64, end as u64);
                assert_eq!(cut(from, to).as_deref(), Some(&whole[start..end]));
            }
        }
        assert_eq!(cut(7, 12), None, "it ends before the range does");
    }
}
