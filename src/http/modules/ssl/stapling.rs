//! Owns `ssl_stapling` as written: which certificates get an answer from a file, and whom to ask about
//! the others.
//!
//! Must not ask anybody.

use super::Draft;
use super::build::report;
use crate::conf::world::reason;
use crate::http::certificates::{self, shown};
use crate::http::finish::Finish;
use crate::http::stapling::Responder;
use crate::tls::staple::{self, Staple};
use crate::tls::{Certificate, ClientAuth, Trust};
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;

/// Puts the answer of a file to all certificates.
pub(super) fn from_file(
    draft: &Draft,
    pairs: Vec<Certificate>,
    cx: &mut Finish,
) -> Vec<Certificate> {
    let Some(word) = draft.stapling_file.as_ref().filter(|_| draft.stapling == Some(true)) else {
        return pairs;
    };
    let path = cx.env.conf_path(&word.lossy());
    let shown = path.display();
    let answer = cx.env.world.read(&path).map_err(|error| {
        word.error(format_args!("open() \"{shown}\" failed ({})", reason(&error)))
    });
    let stapled = answer.and_then(|answer| {
        let stapled = pairs.iter().map(|pair| staple::with_answer(pair, &answer));
        let stapled: Option<Vec<_>> = stapled.collect();
        stapled.ok_or_else(|| word.error(format_args!("\"{shown}\" is no OCSP response")))
    });
    stapled.unwrap_or_else(|error| {
        cx.report(error);
        pairs
    })
}

/// Whom to ask. A certificate that nobody can be asked about is shown without an answer.
pub(super) fn responders(
    draft: &Draft,
    pairs: &[Certificate],
    client: Option<&ClientAuth>,
    cx: &mut Finish,
) -> Vec<Arc<Responder>> {
    if draft.stapling != Some(true) || draft.stapling_file.is_some() {
        return Vec::new();
    }
    let trusted = draft.trusted_certificate.as_ref().and_then(|word| certificates::chain(word, cx));
    let trusted = trusted.unwrap_or_default();
    let known = client.map(|client| client.announced.clone()).unwrap_or_default();
    let known: Vec<_> = known.into_iter().chain(trusted).collect();
    let trust = match trust(draft, &known) {
        Ok(trust) => trust,
        Err(why) => {
            let text = format!("\"ssl_stapling_verify\" cannot be set up: {why}");
            report(draft, text, cx);
            return Vec::new();
        }
    };
    let words = draft.certificates.iter().flatten();
    let mut found = Vec::new();
    for (nth, (pair, word)) in pairs.iter().zip(words).enumerate() {
        match responder(draft, pair, (&known, trust.clone()), cx) {
            Ok(responder) => found.push(Arc::new(Responder { certificate: nth, ..responder })),
            Err(why) => {
                let text = format_args!("\"ssl_stapling\" ignored, {why} \"{}\"", shown(word));
                cx.env.warn(word.error(text));
            }
        }
    }
    found
}

/// Whom answers must come from, if that is asked; an error must not become trust in anybody.
fn trust(draft: &Draft, known: &[CertificateDer<'_>]) -> Result<Option<Arc<Trust>>, String> {
    let verify = draft.stapling_verify == Some(true);
    verify.then(|| Trust::new(known, &[]).map(Arc::new)).transpose()
}

fn responder(
    draft: &Draft,
    pair: &Certificate,
    (known, trust): (&[CertificateDer<'_>], Option<Arc<Trust>>),
    cx: &mut Finish,
) -> Result<Responder, String> {
    let staple =
        Staple::new(pair, known, trust).ok_or("issuer certificate not found for certificate")?;
    let written = draft.responder.as_ref().map(|word| word.lossy().into_owned());
    let url = written.or_else(|| staple::responder(pair.cert.first()?));
    let url = url.ok_or("no OCSP responder URL in the certificate")?;
    let bad = |what: &str| format!("{what} in OCSP responder \"{url}\" in the certificate");
    let rest = url.strip_prefix("http://").ok_or_else(|| bad("invalid URL prefix"))?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| bad("invalid port"))?)
        }
        _ => (authority, 80),
    };
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let found = match name.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => cx.env.world.resolve(name),
    };
    let found = found.map_err(|_| bad("host not found"))?;
    let addresses = found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
    Ok(Responder {
        certificate: 0,
        staple,
        addresses,
        host: host.to_owned(),
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_trusted_is_not_trust_in_anybody() {
        let bad = [CertificateDer::from(vec![0x30, 0x00])];
        let mut draft = Draft::default();
        assert!(matches!(trust(&draft, &bad), Ok(None)), "nothing is verified");
        draft.stapling_verify = Some(true);
        assert!(trust(&draft, &bad).is_err());
        assert!(matches!(trust(&draft, &[]), Ok(Some(_))), "nobody is trusted");
    }
}
