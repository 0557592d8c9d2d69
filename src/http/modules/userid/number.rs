//! Owns the numbers that clients are given: who gives them, when, and the how manieth it is.
//!
//! Must not know cookies.

use crate::net::Address;
use std::cell::Cell;
use std::fmt;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// 16 bytes, in memory as nginx has them: four words, those of version 2 in the order of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number([u8; 16]);

thread_local! {
    /// Tells workers apart: microseconds at the start, and the process.
    static START: u32 = start();
    static NEXT_V1: Cell<u32> = const { Cell::new(1) };
    static NEXT_V2: Cell<u32> = const { Cell::new(FIRST_V2) };
}

const FIRST_V2: u32 = 0x0303_0302;
const STEP: u32 = 0x100;

fn start() -> u32 {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_micros());
    (micros / 20) << 16 | (std::process::id() & 0xffff)
}

/// The number at hand, and the next one put in its place.
fn next(sequence: &'static std::thread::LocalKey<Cell<u32>>, least: u32) -> u32 {
    sequence.with(|sequence| {
        let at = sequence.get();
        sequence.set(at.wrapping_add(STEP).max(least));
        at
    })
}

impl Number {
    /// From the bytes of a cookie.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    fn of(words: [[u8; 4]; 4]) -> Self {
        let mut bytes = [0; 16];
        bytes.as_chunks_mut().0.copy_from_slice(&words);
        Self(bytes)
    }

    /// A new one in the order of the machine.
    pub fn v1(service: u32, now: u32) -> Self {
        let words = [service, now, START.with(|start| *start), next(&NEXT_V1, 0)];
        Self::of(words.map(u32::to_ne_bytes))
    }

    /// A new one in the order of networks; the service is the server's address unless it has a number.
    pub fn v2(service: Option<u32>, server: &Address, now: u32) -> Self {
        let service = service.map_or_else(|| address(server), u32::to_be_bytes);
        let words = [now, START.with(|start| *start), next(&NEXT_V2, FIRST_V2)];
        let [now, start, at] = words.map(u32::to_be_bytes);
        Self::of([service, now, start, at])
    }

    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// nginx takes it for none when the last word is 0.
    pub fn is_none(self) -> bool {
        self.0.ends_with(&[0; 4])
    }
}

/// The last four bytes of an address.
fn address(server: &Address) -> [u8; 4] {
    match server {
        Address::Inet(inet) => match inet.ip() {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(ip) => ip.octets().last_chunk().copied().unwrap_or_default(),
        },
        Address::Unix(_) => [0; 4],
    }
}

/// The four words in hexadecimal, as the machine reads them.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in self.0.as_chunks().0 {
            write!(f, "{:08X}", u32::from_ne_bytes(*word))?;
        }
        Ok(())
    }
}
