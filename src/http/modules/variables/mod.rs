//! Owns the table of nginx's core variables: `ngx_http_variables.c`, row by row.
//!
//! Must not hold the variables of other modules (files, proxy, upstream): those stand in them.

mod answer;
mod client;
mod fields;
mod process;
mod request;

pub use request::made_id;

use crate::conf::Row;
use crate::http::draft::Scope;
use crate::http::finish::Finish;
use crate::http::vars::{Getter, Variable};
use std::fmt;
use std::io::Write;
use std::time::Duration;

/// As written: there are no directives here.
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

pub static ROWS: &[Row<Scope>] = &[];

const fn var(name: &'static str, get: Getter, doc: &'static str) -> Variable {
    Variable { name, doc, get }
}

// One line a variable: the table is to be read as a whole.
#[rustfmt::skip]
pub static VARIABLES: &[Variable] = &[
    // Fields of the request.
    var("http_host", fields::host, "The `Host` field as sent."),
    var("http_user_agent", fields::user_agent, "The `User-Agent` field."),
    var("http_referer", fields::referer, "The `Referer` field."),
    var("http_via", fields::via, "The `Via` fields, joined with commas."),
    var("http_x_forwarded_for", fields::x_forwarded_for, "The `X-Forwarded-For` fields, joined with commas."),
    var("http_cookie", fields::cookies, "The `Cookie` fields, joined with semicolons."),
    var("http_", fields::http, "Any field of the request; dashes of its name become underscores."),
    var("cookie_", fields::cookie, "A cookie of this name."),
    var("arg_", fields::arg, "An argument of the request line, as sent."),
    var("content_length", request::content_length, "Length of the request's body, when it is known."),
    var("content_type", fields::content_type, "The `Content-Type` field of the request."),
    // The request.
    var("request", request::line, "The request line as sent."),
    var("request_method", request::method, "The method; GET after `error_page` has taken over."),
    var("request_uri", request::target, "The target as sent, with its arguments."),
    var("uri", request::uri, "The decoded path, as internal redirects have left it."),
    var("document_uri", request::uri, "The same as `$uri`."),
    var("args", request::args, "The arguments of the request, as sent."),
    var("query_string", request::args, "The same as `$args`."),
    var("is_args", request::is_args, "`?` when there are arguments, else empty."),
    var("server_protocol", request::protocol, "The protocol of the request, such as `HTTP/1.1`."),
    var("scheme", request::scheme, "`http` or `https`."),
    var("https", request::https, "`on` for a connection with TLS, else empty."),
    var("host", request::host, "The host the request names, in lower case, else the server's first name."),
    var("request_port", request::port, "The port the request names beside the host, else empty."),
    var("is_request_port", request::is_port, "`:` when the request names a port, else empty."),
    var("server_name", request::server_name, "The first name of the server that took the request."),
    var("remote_user", request::remote_user, "The user name of basic authentication."),
    var("request_body", request::body, "The request's body, when it has been read into memory."),
    var("request_body_file", request::body_file, "The temporary file with the request's body."),
    var("request_length", request::length, "Bytes of the request read so far: line, fields, body."),
    var("request_time", request::time, "Seconds since the first byte of the request, to the millisecond."),
    var("request_id", request::id, "A random name for the request: 32 hexadecimal digits."),
    var("request_completion", answer::completion, "`OK` when the answer was sent whole, else empty."),
    var("pipe", request::pipe, "`p` for a pipelined request, else `.`."),
    // The connection.
    var("remote_addr", client::address, "The client's address."),
    var("binary_remote_addr", client::binary_address, "The client's address in 4 or 16 bytes."),
    var("remote_port", client::port, "The client's port."),
    var("server_addr", client::server_address, "The address the client connected to."),
    var("server_port", client::server_port, "The port the client connected to."),
    var("connection", client::number, "Serial number of the connection."),
    var("connection_requests", client::requests, "Requests so far on this connection, this one included."),
    var("connection_time", client::time, "Seconds the connection has lasted, to the millisecond."),
    var("proxy_protocol_addr", client::announced_address, "The client's address in the header of the PROXY protocol."),
    var("proxy_protocol_port", client::announced_port, "The client's port in that header."),
    var("proxy_protocol_server_addr", client::announced_server, "The address that the client has connected to, by that header."),
    var("proxy_protocol_server_port", client::announced_server_port, "The port that the client has connected to, by that header."),
    var("proxy_protocol_tlv_", client::announced_tlv, "A further value of that header, by its name (`alpn`, `authority`, `unique_id`, `netns`, `ssl_version`, `ssl_cn` …) or number (`0x01`)."),
    // The answer.
    var("status", answer::status, "Status of the answer, three digits."),
    var("bytes_sent", answer::bytes_sent, "Bytes sent to the client."),
    var("body_bytes_sent", answer::body_bytes_sent, "Bytes sent to the client, less the head of the answer."),
    var("sent_http_content_type", answer::content_type, "The `Content-Type` field of the answer."),
    var("sent_http_content_length", answer::content_length, "The `Content-Length` field of the answer."),
    var("sent_http_location", answer::location, "The `Location` field of the answer."),
    var("sent_http_last_modified", answer::last_modified, "The `Last-Modified` field of the answer."),
    var("sent_http_connection", answer::connection, "The `Connection` field of the answer."),
    var("sent_http_keep_alive", answer::keep_alive, "The `Keep-Alive` field of the answer."),
    var("sent_http_transfer_encoding", answer::transfer_encoding, "The `Transfer-Encoding` field of the answer."),
    var("sent_http_", fields::sent_http, "Any field of the answer; dashes of its name become underscores."),
    var("sent_trailer_", fields::sent_trailer, "Any trailer field of the answer."),
    // The process and the time.
    var("nginx_version", process::nginx_version, "The nginx release whose behaviour is followed."),
    var("hostname", process::hostname, "Name of this machine."),
    var("pid", process::pid, "Number of the worker process."),
    var("msec", process::msec, "Seconds since 1970, to the millisecond."),
    var("time_iso8601", process::time_iso8601, "Local time as in ISO 8601."),
    var("time_local", process::time_local, "Local time as in the common log format."),
];

/// Appends formatted text; a value in any case.
fn print(out: &mut Vec<u8>, text: fmt::Arguments<'_>) -> bool {
    // Writing into a Vec cannot fail.
    let _ = out.write_fmt(text);
    true
}

/// Appends bytes; a value in any case.
fn put(out: &mut Vec<u8>, text: &[u8]) -> bool {
    out.extend_from_slice(text);
    true
}

/// Appends bytes; nginx takes a part of the request that was never read for not found.
fn if_any(out: &mut Vec<u8>, text: &[u8]) -> bool {
    out.extend_from_slice(text);
    !text.is_empty()
}

/// Appends `seconds.milliseconds`.
fn seconds(out: &mut Vec<u8>, time: Duration) -> bool {
    print(out, format_args!("{}.{:03}", time.as_secs(), time.subsec_millis()))
}

#[cfg(test)]
mod tests;
