//! Values of whole requests: what is found, what is empty, what is missing.

use super::*;
use crate::http::fixture::Site;
use crate::http::h1::head::Version;
use crate::http::headers::Name;
use crate::http::method::Method;
use crate::http::request::Request;
use crate::http::spool::{Room, Spool};
use std::collections::HashSet;
use std::rc::Rc;

/// The value as text; `None` when it is not found.
fn get(req: &Request, name: &str) -> Option<String> {
    let exact = VARIABLES.iter().find(|row| row.name == name);
    let prefix =
        || VARIABLES.iter().find(|row| row.name.ends_with('_') && name.starts_with(row.name));
    let row = exact.or_else(prefix).unwrap();
    let mut out = Vec::new();
    let found = (row.get)(req, &name.as_bytes()[row.name.len()..], &mut out);
    found.then(|| String::from_utf8(out).unwrap())
}

fn check(req: &Request, expected: &[(&str, Option<&str>)]) {
    for (name, value) in expected {
        assert_eq!(get(req, name).as_deref(), *value, "${name}");
    }
}

#[test]
fn each_name_stands_once_in_lower_case() {
    let mut seen = HashSet::new();
    for row in VARIABLES {
        assert!(seen.insert(row.name), "{} twice", row.name);
        assert!(
            row.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        );
        assert!(row.doc.ends_with('.'), "{}", row.name);
    }
}

#[test]
fn times_have_three_decimals() {
    let mut out = Vec::new();
    seconds(&mut out, Duration::from_millis(12_007));
    assert_eq!(out, b"12.007");
}

#[test]
fn a_request_that_was_never_read_has_little() {
    let site = Site::new("", "");
    let mut req = site.request();
    req.head.line.clear();
    req.uri.clear();
    for name in [
        "request",
        "request_method",
        "request_uri",
        "uri",
        "args",
        "server_protocol",
        "remote_user",
        "content_length",
        "http_host",
        "arg_a",
        "cookie_a",
        "request_body",
        "request_body_file",
        "sent_http_content_type",
        "sent_http_content_length",
        "sent_http_location",
        "sent_http_last_modified",
        "sent_http_keep_alive",
        "sent_http_transfer_encoding",
        "sent_http_x",
        "proxy_protocol_addr",
    ] {
        assert_eq!(get(&req, name), None, "${name}");
    }
    for name in ["is_args", "https", "request_port", "is_request_port", "request_completion"] {
        assert_eq!(get(&req, name).as_deref(), Some(""), "${name}");
    }
    check(
        &req,
        &[("status", Some("000")), ("bytes_sent", Some("0")), ("request_length", Some("0"))],
    );
    req.head.version = Version::Http09;
    check(&req, &[("status", Some("009"))]);
}

#[test]
fn the_connection_is_told() {
    let site = Site::new("", "");
    let req = site.request();
    req.client.requests.set(3);
    check(
        &req,
        &[
            ("remote_addr", Some("127.0.0.1")),
            ("binary_remote_addr", Some("\x7f\0\0\x01")),
            ("remote_port", Some("40000")),
            ("server_addr", Some("127.0.0.1")),
            ("server_port", Some("80")),
            ("connection", Some("7")),
            ("connection_requests", Some("3")),
            ("pipe", Some(".")),
            ("scheme", Some("http")),
            ("nginx_version", Some("1.31.5")),
        ],
    );
    assert_eq!(get(&req, "connection_time").unwrap().split_once('.').unwrap().1.len(), 3);
    assert!(get(&req, "hostname").is_some_and(|name| !name.is_empty()));
}

#[test]
fn the_request_is_told() {
    let site = Site::new("", "");
    let mut req = site.request();
    req.head.port = b"0080".to_vec();
    req.args = b"a=1".to_vec();
    for (name, value) in [("Cookie", "a=1"), ("X-A", "p"), ("cookie", "b=2"), ("x-a", "q")] {
        req.head.headers.push(name.as_bytes(), value.as_bytes());
    }
    req.received = 10;
    req.body.raw = 5;
    check(
        &req,
        &[
            ("request_port", Some("80")),
            ("is_request_port", Some(":")),
            ("is_args", Some("?")),
            ("args", Some("a=1")),
            ("http_cookie", Some("a=1; b=2")),
            ("cookie_b", Some("2")),
            ("http_x_a", Some("p, q")),
            ("request_length", Some("15")),
        ],
    );
    assert_eq!(get(&req, "request_id"), get(&req, "request_id"));
    req.method = Method::Post;
    check(&req, &[("request_method", Some("POST"))]);
}

#[test]
fn the_body_is_told_while_it_is_in_memory() {
    let site = Site::new("", "");
    let mut req = site.request();
    req.body.chunked = true;
    req.body.received = 3;
    let mut kept = Spool::default();
    kept.append(b"abc", Room { own: 3, spare: false }, site.dir.path()).unwrap();
    req.body.kept = Some(Rc::new(kept));
    check(
        &req,
        &[
            ("content_length", Some("3")),
            ("request_body", Some("abc")),
            ("request_body_file", None),
        ],
    );
    req.body.kept.as_mut().and_then(Rc::get_mut).unwrap().to_file(site.dir.path()).unwrap();
    check(&req, &[("request_body", None)]);
    let path = get(&req, "request_body_file").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"abc");
}

#[test]
fn the_answer_is_told() {
    let site = Site::new("", "keepalive_timeout 5 7;");
    let mut req = site.request();
    req.reply.status = 404;
    req.error_status = 200;
    req.keepalive = true;
    req.reply.head_sent = true;
    req.reply.content_type = Some(b"text/plain".to_vec());
    req.reply.last_modified = Some(784_111_777);
    req.reply.location = Some(b"/x".to_vec());
    req.reply.headers.push_known(Name::Link, b"a");
    req.reply.headers.push_known(Name::Link, b"b");
    req.reply.trailers.push(b"X-Sum", b"1");
    check(
        &req,
        &[
            ("status", Some("200")),
            ("request_completion", Some("OK")),
            ("sent_http_content_type", Some("text/plain")),
            ("sent_http_last_modified", Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            ("sent_http_location", Some("/x")),
            ("sent_http_link", Some("a, b")),
            ("sent_http_connection", Some("keep-alive")),
            ("sent_http_keep_alive", Some("timeout=7")),
            ("sent_http_transfer_encoding", Some("chunked")),
            ("sent_trailer_x_sum", Some("1")),
        ],
    );
    req.reply.content_length = Some(0);
    req.keepalive = false;
    req.reply.truncated = true;
    check(
        &req,
        &[
            ("sent_http_content_length", Some("0")),
            ("sent_http_transfer_encoding", None),
            ("sent_http_connection", Some("close")),
            ("sent_http_keep_alive", None),
            ("request_completion", Some("")),
        ],
    );
}
