//! Owns the directives of TLS towards the upstreams of `proxy_pass`.
//!
//! Must not do handshakes; `upstream_ssl` does, by these values.

use crate::conf::{Args, Row, values};
use crate::http::draft::{HSL, Scope, not_yet, row};
use crate::http::finish::Finish;
use crate::http::vars::Variable;
use crate::http::{tls_words, upstream_ssl};

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft(upstream_ssl::Draft);

/// In force.
pub type Conf = upstream_ssl::Conf;

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        self.0.inherit(&outer.0);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        self.0.finish("proxy", cx)
    }
}

pub static ROWS: &[Row<Scope>] = upstream_ssl::rows!("proxy", scope => scope.drafts.proxy_ssl.0);

pub static VARIABLES: &[Variable] = &[];
