//! Owns the reading of certificates, keys, passwords and lists of what is revoked, wherever a
//! directive names them: towards clients and towards upstreams.
//!
//! Must not keep what is read with the configuration, whose record has it for the workers.

pub mod kept;
pub mod varying;

use super::finish::Finish;
use crate::conf::world::reason;
use crate::conf::{Error, Span, Word};
use crate::tls::{Certificate, Trust, certificate};
pub use varying::Varying;

use rustls::pki_types::CertificateDer;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

/// A certificate that ends within this many seconds is worth a warning.
const SOON: i64 = 14 * 24 * 3600;

/// A certificate with those it stands on, and its key.
pub fn pair(
    certificate: &Word,
    key: &Word,
    passwords: &[Vec<u8>],
    cx: &mut Finish,
) -> Option<Certificate> {
    let chain = chain(certificate, cx)?;
    let secret = read(key, "cannot load certificate key", cx)
        .and_then(|pem| certificate::key(&pem, passwords).map_err(|why| failed(key, &why)));
    let certified = secret
        .and_then(|secret| certificate::certified(chain, secret).map_err(|why| failed(key, &why)));
    match certified {
        Ok(certified) => {
            warn_of_end(&certified.cert, certificate, cx);
            Some(Arc::new(certified))
        }
        Err(error) => {
            cx.report(error);
            None
        }
    }
}

fn failed(word: &Word, why: &str) -> Error {
    word.error(format_args!("cannot load certificate key \"{}\": {why}", shown(word)))
}

/// The word for people: a text that stands in the configuration itself may be a secret.
pub fn shown(word: &Word) -> Cow<'_, str> {
    if word.text.starts_with(b"data:") { Cow::Borrowed("data:...") } else { word.lossy() }
}

/// The certificates in a file.
pub fn chain(word: &Word, cx: &mut Finish) -> Option<Vec<CertificateDer<'static>>> {
    let chain = read(word, "cannot load certificate", cx).and_then(|pem| {
        certificate::chain(&pem).map_err(|why| {
            word.error(format_args!("cannot load certificate \"{}\": {why}", shown(word)))
        })
    });
    chain.map_err(|error| cx.report(error)).ok()
}

/// Trust in these, but for what a file says is revoked.
pub fn trust(
    trusted: &[CertificateDer<'_>],
    revoked: Option<&Word>,
    cx: &mut Finish,
) -> Option<Arc<Trust>> {
    let failed = |word: &Word, why: &str| {
        word.error(format_args!("cannot load CRL \"{}\": {why}", shown(word)))
    };
    let crls = match revoked {
        Some(word) => read(word, "cannot load CRL", cx)
            .and_then(|pem| certificate::crls(&pem).map_err(|why| failed(word, &why))),
        None => Ok(Vec::new()),
    };
    let crls = crls.map_err(|error| cx.report(error)).ok()?;
    match Trust::new(trusted, &crls) {
        Ok(trust) => Some(Arc::new(trust)),
        // Nothing may go on as if nobody had to be trusted.
        Err(why) => {
            let untold =
                || Error::new(format!("cannot use the trusted certificates: {why}"), Span::NOWHERE);
            cx.report(revoked.map_or_else(untold, |word| failed(word, &why)));
            None
        }
    }
}

/// The passwords in a file: its lines.
pub fn passwords(word: &Word, cx: &mut Finish) -> Vec<Vec<u8>> {
    let path = cx.env.conf_path(&word.lossy());
    match cx.env.world.read(&path) {
        // A file that is empty is a password that is.
        Ok(text) if text.is_empty() => vec![Vec::new()],
        Ok(text) => certificate::passwords(&text),
        Err(error) => {
            let (shown, reason) = (path.display(), reason(&error));
            cx.report(word.error(format_args!("open() \"{shown}\" failed ({reason})")));
            Vec::new()
        }
    }
}

/// A file by its name, or what follows `data:`.
fn read(word: &Word, what: &str, cx: &mut Finish) -> Result<Vec<u8>, Error> {
    let name = word.lossy();
    if let Some(data) = name.strip_prefix("data:") {
        return Ok(data.as_bytes().to_vec());
    }
    let path = cx.env.conf_path(&name);
    cx.env.world.read(&path).map_err(|error| {
        let shown = path.display();
        word.error(format_args!("{what} \"{shown}\": open() failed ({})", reason(&error)))
    })
}

fn warn_of_end(chain: &[CertificateDer<'_>], word: &Word, cx: &mut Finish) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let Some(left) = chain.first().and_then(|der| certificate::ends(der)).map(|end| end - now)
    else {
        return;
    };
    let name = shown(word);
    if left < 0 {
        cx.env.warn(word.error(format_args!("certificate \"{name}\" has expired")));
    } else if left < SOON {
        let days = left / 86_400;
        cx.env.warn(word.error(format_args!("certificate \"{name}\" expires in {days} days")));
    }
}

#[cfg(test)]
mod tests {
    use crate::http::fixture::errors;

    #[test]
    fn what_stands_in_the_configuration_is_not_repeated() {
        let pair = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let (certificate, secret) = (pair.cert.pem(), "data:TWFuIGlzIGRpc3Rpbmd1aXNoZWQ");
        for (certificate, key) in [(certificate.as_str(), secret), (secret, "data:x")] {
            let certificate = certificate.trim_start_matches("data:");
            let said = errors(
                "",
                &format!(
                    "listen 1 ssl; ssl_certificate \"data:{certificate}\"; ssl_certificate_key {key};"
                ),
            );
            let said = said.concat();
            assert!(said.contains("\"data:...\"") && !said.contains("TWFu"), "{said}");
        }
    }
}
