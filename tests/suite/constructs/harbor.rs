//! As a registry: TLS, bodies of any size that nobody waits for, cookies for TLS only.

use super::{app, fetch};
use crate::support::Setup;
use crate::support::tls::Authority;

const CONFIG: &str = "
    fastcgi_temp_path f_temp; uwsgi_temp_path u_temp;
    scgi_temp_path s_temp; tcp_nodelay on; proxy_http_version 1.1;
    upstream core { server %%core%%; } upstream portal { server %%portal%%; }
    log_format timed '$remote_addr - \"$request\" $status $body_bytes_sent $request_time'
        ' $upstream_response_time $pipe';
    access_log timed.log timed;
    server { listen %%listen_tls%% ssl; server_name registry.test; server_tokens off;
        ssl_certificate one.pem; ssl_certificate_key one.key; ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ciphers '!aNULL:kECDH+AESGCM:ECDH+AESGCM:RSA+AESGCM:kECDH+AES:ECDH+AES:RSA+AES:';
        ssl_prefer_server_ciphers on; ssl_session_cache shared:SSL:10m;
        client_max_body_size 0; chunked_transfer_encoding on;
        add_header Strict-Transport-Security \"max-age=31536000; includeSubdomains; preload\";
        add_header X-Frame-Options DENY;
        include %%dir%%/more.*.conf;
        location / { proxy_pass http://portal/; proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_cookie_path / \"/; HttpOnly; Secure\";
            proxy_buffering off; proxy_request_buffering off; }
        location /v1/ { return 404; }
        location /v2/ { proxy_pass http://core/v2/; proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_buffering off; proxy_request_buffering off; }
        location /service/notifications { return 404; } }
    server { listen %%listen%%; return 308 https://registry.test$request_uri; }";

#[test]
fn a_registry_is_reached_over_tls() {
    let authority = Authority::new("Test");
    let (core, portal) = (app(), app());
    let setup = Setup::http(CONFIG)
        .set("core", core.address())
        .set("portal", portal.address())
        .file("more.one.conf", "location /more { return 200 more; }");
    let server = authority.issue("registry.test").install(setup, "one").start();
    let (client, address) = (authority.client(), server.address_of("listen_tls"));
    let get = |path: &str| client.get(address, "registry.test", path);
    let page = get("/harbor/projects");
    assert_eq!(page.header("Set-Cookie"), Some("s=1; Path=/; HttpOnly; Secure"));
    assert_eq!(page.header("X-Frame-Options"), Some("DENY"));
    assert!(page.text().contains("\r\nX-Forwarded-Proto: https\r\n"), "{}", page.text());
    assert_eq!([get("/v1/x").status, get("/service/notifications").status], [404, 404]);
    assert_eq!(get("/more").text(), "more");
    // A layer whose length nobody knows beforehand.
    let mut secure = client.connect(address, "registry.test").expect("a handshake");
    let head =
        "PATCH /v2/blob HTTP/1.1\r\nHost: registry.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    secure.send(&format!("{head}5\r\nlayer\r\n0\r\n\r\n"));
    let answer = secure.response().text();
    assert!(answer.starts_with("PATCH /v2/blob HTTP/1.1\r\n"), "{answer}");
    assert!(answer.contains("\r\n\r\n") && answer.contains("layer"), "{answer}");
    let plain = fetch(&server, "registry.test", "/v2/?a=b", "");
    assert_eq!(
        (plain.status, plain.header("Location")),
        (308, Some("https://registry.test/v2/?a=b"))
    );
}
