//! Owns what the server says of itself: `server_tokens`, `server_identity`.
//!
//! Must not write heads or pages; they ask for the words here.

use super::inherit;
use crate::conf::{Args, Row, values};
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::vars::Variable;

/// nginx's version that this one is compatible with.
pub const NGINX_VERSION: &str = "1.31.5";

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// Name and version.
    On,
    /// The name alone.
    Off,
}

/// Under which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    Proxyd,
    Nginx,
}

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    tokens: Option<Tokens>,
    identity: Option<Identity>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// `Server` field and the foot of error pages: `proxyd/0.1.0`, `nginx`, …
    pub server: &'static str,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; tokens, identity);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        let on = self.tokens.unwrap_or(Tokens::On) == Tokens::On;
        let server = match (self.identity.unwrap_or(Identity::Proxyd), on) {
            (Identity::Proxyd, true) => concat!("proxyd/", env!("CARGO_PKG_VERSION")),
            (Identity::Proxyd, false) => "proxyd",
            (Identity::Nginx, true) => "nginx/1.31.5",
            (Identity::Nginx, false) => "nginx",
        };
        Conf { server }
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "server_tokens",
        HSL,
        Args::Exactly(1),
        "Shows the version in the Server field and on error pages: `on` (default), `off` or `build`.",
        |scope, dir, _| {
            let choices = [("on", Tokens::On), ("off", Tokens::Off), ("build", Tokens::On)];
            values::choice(&mut scope.drafts.identity.tokens, dir, &choices)
        },
    ),
    row(
        "server_identity",
        HSL,
        Args::Exactly(1),
        "The name shown in the Server field and on error pages: `proxyd` (default) or `nginx`.",
        |scope, dir, _| {
            let choices = [("proxyd", Identity::Proxyd), ("nginx", Identity::Nginx)];
            values::choice(&mut scope.drafts.identity.identity, dir, &choices)
        },
    ),
];

pub static VARIABLES: &[Variable] = &[];
