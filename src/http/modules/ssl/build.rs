//! Owns the making of a server's TLS out of what was written: files read, pairs matched, lists
//! understood.
//!
//! Must not keep what it reads; the record of the configuration has it for the workers.

use super::{Draft, Verify, stapling};
use crate::conf::world::reason;
use crate::conf::{Contexts, Error, Word};
use crate::http::certificates::varying::varies;
use crate::http::certificates::{self as pem, Varying};
use crate::http::draft::Scope;
use crate::http::finish::Finish;
use crate::http::route::Endpoints;
use crate::http::snapshot::Server;
use crate::http::stapling::Responder;
use crate::http::tls_words;
use crate::tls::tickets::{self, Key, Name};
use crate::tls::{Certificate, ClientAuth, ciphers};
use std::sync::Arc;
use std::time::Duration;

/// nginx's `ssl_session_timeout`.
const LIFETIME: Duration = Duration::from_mins(5);

/// How a server speaks TLS.
pub(super) struct Built {
    /// A number of `Snapshot::tls`.
    pub number: usize,
    /// Certificates that are not known yet.
    pub varying: Vec<Varying>,
    pub responders: Vec<Arc<Responder>>,
}

/// What the draft of a server makes; `None` where there is no certificate.
pub(super) fn server(draft: &Draft, cx: &mut Finish) -> Option<Built> {
    let reject = draft.reject == Some(true);
    if cx.context != Contexts::SERVER || (draft.certificates.is_none() && !reject) {
        return None;
    }
    let certificates = certificates(draft, cx);
    let client = client(draft, cx);
    let fixed = stapling::from_file(draft, certificates.fixed, cx);
    let responders = stapling::responders(draft, &fixed, client.as_ref(), cx);
    let mut server = crate::tls::Server {
        certificates: fixed,
        stand_ins: certificates.names,
        protocols: draft.protocols.unwrap_or_default(),
        suites13: draft.suites13.clone().unwrap_or_else(ciphers::all13),
        own_order: draft.own_order == Some(true),
        tickets: draft.tickets != Some(false),
        ticket_keys: ticket_keys(draft, cx),
        kept_sessions: draft.kept_sessions.unwrap_or(0),
        lifetime: draft.timeout.unwrap_or(LIFETIME),
        alpn: alpn(cx.http2),
        client,
        reject,
        ..crate::tls::Server::default()
    };
    server.suites = tls_words::suites(draft.ciphers.as_ref(), "HIGH", cx);
    if let Some(word) = &draft.curves {
        let (groups, missing) = ciphers::groups(&word.lossy());
        server.groups = groups;
        tls_words::tell_missing(&missing, word, server.groups.is_empty(), cx);
    }
    match server.make() {
        Ok(server) => cx.tls.push(server),
        Err(why) => {
            report(draft, format!("TLS cannot be set up: {why}"), cx);
            return None;
        }
    }
    Some(Built { number: cx.tls.len() - 1, varying: certificates.varying, responders })
}

/// What a client may choose from, the best first.
fn alpn(http2: bool) -> Vec<Vec<u8>> {
    let protocols: [&[u8]; 4] = [b"h2", b"http/1.1", b"http/1.0", b"http/0.9"];
    protocols.iter().skip(usize::from(!http2)).map(|protocol| protocol.to_vec()).collect()
}

/// Where TLS was first spoken of here.
pub(super) fn report(draft: &Draft, text: String, cx: &mut Finish) {
    if let Some(span) = draft.span {
        cx.report(Error::new(text, span));
    }
}

/// A server's certificates: either all are known, or all have names with variables somewhere.
#[derive(Default)]
struct Certificates {
    fixed: Vec<Certificate>,
    varying: Vec<Varying>,
    /// Those names as written.
    names: Vec<Vec<u8>>,
}

/// All pairs of certificate and key.
fn certificates(draft: &Draft, cx: &mut Finish) -> Certificates {
    let certificates = draft.certificates.as_deref().unwrap_or_default();
    let keys = draft.keys.as_deref().unwrap_or_default();
    if let Some(word) = certificates.get(keys.len()) {
        let text = format!(
            "no \"ssl_certificate_key\" is defined for certificate \"{}\"",
            pem::shown(word)
        );
        cx.report(word.error(text));
    }
    let passwords = draft.password_file.as_ref().map(|word| pem::passwords(word, cx));
    let passwords = passwords.unwrap_or_default();
    let pairs = certificates.iter().zip(keys);
    if !varies(certificates.iter().chain(keys)) {
        let fixed = pairs.filter_map(|(one, key)| pem::pair(one, key, &passwords, cx));
        return Certificates { fixed: fixed.collect(), ..Certificates::default() };
    }
    let varying =
        pairs.map(|(one, key)| Varying::new(one, key, &passwords, draft.keep_certificates, cx));
    let names = certificates.iter().map(|word| word.text.clone()).collect();
    Certificates { varying: varying.collect(), names, ..Certificates::default() }
}

fn ticket_keys(draft: &Draft, cx: &mut Finish) -> Vec<(Name, Key)> {
    let mut keys = Vec::new();
    for word in draft.ticket_keys.iter().flatten() {
        let path = cx.env.conf_path(&word.lossy());
        let shown = path.display();
        match cx.env.world.read(&path) {
            Ok(bytes) => match tickets::from_file(&bytes) {
                Some(key) => keys.push(key),
                None => cx.report(word.error(format_args!("\"{shown}\" must be 48 or 80 bytes"))),
            },
            Err(error) => {
                let why = reason(&error);
                cx.report(word.error(format_args!("open() \"{shown}\" failed ({why})")));
            }
        }
    }
    keys
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
    let mut read =
        |word: Option<&Word>| word.and_then(|word| pem::chain(word, cx)).unwrap_or_default();
    let announced = read(announced);
    let trusted: Vec<_> = announced.iter().cloned().chain(read(trusted)).collect();
    let trust = pem::trust(&trusted, draft.crl.as_ref(), cx)?;
    Some(ClientAuth { depth: draft.depth.unwrap_or(1), trust, announced })
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
