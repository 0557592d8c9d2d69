//! Owns what is spoken on an address, and when nginx warns that its `listen` lines disagree on that.
//!
//! Must not know sockets.

/// Connections begin with a header of the PROXY protocol.
pub(super) const PROXY_PROTOCOL: u8 = 1;
/// HTTP/2 is spoken whatever the servers say.
pub(super) const HTTP2: u8 = 4;

/// They are TLS.
pub(super) const SSL: u8 = 2;

/// What the `listen` lines of an address have asked for, taken together.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Protocols {
    all: u8,
    /// What is held against the next line, once there has been a second one.
    expected: Option<u8>,
    changed: bool,
}

impl Protocols {
    /// What the first line asks for.
    pub fn new(asked: u8) -> Self {
        Self { all: asked, expected: None, changed: false }
    }

    /// Whether it is spoken here.
    pub fn has(self, protocol: u8) -> bool {
        self.all & protocol != 0
    }

    /// A further line, which has parameters of the socket if `set`; `was_set` tells whether one before
    /// had. True when nginx would warn: what it asks for, or what it is silent on, looks accidental.
    pub fn join(&mut self, asked: u8, set: bool, was_set: bool) -> bool {
        let before = self.all;
        let surprising = self.expected.is_some_and(|expected| expected != asked);
        let (adds, drops) = (asked & !before != 0, before & !asked != 0);
        let warn = if adds {
            (was_set && !set) || self.changed || drops
        } else if drops {
            set || surprising
        } else {
            (set && self.changed) || surprising
        };
        self.expected = Some(if adds { before } else { asked });
        self.changed |= adds || drops;
        self.all |= asked;
        warn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as (asked, set); which of those after the first are warned of.
    fn warned(lines: &[(u8, bool)]) -> Vec<bool> {
        let mut protocols = Protocols::new(lines[0].0);
        let mut was_set = lines[0].1;
        let joined = lines[1..].iter().map(|(asked, set)| {
            let warn = protocols.join(*asked, *set, was_set);
            was_set |= *set;
            warn
        });
        joined.collect()
    }

    #[test]
    fn lines_that_disagree_are_warned_of_as_in_nginx() {
        assert_eq!(warned(&[(1, false), (1, false)]), [false]);
        // One line may have what others leave out …
        assert_eq!(warned(&[(1, false), (0, false), (0, false)]), [false, false]);
        assert_eq!(warned(&[(0, false), (1, false), (0, false)]), [false, false]);
        // … unless it is no longer clear which one is meant.
        assert_eq!(warned(&[(1, false), (0, false), (1, false)]), [false, true]);
        assert_eq!(warned(&[(1, false), (0, true)]), [true]);
        assert_eq!(warned(&[(0, true), (1, false)]), [true]);
        assert_eq!(warned(&[(0, false), (1, true)]), [false]);
        assert_eq!(warned(&[(1, false), (2, false)]), [true]);
    }
}
