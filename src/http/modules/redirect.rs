//! Owns redirects that the server makes by itself: their address, absolute or not.
//!
//! Must not decide to redirect, but for a proxied location that lacks its slash.

use super::inherit;
use crate::conf::{Args, Row, values};
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::phase::Stop;
use crate::http::request::Request;
use crate::http::uri::{Set, escape};
use crate::http::vars::Variable;
use crate::net::Address;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    absolute: Option<bool>,
    server_name: Option<bool>,
    port: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    absolute: bool,
    server_name: bool,
    port: bool,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; absolute, server_name, port);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf {
            absolute: self.absolute.unwrap_or(true),
            server_name: self.server_name.unwrap_or(false),
            port: self.port.unwrap_or(true),
        }
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "absolute_redirect",
        HSL,
        Args::Flag,
        "Makes redirects absolute (default on).",
        |s, dir, _| values::flag(&mut s.drafts.redirect.absolute, dir),
    ),
    row(
        "server_name_in_redirect",
        HSL,
        Args::Flag,
        "Redirects to the first `server_name` instead of the host asked for (default off).",
        |s, dir, _| values::flag(&mut s.drafts.redirect.server_name, dir),
    ),
    row(
        "port_in_redirect",
        HSL,
        Args::Flag,
        "Names the port in redirects when it is not the usual one (default on).",
        |s, dir, _| values::flag(&mut s.drafts.redirect.port, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[];

/// 301 to the path of a proxied location, its slash included.
pub fn add_slash(req: &mut Request, at: usize) -> Stop {
    req.location = at;
    if req.conf().files.internal && !req.internal {
        return Stop::Status(404);
    }
    let mut address = escape(&req.location().name, Set::Uri).into_owned();
    if !req.args.is_empty() {
        address.push(b'?');
        address.extend_from_slice(&req.args);
    }
    req.reply.location = Some(address);
    Stop::Status(301)
}

/// Header filter: makes `Location` absolute where so configured.
pub fn absolute(req: &mut Request) {
    let Some(location) = &mut req.reply.location else { return };
    guard(location);
    if location.first() != Some(&b'/') || !req.conf().redirect.absolute {
        return;
    }
    let mut address = b"http://".to_vec();
    address.extend_from_slice(&host(req));
    if req.conf().redirect.port
        && let Some(port) = req.client.local().port()
        && port != 80
    {
        address.extend_from_slice(format!(":{port}").as_bytes());
    }
    if let Some(location) = &mut req.reply.location {
        location.splice(0..0, address);
    }
}

/// A variable such as `$uri` may bring a line end into the address; it must not end the field.
fn guard(location: &mut Vec<u8>) {
    if location.iter().any(u8::is_ascii_control) {
        let safe = location.iter().flat_map(|b| match b {
            b if b.is_ascii_control() => format!("%{b:02X}").into_bytes(),
            b => vec![*b],
        });
        *location = safe.collect();
    }
}

/// The host that redirects name: the server's, the one asked for, or the local address.
fn host(req: &Request) -> Vec<u8> {
    if req.conf().redirect.server_name {
        return req.server().name.clone();
    }
    if !req.head.host.is_empty() {
        return req.head.host.clone();
    }
    match req.client.local() {
        Address::Inet(address) => address.ip().to_string().into_bytes(),
        unix @ Address::Unix(_) => unix.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::guard;

    #[test]
    fn line_ends_are_escaped() {
        let mut plain = b"/a b%20?x".to_vec();
        guard(&mut plain);
        assert_eq!(plain, b"/a b%20?x");
        let mut bad = b"http://a/\r\nSet-Cookie:x".to_vec();
        guard(&mut bad);
        assert_eq!(bad, b"http://a/%0D%0ASet-Cookie:x");
    }
}
