//! Configurations with the constructs of those that widely used applications bring along for nginx: each
//! loads, and does what it is there for. What those use and proxyd refuses is in docs/compatibility.md.

use crate::support::{Frame, Origin, Response, Server, WebSocket};

mod discourse;
mod gitlab;
mod harbor;
mod jitsi;
mod mastodon;
mod mattermost;
mod nextcloud;
mod sentry;

/// An application whose answers hold what it was asked.
fn app() -> Origin {
    Origin::new(|peer| {
        while let Some(request) = peer.request() {
            let length = request.len();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: s=1; Path=/\r\n\
                 X-Powered-By: app\r\nContent-Length: {length}\r\n\r\n"
            ));
            peer.send(request);
        }
    })
}

/// Fetches a path as a browser that knows this host, with further fields, each with its line end.
fn fetch(server: &Server, host: &str, path: &str, fields: &str) -> Response {
    server.request(format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n"
    ))
}

/// A WebSocket through this path works.
fn talks(server: &Server, path: &str) {
    let mut socket = WebSocket::open(server.client(), path);
    socket.send(&Frame::text("hello"));
    assert_eq!(socket.receive(), Frame::text("hello"));
}
