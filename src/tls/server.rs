//! A server's side of TLS: what it shows, what it speaks, whom it asks.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache,
};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig, SignatureAlgorithm, SupportedCipherSuite};
use sha2::{Digest as _, Sha256};

use super::ciphers::{self, Protocols};
use super::staple::Staples;
use super::tickets::{Ring, Tickets};
use super::{Certificate, PROVIDER, Trust, tickets, verify};

/// `ssl_verify_client`.
#[derive(Debug, Clone)]
pub struct ClientAuth {
    /// `ssl_verify_depth`
    pub depth: usize,
    /// Whose signatures are trusted.
    pub trust: Arc<Trust>,
    /// Whose certificates the client is told to show.
    pub announced: Vec<CertificateDer<'static>>,
}

/// How one server speaks TLS.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// Each with its key; of different kinds, for clients of different abilities.
    pub certificates: Vec<Certificate>,
    /// What stands for certificates that are known only when a client asks.
    pub stand_ins: Vec<Vec<u8>>,
    pub protocols: Protocols,
    pub suites: Vec<CipherSuite>,
    pub suites13: Vec<CipherSuite>,
    /// Empty: the usual ones.
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// `ssl_prefer_server_ciphers`
    pub own_order: bool,
    /// `ssl_session_tickets`
    pub tickets: bool,
    /// What they are sealed with, the first one, and opened with; empty: the keys of the process.
    pub ticket_keys: Vec<(tickets::Name, tickets::Key)>,
    /// Sessions kept by a worker where tickets are off (`ssl_session_cache`).
    pub kept_sessions: usize,
    /// How long a session may be resumed (`ssl_session_timeout`).
    pub lifetime: Duration,
    /// Protocols for ALPN, the best first.
    pub alpn: Vec<Vec<u8>>,
    pub client: Option<ClientAuth>,
    /// `ssl_reject_handshake`
    pub reject: bool,
    /// All of this, once it has been found to fit together.
    pub made: Option<ServerConfig>,
}

impl Server {
    /// Settles it. An error says that nothing is left to agree on.
    pub fn make(mut self) -> Result<Self, String> {
        self.made = Some(self.config()?);
        Ok(self)
    }

    /// rustls's form of it, with what belongs to the process: keys of tickets, answers to show.
    pub fn armed(&self, keys: &Arc<Ring>, staples: &Arc<Staples>) -> Option<ServerConfig> {
        let mut config = self.made.clone()?;
        let (certificates, staples) = (self.certificates.clone(), Some(staples.clone()));
        config.cert_resolver = Arc::new(Chosen { certificates, staples });
        if self.tickets {
            let own = Arc::<Ring>::default();
            own.set(&self.ticket_keys);
            let ring = if self.ticket_keys.is_empty() { keys } else { &own };
            config.ticketer = Tickets::new(ring, self.lifetime, self.context());
        }
        Some(config)
    }

    fn config(&self) -> Result<ServerConfig, String> {
        let provider = ciphers::provider(&self.suites13, &self.suites, &self.groups);
        let builder = ServerConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_protocol_versions(&self.protocols.versions());
        let builder = builder.map_err(|error| error.to_string())?;
        let mut config = builder
            .with_client_cert_verifier(self.verifier())
            .with_cert_resolver(resolver(self.certificates.clone()));
        config.ignore_client_order = self.own_order;
        config.alpn_protocols.clone_from(&self.alpn);
        config.session_storage = if !self.tickets && self.kept_sessions > 0 {
            ServerSessionMemoryCache::new(self.kept_sessions)
        } else {
            Arc::new(NoServerSessionStorage {})
        };
        Ok(config)
    }

    /// What a session must have in common with this server to be resumed here, as in nginx: it was made
    /// with the same certificates, and the same authorities were announced.
    pub fn context(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let certificates = self.certificates.iter().filter_map(|one| one.cert.first());
        let announced = self.client.iter().flat_map(|client| &client.announced);
        let bytes = certificates.chain(announced).map(AsRef::as_ref);
        for part in bytes.chain(self.stand_ins.iter().map(Vec::as_slice)) {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        match &self.client {
            Some(client) => Arc::new(verify::AskOnly::new(&client.announced)),
            None => Arc::new(NoClientAuth),
        }
    }
}

/// The same with certificates that have become known.
pub fn with_certificates(config: &ServerConfig, certificates: Vec<Certificate>) -> ServerConfig {
    let mut config = config.clone();
    config.cert_resolver = resolver(certificates);
    config
}

fn resolver(certificates: Vec<Certificate>) -> Arc<dyn ResolvesServerCert> {
    Arc::new(Chosen { certificates, staples: None })
}

/// Chooses among a server's certificates by what a client can check.
#[derive(Debug)]
struct Chosen {
    certificates: Vec<Certificate>,
    /// What there is to show with them.
    staples: Option<Arc<Staples>>,
}

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |(_, certificate): &(usize, &Certificate)| can_check(&hello, certificate);
        let all = || self.certificates.iter().enumerate();
        // Signing with an elliptic curve costs a tenth of what it costs with RSA.
        let curve = all().filter(|(_, one)| is_curve(one)).find(fits);
        let (nth, certificate) = curve.or_else(|| all().find(fits))?;
        let stapled = self.staples.as_ref().and_then(|staples| staples.get(nth));
        Some(stapled.unwrap_or_else(|| certificate.clone()))
    }
}

fn is_curve(certificate: &CertifiedKey) -> bool {
    certificate.key.algorithm() != SignatureAlgorithm::RSA
}

/// Whether the client knows the signature, and with TLS 1.2 a cipher that goes with it.
fn can_check(hello: &ClientHello<'_>, certificate: &CertifiedKey) -> bool {
    let offered = hello.cipher_suites();
    let algorithm = certificate.key.algorithm();
    let goes = |suite: &SupportedCipherSuite| suite.usable_for_signature_algorithm(algorithm);
    let mut usable = PROVIDER.cipher_suites.iter().filter(|suite| goes(suite));
    certificate.key.choose_scheme(hello.signature_schemes()).is_some()
        && usable.any(|suite| offered.contains(&suite.suite()))
}
