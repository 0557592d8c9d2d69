//! The PROXY protocol, versions 1 and 2: what a proxy says of a connection's ends before its first byte.
//!
//! Pure: takes bytes in any pieces, does no input or output, and knows no protocol behind it.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest header that is waited for, in bytes.
pub const LONGEST: usize = 4096;

/// The longest line of version 1, with its line end.
const LONGEST_LINE: usize = 107;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
const FIXED: usize = 16;

/// What a proxy has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The client's address as it was spelt.
    pub source: String,
    pub source_port: u16,
    /// The address that the client has connected to.
    pub destination: String,
    pub destination_port: u16,
    /// Further values of version 2, as they came.
    tlvs: Vec<u8>,
}

/// How far the reading of a header has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Partial,
    /// It takes the first `len` bytes. No header: the proxy speaks for itself, or for a client without
    /// such an address.
    Complete { len: usize, header: Option<Box<Header>> },
}

/// Why bytes are no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The first line of it.
    Line(String),
    Version(u8),
    Command(u8),
    TooLarge,
    TooSmall,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "broken header: \"{line}\""),
            Self::Version(version) => write!(f, "unknown PROXY protocol version: {version}"),
            Self::Command(command) => write!(f, "unknown PROXY protocol command: {command}"),
            Self::TooLarge => f.write_str("header is too large"),
            Self::TooSmall => f.write_str("header is too small"),
        }
    }
}

/// Reads a header from the first bytes of a connection.
pub fn read(bytes: &[u8]) -> Result<Progress, Broken> {
    if bytes.starts_with(SIGNATURE) {
        return binary(bytes);
    }
    if SIGNATURE.starts_with(bytes) {
        return Ok(Progress::Partial);
    }
    line(bytes)
}

/// Version 1: a line of text.
fn line(bytes: &[u8]) -> Result<Progress, Broken> {
    let broken = || {
        let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        Broken::Line(String::from_utf8_lossy(line).into_owned())
    };
    let (head, known) = (b"PROXY ", bytes.len().min(6));
    if bytes.get(..known) != head.get(..known) {
        return Err(broken());
    }
    let searched = bytes.get(..bytes.len().min(LONGEST_LINE)).unwrap_or_default();
    let Some(end) = memchr::memmem::find(searched, b"\r\n") else {
        let more = bytes.len() < LONGEST_LINE && memchr::memchr(b'\n', bytes).is_none();
        return if more { Ok(Progress::Partial) } else { Err(broken()) };
    };
    let text = bytes.get(head.len()..end).and_then(|text| std::str::from_utf8(text).ok());
    let text = text.ok_or_else(broken)?;
    let unknown = text.starts_with("UNKNOWN");
    let header = if unknown { None } else { Some(Box::new(words(text).ok_or_else(broken)?)) };
    Ok(Progress::Complete { len: end + 2, header })
}

/// `TCP4 source destination port port`.
fn words(text: &str) -> Option<Header> {
    let words: Vec<_> = text.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else {
        return None;
    };
    let fits: fn(&str) -> bool = match family {
        "TCP4" => |text| text.parse::<Ipv4Addr>().is_ok(),
        "TCP6" => |text| text.parse::<Ipv6Addr>().is_ok(),
        _ => return None,
    };
    (fits(source) && fits(destination)).then_some(())?;
    Some(Header {
        source: source.to_owned(),
        source_port: port(source_port)?,
        destination: destination.to_owned(),
        destination_port: port(destination_port)?,
        tlvs: Vec::new(),
    })
}

fn port(text: &str) -> Option<u16> {
    // `parse` alone would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Version 2: a fixed part, then as many bytes as it says.
fn binary(bytes: &[u8]) -> Result<Progress, Broken> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else { return Ok(Progress::Partial) };
    let [.., version, family, high, low] = *fixed else { return Ok(Progress::Partial) };
    let (version, command) = (version >> 4, version & 0x0f);
    if version != 2 {
        return Err(Broken::Version(version));
    }
    if command > 1 {
        return Err(Broken::Command(command));
    }
    let size = usize::from(u16::from_be_bytes([high, low]));
    let len = FIXED + size;
    if len > LONGEST {
        return Err(Broken::TooLarge);
    }
    let Some(said) = rest.get(..size) else { return Ok(Progress::Partial) };
    let header = match (command, family) {
        (1, 0x11) => Some(ends::<4>(said)?),
        (1, 0x21) => Some(ends::<16>(said)?),
        _ => None,
    };
    Ok(Progress::Complete { len, header })
}

/// Two addresses of `N` bytes, two ports, and what follows.
fn ends<const N: usize>(said: &[u8]) -> Result<Box<Header>, Broken>
where
    IpAddr: From<[u8; N]>,
{
    let parts = || {
        let (source, rest) = said.split_first_chunk::<N>()?;
        let (destination, rest) = rest.split_first_chunk::<N>()?;
        let ([a, b, c, d], tlvs) = rest.split_first_chunk::<4>()?;
        Some(Box::new(Header {
            source: IpAddr::from(*source).to_string(),
            source_port: u16::from_be_bytes([*a, *b]),
            destination: IpAddr::from(*destination).to_string(),
            destination_port: u16::from_be_bytes([*c, *d]),
            tlvs: tlvs.to_vec(),
        }))
    };
    parts().ok_or(Broken::TooSmall)
}

/// The type that holds further values, and its part before those.
const SSL: u64 = 0x20;
const SSL_FIXED: usize = 5;

/// Names of types, and of those inside of `SSL`.
const TYPES: [(&str, u64); 5] =
    [("alpn", 0x01), ("authority", 0x02), ("unique_id", 0x05), ("ssl", SSL), ("netns", 0x30)];
const SSL_TYPES: [(&str, u64); 5] =
    [("version", 0x21), ("cn", 0x22), ("cipher", 0x23), ("sig_alg", 0x24), ("key_alg", 0x25)];

impl Header {
    /// A further value by its name or its number: `alpn`, `0x02`, `ssl_cn`, `ssl_verify`. The error is
    /// nginx's sentence.
    pub fn tlv(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>, String> {
        let Some(inner) = name.strip_prefix("ssl_") else {
            return Ok(find(&self.tlvs, kind(name, name, &TYPES)?)?.map(Cow::Borrowed));
        };
        let Some(ssl) = find(&self.tlvs, SSL)? else { return Ok(None) };
        let Some(([_, verify @ ..], rest)) = ssl.split_first_chunk::<SSL_FIXED>() else {
            return Err(BROKEN.to_owned());
        };
        if inner == "verify" {
            let verify = u32::from_be_bytes(*verify).to_string();
            return Ok(Some(Cow::Owned(verify.into_bytes())));
        }
        Ok(find(rest, kind(inner, name, &SSL_TYPES)?)?.map(Cow::Borrowed))
    }
}

const BROKEN: &str = "broken PROXY protocol TLV";

/// The number of a type; `whole` is what it was asked for by.
fn kind(name: &str, whole: &str, known: &[(&str, u64)]) -> Result<u64, String> {
    if let Some(digits) = name.strip_prefix("0x") {
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten();
        return number.ok_or_else(|| format!("invalid PROXY protocol TLV \"{whole}\""));
    }
    let found = known.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    found.ok_or_else(|| format!("unknown PROXY protocol TLV \"{whole}\""))
}

/// The first value of a type.
fn find(mut tlvs: &[u8], wanted: u64) -> Result<Option<&[u8]>, String> {
    while !tlvs.is_empty() {
        let next = || {
            let ([kind, high, low], rest) = tlvs.split_first_chunk::<3>()?;
            let size = usize::from(u16::from_be_bytes([*high, *low]));
            let (value, rest) = rest.split_at_checked(size)?;
            Some((u64::from(*kind), value, rest))
        };
        let (kind, value, rest) = next().ok_or(BROKEN)?;
        if kind == wanted {
            return Ok(Some(value));
        }
        tlvs = rest;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(text: &str) -> (usize, String) {
        match read(text.as_bytes()) {
            Ok(Progress::Complete { len, header: Some(h) }) => (
                len,
                format!("{} {} {} {}", h.source, h.source_port, h.destination, h.destination_port),
            ),
            Ok(Progress::Complete { len, header: None }) => (len, "-".to_owned()),
            Ok(Progress::Partial) => (0, "partial".to_owned()),
            Err(broken) => (0, broken.to_string()),
        }
    }

    /// A header of version 2.
    fn binary_of(version: u8, family: u8, said: &[u8]) -> Vec<u8> {
        let size = u16::try_from(said.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[version, family], &size, said].concat()
    }

    fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        let size = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[kind], &size[..], value].concat()
    }

    fn with_tlvs(tlvs: &[u8]) -> Header {
        let said = [&[192, 0, 2, 1, 192, 0, 2, 2, 0, 123, 22, 46], tlvs].concat();
        match read(&binary_of(0x21, 0x11, &said)).unwrap() {
            Progress::Complete { header: Some(header), .. } => *header,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines() {
        for (text, len, expected) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\nGET", 40, "192.0.2.1 1 192.0.2.2 65535"),
            ("PROXY TCP6 2001:Db8::1 ::2 1 0\r\n", 32, "2001:Db8::1 1 ::2 0"),
            ("PROXY UNKNOWN\r\n", 15, "-"),
            ("PROXY UNKNOWN 1 2 3 4 5 6\r\nx", 27, "-"),
            ("", 0, "partial"),
            ("PRO", 0, "partial"),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r", 0, "partial"),
            ("\r\n\r\n\0\r\nQ", 0, "partial"),
            ("GET / HTTP/1.1\r\n", 0, "broken header: \"GET / HTTP/1.1\""),
            ("proxy TCP4", 0, "broken header: \"proxy TCP4\""),
            (
                "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
                0,
                "broken header: \"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\"",
            ),
        ] {
            assert_eq!(header(text), (len, expected.to_owned()), "{text:?}");
        }
        for bad in [
            "TCP4 192.0.2.1 192.0.2.2 1",
            "TCP4 192.0.2.1 192.0.2.2 1 2 3",
            "TCP4  192.0.2.1 192.0.2.2 1 2",
            "TCP4 192.0.2.1 192.0.2.2 1 65536",
            "TCP4 192.0.2.1 192.0.2.2 +1 2",
            "TCP4 192.0.2.1 192.0.2.2  2",
            "TCP4 ::1 ::2 1 2",
            "TCP6 192.0.2.1 192.0.2.2 1 2",
            "TCP5 192.0.2.1 192.0.2.2 1 2",
            "TCP4 192.0.2 192.0.2.2 1 2",
        ] {
            let text = format!("PROXY {bad}\r\n");
            assert_eq!(header(&text), (0, format!("broken header: \"PROXY {bad}\"")));
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(93));
        assert!(header(&long).1.starts_with("broken header"));
    }

    #[test]
    fn binary_headers() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0, 123, 22, 46];
        let v6 = [&[0x20, 1, 13, 0xb8][..], &[0; 12], &[0; 15], &[1, 1, 0, 2, 0]].concat();
        let shown = |bytes: Vec<u8>| match read(&bytes) {
            Ok(Progress::Complete { len, header }) => {
                assert_eq!(len, bytes.len());
                header.map_or("-".into(), |h| format!("{} {}", h.source, h.destination_port))
            }
            Ok(Progress::Partial) => "partial".into(),
            Err(broken) => broken.to_string(),
        };
        for (version, family, said, expected) in [
            (0x21, 0x11, &v4[..], "192.0.2.1 5678"),
            (0x21, 0x21, &v6, "2001:db8:: 512"),
            (0x20, 0x11, &v4, "-"),
            (0x21, 0x12, &v4, "-"),
            (0x21, 0x31, &[0; 216], "-"),
            (0x21, 0x00, &[], "-"),
            (0x11, 0x11, &v4, "unknown PROXY protocol version: 1"),
            (0x22, 0x11, &v4, "unknown PROXY protocol command: 2"),
            (0x21, 0x21, &v4, "header is too small"),
            (0x21, 0x11, &[0; 4081], "header is too large"),
        ] {
            assert_eq!(shown(binary_of(version, family, said)), expected);
        }
    }

    #[test]
    fn further_values_have_names_and_numbers() {
        let inner = [tlv(0x21, b"TLSv1.3"), tlv(0x22, b"example.com")].concat();
        let ssl = [&[1, 0, 0, 0, 255][..], &inner].concat();
        let header = with_tlvs(&[tlv(1, b"h2"), tlv(0x20, &ssl), tlv(0xae, b"")].concat());
        for (name, expected) in [
            ("alpn", Some(&b"h2"[..])),
            ("0x1", Some(b"h2")),
            ("0x00ae", Some(b"")),
            ("0x1ae", None),
            ("authority", None),
            ("ssl", Some(&ssl)),
            ("ssl_verify", Some(b"255")),
            ("ssl_version", Some(b"TLSv1.3")),
            ("ssl_0x22", Some(b"example.com")),
            ("ssl_cipher", None),
        ] {
            assert_eq!(header.tlv(name).unwrap().as_deref(), expected, "{name}");
        }
        for (name, message) in [
            ("color", "unknown PROXY protocol TLV \"color\""),
            ("ssl_alpn", "unknown PROXY protocol TLV \"ssl_alpn\""),
            ("0xg", "invalid PROXY protocol TLV \"0xg\""),
            ("0x", "invalid PROXY protocol TLV \"0x\""),
        ] {
            assert_eq!(header.tlv(name).unwrap_err(), message);
        }
        assert_eq!(with_tlvs(&[0x20, 0, 1, 7]).tlv("ssl_cn").unwrap_err(), BROKEN);
        assert_eq!(with_tlvs(&[0x20, 0, 2, 7]).tlv("alpn").unwrap_err(), BROKEN);
        assert_eq!(with_tlvs(&[]).tlv("ssl_cn"), Ok(None));
    }

    fn likely() -> impl Strategy<Value = Vec<u8>> {
        let beginnings = prop_oneof![
            Just(b"PROXY ".to_vec()),
            Just(b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec()),
            Just(SIGNATURE.to_vec()),
            Just([SIGNATURE, &[0x21, 0x11]].concat()),
            Just(Vec::new()),
        ];
        (beginnings, proptest::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(a, b)| [a, b].concat())
    }

    proptest! {
        /// What a prefix is taken for stands when more has come, however the pieces were cut.
        #[test]
        fn pieces_and_whole_agree(bytes in likely(), at in 0_usize..240) {
            let at = at.min(bytes.len());
            let (part, whole) = (read(&bytes[..at]), read(&bytes));
            match part {
                Ok(Progress::Partial) => {}
                Ok(complete) => prop_assert_eq!(Ok(complete), whole),
                Err(_) => prop_assert!(whole.is_err()),
            }
            if let Ok(Progress::Complete { len, header }) = read(&bytes) {
                prop_assert!(len <= bytes.len());
                let _ = header.map(|header| header.tlv("ssl_0x1").is_ok());
            }
        }
    }
}
