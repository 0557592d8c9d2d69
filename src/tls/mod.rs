//! TLS as a configuration describes it, made into what rustls wants: certificates, ciphers, versions,
//! who is asked for a certificate and what it proves.
//!
//! Must not do input or output, and knows no HTTP.

pub mod certificate;
pub mod ciphers;
pub mod client;
pub mod host;
pub mod notes;
pub mod offer;
pub mod server;
pub mod session;
pub mod staple;
pub mod tickets;
pub mod trust;
pub mod verify;

pub use crate::sys::libcrypto::Purpose;
pub use certificate::Certificate;
pub use client::Client;
pub use notes::Notes;
pub use offer::Offer;
pub use server::{ClientAuth, Server};
pub use session::Session;
pub use trust::{Complaint, Trust};

use std::sync::LazyLock;

use rustls::crypto::CryptoProvider;

/// All that is there to choose from.
static PROVIDER: LazyLock<CryptoProvider> =
    LazyLock::new(rustls::crypto::aws_lc_rs::default_provider);

#[cfg(test)]
mod trust_tests;
