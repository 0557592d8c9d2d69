//! Owns the list of nginx's directives that proxyd does not have yet, so that they are refused by name.
//!
//! Must not name what another module has; a directive that gets its code leaves this list.

use crate::conf::values;
use crate::conf::{Action, Args, Contexts, Directive, Env, Error, Row, Setter};
use crate::http::draft::{HS, HSL, Scope, no_effect, not_yet_for, row};
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
const LOCATION: Contexts = Contexts::LOCATION;
const SERVER_LOCATION: Contexts = Contexts::SERVER.or(LOCATION);
const IN_LOCATION: Contexts = LOCATION.or(Contexts::IF_IN_LOCATION);

/// The rows written out first, then a row for each name of the lists.
macro_rules! rows {
    ([$($row:expr),* $(,)?] $($reason:literal: $contexts:expr => $($name:literal)*;)*) => {
        &[$($row,)* $($(not_yet_for($name, $contexts, concat!("Not supported yet: ", $reason, ".")),)*)*]
    };
}

const NO_CACHE: &str =
    "No effect: it says what goes into a cache, and `proxy_cache` is not supported yet.";
const NO_TEMP: &str = "No effect: nothing is passed on in this protocol yet.";

/// The error of a value that asks for what is missing.
fn refused(dir: &Directive) -> Error {
    let name = dir.name_str();
    let why = match &*name {
        "proxy_cache" => ": caches are not built yet",
        "disable_symlinks" => ": links are followed as the file system has them",
        _ => "",
    };
    dir.error(format_args!("\"{name}\" directive is not supported yet{why}"))
}

/// Takes note of a directive that asks for nothing.
fn accept(dir: &Directive, env: &mut Env) {
    env.no_effect.entry(dir.name_str().into_owned()).or_insert(dir.name.span);
}

/// A flag that may only be on.
fn only_on(_: &mut Scope, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    let mut on = None;
    values::flag(&mut on, dir)?;
    if on == Some(false) {
        return Err(refused(dir));
    }
    accept(dir, env);
    Ok(())
}

/// A directive whose only word may be `off`.
fn only_word_off(_: &mut Scope, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    if dir.args.len() != 1 || dir.arg(0).text != b"off" {
        return Err(refused(dir));
    }
    accept(dir, env);
    Ok(())
}

const fn word_off(name: &'static str, contexts: Contexts) -> Row<Scope> {
    let doc = "Not supported yet: only `off` is accepted.";
    let set: Setter<Scope> = only_word_off;
    Row { name, contexts, args: Args::AtLeast(1), doc, action: Action::Set(set) }
}

pub static ROWS: &[Row<Scope>] = rows! {
    [
        word_off("proxy_cache", HSL),
        word_off("disable_symlinks", HSL),
        row(
            "tcp_nodelay",
            HSL,
            Args::Flag,
            "Always on: `off` is not supported yet.",
            only_on,
        ),
        no_effect("proxy_cache_key", HSL, NO_CACHE),
        no_effect("proxy_cache_bypass", HSL, NO_CACHE),
        no_effect("proxy_no_cache", HSL, NO_CACHE),
        no_effect("proxy_cache_valid", HSL, NO_CACHE),
        no_effect("proxy_cache_min_uses", HSL, NO_CACHE),
        no_effect("proxy_cache_max_range_offset", HSL, NO_CACHE),
        no_effect("proxy_cache_use_stale", HSL, NO_CACHE),
        no_effect("proxy_cache_methods", HSL, NO_CACHE),
        no_effect("proxy_cache_lock", HSL, NO_CACHE),
        no_effect("proxy_cache_lock_timeout", HSL, NO_CACHE),
        no_effect("proxy_cache_lock_age", HSL, NO_CACHE),
        no_effect("proxy_cache_revalidate", HSL, NO_CACHE),
        no_effect("proxy_cache_convert_head", HSL, NO_CACHE),
        no_effect("proxy_cache_background_update", HSL, NO_CACHE),
        no_effect("fastcgi_temp_path", HSL, NO_TEMP),
        no_effect("scgi_temp_path", HSL, NO_TEMP),
        no_effect("uwsgi_temp_path", HSL, NO_TEMP),
    ]
    // acme
    "certificates come from files, which another program has to renew": HTTP =>
        "acme_issuer" "acme_shared_zone";
    "certificates come from files, which another program has to renew": Contexts::SERVER =>
        "acme_certificate";
    // dav
    "WebDAV is not built yet": HSL =>
        "dav_methods" "create_full_put_path" "min_delete_depth" "dav_access";
    // degradation
    "the size of the process is not watched": HTTP =>
        "degradation";
    "the size of the process is not watched": HSL =>
        "degrade";
    // fastcgi
    "FastCGI is not built yet": IN_LOCATION =>
        "fastcgi_pass";
    "FastCGI is not built yet": HSL =>
        "fastcgi_index" "fastcgi_split_path_info" "fastcgi_store" "fastcgi_store_access"
        "fastcgi_buffering" "fastcgi_request_buffering" "fastcgi_ignore_client_abort"
        "fastcgi_bind" "fastcgi_socket_keepalive" "fastcgi_socket_rcvbuf"
        "fastcgi_socket_sndbuf" "fastcgi_connect_timeout" "fastcgi_send_timeout"
        "fastcgi_send_lowat" "fastcgi_buffer_size" "fastcgi_pass_request_headers"
        "fastcgi_pass_request_body" "fastcgi_intercept_errors" "fastcgi_read_timeout"
        "fastcgi_buffers" "fastcgi_busy_buffers_size" "fastcgi_force_ranges"
        "fastcgi_limit_rate" "fastcgi_cache" "fastcgi_cache_key" "fastcgi_cache_bypass"
        "fastcgi_no_cache" "fastcgi_cache_valid" "fastcgi_cache_min_uses"
        "fastcgi_cache_max_range_offset" "fastcgi_cache_use_stale" "fastcgi_cache_methods"
        "fastcgi_cache_lock" "fastcgi_cache_lock_timeout" "fastcgi_cache_lock_age"
        "fastcgi_cache_revalidate" "fastcgi_cache_background_update"         "fastcgi_max_temp_file_size" "fastcgi_temp_file_write_size" "fastcgi_next_upstream"
        "fastcgi_next_upstream_tries" "fastcgi_next_upstream_timeout" "fastcgi_param"
        "fastcgi_pass_header" "fastcgi_hide_header" "fastcgi_ignore_headers"
        "fastcgi_catch_stderr" "fastcgi_keep_conn";
    "FastCGI is not built yet": HTTP =>
        "fastcgi_cache_path";
    // flv
    "seeking in films is not built yet": LOCATION =>
        "flv";
    // geoip
    "databases of addresses are not read, `geo` takes ranges": HTTP =>
        "geoip_country" "geoip_org" "geoip_city" "geoip_proxy" "geoip_proxy_recursive";
    // grpc
    "passing on gRPC is not built yet": IN_LOCATION =>
        "grpc_pass";
    "passing on gRPC is not built yet": HSL =>
        "grpc_bind" "grpc_socket_keepalive" "grpc_socket_rcvbuf" "grpc_socket_sndbuf"
        "grpc_connect_timeout" "grpc_send_timeout" "grpc_intercept_errors"
        "grpc_buffer_size" "grpc_read_timeout" "grpc_next_upstream"
        "grpc_next_upstream_tries" "grpc_next_upstream_timeout" "grpc_set_header"
        "grpc_pass_header" "grpc_hide_header" "grpc_ignore_headers" "grpc_ssl_session_reuse"
        "grpc_ssl_protocols" "grpc_ssl_ciphers" "grpc_ssl_name" "grpc_ssl_server_name"
        "grpc_ssl_verify" "grpc_ssl_verify_depth" "grpc_ssl_trusted_certificate"
        "grpc_ssl_crl" "grpc_ssl_certificate" "grpc_ssl_certificate_key"
        "grpc_ssl_certificate_cache" "grpc_ssl_password_file" "grpc_ssl_conf_command";
    // image
    "images are sent as they are": LOCATION =>
        "image_filter";
    "images are sent as they are": HSL =>
        "image_filter_jpeg_quality" "image_filter_webp_quality" "image_filter_sharpen"
        "image_filter_transparency" "image_filter_interlace" "image_filter_buffer";
    // memcached
    "memcached is not built yet": IN_LOCATION =>
        "memcached_pass";
    "memcached is not built yet": HSL =>
        "memcached_bind" "memcached_socket_keepalive" "memcached_connect_timeout"
        "memcached_send_timeout" "memcached_buffer_size" "memcached_read_timeout"
        "memcached_next_upstream" "memcached_next_upstream_tries"
        "memcached_next_upstream_timeout" "memcached_gzip_flag";
    // mp4
    "seeking in films is not built yet": LOCATION =>
        "mp4";
    "seeking in films is not built yet": HSL =>
        "mp4_buffer_size" "mp4_max_buffer_size" "mp4_start_key_frame";
    // proxy
    "caches are not built yet": HTTP =>
        "proxy_cache_path";
    // scgi
    "SCGI is not built yet": IN_LOCATION =>
        "scgi_pass";
    "SCGI is not built yet": HSL =>
        "scgi_store" "scgi_store_access" "scgi_buffering" "scgi_request_buffering"
        "scgi_ignore_client_abort" "scgi_bind" "scgi_socket_keepalive" "scgi_socket_rcvbuf"
        "scgi_socket_sndbuf" "scgi_connect_timeout" "scgi_send_timeout" "scgi_buffer_size"
        "scgi_pass_request_headers" "scgi_pass_request_body" "scgi_intercept_errors"
        "scgi_read_timeout" "scgi_buffers" "scgi_busy_buffers_size" "scgi_force_ranges"
        "scgi_limit_rate" "scgi_cache" "scgi_cache_key" "scgi_cache_bypass" "scgi_no_cache"
        "scgi_cache_valid" "scgi_cache_min_uses" "scgi_cache_max_range_offset"
        "scgi_cache_use_stale" "scgi_cache_methods" "scgi_cache_lock"
        "scgi_cache_lock_timeout" "scgi_cache_lock_age" "scgi_cache_revalidate"
        "scgi_cache_background_update" "scgi_max_temp_file_size"
        "scgi_temp_file_write_size" "scgi_next_upstream" "scgi_next_upstream_tries"
        "scgi_next_upstream_timeout" "scgi_param" "scgi_pass_header" "scgi_hide_header"
        "scgi_ignore_headers";
    "SCGI is not built yet": HTTP =>
        "scgi_cache_path";
    // slice
    "it serves caches, which are not built yet": HSL =>
        "slice";
    // tunnel
    "tunnels for CONNECT are not built yet": SERVER_LOCATION.or(Contexts::IF_IN_LOCATION) =>
        "tunnel_pass";
    "tunnels for CONNECT are not built yet": HSL =>
        "tunnel_bind" "tunnel_socket_keepalive" "tunnel_socket_rcvbuf"
        "tunnel_socket_sndbuf" "tunnel_connect_timeout" "tunnel_send_timeout"
        "tunnel_send_lowat" "tunnel_buffer_size" "tunnel_read_timeout"
        "tunnel_next_upstream" "tunnel_next_upstream_tries" "tunnel_next_upstream_timeout";
    // uwsgi
    "the uwsgi protocol is not built yet": IN_LOCATION =>
        "uwsgi_pass";
    "the uwsgi protocol is not built yet": HSL =>
        "uwsgi_modifier1" "uwsgi_modifier2" "uwsgi_store" "uwsgi_store_access"
        "uwsgi_buffering" "uwsgi_request_buffering" "uwsgi_ignore_client_abort" "uwsgi_bind"
        "uwsgi_socket_keepalive" "uwsgi_socket_rcvbuf" "uwsgi_socket_sndbuf"
        "uwsgi_connect_timeout" "uwsgi_send_timeout" "uwsgi_buffer_size"
        "uwsgi_pass_request_headers" "uwsgi_pass_request_body" "uwsgi_intercept_errors"
        "uwsgi_read_timeout" "uwsgi_buffers" "uwsgi_busy_buffers_size" "uwsgi_force_ranges"
        "uwsgi_limit_rate" "uwsgi_cache" "uwsgi_cache_key" "uwsgi_cache_bypass"
        "uwsgi_no_cache" "uwsgi_cache_valid" "uwsgi_cache_min_uses"
        "uwsgi_cache_max_range_offset" "uwsgi_cache_use_stale" "uwsgi_cache_methods"
        "uwsgi_cache_lock" "uwsgi_cache_lock_timeout" "uwsgi_cache_lock_age"
        "uwsgi_cache_revalidate" "uwsgi_cache_background_update"         "uwsgi_max_temp_file_size" "uwsgi_temp_file_write_size" "uwsgi_next_upstream"
        "uwsgi_next_upstream_tries" "uwsgi_next_upstream_timeout" "uwsgi_param"
        "uwsgi_string" "uwsgi_pass_header" "uwsgi_hide_header" "uwsgi_ignore_headers"
        "uwsgi_ssl_session_reuse" "uwsgi_ssl_protocols" "uwsgi_ssl_ciphers" "uwsgi_ssl_name"
        "uwsgi_ssl_server_name" "uwsgi_ssl_verify" "uwsgi_ssl_verify_depth"
        "uwsgi_ssl_trusted_certificate" "uwsgi_ssl_crl" "uwsgi_ssl_certificate"
        "uwsgi_ssl_certificate_key" "uwsgi_ssl_certificate_cache" "uwsgi_ssl_password_file"
        "uwsgi_ssl_conf_command";
    "the uwsgi protocol is not built yet": HTTP =>
        "uwsgi_cache_path";
    // xslt
    "XSLT is not built in": HSL =>
        "xml_entities" "xml_external_entities" "xslt_param" "xslt_string_param" "xslt_types"
        "xslt_last_modified";
    "XSLT is not built in": LOCATION =>
        "xslt_stylesheet";
    // perl
    "Perl is not built in": HTTP =>
        "perl_modules" "perl_require" "perl_set";
    "Perl is not built in": LOCATION =>
        "perl";
    // core
    "": HS =>
        "client_body_early_read";
};
