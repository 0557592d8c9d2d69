//! Connections of HTTP/2 and handshakes of TLS that an upgrade finds under way.

use super::{configured, done, full_text, second, upgrade};
use crate::support::h2::{GOAWAY, H2, NO_ERROR};
use crate::support::tls::Authority;
use crate::support::{Held, OK, Setup, is_reference};

/// The stream that a first GOAWAY names: any that may be.
const ANY: u32 = (1 << 31) - 1;

/// First the client is told that no more are taken, then which was the last that was: none up to it is
/// left without its answer.
#[test]
fn a_connection_is_told_in_two_steps() {
    if is_reference() {
        return;
    }
    let held = Held::new();
    let text = full_text(1, "http2 on;");
    let daemon = configured(&text).set("origin", held.origin.address()).start_daemon();
    let mut h2 = H2::connect(daemon.address());
    let slow = h2.get("/slow");
    held.has_come();
    done(&upgrade(&daemon, &second(), &[]));
    let first = h2.next_of(GOAWAY);
    assert_eq!((first.number(0), first.number(4)), (ANY, NO_ERROR));
    // What was on its way when the first word came is served by the old version as well.
    let late = h2.get("/late");
    let last = h2.next_of(GOAWAY);
    assert_eq!((last.number(0), last.number(4)), (late, NO_ERROR));
    held.answer(OK);
    assert_eq!(h2.answer(slow).text(), "ok");
    held.has_come();
    held.answer(OK);
    assert_eq!(h2.answer(late).text(), "ok");
    while h2.next().is_some() {}
    let mut new = H2::connect(daemon.address());
    let said = new.get("/");
    assert_eq!(new.answer(said).status, 200);
}

/// A client that has said no more than hello when the upgrade is decided.
#[test]
fn a_handshake_under_way_comes_to_its_end() {
    if is_reference() {
        return;
    }
    let authority = Authority::new("Test");
    let text = "upgrade_watch 0; upgrade_rollback_window 0; worker_processes 1; events {}
        http { %%http%% server { listen %%listen%% ssl; server_name one.test;
            ssl_certificate one.pem; ssl_certificate_key one.key; return 200 $pid; } }";
    let setup = authority.issue("one.test").install(Setup::main(text), "one");
    let daemon = setup.start_daemon();
    let client = authority.client();
    let by = client.get(daemon.address(), "one.test", "/").text();
    let greeted = client.greet(daemon.address(), "one.test");
    done(&upgrade(&daemon, &second(), &[]));
    daemon.logged("gracefully shutting down");
    let mut secure = greeted.finish().expect("a handshake");
    secure.send("GET / HTTP/1.1\r\nHost: one.test\r\n\r\n");
    let answer = secure.response();
    assert_eq!((answer.status, answer.text()), (200, by.clone()));
    assert_eq!(answer.header("Connection"), Some("close"));
    assert_ne!(client.get(daemon.address(), "one.test", "/").text(), by);
}
