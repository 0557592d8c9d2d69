//! Tests of what is read and of what answers are good.

use crate::http::fixture::{Site, errors};
use crate::http::headers::Headers;

fn error(text: &str) -> String {
    let http = "match m { status 200; } upstream u { zone u 64k; server 127.0.0.1:1; }
        upstream alone { server 127.0.0.1:1; }";
    let errors = errors(http, &format!("listen 1; {text}"));
    assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    errors.into_iter().next().unwrap()
}

#[test]
fn complaints_name_the_word() {
    let check = |words: &str| {
        error(&format!("location / {{ proxy_pass http://u; health_check {words}; }}"))
    };
    for (words, message) in [
        ("interval=0", "invalid parameter \"interval=0\""),
        ("fails=0", "invalid parameter \"fails=0\""),
        ("uri=x", "invalid parameter \"uri=x\""),
        ("port=70000", "invalid parameter \"port=70000\""),
        ("always", "invalid parameter \"always\""),
        ("type=grpc", "parameter \"type=grpc\" is not supported yet"),
        ("match=x", "match \"x\" is not found"),
        ("persistent", "\"health_check\" directive \"persistent\" requires \"mandatory\""),
        (
            "type=tcp uri=/x",
            "\"health_check\" directive \"type=tcp\" has no \"uri\" and no \"match\"",
        ),
    ] {
        assert_eq!(check(words), message);
    }
    assert_eq!(
        error("location / { proxy_pass http://alone; health_check; }"),
        "health checks require upstream \"alone\" to be in shared memory"
    );
    let message = "\"health_check\" requires \"proxy_pass\" to a group";
    assert_eq!(error("location / { health_check; }"), message);
    assert_eq!(error("location / { proxy_pass http://$host; health_check; }"), message);
}

#[test]
fn lines_of_match_are_checked() {
    let error = |line: &str| errors(&format!("match m {{ {line} }}"), "listen 1;").remove(0);
    for (line, message) in [
        ("status;", "invalid number of arguments in \"status\" directive"),
        ("status x;", "invalid status \"x\""),
        ("status 200-x;", "invalid status \"200-x\""),
        ("status 200 500-200;", "invalid status \"500-200\""),
        ("header a b c;", "invalid number of arguments in \"header\" directive"),
        ("body x;", "invalid number of arguments in \"body\" directive"),
        ("send x;", "unknown directive \"send\""),
    ] {
        assert_eq!(error(line), message);
    }
}

/// What is wrong with an answer; empty if nothing is.
fn judged(block: &str, status: u16, fields: &[(&str, &str)], body: &str) -> String {
    let http = format!("match m {{ {block} }} upstream u {{ zone u 64k; server 127.0.0.1:1; }}");
    let place = "listen 1; location / { proxy_pass http://u; health_check match=m; }";
    let site = Site::new(&http, place);
    let location = site.snapshot.locations.iter().find(|one| !one.conf.proxy.checks.is_empty());
    let expected = &location.unwrap().conf.proxy.checks[0].expected;
    let mut req = site.request();
    let mut headers = Headers::new();
    for (name, value) in fields {
        headers.push(name.as_bytes(), value.as_bytes());
    }
    req.upstream_headers = headers;
    let head = expected.head(status, &req.upstream_headers, &req);
    head.and_then(|()| expected.body(body.as_bytes())).err().unwrap_or_default()
}

#[test]
fn answers_are_judged() {
    let plain = |block: &str, status| judged(block, status, &[], "");
    assert_eq!([plain("", 200), plain("", 399)], ["", ""]);
    assert_eq!([plain("", 199), plain("", 400)], ["status 199", "status 400"]);
    assert_eq!(
        [plain("status 200 204-206;", 205), plain("status 200 204;", 205)],
        ["", "status 205"]
    );
    assert_eq!(
        [plain("status ! 500-599;", 404), plain("status ! 500-599;", 503)],
        ["", "status 503"]
    );
    let typed = |line: &str| judged(line, 200, &[("Content-Type", "text/html")], "ok");
    for good in [
        "header Content-Type;",
        "header content-type = text/html;",
        "header Content-Type != text/plain;",
        "header Content-Type ~ ^text/;",
        "header Content-Type !~ json;",
        "header ! Refresh;",
        "body ~ ok;",
        "body !~ error;",
        "require $upstream_http_content_type;",
    ] {
        assert_eq!(typed(good), "", "{good}");
    }
    for (bad, why) in [
        ("header ! Content-Type;", "header \"content-type\""),
        ("header Refresh;", "header \"refresh\""),
        ("header Content-Type = text/plain;", "header \"content-type\""),
        ("header Content-Type !~ ^text/;", "header \"content-type\""),
        ("body ~ ^k;", "body"),
        ("body !~ o;", "body"),
        ("require $upstream_http_refresh;", "\"$upstream_http_refresh\" is not true"),
        ("status 200; header Refresh; body ~ ok;", "header \"refresh\""),
    ] {
        assert_eq!(typed(bad), why, "{bad}");
    }
}
