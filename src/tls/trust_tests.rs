//! What chains are worth, and what opens keys.

use super::certificate::{chain, key};
use super::{Purpose, Trust};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

/// A certificate of version 1 that has signed itself, and one that it has signed; until 2120.
const OLD: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBBjCBrAIBBTAKBggqhkjOPQQDAjAOMQwwCgYDVQQDDANvbGQwIBcNMjAwMTAx\n\
MDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMA4xDDAKBgNVBAMMA29sZDBZMBMGByqG\n\
SM49AgEGCCqGSM49AwEHA0IABFZc58VhCRtStNy1Ktx7DRRaVWDDsTdfPK5pH69E\n\
txaOZH8Q/rz2pUbkA7jdQVkmRAlZ7y/bm5W9GzLlx9YnGNgwCgYIKoZIzj0EAwID\n\
SQAwRgIhANx9KIcbEXXYKFMxtZuQkDQKQQjqHISrNqybzkmbniQFAiEA0ZP1UdfI\n\
0z9uwULuCoMhwAqrWmPBvEFjpOok3BECX94=\n\
-----END CERTIFICATE-----\n\
-----BEGIN CERTIFICATE-----\n\
MIIBBzCBrQIBBjAKBggqhkjOPQQDAjAOMQwwCgYDVQQDDANvbGQwIBcNMjAwMTAx\n\
MDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMA8xDTALBgNVBAMMBGxlYWYwWTATBgcq\n\
hkjOPQIBBggqhkjOPQMBBwNCAASCxhqd51QONAmVHVwpyQfb8i7j81QgpoKQZ92D\n\
KS3TkO6cScX0EQNfKp+TYOXEuPTOPl5kX92wR4Zpr7Wxqip2MAoGCCqGSM49BAMC\n\
A0kAMEYCIQCf1xOEHfnctp5mac/6Gb0luGyT4Ay19/Czb0msGiIyAAIhAMn4HCVq\n\
xM2mmPx93+pOUy/byDVkJajhjOnQ9xrAo0St\n\
-----END CERTIFICATE-----\n";

/// The key of the second one, opened by `secret`: as old programs write it, and as new ones do.
const KEYS: [&str; 2] = [
    "\
-----BEGIN EC PRIVATE KEY-----\n\
Proc-Type: 4,ENCRYPTED\n\
DEK-Info: AES-128-CBC,545991D9AA454EB6DBB616D9B8207831\n\
\n\
kJ2h7oblcFWjZAwf1F38UN+3NDkD2HBp6vLr6I9rsubfbQCMSW9DfwuvcPYeSfpJ\n\
5J1P8Hmu23DB2LPw9Rc2GOQGO3H+k3oZ6GFec2FX0AX9+QsBuzu1PV9TnOFdLHbo\n\
lDGgd5U1YHteE/snhpPcKP9rOVCHL9lQkerMMPlJX/c=\n\
-----END EC PRIVATE KEY-----\n",
    "\
-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjJnew/dsSmlgICCAAw\n\
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEHf8JTBhqDVUeNWX0HR8kjIEgZD8\n\
iWNHen+0Km9N08dmQBVWWFbKCJnEo+fz5+0nacykjeAINopPZkYzh/tH0RO3TQth\n\
4O7G05ur4nolC5mU/mEXCKbH0Ca9aczB79QOvUtk5K3AneKrxgnjPuRXidzolcN3\n\
LG/JQ8MMT+DOzURwwDBPBT8r+WN+TzgeMhuweHaDBBNJklIcdqFPUHOGMnePIdw=\n\
-----END ENCRYPTED PRIVATE KEY-----\n",
];

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn root() -> Issuer {
    Issuer::self_signed(authority("root"), KeyPair::generate().unwrap()).unwrap()
}

fn between(name: &str, by: &Issuer) -> Issuer {
    Issuer::signed_by(authority(name), KeyPair::generate().unwrap(), by).unwrap()
}

fn leaf(params: &CertificateParams, by: &Issuer) -> CertificateDer<'static> {
    params.signed_by(&KeyPair::generate().unwrap(), by).unwrap().der().clone()
}

/// What is said of a chain; nothing if it is fine.
fn said(trusted: &[&Issuer], shown: &[CertificateDer<'static>], depth: usize) -> String {
    said_with(trusted, &[], shown, depth)
}

fn said_with(
    trusted: &[&Issuer],
    revoked: &[CertificateRevocationListDer<'static>],
    shown: &[CertificateDer<'static>],
    depth: usize,
) -> String {
    let trusted: Vec<_> = trusted.iter().map(|issuer| issuer.der().clone()).collect();
    let trust = Trust::new(&trusted, revoked).unwrap();
    let verdict = trust.verdict(shown, Purpose::Client, depth);
    verdict.err().map(|complaint| complaint.to_string()).unwrap_or_default()
}

#[test]
fn a_chain_leads_to_one_who_is_trusted() {
    let (root, other) = (root(), root());
    let middle = between("middle", &root);
    let chain = [leaf(&named("me"), &middle), middle.der().clone()];
    assert_eq!(said(&[&root], &chain, 1), "");
    assert_eq!(said(&[&root], &chain, 0), "certificate chain too long");
    assert_eq!(said(&[&root, &middle], &chain[..1], 1), "");
    assert_eq!(said(&[&root], &chain[..1], 1), "unable to verify the first certificate");
    assert_eq!(said(&[&other], &chain, 1), "certificate signature failure");
    // Trust in one that is not at the end is no trust.
    assert_eq!(said(&[&middle], &chain, 1), "unable to get issuer certificate");
    let alone = Issuer::self_signed(named("alone"), KeyPair::generate().unwrap()).unwrap();
    assert_eq!(said(&[&root], &[alone.der().clone()], 1), "self-signed certificate");
    assert_eq!(said(&[&alone], &[alone.der().clone()], 0), "");
    let broken = [CertificateDer::from(vec![0x30, 3, 2, 1, 1])];
    assert_eq!(said(&[&root], &broken, 1), "unspecified certificate verification error");
}

#[test]
fn what_a_certificate_is_for_counts() {
    let root = root();
    let mut server = named("server");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(said(&[&root], &[leaf(&server, &root)], 1), "unsuitable certificate purpose");
    let mut late = named("late");
    late.not_after = date_time_ymd(2001, 1, 1);
    late.not_before = date_time_ymd(2000, 1, 1);
    assert_eq!(said(&[&root], &[leaf(&late, &root)], 1), "certificate has expired");
    let mut early = named("early");
    early.not_before = date_time_ymd(2150, 1, 1);
    early.not_after = date_time_ymd(2151, 1, 1);
    assert_eq!(said(&[&root], &[leaf(&early, &root)], 1), "certificate is not yet valid");
    // Somebody who is no authority signs.
    let nobody = Issuer::signed_by(named("nobody"), KeyPair::generate().unwrap(), &root).unwrap();
    let chain = [leaf(&named("me"), &nobody), nobody.der().clone()];
    assert_eq!(said(&[&root], &chain, 1), "unsuitable certificate purpose");
    let mut shallow = authority("shallow");
    shallow.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let shallow = Issuer::signed_by(shallow, KeyPair::generate().unwrap(), &root).unwrap();
    let below = between("below", &shallow);
    let chain = [leaf(&named("me"), &below), below.der().clone(), shallow.der().clone()];
    assert_eq!(said(&[&root], &chain, 5), "path length constraint exceeded");
}

fn crl(by: &Issuer, serials: &[u64], until: i32) -> CertificateRevocationListDer<'static> {
    let revoked = serials.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2000, 1, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(by).unwrap().der().clone()
}

#[test]
fn what_is_revoked_is_worth_nothing() {
    let root = root();
    let middle = between("middle", &root);
    let mut me = named("me");
    me.serial_number = Some(SerialNumber::from(7_u64));
    let chain = [leaf(&me, &middle), middle.der().clone()];
    let said = |lists: &[_]| said_with(&[&root], lists, &chain, 1);
    assert_eq!(said(&[crl(&root, &[], 2150), crl(&middle, &[8], 2150)]), "");
    let revoked = [crl(&root, &[], 2150), crl(&middle, &[7], 2150)];
    assert_eq!(said(&revoked), "certificate revoked");
    assert_eq!(said(&[crl(&root, &[], 2150)]), "unable to get certificate CRL");
    let old = [crl(&root, &[], 2150), crl(&middle, &[], 2001)];
    assert_eq!(said(&old), "CRL has expired");
}

#[test]
fn version_1_is_checked_like_any_other() {
    let old = chain(OLD.as_bytes()).unwrap();
    let trust = Trust::new(&old[..1], &[]).unwrap();
    assert_eq!(trust.verdict(&old[1..], Purpose::Client, 1), Ok(()));
    assert_eq!(trust.verdict(&old[1..], Purpose::Server, 1), Ok(()));
    // Its one bit changed, the signature fits no more.
    let mut changed = old[1].to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let verdict = trust.verdict(&[changed.into()], Purpose::Client, 1);
    assert_eq!(verdict.unwrap_err().to_string(), "certificate signature failure");
    let stranger = Trust::new(&old[1..], &[]).unwrap();
    assert!(stranger.verdict(&old[..1], Purpose::Client, 1).unwrap_err().is_of_trust());
}

#[test]
fn keys_are_opened_by_one_of_the_passwords() {
    let words =
        |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    let chain = chain(OLD.as_bytes()).unwrap();
    for pem in KEYS {
        let opened = key(pem.as_bytes(), &words(&["wrong", "secret"])).unwrap();
        assert!(super::certificate::certified(chain[1..].to_vec(), opened).is_ok());
        let why = key(pem.as_bytes(), &words(&["wrong", ""])).unwrap_err();
        assert!(why.contains("no password opens it"), "{why}");
        assert!(key(pem.as_bytes(), &[]).unwrap_err().contains("no password is given"));
    }
    let lines = super::certificate::passwords(b"one\r\n\ntwo words\nthree");
    assert_eq!(lines, words(&["one", "two words", "three"]));
}
