//! Header fields towards the upstream and back.

use super::{EMPTY, proxy};
use crate::support::is_reference;
use crate::support::{Origin, Server, Setup};

fn received_with(lines: &str, request: &str) -> (String, String) {
    let origin = Origin::answering(EMPTY);
    let server = proxy(&origin, lines);
    let answer = server.request(request);
    assert_eq!(answer.status, 200, "{answer:?}");
    (origin.received(), origin.address().to_string())
}

#[test]
fn hop_by_hop_fields_stay_here_and_the_rest_goes_on_as_spelled() {
    let (received, address) = received_with(
        "",
        "GET /a/../b//c%2fd?e=f HTTP/1.1\r\nHost: localhost\r\nConnection: close, X-Named\r\n\
         Keep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: h2c\r\n\
         Proxy-Connection: close\r\nX-Named: kept\r\nx-MIXED-case: v\r\nX-Twice: 1\r\nX-Twice: 2\r\n\
         Cookie: a=b\r\nAccept-Encoding: gzip\r\n\r\n",
    );
    // nginx passes on what `Connection` names.
    let named = if is_reference() { "X-Named: kept\r\n" } else { "" };
    let expected = format!(
        "GET /a/../b//c%2fd?e=f HTTP/1.1\r\nHost: {address}\r\n\
         {named}x-MIXED-case: v\r\nX-Twice: 1\r\nX-Twice: 2\r\nCookie: a=b\r\n\
         Accept-Encoding: gzip\r\n\r\n"
    );
    assert_eq!(received, expected);
}

#[test]
fn set_headers_come_first_and_empty_ones_remove() {
    let (received, _) = received_with(
        "proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr; \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
         proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Accept-Encoding '';",
        "GET / HTTP/1.1\r\nHost: Name.Example:8080\r\nConnection: close\r\n\
         X-Forwarded-For: 10.0.0.1\r\nAccept-Encoding: gzip\r\nX-Real-IP: forged\r\n\r\n",
    );
    let expected = "GET / HTTP/1.1\r\nHost: name.example\r\nX-Real-IP: 127.0.0.1\r\n\
                    X-Forwarded-For: 10.0.0.1, 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\r\n";
    assert_eq!(received, expected);
}

#[test]
fn http_host_is_what_the_client_sent() {
    let (received, _) = received_with(
        "proxy_set_header Host $http_host;",
        "GET / HTTP/1.1\r\nHost: Name.Example:8080\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(received, "GET / HTTP/1.1\r\nHost: Name.Example:8080\r\n\r\n");
}

#[test]
fn version_1_0_is_asked_for() {
    let origin = Origin::answering_once("HTTP/1.0 200 OK\r\n\r\nok");
    let server = proxy(&origin, "proxy_http_version 1.0;");
    assert_eq!(server.get("/").text(), "ok");
    let expected = format!("GET / HTTP/1.0\r\nHost: {}\r\n\r\n", origin.address());
    assert_eq!(origin.received(), expected);
}

#[test]
fn method_and_body_can_be_set() {
    let (received, address) = received_with(
        "proxy_method POST; proxy_set_body \"uri=$uri\"; proxy_set_header X-A b;",
        "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    let expected =
        format!("POST /x HTTP/1.1\r\nHost: {address}\r\nX-A: b\r\nContent-Length: 6\r\n\r\nuri=/x");
    assert_eq!(received, expected);
}

/// Each location, the path asked for, and the path the upstream gets.
const PATHS: [(&str, &str, &str); 9] = [
    ("location /a/ { proxy_pass http://%%origin%%; }", "/a/x%20y?q", "/a/x%20y?q"),
    ("location /b/ { proxy_pass http://%%origin%%/; }", "/b/x%20y?q=%20", "/x%20y?q=%20"),
    ("location /c/ { proxy_pass http://%%origin%%/n; }", "/c/x", "/nx"),
    ("location /d { proxy_pass http://%%origin%%/n/; }", "/d/x//y/../z", "/n//x/z"),
    (
        "location ~ ^/e/(.*)$ { proxy_pass http://%%origin%%/n/$1?k=$arg_k; }",
        "/e/x?k=1",
        "/n/x?k=1",
    ),
    (
        "location /f/ { rewrite ^/f/(.*)$ /g/$1 break; proxy_pass http://%%origin%%; }",
        "/f/x?q",
        "/g/x?q",
    ),
    ("location = /h { proxy_pass http://%%origin%%/exact; }", "/h?q", "/exact?q"),
    ("location /i/ { set $to http://%%origin%%; proxy_pass $to; }", "/i/x?q", "/i/x?q"),
    ("location /j/ { proxy_pass http://%%origin%%$request_uri; }", "/j/%61/../b", "/j/%61/../b"),
];

#[test]
fn the_path_follows_proxy_pass() {
    let origin = Origin::answering(EMPTY);
    let locations = PATHS.map(|(location, ..)| location).join(
        "
",
    );
    let server = Setup::http(&format!("server {{ listen %%listen%%; {locations} }}"))
        .set("origin", origin.address())
        .start();
    for (location, asked, passed) in PATHS {
        server.get(asked);
        let received = origin.received();
        let path = received.split(' ').nth(1);
        assert_eq!(path, Some(passed), "{asked} in {location}");
    }
}

fn answered_with(lines: &str, fields: &str) -> (Origin, Server) {
    let origin =
        Origin::answering(format!("HTTP/1.1 302 Found\r\n{fields}Content-Length: 0\r\n\r\n"));
    let server = Setup::http(&format!(
        "server {{ listen %%listen%%; server_name localhost;
           location /in/ {{ proxy_pass http://%%origin%%/out/; {lines} }} }}"
    ))
    .set("origin", origin.address())
    .start();
    (origin, server)
}

#[test]
fn hidden_and_passed_fields() {
    let (_origin, server) = answered_with(
        "proxy_hide_header X-Hidden; proxy_pass_header Date; add_header X-Added $upstream_status always;",
        "Date: yesterday\r\nX-Hidden: 1\r\nX-Shown: 2\r\n",
    );
    let answer = server.get("/in/");
    assert_eq!(answer.header("X-Hidden"), None);
    assert_eq!(answer.header("X-Shown"), Some("2"));
    assert_eq!(answer.header("X-Added"), Some("302"));
    assert_eq!(answer.all("Date"), ["yesterday"]);
}

#[test]
fn a_redirect_of_the_upstream_is_translated() {
    let origin = Origin::new(|peer| {
        let address = peer.address();
        while peer.request().is_some() {
            peer.send(format!(
                "HTTP/1.1 302 Found\r\nLocation: http://{address}/out/x?y\r\nContent-Length: 0\r\n\r\n"
            ));
        }
    });
    let server = Setup::http(
        "server { listen %%listen%%; server_name localhost;
           location /in/ { proxy_pass http://%%origin%%/out/; }
           location /off/ { proxy_pass http://%%origin%%/out/; proxy_redirect off; }
           location /own/ { proxy_pass http://%%origin%%/out/; proxy_redirect ~/out/(.*)$ /mine/$1; } }",
    )
    .set("origin", origin.address())
    .start();
    let host = format!("http://localhost:{}", server.address().port());
    let location = |path: &str| server.get(path).header("Location").map(str::to_owned);
    assert_eq!(location("/in/"), Some(format!("{host}/in/x?y")));
    assert_eq!(location("/off/"), Some(format!("http://{}/out/x?y", origin.address())));
    assert_eq!(location("/own/"), Some(format!("{host}/mine/x?y")));
}

#[test]
fn x_accel_redirect_serves_another_location() {
    let (_origin, server) = {
        let origin = Origin::answering(
            "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /internal/page\r\nSet-Cookie: a=b\r\n\
             X-Own: dropped\r\nContent-Length: 2\r\n\r\nno",
        );
        let server = Setup::http(
            "server { listen %%listen%%;
               location / { proxy_pass http://%%origin%%; }
               location /internal/ { internal; alias html/; } }",
        )
        .set("origin", origin.address())
        .file("html/page", "the page")
        .start();
        (origin, server)
    };
    let answer = server.get("/x");
    assert_eq!((answer.status, answer.text().as_str()), (200, "the page"));
    assert_eq!(answer.header("Set-Cookie"), Some("a=b"));
    assert_eq!(answer.header("X-Own"), None);
    assert_eq!(server.get("/internal/page").status, 404);
}

#[test]
fn intercepted_errors_get_a_page() {
    let origin = Origin::answering("HTTP/1.1 503 Down\r\nContent-Length: 3\r\n\r\nraw");
    let server = Setup::http(
        "server { listen %%listen%%;
           location / { proxy_pass http://%%origin%%; }
           location /own/ { proxy_pass http://%%origin%%; proxy_intercept_errors on; error_page 503 /503.txt; }
           location = /503.txt { } }",
    )
    .set("origin", origin.address())
    .file("html/503.txt", "nice page")
    .start();
    let raw = server.get("/");
    assert_eq!((raw.status_line.as_str(), raw.text().as_str()), ("HTTP/1.1 503 Down", "raw"));
    let own = server.get("/own/");
    assert_eq!(own.status_line, "HTTP/1.1 503 Service Temporarily Unavailable");
    assert_eq!(own.text(), "nice page");
}
