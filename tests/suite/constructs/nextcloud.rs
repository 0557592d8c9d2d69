//! As a file cloud. Its application speaks FastCGI, which is refused by name; all around it works.

use super::{app, fetch};
use crate::support::{Setup, is_reference};

const CONFIG: &str = "
    map $arg_v $asset_immutable { \"\" \"\"; default \", immutable\"; }
    server { listen %%listen%%; server_name cloud.test; server_tokens off; root html;
        client_max_body_size 512M; client_body_timeout 300s; client_body_buffer_size 512k;
        gzip on; gzip_vary on; gzip_comp_level 4; gzip_min_length 256;
        gzip_proxied expired no-cache no-store private no_last_modified no_etag auth;
        gzip_types application/json text/css;
        add_header Referrer-Policy \"no-referrer\" always;
        types { text/javascript js mjs; text/css css; }
        index index.php index.html /index.php$request_uri;
        location = / { if ($http_user_agent ~ ^DavClnt) { return 302 /remote.php/webdav/$is_args$args; } }
        location = /robots.txt { allow all; log_not_found off; access_log off; }
        location ^~ /.well-known {
            location = /.well-known/carddav { return 301 /remote.php/dav/; }
            location /.well-known/acme-challenge { try_files $uri $uri/ =404; }
            return 301 /index.php$request_uri; }
        location ~ ^/(?:build|tests|config|lib|data)(?:$|/) { return 404; }
        location ~ ^/(?:\\.|autotest|console) { return 404; }
        location ~ \\.php(?:$|/) {
            rewrite ^/(?!index|remote|public|cron|status) /index.php$request_uri;
            try_files $uri @php; %%php%% }
        location @php { proxy_pass http://%%app%%; proxy_hide_header X-Powered-By;
            proxy_request_buffering off; proxy_read_timeout 300s; }
        location ~ \\.(?:css|js|mjs|svg)$ { try_files $uri /index.php$request_uri;
            add_header Cache-Control \"public, max-age=15778463$asset_immutable\";
            add_header Referrer-Policy \"no-referrer\" always; access_log off; }
        location /remote { return 301 /remote.php$request_uri; }
        location / { try_files $uri $uri/ /index.php$request_uri; } }";

#[test]
fn paths_find_their_way_to_the_application() {
    let origin = app();
    let server = Setup::http(CONFIG)
        .set("app", origin.address())
        .set("php", "")
        .file("html/core/a.css", "a {}")
        .file("html/core/m.mjs", "export {}")
        .file("html/data/secret.txt", "secret")
        .start();
    let get = |path: &str, fields: &str| fetch(&server, "cloud.test", path, fields);
    let to = |path: &str| get(path, "").header("Location").unwrap_or_default().to_owned();
    let dav = get("/?a=b", "User-Agent: DavClnt\r\n");
    assert_eq!(dav.status, 302);
    assert!(dav.header("Location").is_some_and(|to| to.ends_with("/remote.php/webdav/?a=b")));
    assert!(to("/.well-known/carddav").ends_with("/remote.php/dav/"));
    assert!(to("/.well-known/webfinger?r=x").ends_with("/index.php/.well-known/webfinger?r=x"));
    assert!(to("/remote/x").ends_with("/remote.php/remote/x"));
    assert_eq!(["/data/secret.txt", "/.git", "/config"].map(|path| get(path, "").status), [404; 3]);
    let css = get("/core/a.css?v=1", "");
    assert_eq!(css.header("Cache-Control"), Some("public, max-age=15778463, immutable"));
    assert_eq!(css.header("Referrer-Policy"), Some("no-referrer"));
    assert_eq!(get("/core/a.css", "").header("Cache-Control"), Some("public, max-age=15778463"));
    assert_eq!(get("/core/m.mjs", "").header("Content-Type"), Some("text/javascript"));
    let page = get("/apps/files/", "");
    assert!(page.text().starts_with("GET /index.php/apps/files/ HTTP/1.1\r\n"), "{}", page.text());
    assert_eq!(page.header("X-Powered-By"), None);
    let old = get("/apps/old.php?x=1", "").text();
    assert!(old.starts_with("GET /index.php/apps/old.php"), "{old}");
}

#[test]
fn what_it_needs_beside_is_refused_by_name() {
    if is_reference() {
        return;
    }
    let outcome = Setup::http(CONFIG)
        .set("app", "127.0.0.1:1")
        .set("php", "fastcgi_split_path_info ^(.+?\\.php)(/.*)$; fastcgi_pass unix:/run/php;")
        .check();
    assert_eq!(outcome.code, Some(1));
    let said = "\"fastcgi_pass\" directive is not supported yet: FastCGI is not built yet";
    assert!(outcome.messages.contains(said), "{}", outcome.messages);
}
