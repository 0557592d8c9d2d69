//! `charset`: what is said of it, and bodies recoded.

use super::with;
use crate::support::{Origin, Server, Setup};

const MAPS: &str = "charset_map a b { 80 C0; 81 C1; } charset_map A utf-8 { 80 D0B6; 81 E282AC; }";

fn site(inside: &str) -> Server {
    Setup::http(&format!(
        "types {{ text/html html; image/gif gif; }} {MAPS} \
         server {{ listen %%listen%%; server_name localhost; {inside} }}"
    ))
    .file("html/a.html", b"x\x80y\x81z")
    .file("html/u.html", "xжy€z\u{1f600}\u{ff}".as_bytes())
    .file("html/image.gif", "gif")
    .start()
}

#[test]
fn a_charset_is_named() {
    let server =
        site("charset koi8-r; location = /m { return 301 /; } location = /none { charset off; }");
    let content_type = |path: &str| server.get(path).header("Content-Type").map(str::to_owned);
    assert_eq!(content_type("/a.html").as_deref(), Some("text/html; charset=koi8-r"));
    assert_eq!(content_type("/image.gif").as_deref(), Some("image/gif"));
    assert_eq!(content_type("/missing").as_deref(), Some("text/html; charset=koi8-r"));
    assert_eq!(content_type("/m").as_deref(), Some("text/html"));
    assert_eq!(content_type("/none").as_deref(), Some("text/html"));
}

#[test]
fn bodies_are_recoded() {
    let server = site("source_charset $arg_from; charset $arg_to;");
    let whole = server.get("/a.html?from=a&to=B");
    assert_eq!(whole.body, b"x\xc0y\xc1z");
    assert_eq!(whole.header("Content-Type"), Some("text/html; charset=B"));
    assert_eq!(whole.header("Content-Length"), Some("5"));
    let part = with(&server, "/a.html?from=a&to=b", "Range: bytes=1-2\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &b"\xc0y"[..]));
    let parts = with(&server, "/a.html?from=a&to=b", "Range: bytes=1-1,3-3\r\n").body;
    assert!(parts.contains(&0xc0) && parts.contains(&0xc1) && !parts.contains(&0x80));

    let wide = server.get("/a.html?from=a&to=utf-8");
    assert_eq!((wide.text(), wide.header("Content-Length")), ("xжy€z".to_owned(), None));
    assert_eq!(server.get("/u.html?from=utf-8&to=a").body, b"x\x80y\x81z&#128512;&#255;");

    assert_eq!(server.get("/a.html?from=c&to=a").body, b"x\x80y\x81z");
    server.logged("no \"charset_map\" between the charsets \"c\" and \"a\"");
}

#[test]
fn an_upstream_s_charset_is_recoded_if_it_shall() {
    let origin = |fields: &str| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{fields}\r\n\r\n");
        Origin::answering([head.as_bytes(), b"\x80"].concat())
    };
    let named = origin("Content-Type: text/html; charset=a");
    let asked = origin("Content-Type: text/html\r\nX-Accel-Charset: b");
    let server = site(&format!(
        "charset b; location / {{ proxy_pass http://{0}; }} \
         location /over {{ override_charset on; proxy_pass http://{0}; }} \
         location /asked {{ charset off; source_charset a; proxy_pass http://{1}; }} \
         location /ignored {{ charset off; proxy_ignore_headers X-Accel-Charset; proxy_pass http://{1}; }}",
        named.address(),
        asked.address()
    ));
    let get = |path: &str| {
        let answer = server.get(path);
        (answer.header("Content-Type").map(str::to_owned), answer.body)
    };
    let said = |text: &str, byte: u8| (Some(text.to_owned()), vec![byte]);
    assert_eq!(get("/"), said("text/html; charset=a", 0x80));
    assert_eq!(get("/over"), said("text/html; charset=b", 0xc0));
    assert_eq!(get("/asked"), said("text/html; charset=b", 0xc0));
    assert_eq!(get("/ignored"), said("text/html", 0x80));
}
