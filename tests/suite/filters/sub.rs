//! `sub_filter`: texts replaced, wherever the pieces of a body end.

use super::{site, with};
use crate::support::Origin;

#[test]
fn texts_are_replaced_in_files_and_answers() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\
                Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"x\"\r\n\r\n";
    let origin =
        Origin::answering(format!("{head}5\r\n<p>ol\r\n4\r\nd OL\r\n6\r\nD</p>o\r\n0\r\n\r\n"));
    let server = site(&format!(
        "sub_filter old new$arg_a; sub_filter '</p>' '<br>'; sub_filter_once off; \
         location / {{ }} \
         location /origin {{ proxy_pass http://{0}; }} \
         location /once {{ sub_filter_once on; sub_filter_last_modified on; proxy_pass http://{0}; }} \
         location /other {{ sub_filter $arg_a -; proxy_pass http://{0}; }}",
        origin.address()
    ))
    .file("html/old.html", "<p>the OLD text</p>")
    .file("html/old.txt", "<p>the OLD text</p>")
    .start();
    let file = server.get("/old.html?a=er");
    assert_eq!(file.text(), "<p>the newer text<br>");
    for name in ["Content-Length", "Last-Modified", "ETag", "Accept-Ranges"] {
        assert_eq!(file.header(name), None, "{name}");
    }
    assert_eq!(server.get("/old.txt").text(), "<p>the OLD text</p>");
    let ranged = with(&server, "/old.html", "Range: bytes=0-2\r\n");
    assert_eq!((ranged.status, ranged.text()), (200, "<p>the new text<br>".to_owned()));

    assert_eq!(server.get("/origin").text(), "<p>new new<br>o");
    let once = server.get("/once");
    assert_eq!(once.text(), "<p>new OLD<br>o");
    assert_eq!(once.header("ETag"), Some("W/\"x\""));
    assert!(once.header("Last-Modified").is_some());
    assert_eq!(server.get("/other?a=d%20o").text(), "<p>old OLD</p>o");
    assert_eq!(server.get("/other?a=Ld").text(), "<p>o- O-</p>o");
    assert_eq!(server.get("/other").text(), "<p>old OLD</p>o");
}

#[test]
fn what_is_replaced_can_be_compressed() {
    let server = site("sub_filter page book; sub_filter_once off; gzip on;").start();
    let text = super::text(&super::accepting(&server, "/page.html", "gzip"));
    assert_eq!(text, super::page().replace("page", "book"));
}
