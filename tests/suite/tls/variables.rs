//! What a request can tell of its connection.

use super::servers;
use crate::support::is_reference;
use crate::support::tls::{Authority, TlsClient};

#[test]
fn what_was_offered_and_agreed_on() {
    let authority = Authority::new("Test");
    let more = "location /offer { return 200 $ssl_ciphers|$ssl_curves; }
        location /signed { return 200 $ssl_sigalg|$ssl_client_sigalg|$ssl_sigalgs; }
        location /names { return 200 $ssl_client_s_dn_legacy|$ssl_client_i_dn_legacy; }
        location /id { return 200 $ssl_session_id; }
        ssl_verify_client optional; ssl_client_certificate ca.pem;";
    let setup = servers(&authority, more).file("ca.pem", authority.pem());
    let server = setup.start();
    let client = TlsClient::new(&authority.pem(), Some(&authority.issue("me")));
    let get = |path: &str| client.get(server.address(), "one.test", path).text();
    let offer = get("/offer");
    let (ciphers, curves) = offer.split_once('|').expect("two lists");
    assert!(ciphers.split(':').any(|name| name == "ECDHE-ECDSA-AES128-GCM-SHA256"), "{ciphers}");
    assert!(ciphers.split(':').any(|name| name == "TLS_AES_128_GCM_SHA256"), "{ciphers}");
    assert!(curves.split(':').any(|name| name == "X25519"), "{curves}");
    assert!(curves.split(':').any(|name| name == "prime256v1"), "{curves}");
    assert!(get("/names").starts_with("/CN=me|/"));
    if is_reference() {
        return;
    }
    // A session has one number, however often it is resumed; nobody signs then.
    let id = get("/id");
    assert!(id.len() == 64 && id == get("/id"), "{id}");
    assert!(get("/signed").starts_with("||"));
    let new = TlsClient::new(&authority.pem(), Some(&authority.issue("me")));
    let signed = new.get(server.address(), "one.test", "/signed").text();
    assert!(signed.starts_with("ecdsa_secp256r1_sha256|ecdsa_secp256r1_sha256|"), "{signed}");
    assert_eq!(server.get("/id").status, 400);
}
