//! Files that lie beside others in a compressed form.

use super::{accepting, gzip, page, site, text, with};
use crate::support::{Setup, is_reference};

fn files(inside: &str) -> Setup {
    site(inside).file("html/page.html.gz", gzip(page().as_bytes()))
}

#[test]
fn a_compressed_file_is_sent_to_who_accepts_it() {
    if is_reference() {
        // The module is not part of nginx's default build.
        return;
    }
    let server = files("gzip_static on; gzip_vary on;").start();
    let plain = server.get("/page.html");
    assert_eq!((plain.text(), plain.header("Vary")), (page(), Some("Accept-Encoding")));
    let packed = accepting(&server, "/page.html", "gzip");
    assert_eq!(text(&packed), page());
    assert_eq!(packed.header("Content-Type"), Some("text/html"));
    assert_eq!(packed.header("Content-Length"), Some(&*packed.body.len().to_string()));
    assert_eq!(packed.header("Vary"), Some("Accept-Encoding"));
    let tag = packed.header("ETag").expect("a tag");
    assert!(tag.starts_with('"') && Some(tag) != plain.header("ETag"), "{tag}");
    let part = with(&server, "/page.html", "Accept-Encoding: gzip\r\nRange: bytes=0-1\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &packed.body[..2]));
    assert_eq!(accepting(&server, "/text.txt", "gzip").text(), page());
    assert_eq!(accepting(&server, "/none", "gzip").status, 404);
}

#[test]
fn always_means_everybody() {
    if is_reference() {
        return;
    }
    let server = files("gzip_static always; location /undone { gunzip on; alias html/page.html; }");
    let server = server.start();
    assert_eq!(text(&server.get("/page.html")), page());
    let undone = server.get("/undone");
    assert_eq!((undone.text(), undone.header("Content-Encoding")), (page(), None));
    assert_eq!(server.request("POST /page.html HTTP/1.0\r\n\r\n").status, 405);
}
