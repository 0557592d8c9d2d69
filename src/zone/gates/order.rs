//! Owns what an operator says of a switch, and the words it is kept in.
//!
//! Must not know where in memory they are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Bytes of a reason; more is cut off.
pub const MAX_REASON: usize = 255;
/// Networks let in at run time; more are left out.
pub const MAX_ALLOWED: usize = 16;

/// Words of an order: its state word first.
pub(super) const WORDS: usize = 88;

const SINCE: usize = 1;
const UNTIL: usize = 2;
const REASON: usize = 3;
const REASON_WORDS: usize = 32;
const ALLOWED: usize = REASON + REASON_WORDS;
const NET_WORDS: usize = 3;
const REVOKED: usize = ALLOWED + 1 + MAX_ALLOWED * NET_WORDS;

const AUTO_OFF: u64 = 1 << 8;
pub(super) const NO_BYPASS: u64 = 1 << 9;
const EPOCH_SHIFT: u32 = 16;

/// Whether a switch lets requests in. 2 and 3 are kept for letting in reads only and for letting
/// requests wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Open = 0,
    Closed = 1,
}

impl State {
    /// The state in a state word; what this version does not know is not open.
    pub(super) fn of(word: u64) -> State {
        if word & 0xff == State::Open as u64 { State::Open } else { State::Closed }
    }
}

/// What an operator has said of a switch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    pub state: State,
    /// Counts closings; 48 bits are kept.
    pub epoch: u64,
    /// Since when, in seconds of the epoch.
    pub since: u64,
    /// The end that has been announced, in seconds of the epoch. It opens nothing by itself.
    pub until: Option<u64>,
    /// Opens at `until` after all: whoever wrote the order sees to it.
    pub auto_off: bool,
    /// Nobody is let in, whatever list or token says so.
    pub no_bypass: bool,
    /// For the answer and for people; at most [`MAX_REASON`] bytes.
    pub reason: String,
    /// Let in besides those of the configuration; at most [`MAX_ALLOWED`].
    pub allow: Vec<IpNet>,
    /// How often the tokens of this switch have been revoked, which no closing or opening changes.
    pub revoked: u64,
}

impl Order {
    /// State, flags and epoch in one word.
    pub(super) fn word(&self) -> u64 {
        let flag = |on: bool, bit| if on { bit } else { 0 };
        self.state as u64
            | flag(self.auto_off, AUTO_OFF)
            | flag(self.no_bypass, NO_BYPASS)
            | self.epoch << EPOCH_SHIFT
    }

    pub(super) fn write(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        words[0] = self.word();
        words[SINCE] = self.since;
        words[UNTIL] = self.until.map_or(0, |at| at.max(1));
        let end = self.reason.floor_char_boundary(MAX_REASON);
        pack(&self.reason.as_bytes()[..end], &mut words[REASON..ALLOWED]);
        words[REVOKED] = self.revoked;
        let nets = &self.allow[..self.allow.len().min(MAX_ALLOWED)];
        words[ALLOWED] = nets.len() as u64;
        for (net, place) in nets.iter().zip(words[ALLOWED + 1..REVOKED].chunks_exact_mut(NET_WORDS))
        {
            place.copy_from_slice(&net_words(net));
        }
        words
    }

    pub(super) fn read(words: &[u64; WORDS]) -> Order {
        let count = usize::try_from(words[ALLOWED]).unwrap_or(MAX_ALLOWED).min(MAX_ALLOWED);
        Order {
            state: State::of(words[0]),
            epoch: words[0] >> EPOCH_SHIFT,
            since: words[SINCE],
            until: Some(words[UNTIL]).filter(|at| *at != 0),
            auto_off: words[0] & AUTO_OFF != 0,
            no_bypass: words[0] & NO_BYPASS != 0,
            reason: unpack(&words[REASON..ALLOWED]),
            revoked: words[REVOKED],
            allow: words[ALLOWED + 1..REVOKED]
                .chunks_exact(NET_WORDS)
                .take(count)
                .filter_map(net)
                .collect(),
        }
    }
}

/// Kind and length of the prefix, then the address.
fn net_words(net: &IpNet) -> [u64; NET_WORDS] {
    let (kind, bits) = match net.network() {
        IpAddr::V4(address) => (4, u128::from(address.to_bits())),
        IpAddr::V6(address) => (6, address.to_bits()),
    };
    let halves = bits.to_be_bytes();
    let (high, low) = halves.split_at(8);
    let half = |bytes: &[u8]| bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    [kind << 8 | u64::from(net.prefix_len()), half(high), half(low)]
}

fn net(words: &[u64]) -> Option<IpNet> {
    let bits = u128::from(*words.get(1)?) << 64 | u128::from(*words.get(2)?);
    let address = match words[0] >> 8 {
        4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).ok()?)),
        6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        _ => return None,
    };
    IpNet::new(address, u8::try_from(words[0] & 0xff).ok()?).ok()
}

/// Puts a short text into words: its length in the first byte, then its bytes.
pub(super) fn pack(text: &[u8], words: &mut [u64]) {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    let bytes = std::iter::once(length).chain(text.iter().copied());
    for (at, byte) in bytes.take(words.len() * 8).enumerate() {
        words[at / 8] |= u64::from(byte) << (at % 8 * 8);
    }
}

/// The text that `pack` has put there.
pub(super) fn unpack(words: &[u64]) -> String {
    let mut bytes = words.iter().flat_map(|word| word.to_le_bytes());
    let length = usize::from(bytes.next().unwrap_or(0));
    String::from_utf8_lossy(&bytes.take(length).collect::<Vec<_>>()).into_owned()
}
