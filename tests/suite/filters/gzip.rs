//! gzip: which answers are compressed, what their heads say, and the way back.

use super::{accepting, gunzip, gzip, page, site, text, with};
use crate::support::{Origin, is_reference};
use std::sync::Mutex;
use std::sync::mpsc::channel;

#[test]
fn a_file_is_compressed_for_who_accepts_it() {
    let server = site("gzip on; gzip_vary on;").start();
    let plain = server.get("/page.html");
    assert_eq!(plain.text(), page());
    assert_eq!(plain.header("Accept-Ranges"), Some("bytes"));
    assert_eq!(plain.header("Vary"), Some("Accept-Encoding"));
    let tag = plain.header("ETag").expect("a tag").to_owned();

    let packed = accepting(&server, "/page.html", "br, gzip;q=0.5");
    assert_eq!(text(&packed), page());
    assert!(packed.body.len() < page().len() / 4);
    assert_eq!(packed.header("ETag"), Some(&*format!("W/{tag}")));
    assert_eq!(packed.header("Vary"), Some("Accept-Encoding"));
    assert_eq!(packed.header("Last-Modified"), plain.header("Last-Modified"));
    assert!(packed.header("Content-Length").is_none() && packed.header("Accept-Ranges").is_none());

    for path in ["/short.html", "/text.txt"] {
        let answer = accepting(&server, path, "gzip");
        assert_eq!(answer.header("Content-Encoding"), None, "{path}");
        assert_eq!(answer.header("Vary"), None, "{path}");
    }
    assert_eq!(accepting(&server, "/page.html", "gzip;q=0").text(), page());
    let ranged = with(&server, "/page.html", "Accept-Encoding: gzip\r\nRange: bytes=0-9\r\n");
    assert_eq!((ranged.status, text(&ranged)), (200, page()));
    let tagged = format!("Accept-Encoding: gzip\r\nIf-None-Match: W/{tag}\r\n");
    let unchanged = with(&server, "/page.html", &tagged);
    assert_eq!((unchanged.status, unchanged.header("Content-Encoding")), (304, None));
    assert_eq!(unchanged.header("ETag"), Some(&*tag));
}

#[test]
fn the_head_of_a_compressed_answer() {
    let server = site("gzip on;").start();
    let mut client = server.client();
    client.send("HEAD /page.html HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = client.response_head();
    assert_eq!(head.header("Content-Encoding"), Some("gzip"));
    assert!(head.header("Content-Length").is_none() && head.header("Transfer-Encoding").is_none());
    client.send("GET /page.html HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_eq!(text(&client.response()), page());
    // Without chunks the end of the connection is the end.
    let old = "GET /page.html HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n";
    assert_eq!(server.request(old).text(), page());
    let server = site("gzip on; gzip_http_version 1.0;").start();
    assert_eq!(gunzip(&server.request(old).body), (page().into_bytes(), true));
}

#[test]
fn answers_of_every_origin_are_compressed() {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: \"x\"\r\nAccept-Ranges: bytes\r\n";
    let page = page();
    let whole = Origin::answering(format!("{head}Content-Length: {}\r\n\r\n{page}", page.len()));
    let encoded = Origin::answering(format!(
        "{head}Content-Encoding: x\r\nContent-Length: 30\r\n\r\n{:30}",
        ""
    ));
    let server = site(&format!(
        "gzip on; access_log ratio.log ratio; \
         location /whole {{ proxy_pass http://{}; }} \
         location /encoded {{ proxy_pass http://{}; }} \
         location /text {{ default_type text/html; return 200 \"a text that is long enough\"; }} \
         location /other {{ return 201 \"a text that is long enough\"; }}",
        whole.address(),
        encoded.address(),
    ))
    .start();
    let answer = accepting(&server, "/whole", "gzip");
    assert_eq!(text(&answer), page);
    assert_eq!((answer.header("ETag"), answer.header("Accept-Ranges")), (Some("W/\"x\""), None));
    let ratio = format!("{}.", page.len() / answer.body.len());
    let log = server.wait_for("ratio.log", |log| log.starts_with(&ratio));
    assert_eq!(log.lines().next().map(str::len), Some(ratio.len() + 2), "{log}");
    assert_eq!(accepting(&server, "/encoded", "gzip").header("Content-Encoding"), Some("x"));
    assert_eq!(text(&accepting(&server, "/text", "gzip")), "a text that is long enough");
    assert!(text(&accepting(&server, "/none", "gzip")).contains("404 Not Found"));
    assert_eq!(accepting(&server, "/other", "gzip").header("Content-Encoding"), None);
    server.wait_for("ratio.log", |log| log.lines().nth(1) == Some("-"));
}

#[test]
fn what_comes_slowly_goes_on_at_once_without_buffering() {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let origin = Origin::new(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nfirst");
        wait.lock().expect("a lock").recv().expect("a word");
        peer.send(" second");
    });
    let server = site(&format!(
        "gzip on; location / {{ proxy_pass http://{}; proxy_buffering off; }}",
        origin.address()
    ))
    .start();
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n");
    client.response_head();
    // A chunk's length, and what a flush has brought out.
    let mut packed = Vec::new();
    while gunzip(&packed).0 != b"first" {
        let line = client.read_through(b"\r\n");
        let line = String::from_utf8(line).expect("a length");
        let length = usize::from_str_radix(line.trim(), 16).expect("a length");
        packed.extend_from_slice(&client.read_exactly(length));
        client.read_exactly(2);
    }
    go.send(()).expect("a word");
    client.read_to_end();
}

#[test]
fn gzip_is_undone_for_who_does_not_accept_it() {
    let packed = gzip(page().as_bytes());
    let answer = |body: &[u8]| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\
             ETag: \"x\"\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Origin::answering([head.as_bytes(), body].concat())
    };
    let (whole, cut) = (answer(&packed), answer(&packed[..packed.len() - 9]));
    if is_reference() {
        // The module is not part of nginx's default build.
        return;
    }
    let server = site(&format!(
        "gunzip on; gzip_vary on; location / {{ proxy_pass http://{}; }} \
         location /cut {{ proxy_pass http://{}; }}",
        whole.address(),
        cut.address()
    ))
    .start();
    let plain = server.get("/");
    assert_eq!((plain.text(), plain.header("Content-Encoding")), (page(), None));
    assert_eq!(plain.header("ETag"), Some("W/\"x\""));
    assert_eq!(plain.header("Vary"), Some("Accept-Encoding"));
    let same = accepting(&server, "/", "gzip");
    assert_eq!((same.body, same.headers.len()), (packed, plain.headers.len() + 1));
    assert!(!server.get("/cut").complete);
    server.logged("inflate() returned -5 on response end");
}
