//! Owns HTTP: what a configuration says of it, and how a request is answered.
//!
//! Must not know processes; a worker gives it sockets, logs and a snapshot.

pub mod affinity;
pub mod assign;
pub mod background;
pub mod body;
pub mod calls;
mod certificates;
pub mod cidr;
pub mod client;
pub mod computed;
pub mod conn;
pub mod credentials;
pub mod date;
mod doors;
pub mod draft;
pub mod filter;
pub mod finish;
#[cfg(test)]
pub mod fixture;
pub mod forwarded;
pub mod gate;
pub mod groups;
pub mod h1;
mod h2;
pub mod headers;
mod health;
pub mod include;
pub mod internal;
pub mod io;
pub mod lint;
pub mod listing;
pub mod live;
pub mod media_types;
pub mod method;
pub mod modules;
pub mod opinion;
pub mod origin;
pub mod pace;
pub mod pairs;
pub mod part;
pub mod passage;
pub mod phase;
pub mod pipeline;
pub mod regex;
pub mod reply;
pub mod request;
pub mod request_body;
pub mod resolver;
pub mod root;
pub mod roster;
pub mod route;
pub mod service;
pub mod size;
pub mod slots;
pub mod snapshot;
mod spare;
pub mod spool;
pub mod stapling;
pub mod static_file;
pub mod subrequest;
pub mod template;
pub mod tickets;
pub mod tls_words;
pub mod upstream_ssl;
pub mod uri;
pub mod vars;
pub mod whole_body;
pub mod zones;

pub use snapshot::{Needs, Snapshot};

use crate::conf::{Directive, Env};
use std::sync::Arc;

/// Everything read from `http {}`; empty when there is none.
#[derive(Debug, Default)]
pub struct Draft(Option<draft::Scope>);

/// Reads an `http` block. Errors go to `env`.
pub fn read(block: &Directive, env: &mut Env<'_>) -> Draft {
    Draft(Some(draft::read(block, env)))
}

/// Whether a name is a directive of `http {}`: then it is out of place elsewhere, not unknown.
pub fn knows(name: &str) -> bool {
    draft::TABLE.knows(name)
}

impl Draft {
    /// Compiles it; `None` when there were errors (they are in `env`).
    pub fn finish(self, env: &mut Env<'_>) -> Option<Arc<Snapshot>> {
        match self.0 {
            Some(scope) => finish::finish(scope, env).map(Arc::new),
            None => Some(Arc::default()),
        }
    }
}
