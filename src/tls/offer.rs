//! What a client has offered in its first message, in the words of nginx's variables.

use std::fmt::Write as _;

use rustls::server::ClientHello;
use rustls::{CipherSuite, NamedGroup, SignatureScheme};

use super::ciphers;

/// Ciphers, groups and signatures, the best first each.
#[derive(Debug, Default)]
pub struct Offer {
    /// Their numbers, one kind behind the other.
    numbers: Box<[u16]>,
    ciphers: usize,
    groups: usize,
}

impl Offer {
    pub fn new(hello: &ClientHello<'_>) -> Self {
        let ciphers = hello.cipher_suites().iter().map(|suite| u16::from(*suite));
        let groups = hello.named_groups().unwrap_or_default().iter().map(|group| u16::from(*group));
        let schemes = hello.signature_schemes().iter().map(|scheme| u16::from(*scheme));
        Self {
            ciphers: ciphers.len(),
            groups: groups.len(),
            numbers: ciphers.chain(groups).chain(schemes).collect(),
        }
    }

    /// `$ssl_ciphers`
    pub fn ciphers(&self) -> String {
        list(self.numbers.iter().take(self.ciphers), |number| cipher(number.into()))
    }

    /// `$ssl_curves`
    pub fn curves(&self) -> String {
        let groups = self.numbers.iter().skip(self.ciphers).take(self.groups);
        list(groups, |number| group(number.into()).map(str::to_owned))
    }

    /// `$ssl_sigalgs`
    pub fn schemes(&self) -> String {
        let schemes = self.numbers.iter().skip(self.ciphers + self.groups);
        list(schemes, |number| scheme(number.into()).map(str::to_owned))
    }
}

/// Names with colons between; what has none is a number.
fn list<'n>(
    numbers: impl Iterator<Item = &'n u16>,
    name: impl Fn(u16) -> Option<String>,
) -> String {
    let mut text = String::new();
    for number in numbers {
        let colon = if text.is_empty() { "" } else { ":" };
        let _ = match name(*number) {
            Some(name) => write!(text, "{colon}{name}"),
            None => write!(text, "{colon}0x{number:04x}"),
        };
    }
    text
}

/// OpenSSL's name of a group, also of those that are not spoken here.
fn group(group: NamedGroup) -> Option<&'static str> {
    ciphers::group_name(group).or(match group {
        NamedGroup::secp521r1 => Some("secp521r1"),
        NamedGroup::X448 => Some("X448"),
        NamedGroup::FFDHE2048 => Some("ffdhe2048"),
        NamedGroup::FFDHE3072 => Some("ffdhe3072"),
        NamedGroup::FFDHE4096 => Some("ffdhe4096"),
        NamedGroup::FFDHE6144 => Some("ffdhe6144"),
        NamedGroup::FFDHE8192 => Some("ffdhe8192"),
        _ => None,
    })
}

/// The name of a signature scheme (RFC 8446, section 4.2.3).
pub fn scheme(scheme: SignatureScheme) -> Option<&'static str> {
    Some(match scheme {
        SignatureScheme::RSA_PKCS1_SHA1 => "rsa_pkcs1_sha1",
        SignatureScheme::ECDSA_SHA1_Legacy => "ecdsa_sha1",
        SignatureScheme::RSA_PKCS1_SHA256 => "rsa_pkcs1_sha256",
        SignatureScheme::RSA_PKCS1_SHA384 => "rsa_pkcs1_sha384",
        SignatureScheme::RSA_PKCS1_SHA512 => "rsa_pkcs1_sha512",
        SignatureScheme::ECDSA_NISTP256_SHA256 => "ecdsa_secp256r1_sha256",
        SignatureScheme::ECDSA_NISTP384_SHA384 => "ecdsa_secp384r1_sha384",
        SignatureScheme::ECDSA_NISTP521_SHA512 => "ecdsa_secp521r1_sha512",
        SignatureScheme::RSA_PSS_SHA256 => "rsa_pss_rsae_sha256",
        SignatureScheme::RSA_PSS_SHA384 => "rsa_pss_rsae_sha384",
        SignatureScheme::RSA_PSS_SHA512 => "rsa_pss_rsae_sha512",
        SignatureScheme::ED25519 => "ed25519",
        SignatureScheme::ED448 => "ed448",
        SignatureScheme::ML_DSA_44 => "mldsa44",
        SignatureScheme::ML_DSA_65 => "mldsa65",
        SignatureScheme::ML_DSA_87 => "mldsa87",
        SignatureScheme::Unknown(0x0809) => "rsa_pss_pss_sha256",
        SignatureScheme::Unknown(0x080a) => "rsa_pss_pss_sha384",
        SignatureScheme::Unknown(0x080b) => "rsa_pss_pss_sha512",
        _ => return None,
    })
}

/// OpenSSL's name of a suite, made from the one of the RFCs.
fn cipher(suite: CipherSuite) -> Option<String> {
    let known = ciphers::name(suite);
    if !known.is_empty() {
        return Some(known.to_owned());
    }
    let name = suite.as_str()?;
    let (exchange, rest) = name.strip_prefix("TLS_")?.split_once("_WITH_").unwrap_or(("", name));
    if exchange.is_empty() {
        return Some(name.to_owned());
    }
    let exchange = exchange.replace("DH_anon", "ADH").replace("ECADH", "AECDH").replace('_', "-");
    let cipher = rest.replace("3DES_EDE_CBC", "DES-CBC3").replace("CBC_", "");
    let cipher = cipher.replace("POLY1305_SHA256", "POLY1305").replace("CCM_8", "CCM8");
    // `AES_128` is `AES128`.
    let cipher = ["AES", "ARIA", "CAMELLIA"]
        .iter()
        .fold(cipher, |text, name| text.replace(&format!("{name}_"), name))
        .replace('_', "-");
    Some(if exchange == "RSA" { cipher } else { format!("{exchange}-{cipher}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_the_names_of_openssl() {
        for (suite, name) in [
            (CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
            (0x1305.into(), "0x1305"),
            (CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA"),
            (CipherSuite::TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384"),
            (CipherSuite::TLS_DHE_RSA_WITH_AES_256_CBC_SHA256, "DHE-RSA-AES256-SHA256"),
            (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA"),
            (
                CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
                "ECDHE-RSA-CHACHA20-POLY1305",
            ),
            (CipherSuite::TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, "ECDHE-RSA-DES-CBC3-SHA"),
            (CipherSuite::TLS_RSA_WITH_CAMELLIA_256_CBC_SHA, "CAMELLIA256-SHA"),
            (CipherSuite::TLS_EMPTY_RENEGOTIATION_INFO_SCSV, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"),
            (0x1a1a.into(), "0x1a1a"),
        ] {
            let offer =
                Offer { numbers: [u16::from(suite)].into(), ciphers: 1, ..Offer::default() };
            assert_eq!(offer.ciphers(), name);
        }
    }

    #[test]
    fn each_kind_has_its_list() {
        let numbers = [0x1301, 0x1302, 0x001d, 0x2a2a, 0x0017, 0x0804, 0xffff];
        let offer = Offer { numbers: numbers.into(), ciphers: 2, groups: 3 };
        assert_eq!(offer.ciphers(), "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384");
        assert_eq!(offer.curves(), "X25519:0x2a2a:prime256v1");
        assert_eq!(offer.schemes(), "rsa_pss_rsae_sha256:0xffff");
        assert_eq!(Offer::default().curves(), "");
    }
}
