//! What was agreed on with a client, in the words of nginx's variables.

use std::fmt::Write as _;
use std::iter::once;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use rustls::{HandshakeKind, ServerConnection};
use sha1::{Digest as _, Sha1};
use x509_parser::prelude::{AttributeTypeAndValue, X509Name};

use super::{ClientAuth, Complaint, Notes, Offer, Purpose, certificate, ciphers, offer};

/// What a handshake came to.
#[derive(Debug, Default)]
pub struct Session {
    /// `$ssl_protocol`
    pub protocol: &'static str,
    /// `$ssl_cipher`
    pub cipher: &'static str,
    /// `$ssl_curve`; none where a TLS 1.2 session was resumed.
    pub curve: Option<&'static str>,
    /// What the client has offered.
    pub offer: Offer,
    /// What signatures, tickets and keys have noted.
    pub notes: Notes,
    /// `$ssl_server_name`: what the client asked for.
    pub server_name: Option<Box<str>>,
    /// `$ssl_alpn_protocol`
    pub alpn: Option<Box<[u8]>>,
    /// `$ssl_session_reused`
    pub resumed: bool,
    /// The client's own certificate, DER.
    pub client: Option<Box<[u8]>>,
    /// What is wrong with the client's certificate.
    pub complaint: Option<Complaint>,
}

impl Session {
    /// Of a handshake that has ended.
    pub fn new(
        connection: &ServerConnection,
        offer: Offer,
        notes: Notes,
        client: Option<&ClientAuth>,
    ) -> Session {
        let chain = connection.peer_certificates().unwrap_or_default();
        let suite = connection.negotiated_cipher_suite();
        let group = connection.negotiated_key_exchange_group();
        let shown = client.filter(|_| !chain.is_empty());
        let complaint =
            shown.and_then(|auth| auth.trust.verdict(chain, Purpose::Client, auth.depth).err());
        Session {
            offer,
            notes,
            protocol: connection.protocol_version().map_or("", ciphers::version),
            cipher: suite.map_or("", |suite| ciphers::name(suite.suite())),
            curve: group.and_then(|group| ciphers::group_name(group.name())),
            server_name: connection.server_name().map(Into::into),
            alpn: connection.alpn_protocol().map(Into::into),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client: chain.first().map(|der| (**der).into()),
            complaint,
        }
    }
}

impl Session {
    /// `$ssl_session_id`
    pub fn id(&self) -> Option<String> {
        self.notes.session.map(|session| hex(&session.number))
    }

    /// `$ssl_sigalg`; none where nothing was signed.
    pub fn signed(&self) -> Option<&'static str> {
        self.notes.signed.filter(|_| !self.resumed).and_then(offer::scheme)
    }

    /// `$ssl_client_sigalg`
    pub fn client_signed(&self) -> Option<&'static str> {
        self.notes.client_signed.and_then(offer::scheme)
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// `$ssl_client_raw_cert`: PEM, with a line feed at its end.
pub fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: Vec<_> = once("-----BEGIN CERTIFICATE-----".into())
        .chain(lines)
        .chain(once("-----END CERTIFICATE-----\n".into()))
        .collect();
    lines.join("\n")
}

/// `$ssl_client_serial`: hexadecimal digits in capitals.
pub fn serial(der: &[u8]) -> Option<String> {
    let certificate = certificate::parse(der).ok()?;
    let mut text = String::new();
    let bytes = certificate.raw_serial();
    let bytes = bytes.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(bytes);
    for byte in bytes {
        let _ = write!(text, "{byte:02X}");
    }
    Some(text)
}

/// `$ssl_client_fingerprint`: SHA-1 of the certificate, hexadecimal.
pub fn fingerprint(der: &[u8]) -> String {
    hex(&Sha1::digest(der))
}

/// `$ssl_client_s_dn`
pub fn subject(der: &[u8]) -> Option<String> {
    certificate::parse(der).ok().map(|certificate| rfc2253(certificate.subject()))
}

/// `$ssl_client_i_dn`
pub fn issuer(der: &[u8]) -> Option<String> {
    certificate::parse(der).ok().map(|certificate| rfc2253(certificate.issuer()))
}

/// `$ssl_client_s_dn_legacy`
pub fn subject_line(der: &[u8]) -> Option<String> {
    certificate::parse(der).ok().map(|certificate| line(certificate.subject()))
}

/// `$ssl_client_i_dn_legacy`
pub fn issuer_line(der: &[u8]) -> Option<String> {
    certificate::parse(der).ok().map(|certificate| line(certificate.issuer()))
}

/// `$ssl_client_v_start` and `$ssl_client_v_end`, as OpenSSL prints times.
pub fn validity(der: &[u8]) -> Option<(String, String)> {
    let certificate = certificate::parse(der).ok()?;
    let shown = |time: x509_parser::time::ASN1Time| {
        let time = jiff::Timestamp::from_second(time.timestamp()).ok()?;
        Some(time.strftime("%b %e %H:%M:%S %Y GMT").to_string())
    };
    Some((shown(certificate.validity().not_before)?, shown(certificate.validity().not_after)?))
}

/// `$ssl_client_v_remain`: days until it ends.
pub fn days_left(der: &[u8], now: i64) -> Option<i64> {
    Some(((certificate::ends(der)? - now) / 86_400).max(0))
}

/// A name as RFC 2253 writes it: the last part first.
fn rfc2253(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in name.iter() {
        let values = part.iter().map(|value| {
            format!("{}={}", kind(value), escaped(value.as_str().unwrap_or_default()))
        });
        parts.push(values.collect::<Vec<_>>().join("+"));
    }
    parts.reverse();
    parts.join(",")
}

/// What a part of a name is: `CN`.
fn kind(value: &AttributeTypeAndValue<'_>) -> String {
    let oid = value.attr_type();
    let known = x509_parser::objects::oid2abbrev(oid, x509_parser::objects::oid_registry());
    known.map_or_else(|_| oid.to_id_string(), str::to_owned)
}

/// A name as OpenSSL writes it on a line: the first part first, bytes that are not ASCII as `\xC3`.
fn line(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    for value in name.iter_attributes() {
        let _ = write!(text, "/{}=", kind(value));
        for byte in value.as_slice() {
            let _ = match byte {
                b' '..=b'~' => write!(text, "{}", char::from(*byte)),
                _ => write!(text, "\\x{byte:02X}"),
            };
        }
    }
    text
}

/// RFC 2253, section 2.4.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';');
        let edge = (at == 0 && matches!(c, ' ' | '#')) || (at == last && c == ' ');
        if special || edge {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
