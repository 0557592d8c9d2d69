//! TLS as a configuration describes it, made into what rustls wants: certificates, ciphers, versions,
//! who is asked for a certificate and what it proves.
//!
//! Must not do input or output, and knows no HTTP.

pub mod certificate;
pub mod ciphers;
pub mod server;
pub mod session;
pub mod verify;

pub use certificate::Certificate;
pub use server::{ClientAuth, Server};
pub use session::Session;

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;

/// All that is there to choose from.
static PROVIDER: LazyLock<CryptoProvider> =
    LazyLock::new(rustls::crypto::aws_lc_rs::default_provider);

/// Makes and reads tickets, by keys of this process.
pub fn tickets(_lifetime: Duration) -> Arc<dyn ProducesTickets> {
    static KEYS: OnceLock<Arc<dyn ProducesTickets>> = OnceLock::new();
    let made = KEYS.get_or_init(|| {
        rustls::crypto::aws_lc_rs::Ticketer::new().unwrap_or_else(|_| Arc::new(NoTickets))
    });
    Arc::clone(made)
}

/// Where there is no randomness for keys.
#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
