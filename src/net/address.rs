//! Addresses in nginx's notation: the first word of `listen`, and the servers of an upstream.
//!
//! Parsing is pure; names are looked up through a callback, so that the caller decides
//! whether the answer comes from the resolver or from a recorded configuration.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// `sun_path` less its final NUL, in bytes.
const LONGEST_UNIX_PATH: usize = 107;

/// A socket address one can bind or connect to. Displays as nginx does: `127.0.0.1:80`,
/// `[::1]:80`, `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Inet(SocketAddr),
    /// A unix stream socket in the file system; never an abstract name.
    Unix(PathBuf),
}

impl Address {
    /// True for `0.0.0.0` and `[::]`, whatever the port.
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Address::Inet(address) if address.ip().is_unspecified())
    }

    /// The TCP port; `None` for a unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Address::Inet(address) => Some(address.port()),
            Address::Unix(_) => None,
        }
    }

    /// The path of a unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Address::Inet(_) => None,
            Address::Unix(path) => Some(path),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Inet(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What is wrong with an address: nginx's words, for sentences such as
/// `invalid port in "a:b" of the "listen" directive` or `host not found in upstream "x"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress(pub &'static str);

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadAddress {}

/// The host half of an [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A literal address; `*` and a lone port in `listen` give `0.0.0.0`.
    Ip(IpAddr),
    /// To be looked up.
    Name(String),
    /// `unix:/path`.
    Unix(PathBuf),
}

/// An address as written, before any look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub host: Host,
    /// The port, or the default one; 0 for a unix socket.
    pub port: u16,
    /// End of a port range (`listen 8080-8090`), equal to `port` without one.
    pub last_port: u16,
    /// Whether a port was written: upstream names and `Host` depend on it.
    pub port_given: bool,
}

impl Endpoint {
    /// Parses the first word of `listen`: `80`, `*:80`, `127.0.0.1`, `localhost:80`, `[::]:80`,
    /// `unix:/path`, and port ranges. The default port is 80.
    pub fn parse_listen(text: &str) -> Result<Endpoint, BadAddress> {
        parse(text, 80, true)
    }

    /// Parses the address of an upstream `server`: as `listen`, but neither a lone port nor `*` nor
    /// a range has a meaning.
    pub fn parse_server(text: &str, default_port: u16) -> Result<Endpoint, BadAddress> {
        parse(text, default_port, false)
    }

    /// All socket addresses of this endpoint, in the resolver's order without repetitions, each with
    /// every port of the range. Fails with `host not found`.
    pub fn resolve(
        &self,
        look_up: &mut dyn FnMut(&str) -> io::Result<Vec<IpAddr>>,
    ) -> Result<Vec<Address>, BadAddress> {
        let mut ips = match &self.host {
            Host::Unix(path) => return Ok(vec![Address::Unix(path.clone())]),
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => look_up(name).map_err(|_| BadAddress("host not found"))?,
        };
        let mut seen = HashSet::with_capacity(ips.len());
        ips.retain(|ip| seen.insert(*ip));
        if ips.is_empty() {
            return Err(BadAddress("host not found"));
        }
        // A stable sort: within a family the resolver's order counts.
        ips.sort_by_key(IpAddr::is_ipv6);
        let ports = self.port..=self.last_port;
        Ok(ports
            .flat_map(|port| ips.iter().map(move |ip| SocketAddr::new(*ip, port).into()))
            .collect())
    }
}

fn parse(text: &str, default_port: u16, listen: bool) -> Result<Endpoint, BadAddress> {
    if let Some(path) = strip_unix(text) {
        return unix(path);
    }
    // nginx's order of complaints: a path or query makes the host invalid before the port is read.
    if text.contains('/') || (!text.starts_with('[') && text.contains('?')) {
        return Err(BadAddress("invalid host"));
    }
    let (host, ports) = if let Some(rest) = text.strip_prefix('[') {
        bracketed(rest)?
    } else if listen && is_port(text) {
        ("*", Some(text))
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let (port, last_port) = match ports {
        Some(ports) => parse_ports(ports, listen)?,
        None => (default_port, default_port),
    };
    let host = parse_host(host, text.starts_with('['), listen)?;
    Ok(Endpoint { host, port, last_port, port_given: ports.is_some() })
}

/// The prefix is caseless in nginx.
fn strip_unix(text: &str) -> Option<&str> {
    let (prefix, path) = text.split_at_checked(5)?;
    prefix.eq_ignore_ascii_case("unix:").then_some(path)
}

fn unix(path: &str) -> Result<Endpoint, BadAddress> {
    if path.is_empty() {
        return Err(BadAddress("no path in the unix domain socket"));
    }
    if path.len() > LONGEST_UNIX_PATH {
        return Err(BadAddress("too long path in the unix domain socket"));
    }
    let host = Host::Unix(PathBuf::from(path));
    Ok(Endpoint { host, port: 0, last_port: 0, port_given: false })
}

/// Splits `::1]:80`, the opening bracket already gone.
fn bracketed(rest: &str) -> Result<(&str, Option<&str>), BadAddress> {
    let (host, tail) = rest.split_once(']').ok_or(BadAddress("invalid host"))?;
    if tail.is_empty() {
        return Ok((host, None));
    }
    let port = tail.strip_prefix(':').ok_or(BadAddress("invalid host"))?;
    Ok((host, Some(port)))
}

/// `80` or `8080-8090`: in `listen` such a word is a port, not a host.
fn is_port(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('-') {
        Some((first, last)) => digits(first) && digits(last),
        None => digits(text),
    }
}

fn parse_ports(text: &str, listen: bool) -> Result<(u16, u16), BadAddress> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) if listen => (parse_port(first)?, parse_port(last)?),
        _ => (parse_port(text)?, parse_port(text)?),
    };
    if first > last {
        return Err(BadAddress("invalid port range"));
    }
    Ok((first, last))
}

fn parse_port(text: &str) -> Result<u16, BadAddress> {
    // The digits are checked because `parse` would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(BadAddress("invalid port")),
    }
}

fn parse_host(text: &str, brackets: bool, listen: bool) -> Result<Host, BadAddress> {
    if text.is_empty() {
        return Err(BadAddress("no host"));
    }
    if brackets {
        let ip: Ipv6Addr = text.parse().map_err(|_| BadAddress("invalid IPv6 address"))?;
        return Ok(Host::Ip(ip.into()));
    }
    if listen && text == "*" {
        return Ok(Host::Ip(Ipv4Addr::UNSPECIFIED.into()));
    }
    match text.parse::<Ipv4Addr>() {
        Ok(ip) => Ok(Host::Ip(ip.into())),
        Err(_) => Ok(Host::Name(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listen(text: &str) -> Result<Vec<String>, &'static str> {
        let endpoint = Endpoint::parse_listen(text).map_err(|bad| bad.0)?;
        names(&endpoint)
    }

    fn server(text: &str) -> Result<Vec<String>, &'static str> {
        let endpoint = Endpoint::parse_server(text, 80).map_err(|bad| bad.0)?;
        names(&endpoint)
    }

    fn names(endpoint: &Endpoint) -> Result<Vec<String>, &'static str> {
        let mut look_up = |name: &str| match name {
            "localhost" => Ok(vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()]),
            "twice" => Ok(vec!["10.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()]),
            "empty" => Ok(vec![]),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let found = endpoint.resolve(&mut look_up).map_err(|bad| bad.0)?;
        Ok(found.iter().map(Address::to_string).collect())
    }

    #[allow(clippy::unnecessary_wraps, reason = "compared with results")]
    fn one(text: &str) -> Result<Vec<String>, &'static str> {
        Ok(vec![text.to_owned()])
    }

    #[test]
    fn listen_forms() {
        assert_eq!(listen("80"), one("0.0.0.0:80"));
        assert_eq!(listen("*:80"), one("0.0.0.0:80"));
        assert_eq!(listen("*"), one("0.0.0.0:80"));
        assert_eq!(listen("127.0.0.1"), one("127.0.0.1:80"));
        assert_eq!(listen("127.0.0.1:8080"), one("127.0.0.1:8080"));
        assert_eq!(listen("[::]:80"), one("[::]:80"));
        assert_eq!(listen("[::1]"), one("[::1]:80"));
        assert_eq!(listen("unix:/run/a.sock"), one("unix:/run/a.sock"));
        assert_eq!(listen("UNIX:rel.sock"), one("unix:rel.sock"));
        assert_eq!(listen("localhost:81").unwrap(), ["127.0.0.1:81", "[::1]:81"]);
    }

    #[test]
    fn listen_port_ranges() {
        assert_eq!(listen("8080-8081").unwrap(), ["0.0.0.0:8080", "0.0.0.0:8081"]);
        assert_eq!(listen("[::1]:7-8").unwrap(), ["[::1]:7", "[::1]:8"]);
        assert_eq!(listen("127.0.0.1:9-8"), Err("invalid port range"));
        assert_eq!(listen("9-8"), Err("invalid port range"));
        assert_eq!(listen("80-99999"), Err("invalid port"));
    }

    #[test]
    fn listen_complaints() {
        assert_eq!(listen(""), Err("no host"));
        assert_eq!(listen(":80"), Err("no host"));
        assert_eq!(listen("[]:80"), Err("no host"));
        assert_eq!(listen("0"), Err("invalid port"));
        assert_eq!(listen("70000"), Err("invalid port"));
        assert_eq!(listen("127.0.0.1:"), Err("invalid port"));
        assert_eq!(listen("127.0.0.1:+80"), Err("invalid port"));
        assert_eq!(listen("127.0.0.1:80/x"), Err("invalid host"));
        assert_eq!(listen("[::1"), Err("invalid host"));
        assert_eq!(listen("[::1]80"), Err("invalid host"));
        assert_eq!(listen("[::g]:80"), Err("invalid IPv6 address"));
        assert_eq!(listen("nowhere:80"), Err("host not found"));
        assert_eq!(listen("empty"), Err("host not found"));
        assert_eq!(listen("unix:"), Err("no path in the unix domain socket"));
        let long = format!("unix:/{}", "x".repeat(107));
        assert_eq!(listen(&long), Err("too long path in the unix domain socket"));
    }

    #[test]
    fn server_forms() {
        assert_eq!(server("10.0.0.1"), one("10.0.0.1:80"));
        assert_eq!(server("10.0.0.1:9000"), one("10.0.0.1:9000"));
        assert_eq!(server("[2001:db8::1]:9000"), one("[2001:db8::1]:9000"));
        assert_eq!(server("twice"), one("10.0.0.1:80"));
        assert_eq!(server("unix:/tmp/s"), one("unix:/tmp/s"));
        assert_eq!(server("80"), Err("host not found"));
        assert_eq!(server("*"), Err("host not found"));
        assert_eq!(server("10.0.0.1:80-81"), Err("invalid port"));
        assert_eq!(server("10.0.0.1/x"), Err("invalid host"));
        let endpoint = Endpoint::parse_server("app.example", 8000).unwrap();
        assert_eq!((endpoint.port, endpoint.port_given), (8000, false));
        assert_eq!(endpoint.host, Host::Name("app.example".into()));
    }

    #[test]
    fn wildcards() {
        for (text, expected) in
            [("80", true), ("[::]:1", true), ("127.0.0.1", false), ("unix:/x", false)]
        {
            let found = Endpoint::parse_listen(text).unwrap().resolve(&mut |_| Ok(vec![])).unwrap();
            assert_eq!(found[0].is_wildcard(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = Endpoint::parse_listen(&text);
            let _ = Endpoint::parse_server(&text, 80);
        }

        #[test]
        fn what_is_displayed_parses_back(address: SocketAddr) {
            prop_assume!(address.port() > 0);
            let plain = SocketAddr::new(address.ip(), address.port());
            let shown = Address::from(plain).to_string();
            let back = Endpoint::parse_server(&shown, 80).unwrap().resolve(&mut |_| Ok(vec![]));
            prop_assert_eq!(back.unwrap(), vec![Address::Inet(plain)]);
        }
    }
}
