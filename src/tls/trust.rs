//! Whom one trusts, and what a chain of certificates is worth to him: all that OpenSSL checks for nginx,
//! checked by OpenSSL's descendant in AWS-LC.
//!
//! Must not know what is to become of a chain that is worth nothing.

use std::fmt;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::public_key::PublicKey;

use super::certificate;
use crate::sys::libcrypto::{Purpose, Store};

/// What is wrong with a chain: OpenSSL's number for it. Shown in OpenSSL's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Complaint(i32);

const CHAIN_TOO_LONG: Complaint = Complaint(22);
const EE_KEY_TOO_SMALL: Complaint = Complaint(66);
const CA_KEY_TOO_SMALL: Complaint = Complaint(67);
const CA_MD_TOO_WEAK: Complaint = Complaint(68);

/// Bits of an RSA key worth 112 bits, which is what OpenSSL asks for where Debian builds it.
const RSA: usize = 2048;
/// The same of an elliptic curve.
const CURVE: usize = 224;

/// Signatures over SHA-1. Older ones are known to nobody here.
const WEAK: [&str; 3] = ["1.2.840.113549.1.1.5", "1.3.14.3.2.29", "1.2.840.10045.4.1"];

/// Those who are trusted, and what is revoked.
pub struct Trust(Store);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl Trust {
    /// Trusts these. If there are lists of what is revoked, each certificate of a chain needs one.
    pub fn new(
        trusted: &[CertificateDer<'_>],
        revoked: &[CertificateRevocationListDer<'_>],
    ) -> Result<Self, String> {
        let mut store = Store::new().ok_or("there is no memory")?;
        if !trusted.iter().all(|der| store.trust(der)) {
            return Err("a certificate cannot be read".to_owned());
        }
        if !revoked.iter().all(|der| store.revoke(der)) {
            return Err("a list of revoked certificates cannot be read".to_owned());
        }
        Ok(Self(store))
    }

    pub(super) fn store(&self) -> &Store {
        &self.0
    }

    /// Whether a chain, as it was shown, leads to somebody who is trusted, with at most `depth`
    /// certificates between.
    pub fn verdict(
        &self,
        shown: &[CertificateDer<'_>],
        purpose: Purpose,
        depth: usize,
    ) -> Result<(), Complaint> {
        // One more, to know a chain that is too long from one that leads nowhere.
        let chain = self.0.check(shown, purpose, depth.saturating_add(1)).map_err(Complaint)?;
        if chain.len() > depth.saturating_add(2) {
            return Err(CHAIN_TOO_LONG);
        }
        strong(&chain)
    }
}

/// Whether keys and signatures are as strong as OpenSSL's second level of security has them.
fn strong(chain: &[Vec<u8>]) -> Result<(), Complaint> {
    let unreadable = |_| Complaint(1);
    let last = chain.len().saturating_sub(1);
    for (at, der) in chain.iter().enumerate() {
        let certificate = certificate::parse(der).map_err(unreadable)?;
        let enough = match certificate.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => key.key_size() >= RSA,
            Ok(PublicKey::EC(point)) => point.key_size() >= CURVE,
            // Ed25519; whatever else there is has verified nothing.
            Ok(_) => true,
            Err(_) => false,
        };
        if !enough {
            return Err(if at == 0 { EE_KEY_TOO_SMALL } else { CA_KEY_TOO_SMALL });
        }
        // The last one is trusted, whoever signed it.
        let signed = certificate.signature_algorithm.algorithm.to_id_string();
        if at < last && WEAK.contains(&signed.as_str()) {
            return Err(CA_MD_TOO_WEAK);
        }
    }
    Ok(())
}

impl Complaint {
    /// OpenSSL's number for it.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Whether it is no more than that nobody trusted has signed, which `optional_no_ca` forgives.
    pub fn is_of_trust(self) -> bool {
        [18, 19, 20, 21, 27].contains(&self.0)
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = WORDS.iter().find(|(number, _)| *number == self.0);
        match known {
            Some((_, words)) => f.write_str(words),
            None => write!(f, "error number {}", self.0),
        }
    }
}

/// As OpenSSL 3 has them.
const WORDS: [(i32, &str); 46] = [
    (1, "unspecified certificate verification error"),
    (2, "unable to get issuer certificate"),
    (3, "unable to get certificate CRL"),
    (4, "unable to decrypt certificate's signature"),
    (5, "unable to decrypt CRL's signature"),
    (6, "unable to decode issuer public key"),
    (7, "certificate signature failure"),
    (8, "CRL signature failure"),
    (9, "certificate is not yet valid"),
    (10, "certificate has expired"),
    (11, "CRL is not yet valid"),
    (12, "CRL has expired"),
    (13, "format error in certificate's notBefore field"),
    (14, "format error in certificate's notAfter field"),
    (15, "format error in CRL's lastUpdate field"),
    (16, "format error in CRL's nextUpdate field"),
    (17, "out of memory"),
    (18, "self-signed certificate"),
    (19, "self-signed certificate in certificate chain"),
    (20, "unable to get local issuer certificate"),
    (21, "unable to verify the first certificate"),
    (22, "certificate chain too long"),
    (23, "certificate revoked"),
    (24, "invalid CA certificate"),
    (25, "path length constraint exceeded"),
    (26, "unsuitable certificate purpose"),
    (27, "certificate not trusted"),
    (28, "certificate rejected"),
    (32, "key usage does not include certificate signing"),
    (33, "unable to get CRL issuer certificate"),
    (34, "unhandled critical extension"),
    (35, "key usage does not include CRL signing"),
    (36, "unhandled critical CRL extension"),
    (37, "invalid non-CA certificate (has CA markings)"),
    (41, "invalid or inconsistent certificate extension"),
    (44, "different CRL scope"),
    (45, "unsupported extension feature"),
    (47, "permitted subtree violation"),
    (48, "excluded subtree violation"),
    (51, "unsupported name constraint type"),
    (52, "unsupported or invalid name constraint syntax"),
    (53, "unsupported or invalid name syntax"),
    (54, "CRL path validation error"),
    (66, "EE certificate key too weak"),
    (67, "CA certificate key too weak"),
    (68, "CA signature digest algorithm too weak"),
];
