//! Versions, cipher suites and key exchange groups by the names that OpenSSL and nginx give them.

use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{
    CipherSuite, NamedGroup, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion,
    version,
};

use super::PROVIDER;

/// `ssl_protocols`, as far as there is any choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    pub tls12: bool,
    pub tls13: bool,
}

impl Default for Protocols {
    fn default() -> Self {
        Self { tls12: true, tls13: true }
    }
}

impl Protocols {
    /// rustls's form of them.
    pub fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        let known = [(self.tls13, &version::TLS13), (self.tls12, &version::TLS12)];
        known.into_iter().filter_map(|(wanted, version)| wanted.then_some(version)).collect()
    }
}

/// A suite of TLS 1.2: OpenSSL's name and the aliases that mean it among others.
struct Known {
    suite: CipherSuite,
    name: &'static str,
    tags: &'static [&'static str],
}

/// In the order of OpenSSL's default list.
const TLS12: [Known; 6] = [
    Known {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        tags: &["aECDSA", "ECDSA", "AES", "AES256", "AESGCM", "SHA384"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        tags: &["aRSA", "RSA", "AES", "AES256", "AESGCM", "SHA384"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        tags: &["aECDSA", "ECDSA", "CHACHA20", "SHA256"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        tags: &["aRSA", "RSA", "CHACHA20", "SHA256"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        tags: &["aECDSA", "ECDSA", "AES", "AES128", "AESGCM", "SHA256"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        tags: &["aRSA", "RSA", "AES", "AES128", "AESGCM", "SHA256"],
    },
];

/// What every one of them is. `ECDH` has meant what `ECDHE` does since the fixed keys are gone.
const COMMON: &[&str] =
    &["ALL", "HIGH", "DEFAULT", "ECDH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "TLSv1.2", "FIPS"];

/// In the order of OpenSSL's default list, by the names that it gives them.
const TLS13: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS13_AES_128_GCM_SHA256,
];

/// What a list selects.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub suites: Vec<CipherSuite>,
    /// Words that ask for what is not there.
    pub missing: Vec<String>,
}

/// OpenSSL's cipher list: words that add, and with `!`, `-` and `+` forbid, remove and move to the end.
pub fn select(list: &str) -> Selection {
    let mut selection = Selection::default();
    let mut forbidden = Vec::new();
    for word in list.split([':', ',', ' ', ';']).filter(|word| !word.is_empty()) {
        let (operator, name) = match word.as_bytes()[0] {
            operator @ (b'!' | b'-' | b'+') => (operator, &word[1..]),
            b'@' => continue,
            _ => (b' ', word),
        };
        let meant: Vec<_> = TLS12.iter().filter(|known| is_meant(known, name)).collect();
        let is_meant = |suite: &CipherSuite| meant.iter().any(|known| known.suite == *suite);
        match operator {
            b' ' => {
                if meant.is_empty() && !TLS13.iter().any(|suite| name == name13(*suite)) {
                    selection.missing.push(name.to_owned());
                }
                let new = meant.iter().map(|known| known.suite);
                let new = new.filter(|suite| !forbidden.contains(suite));
                let new: Vec<_> = new.filter(|suite| !selection.suites.contains(suite)).collect();
                selection.suites.extend(new);
            }
            b'+' => selection.suites.sort_by_key(is_meant),
            _ => {
                selection.suites.retain(|suite| !is_meant(suite));
                if operator == b'!' {
                    forbidden.extend(meant.iter().map(|known| known.suite));
                }
            }
        }
    }
    selection
}

/// Whether a word means a suite: its name, or aliases joined by `+` that all fit.
fn is_meant(known: &Known, word: &str) -> bool {
    let fits = |tag: &str| COMMON.contains(&tag) || known.tags.contains(&tag);
    word == known.name || word.split('+').all(fits)
}

/// The suites of TLS 1.3 in a list of their names; `None` if one is unknown.
pub fn select13(list: &str) -> Option<Vec<CipherSuite>> {
    let words = list.split([':', ',', ' ']).filter(|word| !word.is_empty());
    words.map(|word| TLS13.into_iter().find(|suite| name13(*suite) == word)).collect()
}

/// The usual ones.
pub fn all13() -> Vec<CipherSuite> {
    TLS13.to_vec()
}

fn name13(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        _ => "",
    }
}

/// OpenSSL's name of a suite, as `$ssl_cipher` has it.
pub fn name(suite: CipherSuite) -> &'static str {
    let known = TLS12.iter().find(|known| known.suite == suite);
    known.map_or_else(|| name13(suite), |known| known.name)
}

/// nginx's name of a version, as `$ssl_protocol` has it.
pub fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "",
    }
}

/// rustls's suites in this order.
pub fn supported(wanted: &[CipherSuite]) -> Vec<SupportedCipherSuite> {
    let find = |suite: &CipherSuite| {
        PROVIDER.cipher_suites.iter().find(|known| known.suite() == *suite).copied()
    };
    wanted.iter().filter_map(find).collect()
}

/// All that is there, cut down to these suites and groups; no group stands for the usual ones.
pub fn provider(
    suites13: &[CipherSuite],
    suites: &[CipherSuite],
    groups: &[&'static dyn SupportedKxGroup],
) -> CryptoProvider {
    let mut provider = PROVIDER.clone();
    provider.cipher_suites = supported(&[suites13, suites].concat());
    if !groups.is_empty() {
        provider.kx_groups = groups.to_vec();
    }
    provider
}

/// Groups and the names that OpenSSL has for them, the first of which `$ssl_curve` shows.
const GROUPS: [(NamedGroup, &[&str]); 5] = [
    (NamedGroup::X25519MLKEM768, &["X25519MLKEM768"]),
    (NamedGroup::secp256r1MLKEM768, &["SecP256r1MLKEM768"]),
    (NamedGroup::X25519, &["X25519"]),
    (NamedGroup::secp256r1, &["prime256v1", "P-256", "secp256r1"]),
    (NamedGroup::secp384r1, &["secp384r1", "P-384"]),
];

/// OpenSSL's name of a group.
pub fn group_name(group: NamedGroup) -> Option<&'static str> {
    GROUPS.iter().find(|(known, _)| *known == group).map(|(_, names)| names[0])
}

/// `ssl_ecdh_curve`: the groups of a list, and the names of those that are not there.
pub fn groups(list: &str) -> (Vec<&'static dyn SupportedKxGroup>, Vec<String>) {
    if list == "auto" {
        return (PROVIDER.kx_groups.clone(), Vec::new());
    }
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for word in list.split(':').filter(|word| !word.is_empty()) {
        let named = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(word));
        let group = GROUPS.iter().find(|(_, names)| named(names)).map(|(group, _)| *group);
        let all = &rustls::crypto::aws_lc_rs::ALL_KX_GROUPS;
        match group.and_then(|group| all.iter().find(|known| known.name() == group)) {
            Some(group) => found.push(*group),
            None => missing.push(word.to_owned()),
        }
    }
    (found, missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(list: &str) -> Vec<&'static str> {
        select(list).suites.into_iter().map(name).collect()
    }

    #[test]
    fn lists_as_they_are_written() {
        let all: Vec<_> = TLS12.iter().map(|known| known.name).collect();
        for list in ["HIGH:!aNULL:!MD5", "DEFAULT", "ALL:@SECLEVEL=1", "EECDH", "ECDHE !SSLv2"] {
            assert_eq!(names(list), all, "{list}");
        }
        for list in ["ECDH", "kECDHE", "kEECDH", "ECDHE:!kRSA:!ADH"] {
            assert_eq!(names(list), all, "{list}");
        }
        let gcm: Vec<_> = all.iter().copied().filter(|name| name.contains("GCM")).collect();
        for list in ["ECDH+AESGCM", "EECDH+AESGCM:!aNULL", "kECDHE+AESGCM"] {
            assert_eq!(names(list), gcm, "{list}");
        }
        assert!(select("ECDH+AESGCM:ECDH").missing.is_empty());
        assert!(names("HIGH:!ECDH").is_empty());
        let ecdsa = ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"];
        assert_eq!(names("EECDH+ECDSA+AESGCM"), ecdsa);
        assert_eq!(names("HIGH:!aRSA:-CHACHA20"), ecdsa);
        assert_eq!(names("AES128+ECDSA:AES256+ECDSA"), [ecdsa[1], ecdsa[0]]);
        assert_eq!(names("AESGCM+aECDSA:+AES256"), [ecdsa[1], ecdsa[0]]);
        assert_eq!(names("!ECDSA:ECDHE-ECDSA-AES128-GCM-SHA256"), [""; 0]);
    }

    #[test]
    fn what_is_not_there_is_told() {
        let list = "ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:RC4:!3DES:kEDH+AESGCM";
        let selection = select(list);
        assert_eq!(selection.suites, [CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]);
        assert_eq!(selection.missing, ["DHE-RSA-AES128-GCM-SHA256", "RC4", "kEDH+AESGCM"]);
        assert!(select("TLS_AES_128_GCM_SHA256").missing.is_empty());
    }

    #[test]
    fn every_known_name_is_supported() {
        let all: Vec<_> = TLS12.iter().map(|known| known.suite).chain(TLS13).collect();
        assert_eq!(supported(&all).len(), all.len());
        assert_eq!(select13("TLS_AES_128_GCM_SHA256").unwrap().len(), 1);
        assert_eq!(select13("TLS_SHA256_SHA256"), None);
        let (found, missing) = groups("X25519:prime256v1:P-384:X25519MLKEM768:secp521r1");
        assert_eq!((found.len(), missing), (4, vec!["secp521r1".to_owned()]));
        assert!(!groups("auto").0.is_empty());
    }

    proptest! {
        #[test]
        fn no_list_panics(list in "[!+@A-Za-z0-9:. -]{0,40}|\\PC{0,20}") {
            let _ = (select(&list), select13(&list), groups(&list));
        }
    }
}
