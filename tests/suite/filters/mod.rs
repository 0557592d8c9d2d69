//! Bodies that are changed on their way to the client.

mod charset;
mod codings;
mod gzip;
mod precompressed;
mod sub;

use crate::support::{Response, Server, Setup};
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};

/// A server whose directory has a page of some length.
fn site(inside: &str) -> Setup {
    Setup::http(&format!(
        "log_format ratio $gzip_ratio; types {{ text/html html; text/plain txt; }} \
         server {{ listen %%listen%%; server_name localhost; {inside} }}"
    ))
    .file("html/page.html", page())
    .file("html/short.html", "19 bytes are short.")
    .file("html/text.txt", page())
}

/// Compresses well.
fn page() -> String {
    "<p>a line of the page</p>\n".repeat(2000)
}

/// Asks with `Accept-Encoding`.
fn accepting(server: &Server, path: &str, codings: &str) -> Response {
    with(server, path, &format!("Accept-Encoding: {codings}\r\n"))
}

/// Asks with further header lines.
fn with(server: &Server, path: &str, lines: &str) -> Response {
    server.request(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n"
    ))
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let config = DeflateConfig { window_bits: 31, ..DeflateConfig::default() };
    let mut out = vec![0; text.len() + 100];
    let mut stream = Deflate::new_with_config(config);
    let status = stream.compress(text, &mut out, DeflateFlush::Finish).expect("compressed");
    assert_eq!(status, Status::StreamEnd);
    out.truncate(usize::try_from(stream.total_out()).expect("a length"));
    out
}

/// What a gzip body has so far, and whether that is all.
fn gunzip(packed: &[u8]) -> (Vec<u8>, bool) {
    let mut out = vec![0; 1 << 20];
    let mut stream = Inflate::new(true, 31);
    let status = stream.decompress(packed, &mut out, InflateFlush::NoFlush).expect("restored");
    out.truncate(usize::try_from(stream.total_out()).expect("a length"));
    (out, status == Status::StreamEnd)
}

/// The text of an answer in gzip.
fn text(answer: &Response) -> String {
    assert_eq!(answer.header("Content-Encoding"), Some("gzip"), "{:?}", answer.headers);
    assert!(answer.complete);
    let (text, whole) = gunzip(&answer.body);
    assert!(whole);
    String::from_utf8(text).expect("text")
}
