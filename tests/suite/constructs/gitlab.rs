//! As a forge: everything goes to one socket, secrets stay out of the log, errors have pages.

use super::{fetch, talks};
use crate::support::{Origin, Setup, accept_websocket};

const CONFIG: &str = "
    upstream forge { server %%forge%% fail_timeout=0; }
    map $http_upgrade $connection_of_forge { default upgrade; '' close; }
    map $request_uri $uri_without_one {
        ~(?i)^(?<start>.*)(?<key>[\\?&]private[\\-_]token)=[^&]*(?<rest>.*)$ \"$start$key=[FILTERED]$rest\";
        default $request_uri; }
    map $uri_without_one $uri_without_any {
        ~(?i)^(?<start>.*)(?<key>[\\?&]feed[\\-_]token)=[^&]*(?<rest>.*)$ \"$start$key=[FILTERED]$rest\";
        default $uri_without_one; }
    map $http_referer $referer_cut { ~^(?<bare>.*)\\? $bare; default $http_referer; }
    log_format forge '$remote_addr \"$request_method $uri_without_any\" $status \"$referer_cut\"';
    server { listen %%listen%%; server_tokens off;
        real_ip_header X-Real-IP; real_ip_recursive off; set_real_ip_from 127.0.0.0/8;
        access_log forge.log forge;
        location / {
            client_max_body_size 0; gzip off;
            proxy_read_timeout 300; proxy_connect_timeout 300; proxy_redirect off;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-Ssl on;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_of_forge;
            proxy_pass http://forge; }
        error_page 404 /404.html; error_page 500 /500.html; error_page 502 /502.html;
        location ~ ^/(404|500|502)\\.html$ { root %%dir%%/pages; internal; } }";

#[test]
fn secrets_stay_out_of_the_log_and_errors_have_pages() {
    let origin = Origin::new(|peer| {
        while let Some(request) = peer.request() {
            let text = String::from_utf8_lossy(&request).into_owned();
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let mut server = Setup::http(CONFIG)
        .set("forge", origin.address())
        .file("pages/404.html", "no page")
        .start();
    let fields = "X-Real-IP: 203.0.113.9\r\nReferer: http://from/?secret=1\r\n";
    let path = "/api?Private-Token=abc&x=1&feed_token=def";
    let page = fetch(&server, "forge.test", path, fields).text();
    assert!(page.starts_with(&format!("GET {path} HTTP/1.1\r\nHost: forge.test\r\n")), "{page}");
    assert!(page.contains("\r\nX-Real-IP: 203.0.113.9\r\n"), "{page}");
    // Nobody gets the pages of errors by their names.
    let direct = fetch(&server, "forge.test", "/404.html", "");
    assert_eq!((direct.status, &*direct.text()), (404, "no page"));
    server.quit();
    let log = server.read("forge.log");
    let expected = "203.0.113.9 \"GET /api?Private-Token=[FILTERED]&x=1&feed_token=[FILTERED]\" 200 \
                    \"http://from/\"\n";
    assert!(log.starts_with(expected), "{log}");
}

#[test]
fn the_application_behind_a_socket_may_be_gone_and_may_be_talked_to() {
    let server = Setup::http(&CONFIG.replace("%%forge%%", "unix:%%dir%%/gone.socket"))
        .file("pages/502.html", "away")
        .allow("connect() to unix:")
        .start();
    let answer = fetch(&server, "forge.test", "/", "");
    assert_eq!((answer.status, &*answer.text()), (502, "away"));
    let terminal = Origin::new(|peer| {
        if accept_websocket(peer).is_some() {
            while let Some(bytes) = peer.some() {
                let (frame, _) = crate::support::Frame::decode(&bytes).expect("a frame");
                peer.send(frame.encode(false));
            }
        }
    });
    let server = Setup::http(CONFIG).set("forge", terminal.address()).start();
    talks(&server, "/-/terminal");
}
