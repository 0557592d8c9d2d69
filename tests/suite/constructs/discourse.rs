//! As a forum: files first, then the application, which sends files by their names.

use super::fetch;
use crate::support::{Origin, Setup};

const CONFIG: &str = "
    types { text/csv csv; text/css css; image/png png; }
    upstream forum { server %%forum%%; server %%forum%%; }
    map $http_x_forwarded_proto $outer_scheme { default $scheme; https https; }
    log_format timed '$remote_addr \"$request\" \"$sent_http_x_route\" $status $bytes_sent'
        ' $upstream_response_time $request_time';
    server { listen %%listen%%; access_log timed.log timed;
        gzip on; gzip_vary on; gzip_min_length 1000; gzip_comp_level 5; gzip_types text/css;
        server_tokens off; keepalive_timeout 65; client_max_body_size 10m;
        set $public %%dir%%/html;
        etag off;
        location ^~ /backups/ { internal; }
        location /favicon.ico { return 204; access_log off; log_not_found off; }
        location / { root $public; add_header ETag \"\";
            location ~* assets/.*\\.(woff2|ico)$ { expires 1y;
                add_header Access-Control-Allow-Origin *; }
            location ~ ^/assets/(?<asset_path>.+)$ { expires 1y; gzip_static on;
                add_header Cache-Control public,immutable; add_header X-Asset $asset_path; break; }
            location ~ ^/uploads/ {
                proxy_set_header Host $http_host;
                proxy_set_header X-Forwarded-Proto $outer_scheme;
                proxy_set_header X-Sendfile-Type X-Accel-Redirect;
                proxy_set_header X-Accel-Mapping $public/=/downloads/;
                expires 1y;
                location ~* \\.(gif|png)$ { try_files $uri =404; }
                proxy_pass http://forum; break; }
            location /avatars/ { proxy_method GET; proxy_pass_request_headers off;
                proxy_pass_request_body off; proxy_ignore_headers \"Set-Cookie\";
                proxy_hide_header \"Set-Cookie\"; proxy_cache_key $uri;
                proxy_set_header Connection \"\"; proxy_pass http://forum/a/; break; }
            location /message-bus/ { proxy_buffering off; proxy_pass http://forum; break; }
            try_files $uri @forum; }
        location /downloads/ { internal; alias $public/; }
        location @forum { proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto $outer_scheme; proxy_pass http://forum; } }";

/// Answers with what it was asked; names a file where that is asked for.
fn forum() -> Origin {
    Origin::new(|peer| {
        while let Some(request) = peer.request() {
            let text = String::from_utf8_lossy(&request).into_owned();
            let more = if text.starts_with("GET /uploads/doc") {
                "X-Accel-Redirect: /downloads/private/doc.csv\r\n"
            } else {
                "X-Route: topics/show\r\nSet-Cookie: a=b\r\n"
            };
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{more}\r\n{text}",
                text.len()
            ));
        }
    })
}

#[test]
fn files_are_tried_before_the_application() {
    let origin = forum();
    let mut server = Setup::http(CONFIG)
        .set("forum", origin.address())
        .file("html/assets/a.css", "plain")
        .file("html/assets/a.css.gz", "packed")
        .file("html/uploads/b.png", "png")
        .file("html/private/doc.csv", "1,2,3")
        .file("html/backups/all", "secret")
        .start();
    let get = |path: &str, fields: &str| fetch(&server, "forum.test", path, fields);
    let css = get("/assets/a.css", "Accept-Encoding: gzip\r\n");
    assert_eq!((&*css.text(), css.header("X-Asset")), ("packed", Some("a.css")));
    assert_eq!(css.all("Cache-Control"), ["max-age=31536000", "public,immutable"]);
    assert_eq!((css.header("ETag"), get("/favicon.ico", "").status), (None, 204));
    assert_eq!([get("/uploads/b.png", "").status, get("/uploads/c.png", "").status], [200, 404]);
    assert_eq!(
        [get("/backups/all", "").status, get("/downloads/private/doc.csv", "").status],
        [404, 404]
    );
    // The application says which file, and the client learns nothing of where it is.
    let file = get("/uploads/doc/7", "");
    assert_eq!((file.status, &*file.text()), (200, "1,2,3"));
    assert_eq!(file.header("X-Accel-Redirect"), None);
    let topic = get("/t/topic/1?page=2", "X-Forwarded-Proto: https\r\n").text();
    assert!(topic.starts_with("GET /t/topic/1?page=2 HTTP/1.1\r\nHost: forum.test\r\n"), "{topic}");
    assert!(topic.contains("\r\nX-Forwarded-Proto: https\r\n"), "{topic}");
    let avatar = get("/avatars/x.png", "X-Secret: 1\r\n");
    assert_eq!(avatar.header("Set-Cookie"), None);
    assert!(avatar.text().starts_with("GET /a/x.png HTTP/1.1\r\n"), "{}", avatar.text());
    assert!(!avatar.text().contains("X-Secret"), "{}", avatar.text());
    server.quit();
    let log = server.read("timed.log");
    assert!(log.contains("\"GET /t/topic/1?page=2 HTTP/1.1\" \"topics/show\" 200 "), "{log}");
    assert!(!log.contains("favicon"), "{log}");
}
