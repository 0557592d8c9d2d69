//! What stands for a directory.

use crate::support::{Response, Server, Setup, Site};

fn server(inside: &str) -> Server {
    let setup = Setup::http(&format!("server {{ listen %%listen%%; {inside} }}"));
    setup
        .file("html/d/one.txt", "1234")
        .file("html/d/two & <3>", "2")
        .file("html/d/.hidden", "")
        .file("html/d/sub/x", "")
        .start()
}

fn get(server: &Site, path: &str) -> Response {
    server.get(path)
}

#[test]
fn a_directory_is_listed_when_it_may_be() {
    let server = server(
        "autoindex on;
        location /json/ { alias html/d/; autoindex_format json; }
        location /jsonp/ { alias html/d/; autoindex_format jsonp; }
        location /xml/ { alias html/d/; autoindex_format xml; }
        location /off/ { alias html/d/; autoindex off; }",
    );
    let page = get(&server, "/d/");
    assert_eq!((page.status, page.header("Content-Type")), (200, Some("text/html")));
    assert_eq!(page.header("Transfer-Encoding"), Some("chunked"));
    let text = page.text();
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in {text}"));
    assert!(at("<a href=\"sub/\">sub/</a>") < at("<a href=\"one.txt\">one.txt</a>"));
    assert!(
        at("<a href=\"one.txt\">") < at("<a href=\"two%20%26%20%3C3%3E\">two &amp; &lt;3&gt;</a>")
    );
    assert!(!text.contains("hidden"));
    let json = get(&server, "/json/");
    assert_eq!(json.header("Content-Type"), Some("application/json"));
    let list: serde_json::Value = serde_json::from_slice(&json.body).expect("a document");
    assert_eq!((&list[0]["type"], &list[1]["size"]), (&"directory".into(), &4.into()));
    let script = get(&server, "/jsonp/?callback=a.b");
    assert_eq!(script.header("Content-Type"), Some("application/javascript"));
    assert!(script.text().starts_with("/* callback */\r\na.b([\r\n{ \"name\":\"sub\""));
    assert_eq!(get(&server, "/jsonp/?callback=a(b").status, 400);
    assert_eq!(get(&server, "/jsonp/").header("Content-Type"), Some("application/json"));
    let xml = get(&server, "/xml/");
    assert_eq!(xml.header("Content-Type"), Some("text/xml; charset=utf-8"));
    assert!(xml.text().contains("</directory>\r\n<file mtime=\""));
    assert_eq!(get(&server, "/off/").status, 403);
    assert_eq!(get(&server, "/none/").status, 404);
    let post = "POST /d/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(server.request(post).status, 403);
}

#[test]
fn any_file_may_stand_for_its_directory() {
    let server = server("location / { random_index on; } location /d/sub/ { random_index on; }");
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2 {
        let answer = get(&server, "/d/");
        assert_eq!(answer.status, 200);
        seen.insert(answer.text());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["1234", "2"]);
}

#[test]
fn a_pixel_is_a_gif() {
    let server = server(
        "location /p { empty_gif; } location /e { empty_gif; deny all; error_page 403 =204 /d/one.txt; }",
    );
    let pixel = get(&server, "/p");
    assert_eq!(
        (pixel.status, pixel.header("Content-Type"), pixel.body.len()),
        (200, Some("image/gif"), 43)
    );
    assert_eq!(pixel.header("Last-Modified"), Some("Mon, 28 Sep 1970 06:00:00 GMT"));
    let post = "POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(server.request(post).status, 405);
}
