//! A client's side of TLS: what it shows when it is asked, what it speaks, whom it trusts.
//!
//! Like nginx it ends no handshake for a certificate: rustls is given a verifier that looks at the
//! signature only, and [`Client::judge`] is asked before a byte is sent. So a certificate that nobody
//! has to trust may be of any kind, and what a resumed session proves is judged anew.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CipherSuite, ClientConfig, Connection, DigitallySignedStruct, Error, SignatureScheme,
};

use super::ciphers::{self, Protocols};
use super::{Certificate, Complaint, Purpose, Trust, host, verify};

/// Names whose sessions are kept for one server.
const SESSIONS: usize = 32;

/// Whom a client trusts.
#[derive(Debug, Clone)]
pub struct Trusted {
    pub trust: Arc<Trust>,
    /// Certificates that may stand between a server's and a trusted one.
    pub depth: usize,
}

/// How one client speaks TLS.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Shown to servers that ask.
    pub certificate: Option<Certificate>,
    pub protocols: Protocols,
    pub suites: Vec<CipherSuite>,
    pub suites13: Vec<CipherSuite>,
    /// Empty: the usual ones.
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// Without, any server will do.
    pub trusted: Option<Trusted>,
    /// Protocols for ALPN, the best first.
    pub alpn: Vec<Vec<u8>>,
}

/// Why a server is not spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Nobody trusted says who it is.
    Chain(Complaint),
    /// It is somebody else.
    Host,
}

impl Client {
    /// rustls's form of it, without sessions to resume. An error says that nothing is left to agree on.
    pub fn config(&self) -> Result<ClientConfig, String> {
        let provider = ciphers::provider(&self.suites13, &self.suites, &self.groups);
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_protocol_versions(&self.protocols.versions());
        let builder = builder.map_err(|error| error.to_string())?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone));
        let mut config = builder.with_no_client_auth();
        if let Some(certificate) = &self.certificate {
            show(&mut config, certificate);
        }
        config.resumption = Resumption::disabled();
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(config)
    }

    /// Whether the server at the other end of a session is who it is to be.
    pub fn judge(&self, session: &Connection, name: &[u8]) -> Result<(), Doubt> {
        let Some(Trusted { trust, depth }) = &self.trusted else { return Ok(()) };
        let shown = session.peer_certificates().unwrap_or_default();
        trust.verdict(shown, Purpose::Server, *depth).map_err(Doubt::Chain)?;
        let first = shown.first().ok_or(Doubt::Host)?;
        if host::is_named(first, name) { Ok(()) } else { Err(Doubt::Host) }
    }
}

/// Shows this certificate to servers that ask.
pub fn show(config: &mut ClientConfig, certificate: &Certificate) {
    let shown = SingleCertAndKey::from(certificate.as_ref().clone());
    config.client_auth_cert_resolver = Arc::new(shown);
}

/// The same with sessions of its own, which are resumed. One server's are for no other.
pub fn with_sessions(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    config
}

/// What a server is asked for by name (SNI): nothing for addresses, which have no place there. `None`
/// where nobody can have that name.
pub fn asked_for(name: &[u8]) -> Option<ServerName<'static>> {
    if name.is_empty() || name.starts_with(b"[") {
        return Some(nobody());
    }
    let name = String::from_utf8(name.to_vec()).ok()?;
    match ServerName::try_from(name).ok()? {
        name @ ServerName::DnsName(_) => Some(name),
        _ => Some(nobody()),
    }
}

/// Asks for nobody: an address is not told.
pub fn nobody() -> ServerName<'static> {
    ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED))
}

/// Looks only at the signature.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify::signature12(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify::signature13(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        verify::schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_asked_for() {
        for (name, expected) in [
            ("backend", Some("backend")),
            ("a_b.example.com", Some("a_b.example.com")),
            ("127.0.0.1", Some("0.0.0.0")),
            ("[::1]", Some("0.0.0.0")),
            ("", Some("0.0.0.0")),
            ("no name", None),
        ] {
            let asked = asked_for(name.as_bytes());
            assert_eq!(asked.as_ref().map(ServerName::to_str).as_deref(), expected, "{name}");
        }
    }
}
