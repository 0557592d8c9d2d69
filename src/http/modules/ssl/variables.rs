//! Owns the variables of a connection with TLS. Without it none of them is found.

use crate::http::request::Request;
use crate::http::vars::{Variable, push};
use crate::tls::{Offer, Session, session};
use std::io::Write as _;
use std::time::SystemTime;

const fn var(name: &'static str, get: crate::http::vars::Getter, doc: &'static str) -> Variable {
    Variable { name, doc, get }
}

pub static VARIABLES: &[Variable] = &[
    var(
        "ssl_protocol",
        |req, _, out| text(req, |s| Some(s.protocol), out),
        "Version: `TLSv1.2` or `TLSv1.3`.",
    ),
    var(
        "ssl_cipher",
        |req, _, out| text(req, |s| Some(s.cipher), out),
        "Cipher suite, by OpenSSL's name.",
    ),
    var(
        "ssl_curve",
        |req, _, out| text(req, |s| s.curve, out),
        "Group of the key exchange, by OpenSSL's name.",
    ),
    var(
        "ssl_server_name",
        |req, _, out| text(req, |s| s.server_name.as_deref(), out),
        "Name that the client asked for in its handshake.",
    ),
    var(
        "ssl_alpn_protocol",
        |req, _, out| push(of(req).and_then(|s| s.alpn.as_deref()), out),
        "Protocol agreed on by ALPN.",
    ),
    var(
        "ssl_ciphers",
        |req, _, out| offered(req, Offer::ciphers, out),
        "Cipher suites that the client has offered, by OpenSSL's names.",
    ),
    var(
        "ssl_curves",
        |req, _, out| offered(req, Offer::curves, out),
        "Groups for the key exchange that the client has offered.",
    ),
    var(
        "ssl_sigalgs",
        |req, _, out| offered(req, Offer::schemes, out),
        "Kinds of signatures that the client can check.",
    ),
    var(
        "ssl_sigalg",
        |req, _, out| text(req, |s| Some(s.signed().unwrap_or_default()), out),
        "What the server has signed the handshake with.",
    ),
    var(
        "ssl_client_sigalg",
        |req, _, out| text(req, |s| Some(s.client_signed().unwrap_or_default()), out),
        "What the client has signed the handshake with.",
    ),
    var(
        "ssl_session_id",
        |req, _, out| {
            push(of(req).map(|s| s.id().unwrap_or_default()).as_deref().map(str::as_bytes), out)
        },
        "Number of the session, hexadecimal; the same wherever it is resumed.",
    ),
    var(
        "ssl_early_data",
        |req, _, out| text(req, |_| Some(""), out),
        "Always empty: no request is taken before the handshake has ended.",
    ),
    var("ssl_session_reused", reused, "`r` for a session that was resumed, `.` for a new one."),
    var(
        "ssl_client_verify",
        verified,
        "`SUCCESS`, `FAILED:reason`, or `NONE` without a client's certificate.",
    ),
    var(
        "ssl_client_s_dn",
        |req, _, out| cert(req, session::subject, out),
        "Subject of the client's certificate, as in RFC 2253.",
    ),
    var(
        "ssl_client_i_dn",
        |req, _, out| cert(req, session::issuer, out),
        "Its issuer, as in RFC 2253.",
    ),
    var(
        "ssl_client_s_dn_legacy",
        |req, _, out| cert(req, session::subject_line, out),
        "Subject of the client's certificate, `/C=…/CN=…`.",
    ),
    var(
        "ssl_client_i_dn_legacy",
        |req, _, out| cert(req, session::issuer_line, out),
        "Its issuer, `/C=…/CN=…`.",
    ),
    var(
        "ssl_client_serial",
        |req, _, out| cert(req, session::serial, out),
        "Its serial number, hexadecimal.",
    ),
    var(
        "ssl_client_fingerprint",
        |req, _, out| cert(req, |der| Some(session::fingerprint(der)), out),
        "SHA-1 of the client's certificate, hexadecimal.",
    ),
    var(
        "ssl_client_v_start",
        |req, _, out| cert(req, |der| Some(session::validity(der)?.0), out),
        "When the client's certificate begins to be valid.",
    ),
    var(
        "ssl_client_v_end",
        |req, _, out| cert(req, |der| Some(session::validity(der)?.1), out),
        "When it ends.",
    ),
    var("ssl_client_v_remain", |req, _, out| cert(req, days_left, out), "Days until then."),
    var(
        "ssl_client_raw_cert",
        |req, _, out| cert(req, |der| Some(session::pem(der)), out),
        "The client's certificate, PEM.",
    ),
    var(
        "ssl_client_cert",
        |req, _, out| cert(req, |der| Some(indented(der)), out),
        "The same with a tab before each line but the first.",
    ),
    var(
        "ssl_client_escaped_cert",
        |req, _, out| cert(req, |der| Some(escaped(der)), out),
        "The same, URL-encoded.",
    ),
];

fn of(req: &Request) -> Option<&Session> {
    req.client.secured.get().map(|secured| &secured.session)
}

fn text<'r>(
    req: &'r Request,
    get: impl Fn(&'r Session) -> Option<&'r str>,
    out: &mut Vec<u8>,
) -> bool {
    push(of(req).and_then(get).map(str::as_bytes), out)
}

fn offered(req: &Request, get: impl Fn(&Offer) -> String, out: &mut Vec<u8>) -> bool {
    push(of(req).map(|session| get(&session.offer)).as_deref().map(str::as_bytes), out)
}

/// Of the client's certificate; empty without one.
fn cert(req: &Request, get: impl Fn(&[u8]) -> Option<String>, out: &mut Vec<u8>) -> bool {
    let Some(session) = of(req) else { return false };
    let value = session.client.as_deref().and_then(get);
    push(Some(value.unwrap_or_default().as_bytes()), out)
}

fn reused(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    push(of(req).map(|session| if session.resumed { &b"r"[..] } else { b"." }), out)
}

fn verified(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(session) = of(req) else { return false };
    match (&session.client, &session.complaint) {
        (None, _) => out.extend(b"NONE"),
        (Some(_), None) => out.extend(b"SUCCESS"),
        (Some(_), Some(why)) => {
            let _ = write!(out, "FAILED:{why}");
        }
    }
    true
}

fn days_left(der: &[u8]) -> Option<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    session::days_left(der, i64::try_from(now).ok()?).map(|days| days.to_string())
}

fn indented(der: &[u8]) -> String {
    session::pem(der).trim_end().replace('\n', "\n\t")
}

fn escaped(der: &[u8]) -> String {
    let mut out = String::new();
    for c in session::pem(der).chars() {
        match c {
            '\n' => out.push_str("%0A"),
            ' ' => out.push_str("%20"),
            '+' => out.push_str("%2B"),
            '/' => out.push_str("%2F"),
            '=' => out.push_str("%3D"),
            plain => out.push(plain),
        }
    }
    out
}
