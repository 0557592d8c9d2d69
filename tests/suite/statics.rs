//! Files: which one, which part of it, and whether at all.

use crate::support::{Response, Server, Setup};

const HUNDRED: &str = "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz\
                       0123456789abcdefghijklmnopqr";

fn site(inside: &str) -> Setup {
    Setup::http(&format!("server {{ listen %%listen%%; server_name localhost; {inside} }}"))
        .file("html/file.txt", HUNDRED)
        .file("html/page.html", "<p>page</p>")
        .file("html/dir/index.html", "dir index")
        .file("html/empty/.keep", "")
}

fn plain() -> Server {
    site("types { text/html html; text/plain txt; }").start()
}

/// Asks for the file with further header lines.
fn file_with(server: &Server, lines: &str) -> Response {
    server.request(format!(
        "GET /file.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n"
    ))
}

#[test]
fn a_file_with_its_headers() {
    let server = plain();
    let answer = server.get("/file.txt");
    assert_eq!(answer.text(), HUNDRED);
    let names: Vec<_> = answer.headers.iter().map(|field| field.0.as_str()).collect();
    let expected = [
        "Server",
        "Date",
        "Content-Type",
        "Content-Length",
        "Last-Modified",
        "Connection",
        "ETag",
        "Accept-Ranges",
    ];
    assert_eq!(names, expected);
    assert_eq!(answer.header("Content-Type"), Some("text/plain"));
    assert_eq!(answer.header("Content-Length"), Some("100"));
    assert_eq!(answer.header("Accept-Ranges"), Some("bytes"));
    let etag = answer.header("ETag").expect("a tag");
    assert!(etag.starts_with('"') && etag.ends_with("-64\""), "{etag}");
    assert_eq!(server.get("/page.html").header("Content-Type"), Some("text/html"));
}

#[test]
fn head_of_a_file() {
    let server = plain();
    let mut client = server.client();
    client.send("HEAD /file.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response_head().header("Content-Length"), Some("100"));
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn files_that_are_not_to_be_had() {
    let server = plain();
    let status = |path: &str| server.get(path).status;
    assert_eq!(status("/missing"), 404);
    assert_eq!(status("/file.txt/"), 404);
    assert_eq!(status("/file.txt/x"), 404);
    assert_eq!(status("/empty/"), 403);
    assert_eq!(
        server.request("POST /file.txt HTTP/1.0\r\n\r\n").status_line,
        "HTTP/1.1 405 Not Allowed"
    );
    let log = server.wait_for("error.log", |log| log.contains("is forbidden"));
    let path = server.path("html/missing").display().to_string();
    let expected = format!(
        "open() \"{path}\" failed (2: No such file or directory), client: 127.0.0.1, \
         server: localhost, request: \"GET /missing HTTP/1.1\", host: \"localhost\""
    );
    assert!(log.contains(&expected), "{log}");
    assert!(log.contains("html/empty/\" is forbidden, client: 127.0.0.1"), "{log}");
}

#[test]
fn directories() {
    let server = plain();
    assert_eq!(server.get("/").text(), "index\n");
    assert_eq!(server.get("/dir/").text(), "dir index");
    let moved = server.get("/dir?q");
    let expected = format!("http://localhost:{}/dir/?q", server.address().port());
    assert_eq!((moved.status, moved.header("Location")), (301, Some(expected.as_str())));
}

#[test]
fn redirects_as_told() {
    let server = site("absolute_redirect off;").start();
    assert_eq!(server.get("/dir").header("Location"), Some("/dir/"));
    let server = site("port_in_redirect off; server_name_in_redirect on;").start();
    assert_eq!(server.get("/dir").header("Location"), Some("http://localhost/dir/"));
}

#[test]
fn index_choices() {
    let server = site(
        "index missing.html $arg_name.html /page.html;
         location /other/ { index /dir/index.html; }",
    )
    .file("html/named.html", "named")
    .file("html/other/.keep", "")
    .start();
    assert_eq!(server.get("/?name=named").text(), "named");
    assert_eq!(server.get("/?name=none").text(), "<p>page</p>");
    assert_eq!(server.get("/other/").text(), "dir index");
}

#[test]
fn alias_and_root() {
    let server = site(
        r"location /short/ { alias html/dir/; }
          location ~ ^/cut/(.+)$ { alias html/dir/$1; }
          location /dir2/ { root %%dir%%/second; }
          location = /one { alias html/file.txt; }",
    )
    .file("second/dir2/a", "second a")
    .start();
    assert_eq!(server.get("/short/index.html").text(), "dir index");
    assert_eq!(server.get("/short/").text(), "dir index");
    assert_eq!(server.get("/cut/index.html").text(), "dir index");
    assert_eq!(server.get("/dir2/a").text(), "second a");
    assert_eq!(server.get("/one").text(), HUNDRED);
}

#[test]
fn try_files() {
    let server = site(
        r#"location / { try_files $uri $uri.txt $uri/ /fallback?from=$uri; }
           location = /fallback { return 200 "fallback $args"; }
           location /code/ { try_files $uri =404; }
           location /only/ { try_files $uri /file.txt; }"#,
    )
    .start();
    assert_eq!(server.get("/page.html").text(), "<p>page</p>");
    assert_eq!(server.get("/file").text(), HUNDRED);
    assert_eq!(server.get("/dir").status, 301);
    assert_eq!(server.get("/dir/").text(), "dir index");
    assert_eq!(server.get("/none?q").text(), "fallback from=/none");
    assert_eq!(server.get("/code/none").status, 404);
    assert_eq!(server.get("/only/none").text(), HUNDRED);
}

#[test]
fn single_ranges() {
    let server = plain();
    let rows = [
        ("bytes=0-8", "0-8", "012345678"),
        ("bytes=-10", "90-99", "ijklmnopqr"),
        ("bytes=90-", "90-99", "ijklmnopqr"),
        ("bytes=98-200", "98-99", "qr"),
        ("bytes= 5 - 6 ", "5-6", "56"),
        ("bytes=-200", "0-99", HUNDRED),
    ];
    for (range, covered, body) in rows {
        let answer = file_with(&server, &format!("Range: {range}\r\n"));
        assert_eq!(answer.status_line, "HTTP/1.1 206 Partial Content", "{range}");
        let expected = format!("bytes {covered}/100");
        assert_eq!(answer.header("Content-Range"), Some(expected.as_str()), "{range}");
        assert_eq!(answer.text(), body, "{range}");
    }
}

#[test]
fn ranges_that_cannot_be_had() {
    let server = plain();
    for range in ["bytes=100-", "bytes=,,", "bytes=5-4", "bytes=x", "bytes=-"] {
        let answer = file_with(&server, &format!("Range: {range}\r\n"));
        assert_eq!(answer.status_line, "HTTP/1.1 416 Requested Range Not Satisfiable", "{range}");
        assert_eq!(answer.header("Content-Range"), Some("bytes */100"), "{range}");
    }
    for range in ["lines=1-2", "byte=0-1", "bytes="] {
        assert_eq!(file_with(&server, &format!("Range: {range}\r\n")).status, 200, "{range}");
    }
}

#[test]
fn several_ranges() {
    let server = plain();
    let answer = file_with(&server, "Range: bytes=0-1,98-\r\n");
    assert_eq!(answer.status, 206);
    let kind = answer.header("Content-Type").expect("a type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("a boundary");
    assert_eq!(boundary.len(), 20);
    let expected = format!(
        "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/100\r\n\r\n01\
         \r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 98-99/100\r\n\r\nqr\
         \r\n--{boundary}--\r\n"
    );
    assert_eq!(answer.text(), expected);
    // Asking for more than the whole in pieces gets the whole.
    assert_eq!(file_with(&server, "Range: bytes=0-99,0-99\r\n").status, 200);
    let limited = site("max_ranges 1;").start();
    assert_eq!(file_with(&limited, "Range: bytes=0-1,98-\r\n").status, 200);
    let none = site("max_ranges 0;").start();
    assert_eq!(file_with(&none, "Range: bytes=0-1\r\n").status, 200);
}

#[test]
fn conditions() {
    let server = plain();
    let first = server.get("/file.txt");
    let tag = first.header("ETag").expect("a tag");
    let date = first.header("Last-Modified").expect("a date");
    let old = "Sun, 06 Nov 1994 08:49:37 GMT";
    let rows = [
        (format!("If-None-Match: {tag}\r\n"), 304),
        (format!("If-None-Match: \"x\", {tag}\r\n"), 304),
        (format!("If-None-Match: W/{tag}\r\n"), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200),
        (format!("If-Modified-Since: {date}\r\n"), 304),
        (format!("If-Modified-Since: {old}\r\n"), 200),
        (format!("If-Modified-Since: {date}\r\nIf-None-Match: \"x\"\r\n"), 200),
        (format!("If-Match: {tag}\r\n"), 200),
        ("If-Match: *\r\n".to_owned(), 200),
        ("If-Match: \"x\"\r\n".to_owned(), 412),
        (format!("If-Match: W/{tag}\r\n"), 412),
        (format!("If-Unmodified-Since: {date}\r\n"), 200),
        (format!("If-Unmodified-Since: {old}\r\n"), 412),
        (format!("Range: bytes=0-1\r\nIf-Range: {tag}\r\n"), 206),
        ("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n".to_owned(), 200),
        (format!("Range: bytes=0-1\r\nIf-Range: {date}\r\n"), 206),
        (format!("Range: bytes=0-1\r\nIf-Range: {old}\r\n"), 200),
    ];
    for (lines, status) in rows {
        assert_eq!(file_with(&server, &lines).status, status, "{lines}");
    }
    let unchanged = file_with(&server, &format!("If-None-Match: {tag}\r\n"));
    assert_eq!(unchanged.header("ETag"), Some(tag));
    assert_eq!(unchanged.header("Last-Modified"), Some(date));
    assert_eq!(
        (unchanged.header("Content-Length"), unchanged.header("Content-Type")),
        (None, None)
    );
}

#[test]
fn tags_and_dates_can_be_left_out() {
    let server = site("etag off; location /page.html { if_modified_since off; }").start();
    assert_eq!(server.get("/file.txt").header("ETag"), None);
    let date = server.get("/page.html").header("Last-Modified").map(str::to_owned).expect("a date");
    let request = format!(
        "GET /page.html HTTP/1.1\r\nHost: localhost\r\nIf-Modified-Since: {date}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(server.request(request).status, 200);
}

#[test]
fn error_pages() {
    let server = site(
        r#"error_page 404 /404.html;
           error_page 403 =200 /page.html;
           location /changed/ { error_page 404 =410 /404.html; }
           location /taken/ { error_page 404 = /own; }
           location = /own { return 201 own; }
           location /away/ { error_page 404 http://other/; }
           location /moved/ { error_page 404 =301 http://other/; }
           location /lost/ { error_page 404 /nowhere.html; }
           location = /404.html { internal; add_header X-Page "$request_uri $uri $status"; }"#,
    )
    .file("html/404.html", "not here")
    .start();
    let missing = server.get("/missing");
    assert_eq!((missing.status, missing.text().as_str()), (404, "not here"));
    assert_eq!(server.get("/404.html").status, 404);
    let listing = server.get("/empty/");
    assert_eq!((listing.status, listing.text().as_str()), (200, "<p>page</p>"));
    let changed = server.get("/changed/x");
    assert_eq!(
        (changed.status_line.as_str(), changed.text().as_str()),
        ("HTTP/1.1 410 Gone", "not here")
    );
    let taken = server.get("/taken/x");
    assert_eq!((taken.status, taken.text().as_str()), (201, "own"));
    let away = server.get("/away/x");
    assert_eq!((away.status, away.header("Location")), (302, Some("http://other/")));
    assert_eq!(server.get("/moved/x").status, 301);
    let lost = server.get("/lost/x");
    assert_eq!(lost.status, 404);
    assert!(lost.text().contains("<center><h1>404 Not Found</h1></center>"));
}

#[test]
fn pages_of_the_server_itself() {
    let server = plain();
    let expected = "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n\
                    <center><h1>404 Not Found</h1></center>\r\n\
                    <hr><center>nginx/1.31.5</center>\r\n</body>\r\n</html>\r\n";
    assert_eq!(server.get("/missing").text(), expected);
    let quiet = site("server_tokens off;").start();
    let answer = quiet.get("/missing");
    assert_eq!(answer.header("Server"), Some("nginx"));
    assert_eq!(answer.text(), expected.replace("/1.31.5", ""));
}

#[test]
fn added_headers() {
    let server = site(
        "add_header X-Some $uri; add_header X-Always yes always; expires 1h;
         location /own/ { add_header X-Own 1; return 200; }
         location /max/ { expires max; return 200; }",
    )
    .start();
    let found = server.get("/file.txt");
    assert_eq!(found.header("X-Some"), Some("/file.txt"));
    assert_eq!(found.header("Cache-Control"), Some("max-age=3600"));
    let missing = server.get("/missing");
    assert_eq!((missing.header("X-Some"), missing.header("X-Always")), (None, Some("yes")));
    let own = server.get("/own/");
    assert_eq!((own.header("X-Some"), own.header("X-Own")), (None, Some("1")));
    let max = server.get("/max/");
    assert_eq!(max.header("Cache-Control"), Some("max-age=315360000"));
    assert_eq!(max.header("Expires"), Some("Thu, 31 Dec 2037 23:55:55 GMT"));
}

#[test]
fn a_large_file_arrives_whole() {
    let body: Vec<u8> =
        (0..3_000_000_usize).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
    let server = site("").file("html/large", &body).start();
    let answer = server.get("/large");
    assert!(answer.complete && answer.body == body);
    let request = "GET /large HTTP/1.1\r\nHost: localhost\r\nRange: bytes=1000000-2999990\r\nConnection: close\r\n\r\n";
    assert!(server.request(request).body == body[1_000_000..2_999_991]);
}

/// Several times what the kernel takes for a socket.
const LARGE: usize = 20_000_000;

#[test]
fn files_that_the_kernel_copies_are_whole() {
    let body: String = ('a'..='y').cycle().take(LARGE).collect();
    let server = site("sendfile on; location /chunked { add_trailer X-Trailer yes; }")
        .file("html/large", &body)
        .file("html/chunked/large", &body)
        .start();
    for path in ["/large", "/chunked/large"] {
        assert!(server.get(path).text() == body, "{path}");
    }
    let part = |range: &str| {
        server.request(format!(
            "GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nRange: bytes={range}\r\n\r\n"
        ))
    };
    assert!(part("7-9999999").text() == body[7..10_000_000]);
    let two = part("0-99999,5-200000");
    assert!(two.text().contains(&body[..100_000]) && two.text().contains(&body[5..200_001]));
    // The next request on the connection finds its place.
    let mut client = server.client();
    for _ in 0..2 {
        client.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(client.response().text() == body);
    }
    server.wait_for("access.log", |log| {
        log.contains(&format!("\"GET /large HTTP/1.1\" 200 {LARGE} "))
    });
}

#[test]
fn a_file_that_becomes_shorter_while_it_is_sent_ends_the_connection() {
    let server = site("sendfile on;").file("html/large", "x".repeat(LARGE)).start();
    let mut client = server.client();
    client.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.response_head();
    let file = std::fs::File::options().write(true).open(server.path("html/large"));
    file.and_then(|file| file.set_len(1000)).expect("the file shortened");
    assert!(client.read_to_end().len() < LARGE);
    server.wait_for("error.log", |log| log.contains("[crit]"));
}
