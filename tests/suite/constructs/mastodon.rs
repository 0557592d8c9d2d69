//! As a social network: static files by their kind, an application behind, a stream beside it.

use super::{app, fetch, talks};
use crate::support::{Origin, Setup, echo};

const CONFIG: &str = "
    types { text/css css; text/javascript js; }
    map $http_upgrade $upgrade_or_close { default upgrade; '' close; }
    upstream web { server %%web%% fail_timeout=0; }
    upstream live { server %%live%% fail_timeout=0; }
    server { listen %%listen%%; server_name plain.test;
        location /.well-known/acme-challenge/ { allow all; }
        location / { return 301 https://$host$request_uri; } }
    server { listen %%listen%% default_server; server_name social.test;
        keepalive_timeout 70; sendfile on; client_max_body_size 80m; root html;
        gzip on; gzip_disable \"msie6\"; gzip_vary on; gzip_proxied any; gzip_comp_level 6;
        gzip_buffers 16 8k; gzip_http_version 1.1; gzip_types text/css application/json;
        location / {
            location = /worker.js { add_header Cache-Control \"public, max-age=604800\";
                try_files $uri =404; }
            location ~ ^/(assets|emoji|packs)/ {
                add_header Cache-Control \"public, immutable\"; try_files $uri =404; }
            location /system/ { add_header Strict-Transport-Security \"max-age=63072000\";
                try_files $uri =404; }
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Proxy \"\";
            proxy_pass_header Server;
            proxy_pass http://web;
            proxy_buffering on; proxy_redirect off; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upgrade_or_close;
            proxy_cache_valid 200 7d; proxy_force_ranges on; tcp_nodelay on;
        }
        location ^~ /api/v1/streaming {
            proxy_set_header Host $host;
            proxy_pass http://live;
            proxy_buffering off; proxy_redirect off;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upgrade_or_close;
        }
        error_page 404 500 502 503 504 /500.html;
    }";

fn setup(web: &Origin, live: &Origin) -> Setup {
    Setup::http(CONFIG)
        .set("web", web.address())
        .set("live", live.address())
        .file("html/packs/a.css", "a { color: red }".repeat(100))
        .file("html/worker.js", "work")
        .file("html/.well-known/acme-challenge/token", "proof")
}

#[test]
fn files_the_application_and_the_stream_each_have_their_place() {
    let (web, live) = (app(), echo());
    let server = setup(&web, &live).start();
    let fetch = |path: &str, fields: &str| fetch(&server, "social.test", path, fields);
    let css = fetch("/packs/a.css", "Accept-Encoding: gzip\r\n");
    assert_eq!(css.header("Cache-Control"), Some("public, immutable"));
    assert_eq!(css.header("Content-Encoding"), Some("gzip"));
    assert_eq!(css.header("Vary"), Some("Accept-Encoding"));
    assert_eq!(fetch("/worker.js", "").text(), "work");
    let missing = fetch("/packs/none.css", "");
    // The page of errors is the application's as well.
    assert_eq!(missing.status, 404);
    assert!(missing.text().starts_with("GET /500.html HTTP/1.1\r\n"), "{}", missing.text());
    let page = fetch("/@someone", "X-Forwarded-For: 10.1.1.1\r\nProxy: http://evil/\r\n").text();
    assert!(page.contains("\r\nX-Forwarded-For: 10.1.1.1, 127.0.0.1\r\n"), "{page}");
    assert!(page.contains("\r\nConnection: close\r\n") && !page.contains("evil"), "{page}");
    let part = fetch("/media", "Range: bytes=0-2\r\n");
    assert_eq!((part.status, &*part.text()), (206, "GET"));
    let plain = |path: &str| super::fetch(&server, "plain.test", path, "");
    assert_eq!(plain("/a?b=c").header("Location"), Some("https://plain.test/a?b=c"));
    assert_eq!(plain("/.well-known/acme-challenge/token").text(), "proof");
}

#[test]
fn a_stream_is_a_websocket() {
    let (web, live) = (app(), echo());
    let server = setup(&web, &live).start();
    talks(&server, "/api/v1/streaming/user");
    let asked = live.received();
    assert!(asked.starts_with("GET /api/v1/streaming/user HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nConnection: upgrade\r\n"), "{asked}");
}
