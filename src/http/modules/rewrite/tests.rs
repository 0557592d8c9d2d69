//! Tests of the rewrite module: what is read, what is refused, and with which words.

use super::{location, server};
use crate::http::body::Body;
use crate::http::fixture::{Site, errors};
use crate::http::phase::Stop;
use crate::http::request::Request;
use crate::http::route::{self, Found};
use crate::http::snapshot::Kind;

/// A request for `target` at the server's own level.
fn request(site: &Site, target: &str) -> Request {
    let mut req = site.request();
    let uri = crate::http::uri::normalize(target.as_bytes(), true).unwrap();
    req.args = target.as_bytes()[uri.args.clone()].to_vec();
    req.uri.clone_from(&uri.path);
    req.head.uri = uri;
    req.uri_unchanged = true;
    req
}

/// What becomes of a request, in a word.
fn outcome(req: &mut Request) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut phase = server(req);
    for _ in 0..3 {
        if phase.is_ok() {
            let Found::At(at) = route::find_location(req) else { return "slash".into() };
            req.location = at;
            phase = location(req);
        }
        match &phase {
            Err(Stop::Rewritten) => phase = Ok(()),
            _ => break,
        }
    }
    match phase {
        Ok(()) => {
            let valid = if req.valid_location { "" } else { " broken" };
            format!("{}?{}{valid}", text(&req.uri), text(&req.args))
        }
        Err(Stop::Reply) => match &req.reply.body {
            Body::Bytes(body) => format!("{} {}", req.reply.status, text(body)),
            _ => format!("{} nothing", req.reply.status),
        },
        Err(Stop::Status(status)) => match &req.reply.location {
            Some(location) => format!("{status} to {}", text(location)),
            None => format!("{status}"),
        },
        Err(other) => format!("{other:?}"),
    }
}

fn run(server: &str, target: &str) -> String {
    let site = Site::new("", server);
    outcome(&mut request(&site, target))
}

#[test]
fn return_in_all_forms() {
    for (directive, expected) in [
        ("return 404;", "404"),
        ("return 444;", "444"),
        ("return 404 '';", "404"),
        ("return 404 gone$uri;", "404 gone/a"),
        ("return 200;", "200 "),
        ("return 200 '$args!';", "200 b=1!"),
        ("return 204;", "204 "),
        ("return 301 /x$is_args$args;", "301 to /x?b=1"),
        ("return 308 https://h/;", "308 to https://h/"),
        ("return http://h$uri;", "302 to http://h/a"),
        ("return $scheme://h/;", "302 to http://h/"),
        ("return 301;", "301 to "),
    ] {
        let in_location = format!("location / {{ {directive} }}");
        assert_eq!(run(directive, "/a?b=1"), expected, "{directive}");
        assert_eq!(run(&in_location, "/a?b=1"), expected, "{directive}");
    }
}

#[test]
fn the_text_has_the_type_of_the_location() {
    let site = Site::new("", "default_type a/b; types { c/d d; } return 200 x;");
    for (target, expected) in [("/x", "a/b"), ("/x.d", "c/d")] {
        let mut req = request(&site, target);
        assert_eq!(outcome(&mut req), "200 x");
        assert_eq!(req.reply.content_type.as_deref(), Some(expected.as_bytes()), "{target}");
    }
}

#[test]
fn rewrites_at_server_level_come_before_the_location() {
    let rest = "location /to { return 200 '$uri?$args'; } location / { return 200 no; }";
    for (directive, expected) in [
        ("rewrite ^/a$ /to;", "200 /to?b=1"),
        ("rewrite ^/a$ /to?;", "200 /to?"),
        ("rewrite ^/(a)$ /to/$1?c=$1;", "200 /to/a?c=a&b=1"),
        ("rewrite ^/(a)$ /to/$1?c=$1?;", "200 /to/a?c=a"),
        ("rewrite ^/x /to; rewrite ^/(?<n>a) /to/$n last; rewrite ^ /zz;", "200 /to/a?b=1"),
        ("rewrite ^/a /b; rewrite ^/b /to/c;", "200 /to/c?b=1"),
        ("rewrite ^/a /b; break; rewrite ^/b /to/c;", "200 no"),
        ("rewrite ^/a /to redirect;", "302 to /to?b=1"),
        ("rewrite ^/a /to? permanent;", "301 to /to"),
        ("rewrite ^/(a) http://h/$1?c;", "302 to http://h/a?c&b=1"),
        ("rewrite ^/a $no_such;", "500"),
    ] {
        let text = format!("set $no_such ''; {directive} {rest}");
        assert_eq!(run(&text, "/a?b=1"), expected, "{directive}");
    }
}

#[test]
fn rewrites_in_a_location_select_again_unless_they_break() {
    let rest = "location /to { return 200 '$uri?$args'; }";
    for (directive, expected) in [
        ("rewrite ^/a /to last;", "200 /to?"),
        ("rewrite ^/a /to;", "200 /to?"),
        ("rewrite ^/a /to break;", "/to? broken"),
        ("rewrite ^/a /to; break;", "/to? broken"),
        ("break; rewrite ^/a /to;", "/a?"),
        ("rewrite ^/a /to; return 403;", "403"),
    ] {
        let text = format!("location /a {{ {directive} }} {rest}");
        assert_eq!(run(&text, "/a"), expected, "{directive}");
    }
}

#[test]
fn captures_of_an_escaped_uri_are_escaped_again() {
    assert_eq!(run("rewrite ^/(.*)$ /b?x=$1;", "/a%26%20c"), "/b?x=a%26%20c");
    assert_eq!(run("rewrite ^/(.*)$ /b/$1;", "/a%26c"), "/b/a&c?");
    assert_eq!(run("rewrite ^/(.*)$ http://h/?x=$1;", "/a%26c"), "302 to http://h/?x=a%26c");
    assert_eq!(run("rewrite ^/(.*)$ http://h/$1;", "/a%20c"), "302 to http://h/a%20c");
    let set = "if ($uri ~ ^/(.*)$) { set $x $1; } return 200 $x;";
    assert_eq!(run(set, "/a%26c"), "200 a%26c");
}

#[test]
fn conditions() {
    let file = std::env::current_exe().unwrap();
    let file = file.display();
    for (condition, holds) in [
        ("$uri", true),
        ("$arg_zero", false),
        ("$arg_none", false),
        ("$arg_b", true),
        ("$uri = /a", true),
        ("$uri != /a", false),
        ("$uri = $uri", true),
        ("$uri ~ A", false),
        ("$uri ~* A", true),
        ("$uri !~ A", true),
        ("$uri !~* A", false),
        ("-d /", true),
        ("-f /", false),
        ("!-f /", true),
        ("-e /", true),
        ("-e /dev/null", false),
        ("!-e /nonexistent/x", true),
        (&*format!("-f {file}"), true),
        (&*format!("-x {file}"), true),
    ] {
        let text = format!("if ({condition}) {{ return 200 yes; }} return 200 no;");
        let expected = if holds { "200 yes" } else { "200 no" };
        assert_eq!(run(&text, "/a?b=1&zero=0"), expected, "{condition}");
        let text = format!("location / {{ {text} }}");
        assert_eq!(run(&text, "/a?b=1&zero=0"), expected, "{condition}");
    }
}

#[test]
fn an_if_in_a_location_puts_its_own_configuration_in_force() {
    let text = "location / { set $x 1;
        if ($arg_b) { set $x 2; }
        if ($arg_c) { set $y 3; }
        return 200 '$x $y'; }";
    let site = Site::new("uninitialized_variable_warn on;", text);
    for (target, body, inner) in
        [("/", "200 1 ", false), ("/?b=1", "200 2 ", true), ("/?b=1&c=1", "200 2 3", true)]
    {
        let mut req = request(&site, target);
        assert_eq!(outcome(&mut req), body);
        assert_eq!(matches!(req.location().kind, Kind::Inner), inner, "{target}");
    }
    let log = site.text("error.log");
    assert_eq!(log.matches("using uninitialized \"y\" variable").count(), 2, "{log}");
}

#[test]
fn a_failed_match_forgets_captures() {
    let text = "if ($uri ~ (a)) { set $x 1; } if ($uri ~ (b)) { set $x 2; } return 200 \"<$1>\";";
    assert_eq!(run(text, "/a"), "200 <>");
    assert_eq!(run("location ~ (a) { return 200 $1; } location ~ (b) { }", "/a"), "200 a");
}

#[test]
fn args_can_be_set() {
    assert_eq!(run("set $args c=2;", "/a?b=1"), "/a?c=2");
}

#[test]
fn rewrite_log_tells_each_step() {
    let text = "rewrite_log on; rewrite ^/x /y; rewrite ^/a /b?c; rewrite ^/b http://h/;";
    let site = Site::new("", text);
    assert_eq!(outcome(&mut request(&site, "/a")), "302 to http://h/?c");
    let log = site.text("error.log");
    for line in [
        "[notice] ",
        "\"^/x\" does not match \"/a\"",
        "\"^/a\" matches \"/a\"",
        "rewritten data: \"/b\", args: \"c\"",
        "rewritten redirect: \"http://h/?c\"",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
}

#[test]
fn complaints_are_nginxs() {
    for (text, message) in [
        ("return 1000;", "invalid return code \"1000\""),
        ("return /x;", "invalid return code \"/x\""),
        ("return http://h x;", "invalid return code \"http://h\""),
        ("rewrite ^ '';", "empty replacement"),
        ("rewrite ^ /x lst;", "invalid parameter \"lst\""),
        ("rewrite ( /x;", "pcre2_compile() failed: missing closing parenthesis in \"(\""),
        ("set x 1;", "invalid variable name \"x\""),
        ("set $uri 1;", "the duplicate \"uri\" variable"),
        ("set $http_host 1;", "the duplicate \"http_host\" variable"),
        ("set $a $nope;", "unknown \"nope\" variable"),
        ("if ($nope) { }", "unknown \"nope\" variable"),
        ("if ($uri) { root /x; }", "\"root\" directive is not allowed here"),
        ("if ($uri) { if ($uri) { } }", "\"if\" directive is not allowed here"),
    ] {
        assert_eq!(errors("", text), [message], "{text}");
    }
}
