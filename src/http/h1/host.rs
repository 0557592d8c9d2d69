//! The host of a request, from the Host field, `:authority` or an absolute target: checked as
//! nginx does (RFC 3986, section 3.2.2) and brought into the form `server_name` is matched with.

use std::ops::Range;

/// The host does not follow the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHost;

/// Where the parts of a valid host are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Length of the name at the start, without the trailing dot; brackets belong to it.
    pub name: usize,
    /// The digits after the colon; empty when there is no colon or no digit.
    pub port: Range<usize>,
    /// The port as a number, 0 when there is none.
    pub number: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Name,
    Literal,
    LiteralEnd,
    Port,
}

/// Checks a host and finds its parts, without allocating.
pub fn parts(host: &[u8]) -> Result<Parts, InvalidHost> {
    let mut state = State::Start;
    let mut name = host.len();
    let mut last_dot = None;
    let mut number = 0;
    for (at, &byte) in host.iter().enumerate() {
        if state == State::Name && is_name_byte(byte) {
            continue;
        }
        state = match (state, byte) {
            (State::Start, b'[') | (State::Literal, b':') => State::Literal,
            (State::Literal, b']') => {
                name = at + 1;
                State::LiteralEnd
            }
            (State::Start | State::Name, b':') => {
                name = at;
                State::Port
            }
            (State::LiteralEnd, b':') => State::Port,
            (State::Port, b'0'..=b'9') => {
                number = push_digit(number, byte).ok_or(InvalidHost)?;
                State::Port
            }
            (State::Start | State::Name | State::Literal, b'.') => {
                if at > 0 && last_dot == Some(at - 1) {
                    return Err(InvalidHost);
                }
                last_dot = Some(at);
                state.after_byte()
            }
            (State::Start | State::Name, b'%') => State::Name,
            (State::Start | State::Name, _) if is_name_byte(byte) => State::Name,
            (State::Literal, _) if is_name_byte(byte) => State::Literal,
            _ => return Err(InvalidHost),
        };
    }
    if state == State::Literal {
        return Err(InvalidHost);
    }
    let port = if state == State::Port { name + 1..host.len() } else { 0..0 };
    // One dot at the end says that the name is absolute; it names the same host.
    if name > 0 && last_dot == Some(name - 1) {
        name -= 1;
    }
    if name == 0 { Err(InvalidHost) } else { Ok(Parts { name, port, number }) }
}

impl State {
    fn after_byte(self) -> Self {
        if self == Self::Start { Self::Name } else { self }
    }
}

fn push_digit(number: u16, digit: u8) -> Option<u16> {
    number.checked_mul(10)?.checked_add(u16::from(digit - b'0'))
}

/// Unreserved characters and sub-delimiters of RFC 3986, without the dot.
fn is_name_byte(byte: u8) -> bool {
    NAME_BYTES.get(usize::from(byte)).copied().unwrap_or(false)
}

static NAME_BYTES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = b'0';
    while byte <= b'z' {
        allowed[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-_~!$&'()*+,;=";
    let mut at = 0;
    while at < others.len() {
        allowed[others[at] as usize] = true;
        at += 1;
    }
    allowed
};

/// Checks a host: the name in lower case, without port and trailing dot, as `$host` and
/// `server_name` want it, and the digits of the port if there are any. `Err` means 400.
pub fn validate_host(host: &[u8]) -> Result<(String, Option<String>), InvalidHost> {
    let mut name = Vec::new();
    let mut port = Vec::new();
    copy_host(host, &mut name, &mut port)?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| InvalidHost);
    let port = if port.is_empty() { None } else { Some(text(port)?) };
    Ok((text(name)?, port))
}

/// `validate_host` into buffers that are reused from request to request; both are emptied first.
pub fn copy_host(host: &[u8], name: &mut Vec<u8>, port: &mut Vec<u8>) -> Result<(), InvalidHost> {
    name.clear();
    port.clear();
    let parts = parts(host)?;
    name.extend_from_slice(host.get(..parts.name).unwrap_or_default());
    name.make_ascii_lowercase();
    port.extend_from_slice(host.get(parts.port).unwrap_or_default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every host of nginx's `http_host.t` that is accepted, and `$host` for it.
    #[test]
    fn valid_hosts_become_names() {
        for (host, name) in [
            ("l", "l"),
            ("L", "l"),
            ("abcd-ef.g02.xyz:", "abcd-ef.g02.xyz"),
            ("123.40.56.78:", "123.40.56.78"),
            ("www.abcd-ef.g02.xyz", "www.abcd-ef.g02.xyz"),
            ("abcd-ef.g02.xyz:8080", "abcd-ef.g02.xyz"),
            ("www.abcd-ef.g02.xyz.", "www.abcd-ef.g02.xyz"),
            ("abcd-ef.g02.xyz.:88", "abcd-ef.g02.xyz"),
            ("AbC-d93.0.34ZhGt-s.nk.Ru", "abc-d93.0.34zhgt-s.nk.ru"),
            ("123.49.0.78:987", "123.49.0.78"),
            ("[abcd::ef98:0:7654:321]", "[abcd::ef98:0:7654:321]"),
            ("[abcd::ef98:0:7654:321]:80", "[abcd::ef98:0:7654:321]"),
            ("[::ffff:12.30.67.89]", "[::ffff:12.30.67.89]"),
            ("[::123.45.67.89]:4321", "[::123.45.67.89]"),
            ("[vA.!$&'()*+,;=-._~z:]", "[va.!$&'()*+,;=-._~z:]"),
            ("a_b%41~", "a_b%41~"),
            ("a:65535", "a"),
        ] {
            assert_eq!(validate_host(host.as_bytes()).unwrap().0, name, "{host}");
        }
    }

    #[test]
    fn invalid_hosts_are_refused() {
        for host in [
            "",
            ".",
            ".:80",
            ":80",
            "example.com.:1.2",
            "123.49.0.78:98777",
            "123.49.0.78:65536",
            "123.40.56.78:9000:80",
            "example.com/\\:552",
            "..examp-LE.com",
            "com.exa-m.45..:",
            "[abcd::e\\f98:0/:7654:321]",
            "[abcd::ef98:0:7654:321].",
            "[abcd::ef98:0:7654:321].:98",
            "[abcd::ef98:0:7654:321]..:98",
            "[ab..cd::ef98:0:7654:321]",
            "extra[abcd::ef98:0:7654:321]:98",
            "[abcd::ef98:0:7654:321",
            "localhost\x02",
            "a b",
            "user@host",
            "a:8o",
            "\u{e9}",
            "a\0",
        ] {
            assert_eq!(validate_host(host.as_bytes()), Err(InvalidHost), "{host:?}");
        }
    }

    #[test]
    fn ports_are_split_off() {
        let port = |host: &str| validate_host(host.as_bytes()).unwrap().1;
        assert_eq!(port("a:080").as_deref(), Some("080"));
        assert_eq!(port("[::1]:81").as_deref(), Some("81"));
        assert_eq!((port("a"), port("a:"), port("[::1]")), (None, None, None));
        assert_eq!(parts(b"a:080").unwrap().number, 80);
    }
}
