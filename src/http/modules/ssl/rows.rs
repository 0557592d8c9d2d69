//! Owns the directives of TLS towards clients.

use super::{Verify, commands};
use crate::conf::{Args, Directive, Env, Error, Row, Word, values};
use crate::http::certificates::varying;
use crate::http::draft::{HS, Scope, no_effect, not_yet, row};
use crate::http::tls_words;

/// What a session in nginx's shared cache takes: a megabyte holds about 4,000.
const SESSION: u64 = 262;

pub static ROWS: &[Row<Scope>] = &[
    row(
        "ssl_certificate",
        HS,
        Args::Exactly(1),
        "PEM file with a server's certificate and those it stands on, or `data:` and the text itself; \
         may be given several times, for certificates of different kinds. With variables it is read by \
         the worker for each handshake.",
        |scope, dir, _| {
            let draft = &mut scope.drafts.ssl;
            draft.span.get_or_insert(dir.name.span);
            draft.certificates.get_or_insert_default().push(dir.arg(0).clone());
            Ok(())
        },
    ),
    row(
        "ssl_certificate_key",
        HS,
        Args::Exactly(1),
        "PEM file with the certificate's private key, or `data:` and the text itself; one for each \
         certificate.",
        |scope, dir, _| {
            scope.drafts.ssl.keys.get_or_insert_default().push(dir.arg(0).clone());
            Ok(())
        },
    ),
    row(
        "ssl_protocols",
        HS,
        Args::AtLeast(1),
        "Versions spoken: `TLSv1.2` and `TLSv1.3` (default both); older ones are left out \
         with a warning.",
        |scope, dir, env| tls_words::protocols(&mut scope.drafts.ssl.protocols, dir, env),
    ),
    row(
        "ssl_ciphers",
        HS,
        Args::Exactly(1),
        "Cipher suites of TLS 1.2 as an OpenSSL list; those that are not there are left out \
         with a warning.",
        |scope, dir, _| values::word(&mut scope.drafts.ssl.ciphers, dir),
    ),
    row(
        "ssl_ecdh_curve",
        HS,
        Args::Exactly(1),
        "Groups for the key exchange, or `auto` (default): X25519MLKEM768, X25519, P-256, \
         P-384.",
        |scope, dir, _| values::word(&mut scope.drafts.ssl.curves, dir),
    ),
    row(
        "ssl_conf_command",
        HS,
        Args::Exactly(2),
        "OpenSSL's `Ciphersuites`, `CipherString`, `Groups`, `MinProtocol`, `MaxProtocol`, `Certificate`, \
         `PrivateKey`, and of `Options` `SessionTicket` and `ServerPreference`; others are not supported yet.",
        |scope, dir, _| commands::read(&mut scope.drafts.ssl, dir),
    ),
    row(
        "ssl_prefer_server_ciphers",
        HS,
        Args::Exactly(1),
        "Whether the order of the server's ciphers counts, not the client's (default off).",
        |scope, dir, _| values::flag(&mut scope.drafts.ssl.own_order, dir),
    ),
    row(
        "ssl_verify_client",
        HS,
        Args::Exactly(1),
        "Whether clients are asked for a certificate: `off` (default), `on`, `optional`, \
         `optional_no_ca`.",
        verify_client,
    ),
    row(
        "ssl_verify_depth",
        HS,
        Args::Exactly(1),
        "How many certificates may stand between a client's and one that is trusted (default \
         1).",
        |scope, dir, _| values::number(&mut scope.drafts.ssl.depth, dir),
    ),
    row(
        "ssl_client_certificate",
        HS,
        Args::Exactly(1),
        "PEM file of those whose signatures on client certificates are trusted; clients are \
         told their names.",
        |scope, dir, _| values::word(&mut scope.drafts.ssl.client_certificate, dir),
    ),
    row(
        "ssl_trusted_certificate",
        HS,
        Args::Exactly(1),
        "The same without telling clients.",
        |scope, dir, _| values::word(&mut scope.drafts.ssl.trusted_certificate, dir),
    ),
    row(
        "ssl_crl",
        HS,
        Args::Exactly(1),
        "PEM file with lists of revoked certificates, one for each who has signed in the chain of a \
         client.",
        |scope, dir, _| values::word(&mut scope.drafts.ssl.crl, dir),
    ),
    row(
        "ssl_password_file",
        HS,
        Args::Exactly(1),
        "File with passwords of encrypted keys, a line each, tried in turn.",
        |scope, dir, _| values::word(&mut scope.drafts.ssl.password_file, dir),
    ),
    row(
        "ssl_certificate_cache",
        HS,
        Args::Between(1, 3),
        "`off` (default), or `max=N [inactive=time] [valid=time]`: keeps certificates and keys whose \
         names have variables.",
        |scope, dir, _| {
            let slot = &mut scope.drafts.ssl.keep_certificates;
            values::once(slot, dir)?;
            *slot = Some(varying::keep(dir)?);
            Ok(())
        },
    ),
    row(
        "ssl_session_cache",
        HS,
        Args::Between(1, 2),
        "`off`, `none`, `builtin[:n]`, `shared:name:size`: how many sessions each worker \
         keeps for clients that get no tickets.",
        session_cache,
    ),
    row(
        "ssl_session_tickets",
        HS,
        Args::Exactly(1),
        "Whether clients get tickets to resume their sessions with (default on).",
        |scope, dir, _| values::flag(&mut scope.drafts.ssl.tickets, dir),
    ),
    row(
        "ssl_session_ticket_key",
        HS,
        Args::Exactly(1),
        "File of 48 or 80 random bytes that tickets are sealed with, for servers that share sessions; \
         further ones open older tickets.",
        |scope, dir, _| {
            scope.drafts.ssl.ticket_keys.get_or_insert_default().push(dir.arg(0).clone());
            Ok(())
        },
    ),
    row(
        "ssl_session_timeout",
        HS,
        Args::Exactly(1),
        "How long a session may be resumed (default 5m).",
        |scope, dir, _| values::sec(&mut scope.drafts.ssl.timeout, dir),
    ),
    row(
        "ssl_reject_handshake",
        HS,
        Args::Exactly(1),
        "Refuses handshakes for this server, for names that no other server has (default \
         off).",
        reject,
    ),
    row(
        "ssl_early_data",
        HS,
        Args::Exactly(1),
        "Not supported yet: only `off` is accepted.",
        only_off,
    ),
    row(
        "ssl_stapling",
        HS,
        Args::Exactly(1),
        "Whether clients are shown an answer of those who know whether a certificate is revoked \
         (default off).",
        |scope, dir, _| values::flag(&mut scope.drafts.ssl.stapling, dir),
    ),
    row(
        "ssl_stapling_file",
        HS,
        Args::Exactly(1),
        "File with that answer, DER, as `openssl ocsp` makes it; nobody is asked then.",
        |scope, dir, _| values::word(&mut scope.drafts.ssl.stapling_file, dir),
    ),
    row(
        "ssl_stapling_responder",
        HS,
        Args::Exactly(1),
        "URL to ask at, `http://`, instead of the one in the certificate.",
        |scope, dir, _| values::word(&mut scope.drafts.ssl.responder, dir),
    ),
    row(
        "ssl_stapling_verify",
        HS,
        Args::Exactly(1),
        "Whether the answer must be signed by somebody whom `ssl_trusted_certificate` trusts (default \
         off).",
        |scope, dir, _| values::flag(&mut scope.drafts.ssl.stapling_verify, dir),
    ),
    row("ssl_ocsp", HS, Args::Exactly(1), "Not supported yet: only `off` is accepted.", only_off),
    no_effect("ssl_buffer_size", HS, "No effect: records are as long as what there is to send."),
    no_effect("ssl_dhparam", HS, "No effect: there is no key exchange over finite fields."),
    no_effect("ssl_certificate_compression", HS, "No effect: certificates are sent as they are."),
    not_yet("ssl_ech_file", HS),
    not_yet("ssl_ocsp_responder", HS),
    not_yet("ssl_ocsp_cache", HS),
];

fn verify_client(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let draft = &mut scope.drafts.ssl;
    draft.span.get_or_insert(dir.name.span);
    let choices = [
        ("off", Verify::Off),
        ("on", Verify::On),
        ("optional", Verify::Optional),
        ("optional_no_ca", Verify::OptionalNoCa),
    ];
    values::choice(&mut draft.verify, dir, &choices)
}

fn reject(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let draft = &mut scope.drafts.ssl;
    draft.span.get_or_insert(dir.name.span);
    values::flag(&mut draft.reject, dir)
}

fn only_off(_: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let mut on = None;
    values::flag(&mut on, dir)?;
    if on == Some(true) {
        return Err(
            dir.error(format_args!("\"{}\" directive is not supported yet", dir.name_str()))
        );
    }
    Ok(())
}

/// nginx's forms. What is shared between workers are tickets; the cache is for clients without.
fn session_cache(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let slot = &mut scope.drafts.ssl.kept_sessions;
    values::once(slot, dir)?;
    let mut kept = 0;
    for word in &dir.args {
        kept = kept.max(sessions(word)?);
    }
    *slot = Some(kept);
    Ok(())
}

/// How many sessions a cache holds.
fn sessions(word: &Word) -> Result<usize, Error> {
    let text = word.lossy();
    let bad = || word.error(format_args!("invalid session cache \"{text}\""));
    let number = match &*text {
        "off" | "none" => 0,
        "builtin" => 20_480,
        _ => {
            if let Some(number) = text.strip_prefix("builtin:") {
                values::parse_number(number.as_bytes()).ok_or_else(bad)?
            } else {
                shared(word, text.strip_prefix("shared:").ok_or_else(bad)?)?
            }
        }
    };
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// `name:size`
fn shared(word: &Word, text: &str) -> Result<u64, Error> {
    let bad = || word.error(format_args!("invalid session cache \"{}\"", word.lossy()));
    let (name, size) = text.split_once(':').ok_or_else(bad)?;
    let size = values::parse_size(size.as_bytes()).ok_or_else(bad)?;
    if name.is_empty() || size < 8 * 4096 {
        return Err(word.error(format_args!("session cache \"{name}\" is too small")));
    }
    Ok(size / SESSION)
}
