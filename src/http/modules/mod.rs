//! Owns the list of modules: the one place where a new module is named.
//!
//! Modules never import one another; what they share lives in the pipeline's own types.
//!
//! A module is a file with `Draft` (what was written), `Conf` (what is in force), `ROWS` (its
//! directives) and `VARIABLES`. `Draft::inherit` takes over what the outer block says;
//! `Draft::finish` fills defaults and compiles.

use super::draft::Scope;
use super::finish::Finish;
use super::part::{Blank, Part, Seen};
use super::vars::Variable;
use crate::conf::Row;
use std::sync::{Arc, LazyLock};

macro_rules! modules {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*

        /// What a block says, module by module.
        #[derive(Debug, Default, Clone)]
        pub struct Drafts { $(pub $name: Part<$name::Draft>,)* }

        /// What is in force in a block, module by module.
        #[derive(Debug)]
        pub struct Conf { $(pub $name: Arc<$name::Conf>,)* }

        /// What blocks have in common.
        #[derive(Debug, Default)]
        pub struct Common { $($name: Seen<$name::Draft, $name::Conf>,)* }

        $(impl Blank for $name::Draft {
            fn blank() -> &'static Self {
                static BLANK: LazyLock<$name::Draft> = LazyLock::new(Default::default);
                &BLANK
            }
        })*

        impl Drafts {
            /// Takes over what the outer block says where this one is silent.
            pub fn inherit(&mut self, outer: &Self, common: &mut Common) {
                $(self.$name.inherit(&outer.$name, &mut common.$name, |own, outer| own.inherit(outer));)*
            }

            /// Fills defaults and compiles; errors go to `cx`.
            pub fn finish(&self, cx: &mut Finish, common: &mut Common) -> Conf {
                Conf {
                    $($name: self.$name.finish(
                        &mut common.$name,
                        depends_on_block(stringify!($name))
                            && (self.$name.is_written() || cx.upstream_https),
                        |draft| draft.finish(cx),
                    ),)*
                }
            }
        }

        /// Every directive of `http {}` and below.
        pub static ROWS: &[&[Row<Scope>]] = &[$($name::ROWS,)* proxy::health::ROWS];

        /// Every variable.
        pub static VARIABLES: &[&[Variable]] = &[$($name::VARIABLES,)*];
    };
}

modules! {
    realip, auth_basic, secure_link, referer, userid, empty_gif, random_index, autoindex,
    browser, post_action, blocks, connection, http2, ssl, client_body, server, redirect, files, not_modified, range, index, try_files, mirror, error_page,
    rewrite, maintenance, access, auth_request, addition, ssi, map, split_clients, geo, headers, identity, access_log, error_log, stub_status, upstream, resolver, proxy, proxy_ssl, variables,
    compress, sub_filter, charset,
    limit_rate, limit_req, limit_conn, tuning, absent,
}

/// Whether what is in force depends on more of its block than what was written there for this module.
/// Where nothing is written it does not, but for what TLS towards upstreams needs.
fn depends_on_block(module: &str) -> bool {
    matches!(module, "blocks" | "proxy_ssl" | "referer" | "rewrite" | "ssl" | "stub_status")
}

impl Drafts {
    /// Whether a server speaks HTTP/2, by its own word or that of a `listen`.
    pub fn speaks_http2(&self) -> bool {
        self.http2.is_on() || self.server.speaks_http2()
    }

    /// Whether HTTP/2 is spoken with upstreams.
    pub fn passes_http2(&self) -> bool {
        self.proxy.passes_http2()
    }

    /// Whether requests may be passed on over TLS from here.
    pub fn passes_https(&self) -> bool {
        self.proxy.passes_https()
    }

    /// An `if` inside a location answers as its location does: the content handler comes along.
    pub fn enter(&mut self, outer: &Self) {
        self.proxy.enter(&outer.proxy);
    }
}

/// What must be known before any block is finished: names that others refer to.
pub fn define(http: &Scope, cx: &mut Finish) {
    rewrite::define(http, cx);
    userid::define(cx);
    auth_request::define(http, cx);
    map::define(http, cx);
    split_clients::define(http, cx);
    geo::define(http, cx);
    limit_req::define(http, cx);
    limit_conn::define(http, cx);
    upstream::define(http, cx);
    proxy::define(http, cx);
    access_log::define(http, cx);
    map::compile(http, cx);
    split_clients::compile(http, cx);
    geo::compile(http, cx);
}

/// Takes over the outer block's value for each field that is unset here.
macro_rules! inherit {
    ($own:expr, $outer:expr; $($field:ident),* $(,)?) => {
        $(if $own.$field.is_none() { $own.$field.clone_from(&$outer.$field); })*
    };
}
pub(crate) use inherit;
