//! Owns the words that directives of TLS have in common, towards clients and towards upstreams: versions and
//! cipher suites.
//!
//! Must not know which of the two is meant.

use super::finish::Finish;
use crate::conf::{Directive, Env, Error, Word, values};
use crate::tls::ciphers::{self, Protocols};
use rustls::CipherSuite;

/// `…ssl_protocols`: those that are not there are left out with a warning.
pub fn protocols(
    slot: &mut Option<Protocols>,
    dir: &Directive,
    env: &mut Env,
) -> Result<(), Error> {
    values::once(slot, dir)?;
    let mut chosen = Protocols { tls12: false, tls13: false };
    let mut old = Vec::new();
    for word in &dir.args {
        match &*word.lossy() {
            "TLSv1.2" => chosen.tls12 = true,
            "TLSv1.3" => chosen.tls13 = true,
            name @ ("SSLv2" | "SSLv3" | "TLSv1" | "TLSv1.1") => old.push(name.to_owned()),
            name => return Err(word.error(format_args!("invalid value \"{name}\""))),
        }
    }
    if !(chosen.tls12 || chosen.tls13) {
        return Err(dir.error("none of these versions is supported").with_help("TLSv1.2 TLSv1.3"));
    }
    if !old.is_empty() {
        let names = old.join(", ");
        env.warn(dir.error(format_args!("not supported and left out: {names}")));
    }
    *slot = Some(chosen);
    Ok(())
}

/// `…ssl_ciphers`, else what OpenSSL's `default` stands for.
pub fn suites(word: Option<&Word>, default: &str, cx: &mut Finish) -> Vec<CipherSuite> {
    let Some(word) = word else { return ciphers::select(default).suites };
    let selection = ciphers::select(&word.lossy());
    tell_missing(&selection.missing, word, selection.suites.is_empty(), cx);
    selection.suites
}

/// The suites of OpenSSL's command `Ciphersuites`.
pub fn suites13(word: &Word) -> Result<Vec<CipherSuite>, Error> {
    let suites = ciphers::select13(&word.lossy()).filter(|suites| !suites.is_empty());
    suites.ok_or_else(|| word.error("no such cipher suites of TLS 1.3"))
}

/// A list may name what is not there, but must not come to nothing.
pub fn tell_missing(missing: &[String], word: &Word, nothing: bool, cx: &mut Finish) {
    if nothing {
        cx.report(word.error(format_args!("nothing in \"{}\" is supported", word.lossy())));
    } else if !missing.is_empty() {
        let names = missing.join(", ");
        cx.env.warn(word.error(format_args!("not supported and left out: {names}")));
    }
}
