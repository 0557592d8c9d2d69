//! Tests of the upstream block: what is read, what is refused, and with which words.

use crate::http::fixture::{errors, snapshot};
use crate::http::snapshot::Snapshot;
use crate::upstream::Balance;
use std::time::Duration;

fn load(text: &str) -> (Snapshot, Vec<String>) {
    snapshot(text, "listen 1;")
}

fn error(text: &str) -> String {
    let errors = errors(text, "listen 1;");
    assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    errors.into_iter().next().unwrap()
}

#[test]
fn a_block_becomes_a_group() {
    let (snapshot, warnings) = load(
        "upstream App { least_conn; server two:81 weight=3 max_fails=0 fail_timeout=1m max_conns=5; \
         server unix:/s backup; server nowhere down; keepalive 7; keepalive_timeout 5s; }",
    );
    assert_eq!(warnings, ["host not found in upstream \"nowhere\""]);
    let group = &snapshot.groups[0];
    assert_eq!((group.name.as_str(), group.balance), ("App", Balance::LeastConn));
    let keepalive = group.keepalive;
    assert_eq!((keepalive.connections, keepalive.local), (7, false));
    assert_eq!((keepalive.timeout, keepalive.requests), (Duration::from_secs(5), 1000));
    let [two, unix, nowhere] = &group.servers[..] else { panic!("{group:?}") };
    let shown: Vec<_> = two.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.1:81", "10.0.0.2:81"]);
    assert_eq!((two.weight, two.max_fails, two.max_conns), (3, 0, 5));
    assert_eq!(two.fail_timeout, Duration::from_mins(1));
    assert!(unix.backup && unix.addresses[0].to_string() == "unix:/s");
    assert!(nowhere.down && nowhere.addresses.is_empty());
    assert_eq!(nowhere.host_port, Some(("nowhere".into(), 80)));
}

#[test]
fn keepalive_defaults_are_of_nginx_1_31() {
    let keepalive = |text: &str| load(text).0.groups[0].keepalive;
    let default = keepalive("upstream a { server one; }");
    assert_eq!((default.connections, default.local), (32, true));
    assert_eq!(keepalive("upstream a { server one; keepalive 0; }").connections, 0);
    assert!(keepalive("upstream a { server one; keepalive 1 local; }").local);
}

#[test]
fn complaints_are_nginxs() {
    for (text, message) in [
        ("upstream a { }", "no servers are inside upstream"),
        ("upstream a { server one backup; }", "no servers in upstream \"a\""),
        ("upstream a { server one; } upstream A { server one; }", "duplicate upstream \"A\""),
        ("upstream a { server one weight=0; }", "invalid parameter \"weight=0\""),
        ("upstream a { server one wight=1; }", "invalid parameter \"wight=1\""),
        ("upstream a { server one fail_timeout=x; }", "invalid parameter \"fail_timeout=x\""),
        ("upstream a { server one backup=1; }", "invalid parameter \"backup=1\""),
        ("upstream a { server one:x; }", "invalid port in upstream \"one:x\""),
        (
            "upstream a { ip_hash; server one; server two backup; }",
            "balancing method does not support parameter \"backup\"",
        ),
        (
            "upstream a { server one; keepalive x; }",
            "invalid value \"x\" in \"keepalive\" directive",
        ),
        ("upstream a { server one; keepalive 1 loc; }", "invalid parameter \"loc\""),
        ("upstream a { server one; listen 80; }", "\"listen\" directive is not allowed here"),
    ] {
        assert_eq!(error(text), message, "{text}");
    }
    let (_, warnings) = load("upstream a { ip_hash; least_conn; server one; }");
    assert_eq!(warnings, ["load balancing method redefined"]);
}

#[test]
fn complaints_about_newer_parameters_are_nginxs() {
    for (text, message) in [
        ("upstream a { server one slow_start=x; }", "invalid parameter \"slow_start=x\""),
        (
            "upstream a { ip_hash; server one slow_start=1s; }",
            "balancing method does not support parameter \"slow_start=1s\"",
        ),
        ("upstream a { server one; queue 5; }", "\"queue\" directive is not supported yet"),
        (
            "upstream a { server one resolve; }",
            "resolving names at run time requires upstream \"a\" to be in shared memory",
        ),
        (
            "upstream a { zone a 64k; server one resolve; }",
            "no resolver defined to resolve names at run time in upstream \"a\"",
        ),
        (
            "upstream a { server one service=x; }",
            "service upstream \"one\" requires \"resolve\" parameter",
        ),
        (
            "upstream a { server one:1 service=x resolve; }",
            "service upstream \"one:1\" may not have port",
        ),
        (
            "upstream a { server 127.0.0.1 service=x resolve; }",
            "service upstream \"127.0.0.1\" requires domain name",
        ),
        ("upstream a { server one route=; }", "route is empty"),
        ("upstream a { hash $uri twice; server one; }", "invalid parameter \"twice\""),
        ("upstream a { random two least; server one; }", "invalid parameter \"least\""),
        ("upstream a { least_time now; server one; }", "invalid value \"now\""),
        ("upstream a { sticky route x; server one; }", "invalid variable name \"x\""),
        ("upstream a { sticky by x; server one; }", "unknown parameter \"by\""),
        (
            "upstream a { sticky learn create=$uri zone=z:1m; server one; }",
            "\"sticky\" directive \"lookup\" parameter is not specified",
        ),
        (
            "upstream a { sticky learn create=$uri lookup=$uri zone=z:1k; server one; }",
            "\"sticky\" directive zone is too small",
        ),
        (
            "upstream a { sticky learn create=$uri lookup=$uri zone=z:1m; server one; }
             upstream b { sticky learn create=$uri lookup=$uri zone=z:1m; server one; }",
            "sticky zone \"z\" is already used in upstream \"a\"",
        ),
        (
            "upstream a { sticky cookie s expires=x; server one; }",
            "\"sticky\" directive invalid \"expires\" parameter value",
        ),
        (
            "upstream a { hash $uri; server one; server two backup; }",
            "balancing method does not support parameter \"backup\"",
        ),
    ] {
        assert_eq!(error(text), message, "{text}");
    }
}

#[test]
fn complaints_about_zones_are_nginxs() {
    for (text, message) in [
        ("upstream a { zone \"\" 1m; server one; }", "invalid zone name \"\""),
        ("upstream a { zone z x; server one; }", "invalid zone size \"x\""),
        ("upstream a { zone z 8k; server one; }", "zone \"z\" is too small"),
        ("upstream a { zone z; server one; }", "zero size shared memory zone \"z\""),
        (
            "upstream a { zone z 1m; server one; } upstream b { zone z 2m; server one; }",
            "the size 2097152 of shared memory zone \"z\" conflicts with already declared size 1048576",
        ),
        (
            "limit_req_zone $uri zone=z:1m rate=1r/s; upstream a { zone z 1m; server one; }",
            "the shared memory zone \"z\" is already declared for a different use",
        ),
    ] {
        assert_eq!(error(text), message, "{text}");
    }
}

#[test]
fn groups_may_have_one_zone() {
    let (snapshot, _) = load(
        "upstream a { zone z; server one; } upstream b { zone z 1m; server one; }
         upstream c { server one; }",
    );
    let zones: Vec<_> = snapshot.groups.iter().map(|group| group.zone.clone()).collect();
    let z = Some((b"z".to_vec(), 1 << 20));
    assert_eq!(zones, [z.clone(), z, None]);
    assert_eq!(snapshot.zones.len(), 1);
}

#[test]
fn a_host_implies_one_group_however_often_it_is_named() {
    let (snapshot, _) = load(
        "upstream app { server one; } server { listen 2;
         location /a { proxy_pass http://one; } location /b { proxy_pass http://one:80/x; }
         location /c { proxy_pass http://one:81; } location /d { proxy_pass http://APP; } }",
    );
    let names: Vec<_> = snapshot.groups.iter().map(|group| &*group.name).collect();
    assert_eq!(names, ["app", "one:80", "one:81"]);
    let message = error(
        "upstream app { server one; } server { listen 2; location / { proxy_pass http://app:80; } }",
    );
    assert_eq!(message, "upstream \"app\" may not have port 80");
}
