//! Owns the search for a client behind proxies: which address of `X-Forwarded-For` is to be believed.
//!
//! Must not know which module asks.

use super::cidr;
use crate::net::Peer;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Those whose word on an earlier address is taken.
#[derive(Debug, Default, Clone)]
pub struct Trusted {
    pub nets: Vec<IpNet>,
    /// Whoever comes over a unix socket.
    pub unix: bool,
}

impl Trusted {
    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty() && !self.unix
    }

    fn includes(&self, peer: Peer) -> bool {
        let Some(address) = peer.ip().map(cidr::unmapped) else { return self.unix };
        self.nets.iter().any(|net| net.contains(&address))
    }
}

/// Walks back from `peer` over the fields' addresses, the last one first, as long as the one at hand
/// is trusted; one step at most unless `recursive`. An address that cannot be read ends the walk, and
/// a field without one does. `None`: nothing but `peer` itself is to be believed.
pub fn client(
    mut peer: Peer,
    fields: &[&[u8]],
    trusted: &Trusted,
    recursive: bool,
) -> Option<Peer> {
    let mut found = None;
    for word in fields.iter().rev().flat_map(|field| words(field)) {
        if !trusted.includes(peer) {
            break;
        }
        let Some(before) = parse(word) else { break };
        peer = before;
        found = Some(peer);
        if !recursive {
            break;
        }
    }
    found
}

/// The addresses of a field, the last one first; an empty one when it has none.
fn words(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_separator = |b: &u8| matches!(b, b' ' | b',');
    let none = field.iter().all(is_separator).then_some(&b""[..]);
    field.rsplit(is_separator).filter(|word| !word.is_empty()).chain(none)
}

/// An address, perhaps with a port, which is 0 otherwise.
fn parse(word: &[u8]) -> Option<Peer> {
    parse_address(word).map(|address| Peer::Inet((address, 0).into())).or_else(|| {
        let address = std::str::from_utf8(word).ok()?.parse::<SocketAddr>().ok()?;
        (address.port() > 0).then_some(Peer::Inet(address))
    })
}

fn parse_address(word: &[u8]) -> Option<IpAddr> {
    let inside = word.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    match inside {
        Some(inside) => cidr::parse_address(inside).filter(IpAddr::is_ipv6),
        None => cidr::parse_address(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trusted() -> Trusted {
        Trusted {
            nets: ["10.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap()).into(),
            unix: false,
        }
    }

    fn inet(address: &str) -> Peer {
        Peer::Inet((address.parse::<IpAddr>().unwrap(), 1).into())
    }

    fn found(fields: &[&str], recursive: bool) -> String {
        let fields: Vec<_> = fields.iter().map(|field| field.as_bytes()).collect();
        let found = client(inet("::ffff:10.0.0.1"), &fields, &trusted(), recursive);
        found.map_or("-".to_owned(), |peer| peer.to_string())
    }

    #[test]
    fn one_step_or_all_trusted_ones() {
        for (fields, once, all) in [
            (&["192.0.2.1"][..], "192.0.2.1", "192.0.2.1"),
            (&["192.0.2.1, 10.0.0.2"], "10.0.0.2", "192.0.2.1"),
            (&["192.0.2.1", "192.0.2.2", "10.0.0.2 , ,10.0.0.3,"], "10.0.0.3", "192.0.2.2"),
            (&["10.0.0.9"], "10.0.0.9", "10.0.0.9"),
            (&["192.0.2.1, x, ::1"], "::1", "::1"),
            (&["192.0.2.1:80, [::1]:80"], "::1", "192.0.2.1"),
            (&["[2001:db8::1]"], "2001:db8::1", "2001:db8::1"),
            (&["x"], "-", "-"),
            (&[""], "-", "-"),
            (&["192.0.2.1", " , "], "-", "-"),
            (&["192.0.2.1", "", "10.0.0.2"], "10.0.0.2", "10.0.0.2"),
            (&["192.0.2.1:0"], "-", "-"),
            (&["[10.0.0.1]"], "-", "-"),
        ] {
            assert_eq!(
                (found(fields, false).as_str(), found(fields, true).as_str()),
                (once, all),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn only_who_is_trusted_is_believed() {
        let field = &b"192.0.2.1:7"[..];
        let from = |peer, trusted: &Trusted| client(peer, &[field], trusted, true);
        assert_eq!(from(inet("1.1.1.1"), &trusted()), None);
        assert_eq!(from(inet("10.0.0.1"), &Trusted::default()), None);
        assert_eq!(from(Peer::Unix, &trusted()), None);
        let unix = Trusted { unix: true, ..Trusted::default() };
        assert_eq!(from(Peer::Unix, &unix), Some(Peer::Inet(([192, 0, 2, 1], 7).into())));
        assert_eq!(from(inet("10.0.0.1"), &unix), None);
    }

    proptest! {
        /// Whoever writes in front of what trusted proxies have added cannot be taken for another.
        #[test]
        fn what_stands_before_an_untrusted_address_counts_for_nothing(forged in "[ -~]{0,60}") {
            let field = format!("{forged}, 192.0.2.9, 10.0.0.3");
            prop_assert_eq!(found(&[&forged, &field], true), "192.0.2.9");
        }
    }
}
