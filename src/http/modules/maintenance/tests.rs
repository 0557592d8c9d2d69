//! Who passes a closed door and what the others get, module and directives together.

use super::*;
use crate::http::body::Body;
use crate::http::fixture::{Site, errors, snapshot};
use crate::http::headers::Name;
use crate::http::method::Method;
use crate::http::pipeline;
use crate::net::Peer;
use crate::token::Key;
use crate::zone::gates::{Order, State};
use std::net::IpAddr;

/// A site with its switch closed, as an order says.
fn closed(server: &str, order: Order) -> Site {
    let site = Site::new("", &format!("listen 1; server_name www.example.com; {server}"));
    let order = Order { state: State::Closed, ..order };
    site.gates.set(site.gates.default_switch(), &order);
    site
}

fn shut(server: &str) -> Site {
    closed(server, Order::default())
}

/// A request for a path, with fields.
fn request(site: &Site, path: &str, fields: &[(&str, &str)]) -> Request {
    let mut req = site.request();
    req.uri = path.as_bytes().to_vec();
    for (name, value) in fields {
        req.head.headers.push(name.as_bytes(), value.as_bytes());
    }
    req
}

/// Takes it through the pipeline.
fn run(mut req: Request) -> Request {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, pipeline::run(&mut req));
    req
}

fn ask(site: &Site, path: &str, fields: &[(&str, &str)]) -> Request {
    run(request(site, path, fields))
}

fn field<'a>(req: &'a Request, name: &str) -> &'a str {
    std::str::from_utf8(req.reply.headers.get_str(name.as_bytes()).unwrap_or_default()).unwrap()
}

fn body(req: &Request) -> String {
    match &req.reply.body {
        Body::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

fn location(req: &Request) -> String {
    String::from_utf8(req.reply.location.clone().unwrap_or_default()).unwrap()
}

const HELLO: &str = "location / { return 200 hello; }";

#[test]
fn the_page_is_an_error_that_says_when_to_come_back() {
    let until = u64::try_from(crate::log::clock::seconds()).unwrap() + 1000;
    let order = Order { reason: "a <new> shop".into(), until: Some(until), ..Order::default() };
    let site = closed(HELLO, order);
    let req = ask(&site, "/", &[]);
    assert_eq!((req.reply.status, req.guest.action), (503, Action::Page));
    assert_eq!(req.reply.content_type.as_deref(), Some(&b"text/html; charset=utf-8"[..]));
    assert_eq!(field(&req, "Cache-Control"), "no-store");
    assert!(field(&req, "Vary").starts_with("Accept"));
    let retry: u64 = field(&req, "Retry-After").parse().unwrap();
    assert!((990..=1024).contains(&retry), "{retry}");
    assert!(body(&req).contains("<html lang=\"en\">"), "{}", body(&req));
    assert!(body(&req).contains("a &lt;new&gt; shop"), "{}", body(&req));
    assert!(body(&req).contains("<time datetime=\""), "{}", body(&req));
    let req = ask(&site, "/", &[("Accept-Language", "zh-CN,zh;q=0.9")]);
    assert_eq!(field(&req, "Vary"), "Accept, Accept-Language");
    assert!(body(&req).contains("<html lang=\"zh\">"), "{}", body(&req));
}

#[test]
fn an_end_that_is_over_says_nothing_any_more() {
    let site = closed(HELLO, Order { until: Some(1000), ..Order::default() });
    let retry: u64 = field(&ask(&site, "/", &[]), "Retry-After").parse().unwrap();
    assert!((120..=144).contains(&retry), "{retry}");
    let site = shut(&format!("maintenance_retry_after 10 jitter=0%; {HELLO}"));
    assert_eq!(field(&ask(&site, "/", &[]), "Retry-After"), "10");
}

#[test]
fn no_method_is_refused_as_such() {
    let site = shut("location / { root html; }");
    for method in [Method::Post, Method::Put, Method::Delete, Method::Patch, Method::Other] {
        let mut req = request(&site, "/", &[]);
        (req.method, req.head.method) = (method, method);
        assert_eq!(run(req).reply.status, 503, "{method:?}");
    }
}

#[test]
fn switches_are_joined_level_by_level() {
    let site = shut(
        "location / { return 200; } location /off { maintenance off; return 200; \
         location /off/inner { return 200; } location /off/shop { maintenance shop; return 200; } } \
         location /shop { maintenance shop; return 200; } location /status { stub_status; }",
    );
    for (path, status, action) in [
        ("/", 503, Action::Page),
        ("/off", 200, Action::Exempt),
        ("/off/inner", 200, Action::Exempt),
        ("/off/shop", 200, Action::Pass),
        ("/shop", 200, Action::Pass),
        ("/status", 200, Action::Exempt),
        ("/.well-known/acme-challenge/x", 200, Action::Exempt),
        ("/.well-known/other", 503, Action::Page),
        ("/.well-known/acme-challenge/..;/order", 503, Action::Page),
    ] {
        let req = ask(&site, path, &[]);
        assert_eq!((req.reply.status, req.guest.action), (status, action), "{path}");
    }
    let shop = site.gates.switch("shop").unwrap();
    site.gates.set(shop, &Order { state: State::Closed, ..Order::default() });
    assert_eq!(ask(&site, "/shop", &[]).reply.status, 503);
    assert_eq!(ask(&site, "/off/shop", &[]).reply.status, 503);
}

#[test]
fn json_clients_get_a_document() {
    let site = closed(HELLO, Order { reason: "new \"database\"".into(), ..Order::default() });
    let req = ask(&site, "/", &[("Accept", "application/json")]);
    assert_eq!((req.reply.status, req.guest.action), (503, Action::Json));
    assert_eq!(req.reply.content_type.as_deref(), Some(&b"application/problem+json"[..]));
    let document: serde_json::Value = serde_json::from_str(&body(&req)).unwrap();
    assert_eq!(document["status"], 503);
    assert_eq!(document["title"], "Service Unavailable");
    assert_eq!(document["detail"], "new \"database\"");
    assert_eq!(document["retry_after"].to_string(), field(&req, "Retry-After"));
    let site = shut(&format!("maintenance_json off; maintenance_status 500; {HELLO}"));
    let req = ask(&site, "/", &[("Accept", "application/json")]);
    assert_eq!((req.reply.status, req.guest.action), (500, Action::Page));
}

#[test]
fn grpc_clients_get_a_status_of_theirs() {
    let site = closed(HELLO, Order { reason: "back at 5%".into(), ..Order::default() });
    let req = ask(&site, "/", &[("Content-Type", "application/grpc+proto")]);
    assert_eq!((req.reply.status, req.guest.action), (200, Action::Grpc));
    assert_eq!(field(&req, "grpc-status"), "14");
    assert_eq!(field(&req, "grpc-message"), "back at 5%25");
    assert_eq!(field(&req, "Retry-After"), "");
    assert_eq!(body(&req), "");
}

const APP: (&str, &str) = ("Origin", "https://app.example.com");

#[test]
fn scripts_of_listed_origins_may_read_the_answer() {
    let cors = "maintenance_cors https://App.example.com:443 http://[::1]:3000;";
    let site = shut(&format!("maintenance_redirect /maintain.html; {cors} {HELLO}"));
    let req = ask(&site, "/", &[APP, ("Accept", "application/json")]);
    assert_eq!((req.reply.status, req.guest.action), (503, Action::Json));
    assert_eq!(field(&req, "Access-Control-Allow-Origin"), "https://app.example.com");
    assert_eq!(field(&req, "Access-Control-Allow-Credentials"), "true");
    assert!(field(&req, "Access-Control-Expose-Headers").starts_with("Retry-After, grpc-status"));
    let vary: Vec<_> = req.reply.headers.get_all(Name::Vary).collect();
    assert_eq!(vary, [&b"Accept, Accept-Language"[..], b"Origin"]);
    // What a script fetches is no page being opened.
    assert_eq!(ask(&site, "/", &[APP]).guest.action, Action::Page);
    for fields in [&[("Origin", "https://evil.example.com")][..], &[("Origin", "null")], &[]] {
        let req = ask(&site, "/", fields);
        assert_eq!(field(&req, "Access-Control-Allow-Origin"), "", "{fields:?}");
        assert_eq!(field(&req, "Access-Control-Expose-Headers"), "", "{fields:?}");
    }
    let site = shut(&format!("maintenance_cors *; {HELLO}"));
    let req = ask(&site, "/", &[("Origin", "null")]);
    assert_eq!(field(&req, "Access-Control-Allow-Origin"), "*");
    assert_eq!(field(&req, "Access-Control-Allow-Credentials"), "");
    assert_eq!(field(&ask(&shut(HELLO), "/", &[APP]), "Access-Control-Allow-Origin"), "");
}

#[test]
fn preflights_of_listed_origins_are_answered() {
    let site = shut(&format!("maintenance_cors https://app.example.com; {HELLO}"));
    let preflight = |fields: &[(&str, &str)]| {
        let mut req = request(&site, "/", fields);
        (req.method, req.head.method) = (Method::Options, Method::Options);
        run(req)
    };
    let (method, names) = (
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "content-type,x-csrf"),
    );
    let req = preflight(&[APP, method, names]);
    assert_eq!((req.reply.status, req.guest.action), (204, Action::Preflight));
    for (name, value) in [
        ("Access-Control-Allow-Origin", APP.1),
        ("Access-Control-Allow-Methods", "PUT"),
        ("Access-Control-Allow-Headers", "content-type,x-csrf"),
        ("Access-Control-Max-Age", "0"),
        ("Cache-Control", "no-store"),
    ] {
        assert_eq!(field(&req, name), value, "{name}");
    }
    for fields in [&[APP][..], &[("Origin", "https://evil.example.com"), method], &[method]] {
        assert_eq!(preflight(fields).reply.status, 503, "{fields:?}");
    }
}

#[test]
fn only_navigations_are_redirected_and_never_in_a_circle() {
    for target in [
        "/maintain.html",
        "http://www.example.com/maintain.html",
        "http://WWW.example.com:81/maintain.html?x#y",
    ] {
        let site = shut(&format!("maintenance_redirect {target}; {HELLO}"));
        let req = ask(&site, "/shop", &[]);
        assert_eq!((req.reply.status, req.guest.action), (302, Action::Redirect), "{target}");
        assert!(location(&req).ends_with(target), "{}", location(&req));
        assert_eq!(field(&req, "Cache-Control"), "no-store");
        let req = ask(&site, "/maintain.html", &[]);
        assert_eq!((req.reply.status, req.guest.action), (503, Action::Page), "{target}");
    }
    let site = shut(&format!("maintenance_redirect https://status.example.com/ 307; {HELLO}"));
    let req = ask(&site, "/", &[]);
    assert_eq!((req.reply.status, location(&req)), (307, "https://status.example.com/".to_owned()));
    for fields in [
        ("Accept", "application/json"),
        ("X-Requested-With", "XMLHttpRequest"),
        ("Upgrade", "websocket"),
        ("Sec-Fetch-Mode", "cors"),
    ] {
        assert_eq!(ask(&site, "/", &[fields]).reply.status, 503, "{fields:?}");
    }
    let mut post = request(&site, "/", &[]);
    (post.method, post.head.method) = (Method::Post, Method::Post);
    assert_eq!(run(post).reply.status, 503);
    let site = shut(&format!("maintenance_redirect http://$host/%7Ewait; {HELLO}"));
    assert_eq!(ask(&site, "/", &[]).reply.status, 302);
    assert_eq!(ask(&site, "/~wait", &[]).reply.status, 503);
}

#[test]
fn who_was_led_to_the_page_is_led_back() {
    let server = "maintenance_redirect /maintain.html; \
                  location / { proxy_pass http://unix:/nowhere/socket; } location /static/ { }";
    let site = Site::new("", &format!("listen 1; {server}"));
    let req = ask(&site, "/maintain.html", &[]);
    assert_eq!((req.reply.status, location(&req)), (302, "http://127.0.0.1/".to_owned()));
    assert_eq!(ask(&site, "/other", &[]).reply.status, 502);
    let site = Site::new("", "listen 1; maintenance_redirect /maintain.html; location / { }");
    assert_eq!(ask(&site, "/maintain.html", &[]).reply.status, 404, "it may be a file here");
}

#[test]
fn listed_addresses_pass_whatever_their_clothes() {
    let site = closed(
        &format!(
            "maintenance_allow 192.0.2.0/24 2001:db8::/48; maintenance_allow ::ffff:198.51.100.7; {HELLO}"
        ),
        Order { allow: vec!["203.0.113.9/32".parse().unwrap()], ..Order::default() },
    );
    let passes = |address: &str| {
        let mut req = request(&site, "/", &[]);
        let client = std::rc::Rc::get_mut(&mut req.client).unwrap();
        client.peer = Peer::Inet((address.parse::<IpAddr>().unwrap(), 1).into());
        let req = run(req);
        let marked = field(&req, "X-Maintenance") == "bypass";
        assert_eq!(marked, req.reply.status == 200);
        assert_eq!(marked, req.guest.action == Action::BypassIp);
        assert_eq!(field(&req, "Cache-Control"), "no-store");
        marked
    };
    for (address, expected) in [
        ("192.0.2.0", true),
        ("192.0.2.255", true),
        ("192.0.3.0", false),
        ("::ffff:192.0.2.5", true),
        ("198.51.100.7", true),
        ("198.51.100.8", false),
        ("2001:db8::", true),
        ("2001:db8:0:ffff:ffff:ffff:ffff:ffff", true),
        ("2001:db8:1::", false),
        ("203.0.113.9", true),
        ("::ffff:203.0.113.9", true),
        ("127.0.0.1", false),
    ] {
        assert_eq!(passes(address), expected, "{address}");
    }
    let order = Order { state: State::Closed, no_bypass: true, ..Order::default() };
    site.gates.set(site.gates.default_switch(), &order);
    assert!(!passes("192.0.2.0"));
}

const KEY: &[u8] = b"0123456789abcdef";

/// A site whose key is in a file of its own.
fn guarded(server: &str) -> (Site, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, KEY).unwrap();
    let key = file.display();
    let server = format!(
        "maintenance_bypass_cookie pass key_file={key} ttl=1h; maintenance_bypass_header X-Pass; {server}"
    );
    (shut(&server), dir)
}

fn token(switch: &str, for_seconds: i64) -> String {
    let until = u64::try_from(crate::log::clock::seconds() + for_seconds).unwrap();
    Key::new(KEY).unwrap().sign(switch, 0, "alice", until)
}

#[test]
fn a_token_lets_in_and_goes_no_further() {
    let (site, _dir) = guarded(HELLO);
    let good = token("default", 100);
    let cookies = format!("a=b; pass={good}; c=d");
    let req = ask(&site, "/", &[("Cookie", &cookies)]);
    assert_eq!((req.reply.status, req.guest.action), (200, Action::BypassToken));
    assert_eq!(req.head.headers.get(Name::Cookie), Some(&b"a=b; c=d"[..]));
    let req = ask(&site, "/", &[("Cookie", &format!("pass={good}")), ("X-PASS", "nonsense")]);
    assert_eq!((req.reply.status, req.head.headers.len()), (200, 0));
    let req = ask(&site, "/", &[("x-pass", &good)]);
    assert_eq!((req.reply.status, req.head.headers.len()), (200, 0));
    for bad in
        [token("default", -1), token("shop", 100), good.replace("alice", "bob"), String::new()]
    {
        let req = ask(&site, "/", &[("Cookie", &format!("pass={bad}")), ("X-Pass", &bad)]);
        assert_eq!((req.reply.status, req.head.headers.len()), (503, 0), "{bad}");
    }
    // While the door is open as well.
    site.gates.set(site.gates.default_switch(), &Order::default());
    let req = ask(&site, "/", &[("Cookie", &cookies)]);
    assert_eq!((req.reply.status, req.guest.action), (200, Action::Pass));
    assert_eq!(req.head.headers.get(Name::Cookie), Some(&b"a=b; c=d"[..]));
}

#[test]
fn a_visit_with_a_token_sets_the_cookie() {
    let (site, _dir) = guarded(HELLO);
    for closed in [true, false] {
        let state = if closed { State::Closed } else { State::Open };
        site.gates.set(site.gates.default_switch(), &Order { state, ..Order::default() });
        let path = format!("/.proxyd/bypass/{}", token("default", 100));
        let mut req = request(&site, &path, &[]);
        req.head.line = format!("GET {path} HTTP/1.1").into_bytes();
        let req = run(req);
        assert_eq!((req.reply.status, location(&req)), (303, "http://127.0.0.1/".to_owned()));
        let cookie = field(&req, "Set-Cookie").to_owned();
        let value = cookie.strip_prefix("pass=").unwrap().split(';').next().unwrap();
        assert!(cookie.ends_with("; HttpOnly; SameSite=Lax"), "{cookie}");
        assert!(cookie.contains("; Path=/; Max-Age="), "{cookie}");
        let again = ask(&site, "/", &[("Cookie", &format!("pass={value}"))]);
        assert_eq!(again.reply.status, 200);
        assert_eq!(req.uri, b"/.proxyd/bypass/");
        let bad = ask(&site, "/.proxyd/bypass/1.x.00", &[]);
        assert_eq!(bad.reply.status, if closed { 503 } else { 404 });
    }
}

#[test]
fn a_cookie_lives_no_longer_than_its_token_or_ttl() {
    let (site, _dir) = guarded(HELLO);
    for (life, expected) in [(100, 100), (100_000, 3600)] {
        let path = format!("/.proxyd/bypass/{}", token("default", life));
        let req = ask(&site, &path, &[]);
        let cookie = field(&req, "Set-Cookie");
        let age = cookie.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap();
        let age: i64 = age.parse().unwrap();
        assert!((expected - 2..=expected).contains(&age), "{cookie}");
    }
}

#[test]
fn what_the_page_needs_is_served_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("css")).unwrap();
    std::fs::write(dir.path().join("css/m.css"), "p { }").unwrap();
    std::fs::write(dir.path().join("page"), "<p><!--#reason-->").unwrap();
    let path = dir.path().display();
    let server =
        format!("maintenance_root {path} prefix=/m; maintenance_page {path}/page; {HELLO}");
    let site = closed(&server, Order { reason: "why".into(), ..Order::default() });
    drop(dir);
    let req = ask(&site, "/m/css/m.css", &[]);
    assert_eq!((req.reply.status, body(&req)), (200, "p { }".to_owned()));
    assert_eq!(req.reply.content_type.as_deref(), Some(&b"text/css"[..]));
    assert_eq!(field(&req, "Cache-Control"), "no-store");
    assert_eq!(ask(&site, "/m/css", &[]).reply.status, 404);
    assert_eq!(ask(&site, "/m/../page", &[]).reply.status, 404);
    assert_eq!(body(&ask(&site, "/", &[])), "<p>why");
    site.gates.set(site.gates.default_switch(), &Order::default());
    assert_eq!(body(&ask(&site, "/m/css/m.css", &[])), "hello");
}

#[test]
fn error_pages_are_shown_unless_they_would_be_asked_for() {
    let pages = "error_page 404 /404; location = /404 { return 200 mine; } \
                 location /lost { maintenance off; return 404; }";
    let req = ask(&shut(pages), "/lost", &[]);
    assert_eq!((req.reply.status, body(&req)), (404, "mine".to_owned()));
    let pages = "error_page 404 /404; location = /404 { proxy_pass http://unix:/nowhere/socket; } \
                 location /lost { maintenance off; return 404; }";
    assert_eq!(ask(&shut(pages), "/lost", &[]).reply.status, 503);
    let named = "error_page 404 @app; location @app { proxy_pass http://unix:/nowhere/socket; } \
                 location /lost { maintenance off; return 404; }";
    assert_eq!(ask(&shut(named), "/lost", &[]).reply.status, 503);
}

#[test]
fn variables_tell() {
    let value = |site: &Site, path: &str| body(&ask(site, path, &[]));
    let server = "location / { return 200 \"$maintenance $maintenance_action\"; } \
                  location /off { maintenance off; return 200 \"$maintenance $maintenance_action\"; }";
    let open = Site::new("", &format!("listen 1; {server}"));
    assert_eq!(value(&open, "/"), "open pass");
    let shut = shut(&format!("maintenance_allow 127.0.0.1; {server}"));
    assert_eq!(value(&shut, "/"), "closed bypass-ip");
    assert_eq!(value(&shut, "/off"), "closed exempt");
}

#[test]
fn a_flag_file_closes_as_an_order_does() {
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("closed");
    std::fs::write(&flag, "").unwrap();
    let server = format!("maintenance_flag_file {}; {HELLO}", flag.display());
    let site = Site::new("", &format!("listen 1; {server}"));
    let req = ask(&site, "/", &[]);
    assert_eq!((req.reply.status, req.guest.action), (503, Action::Page));
    let needed = &site.snapshot.needs.switches[0];
    assert_eq!((&*needed.name, &needed.flag_files[..]), ("default", &[flag][..]));
}

#[test]
fn what_is_wrong_is_said() {
    for (server, expected) in [
        ("maintenance a/b;", "invalid parameter \"a/b\""),
        ("maintenance \"\";", "invalid parameter \"\""),
        ("maintenance_status 200;", "value \"200\" must be between 400 and 599"),
        ("maintenance_retry_after x;", "invalid parameter \"x\""),
        ("maintenance_retry_after 1 jitter=101%;", "invalid parameter \"jitter=101%\""),
        ("maintenance_allow all;", "invalid parameter \"all\""),
        ("maintenance_redirect page.html;", "invalid parameter \"page.html\""),
        ("maintenance_redirect /x 301;", "invalid parameter \"301\""),
        ("maintenance_websocket drop;", "invalid parameter \"drop\""),
        ("maintenance_websocket keep after=5s;", "invalid parameter \"keep\""),
        ("maintenance_cors app.example.com;", "invalid parameter \"app.example.com\""),
        ("maintenance_cors off https://app;", "invalid parameter \"off\""),
        ("maintenance_bypass_cookie x;", "no \"key_file\" in \"maintenance_bypass_cookie\""),
        ("maintenance_bypass_cookie \"x;\" key_file=x;", "invalid parameter \"x;\""),
        (
            "maintenance_bypass_header X;",
            "\"maintenance_bypass_header\" has no key, it takes that of \"maintenance_bypass_cookie\"",
        ),
        (
            "maintenance_page none; location /a { }",
            "open() \"/nowhere/none\" failed (2: No such file or directory)",
        ),
        (
            "maintenance_bypass_cookie x key_file=none;",
            "open() \"/nowhere/none\" failed (2: No such file or directory)",
        ),
        (
            "maintenance_bypass_cookie x key_file=/dev/null;",
            "\"/dev/null\" is no key, it has less than 16 bytes",
        ),
        ("maintenance_root none;", "there are no files in \"/nowhere/none\""),
    ] {
        assert_eq!(errors("", &format!("listen 1; {server}")), [expected], "{server}");
    }
    let level = |number: u8| format!("location /{number}/ {{ maintenance s{number}; }}");
    let many = (0..64).map(level).collect::<Vec<_>>().join("\n");
    assert_eq!(errors("", &format!("listen 1; {many}")), ["more than 64 switches"]);
    let (_, warnings) = snapshot("maintenance_allow 10.0.0.1/8;", "listen 1;");
    assert_eq!(warnings, ["low address bits of 10.0.0.1/8 are meaningless"]);
}
