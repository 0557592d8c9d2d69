//! Owns what is written of TLS towards upstreams, and the reading of its directives, which are the same
//! but for the protocol in front (`proxy_ssl_…`).

use crate::conf::values;
use crate::conf::{Directive, Error, Span, Word};
use crate::http::certificates::varying::{self, Keep};
use crate::http::modules::inherit;
use crate::tls::ciphers::Protocols;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    pub reuse: Option<bool>,
    pub protocols: Option<Protocols>,
    pub ciphers: Option<Word>,
    pub name: Option<Word>,
    pub server_name: Option<bool>,
    pub verify: Option<bool>,
    /// Where that was written.
    pub verify_span: Option<Span>,
    pub depth: Option<usize>,
    pub trusted: Option<Word>,
    pub crl: Option<Word>,
    pub certificate: Option<Word>,
    pub key: Option<Word>,
    pub keep: Option<Keep>,
    pub passwords: Option<Word>,
    /// OpenSSL's commands: names and values.
    pub commands: Option<Vec<(Word, Word)>>,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer;
            reuse, protocols, ciphers, name, server_name, verify, verify_span, depth, trusted, crl, certificate, key,
            keep, passwords, commands,
        );
    }

    /// `…_ssl_verify`
    pub fn read_verify(&mut self, dir: &Directive) -> Result<(), Error> {
        self.verify_span = Some(dir.name.span);
        values::flag(&mut self.verify, dir)
    }

    /// `…_ssl_certificate_cache`
    pub fn read_keep(&mut self, dir: &Directive) -> Result<(), Error> {
        values::once(&self.keep, dir)?;
        self.keep = Some(varying::keep(dir)?);
        Ok(())
    }

    /// `…_ssl_conf_command`
    pub fn read_command(&mut self, dir: &Directive) -> Result<(), Error> {
        let (command, value) = (dir.arg(0), dir.arg(1));
        let known = ["Ciphersuites", "Certificate", "PrivateKey"];
        if !known.iter().any(|known| command.lossy().eq_ignore_ascii_case(known)) {
            let (name, command_name) = (dir.name_str(), command.lossy());
            let text = format_args!("\"{name} {command_name}\" is not supported yet");
            return Err(command.error(text));
        }
        self.commands.get_or_insert_default().push((command.clone(), value.clone()));
        Ok(())
    }
}

/// The rows of all these directives for one module, whose draft has `$slot`.
macro_rules! rows {
    ($protocol:literal, $scope:ident => $slot:expr) => {
        &[
            row(
                concat!($protocol, "_ssl_session_reuse"),
                HSL,
                Args::Flag,
                "Whether TLS sessions with upstreams are resumed; with certificates named by \
                 variables they are not (default on).",
                |$scope, dir, _| values::flag(&mut $slot.reuse, dir),
            ),
            row(
                concat!($protocol, "_ssl_protocols"),
                HSL,
                Args::AtLeast(1),
                "Versions spoken with upstreams: `TLSv1.2` and `TLSv1.3` (default both); older \
                 ones are left out with a warning.",
                |$scope, dir, env| tls_words::protocols(&mut $slot.protocols, dir, env),
            ),
            row(
                concat!($protocol, "_ssl_ciphers"),
                HSL,
                Args::Exactly(1),
                "Cipher suites of TLS 1.2 for upstreams as an OpenSSL list; those that are not \
                 there are left out with a warning.",
                |$scope, dir, _| values::word(&mut $slot.ciphers, dir),
            ),
            row(
                concat!($protocol, "_ssl_name"),
                HSL,
                Args::Exactly(1),
                "The host that an upstream's certificate is to be for and that it is told \
                 (default the host requests are passed to).",
                |$scope, dir, _| values::word(&mut $slot.name, dir),
            ),
            row(
                concat!($protocol, "_ssl_server_name"),
                HSL,
                Args::Flag,
                "Whether upstreams are told the host's name (SNI; default off).",
                |$scope, dir, _| values::flag(&mut $slot.server_name, dir),
            ),
            row(
                concat!($protocol, "_ssl_verify"),
                HSL,
                Args::Flag,
                "Whether the certificates of upstreams are verified (default off, as in nginx).",
                |$scope, dir, _| $slot.read_verify(dir),
            ),
            row(
                concat!($protocol, "_ssl_verify_depth"),
                HSL,
                Args::Exactly(1),
                "How many certificates may stand between an upstream's and one that is trusted \
                 (default 1).",
                |$scope, dir, _| values::number(&mut $slot.depth, dir),
            ),
            row(
                concat!($protocol, "_ssl_trusted_certificate"),
                HSL,
                Args::Exactly(1),
                "PEM file of those whose signatures on certificates of upstreams are trusted.",
                |$scope, dir, _| values::word(&mut $slot.trusted, dir),
            ),
            row(
                concat!($protocol, "_ssl_crl"),
                HSL,
                Args::Exactly(1),
                "PEM file of lists of revoked certificates; each certificate of a chain then \
                 needs one.",
                |$scope, dir, _| values::word(&mut $slot.crl, dir),
            ),
            row(
                concat!($protocol, "_ssl_certificate"),
                HSL,
                Args::Exactly(1),
                "PEM file with the certificate shown to upstreams that ask; an empty value is \
                 none. With variables it is read by the worker when a connection is made.",
                |$scope, dir, _| values::word(&mut $slot.certificate, dir),
            ),
            row(
                concat!($protocol, "_ssl_certificate_key"),
                HSL,
                Args::Exactly(1),
                "PEM file with its private key, or `data:` and the key itself.",
                |$scope, dir, _| values::word(&mut $slot.key, dir),
            ),
            row(
                concat!($protocol, "_ssl_certificate_cache"),
                HSL,
                Args::Between(1, 3),
                "Keeps certificates and keys named by variables: `max=`, `inactive=` (10s), \
                 `valid=` (60s), or `off` (default).",
                |$scope, dir, _| $slot.read_keep(dir),
            ),
            row(
                concat!($protocol, "_ssl_password_file"),
                HSL,
                Args::Exactly(1),
                "File of passwords for encrypted keys, one a line.",
                |$scope, dir, _| values::word(&mut $slot.passwords, dir),
            ),
            row(
                concat!($protocol, "_ssl_conf_command"),
                HSL,
                Args::Exactly(2),
                "OpenSSL's `Ciphersuites` (of TLS 1.3), `Certificate` and `PrivateKey`; other \
                 commands are not supported yet.",
                |$scope, dir, _| $slot.read_command(dir),
            ),
            not_yet(concat!($protocol, "_ssl_key_log"), HSL),
        ]
    };
}
pub(in crate::http) use rows;
