//! As a collector of errors: names that move, addresses behind proxies, connections that are kept.

use super::{app, fetch};
use crate::support::{NameServer, Setup};
use std::net::Ipv4Addr;

#[test]
fn names_are_followed_and_paths_chosen_by_expressions() {
    let (relay, web, names) = (app(), app(), NameServer::new());
    for name in ["relay.test", "web.test"] {
        names.set(name, 10, &[Ipv4Addr::LOCALHOST]);
    }
    let server = Setup::http(
        "sendfile on; tcp_nopush on; reset_timedout_connection on; keepalive_timeout 75s;
        gzip off; server_tokens off; server_names_hash_bucket_size 64; types_hash_max_size 2048;
        client_max_body_size 100m; proxy_redirect off; proxy_buffer_size 128k;
        proxy_buffers 4 256k; proxy_busy_buffers_size 256k;
        set_real_ip_from 127.0.0.0/8; set_real_ip_from 10.0.0.0/8;
        real_ip_header X-Forwarded-For; real_ip_recursive on;
        proxy_set_header Connection ''; proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Request-Id $request_id;
        proxy_read_timeout 90s; proxy_send_timeout 5s;
        resolver %%names%% valid=10s ipv6=off;
        upstream relay { zone relay 64k; server relay.test:%%relay%% resolve; keepalive 2; }
        upstream web { zone web 64k; server web.test:%%web%% resolve; keepalive 2; }
        server { listen %%listen%%;
            location /api/store/ { proxy_pass http://relay; }
            location ~ ^/api/[1-9]\\d*/ { proxy_pass http://relay; }
            location ^~ /api/0/relays/ { proxy_pass http://relay; }
            location ^~ /js-sdk/ { root html; add_header Access-Control-Allow-Origin *; }
            location / { proxy_pass http://web; }
            location /_assets/ { proxy_pass http://web/_static/dist/;
                proxy_hide_header X-Powered-By; } }",
    )
    .set("names", names.address())
    .set("relay", relay.address().port())
    .set("web", web.address().port())
    .file("html/js-sdk/a.js", "sdk")
    .allow("no live upstreams while connecting to upstream")
    .start();
    let get =
        |path: &str| fetch(&server, "errors.test", path, "X-Forwarded-For: 1.2.3.4, 10.0.0.7\r\n");
    // Until the names are known nobody can be asked.
    while get("/").status == 502 || get("/api/store/").status == 502 {}
    let (asked, before) = (relay.connections(), web.connections());
    for path in ["/api/store/", "/api/42/envelope/", "/api/0/relays/x"] {
        let text = get(path).text();
        assert!(text.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{text}");
        assert!(text.contains("\r\nX-Forwarded-For: 1.2.3.4\r\n"), "{text}");
        assert!(text.contains("\r\nX-Request-Id: ") && !text.contains("Connection"), "{text}");
    }
    assert_eq!((relay.connections(), web.connections()), (asked, before), "they are kept");
    let assets = get("/_assets/a.js");
    assert!(assets.text().starts_with("GET /_static/dist/a.js HTTP/1.1\r\n"));
    assert_eq!(assets.header("X-Powered-By"), None);
    let sdk = get("/js-sdk/a.js");
    assert_eq!((&*sdk.text(), sdk.header("Access-Control-Allow-Origin")), ("sdk", Some("*")));
}
