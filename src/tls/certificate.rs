//! Certificates, keys and lists of what is revoked out of PEM, and what a certificate says.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, SubjectPublicKeyInfoDer,
};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Notes, PROVIDER};
use crate::sys::libcrypto;

/// A chain with the key of its first certificate.
pub type Certificate = Arc<CertifiedKey>;

/// The certificates in a PEM file, in their order; at least one.
pub fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| format!("it is no PEM file ({error})"))?;
    for der in &chain {
        parse(der)?;
    }
    if chain.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(chain)
}

/// The lists of revoked certificates in a PEM file; at least one.
pub fn crls(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let crls: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    match crls {
        Ok(crls) if crls.is_empty() => Err("there is no list in it".to_owned()),
        crls => crls.map_err(|error| format!("it is no PEM file ({error})")),
    }
}

/// Whether a password is needed to read a key.
pub fn is_encrypted(pem: &[u8]) -> bool {
    memchr::memmem::find(pem, b"ENCRYPTED").is_some()
}

/// The private key in a PEM file; an encrypted one is opened by the first password that fits.
pub fn key(pem: &[u8], passwords: &[Vec<u8>]) -> Result<PrivateKeyDer<'static>, String> {
    if !is_encrypted(pem) {
        return PrivateKeyDer::from_pem_slice(pem)
            .map_err(|error| format!("there is no key in it ({error})"));
    }
    let opened = passwords.iter().find_map(|password| libcrypto::private_key(pem, password));
    match opened {
        Some(der) => Ok(PrivateKeyDer::Pkcs8(der.into())),
        None if passwords.is_empty() => Err("it is encrypted, and no password is given".to_owned()),
        None => Err("it is encrypted, and no password opens it".to_owned()),
    }
}

/// The passwords in a file: its lines, but for empty ones.
pub fn passwords(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Both together. An error says that they do not belong together, or that the key is of no use.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, String> {
    let key = PROVIDER.key_provider.load_private_key(key);
    let key = key.map_err(|error| format!("the key cannot be used ({error})"))?;
    let first = chain.first().ok_or("there is no certificate")?;
    let public = parse(first)?;
    // Not by rustls, which reads no certificates of version 1.
    if key.public_key().is_some_and(|own| *own != *public.public_key().raw) {
        return Err("key values mismatch".to_owned());
    }
    Ok(CertifiedKey::new(chain, Arc::new(Noting(key))))
}

/// A key that notes what it is to sign with.
#[derive(Debug)]
struct Noting(Arc<dyn SigningKey>);

impl SigningKey for Noting {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let signer = self.0.choose_scheme(offered)?;
        Notes::note(|notes| notes.signed = Some(signer.scheme()));
        Some(signer)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.0.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

/// What a certificate says.
pub fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(format!("a certificate cannot be read ({error})")),
    }
}

/// Seconds since 1970 at which a certificate ends.
pub fn ends(der: &[u8]) -> Option<i64> {
    Some(parse(der).ok()?.validity().not_after.timestamp())
}
