//! Owns networks as directives name them: an address, or an address and the length of its mask.
//!
//! Must not know what they are used for.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network, and whether the address it was written with has bits below the mask: they count for
/// nothing, which is worth nginx's warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    pub net: IpNet,
    pub low_bits: bool,
}

/// Reads `192.0.2.0/24`, `192.0.2.1`, `2001:db8::/32`.
pub fn parse(text: &[u8]) -> Option<Cidr> {
    let (address, length) = match memchr::memchr(b'/', text) {
        Some(at) => (&text[..at], Some(crate::conf::values::parse_number(&text[at + 1..])?)),
        None => (text, None),
    };
    let address = parse_address(address)?;
    let full = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Some(full), |length| u8::try_from(length).ok())?;
    let net = IpNet::new(address, length).ok()?;
    Some(Cidr { net: net.trunc(), low_bits: net.addr() != net.network() })
}

/// An address of either family.
pub fn parse_address(text: &[u8]) -> Option<IpAddr> {
    if let Some(address) = parse_v4(text) {
        return Some(address.into());
    }
    std::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok().map(Into::into)
}

/// Four numbers; unlike the standard library, nginx lets them begin with zeros.
pub fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut numbers = text.split(|b| *b == b'.');
    for octet in &mut octets {
        *octet = u8::try_from(crate::conf::values::parse_number(numbers.next()?)?).ok()?;
    }
    numbers.next().is_none().then(|| octets.into())
}

/// An IPv4 address in IPv6's clothes as what it is.
pub fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let shown =
            |text: &str| parse(text.as_bytes()).map(|cidr| (cidr.net.to_string(), cidr.low_bits));
        for (text, net, low_bits) in [
            ("192.0.2.0/24", "192.0.2.0/24", false),
            ("192.0.2.1/24", "192.0.2.0/24", true),
            ("192.0.2.1", "192.0.2.1/32", false),
            ("010.0.0.001", "10.0.0.1/32", false),
            ("0.0.0.0/0", "0.0.0.0/0", false),
            ("::1", "::1/128", false),
            ("2001:db8::1/32", "2001:db8::/32", true),
        ] {
            assert_eq!(shown(text), Some((net.to_owned(), low_bits)), "{text}");
        }
        for text in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "1..2.3",
            "1.2.3.4/33",
            "::/129",
            "::/",
            "1.2.3.4/x",
            "a",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
