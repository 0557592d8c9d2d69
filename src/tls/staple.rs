//! What a server says of its own certificates: answers of those who would know whether they are revoked
//! (OCSP stapling, RFC 6066, section 8).
//!
//! Must not ask them.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::sign::CertifiedKey;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::{Certificate, Trust, certificate};
use crate::sys::libcrypto::{self, Status};

/// A certificate that somebody can be asked about.
#[derive(Debug)]
pub struct Staple {
    pub certificate: Certificate,
    issuer: Vec<u8>,
    /// To be sent to the responder, DER.
    pub request: Vec<u8>,
    /// Who must have signed the answer (`ssl_stapling_verify`); without, anybody.
    pub trust: Option<Arc<Trust>>,
}

impl Staple {
    /// The issuer is the next one in the chain, or one of `others`. `None`: it is not known.
    pub fn new(
        certificate: &Certificate,
        others: &[impl AsRef<[u8]>],
        trust: Option<Arc<Trust>>,
    ) -> Option<Self> {
        let first = certificate.cert.first()?;
        let read = certificate::parse(first).ok()?;
        let chain = certificate.cert.iter().skip(1).map(AsRef::as_ref);
        let mut candidates = chain.chain(others.iter().map(AsRef::as_ref));
        let issuer = candidates.find(|der| {
            let known = certificate::parse(der);
            known.is_ok_and(|known| known.subject().as_raw() == read.issuer().as_raw())
        })?;
        let request = libcrypto::ocsp_request(first, issuer)?;
        Some(Self { certificate: certificate.clone(), issuer: issuer.to_vec(), request, trust })
    }

    /// Whether an answer is one to show; until when, in seconds since 1970, if it says.
    pub fn judge(&self, answer: &[u8]) -> Result<Option<i64>, String> {
        let first = self.certificate.cert.first().ok_or("there is no certificate")?;
        let store = self.trust.as_deref().map(Trust::store);
        match libcrypto::ocsp_status(answer, first, &self.issuer, store)? {
            (Status::Good, until) => Ok(until),
            (other, _) => {
                Err(format!("certificate status \"{}\" in the OCSP response", word(other)))
            }
        }
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Good => "good",
        Status::Revoked => "revoked",
        Status::Unknown => "unknown",
    }
}

/// Where a certificate says that one may ask.
pub fn responder(der: &[u8]) -> Option<String> {
    const OCSP: &str = "1.3.6.1.5.5.7.48.1";
    let read = certificate::parse(der).ok()?;
    read.extensions().iter().find_map(|extension| {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else {
            return None;
        };
        access.accessdescs.iter().find_map(|one| match &one.access_location {
            GeneralName::URI(url) if one.access_method.to_id_string() == OCSP => {
                Some((*url).to_owned())
            }
            _ => None,
        })
    })
}

/// The same pair with an answer, whatever it says (`ssl_stapling_file`). `None`: it is none.
pub fn with_answer(pair: &Certificate, answer: &[u8]) -> Option<Certificate> {
    libcrypto::is_ocsp_response(answer).then(|| {
        let mut pair = CertifiedKey::clone(pair);
        pair.ocsp = Some(answer.to_vec());
        Arc::new(pair)
    })
}

/// The pairs of a server with the answers of the present, by their numbers.
#[derive(Debug)]
pub struct Staples(Box<[ArcSwapOption<(Certificate, i64)>]>);

impl Staples {
    /// None is known yet.
    pub fn new(pairs: usize) -> Self {
        Self((0..pairs).map(|_| ArcSwapOption::empty()).collect())
    }

    /// Shows an answer until then.
    pub fn put(&self, nth: usize, pair: &Certificate, answer: &[u8], until: Option<i64>) {
        let stapled = with_answer(pair, answer);
        let stapled = stapled.map(|pair| Arc::new((pair, until.unwrap_or(i64::MAX))));
        if let Some(place) = self.0.get(nth) {
            place.store(stapled);
        }
    }

    /// The pair with an answer, if there is one that still holds.
    pub(super) fn get(&self, nth: usize) -> Option<Certificate> {
        let stapled = self.0.get(nth)?.load_full()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let holds = i64::try_from(now.as_secs()).is_ok_and(|now| now <= stapled.1);
        holds.then(|| stapled.0.clone())
    }
}
