//! Which server and which location answer a request.

use crate::support::{Client, Server, Setup};

/// The body of the answer to a GET with this `Host`.
fn asked(server: &Server, host: &str, path: &str) -> String {
    asked_at(server, "listen", host, path)
}

fn asked_at(server: &Server, listen: &str, host: &str, path: &str) -> String {
    let mut client = Client::connect(server.address_of(listen));
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    client.response().text()
}

fn check(server: &Server, rows: &[(&str, &str)]) {
    let got: Vec<_> = rows.iter().map(|(path, _)| asked(server, "localhost", path)).collect();
    let expected: Vec<_> = rows.iter().map(|row| row.1).collect();
    let wrong = rows.iter().zip(&got).filter(|(row, got)| row.1 != *got);
    assert_eq!(got, expected, "wrong: {:?}", wrong.collect::<Vec<_>>());
}

#[test]
fn servers_by_name() {
    let server = Server::http(
        r#"
        server { listen %%listen%%; server_name first; return 200 first; }
        server { listen %%listen%%; server_name exact.example.com ""; return 200 exact; }
        server { listen %%listen%%; server_name *.example.com; return 200 leading; }
        server { listen %%listen%%; server_name *.sub.example.com; return 200 longer; }
        server { listen %%listen%%; server_name www.example.*; return 200 trailing; }
        server { listen %%listen%%; server_name .both.org; return 200 both; }
        server { listen %%listen%%; server_name ~^(?<user>\w+)\.users\.net$; return 200 "user=$user"; }
        server { listen %%listen%%; server_name ~^[a-z]+\.users\.net$; return 200 later; }
        "#,
    );
    let rows = [
        ("first", "first"),
        ("unknown", "first"),
        ("exact.example.com", "exact"),
        ("EXACT.Example.Com", "exact"),
        ("exact.example.com.", "exact"),
        ("exact.example.com:8080", "exact"),
        ("a.example.com", "leading"),
        ("a.b.example.com", "leading"),
        ("example.com", "first"),
        ("a.sub.example.com", "longer"),
        ("www.example.com", "leading"),
        ("www.example.org", "trailing"),
        ("www.example.co.uk", "trailing"),
        ("both.org", "both"),
        ("x.both.org", "both"),
        ("joe.users.net", "user=joe"),
        ("j-o.users.net", "first"),
    ];
    for (host, expected) in rows {
        assert_eq!(asked(&server, host, "/"), expected, "{host}");
    }
    assert_eq!(server.request("GET / HTTP/1.0\r\n\r\n").text(), "exact");
}

#[test]
fn the_default_server_is_the_first_or_the_one_that_says_so() {
    let server = Server::http(
        "server { listen %%listen%%; server_name a; return 200 a; }
         server { listen %%listen%% default_server; listen %%listen_other%%; server_name b; return 200 b; }
         server { listen %%listen_other%%; server_name c; return 200 c; }",
    );
    for (listen, host, expected) in [
        ("listen", "a", "a"),
        ("listen", "x", "b"),
        ("listen", "c", "b"),
        ("listen_other", "x", "b"),
        ("listen_other", "c", "c"),
        ("listen_other", "a", "b"),
    ] {
        assert_eq!(asked_at(&server, listen, host, "/"), expected, "{host} at {listen}");
    }
}

#[test]
fn the_name_variables() {
    let server = Server::http(
        r#"server { listen %%listen%%; server_name main.example *.example;
            return 200 "$server_name $host $http_host"; }"#,
    );
    assert_eq!(asked(&server, "Sub.Example:80", "/"), "main.example sub.example Sub.Example:80");
    assert_eq!(server.request("GET / HTTP/1.0\r\n\r\n").text(), "main.example main.example ");
}

#[test]
fn prefixes_and_patterns() {
    let server = Server::http(
        r"server { listen %%listen%%;
            location / { return 200 root; }
            location = / { return 200 exact-root; }
            location /a { return 200 a; }
            location /a/b/ { return 200 ab; }
            location ^~ /images/ { return 200 images; }
            location ~ \.(gif|jpg)$ { return 200 case; }
            location ~* \.(png|jpg)$ { return 200 nocase; }
            location ~ ^/num/(\d+)/(?<word>\w+)$ { return 200 $1-$word; }
            location = /exact.gif { return 200 exact; }
            location ~ \.php$ { return 200 php; }
            location ~ ^/late/.*\.php$ { return 200 never; }
        }",
    );
    check(
        &server,
        &[
            ("/", "exact-root"),
            ("/?q", "exact-root"),
            ("/x", "root"),
            ("/a", "a"),
            ("/abc", "a"),
            ("/a/b", "a"),
            ("/a/b/", "ab"),
            ("/a/b/c", "ab"),
            ("/a/c.gif", "case"),
            ("/a/c.GIF", "a"),
            ("/a/c.JPG", "nocase"),
            ("/a/c.jpg", "case"),
            ("/images/c.jpg", "images"),
            ("/exact.gif", "exact"),
            ("/num/42/word", "42-word"),
            ("/num/42/", "root"),
            ("/late/x.php", "php"),
            // Selection is by the decoded, normalized path.
            ("/%61/b/x", "ab"),
            ("/x/../a/b/", "ab"),
            ("//a//b//", "ab"),
            ("/a/b%2Fx", "ab"),
            ("/x%2egif", "case"),
        ],
    );
}

#[test]
fn nested_locations() {
    let server = Server::http(
        r"server { listen %%listen%%;
            location / { return 200 root; }
            location /outer/ {
                location /outer/inner/ {
                    location ~ \.txt$ { return 200 inner-pattern; }
                    return 200 inner;
                }
                location = /outer/exact { return 200 exact; }
                location ~ \.txt$ { return 200 outer-pattern; }
                return 200 outer;
            }
            location ~ ^/pattern/ {
                location ~ \.txt$ { return 200 nested-in-pattern; }
                return 200 pattern;
            }
            location ~ \.txt$ { return 200 text; }
        }",
    );
    check(
        &server,
        &[
            ("/outer/x", "outer"),
            ("/outer/exact", "exact"),
            ("/outer/inner/x", "inner"),
            ("/outer/inner/x.txt", "inner-pattern"),
            ("/outer/x.txt", "outer-pattern"),
            ("/x.txt", "text"),
            ("/pattern/x", "pattern"),
            ("/pattern/x.txt", "nested-in-pattern"),
        ],
    );
}

#[test]
fn slashes_can_be_kept() {
    let server = Server::http(
        r#"server { listen %%listen%%; merge_slashes off;
            location / { return 200 "root $uri"; }
            location /a/b { return 200 "ab $uri"; }
            location /a//b { return 200 "a//b $uri"; } }"#,
    );
    check(&server, &[("/a/b", "ab /a/b"), ("/a//b", "a//b /a//b"), ("//a/b", "root //a/b")]);
}

#[test]
fn named_and_internal_locations() {
    let server = Setup::http(
        r#"server { listen %%listen%%;
            location /try/ { try_files $uri @named; }
            location /error/ { error_page 404 = @named; }
            location /hidden { internal; return 200 "hidden $uri"; }
            location /to-hidden { rewrite ^ /hidden last; }
            location @named { return 200 "named $uri"; } }"#,
    )
    .file("html/try/there", "there")
    .start();
    check(
        &server,
        &[
            ("/try/there", "there"),
            ("/try/missing", "named /try/missing"),
            ("/error/missing", "named /error/missing"),
            ("/to-hidden", "hidden /hidden"),
        ],
    );
    assert_eq!(server.get("/hidden").status, 404);
    assert_eq!(server.get("/@named").status, 404);
}

#[test]
fn rewrites_choose_again() {
    let server = Server::http(
        r#"server { listen %%listen%%;
            rewrite ^/server/(.*)$ /one/$1;
            location / { return 200 "root $uri $args"; }
            location /one/ { rewrite ^/one/(.*)$ /two/$1?x=1 last; return 200 never; }
            location /two/ { return 200 "two $uri $args"; }
            location /break/ { rewrite ^/break/(.*)$ /two/$1 break; return 200 never; }
            location /clear/ { rewrite ^/clear/(.*)$ /two/$1? last; }
            location /moved/ { rewrite ^/moved/(.*)$ /new/$1 permanent; }
            location /away/ { rewrite ^/away/(.*)$ http://other/$1 redirect; }
            location /loop/ { rewrite ^ /loop/x last; }
            location /if/ { if ($arg_a = b) { return 200 matched; } return 200 not; }
            location /var/ { set $v "[$arg_a]"; return 200 $v; } }"#,
    );
    check(
        &server,
        &[
            ("/server/a?q=2", "two /two/a x=1&q=2"),
            ("/one/a", "two /two/a x=1"),
            ("/clear/a?q", "two /two/a "),
            ("/if/?a=b", "matched"),
            ("/if/?a=c", "not"),
            ("/var/?a=z", "[z]"),
        ],
    );
    let moved = server.get("/moved/a?q");
    let host = format!("http://localhost:{}", server.address().port());
    assert_eq!(moved.status_line, "HTTP/1.1 301 Moved Permanently");
    assert_eq!(moved.header("Location"), Some(format!("{host}/new/a?q").as_str()));
    let away = server.get("/away/a");
    assert_eq!(away.status_line, "HTTP/1.1 302 Moved Temporarily");
    assert_eq!(away.header("Location"), Some("http://other/a"));
    assert_eq!(server.get("/loop/").status, 500);
    server.wait_for("error.log", |log| {
        log.contains("rewrite or internal redirection cycle while processing \"/loop/x\"")
    });
}

#[test]
fn returned_answers() {
    let server = Server::http(
        r"server { listen %%listen%%;
            location /204 { return 204; }
            location /403 { return 403; }
            location /text { return 404 text; }
            location /301 { return 301 /there; }
            location /307 { return 307 https://other$request_uri; }
            location /url { return http://other/; }
            location /306 { return 306; }
            location /444 { return 444; } }",
    );
    let host = format!("http://localhost:{}", server.address().port());
    let line = |path: &str| server.get(path).status_line;
    assert_eq!(line("/204"), "HTTP/1.1 204 No Content");
    assert_eq!(line("/403"), "HTTP/1.1 403 Forbidden");
    assert_eq!(server.get("/text").text(), "text");
    assert_eq!(server.get("/301").header("Location"), Some(format!("{host}/there").as_str()));
    let temporary = server.get("/307?q");
    assert_eq!(temporary.status_line, "HTTP/1.1 307 Temporary Redirect");
    assert_eq!(temporary.header("Location"), Some("https://other/307?q"));
    assert_eq!(server.get("/url").status, 302);
    assert_eq!(line("/306"), "HTTP/1.1 306 ");
    let mut client = server.client();
    client.send("GET /444 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.end(), crate::support::End::Closed);
}

#[test]
fn a_prefix_with_a_slash_redirects_the_path_without() {
    let server = Server::http(
        "server { listen %%listen%%; server_name localhost;
            location /up/ { proxy_pass http://127.0.0.1:1/; }
            location /plain/ { return 200; } }",
    );
    let moved = server.get("/up?q");
    let expected = format!("http://localhost:{}/up/?q", server.address().port());
    assert_eq!((moved.status, moved.header("Location")), (301, Some(expected.as_str())));
    assert_eq!(server.get("/plain").status, 404);
}
