//! brotli and zstd: the same as gzip, and which of them a client gets.

use super::{accepting, page, site};
use crate::support::is_reference;

#[test]
fn a_client_that_accepts_several_gets_the_best() {
    if is_reference() {
        // These are modules of others.
        return;
    }
    let server =
        site("gzip on; brotli on; zstd on; gzip_vary on; location /gzip { zstd off; alias html; }")
            .file("html/page.html.br", b"not asked for")
            .start();
    let coding = |codings: &str| {
        let answer = accepting(&server, "/page.html", codings);
        assert_eq!(answer.header("Vary"), Some("Accept-Encoding"), "{codings}");
        answer.header("Content-Encoding").map(str::to_owned)
    };
    assert_eq!(coding("gzip, br, zstd").as_deref(), Some("zstd"));
    assert_eq!(coding("gzip, br;q=0.1, zstd;q=0").as_deref(), Some("br"));
    assert_eq!(coding("gzip, brx").as_deref(), Some("gzip"));
    assert_eq!(coding("identity").as_deref(), None);

    let packed = accepting(&server, "/page.html", "zstd");
    assert!(packed.header("ETag").is_some_and(|tag| tag.starts_with("W/")));
    let text = zstd::stream::decode_all(&packed.body[..]).expect("zstd");
    assert_eq!(String::from_utf8(text).expect("text"), page());
    let packed = accepting(&server, "/page.html", "br").body;
    let mut text = Vec::new();
    brotli::BrotliDecompress(&mut &packed[..], &mut text).expect("brotli");
    assert_eq!(String::from_utf8(text).expect("text"), page());
    let other = accepting(&server, "/gzip/page.html", "gzip, zstd");
    assert_eq!(other.header("Content-Encoding"), Some("gzip"));
}

#[test]
fn compressed_files_of_every_coding_are_found() {
    if is_reference() {
        return;
    }
    let server = site("gzip_static on; brotli_static on; zstd_static on;")
        .file("html/page.html.gz", "gz")
        .file("html/page.html.br", "br")
        .file("html/page.html.zst", "zst")
        .file("html/text.txt.br", "br")
        .start();
    let body = |path: &str, codings: &str| accepting(&server, path, codings).text();
    assert_eq!(body("/page.html", "gzip, br, zstd"), "zst");
    assert_eq!(body("/page.html", "gzip, br"), "br");
    assert_eq!(body("/page.html", "gzip"), "gz");
    assert_eq!(body("/text.txt", "gzip, br, zstd"), "br");
    assert_eq!(body("/text.txt", "gzip"), page());
}
