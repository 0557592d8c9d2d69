//! Which sessions are resumed, and where.

use super::{installed, servers};
use crate::support::tls::Authority;
use crate::support::{Port, Server, Setup, is_reference};

/// A ticket of one server is worth nothing at another that shows other certificates.
#[test]
fn sessions_belong_to_the_certificates_they_were_made_with() {
    let authority = Authority::new("Test");
    let server = |port: &str, name: &str| {
        format!(
            "server {{ listen %%{port}%% ssl; ssl_certificate {name}.pem;
               ssl_certificate_key {name}.key; return 200 $ssl_session_reused; }}"
        )
    };
    let text = [server("listen", "one"), server("same", "one"), server("other", "again")].concat();
    let (same, other) = (Port::free(), Port::free());
    let setup = installed(&authority, Setup::http(&text));
    let setup = setup.set("same", same.address()).set("other", other.address());
    let server = authority.issue("one.test").install(setup, "again").start();
    let client = authority.client();
    let reused = |address| client.get(address, "one.test", "/").text();
    assert_eq!(reused(server.address()), ".");
    assert_eq!(reused(same.address()), "r");
    assert_eq!(reused(other.address()), ".");
}

/// Servers that know nothing of one another share sessions by the keys of a file; a key that is not the
/// first opens what was sealed with it before.
#[test]
fn keys_of_tickets_may_come_from_files() {
    let authority = Authority::new("Test");
    let pair = authority.issue("one.test");
    let start = |keys: &[u8]| -> Server {
        let lines = keys.iter().map(|key| format!("ssl_session_ticket_key {}.key;", *key as char));
        let setup = servers(&authority, &lines.collect::<String>());
        let setup = keys
            .iter()
            .fold(setup, |setup, key| setup.file(&format!("{}.key", *key as char), [*key; 48]));
        pair.install(setup, "one").start()
    };
    let client = authority.client();
    let reused = |server: &Server| client.get(server.address(), "one.test", "/reused").text();
    let (first, second) = (start(b"a"), start(b"ba"));
    assert_eq!(reused(&first), ".");
    assert_eq!(reused(&second), "r");
    assert_eq!(reused(&start(b"b")), "r");
    assert_eq!(reused(&start(b"a")), ".");
    if is_reference() {
        return;
    }
    let setup = servers(&authority, "ssl_session_ticket_key a.key;").file("a.key", b"short");
    let outcome = setup.run(&["-t"]);
    let said = outcome.messages;
    assert!(outcome.code == Some(1) && said.contains("must be 48 or 80 bytes"), "{said}");
}
