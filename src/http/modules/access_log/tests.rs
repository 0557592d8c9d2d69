//! Lines of whole requests, and the sentences that bad directives are refused with.

use super::run;
use crate::http::fixture::{Site, errors};
use crate::http::request::Request;
use std::time::{Duration, Instant};

fn logged(site: &Site, change: impl FnOnce(&mut Request)) {
    let mut req = site.request();
    req.reply.status = 200;
    change(&mut req);
    run(&req);
}

#[test]
fn without_directives_there_is_a_combined_log() {
    let site = Site::new("", "");
    logged(&site, |req| {
        req.head.headers.push(b"Referer", b"http://a/\"");
        req.head.headers.push(b"Authorization", b"Basic YTpi");
        req.body_sent = 5;
    });
    let text = site.text("logs/access.log");
    let shape = r#"(?x)^127\.0\.0\.1\ -\ a\ \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d\ [+-]\d{4}\]\ "GET\ /\ HTTP/1\.1"
                   \ 200\ 5\ "http://a/\\x22"\ "-"\n$"#;
    assert!(regex::Regex::new(shape).unwrap().is_match(&text), "{text}");
}

#[test]
fn words_of_a_format_are_joined_and_a_request_is_logged_once() {
    let site = Site::new("log_format f '$status|' '${uri}|$arg_a|$http_x'; access_log a f;", "");
    let mut req = site.request();
    req.args = b"a=1".to_vec();
    run(&req);
    run(&req);
    req.reply.status = 99;
    req.logged.set(false);
    run(&req);
    assert_eq!(site.text("a"), "000|/|1|-\n099|/|1|-\n");
}

#[test]
fn json_has_no_dash() {
    let site = Site::new(
        "log_format f escape=json '{\"u\":\"$remote_user\",\"q\":\"$request\"}';",
        "access_log a f;",
    );
    logged(&site, |req| req.head.line = b"GET /\"\x01".to_vec());
    assert_eq!(site.text("a"), "{\"u\":\"\",\"q\":\"GET /\\\"\\u0001\"}\n");
}

#[test]
fn a_condition_decides_for_its_own_log() {
    let site = Site::new("log_format f $uri;", "access_log a f if=$arg_l; access_log b f;");
    for args in ["l=1", "l=0", "l=", ""] {
        logged(&site, |req| {
            req.uri = format!("/{args}").into();
            req.args = args.into();
        });
    }
    assert_eq!(site.text("a"), "/l=1\n");
    assert_eq!(site.text("b").lines().count(), 4);
}

#[test]
fn off_and_inheritance() {
    let off = Site::new("access_log off;", "");
    logged(&off, |_| {});
    assert!(off.snapshot.needs.log_files.is_empty());
    let own = Site::new("access_log off;", "access_log a;");
    logged(&own, |_| {});
    assert_eq!(own.text("a").lines().count(), 1);
    let both = Site::new("", "access_log a; access_log off;");
    logged(&both, |_| {});
    assert_eq!(both.text("a"), "");
}

#[test]
fn a_buffer_belongs_to_the_file() {
    let logs = "access_log a f buffer=1k; access_log a f; access_log b f;";
    let site = Site::new("log_format f $uri;", logs);
    logged(&site, |_| {});
    assert_eq!(site.text("a"), "");
    assert_eq!(site.text("b"), "/\n");
    site.live.flush_logs(true);
    assert_eq!(site.text("a"), "/\n/\n");
}

#[test]
fn buffers_are_flushed_when_due() {
    let site = Site::new("", "access_log a combined buffer=1k flush=5s;");
    assert_eq!(site.live.next_flush(), None);
    logged(&site, |_| {});
    let due = site.live.next_flush().unwrap();
    assert!(due <= Instant::now() + Duration::from_secs(5));
    site.live.flush_logs(false);
    assert_eq!(site.text("a"), "");
    site.live.flush_logs(true);
    assert_eq!(site.text("a").lines().count(), 1);
    assert_eq!(site.live.next_flush(), None);
}

#[test]
fn a_name_with_variables_needs_the_root() {
    let site = Site::new("log_format f $uri; access_log logs/$host.log f;", "");
    logged(&site, |req| req.head.host = b"one".to_vec());
    logged(&site, |req| req.head.host = b"no/such/dir".to_vec());
    assert_eq!(site.text("logs/one.log"), "/\n");
    let errors = site.text("error.log");
    assert!(
        errors.contains("[crit]") && errors.contains("no/such/dir.log\" failed (2: No such file"),
        "{errors}"
    );
    std::fs::remove_dir(site.dir.path().join("html")).unwrap();
    logged(&site, |req| req.head.host = b"two".to_vec());
    assert_eq!(site.text("logs/two.log"), "");
    assert!(site.text("error.log").contains("existence failed (2: No such file"));
}

#[test]
fn refusals_are_nginx_s() {
    let cases = [
        ("access_log a nope;", "unknown log format \"nope\""),
        ("access_log off x;", "invalid parameter \"x\""),
        ("access_log a combined x=1;", "invalid parameter \"x=1\""),
        ("access_log a combined buffer=0;", "invalid buffer size \"0\""),
        ("access_log a combined buffer=1k flush=x;", "invalid flush time \"x\""),
        ("access_log a combined flush=1s;", "no buffer is defined for access_log \"a\""),
        ("access_log $host combined buffer=1k;", "buffered logs cannot have variables in name"),
        ("access_log syslog:server=none;", "host not found in syslog server \"none\""),
        ("access_log syslog:server=one combined gzip;", "logs to syslog cannot be buffered"),
        ("open_log_file_cache valid=1m;", "\"open_log_file_cache\" must have \"max\" parameter"),
        ("open_log_file_cache max=0;", "invalid \"open_log_file_cache\" parameter \"max=0\""),
        ("open_log_file_cache max=1 x;", "invalid \"open_log_file_cache\" parameter \"x\""),
        ("access_log a combined gzip=0;", "invalid compression level \"0\""),
        (
            "access_log a combined gzip; access_log a combined buffer=64k;",
            "access_log \"a\" already defined with conflicting parameters",
        ),
        ("log_format combined x;", "duplicate \"log_format\" name \"combined\""),
        ("log_format f x; log_format f y;", "duplicate \"log_format\" name \"f\""),
        ("log_format f escape=xml x;", "unknown log format escaping \"xml\""),
        ("log_format f '${a';", "the closing bracket in \"a\" variable is missing"),
        ("log_format f $nosuch;", "unknown \"nosuch\" variable"),
        (
            "access_log a combined buffer=1k; access_log a combined buffer=2k;",
            "access_log \"a\" already defined with conflicting parameters",
        ),
    ];
    for (text, sentence) in cases {
        assert_eq!(errors(text, ""), [sentence], "{text}");
    }
}

#[test]
fn an_inherited_error_is_told_once_and_order_does_not_matter() {
    assert_eq!(errors("access_log a nope;", "").len(), 1);
    assert!(errors("access_log a F; log_format f x;", "").is_empty());
}
