//! As a conference: rooms are paths, files are aliases with captures, two kinds of sockets.

use super::{app, fetch, talks};
use crate::support::{Setup, echo};

const CONFIG: &str = "
    server_names_hash_bucket_size 64;
    types { application/wasm wasm; text/html html; application/javascript js; text/css css; }
    upstream xmpp { zone upstreams 64K; server %%xmpp%%; keepalive 2; }
    upstream bridge { zone upstreams 64K; server %%bridge%%; keepalive 2; }
    map $arg_vnode $node { default prosody; v1 v1; }
    server { listen %%listen%%; server_name meet.test;
        set $prefix \"\";
        root %%dir%%/meet;
        ssi on; ssi_types application/x-javascript application/javascript;
        index index.html index.htm; error_page 404 /static/404.html;
        gzip on; gzip_types text/css application/wasm; gzip_vary on; gzip_min_length 512;
        location = /config.js { alias %%dir%%/etc/meet-config.js; }
        location = /external_api.js { alias %%dir%%/meet/libs/external_api.min.js; }
        location ~ ^/(libs|css|static|sounds)/(.*)$ {
            add_header 'Access-Control-Allow-Origin' '*';
            alias %%dir%%/meet/$1/$2;
            if ($arg_v) { expires 1y; } }
        location = /http-bind {
            proxy_pass http://xmpp/http-bind?prefix=$prefix&$args;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header Host $http_host; proxy_set_header Connection \"\"; }
        location ~ ^/colibri-ws/default-id/(.*) {
            proxy_pass http://bridge/colibri-ws/default-id/$1$is_args$args;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";
            tcp_nodelay on; }
        location ~ ^/conference-request/v1(\\/.*)?$ {
            proxy_pass http://xmpp/conference-request/v1$1;
            add_header \"Cache-Control\" \"no-cache, no-store\"; }
        location ~ ^/([^/?&:'\"]+)$ { set $roomname \"$1\"; try_files $uri @root_path; }
        location @root_path { rewrite ^/(.*)$ / break; }
        location ~ ^/([^/?&:'\"]+)/config.js$ { set $subdomain \"$1.\"; set $subdir \"$1/\";
            alias %%dir%%/etc/meet-config.js; }
        location ~ ^/([^/?&:'\"]+)/http-bind$ { set $prefix \"$1\";
            rewrite ^/(.*)$ /http-bind; }
        location ~ ^/([^/?&:'\"]+)/(.*)$ { set $subdomain \"$1.\"; set $subdir \"$1/\";
            rewrite ^/([^/?&:'\"]+)/(.*)$ /$2; } }";

#[test]
fn rooms_files_and_sockets_share_one_host() {
    let (xmpp, bridge) = (app(), echo());
    let server = Setup::http(CONFIG)
        .set("xmpp", xmpp.address())
        .set("bridge", bridge.address())
        .file("meet/index.html", "room")
        .file("meet/libs/a.js", "lib")
        .file("meet/libs/external_api.min.js", "api")
        .file("meet/static/404.html", "nothing")
        .file("etc/meet-config.js", "var sub = '<!--# echo var=\"subdomain\" default=\"\" -->';")
        .start();
    let get = |path: &str| fetch(&server, "meet.test", path, "");
    let text = |path: &str| get(path).text();
    assert_eq!([text("/"), text("/MyRoom"), text("/tenant/MyRoom")], ["room"; 3]);
    assert_eq!([text("/libs/a.js"), text("/external_api.js")], ["lib", "api"]);
    assert_eq!(get("/libs/a.js?v=1").header("Cache-Control"), Some("max-age=31536000"));
    assert_eq!(get("/libs/a.js").header("Cache-Control"), None);
    assert_eq!(
        [text("/config.js"), text("/tenant/config.js")],
        ["var sub = '';", "var sub = 'tenant.';"]
    );
    let missing = get("/libs/none.js");
    assert_eq!((missing.status, &*missing.text()), (404, "nothing"));
    let bind = text("/http-bind?room=x");
    assert!(bind.starts_with("GET /http-bind?prefix=&room=x HTTP/1.1\r\n"), "{bind}");
    let tenant = text("/tenant/http-bind?room=x");
    assert!(tenant.starts_with("GET /http-bind?prefix=tenant&room=x HTTP/1.1\r\n"), "{tenant}");
    let request = text("/conference-request/v1/x");
    assert!(request.starts_with("GET /conference-request/v1/x HTTP/1.1\r\n"), "{request}");
    talks(&server, "/colibri-ws/default-id/abc?pwd=1");
    let head = bridge.received();
    assert!(head.starts_with("GET /colibri-ws/default-id/abc?pwd=1 HTTP/1.1\r\n"), "{head}");
}
