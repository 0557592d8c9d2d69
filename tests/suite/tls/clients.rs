//! Clients that people use, where they are installed.

use std::io::Write;
use std::process::{Command, Stdio};

use super::servers;
use crate::support::tls::Authority;
use crate::support::{Server, Setup, is_reference, system};

/// What a program says when it is given this to read; `None` where there is no such program.
fn said(program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    // One that ends early reads no more.
    let _ = child.stdin.take()?.write_all(input.as_bytes());
    let output = child.wait_with_output().ok()?;
    let texts =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Some(texts.concat())
}

fn start(more: &str) -> (Authority, Server) {
    let authority = Authority::new("Test");
    let setup: Setup = servers(&authority, more).file("ca.pem", authority.pem());
    (authority, setup.start())
}

#[test]
fn curl_speaks_both_versions_of_http() {
    let (_authority, server) = start("http2 on; location /v { return 200 $server_protocol; }");
    let (address, ca) = (server.address(), server.path("ca.pem").display().to_string());
    let resolve = format!("one.test:{}:127.0.0.1", address.port());
    let url = format!("https://one.test:{}/v", address.port());
    for (option, expected) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        let arguments = ["-sS", option, "--cacert", &ca, "--resolve", &resolve, &url];
        let Some(text) = said("curl", &arguments, "") else { return };
        assert_eq!(text, expected);
    }
}

#[test]
fn openssl_speaks_both_versions_of_tls_and_resumes() {
    let (_authority, server) = start("");
    let (address, ca) = (server.address().to_string(), server.path("ca.pem").display().to_string());
    let kept = server.path("session").display().to_string();
    let request = "GET /reused HTTP/1.0\r\nHost: one.test\r\n\r\n";
    let base = ["s_client", "-connect", &address, "-servername", "one.test", "-CAfile", &ca];
    for version in ["-tls1_2", "-tls1_3"] {
        let of = |more: &[&str]| {
            let arguments = [&base[..], &[version, "-ign_eof", "-verify_return_error"], more];
            said("openssl", &arguments.concat(), request)
        };
        let Some(first) = of(&["-sess_out", &kept]) else { return };
        assert!(!first.contains("unexpected eof"), "it ends in its way: {first}");
        assert!(first.contains("Verification: OK") && first.contains("200 OK"), "{first}");
        assert!(first.contains("\r\n\r\n."), "a new session: {first}");
        let second = of(&["-sess_in", &kept]).unwrap_or_default();
        assert!(second.contains("\r\n\r\nr"), "the same again: {second}");
    }
}

/// Old versions, renegotiation and messages in the clear end a connection, and harm nobody.
#[test]
fn what_is_not_spoken_ends_and_harms_nobody() {
    let (authority, server) = start("client_header_timeout 500ms;");
    let workers = server.all_workers(1);
    let address = server.address().to_string();
    let base = ["s_client", "-connect", &address, "-servername", "one.test"];
    for (more, input) in [
        (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..], ""),
        (&["-tls1_2", "-cipher", "AES128-SHA"], ""),
        (&["-tls1_2", "-legacy_renegotiation"], "R\n"),
        (&["-starttls", "smtp"], ""),
    ] {
        if said("openssl", &[&base[..], more].concat(), input).is_none() {
            return;
        }
        assert_eq!(authority.client().get(server.address(), "one.test", "/who").status, 200);
    }
    if !is_reference() {
        assert!(workers.iter().all(|worker| system::alive(*worker)));
        assert_eq!(workers, server.all_workers(1));
    }
}
