//! TLS towards upstreams: who is asked for, who is trusted, which connections and sessions are used
//! again, and what becomes of handshakes that fail.

use serde_json::{Value, json};

use crate::support::tls::{Authority, Pair};
use crate::support::{Frame, Held, OK, Origin, Peer, Server, Setup, WebSocket, echo, is_reference};

/// A server that passes on to another one of the same configuration, over TLS. `front` stands in the
/// first one, `back` in the second, which tells who it was asked for and by whom.
fn text(front: &str, back: &str) -> String {
    format!(
        "upstream back {{ server %%listen_back%%; keepalive 4; }}
         server {{ listen %%listen%%; proxy_ssl_trusted_certificate ca.pem; {front} }}
         server {{ listen %%listen_back%% ssl; server_name back.test; ssl_certificate back.pem;
            ssl_certificate_key back.key; {back}
            location / {{ add_header X-Connection $connection;
                return 200 \"[$ssl_server_name] $ssl_session_reused $ssl_protocol $ssl_client_s_dn\"; }} }}"
    )
}

fn setup(authority: &Authority, front: &str, back: &str) -> Setup {
    let setup = Setup::http(&text(front, back)).file("ca.pem", authority.pem());
    authority.issue("back.test").install(setup, "back")
}

fn start(front: &str, back: &str) -> Server {
    setup(&Authority::new("Test"), front, back).start()
}

/// What the second server says first.
fn said(server: &Server, path: &str) -> String {
    let response = server.get(path);
    assert_eq!(response.status, 200, "{path}: {}", server.error_log());
    response.text()
}

#[test]
fn names_are_told_if_that_is_wanted() {
    let server = start(
        "proxy_ssl_session_reuse off;
         location /silent { proxy_pass https://back; }
         location /group { proxy_pass https://back; proxy_ssl_server_name on; }
         location /address { proxy_pass https://%%listen_back%%; proxy_ssl_server_name on; }
         location /other { proxy_pass https://back; proxy_ssl_server_name on;
            proxy_ssl_name $arg_name; }",
        "",
    );
    for (path, expected) in [
        ("/silent", "[] "),
        ("/group", "[back] "),
        ("/address", "[] "),
        ("/other?name=one.test", "[one.test] "),
        ("/other?name=two.test:443", "[two.test] "),
        ("/other", "[] "),
    ] {
        let said = said(&server, path);
        assert!(said.starts_with(expected), "{path}: {said}");
    }
}

#[test]
fn urls_with_variables_may_be_https() {
    let server = start(
        "location / { set $to back; proxy_pass $arg_scheme://$to; proxy_set_header X-Port $proxy_port; }",
        "",
    );
    assert!(said(&server, "/?scheme=https").starts_with("[] "));
    let response = server.get("/?scheme=http");
    // It speaks TLS only.
    assert_eq!(response.status, 400, "{}", response.text());
    assert_eq!(server.get("/?scheme=ftp").status, 500);
}

#[test]
fn certificates_are_verified_if_that_is_wanted() {
    let front = "proxy_ssl_session_reuse off; proxy_ssl_name back.test;
         location /none { proxy_pass https://back; proxy_ssl_name other.test; }
         location /good { proxy_pass https://back; proxy_ssl_verify on; }
         location /name { proxy_pass https://back; proxy_ssl_verify on; proxy_ssl_name other.test; }
         location /trust { proxy_pass https://back; proxy_ssl_verify on;
            proxy_ssl_trusted_certificate other.pem; }
         location /revoked { proxy_pass https://back; proxy_ssl_verify on; proxy_ssl_crl crl.pem; }";
    let authority = Authority::new("Test");
    let pair = authority.issue("back.test");
    let setup = Setup::http(&text(front, "")).file("ca.pem", authority.pem());
    let setup = setup.file("crl.pem", authority.crl(&[&pair]));
    let setup = setup.file("other.pem", Authority::new("Other").pem());
    let server = pair.install(setup, "back").start();
    assert!(said(&server, "/none").starts_with("[] "));
    assert!(said(&server, "/good").starts_with("[] "));
    for (path, line) in [
        (
            "/name",
            "upstream SSL certificate does not match \"other.test\" while SSL handshaking to upstream",
        ),
        (
            "/trust",
            "upstream SSL certificate verify error: (21:unable to verify the first certificate) \
             while SSL handshaking to upstream",
        ),
        (
            "/revoked",
            "upstream SSL certificate verify error: (23:certificate revoked) \
             while SSL handshaking to upstream",
        ),
    ] {
        assert_eq!(server.get(path).status, 502, "{path}");
        assert!(server.logged(line).contains("[error]"), "{path}");
    }
}

#[test]
fn connections_of_other_names_and_settings_are_not_used() {
    if is_reference() {
        // nginx uses any connection to the same address there.
        return;
    }
    let server = start(
        "proxy_ssl_server_name on; proxy_ssl_name $arg_name;
         location /one { proxy_pass https://back; }
         location /two { proxy_pass https://back; }
         location /strict { proxy_pass https://back; proxy_ssl_verify on; }",
        "",
    );
    let connection = |path: &str| {
        let response = server.get(path);
        assert_eq!(response.status, 200, "{path}");
        response.header("X-Connection").expect("a number").to_owned()
    };
    let first = connection("/one?name=back.test");
    let other = connection("/one?name=other.test");
    let strict = connection("/strict?name=back.test");
    assert!(first != other && first != strict && other != strict);
    assert_eq!(connection("/one?name=back.test"), first);
    assert_eq!(connection("/two?name=back.test"), first, "the same settings");
    assert_eq!(connection("/one?name=other.test"), other);
    assert_eq!(connection("/strict?name=back.test"), strict);
}

/// Also those of TLS 1.2.
#[test]
fn sessions_are_resumed() {
    for version in ["TLSv1.2", "TLSv1.3"] {
        let front = "location /yes { proxy_pass https://%%listen_back%%; }
             location /no { proxy_pass https://%%listen_back%%; proxy_ssl_session_reuse off; }
             location /strict { proxy_pass https://%%listen_back%%; proxy_ssl_verify on;
                proxy_ssl_name back.test; }
             location /wrong { proxy_pass https://%%listen_back%%; proxy_ssl_verify on;
                proxy_ssl_name $arg_name; }";
        let server =
            start(front, &format!("ssl_protocols {version}; ssl_session_cache shared:s:1m;"));
        let reused = |path: &str| said(&server, path).split(' ').nth(1).map(str::to_owned);
        for path in ["/yes", "/no", "/strict"] {
            let again = if path == "/no" { "." } else { "r" };
            assert_eq!(reused(path).as_deref(), Some("."), "{version} {path}");
            assert_eq!(reused(path).as_deref(), Some(again), "{version} {path}");
            assert_eq!(reused(path).as_deref(), Some(again), "{version} {path}");
        }
        // What a session has proved is judged anew for each name.
        assert_eq!(server.get("/wrong?name=back.test").status, 200);
        assert_eq!(server.get("/wrong?name=other.test").status, 502);
    }
}

#[test]
fn versions_are_agreed_on() {
    let server = start(
        "proxy_ssl_session_reuse off;
         location /old { proxy_pass https://back; proxy_ssl_protocols TLSv1.2; }
         location /new { proxy_pass https://back; proxy_ssl_protocols TLSv1.3; }
         location /few { proxy_pass https://back; proxy_ssl_protocols TLSv1.2;
            proxy_ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256; }",
        "",
    );
    assert!(said(&server, "/old").contains(" TLSv1.2 "));
    assert!(said(&server, "/new").contains(" TLSv1.3 "));
    // The certificate has another kind of key.
    assert_eq!(server.get("/few").status, 502);
    server.logged("SSL_do_handshake() failed (SSL: ");
}

/// Certificates that are shown to upstreams.
fn with_clients(front: &str) -> Server {
    let authority = Authority::new("Test");
    let back = "ssl_verify_client optional; ssl_client_certificate ca.pem;";
    let mut setup = setup(&authority, front, back);
    for name in ["one", "two"] {
        setup = authority.issue(name).install(setup, name);
    }
    let strange: Pair = authority.issue("three");
    setup.file("three.pem", strange.certificate).start()
}

#[test]
fn a_certificate_is_shown() {
    let server = with_clients(
        "proxy_ssl_session_reuse off; proxy_ssl_certificate one.pem; proxy_ssl_certificate_key one.key;
         location /one { proxy_pass https://back; }
         location /two { proxy_pass https://back; proxy_ssl_certificate two.pem;
            proxy_ssl_certificate_key two.key; }
         location /none { proxy_pass https://back; proxy_ssl_certificate ''; }",
    );
    for (path, expected) in [("/one", " CN=one"), ("/two", " CN=two"), ("/none", " ")] {
        let said = said(&server, path);
        assert!(said.ends_with(expected), "{path}: {said}");
    }
}

/// Read by the worker, by names that come with the request; one that cannot be read is a fault here.
#[test]
fn a_certificate_may_be_named_by_the_request() {
    let server = with_clients(
        "proxy_ssl_certificate $arg_name.pem; proxy_ssl_certificate_key $arg_name.key;
         location / { proxy_pass https://back; }
         location /none { proxy_pass https://back; proxy_ssl_certificate $arg_none; }",
    );
    for (path, expected) in [
        ("/?name=one", " CN=one"),
        ("/?name=two", " CN=two"),
        ("/?name=one", " CN=one"),
        ("/none?name=two", " "),
    ] {
        let said = said(&server, path);
        assert!(said.ends_with(expected), "{path}: {said}");
    }
    assert_eq!(server.get("/?name=nobody").status, 500);
    server.logged("nobody.pem\": open() failed (2: No such file or directory) while SSL");
    assert_eq!(server.get("/?name=three").status, 500);
}

/// What is kept belongs to settings; other settings begin anew, the same go on.
#[test]
fn a_reload_with_other_trust_leaves_connections_behind() {
    if is_reference() {
        return;
    }
    let front =
        "location / { proxy_pass https://back; proxy_ssl_verify on; proxy_ssl_name back.test; }";
    let server = start(front, "");
    let connection = || {
        let response = server.get("/");
        (response.status, response.header("X-Connection").map(str::to_owned))
    };
    let first = connection();
    assert_eq!(first.0, 200);
    assert_eq!(server.command(&["-s", "reload"]).0, Some(0));
    assert_eq!(connection(), first);
    std::fs::write(server.path("ca.pem"), Authority::new("Other").pem()).expect("a file");
    assert_eq!(server.command(&["-s", "reload"]).0, Some(0));
    assert_eq!(connection().0, 502);
}

#[test]
fn what_is_no_https_is_a_bad_gateway() {
    let plain = Origin::new(|peer| {
        peer.some();
        peer.send(OK);
    });
    let server =
        Setup::http("server { listen %%listen%%; location / { proxy_pass https://%%origin%%; } }");
    let server = server.set("origin", plain.address()).start();
    assert_eq!(server.get("/").status, 502);
    let line = server.logged("while SSL handshaking to upstream");
    assert!(line.contains("[error]") && line.contains("upstream: \"https://127.0.0.1:"), "{line}");
}

#[test]
fn a_handshake_that_fails_goes_to_the_next_server() {
    let closing = Origin::new(|peer| {
        peer.exactly(1);
    });
    let two = "upstream two { server %%closing%%; server %%listen_back%% backup; }";
    let front = "location / { proxy_pass https://two; add_header X-Addr $upstream_addr;
        add_header X-Status $upstream_status; add_header X-Connect $upstream_connect_time; }";
    let setup = Setup::http(&format!("{two} {}", text(front, "")));
    let authority = Authority::new("Test");
    let setup = authority.issue("back.test").install(setup.file("ca.pem", authority.pem()), "back");
    let server = setup.set("closing", closing.address()).start();
    let response = server.get("/");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("X-Status"), Some("502, 200"));
    assert!(response.header("X-Connect").expect("times").starts_with("-, 0."));
    server.logged("while SSL handshaking to upstream");
}

#[test]
fn the_time_to_connect_is_also_for_the_handshake() {
    let silent = Origin::new(Peer::wait_for_end);
    let server = Setup::http(
        "server { listen %%listen%%; proxy_connect_timeout 300ms;
            location / { proxy_pass https://%%origin%%; } }",
    );
    let server = server.set("origin", silent.address()).start();
    assert_eq!(server.get("/").status, 504);
    server
        .logged("upstream timed out (110: Connection timed out) while SSL handshaking to upstream");
}

/// Both ways through two servers, kept and streamed.
#[test]
fn large_bodies_pass_both_ways() {
    const SIZE: usize = 3 << 20;
    let body: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at / 7 % 251).unwrap_or(0)).collect();
    let origin = Origin::new(|peer| {
        while let Some(request) = peer.request() {
            let at = request.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.len() - at));
            peer.send(&request[at..]);
        }
    });
    let server = setup(
        &Authority::new("Test"),
        "client_max_body_size 0; location / { proxy_pass https://back/inner/; }
         location /streamed { proxy_request_buffering off; proxy_buffering off;
            proxy_pass https://back/inner/; }",
        "client_max_body_size 0; location /inner { proxy_pass http://%%origin%%; }",
    );
    let server = server.set("origin", origin.address()).start();
    for path in ["/", "/streamed"] {
        let mut client = server.client();
        client.send(format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
        client.send(&body);
        let response = client.response();
        assert_eq!(response.status, 200);
        assert!(response.body == body, "{path}");
    }
}

#[test]
fn websockets_pass() {
    let origin = echo();
    let upgrade = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";
    let server = setup(
        &Authority::new("Test"),
        &format!("location / {{ proxy_pass https://back/inner; {upgrade} }}"),
        &format!("location /inner {{ proxy_pass http://%%origin%%; {upgrade} }}"),
    );
    let server = server.set("origin", origin.address()).start();
    let mut socket = WebSocket::open(server.client(), "/chat");
    for frame in [Frame::text("hello"), Frame::binary(vec![7; 200_000])] {
        socket.send(&frame);
        assert_eq!(socket.receive(), frame);
    }
    socket.send(&Frame::close());
    assert_eq!(socket.receive(), Frame::close());
}

#[test]
fn subrequests_may_go_over_tls() {
    let server = start(
        "location / { auth_request /auth; mirror /copy; return 200 in; }
         location /page { auth_request /auth; mirror /copy; proxy_pass https://back/; }
         location = /auth { proxy_pass https://back/; }
         location = /copy { proxy_pass https://back/copied; }",
        "access_log back.log; location /copied { return 204; }",
    );
    assert!(said(&server, "/page").starts_with("[] "));
    server.wait_for("back.log", |log| log.contains("GET /copied HTTP/1.1\" 204"));
}

/// A door that is closed stays closed for those who would go on over TLS, and what is under way there
/// is waited for.
#[test]
fn maintenance_counts_what_goes_over_tls() {
    if is_reference() {
        return;
    }
    let held = Held::new();
    let back =
        setup(&Authority::new("Test"), "", "location /held { proxy_pass http://%%origin%%; }");
    let back = back.set("origin", held.origin.address()).start();
    let front = "server { listen %%listen%%; location / { proxy_pass https://%%back%%/held; } }";
    let front = Setup::http(front).set("back", back.address_of("listen_back")).start();
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    held.has_come();
    let ask = |path: &str, terms: &Value| {
        let (status, lines) = front.ask_control("POST", path, &terms.to_string());
        assert_eq!(status, 200);
        lines.rest()
    };
    ask("/1/proxyd/maintenance/default", &json!({ "state": "closed" }));
    assert_eq!(front.get("/").status, 503);
    let proof = |timeout: u32| -> Value {
        let said = ask("/1/proxyd/barrier/default", &json!({ "timeout_ms": timeout }));
        serde_json::from_str(&said).expect("a document")
    };
    assert_eq!(proof(200)["inflight"]["write"], json!(1));
    held.answer(OK);
    assert_eq!(client.response().status, 200);
    assert_eq!(proof(5000)["clean"], json!(true));
}

#[test]
fn health_is_asked_over_tls() {
    if is_reference() {
        return;
    }
    let groups = "upstream well { zone well 64k; server %%listen_back%%; }
        upstream other { zone other 64k; server %%listen_back%%; }";
    let front = "location / { proxy_pass https://well; health_check mandatory; }
        location /other { proxy_pass https://other; proxy_ssl_verify on; proxy_ssl_name other.test;
            health_check; }";
    let setup = Setup::http(&format!("{groups} {}", text(front, "")));
    let authority = Authority::new("Test");
    let setup = setup.file("ca.pem", authority.pem());
    let server = authority.issue("back.test").install(setup, "back").start();
    let well = server.logged("of upstream \"well\" is healthy");
    assert!(well.contains("[notice]"), "{well}");
    assert!(said(&server, "/").starts_with("[] "));
    server.logged(
        "of upstream \"other\" is unhealthy: upstream SSL certificate does not match \"other.test\"",
    );
}

#[test]
fn what_cannot_be_used_is_told_at_once() {
    let authority = Authority::new("Test");
    let cases = [
        (
            "proxy_ssl_verify on; proxy_ssl_trusted_certificate '';",
            "no proxy_ssl_trusted_certificate for proxy_ssl_verify",
        ),
        (
            "proxy_ssl_verify on; proxy_ssl_trusted_certificate none.pem;",
            "none.pem\": open() failed (2: No such file or directory)",
        ),
        ("proxy_ssl_verify on; proxy_ssl_crl ca.pem;", "cannot load CRL \"ca.pem\""),
        (
            "proxy_ssl_certificate back.pem;",
            "no \"proxy_ssl_certificate_key\" is defined for certificate \"back.pem\"",
        ),
        (
            "proxy_ssl_certificate ca.pem; proxy_ssl_certificate_key back.key;",
            "key values mismatch",
        ),
        ("proxy_ssl_ciphers RC4;", "nothing in \"RC4\" is supported"),
        ("proxy_ssl_protocols SSLv3;", "none of these versions is supported"),
        (
            "proxy_ssl_conf_command Options KTLS;",
            "\"proxy_ssl_conf_command Options\" is not supported yet",
        ),
        ("proxy_ssl_key_log keys.log;", "\"proxy_ssl_key_log\" directive is not supported yet"),
    ];
    for (lines, expected) in cases {
        let front = format!("location / {{ {lines} proxy_pass https://back; }}");
        let outcome = setup(&authority, &front, "").run(&["-t"]);
        let text = outcome.messages;
        assert!(outcome.code == Some(1) && text.contains(expected), "{lines}: {text}");
        // Where nothing goes over TLS nobody reads the files.
        let plain = format!("location / {{ {lines} proxy_pass http://back; }}");
        let outcome = setup(&authority, &plain, "").run(&["-t"]);
        let read = lines.contains("certificate") || lines.contains("crl");
        assert!(!read || outcome.code == Some(0), "{lines}: {}", outcome.messages);
    }
}
