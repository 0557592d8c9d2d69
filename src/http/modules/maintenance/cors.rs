//! Owns `maintenance_cors`: pages of other origins whose scripts may read what a closed door answers.
//!
//! Must not let anybody in: a preflight that is answered here asks nothing of a server behind.

use crate::conf::{Directive, Error};
use crate::http::headers::{Headers, Name};
use crate::http::method::Method;
use crate::http::reply::Reply;
use crate::http::request::Request;

const REQUEST_METHOD: &[u8] = b"access-control-request-method";
const REQUEST_HEADERS: &[u8] = b"access-control-request-headers";

/// What scripts are to see besides the fields that they always do (the Fetch standard's
/// "CORS-safelisted response-header names").
const EXPOSED: &[u8] = b"Retry-After, grpc-status, grpc-message, grpc-retry-pushback-ms";

/// Whose scripts may read the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cors {
    Off,
    /// Anybody's, but without credentials.
    All,
    /// As browsers write them: scheme, host, and a port that is not the scheme's own.
    Origins(Vec<Vec<u8>>),
}

impl Cors {
    pub fn read(dir: &Directive) -> Result<Self, Error> {
        match (&dir.arg(0).text[..], dir.args.len()) {
            (b"off", 1) => return Ok(Self::Off),
            (b"*", 1) => return Ok(Self::All),
            _ => {}
        }
        let origin = |word: &crate::conf::Word| {
            let help = "an origin is http:// or https://, a host, and maybe a port";
            origin(&word.text).ok_or_else(|| super::rows::invalid(word).with_help(help))
        };
        dir.args.iter().map(origin).collect::<Result<_, _>>().map(Self::Origins)
    }

    /// The origin that a request names, if its scripts may read the answer.
    fn admits<'a>(&self, req: &'a Request) -> Option<&'a [u8]> {
        let origin = req.head.headers.get(Name::Origin)?;
        let admitted = match self {
            Self::Off => false,
            Self::All => true,
            Self::Origins(all) => all.iter().any(|one| one == origin),
        };
        admitted.then_some(origin)
    }

    /// Whether a browser asks for leave to send what it would not send unasked.
    pub fn is_preflight(&self, req: &Request) -> bool {
        req.head.method == Method::Options
            && req.head.headers.get_str(REQUEST_METHOD).is_some()
            && self.admits(req).is_some()
    }

    /// Leave to send it: then it is answered, and the script learns why. What it allows holds for
    /// this once, since the server behind has rules of its own.
    pub fn preflight(req: &Request) -> Reply {
        let mut reply = Reply::empty(204);
        let headers = &mut reply.headers;
        for (name, asked) in [
            (&b"Access-Control-Allow-Methods"[..], REQUEST_METHOD),
            (b"Access-Control-Allow-Headers", REQUEST_HEADERS),
        ] {
            if let Some(value) = req.head.headers.get_str(asked) {
                headers.push(name, value);
            }
        }
        headers.push(b"Access-Control-Max-Age", b"0");
        reply
    }

    /// Lets the script that has asked read the answer.
    pub fn allow(&self, req: &Request, headers: &mut Headers) {
        if *self == Self::Off {
            return;
        }
        if *self != Self::All {
            headers.push_known(Name::Vary, b"Origin");
        }
        let Some(origin) = self.admits(req) else { return };
        if *self == Self::All {
            headers.push(b"Access-Control-Allow-Origin", b"*");
        } else {
            headers.push(b"Access-Control-Allow-Origin", origin);
            headers.push(b"Access-Control-Allow-Credentials", b"true");
        }
        headers.push(b"Access-Control-Expose-Headers", EXPOSED);
    }
}

/// An origin as browsers write it (RFC 6454, section 6.2), or nothing.
fn origin(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.to_ascii_lowercase();
    let (host, port) = match text.strip_prefix(b"https://") {
        Some(host) => (host, &b":443"[..]),
        None => (text.strip_prefix(b"http://")?, &b":80"[..]),
    };
    let plain = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
    };
    if host.is_empty() || !host.iter().all(plain) {
        return None;
    }
    Some(text.strip_suffix(port).unwrap_or(&text).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_write() {
        let read = |text: &str| {
            origin(text.as_bytes()).map(|read| String::from_utf8(read).unwrap()).unwrap_or_default()
        };
        assert_eq!(read("https://App.Example.com"), "https://app.example.com");
        assert_eq!(read("https://app.example.com:443"), "https://app.example.com");
        assert_eq!(read("http://[::1]:80"), "http://[::1]");
        assert_eq!(read("http://app:443"), "http://app:443");
        for odd in ["", "null", "app", "https://", "https://app/", "https://a@b", "ftp://app"] {
            assert_eq!(read(odd), "", "{odd}");
        }
    }
}
