//! Who is asked for a certificate, and what one proves.
//!
//! A handshake never fails because of a client's certificate, except for one whose key the client
//! does not have: like nginx, a request is answered with a page that says what is wrong. So the
//! verifier given to rustls accepts every chain, and [`verdict`] is asked after the handshake. Until
//! then nothing has been read that anybody acts upon.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use x509_parser::time::ASN1Time;

use super::{ClientAuth, PROVIDER, certificate};

/// Asks for a certificate and looks only at the signature.
#[derive(Debug)]
pub struct AskOnly {
    hints: Vec<DistinguishedName>,
}

impl AskOnly {
    /// `hints` are the names of those whose certificates are wanted.
    pub fn new(hints: Vec<DistinguishedName>) -> Self {
        Self { hints }
    }
}

impl ClientCertVerifier for AskOnly {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

/// Those who may have signed, as rustls wants them.
pub fn roots(chain: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for der in chain {
        roots.add(der.clone()).map_err(|error| format!("it is of no use ({error})"))?;
    }
    Ok(Arc::new(roots))
}

/// Checks chains against those roots.
pub fn verifier(roots: Arc<RootCertStore>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(PROVIDER.clone()));
    builder.build().map_err(|error| error.to_string())
}

/// What a client's chain proves: nothing if it is fine, else OpenSSL's words for what is wrong.
pub fn verdict(auth: &ClientAuth, chain: &[CertificateDer<'_>]) -> Result<(), String> {
    let Some((first, rest)) = chain.split_first() else { return Ok(()) };
    if rest.iter().filter(|der| !is_self_signed(der)).count() > auth.depth {
        return Err("certificate chain too long".to_owned());
    }
    if auth.trusted.contains(first) {
        return in_time(first);
    }
    let unknown = || words(&CertificateError::UnknownIssuer, first);
    match auth.verifier.as_ref().ok_or_else(unknown)?.verify_client_cert(
        first,
        rest,
        UnixTime::now(),
    ) {
        Ok(_) => Ok(()),
        Err(Error::InvalidCertificate(error)) => Err(words(&error, first)),
        Err(error) => Err(error.to_string()),
    }
}

/// One that is trusted itself needs no signature.
fn in_time(der: &[u8]) -> Result<(), String> {
    let validity = certificate::parse(der)?.validity().clone();
    let now = ASN1Time::now();
    if now < validity.not_before {
        Err("certificate is not yet valid".to_owned())
    } else if now > validity.not_after {
        Err("certificate has expired".to_owned())
    } else {
        Ok(())
    }
}

/// OpenSSL's words.
fn words(error: &CertificateError, first: &[u8]) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid".to_owned()
        }
        CertificateError::Revoked => "certificate revoked".to_owned(),
        CertificateError::UnknownIssuer if is_self_signed(first) => {
            "self-signed certificate".to_owned()
        }
        CertificateError::UnknownIssuer => "unable to verify the first certificate".to_owned(),
        CertificateError::BadSignature => "certificate signature failure".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "unsuitable certificate purpose".to_owned()
        }
        CertificateError::Other(_) => "unsuitable certificate".to_owned(),
        other => other.to_string(),
    }
}

fn is_self_signed(der: &[u8]) -> bool {
    certificate::parse(der).is_ok_and(|cert| cert.subject() == cert.issuer())
}
