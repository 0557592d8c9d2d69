//! HTTP/2 towards clients: each stream is served as a request of its own, the connection ends in order,
//! and nobody gets more out of it than he puts in.

mod floods;
mod leaving;
mod requests;
mod sockets;

use crate::support::{Origin, Server, Setup};

/// A server that speaks HTTP/2; `more` is inside of it, with `%%origin%%` behind.
fn speaking(origin: &Origin, more: &str) -> Server {
    setup(more).set("origin", origin.address()).start()
}

/// A server that speaks HTTP/2 with nobody behind.
fn alone(more: &str) -> Server {
    setup(more).start()
}

fn setup(more: &str) -> Setup {
    Setup::http(&format!(
        "log_format h2 '$request $status $request_completion.'; access_log h2.log h2;
         server {{ listen %%listen%%; http2 on; client_max_body_size 0;
            location /said {{ return 200 '$server_protocol $http2 $host $http_cookie'; }}
            {more} }}"
    ))
}
