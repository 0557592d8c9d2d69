//! Owns what makes one connection TLS: the host's name, the certificate shown, the handshake and what
//! it has proved.

use super::{Conf, Settings};
use crate::http::certificates::Varying;
use crate::http::io::handshake_failed;
use crate::http::request::Request;
use crate::net::{Address, Stream, Tls};
use crate::tls::client::{self, Doubt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

/// How connections for one request become TLS.
pub struct Secure<'a> {
    settings: &'a Settings,
    /// A number of `Live::upstream_ssl`.
    at: usize,
    /// The host, without a port.
    name: Vec<u8>,
    told: bool,
    /// Certificate and key whose names come with the request.
    varying: Option<(&'a Varying, [Vec<u8>; 2])>,
    /// Connections with the same mark may stand for one another.
    pub mark: Rc<[u8]>,
}

/// Why a connection has not become TLS.
pub enum Trouble {
    /// It lies here, whichever server is asked; a sentence for the log.
    Here(String),
    /// The server has refused or broken off, or is not to be trusted.
    There(String),
}

impl Trouble {
    pub fn into_sentence(self) -> String {
        match self {
            Self::Here(why) | Self::There(why) => why,
        }
    }
}

impl Conf {
    /// For a request that is passed on to `host`.
    pub fn secure<'a>(
        &'a self,
        req: &Request,
        settings: &'a [Settings],
        host: &[u8],
    ) -> Option<Secure<'a>> {
        let at = self.settings?;
        let settings = settings.get(at)?;
        let name = self.name.as_ref().map(|name| name.value(req));
        let name = without_port(name.as_deref().unwrap_or(host)).to_vec();
        let varying = self.varying.as_ref().map(|varying| (varying, varying.names(req)));
        let varying = varying.filter(|(_, [certificate, _])| !certificate.is_empty());
        let mut mark = settings.print.to_vec();
        mark.push(u8::from(self.server_name));
        // Where nobody is told it and nobody compares it, it makes no difference.
        let counts = self.server_name || settings.client.trusted.is_some();
        let counted = if counts { &name[..] } else { b"" };
        let names = varying.iter().flat_map(|(_, names)| names).map(Vec::as_slice);
        for word in [counted].into_iter().chain(names) {
            mark.extend_from_slice(&word.len().to_be_bytes());
            mark.extend_from_slice(word);
        }
        Some(Secure { settings, at, name, told: self.server_name, varying, mark: mark.into() })
    }
}

impl Secure<'_> {
    /// Does the handshake; no timeout of its own.
    pub async fn shake(
        &self,
        req: &Request,
        stream: &mut Stream,
        (group, server): (&str, &Address),
    ) -> Result<(), Trouble> {
        let config = self.config(req, group, server)?;
        let session = ClientConnection::new(config, self.server_name()?);
        let session = session.map_err(|error| Trouble::Here(error.to_string()))?;
        stream.secure(session);
        poll_fn(|cx| stream.poll_handshake(cx))
            .await
            .map_err(|error| Trouble::There(handshake_failed(&error)))?;
        let Some(session) = stream.tls().map(Tls::session) else { return Ok(()) };
        self.settings.client.judge(session, &self.name).map_err(|doubt| match doubt {
            Doubt::Chain(why) => Trouble::There(format!(
                "upstream SSL certificate verify error: ({}:{why})",
                why.number()
            )),
            Doubt::Host => Trouble::There(format!(
                "upstream SSL certificate does not match \"{}\"",
                String::from_utf8_lossy(&self.name)
            )),
        })
    }

    fn server_name(&self) -> Result<ServerName<'static>, Trouble> {
        if !self.told {
            return Ok(client::nobody());
        }
        client::asked_for(&self.name).ok_or_else(|| {
            let shown = String::from_utf8_lossy(&self.name);
            Trouble::Here(format!("SSL_set_tlsext_host_name(\"{shown}\") failed"))
        })
    }

    fn config(
        &self,
        req: &Request,
        group: &str,
        server: &Address,
    ) -> Result<Arc<ClientConfig>, Trouble> {
        let sessions = req.live.upstream_ssl.get(self.at).and_then(Option::as_ref);
        let sessions = sessions.ok_or_else(|| Trouble::Here("TLS cannot be set up".to_owned()))?;
        let Some((varying, names)) = &self.varying else { return Ok(sessions.with(group, server)) };
        let certificate = varying.load_named(names, req).map_err(Trouble::Here)?;
        Ok(sessions.showing(&certificate))
    }
}

/// A name as `$http_host` has it, without what follows the host.
fn without_port(name: &[u8]) -> &[u8] {
    let bracket = if name.starts_with(b"[") { memchr::memchr(b']', name) } else { None };
    let from = bracket.unwrap_or(0);
    let colon = memchr::memchr(b':', &name[from..]).map(|at| at + from);
    &name[..colon.unwrap_or(name.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_no_part_of_a_name() {
        for (name, expected) in [
            ("backend:123", "backend"),
            ("backend", "backend"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(without_port(name.as_bytes()), expected.as_bytes());
        }
    }
}
