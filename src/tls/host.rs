//! Whether a certificate is for a host, as OpenSSL's `X509_check_host` decides it.
//!
//! Must not say whether the certificate can be trusted.

use x509_parser::prelude::GeneralName;

use super::certificate;

/// Names among the alternative ones count alone; without any, those of the subject do.
pub fn is_named(der: &[u8], host: &[u8]) -> bool {
    let Ok(certificate) = certificate::parse(der) else { return false };
    // An extension that cannot be read names nobody, nor does what stands beside it.
    let Ok(extension) = certificate.subject_alternative_name() else { return false };
    let general = extension.map(|found| &*found.value.general_names).unwrap_or_default();
    let mut names = general.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.as_bytes()),
        _ => None,
    });
    if let Some(first) = names.next() {
        return is_meant(first, host) || names.any(|name| is_meant(name, host));
    }
    let mut common = certificate.subject().iter_common_name();
    common.any(|name| name.as_str().is_ok_and(|name| is_meant(name.as_bytes(), host)))
}

/// The same name, or one for all hosts of a domain: `*.` before at least two labels.
fn is_meant(pattern: &[u8], host: &[u8]) -> bool {
    if host.is_empty() {
        return false;
    }
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(domain) = pattern.strip_prefix(b"*") else { return false };
    let Some(dot) = memchr::memchr(b'.', host) else { return false };
    let is_domain = domain.first() == Some(&b'.') && memchr::memchr_iter(b'.', domain).count() >= 2;
    is_domain && dot > 0 && !domain.ends_with(b".") && domain.eq_ignore_ascii_case(&host[dot..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn certificate(common: &str, others: &[&str], ip: bool) -> Vec<u8> {
        let names: Vec<_> = others.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        if ip {
            params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn alternative_names_go_before_the_subject() {
        let der = certificate("common", &["example.com", "*.example.com"], true);
        for (host, expected) in [
            ("example.com", true),
            ("EXAMPLE.com", true),
            ("a.example.com", true),
            ("a.b.example.com", false),
            (".example.com", false),
            ("common", false),
            ("127.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_named(&der, host.as_bytes()), expected, "{host}");
        }
    }

    #[test]
    fn a_subject_counts_where_no_host_is_named() {
        for ip in [false, true] {
            let der = certificate("127.0.0.1", &[], ip);
            assert!(is_named(&der, b"127.0.0.1"));
            assert!(!is_named(&der, b"127.0.0.2"));
        }
        assert!(!is_named(&certificate("*.com", &[], false), b"example.com"));
        assert!(!is_named(&certificate("*", &[], false), b"example"));
        assert!(!is_named(b"no certificate", b"host"));
    }
}
