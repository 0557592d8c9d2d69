//! Who is let in: by address, by method, and what the others get.

use crate::support::{Server, Setup};

fn server(inside: &str) -> Server {
    let server = format!("server {{ listen %%listen%%; server_name localhost; {inside} }}");
    Setup::http(&server).file("html/named.html", "named\n").start()
}

fn status(server: &Server, method: &str, path: &str) -> u16 {
    let request = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    server.request(request).status
}

#[test]
fn a_denied_client_gets_403_and_a_log_line() {
    let server = server(
        "location /out { deny 127.0.0.0/8; }
        location /in { allow 127.0.0.1; deny all; return 200 in; }
        location /page { deny all; error_page 403 /named.html; }
        location = /named.html { allow all; }
        location /any { satisfy any; allow 127.0.0.1; deny all; try_files /named.html =404; }",
    );
    assert_eq!(status(&server, "GET", "/out"), 403);
    // What rewrite directives answer is answered before anybody is asked for leave.
    assert_eq!(status(&server, "GET", "/in"), 200);
    let page = server.get("/page");
    assert_eq!((page.status, page.text().as_str()), (403, "named\n"));
    assert_eq!(server.get("/any").text(), "named\n");
    assert_eq!(
        server.error_log().matches("access forbidden by rule, client: 127.0.0.1").count(),
        2
    );
}

#[test]
fn methods_that_are_not_excepted_meet_other_rules() {
    let server = server(
        "location /files/ { limit_except GET { deny all; } alias html/; }
        location /answer { limit_except GET POST { allow all; } return 200 ok; }",
    );
    for (method, path, expected) in [
        ("GET", "/files/named.html", 200),
        ("HEAD", "/files/named.html", 200),
        ("POST", "/files/named.html", 403),
        ("FOO", "/files/named.html", 403),
        ("POST", "/answer", 200),
        // `return` stands outside of the block that applies.
        ("DELETE", "/answer", 405),
    ] {
        assert_eq!(status(&server, method, path), expected, "{method} {path}");
    }
}
