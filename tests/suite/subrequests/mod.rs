//! What requests inside of requests do: who asks whom, and what of it shows.

use crate::support::{Server, Setup};

mod additions;
mod afterwards;
mod auth;
mod mirrors;
mod pages;

/// A server of this configuration, with two pages.
fn server(inside: &str) -> Server {
    setup(inside).start()
}

fn setup(inside: &str) -> Setup {
    let server = format!("server {{ listen %%listen%%; server_name localhost; {inside} }}");
    Setup::http(&server).file("html/page.html", "page\n").file("html/auth.html", "auth\n")
}
