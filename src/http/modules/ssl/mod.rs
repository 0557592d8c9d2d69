//! Owns TLS towards clients as a configuration says it: `ssl_…` of a server, the variables of a
//! connection, and which requests are refused for what the handshake came to.
//!
//! Must not do handshakes; `conn` does, by what `tls` makes of these values.

mod build;
mod commands;
pub mod coverage;
mod rows;
mod stapling;
mod variables;

use super::inherit;
use crate::conf::{Span, Word};
use crate::http::certificates::Varying;
use crate::http::certificates::varying::Keep;
use crate::http::finish::Finish;
use crate::http::request::Request;
use crate::http::stapling::Responder;
use crate::log::Level;
use crate::tls::ciphers::Protocols;
use rustls::CipherSuite;
use std::sync::Arc;
use std::time::Duration;

pub use build::check;
pub use rows::ROWS;
pub use variables::VARIABLES;

/// `ssl_verify_client`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    Off,
    On,
    Optional,
    OptionalNoCa,
}

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    certificates: Option<Vec<Word>>,
    keys: Option<Vec<Word>>,
    protocols: Option<Protocols>,
    ciphers: Option<Word>,
    commands: Option<Vec<(Word, Word)>>,
    suites13: Option<Vec<CipherSuite>>,
    curves: Option<Word>,
    own_order: Option<bool>,
    verify: Option<Verify>,
    /// Where one of these was first written.
    span: Option<Span>,
    depth: Option<usize>,
    client_certificate: Option<Word>,
    trusted_certificate: Option<Word>,
    crl: Option<Word>,
    password_file: Option<Word>,
    ticket_keys: Option<Vec<Word>>,
    keep_certificates: Option<Keep>,
    kept_sessions: Option<usize>,
    tickets: Option<bool>,
    timeout: Option<Duration>,
    reject: Option<bool>,
    stapling: Option<bool>,
    stapling_file: Option<Word>,
    stapling_verify: Option<bool>,
    responder: Option<Word>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// How the server speaks TLS, if it can: a number of `Snapshot::tls`.
    pub server: Option<usize>,
    /// Its certificates, if they are to be read for each handshake.
    pub varying: Vec<Varying>,
    /// Who is asked about the others.
    pub responders: Vec<Arc<Responder>>,
    verify: Verify,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer;
            certificates, keys, protocols, ciphers, commands, suites13, curves, own_order, verify, span, depth,
            client_certificate, trusted_certificate, crl, password_file, ticket_keys,
            keep_certificates, kept_sessions, tickets, timeout, reject,
            stapling, stapling_file, stapling_verify, responder,
        );
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let verify = self.verify.unwrap_or(Verify::Off);
        let none = Conf { server: None, varying: Vec::new(), responders: Vec::new(), verify };
        let Some(built) = build::server(&commands::apply(self), cx) else { return none };
        let build::Built { number, varying, responders } = built;
        Conf { server: Some(number), varying, responders, verify }
    }
}

/// Refuses a request for what is wrong with its connection: the status to answer with. A page for that
/// is more use than a handshake that fails.
pub fn refusal(req: &Request, expected: bool) -> Option<u16> {
    if !expected {
        return None;
    }
    let Some(secured) = req.client.secured.get() else {
        req.log(Level::Info, format_args!("client sent plain HTTP request to HTTPS port"));
        return Some(497);
    };
    let verify = req.snapshot.conf(req.server().root).ssl.verify;
    if verify == Verify::Off {
        return None;
    }
    if secured.server != req.server {
        let text = "client attempted to request the server name different from the one that was \
                    negotiated";
        req.log(Level::Info, format_args!("{text}"));
        return Some(421);
    }
    if let Some(complaint) = &secured.session.complaint
        && !(verify == Verify::OptionalNoCa && complaint.is_of_trust())
    {
        req.log(Level::Info, format_args!("client SSL certificate verify error: ({complaint})"));
        return Some(495);
    }
    if verify == Verify::On && secured.session.client.is_none() {
        req.log(Level::Info, format_args!("client sent no required SSL certificate"));
        return Some(496);
    }
    None
}
