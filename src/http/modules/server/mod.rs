//! Owns where a server listens and which names it answers to: `listen`, `server_name`.
//!
//! Must not open sockets; it says which ones are needed.

mod endpoints;
mod listen;
mod names;
mod protocols;

use crate::conf::{Args, Contexts, Directive, Env, Error, Row};
use crate::http::draft::{Scope, no_effect, row};
use crate::http::finish::Finish;
use crate::http::vars::Variable;
use crate::net::address::Host;

pub use endpoints::endpoints;
pub use names::{first_name, written_names};

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    listens: Vec<listen::Listen>,
    names: Vec<names::Written>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {}

impl Draft {
    /// Whether IPv4 clients may come over an IPv6 socket.
    pub fn is_dual_stack(&self) -> bool {
        self.listens.iter().any(|listen| listen.options.ipv6only == Some(false))
    }

    /// The hosts it listens on; `None` for a listener that is spoken to by proxies.
    pub fn hosts(&self) -> impl Iterator<Item = Option<&Host>> {
        self.listens.iter().map(|listen| {
            let proxied = listen.protocols & protocols::PROXY_PROTOCOL != 0;
            (!proxied).then_some(&listen.endpoint.host)
        })
    }

    /// Whether a `listen` asks for HTTP/2.
    pub fn speaks_http2(&self) -> bool {
        self.listens.iter().any(|listen| listen.protocols & protocols::HTTP2 != 0)
    }

    /// Addresses and names belong to one server and are never taken over.
    pub fn inherit(&mut self, _outer: &Self) {}

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf {}
    }
}

fn listen(scope: &mut Scope, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    scope.drafts.server.listens.push(listen::read(dir, env)?);
    Ok(())
}

fn server_name(scope: &mut Scope, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    names::read(&mut scope.drafts.server.names, dir, env)
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "listen",
        Contexts::SERVER,
        Args::AtLeast(1),
        "An address, port, port range or unix socket that this server answers on, and how the socket \
         is made; without one it is *:80, or *:8000 when not started by root.",
        listen,
    ),
    row(
        "server_name",
        Contexts::SERVER,
        Args::AtLeast(1),
        "The names of this server: exact, `*.example.com`, `www.example.*`, `.example.com`, `~regex`, \
         `\"\"` for requests without a name, `$hostname`.",
        server_name,
    ),
    no_effect(
        "server_names_hash_max_size",
        Contexts::HTTP,
        "No effect: the tables of server names size themselves.",
    ),
    no_effect(
        "server_names_hash_bucket_size",
        Contexts::HTTP,
        "No effect: the tables of server names size themselves.",
    ),
];

pub static VARIABLES: &[Variable] = &[];

#[cfg(test)]
mod tests;
