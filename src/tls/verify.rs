//! Whether a peer has the key of the certificate it shows.
//!
//! A handshake with a client never fails because of its certificate, except for one whose key the
//! client does not have: like nginx, a request is answered with a page that says what is wrong. So the
//! verifier given to rustls accepts every chain, and [`Trust`](super::Trust) is asked after the
//! handshake. Until then nothing has been read that anybody acts upon.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::RawPublicKeyEntity;

use super::{Notes, PROVIDER, certificate};

/// Asks for a certificate and looks only at the signature.
#[derive(Debug)]
pub struct AskOnly {
    hints: Vec<DistinguishedName>,
}

impl AskOnly {
    /// The client is told the names of these, each once: it is to show what they have signed.
    pub fn new(announced: &[CertificateDer<'_>]) -> Self {
        let mut names: Vec<Vec<u8>> = Vec::new();
        for certificate in announced.iter().filter_map(|der| certificate::parse(der).ok()) {
            let name = certificate.subject().as_raw();
            if !names.iter().any(|known| known == name) {
                names.push(name.to_vec());
            }
        }
        Self { hints: names.into_iter().map(Into::into).collect() }
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
        note(signed);
        signature12(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        note(signed);
        signature13(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

fn note(signed: &DigitallySignedStruct) {
    Notes::note(|notes| notes.client_signed = Some(signed.scheme));
}

/// What peers may sign a handshake with.
pub fn schemes() -> Vec<SignatureScheme> {
    PROVIDER.signature_verification_algorithms.supported_schemes()
}

/// Checks the signature in a handshake of TLS 1.3 with a certificate's key. Unlike rustls's own way it
/// does not mind certificates of version 1.
pub fn signature13(
    message: &[u8],
    cert: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let known = &PROVIDER.signature_verification_algorithms;
    verify_tls13_signature_with_raw_key(message, &public_key(cert)?, signed, known)
}

/// The same for TLS 1.2, where a scheme does not tell the curve.
pub fn signature12(
    message: &[u8],
    cert: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let bad = Error::InvalidCertificate(CertificateError::BadSignature);
    let key = public_key(cert)?;
    let key = RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
    let known = PROVIDER.signature_verification_algorithms.mapping;
    let (_, algorithms) =
        known.iter().find(|(scheme, _)| *scheme == signed.scheme).ok_or(bad.clone())?;
    // One for another kind of key or curve fails by that.
    let is_valid = |algorithm| key.verify_signature(algorithm, message, signed.signature()).is_ok();
    if algorithms.iter().any(|algorithm| is_valid(*algorithm)) {
        return Ok(HandshakeSignatureValid::assertion());
    }
    Err(bad)
}

fn public_key(cert: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let certificate = certificate::parse(cert).map_err(|_| CertificateError::BadEncoding)?;
    Ok(certificate.public_key().raw.to_vec().into())
}
