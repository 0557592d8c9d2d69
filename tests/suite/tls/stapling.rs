//! What a server says of its own certificate, from a file and from those who know.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::servers;
use crate::support::tls::{Authority, Pair};
use crate::support::{DEADLINE, Origin, Server, Setup, is_reference};

/// Files that `openssl ocsp` needs, beside the configuration; `state` is what its list has of the pair.
fn known(authority: &Authority, pair: &Pair, state: &str, setup: Setup) -> Setup {
    let list = format!("{state}\t{}\tunknown\t/CN=one.test\n", pair.serial());
    let setup = setup.file("ca.pem", authority.pem()).file("ca.key", authority.key());
    pair.install(setup, "one").file("list", list)
}

/// The answer about `one.pem`, DER.
fn answer(setup: &Setup) -> Vec<u8> {
    let path = |name: &str| setup.path(name).display().to_string();
    let ca = path("ca.pem");
    let status = Command::new("openssl")
        .args(["ocsp", "-index", &path("list"), "-CA", &ca, "-rsigner", &ca])
        .args(["-rkey", &path("ca.key"), "-issuer", &ca, "-cert", &path("one.pem")])
        .args(["-ndays", "1", "-respout", &path("answer.der")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("openssl").success());
    std::fs::read(setup.path("answer.der")).expect("an answer")
}

/// What a client is shown.
fn shown(server: &Server) -> String {
    let address = server.address().to_string();
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "one.test", "-status"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    String::from_utf8_lossy(&output.expect("openssl").stdout).into_owned()
}

const GOOD: &str = "V\t401231235959Z\t";
const REVOKED: &str = "R\t401231235959Z\t200101000000Z";

#[test]
fn an_answer_may_be_in_a_file() {
    let (authority, more) =
        (Authority::new("Test"), "ssl_stapling on; ssl_stapling_file answer.der;");
    let setup = servers(&authority, more);
    let setup = known(&authority, &authority.issue("one.test"), GOOD, setup);
    answer(&setup);
    let server = setup.start();
    let said = shown(&server);
    assert!(said.contains("Cert Status: good"), "{said}");
    if !is_reference() {
        std::fs::write(server.path("answer.der"), "no answer").expect("a file");
        let (code, said) = server.command(&["-t"]);
        assert!(code == Some(1) && said.contains("is no OCSP response"), "{said}");
    }
}

/// A responder that gives this answer.
fn responder(answer: &[u8]) -> Origin {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\n\r\n";
    Origin::answering_once([head.as_bytes(), answer].concat())
}

fn asking(authority: &Authority, state: &str) -> (Server, Origin) {
    let more = "ssl_stapling on; ssl_stapling_verify on; ssl_trusted_certificate ca.pem;
        ssl_stapling_responder http://%%responder%%/ocsp;";
    let setup = servers(authority, more);
    let setup = known(authority, &authority.issue("one.test"), state, setup);
    let origin = responder(&answer(&setup));
    (setup.set("responder", origin.address()).start(), origin)
}

#[test]
fn those_who_know_are_asked_once() {
    let authority = Authority::new("Test");
    let (server, origin) = asking(&authority, GOOD);
    let start = Instant::now();
    // The first client does not wait for the answer.
    while !shown(&server).contains("Cert Status: good") {
        assert!(start.elapsed() < DEADLINE, "no answer is shown");
    }
    assert_eq!(origin.connections(), 1);
    assert!(origin.received().starts_with("GET /ocsp/"), "{}", origin.received());
}

#[test]
fn bad_news_are_not_shown() {
    let authority = Authority::new("Test");
    let (server, _origin) = asking(&authority, REVOKED);
    assert!(shown(&server).contains("OCSP response: no response sent"));
    server.logged("certificate status \"revoked\" in the OCSP response");
    assert!(shown(&server).contains("OCSP response: no response sent"));
}

/// Certificates without a responder are many these days, and nginx only warns of them.
#[test]
fn a_certificate_may_name_nobody_to_ask() {
    let authority = Authority::new("Test");
    let setup = servers(&authority, "ssl_stapling on; ssl_trusted_certificate ca.pem;");
    let outcome = setup.file("ca.pem", authority.pem()).run(&["-t"]);
    let said = outcome.messages;
    let expected = "\"ssl_stapling\" ignored, no OCSP responder URL in the certificate";
    assert!(outcome.code == Some(0) && said.contains(expected), "{said}");
    let outcome = servers(&authority, "ssl_stapling on;").run(&["-t"]);
    let said = outcome.messages;
    assert!(outcome.code == Some(0) && said.contains("issuer certificate not found"), "{said}");
}

#[test]
fn names_that_no_certificate_covers_are_warned_of() {
    if is_reference() {
        return;
    }
    let authority = Authority::new("Test");
    let more = "server_name a.one.test *.other.test;";
    let outcome = servers(&authority, more).run(&["-t"]);
    let said = outcome.messages;
    assert_eq!(outcome.code, Some(0), "{said}");
    for name in ["a.one.test", "*.other.test"] {
        let expected = format!("no certificate of the server is for \"{name}\"");
        assert!(said.contains(&expected), "{said}");
    }
    assert!(
        !said.contains("is for \"one.test\"") && !said.contains("is for \"two.test\""),
        "{said}"
    );
}
