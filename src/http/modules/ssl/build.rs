//! Owns the making of a server's TLS out of what was written: files read, pairs matched, lists
//! understood.
//!
//! Must not keep what it reads; the record of the configuration has it for the workers.

use super::{Draft, Verify};
use crate::conf::world::reason;
use crate::conf::{Contexts, Error, Word};
use crate::http::draft::Scope;
use crate::http::finish::Finish;
use crate::http::route::Endpoints;
use crate::http::snapshot::Server;
use crate::tls::{Certificate, ClientAuth, certificate, ciphers, verify};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// nginx's `ssl_session_timeout`.
const LIFETIME: Duration = Duration::from_mins(5);

/// A certificate that ends within this many seconds is worth a warning.
const SOON: i64 = 14 * 24 * 3600;

/// What the draft of a server makes, by its number; `None` where there is no certificate.
pub(super) fn server(draft: &Draft, cx: &mut Finish) -> Option<usize> {
    let reject = draft.reject == Some(true);
    if cx.context != Contexts::SERVER || (draft.certificates.is_none() && !reject) {
        return None;
    }
    let mut server = crate::tls::Server {
        certificates: certificates(draft, cx),
        protocols: draft.protocols.unwrap_or_default(),
        suites13: draft.suites13.clone().unwrap_or_else(ciphers::all13),
        own_order: draft.own_order == Some(true),
        tickets: draft.tickets != Some(false),
        kept_sessions: draft.kept_sessions.unwrap_or(0),
        lifetime: draft.timeout.unwrap_or(LIFETIME),
        alpn: alpn(cx.http2),
        client: client(draft, cx),
        reject,
        ..crate::tls::Server::default()
    };
    server.suites = suites(draft, cx);
    if let Some(word) = &draft.curves {
        let (groups, missing) = ciphers::groups(&word.lossy());
        server.groups = groups;
        tell_missing(&missing, word, server.groups.is_empty(), cx);
    }
    if let Err(why) = server.config() {
        report(draft, format!("TLS cannot be set up: {why}"), cx);
    }
    cx.tls.push(server);
    Some(cx.tls.len() - 1)
}

/// What a client may choose from, the best first.
fn alpn(http2: bool) -> Vec<Vec<u8>> {
    let protocols: [&[u8]; 4] = [b"h2", b"http/1.1", b"http/1.0", b"http/0.9"];
    protocols.iter().skip(usize::from(!http2)).map(|protocol| protocol.to_vec()).collect()
}

/// Where TLS was first spoken of here.
fn report(draft: &Draft, text: String, cx: &mut Finish) {
    if let Some(span) = draft.span {
        cx.report(Error::new(text, span));
    }
}

fn suites(draft: &Draft, cx: &mut Finish) -> Vec<rustls::CipherSuite> {
    let Some(word) = &draft.ciphers else { return ciphers::select("HIGH").suites };
    let selection = ciphers::select(&word.lossy());
    tell_missing(&selection.missing, word, selection.suites.is_empty(), cx);
    selection.suites
}

/// A list may name what is not there, but must not come to nothing.
fn tell_missing(missing: &[String], word: &Word, nothing: bool, cx: &mut Finish) {
    if nothing {
        cx.report(word.error(format_args!("nothing in \"{}\" is supported", word.lossy())));
    } else if !missing.is_empty() {
        let names = missing.join(", ");
        cx.env.warn(word.error(format_args!("not supported and left out: {names}")));
    }
}

/// All pairs of certificate and key.
fn certificates(draft: &Draft, cx: &mut Finish) -> Vec<Certificate> {
    let certificates = draft.certificates.as_deref().unwrap_or_default();
    let keys = draft.keys.as_deref().unwrap_or_default();
    if let Some(word) = certificates.get(keys.len()) {
        let text =
            format!("no \"ssl_certificate_key\" is defined for certificate \"{}\"", word.lossy());
        cx.report(word.error(text));
    }
    let pairs = certificates.iter().zip(keys);
    pairs.filter_map(|(certificate, key)| pair(certificate, key, cx)).collect()
}

fn pair(certificate: &Word, key: &Word, cx: &mut Finish) -> Option<Certificate> {
    let chain = chain(certificate, cx)?;
    let secret = read(key, "cannot load certificate key", cx)
        .and_then(|pem| certificate::key(&pem).map_err(|why| failed(key, &why)));
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

fn chain(word: &Word, cx: &mut Finish) -> Option<Vec<CertificateDer<'static>>> {
    let chain = read(word, "cannot load certificate", cx).and_then(|pem| {
        certificate::chain(&pem).map_err(|why| {
            word.error(format_args!("cannot load certificate \"{}\": {why}", word.lossy()))
        })
    });
    chain.map_err(|error| cx.report(error)).ok()
}

fn failed(word: &Word, why: &str) -> Error {
    word.error(format_args!("cannot load certificate key \"{}\": {why}", word.lossy()))
}

/// A file by its name, or what follows `data:`.
fn read(word: &Word, what: &str, cx: &mut Finish) -> Result<Vec<u8>, Error> {
    let name = word.lossy();
    if let Some(data) = name.strip_prefix("data:") {
        return Ok(data.as_bytes().to_vec());
    }
    if name.contains('$') {
        return Err(word.error("variables in the name of a certificate are not supported yet"));
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
    let name = word.lossy();
    if left < 0 {
        cx.env.warn(word.error(format_args!("certificate \"{name}\" has expired")));
    } else if left < SOON {
        let days = left / 86_400;
        cx.env.warn(word.error(format_args!("certificate \"{name}\" expires in {days} days")));
    }
}

/// Who is asked for a certificate, and how it is checked.
fn client(draft: &Draft, cx: &mut Finish) -> Option<ClientAuth> {
    let verify = draft.verify.filter(|verify| *verify != Verify::Off)?;
    let announced = draft.client_certificate.as_ref();
    let trusted = draft.trusted_certificate.as_ref();
    if let (None, None) = (announced, trusted)
        && verify != Verify::OptionalNoCa
    {
        report(draft, "no ssl_client_certificate for ssl_verify_client".to_owned(), cx);
        return None;
    }
    let mut read = |word: Option<&Word>| word.and_then(|word| chain(word, cx)).unwrap_or_default();
    let announced = read(announced);
    let mut roots = announced.clone();
    roots.extend(read(trusted));
    let verifier = verify::roots(&roots).and_then(|roots| {
        if roots.is_empty() { Ok(None) } else { verify::verifier(roots).map(Some) }
    });
    let verifier = verifier.unwrap_or_else(|why| {
        if let Some(word) = draft.client_certificate.as_ref().or(trusted) {
            let name = word.lossy();
            cx.report(
                word.error(format_args!("SSL_CTX_load_verify_locations(\"{name}\") failed: {why}")),
            );
        }
        None
    });
    Some(ClientAuth { depth: draft.depth.unwrap_or(1), verifier, trusted: roots, announced })
}

/// A server that clients reach by TLS without naming it must have a certificate.
pub fn check(http: &Scope, servers: &[Server], endpoints: &Endpoints, cx: &mut Finish) {
    for endpoint in endpoints.all().filter(|endpoint| endpoint.tls) {
        let root = servers.get(endpoint.default).map(|server| server.root);
        let able =
            root.and_then(|root| cx.conf(root)).is_some_and(|conf| conf.ssl.server.is_some());
        if !able && let Some(server) = http.servers.get(endpoint.default) {
            let text = "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive";
            cx.report(Error::new(text.to_owned(), server.span));
        }
    }
}
