//! TLS towards clients: which server answers with which certificate, what is refused and how.

mod clients;
mod files;
mod sessions;
mod stapling;
mod upstreams;
mod variables;

use std::net::SocketAddr;

use crate::support::tls::{Authority, TlsClient};
use crate::support::{Client, Origin, Server, Setup, is_reference, system, version};

/// What two servers at one address need; `more` is for the first.
fn servers(authority: &Authority, more: &str) -> Setup {
    installed(authority, Setup::http(&text(more)))
}

fn installed(authority: &Authority, setup: Setup) -> Setup {
    let setup = authority.issue("one.test").install(setup, "one");
    authority.issue("two.test").install(setup, "two")
}

fn text(more: &str) -> String {
    format!(
        "server {{ listen %%listen%% ssl; server_name one.test; ssl_certificate one.pem;
            ssl_certificate_key one.key; {more}
            location /who {{ return 200 \"one $ssl_server_name $scheme $https\"; }}
            location /reused {{ return 200 $ssl_session_reused; }} }}
         server {{ listen %%listen%% ssl; server_name two.test; ssl_certificate two.pem;
            ssl_certificate_key two.key; return 200 two; }}"
    )
}

#[test]
fn the_name_asked_for_chooses_the_server() {
    let authority = Authority::new("Test");
    let server = servers(&authority, "").start();
    let (client, address) = (authority.client(), server.address());
    assert_eq!(client.get(address, "one.test", "/who").text(), "one one.test https on");
    assert_eq!(client.get(address, "two.test", "/").text(), "two");
    // Whoever is nobody here gets the first one's certificate, which is not his.
    let error = client.connect(address, "three.test").err().expect("a wrong certificate");
    assert!(error.contains("not valid for name"), "{error}");
}

/// One that has no certificate of its own is reached with the default one's.
#[test]
fn a_server_may_say_nothing_of_tls() {
    let authority = Authority::new("Test");
    let setup = Setup::http(
        "ssl_conf_command Options SessionTicket;
         server { listen %%listen%% ssl; server_name one.site.test; ssl_certificate one.pem;
            ssl_certificate_key one.key; return 200 one; }
         server { listen %%listen%%; server_name *.site.test; return 200 $host; }",
    );
    let server = authority.issue("*.site.test").install(setup, "one").start();
    let (client, address) = (authority.client(), server.address());
    assert_eq!(client.get(address, "one.site.test", "/").text(), "one");
    assert_eq!(client.get(address, "two.site.test", "/").text(), "two.site.test");
}

/// Without a length the end of the connection is the end of the body, if it says that it is.
#[test]
fn half_an_answer_does_not_end_properly() {
    let authority = Authority::new("Test");
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let half = Origin::answering_once(format!("{head}5\r\nhello\r\n"));
    let whole = Origin::answering_once(format!("{head}5\r\nhello\r\n0\r\n\r\n"));
    let more = format!(
        "location /half {{ proxy_pass http://{}; }} location /whole {{ proxy_pass http://{}; }}",
        half.address(),
        whole.address()
    );
    let server = servers(&authority, &more).start();
    for (path, properly) in [("/whole", true), ("/half", false)] {
        let client = authority.client();
        let mut secure = client.connect(server.address(), "one.test").expect("a handshake");
        secure.send(&format!("GET {path} HTTP/1.0\r\nHost: one.test\r\n\r\n"));
        assert_eq!(secure.until("hello").matches("HTTP/1.1 200").count(), 1);
        assert_eq!(secure.ends_properly(), properly, "{path}");
    }
}

#[test]
fn connections_are_kept_and_ended_properly() {
    let authority = Authority::new("Test");
    let server = servers(&authority, "keepalive_timeout 500ms;").start();
    let mut secure = authority.client().connect(server.address(), "one.test").expect("a handshake");
    for _ in 0..3 {
        secure.send("GET /who HTTP/1.1\r\nHost: one.test\r\n\r\n");
        assert_eq!(secure.response().status, 200);
    }
    assert!(secure.ends_properly());
}

#[test]
fn large_bodies_pass_both_ways() {
    const SIZE: usize = 5 << 20;
    let authority = Authority::new("Test");
    let body: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at / 7 % 251).unwrap_or(0)).collect();
    let echo = Origin::new(|peer| {
        while let Some(request) = peer.request() {
            let at = request.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.len() - at));
            peer.send(&request[at..]);
        }
    });
    let more = "client_max_body_size 0; location / { proxy_pass http://%%origin%%; }";
    let setup = servers(&authority, more).set("origin", echo.address());
    let server = setup.file("html/large", &body).start();
    let mut secure = authority.client().connect(server.address(), "one.test").expect("a handshake");
    secure.send(&format!("POST / HTTP/1.1\r\nHost: one.test\r\nContent-Length: {SIZE}\r\n\r\n"));
    std::io::Write::write_all(&mut secure.0, &body).expect("a body sent");
    assert!(secure.response().body == body);
}

#[test]
fn plain_requests_to_a_tls_address_are_told_so() {
    let authority = Authority::new("Test");
    let server = servers(&authority, "error_page 497 =308 https://$host/;").start();
    let answer = server.get("/");
    assert_eq!((answer.status, answer.header("Location")), (308, Some("https://localhost/")));
    let server = servers(&authority, "").start();
    let answer = server.get("/");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("The plain HTTP request was sent to HTTPS port"));
}

#[test]
fn what_is_no_handshake_ends_and_harms_nobody() {
    let authority = Authority::new("Test");
    let server = servers(&authority, "client_header_timeout 300ms;").error_level("info").start();
    let mut garbage = Client::connect(server.address());
    garbage.send([22, 3, 1, 0, 5, 1, 2, 3, 4, 5]);
    garbage.read_to_end_or_reset();
    server.logged("while SSL handshaking");
    let mut slow = Client::connect(server.address());
    slow.send([22, 3, 1]);
    slow.read_to_end_or_reset();
    server.logged("client timed out (110: Connection timed out) while SSL handshaking");
    assert_eq!(authority.client().get(server.address(), "two.test", "/").text(), "two");
}

#[test]
fn a_server_may_refuse_handshakes() {
    let authority = Authority::new("Test");
    let setup = Setup::http(
        "server { listen %%listen%% ssl default_server; ssl_reject_handshake on; }
         server { listen %%listen%% ssl; server_name one.test; ssl_certificate one.pem;
            ssl_certificate_key one.key; return 200 one; }",
    );
    let server = authority.issue("one.test").install(setup, "one").start();
    let (client, address) = (authority.client(), server.address());
    assert_eq!(client.get(address, "one.test", "/").text(), "one");
    let error = client.connect(address, "other.test").err().expect("a refusal");
    assert!(error.to_lowercase().contains("unrecogni"), "{error}");
}

fn verified(client: &TlsClient, address: SocketAddr) -> (u16, String) {
    let answer = client.get(address, "one.test", "/cert");
    (answer.status, answer.text())
}

#[test]
fn clients_may_have_to_show_a_certificate() {
    let (authority, stranger) = (Authority::new("Test"), Authority::new("Stranger"));
    let (own, foreign) = (authority.issue("me"), stranger.issue("you"));
    let pem = authority.pem();
    let none = authority.client();
    let (mine, other) = (TlsClient::new(&pem, Some(&own)), TlsClient::new(&pem, Some(&foreign)));
    let cert = "location /cert { return 200 \"$ssl_client_verify $ssl_client_s_dn\"; }";
    let start = |verify: &str| -> Server {
        let more = format!("{cert} ssl_verify_client {verify}; ssl_client_certificate ca.pem;");
        servers(&authority, &more).file("ca.pem", pem.as_bytes()).start()
    };
    let server = start("on");
    assert_eq!(verified(&mine, server.address()), (200, "SUCCESS CN=me".to_owned()));
    let (status, page) = verified(&none, server.address());
    assert!(status == 400 && page.contains("No required SSL certificate was sent"), "{page}");
    let (status, page) = verified(&other, server.address());
    assert!(status == 400 && page.contains("The SSL certificate error"), "{page}");
    let server = start("optional");
    assert_eq!(verified(&none, server.address()), (200, "NONE ".to_owned()));
    assert_eq!(verified(&other, server.address()).0, 400);
    let server = start("optional_no_ca");
    let (status, text) = verified(&other, server.address());
    assert!(status == 200 && text.starts_with("FAILED:"), "{text}");
    // A connection for one server is none for another that asks for more.
    let server = start("on");
    let mut secure = mine.connect(server.address(), "two.test").expect("a handshake");
    secure.send("GET /cert HTTP/1.1\r\nHost: one.test\r\n\r\n");
    let answer = secure.response();
    assert_eq!(answer.status, 421);
}

/// A connection opened before the switch is closed like any other.
#[test]
fn maintenance_holds_for_connections_opened_before() {
    if is_reference() {
        return;
    }
    let authority = Authority::new("Test");
    let server = servers(&authority, "").start();
    let mut secure = authority.client().connect(server.address(), "one.test").expect("a handshake");
    secure.send("GET /who HTTP/1.1\r\nHost: one.test\r\n\r\n");
    assert_eq!(secure.response().status, 200);
    let (code, said) = server.command(&["ctl", "maintenance", "on"]);
    assert_eq!(code, Some(0), "{said}");
    secure.send("GET /who HTTP/1.1\r\nHost: one.test\r\n\r\n");
    assert_eq!(secure.response().status, 503);
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason() {
    if is_reference() {
        return;
    }
    let authority = Authority::new("Test");
    let cases = [
        ("ssl_certificate missing.pem; ssl_certificate_key one.key;", "missing.pem"),
        ("ssl_certificate one.pem; ssl_certificate_key two.key;", "key values mismatch"),
        ("ssl_certificate one.key; ssl_certificate_key one.key;", "there is no certificate in it"),
        ("ssl_certificate one.pem; ssl_certificate_key one.pem;", "there is no key in it"),
        ("ssl_certificate one.pem;", "no \"ssl_certificate_key\" is defined for certificate"),
        ("", "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive"),
    ];
    for (lines, expected) in cases {
        let setup = Setup::http(&format!("server {{ listen %%listen%% ssl; {lines} }}"));
        let setup = authority.issue("one.test").install(setup, "one");
        let setup = authority.issue("two.test").install(setup, "two");
        let outcome = setup.run(&["-t"]);
        let text = outcome.messages;
        assert!(outcome.code == Some(1) && text.contains(expected), "{lines}: {text}");
    }
}

/// Whichever worker a client meets next, and of whatever generation.
#[test]
fn sessions_are_resumed_by_all_workers_and_generations() {
    if is_reference() {
        return;
    }
    let authority = Authority::new("Test");
    let main = "worker_processes 4; upgrade_watch 0; upgrade_rollback_window 0; %%main%%";
    let text = format!("{main} events {{}} http {{ %%http%% {} }}", text(""));
    let daemon = installed(&authority, Setup::main(&text)).set("main", "").start_daemon();
    let (client, address) = (authority.client(), daemon.address());
    let resumed = |number: usize| {
        let answers = (0..number).map(|_| client.get(address, "one.test", "/reused").text());
        answers.filter(|text| text == "r").count()
    };
    assert_eq!(resumed(1), 0);
    assert_eq!(resumed(200), 200);
    assert_eq!(daemon.command(&["-s", "reload"]).0, Some(0));
    assert_eq!(resumed(20), 20);
    let said = daemon.change(&version::executable(version::SECOND), &["-s", "upgrade", "--wait"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(resumed(20), 20);
}

/// A reload puts a new certificate in force; one that cannot be used changes nothing.
#[test]
fn certificates_are_renewed_by_a_reload() {
    if is_reference() {
        return;
    }
    let (old, new) = (Authority::new("Old"), Authority::new("New"));
    let server = servers(&old, "").allow("key values mismatch").start();
    let address = server.address();
    let mut open = old.client().connect(address, "one.test").expect("a handshake");
    let pair = new.issue("one.test");
    std::fs::write(server.path("one.pem"), &pair.certificate).expect("a file");
    let (code, said) = server.command(&["-s", "reload"]);
    assert!(code == Some(1) && said.contains("key values mismatch"), "{said}");
    assert_eq!(old.client().get(address, "one.test", "/who").status, 200);
    std::fs::write(server.path("one.key"), &pair.key).expect("a file");
    assert_eq!(server.command(&["-s", "reload"]).0, Some(0));
    assert_eq!(new.client().get(address, "one.test", "/who").status, 200);
    open.send("GET /who HTTP/1.1\r\nHost: one.test\r\n\r\n");
    assert_eq!(open.response().status, 200);
    let worker = server.all_workers(1)[0];
    assert!(system::alive(worker));
}
