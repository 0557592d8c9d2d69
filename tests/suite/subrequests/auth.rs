//! `auth_request`: whose word counts, and what is heard of it.

use super::{server, setup};
use crate::support::{Origin, Setup, is_reference};

#[test]
fn the_answer_of_a_subrequest_says_who_may_pass() {
    let server = server(
        "location /open { auth_request /204; alias html/page.html; }
        location /file { auth_request /auth.html; alias html/page.html; }
        location /off { auth_request off; alias html/page.html; }
        location /401 { auth_request /challenge; }
        location /403 { auth_request /forbidden; }
        location /404 { auth_request /missing; }
        location /302 { auth_request /elsewhere; }
        location /rescued { auth_request /rescue; alias html/page.html; }
        location = /204 { internal; return 204; }
        location = /challenge { add_header WWW-Authenticate hidden; return 401; }
        location = /forbidden { return 403; }
        location = /elsewhere { return 302 /; }
        location = /rescue { error_page 404 =200 /auth.html; return 404; }",
    );
    for (path, status) in [
        ("/open", 200),
        ("/file", 200),
        ("/off", 200),
        ("/401", 401),
        ("/403", 403),
        ("/404", 500),
        ("/302", 500),
        ("/rescued", 200),
    ] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
    assert_eq!(server.get("/204").status, 404);
    let log = server.error_log();
    for status in [404, 302] {
        let sentence = format!("auth request unexpected status: {status}");
        assert_eq!(log.matches(&sentence).count(), 1, "{log}");
    }
    assert!(log.contains("/missing\" failed (2: No such file or directory), client: 127.0.0.1"));
    assert!(
        log.contains("request: \"GET /404 HTTP/1.1\", subrequest: \"/missing\", host:"),
        "{log}"
    );
}

#[test]
fn the_challenges_of_who_was_asked_reach_the_client() {
    let origin = Origin::answering(
        "HTTP/1.1 401 No\r\nWWW-Authenticate: One\r\nX-Other: x\r\nWWW-Authenticate: Two\r\n\
         Content-Length: 2\r\n\r\nno",
    );
    let server = Setup::http(
        "upstream u { server %%origin%%; keepalive 1; }
        server { listen %%listen%%; location / { auth_request /ask; }
            location = /ask { proxy_pass http://u; } }",
    )
    .set("origin", origin.address())
    .start();
    for _ in 0..3 {
        let answer = server.get("/x?y");
        assert_eq!(answer.status, 401);
        assert_eq!(answer.all("WWW-Authenticate"), ["One", "Two"]);
        assert_eq!(answer.header("X-Other"), None);
        let asked = origin.received();
        assert!(asked.starts_with("GET /ask HTTP/1.1\r\n"), "{asked}");
    }
    if !is_reference() {
        assert_eq!(origin.connections(), 1, "a short body that came with its head is passed over");
    }
}

#[test]
fn the_body_of_the_request_is_not_for_who_is_asked() {
    let asked = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let server = setup(
        "location / { auth_request /ask; proxy_pass http://%%origin%%; }
        location = /ask { proxy_pass http://%%asked%%; proxy_set_header X-Method $request_method;
            proxy_set_header X-Uri $request_uri; proxy_pass_request_body off;
            proxy_set_header Content-Length ''; }",
    )
    .set("origin", origin.address())
    .set("asked", asked.address())
    .start();
    let mut client = server.client();
    for _ in 0..2 {
        client.send("POST /a?b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.response().text(), "ok");
        let head = asked.received();
        assert!(head.starts_with("GET /ask HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("X-Method: POST\r\n") && head.contains("X-Uri: /a?b\r\n"), "{head}");
        assert!(!head.contains("Content-Length") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(origin.received().ends_with("\r\n\r\nabc"));
    }
}

#[test]
fn variables_are_taken_from_the_subrequest() {
    let origin = Origin::new(|peer| {
        while let Some(request) = peer.request() {
            let text = String::from_utf8_lossy(&request).into_owned();
            let status = if text.contains("/no") { "403 No" } else { "200 OK" };
            peer.send(format!("HTTP/1.1 {status}\r\nX-User: ann\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let server = Setup::http(
        "log_format sub '$uri:$status:$request_uri'; access_log sub.log sub;
        map $arg_who $mapped { default $uri; }
        server { listen %%listen%%; server_name localhost;
            set $own main;
            location /a { auth_request /yes; auth_request_set $user $upstream_http_x_user;
                auth_request_set $asked $uri; add_header X-Own $own; add_header X-Mapped $mapped;
                add_header X-User $user; add_header X-Asked $asked; alias html/page.html; }
            location /denied { auth_request /no; auth_request_set $user $upstream_http_x_user;
                auth_request_set $code $upstream_status; error_page 403 = @denied; }
            location @denied { add_header X-User $user; add_header X-Code $code; return 200 said; }
            location /yes { log_subrequest on; set $own sub$mapped; proxy_pass http://%%origin%%; }
            location /no { proxy_pass http://%%origin%%; }
        }",
    )
    .set("origin", origin.address())
    .file("html/page.html", "page\n")
    .start();
    let answer = server.get("/a");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("X-User"), Some("ann"));
    assert_eq!(answer.header("X-Asked"), Some("/yes"));
    // Both see the same values, whoever has set them.
    assert_eq!(answer.header("X-Own"), Some("sub/yes"));
    assert_eq!(answer.header("X-Mapped"), Some("/yes"));
    let answer = server.get("/denied");
    assert_eq!((answer.status, answer.text().as_str()), (200, "said"));
    assert_eq!((answer.header("X-User"), answer.header("X-Code")), (Some("ann"), Some("403")));
    let log = server.wait_for("sub.log", |log| log.lines().count() >= 3);
    assert_eq!(log, "/yes:200:/a\n/a:200:/a\n/denied:200:/denied\n");
}

#[test]
fn satisfy_weighs_it_with_addresses() {
    let server = server(
        "location /any { satisfy any; deny all; auth_request /204; alias html/page.html; }
        location /all { satisfy all; deny all; auth_request /204; alias html/page.html; }
        location /neither { satisfy any; deny all; auth_request /403; }
        location /address { satisfy any; allow all; auth_request /403; alias html/page.html; }
        location = /204 { return 204; }
        location = /403 { return 403; }",
    );
    for (path, status) in [("/any", 200), ("/all", 403), ("/neither", 403), ("/address", 200)] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
    assert_eq!(server.error_log().matches("access forbidden by rule").count(), 2);
}
