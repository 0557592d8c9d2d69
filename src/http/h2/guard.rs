//! Owns the count of frames that cost something and bring nothing, as a client sends them.
//!
//! Must not change or judge what is in a frame; the engine does.

use crate::zone;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a client may spend at once, and how much comes back in a second. A frame that only keeps us busy
/// costs 1, one that throws work away 10: so 200 requests may be given up at once, and 20 each second.
const PURSE: u32 = 2000;
const INCOME: u32 = 200;

/// Of heads whose length is known and whose streams have not been seen yet.
const HEADS: usize = 256;

/// The client's first bytes, before any frame.
const PREFACE: usize = super::PREFACE.len();

const HEADER: usize = 9;

/// What a client does too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    Data,
    Priority,
    Reset,
    Settings,
    Ping,
    Unknown,
    Heads,
}

impl Flood {
    /// As it is counted.
    pub fn counted(self) -> zone::Flood {
        match self {
            Self::Data => zone::Flood::Data,
            Self::Reset => zone::Flood::Reset,
            Self::Settings => zone::Flood::Settings,
            Self::Ping => zone::Flood::Ping,
            Self::Heads => zone::Flood::Heads,
            Self::Priority | Self::Unknown => zone::Flood::Other,
        }
    }

    /// As the log calls it.
    pub fn frames(self) -> &'static str {
        match self {
            Self::Data => "empty DATA",
            Self::Priority => "PRIORITY",
            Self::Reset => "RST_STREAM",
            Self::Settings => "SETTINGS",
            Self::Ping => "PING",
            Self::Unknown => "unknown",
            Self::Heads => "header",
        }
    }
}

/// Looks at the frames of one connection as they pass.
#[derive(Debug)]
pub struct Guard {
    /// Bytes that belong to what has been looked at.
    skip: Cell<usize>,
    /// The header of the frame that begins next, as far as it has come.
    header: Cell<([u8; HEADER], usize)>,
    purse: Cell<u32>,
    filled: Cell<Instant>,
    flood: Cell<Option<Flood>>,
    /// What it was charged for last.
    last: Cell<Option<Flood>>,
    /// Since when a block of header fields has been incomplete.
    heading: Cell<Option<Instant>>,
    /// Streams and the bytes of their heads.
    heads: RefCell<VecDeque<(u32, u64)>>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            skip: Cell::new(PREFACE),
            header: Cell::default(),
            purse: Cell::new(PURSE),
            filled: Cell::new(Instant::now()),
            flood: Cell::default(),
            last: Cell::default(),
            heading: Cell::default(),
            heads: RefCell::default(),
        }
    }
}

impl Guard {
    /// What has been too much.
    pub fn flood(&self) -> Option<Flood> {
        self.flood.get()
    }

    /// What came last that is charged for; heads where one is incomplete, or nothing else came.
    pub fn last(&self) -> Flood {
        let heads = self.heading.get().map(|_| Flood::Heads);
        heads.or(self.last.get()).unwrap_or(Flood::Heads)
    }

    /// When the head began that has not come to its end.
    pub fn heading(&self) -> Option<Instant> {
        self.heading.get()
    }

    /// The bytes that a stream's head took on the wire; asked in the order of streams.
    pub fn head_of(&self, stream: u32) -> u64 {
        let mut heads = self.heads.borrow_mut();
        while let Some((id, bytes)) = heads.pop_front() {
            if id == stream {
                return bytes;
            }
        }
        0
    }

    /// Looks at what comes next.
    pub fn pass(&self, mut bytes: &[u8]) {
        loop {
            let skipped = self.skip.get().min(bytes.len());
            self.skip.set(self.skip.get() - skipped);
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
            let (mut header, mut have) = self.header.take();
            let taken = bytes.len().min(HEADER - have);
            if let (Some(to), Some(from)) = (header.get_mut(have..have + taken), bytes.get(..taken))
            {
                to.copy_from_slice(from);
            }
            have += taken;
            bytes = bytes.get(taken..).unwrap_or_default();
            if have < HEADER {
                return self.header.set((header, have));
            }
            self.frame(header);
        }
    }

    fn frame(&self, header: [u8; HEADER]) {
        let [a, b, c, kind, flags, stream @ ..] = header;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.skip.set(length as usize);
        let has = |flag: u8| flags & flag != 0;
        match kind {
            0x0 if length == 0 && !has(0x1) => self.charge(Flood::Data, 1),
            0x1 | 0x9 => self.head(u32::from_be_bytes(stream), length, has(0x4)),
            0x2 => self.charge(Flood::Priority, 1),
            0x3 => self.charge(Flood::Reset, 10),
            0x4 if !has(0x1) => self.charge(Flood::Settings, 10),
            0x6 if !has(0x1) => self.charge(Flood::Ping, 1),
            10.. => self.charge(Flood::Unknown, 1),
            _ => {}
        }
    }

    fn head(&self, stream: u32, length: u32, complete: bool) {
        let since = self.heading.get().unwrap_or_else(Instant::now);
        self.heading.set((!complete).then_some(since));
        let mut heads = self.heads.borrow_mut();
        match heads.back_mut() {
            Some((id, bytes)) if *id == stream => *bytes += u64::from(length),
            _ => heads.push_back((stream, length.into())),
        }
        if heads.len() > HEADS {
            heads.pop_front();
        }
    }

    fn charge(&self, what: Flood, price: u32) {
        self.last.set(Some(what));
        let passed = self.filled.get().elapsed();
        if passed >= Duration::from_millis(100) {
            let income = passed.as_millis().saturating_mul(INCOME.into()) / 1000;
            let income = u32::try_from(income).unwrap_or(PURSE);
            self.purse.set(self.purse.get().saturating_add(income).min(PURSE));
            self.filled.set(Instant::now());
        }
        match self.purse.get().checked_sub(price) {
            Some(left) => self.purse.set(left),
            None => self.flood.set(Some(what)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h2::PREFACE;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
    }

    #[test]
    fn frames_are_seen_in_whatever_pieces_they_come() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(0x4, 0, 0, &[0; 6]));
        bytes.extend(frame(0x1, 0x1, 1, &[0; 20]));
        bytes.extend(frame(0x9, 0x4, 1, &[0; 7]));
        bytes.extend(frame(0x1, 0x5, 3, &[0; 5]));
        for size in 1..bytes.len() {
            let guard = Guard::default();
            bytes.chunks(size).for_each(|piece| guard.pass(piece));
            assert_eq!((guard.head_of(1), guard.head_of(3)), (27, 5), "{size}");
            assert_eq!(guard.purse.get(), PURSE - 10);
            assert!(guard.heading().is_none() && guard.flood().is_none());
        }
    }

    #[test]
    fn a_head_without_end_is_noticed() {
        let guard = Guard::default();
        guard.pass(PREFACE);
        guard.pass(&frame(0x1, 0, 1, b""));
        assert!(guard.heading().is_some());
        guard.pass(&frame(0x9, 0x4, 1, b""));
        assert!(guard.heading().is_none());
    }

    #[test]
    fn what_brings_nothing_is_not_taken_for_ever() {
        let of = |frame: Vec<u8>, times| {
            let guard = Guard::default();
            guard.pass(PREFACE);
            (0..times).for_each(|_| guard.pass(&frame));
            guard.flood()
        };
        assert_eq!(of(frame(0x6, 0, 0, &[0; 8]), 3000), Some(Flood::Ping));
        assert_eq!(of(frame(0x6, 1, 0, &[0; 8]), 3000), None);
        assert_eq!(of(frame(0x3, 0, 1, &[0; 4]), 200), None);
        assert_eq!(of(frame(0x3, 0, 1, &[0; 4]), 300), Some(Flood::Reset));
        assert_eq!(of(frame(0x4, 0, 0, b""), 300), Some(Flood::Settings));
        assert_eq!(of(frame(0x0, 0, 1, b""), 3000), Some(Flood::Data));
        assert_eq!(of(frame(0x0, 0, 1, b"x"), 3000), None);
        assert_eq!(of(frame(0x8, 0, 1, &[0; 4]), 3000), None);
        assert_eq!(of(frame(0x2, 0, 1, &[0; 5]), 3000), Some(Flood::Priority));
        assert_eq!(of(frame(0x77, 0, 1, b""), 3000), Some(Flood::Unknown));
    }
}
