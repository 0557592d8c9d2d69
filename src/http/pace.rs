//! Owns the pace of an answer whose rate is limited: how much of it may go now, and the wait for more.
//!
//! Must not write.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// nginx's arithmetic: a second's worth at once, then as much for each second that has passed; and after
/// each write a pause as long as what was written takes.
#[derive(Debug)]
pub struct Pace {
    /// Bytes a second; not 0.
    rate: u64,
    /// Bytes that go before the rate counts.
    after: u64,
    sent: u64,
    began: Instant,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// For an answer to a request that began at `began`.
    pub fn new(rate: u64, after: u64, began: Instant) -> Self {
        Self { rate, after, sent: 0, began, pause: None }
    }

    /// How many bytes may go now, at least one.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.allowed(self.began.elapsed().as_secs()) {
                Ok(room) => return Poll::Ready(room),
                Err(wait) => self.rest(wait),
            }
        }
    }

    /// What may go in the second number `second`, or how long to wait for that.
    fn allowed(&self, second: u64) -> Result<usize, Duration> {
        let (rate, second) = (i128::from(self.rate), i128::from(second));
        let limit = rate * (second + 1) - (i128::from(self.sent) - i128::from(self.after));
        if limit > 0 {
            return Ok(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        Err(millis(-limit * 1000 / rate + 1))
    }

    /// Takes note of what has gone.
    pub fn wrote(&mut self, bytes: usize) {
        let before = self.sent.saturating_sub(self.after);
        self.sent += bytes as u64;
        let counted = self.sent.saturating_sub(self.after) - before;
        let wait = millis(i128::from(counted) * 1000 / i128::from(self.rate));
        if !wait.is_zero() {
            self.rest(wait);
        }
    }

    fn rest(&mut self, wait: Duration) {
        self.pause = Some(Box::pin(tokio::time::sleep(wait)));
    }
}

fn millis(n: i128) -> Duration {
    Duration::from_millis(u64::try_from(n).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[test]
    fn a_second_s_worth_may_go_each_second() {
        let mut pace = Pace::new(1000, 300, Instant::now());
        assert_eq!(pace.allowed(0), Ok(1300));
        pace.sent = 1300;
        assert_eq!(pace.allowed(0), Err(Duration::from_millis(1)));
        assert_eq!(pace.allowed(1), Ok(1000));
        pace.sent = 2800;
        assert_eq!(pace.allowed(0), Err(Duration::from_millis(1501)));
        let most = i64::MAX.unsigned_abs();
        let huge = Pace::new(most, most, Instant::now());
        assert_eq!(huge.allowed(u32::MAX.into()), Ok(usize::MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_followed_by_the_time_it_takes() {
        let mut pace = Pace::new(1000, 100, Instant::now());
        assert_eq!(poll_fn(|cx| pace.poll(cx)).await, 1100);
        let start = tokio::time::Instant::now();
        pace.wrote(600);
        assert_eq!(poll_fn(|cx| pace.poll(cx)).await, 500);
        assert_eq!(start.elapsed(), Duration::from_millis(500));
        let mut free = Pace::new(1000, 100, Instant::now());
        free.wrote(100);
        assert!(free.pause.is_none());
    }
}
