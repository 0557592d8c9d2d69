//! Owns the directives that tune what only nginx has inside, or what cannot exist here yet: they are
//! accepted, listed by `-t`, and change nothing.
//!
//! Must not name a directive whose absence could change an answer.

use crate::conf::{Contexts, Row};
use crate::http::draft::{HS, HSL, Scope, no_effect};
use crate::http::finish::Finish;
use crate::http::vars::Variable;

/// As written: nothing.
#[derive(Debug, Default, Clone)]
pub struct Draft {}

/// In force: nothing.
#[derive(Debug)]
pub struct Conf {}

impl Draft {
    pub fn inherit(&mut self, _outer: &Self) {}

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf {}
    }
}

pub static VARIABLES: &[Variable] = &[];

const HTTP: Contexts = Contexts::HTTP;
const SERVER_LOCATION: Contexts = Contexts::SERVER.or(Contexts::LOCATION);

const HASHES: &str = "No effect: tables of names size themselves.";
const POOLS: &str = "No effect: there are no memory pools to size.";
const PACKETS: &str =
    "No effect: head and body are written together, and the kernel decides on packets.";
const HTTP2: &str =
    "No effect: obsolete in nginx too, or buffers of HTTP/2 that size themselves here.";
const QUIC: &str = "No effect: there are no QUIC listeners yet, so that nothing can use it.";

/// A row for each name of the lists.
macro_rules! rows {
    ($($doc:ident $contexts:ident: $($name:literal)*;)*) => {
        &[$($(no_effect($name, $contexts, $doc),)*)*]
    };
}

pub static ROWS: &[Row<Scope>] = rows! {
    HASHES HTTP: "variables_hash_max_size" "variables_hash_bucket_size" "map_hash_max_size"
        "map_hash_bucket_size";
    HASHES SERVER_LOCATION: "referer_hash_max_size" "referer_hash_bucket_size";
    POOLS HS: "connection_pool_size" "request_pool_size";
    PACKETS HSL: "tcp_nopush" "postpone_output" "send_lowat";
    HTTP2 HTTP: "http2_recv_buffer_size";
    HTTP2 HS: "http2_pool_size" "http2_max_concurrent_pushes" "http2_max_requests"
        "http2_max_field_size" "http2_max_header_size" "http2_streams_index_size"
        "http2_recv_timeout" "http2_idle_timeout";
    HTTP2 HSL: "http2_push_preload" "http2_push";
    QUIC HS: "http3" "http3_hq" "http3_max_concurrent_streams" "http3_stream_buffer_size"
        "quic_retry" "quic_gso" "quic_host_key" "quic_active_connection_id_limit";
};

#[cfg(test)]
mod tests {
    use crate::conf::Action;
    use crate::http::draft::TABLE;
    use crate::http::fixture::{errors, snapshot};
    use std::collections::BTreeMap;

    #[test]
    fn no_name_stands_twice_in_a_place() {
        let mut seen: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for row in TABLE.rows() {
            let places = seen.entry(row.name).or_default();
            let twice = places.iter().any(|contexts| row.contexts.contains(*contexts));
            assert!(!twice, "{} stands twice", row.name);
            places.push(row.contexts);
        }
    }

    #[test]
    fn every_row_is_documented_and_no_effect_says_why() {
        for row in TABLE.rows() {
            let doc = row.doc;
            assert!(doc.ends_with('.') && doc.len() > 10, "{}: {doc:?}", row.name);
            assert!(
                doc.starts_with(|c: char| c.is_uppercase() || c == '`'),
                "{}: {doc:?}",
                row.name
            );
        }
        for row in super::ROWS {
            assert!(matches!(row.action, Action::NoEffect), "{}", row.name);
            let reason = row.doc.strip_prefix("No effect: ").unwrap_or_default();
            assert!(reason.split(' ').count() > 3, "{}: {reason:?}", row.name);
        }
    }

    #[test]
    fn the_stock_configuration_of_debian_is_accepted() {
        let (snapshot, warnings) = snapshot(
            "sendfile on; tcp_nopush on; types_hash_max_size 2048; server_tokens build;
             default_type application/octet-stream; ssl_protocols TLSv1.2 TLSv1.3;
             ssl_prefer_server_ciphers off; access_log logs/access.log; gzip on;
             # gzip_vary on;
             server { listen 80 default_server; listen [::]:80 default_server; root /var/www/html;
               index index.html index.htm; server_name _;
               location / { try_files $uri $uri/ =404; } }",
            "listen 1;",
        );
        assert_eq!(warnings, [""; 0]);
        assert_eq!(snapshot.needs.listen.len(), 3);
    }

    #[test]
    fn what_is_missing_is_refused_by_name_unless_it_is_off() {
        for (directive, why) in [
            ("tcp_nodelay off;", ""),
            ("fastcgi_param A b;", ": FastCGI is not built yet"),
            ("proxy_cache one;", ": caches are not built yet"),
        ] {
            let name = directive.split(' ').next().unwrap();
            let message = format!("\"{name}\" directive is not supported yet{why}");
            assert_eq!(errors("", directive), [message], "{directive}");
        }
        let off = "autoindex off; auth_basic off; tcp_nodelay on; \
                   http2 off; mirror off; proxy_cache off; disable_symlinks off; \
                   proxy_no_cache $cookie_a; proxy_cache_bypass $http_upgrade; fastcgi_temp_path /t;";
        assert_eq!(errors("", off), [""; 0]);
    }
}
