//! Certificates, keys and lists of what is revoked, in all forms that a configuration may name.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{servers, text};
use crate::support::tls::{Authority, Pair, TlsClient};
use crate::support::{Setup, is_reference};

/// What `openssl` makes of a text.
fn openssl(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("openssl");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("a text taken");
    let output = child.wait_with_output().expect("openssl");
    assert!(output.status.success(), "openssl {arguments:?}");
    String::from_utf8(output.stdout).expect("a PEM text")
}

#[test]
fn encrypted_keys_are_opened_by_a_password_of_a_file() {
    let authority = Authority::new("Test");
    let pair = authority.issue("one.test");
    for arguments in [
        &["pkcs8", "-topk8", "-passout", "pass:the right one"][..],
        &["ec", "-aes128", "-passout", "pass:the right one"],
    ] {
        let locked = Pair { key: openssl(arguments, &pair.key), ..pair.clone() };
        let setup = servers(&authority, "ssl_password_file words;");
        let setup = locked.install(setup, "one").file("words", b"wrong\r\n\r\nthe right one\r\n");
        let server = setup.start();
        assert_eq!(authority.client().get(server.address(), "one.test", "/who").status, 200);
        if !is_reference() {
            std::fs::write(server.path("words"), "wrong").expect("a file");
            let (code, said) = server.command(&["-t"]);
            assert!(code == Some(1) && said.contains("no password opens it"), "{said}");
        }
    }
}

#[test]
fn certificates_may_stand_in_the_configuration() {
    let authority = Authority::new("Test");
    let pair = authority.issue("one.test");
    let setup = Setup::http(&format!(
        "server {{ listen %%listen%% ssl; return 200 here;
           ssl_certificate \"data:{}\"; ssl_certificate_key \"data:{}\"; }}",
        pair.certificate, pair.key
    ));
    let server = setup.start();
    assert_eq!(authority.client().get(server.address(), "one.test", "/").text(), "here");
}

#[test]
fn whoever_is_revoked_is_refused() {
    let authority = Authority::new("Test");
    let (good, bad) = (authority.issue("good"), authority.issue("bad"));
    let more = "location /cert { return 200 $ssl_client_verify; } error_page 495 =200 /cert;
        ssl_verify_client on; ssl_client_certificate ca.pem; ssl_crl list.pem;";
    let setup = servers(&authority, more).file("ca.pem", authority.pem().as_bytes());
    let server = setup.file("list.pem", authority.crl(&[&bad]).as_bytes()).start();
    let said = |pair: &Pair| {
        let client = TlsClient::new(&authority.pem(), Some(pair));
        client.get(server.address(), "one.test", "/cert").text()
    };
    assert_eq!(said(&good), "SUCCESS");
    assert_eq!(said(&bad), "FAILED:certificate revoked");
    if is_reference() {
        return;
    }
    // A reload reads the list again; without a list for whoever has signed nobody passes.
    std::fs::write(server.path("list.pem"), Authority::new("Other").crl(&[])).expect("a file");
    assert_eq!(server.command(&["-s", "reload"]).0, Some(0));
    assert_eq!(said(&good), "FAILED:unable to get certificate CRL");
}

#[test]
fn what_is_no_list_is_refused() {
    if is_reference() {
        return;
    }
    let authority = Authority::new("Test");
    for (list, expected) in [("one.pem", "there is no list in it"), ("no.pem", "open() failed")] {
        let more = format!("ssl_verify_client on; ssl_client_certificate one.pem; ssl_crl {list};");
        let outcome = super::installed(&authority, Setup::http(&text(&more))).run(&["-t"]);
        let said = outcome.messages;
        assert!(outcome.code == Some(1) && said.contains(expected), "{said}");
    }
}

/// They are read for each handshake, as the name asked for has it; sessions go on as ever.
#[test]
fn names_of_certificates_may_have_variables() {
    let authority = Authority::new("Test");
    let setup = Setup::http(
        "map $ssl_server_name $file { one.test one; ~^two two; default none; }
         server { listen %%listen%% ssl; ssl_certificate $file.pem; ssl_certificate_key $file.key;
            return 200 $ssl_server_name:$ssl_session_reused; }",
    );
    let setup = super::installed(&authority, setup).allow("cannot load certificate");
    let server = setup.start();
    let (client, address) = (authority.client(), server.address());
    assert_eq!(client.get(address, "one.test", "/").text(), "one.test:.");
    assert_eq!(client.get(address, "two.test", "/").text(), "two.test:.");
    assert_eq!(client.get(address, "one.test", "/").text(), "one.test:r");
    assert!(client.connect(address, "three.test").is_err());
    server.logged("none.pem");
    server.logged("while SSL handshaking");
    let new = Authority::new("New");
    let pair = new.issue("one.test");
    std::fs::write(server.path("one.pem"), &pair.certificate).expect("a file");
    std::fs::write(server.path("one.key"), &pair.key).expect("a file");
    assert_eq!(new.client().get(address, "one.test", "/").status, 200, "without a reload");
}

/// Each is told with its place; a reload with one keeps what is in force.
#[test]
fn what_is_no_certificate_or_no_key_is_refused() {
    if is_reference() {
        return;
    }
    let authority = Authority::new("Test");
    let pair = authority.issue("one.test");
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let server = servers(&authority, "").allow("cannot load").start();
    for (certificate, key, expected) in [
        (half(&pair.certificate), pair.key.clone(), "cannot load certificate \"one.pem\""),
        (pair.certificate.clone(), half(&pair.key), "cannot load certificate key \"one.key\""),
        (pair.key.clone(), pair.key.clone(), "cannot load certificate \"one.pem\""),
        (pair.certificate.clone(), pair.certificate.clone(), "there is no key in it"),
        (String::new(), pair.key.clone(), "there is no certificate in it"),
        (pair.certificate.clone(), authority.issue("one.test").key, "key values mismatch"),
    ] {
        std::fs::write(server.path("one.pem"), certificate).expect("a file");
        std::fs::write(server.path("one.key"), key).expect("a file");
        let (code, said) = server.command(&["-t"]);
        assert!(code == Some(1) && said.contains(expected), "{expected}: {said}");
        assert!(said.contains("nginx.conf:"), "{said}");
        assert_eq!(server.command(&["-s", "reload"]).0, Some(1));
        assert_eq!(authority.client().get(server.address(), "one.test", "/who").status, 200);
    }
}
