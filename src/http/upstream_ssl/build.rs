//! Owns the making of settings out of what was written: files read, pairs matched, lists understood.
//!
//! Must not keep what it reads; the record of the configuration has it for the workers.

use super::{Conf, Draft};
use crate::conf::{Error, Span, Word};
use crate::http::certificates::varying::varies;
use crate::http::certificates::{self, Varying};
use crate::http::finish::Finish;
use crate::http::tls_words;
use crate::tls::client::Trusted;
use crate::tls::{Certificate, Client, ciphers};
use sha2::{Digest as _, Sha256};

/// How TLS is spoken with upstreams from the locations that say the same of it.
#[derive(Debug)]
pub struct Settings {
    pub client: Client,
    /// Whether sessions are resumed.
    pub reuse: bool,
    /// Settings with the same print are the same, whichever configuration they are of.
    pub print: [u8; 32],
}

impl Draft {
    /// `prefix` is what the directives begin with. Files are read only where TLS can be spoken.
    pub fn finish(&self, prefix: &str, cx: &mut Finish) -> Conf {
        let settings = cx.upstream_https.then(|| self.settings(prefix, cx));
        Conf {
            settings,
            name: self.name.as_ref().map(|word| cx.template(word)),
            server_name: self.server_name == Some(true),
            varying: self.varying(cx),
        }
    }

    /// The certificate, if there is one.
    fn shown(&self) -> Option<&Word> {
        self.certificate.as_ref().filter(|word| !word.text.is_empty())
    }

    fn varies(&self) -> bool {
        self.shown().is_some() && varies(self.shown().into_iter().chain(&self.key))
    }

    fn varying(&self, cx: &mut Finish) -> Option<Varying> {
        let (certificate, key) = (self.shown()?, self.key.as_ref()?);
        let passwords = if self.varies() { self.passwords(cx) } else { return None };
        Some(Varying::new(certificate, key, &passwords, self.keep, cx))
    }

    fn passwords(&self, cx: &mut Finish) -> Vec<Vec<u8>> {
        let read = |word| certificates::passwords(word, cx);
        self.passwords.as_ref().map(read).unwrap_or_default()
    }

    /// A number; the same for all who have inherited the same.
    fn settings(&self, prefix: &str, cx: &mut Finish) -> usize {
        let written = Draft { name: None, server_name: None, ..self.clone() };
        // With the places where it was written.
        let written = format!("{} {written:?}", cx.upstream_http2);
        if let Some(at) = cx.upstream_ssl_written.iter().position(|known| *known == written) {
            return at;
        }
        let made = self.make(prefix, cx);
        cx.upstream_ssl_written.push(written);
        cx.upstream_ssl.push(made);
        cx.upstream_ssl.len() - 1
    }

    fn make(&self, prefix: &str, cx: &mut Finish) -> Settings {
        let mut print = Sha256::new();
        let client = Client {
            certificate: self.certificate(prefix, cx),
            protocols: self.protocols.unwrap_or_default(),
            suites: tls_words::suites(self.ciphers.as_ref(), "DEFAULT", cx),
            suites13: self.suites13(cx),
            trusted: self.trusted(prefix, &mut print, cx),
            alpn: if cx.upstream_http2 { vec![b"h2".to_vec()] } else { Vec::new() },
            ..Client::default()
        };
        let Client { certificate, protocols, suites, suites13, alpn, .. } = &client;
        print.update(format!("{protocols:?} {suites:?} {suites13:?} {alpn:?}"));
        for der in certificate.iter().flat_map(|certificate| &certificate.cert) {
            print.update(der);
        }
        if let (Err(why), Some(word)) = (client.config(), &self.ciphers) {
            cx.report(word.error(format_args!("TLS cannot be set up: {why}")));
        }
        Settings { client, reuse: self.reuse != Some(false), print: print.finalize().into() }
    }

    /// The value that OpenSSL's command has been given last.
    fn command(&self, name: &str) -> Option<&Word> {
        let commands = self.commands.iter().flatten().rev();
        let mut fitting = commands.filter(|(known, _)| known.lossy().eq_ignore_ascii_case(name));
        fitting.next().map(|(_, value)| value)
    }

    fn suites13(&self, cx: &mut Finish) -> Vec<rustls::CipherSuite> {
        let Some(word) = self.command("Ciphersuites") else { return ciphers::all13() };
        tls_words::suites13(word).unwrap_or_else(|error| {
            cx.report(error);
            Vec::new()
        })
    }

    /// What is shown to every server; nothing where only a request tells it.
    fn certificate(&self, prefix: &str, cx: &mut Finish) -> Option<Certificate> {
        let certificate = self.command("Certificate").or_else(|| self.shown())?;
        let Some(key) = self.command("PrivateKey").or(self.key.as_ref()) else {
            let text = format!(
                "no \"{prefix}_ssl_certificate_key\" is defined for certificate \"{}\"",
                certificates::shown(certificate)
            );
            cx.report(certificate.error(text));
            return None;
        };
        if self.varies() && self.command("Certificate").is_none() {
            return None;
        }
        let passwords = self.passwords(cx);
        certificates::pair(certificate, key, &passwords, cx)
    }

    fn trusted(&self, prefix: &str, print: &mut Sha256, cx: &mut Finish) -> Option<Trusted> {
        if self.verify != Some(true) {
            return None;
        }
        let Some(word) = self.trusted.as_ref().filter(|word| !word.text.is_empty()) else {
            let text = format!("no {prefix}_ssl_trusted_certificate for {prefix}_ssl_verify");
            let span = self.verify_span.unwrap_or(Span::NOWHERE);
            cx.report(Error::new(text, span));
            return None;
        };
        let depth = self.depth.unwrap_or(1);
        let chain = certificates::chain(word, cx)?;
        let crl = self.crl.as_ref().filter(|word| !word.text.is_empty());
        let trust = certificates::trust(&chain, crl, cx)?;
        print.update(depth.to_be_bytes());
        for der in &chain {
            print.update(der);
        }
        if let Some(crl) = crl {
            let path = cx.env.conf_path(&crl.lossy());
            print.update(cx.env.world.read(&path).unwrap_or_default());
        }
        Some(Trusted { trust, depth })
    }
}
