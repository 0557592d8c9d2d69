//! What goes to an upstream and what comes back, in order, complete or not.

use crate::support::{Origin, Server, Setup};

mod aborts;
mod answers;
mod balancing;
mod bodies;
mod desync;
mod headers;
mod health;
mod http2;
mod names;
mod parts;
mod passing;
mod shared;
mod slow;
mod stored;
mod tunnels;
mod upstreams;

const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const TWO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server that passes everything on; `lines` are further directives.
fn proxy(origin: &Origin, lines: &str) -> Server {
    let text = format!(
        "server {{ listen %%listen%%; location / {{ proxy_pass http://%%origin%%; {lines} }} }}"
    );
    Setup::http(&text).set("origin", origin.address()).start()
}

/// A server whose locations use an `upstream` block.
fn group(peers: &str, lines: &str) -> Setup {
    Setup::http(&format!(
        "upstream u {{ {peers} }}\n\
         server {{ listen %%listen%%; location / {{ proxy_pass http://u; {lines} }} }}"
    ))
}
