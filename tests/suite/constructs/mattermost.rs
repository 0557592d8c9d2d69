//! As a chat: WebSockets by a path that an expression knows, long waits, large buffers, HTTP/2.

use super::{app, fetch, talks};
use crate::support::{Setup, echo};

#[test]
fn the_socket_of_a_chat_is_found_by_its_path() {
    let (chat, sockets) = (app(), echo());
    let server = Setup::http(
        "upstream chat { server %%chat%%; keepalive 32; }
        upstream sockets { server %%sockets%%; }
        server { listen %%listen%%; server_name chat.test; http2 on;
            location ~ /api/v[0-9]+/(users/)?websocket$ {
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection \"upgrade\";
                client_max_body_size 50M;
                proxy_set_header Host $http_host;
                proxy_set_header X-Real-IP $remote_addr;
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                proxy_set_header X-Frame-Options SAMEORIGIN;
                proxy_buffers 256 16k; proxy_buffer_size 16k;
                client_body_timeout 3600s; send_timeout 3600s; lingering_timeout 3600s;
                proxy_connect_timeout 3600s; proxy_send_timeout 3600s; proxy_read_timeout 3600s;
                proxy_http_version 1.1;
                proxy_pass http://sockets; }
            location / {
                client_max_body_size 100M;
                proxy_set_header Connection \"\";
                proxy_set_header Host $http_host;
                proxy_set_header X-Forwarded-Proto $scheme;
                proxy_buffers 256 16k; proxy_buffer_size 16k; proxy_read_timeout 600s;
                proxy_cache_revalidate on; proxy_cache_min_uses 2; proxy_cache_use_stale timeout;
                proxy_cache_lock on; proxy_http_version 1.1;
                proxy_pass http://chat; } }",
    )
    .set("chat", chat.address())
    .set("sockets", sockets.address())
    .start();
    for path in ["/api/v4/websocket", "/api/v3/users/websocket"] {
        talks(&server, path);
    }
    let head = sockets.received();
    assert!(head.contains("\r\nConnection: upgrade\r\n") && head.contains("SAMEORIGIN"), "{head}");
    for path in ["/api/v4/websockets", "/team/channel"] {
        let text = fetch(&server, "chat.test", path, "").text();
        assert!(text.starts_with(&format!("GET {path} HTTP/1.1\r\nHost: chat.test\r\n")), "{text}");
        assert!(!text.contains("\r\nConnection:"), "{text}");
    }
    assert_eq!(chat.connections(), 1, "the connection is kept");
}
