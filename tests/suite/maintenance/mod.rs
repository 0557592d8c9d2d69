//! Maintenance mode as clients, backends and operators see it.

use serde_json::{Value, json};

use crate::support::{OK, Origin, Response, Server, Setup, Site};

mod answers;
mod browser;
mod bypass;
mod exchanges;
mod flags;
mod proof;
mod recipes;
mod sockets;
mod streams;
mod subrequests;

/// A server that passes everything on; `lines` are further directives of the server.
fn proxy(origin: &Origin, lines: &str) -> Server {
    setup(origin, lines).start()
}

fn setup(origin: &Origin, lines: &str) -> Setup {
    Setup::http(&format!(
        "server {{ listen %%listen%%; server_name localhost; {lines}
            location / {{ proxy_pass http://%%origin%%;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection upgrade; }} }}"
    ))
    .set("origin", origin.address())
}

/// Gives an order for a switch, which is obeyed when this returns.
fn order(server: &Site, switch: &str, change: &Value) {
    let path = format!("/1/proxyd/maintenance/{switch}");
    let (status, lines) = server.ask_control("POST", &path, &change.to_string());
    let answer = lines.rest();
    assert_eq!(status, 200, "{answer}");
}

fn close(server: &Site) {
    order(server, "default", &json!({ "state": "closed" }));
}

fn open(server: &Site) {
    order(server, "default", &json!({ "state": "open" }));
}

/// Waits until nothing is under way, and tells what is when that takes too long.
fn barrier(server: &Site, timeout_ms: u64) -> Value {
    let terms = json!({ "timeout_ms": timeout_ms }).to_string();
    let (status, lines) = server.ask_control("POST", "/1/proxyd/barrier/default", &terms);
    let answer = lines.rest();
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).expect("a document")
}

/// Cuts off what is under way, and tells what came of it.
fn kill(server: &Site) -> Value {
    let terms = json!({ "timeout_ms": 0, "kill": true }).to_string();
    let (status, lines) = server.ask_control("POST", "/1/proxyd/barrier/default", &terms);
    assert_eq!(status, 200);
    serde_json::from_str(&lines.rest()).expect("a document")
}

/// What is under way through the default switch.
fn inflight(server: &Site) -> Value {
    let (_, answer) = server.control("GET", "/1/proxyd/inflight/default");
    let answer: Value = serde_json::from_str(&answer).expect("a document");
    let one = answer.as_array().and_then(|all| all.first()).unwrap_or(&answer);
    one["total"].clone()
}

/// Fetches a path with further fields, each with its line end.
fn fetch(server: &Site, path: &str, fields: &str) -> Response {
    server.request(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n"
    ))
}
