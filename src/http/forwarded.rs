//! Owns the search for a client behind proxies: which address of `X-Forwarded-For` is to be believed.
//!
//! Must not know which module asks.

use super::cidr;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Walks back from `address` over the fields' addresses, the last one first, as long as the one at hand
/// is trusted; one step at most unless `recursive`. An address that cannot be read ends the walk.
pub fn client(mut address: IpAddr, fields: &[&[u8]], trusted: &[IpNet], recursive: bool) -> IpAddr {
    let is_separator = |b: &u8| matches!(b, b' ' | b',');
    let words = fields.iter().rev().flat_map(|field| field.rsplit(is_separator));
    let words = words.filter(|word| !word.is_empty());
    for word in words.take(if recursive { usize::MAX } else { 1 }) {
        let judged = cidr::unmapped(address);
        if !trusted.iter().any(|net| net.contains(&judged)) {
            break;
        }
        match parse(word) {
            Some(before) => address = before,
            None => break,
        }
    }
    address
}

/// An address, perhaps with a port.
fn parse(word: &[u8]) -> Option<IpAddr> {
    cidr::parse_address(word).or_else(|| {
        let text = std::str::from_utf8(word).ok()?;
        if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return inside.parse().ok().map(IpAddr::V6);
        }
        text.parse::<SocketAddr>().ok().map(|address| address.ip())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(fields: &[&str], recursive: bool) -> String {
        let fields: Vec<_> = fields.iter().map(|field| field.as_bytes()).collect();
        let trusted = ["10.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap());
        client("::ffff:10.0.0.1".parse().unwrap(), &fields, &trusted, recursive).to_string()
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
            (&["x"], "::ffff:10.0.0.1", "::ffff:10.0.0.1"),
            (&[""], "::ffff:10.0.0.1", "::ffff:10.0.0.1"),
        ] {
            assert_eq!(
                (found(fields, false).as_str(), found(fields, true).as_str()),
                (once, all),
                "{fields:?}"
            );
        }
        assert_eq!(
            client([1, 1, 1, 1].into(), &[b"192.0.2.1"], &[], true),
            IpAddr::from([1, 1, 1, 1])
        );
    }
}
