//! Owns what clients have seen: answers, losses and their kinds, times and gaps. Does no input or
//! output.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How a request was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    Refused,
    Reset,
    /// The connection ended after the request, before the first byte of an answer.
    Closed,
    /// The connection ended within the answer.
    Cut,
    /// 5xx.
    Error,
    /// Another status, or other content than was to be expected.
    Wrong,
    /// Nothing came in five seconds.
    Silence,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::Refused => "not connected",
            Loss::Reset => "reset",
            Loss::Closed => "closed without an answer",
            Loss::Cut => "closed within the answer",
            Loss::Error => "5xx",
            Loss::Wrong => "wrong answer",
            Loss::Silence => "no answer",
        })
    }
}

/// What one kind of clients has seen.
#[derive(Clone, Debug, Default)]
pub struct Class {
    pub lost: BTreeMap<Loss, usize>,
    /// From the request, or where that was first from the connecting, to the whole answer.
    pub times: Vec<Duration>,
    /// Answers that said `Connection: close` to a client that would have gone on.
    pub told: usize,
    /// Connections that ended while the client had nothing to ask. It noticed before it asked.
    pub idle: usize,
}

impl Class {
    pub fn failed(&self) -> usize {
        self.lost.values().sum()
    }

    pub fn requests(&self) -> usize {
        self.times.len() + self.failed()
    }

    fn add(&mut self, other: Class) {
        for (loss, count) in other.lost {
            *self.lost.entry(loss).or_default() += count;
        }
        self.times.extend(other.times);
        self.told += other.told;
        self.idle += other.idle;
    }
}

/// What all clients have seen in a while.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Connections of one request each.
    pub new: Class,
    /// Connections that are kept.
    pub kept: Class,
    /// The longest time between two successive answers on new connections, without what the clients
    /// themselves were late.
    pub gap: Duration,
    /// By how much the clients were late at worst.
    pub late: Duration,
}

impl Tally {
    pub fn failed(&self) -> usize {
        self.new.failed() + self.kept.failed()
    }

    pub fn requests(&self) -> usize {
        self.new.requests() + self.kept.requests()
    }

    pub fn add(&mut self, other: Tally) {
        self.new.add(other.new);
        self.kept.add(other.kept);
        self.gap = self.gap.max(other.gap);
        self.late = self.late.max(other.late);
    }
}

/// Notes when new connections are made and answered.
#[derive(Debug, Default)]
pub struct Gaps {
    last: Option<Instant>,
    /// When the next connection is to be made.
    due: Option<Instant>,
    /// How late the clients were at worst since the last answer.
    late: Duration,
}

impl Gaps {
    /// A new connection is made now, and the next one is to be made then.
    pub fn arrived(&mut self, next: Instant, now: Instant) {
        self.be_late(now);
        self.due = Some(next);
    }

    pub fn answered(&mut self, now: Instant, tally: &mut Tally) {
        self.be_late(now);
        let late = std::mem::take(&mut self.late);
        tally.late = tally.late.max(late);
        if let Some(last) = self.last.replace(now) {
            tally.gap = tally.gap.max((now - last).saturating_sub(late));
        }
    }

    fn be_late(&mut self, now: Instant) {
        let late = self.due.map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        self.late = self.late.max(late);
    }
}
