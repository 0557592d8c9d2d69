//! `limit_req` under a configuration: what is refused, delayed, logged and said.

use super::*;
use crate::http::fixture::{Site, errors};

const ZONES: &str = "limit_req_zone $arg_a zone=slow:32k rate=1r/m;
    limit_req_zone $arg_b zone=fast:32k rate=1000r/s;";

fn ask(site: &Site, args: &str) -> (Phase, Option<&'static str>) {
    let mut req = site.request();
    req.args = args.as_bytes().to_vec();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // With a clock that does not wait.
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    (runtime.block_on(run(&mut req)), req.limited.requests)
}

#[test]
fn each_key_has_its_own_count() {
    let site = Site::new(ZONES, "listen 1; limit_req zone=slow; limit_req_status 429;");
    assert_eq!(ask(&site, "a=1"), (Ok(()), Some("PASSED")));
    assert_eq!(ask(&site, "a=1"), (Err(Stop::Status(429)), Some("REJECTED")));
    assert_eq!(ask(&site, "a=2"), (Ok(()), Some("PASSED")));
    assert_eq!(ask(&site, ""), (Ok(()), None));
    let log = site.text("error.log");
    assert!(log.contains("[error]"), "{log}");
    assert!(log.contains("limiting requests, excess: 1.000 by zone \"slow\", client: "), "{log}");
}

#[test]
fn what_is_beyond_the_rate_waits() {
    let site = Site::new(ZONES, "listen 1; limit_req zone=slow burst=2 delay=1;");
    assert_eq!(ask(&site, "a=1"), (Ok(()), Some("PASSED")));
    assert_eq!(ask(&site, "a=1"), (Ok(()), Some("PASSED")));
    assert_eq!(ask(&site, "a=1"), (Ok(()), Some("DELAYED")));
    assert_eq!(ask(&site, "a=1"), (Err(Stop::Status(503)), Some("REJECTED")));
    let log = site.text("error.log");
    let at = log.find("delaying request, excess: ").expect("a line");
    assert!(log[at..].contains(", by zone \"slow\""), "{log}");
    assert!(log[..at].ends_with("*7 ") && log[..at].contains("[warn]"), "{log}");
}

#[test]
fn one_that_is_refused_is_counted_nowhere() {
    let site = Site::new(ZONES, "listen 1; limit_req zone=fast; limit_req zone=slow nodelay;");
    assert_eq!(ask(&site, "a=1&b=1").1, Some("PASSED"));
    assert_eq!(ask(&site, "b=2").1, Some("PASSED"));
    assert_eq!(ask(&site, "a=1&b=3").1, Some("REJECTED"));
    assert_eq!(ask(&site, "a=2&b=3").1, Some("PASSED"));
}

#[test]
fn a_dry_run_only_says_it() {
    let http = format!("{ZONES} limit_req_dry_run on; limit_req_log_level info;");
    let site = Site::new(&http, "listen 1; limit_req zone=slow burst=1;");
    assert_eq!(ask(&site, "a=1"), (Ok(()), Some("PASSED")));
    assert_eq!(ask(&site, "a=1"), (Ok(()), Some("DELAYED_DRY_RUN")));
    assert_eq!(ask(&site, "a=1"), (Ok(()), Some("REJECTED_DRY_RUN")));
    let log = site.text("error.log");
    assert!(log.contains("[info]") && !log.contains("[notice]"), "{log}");
    assert!(log.contains("limiting requests, dry run, excess: "), "{log}");
    assert!(log.contains("delaying request, dry run, excess: "), "{log}");
}

#[test]
fn a_full_zone_says_so() {
    let http = "limit_req_zone $arg_a zone=slow:32k rate=1r/m;";
    let site = Site::new(http, "listen 1; limit_req zone=slow burst=9 nodelay;");
    let room = site.live.zones[0].capacity();
    for number in 0..=room {
        assert_eq!(ask(&site, &format!("a={number}")).1, Some("PASSED"));
    }
    let text = format!("limit_req zone \"slow\" is full: the oldest of {room} keys are forgotten");
    assert_eq!(site.text("error.log").matches(&text).count(), 1);
    // It was forgotten: with it there would be an excess.
    assert_eq!(site.live.zones[0].lock().unwrap().evicted(), 1);
}

#[test]
fn mistakes_are_named_as_in_nginx() {
    let cases = [
        ("limit_req_zone $uri zone=one:1m rate=x;", "", "invalid rate \"rate=x\""),
        ("limit_req_zone $uri zone=one:1m rate=0r/s;", "", "invalid rate \"rate=0r/s\""),
        ("limit_req_zone $uri zone=one rate=1r/s;", "", "invalid zone size \"zone=one\""),
        ("limit_req_zone $uri zone=one:31k rate=1r/s;", "", "zone \"one\" is too small"),
        ("limit_req_zone $uri rate=1r/s x=1;", "", "invalid parameter \"x=1\""),
        (
            "limit_req_zone $uri rate=1r/s rate=1r/s;",
            "",
            "\"limit_req_zone\" must have \"zone\" parameter",
        ),
        (
            "limit_req_zone $uri zone=a:1m rate=1r/s; limit_req_zone $host zone=a:1m rate=1r/s;",
            "",
            "limit_req_zone \"a\" is already bound to key \"$uri\"",
        ),
        (
            "limit_req_zone $uri zone=a:1m rate=1r/s; limit_req_zone $uri zone=a:2m rate=1r/s;",
            "",
            "the size 2097152 of shared memory zone \"a\" conflicts with already declared size 1048576",
        ),
        (
            "limit_req_zone $uri zone=a:1m rate=1r/s; limit_conn_zone $uri zone=a:1m;",
            "",
            "the shared memory zone \"a\" is already declared for a different use",
        ),
        ("", "limit_req zone=none;", "zero size shared memory zone \"none\""),
        ("", "limit_req burst=1;", "\"limit_req\" must have \"zone\" parameter"),
        ("", "limit_req zone=a burst=0;", "invalid burst value \"burst=0\""),
        ("", "limit_req zone=a delay=x;", "invalid delay value \"delay=x\""),
        ("", "limit_req zone=a slow;", "invalid parameter \"slow\""),
        ("", "limit_req zone=a; limit_req zone=a;", "\"limit_req\" directive is duplicate"),
        ("", "limit_req_status 399;", "value must be between 400 and 599"),
        ("", "limit_req_log_level crit;", "invalid value \"crit\""),
    ];
    for (http, server, expected) in cases {
        let found = errors(http, server);
        assert_eq!(found.first().map(String::as_str), Some(expected), "{http} {server}");
    }
}
