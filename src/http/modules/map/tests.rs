//! What `map` gives for keys, and its complaints.

use crate::http::computed;
use crate::http::fixture::{self, Site};
use crate::http::request::Request;

/// The value of the map number `at`, in the order written.
fn value(req: &Request, at: usize) -> String {
    let mut out = Vec::new();
    assert!(computed::append(req, at, &mut out));
    String::from_utf8(out).unwrap()
}

/// What the only map gives for each value of `$args`.
fn looked_up(lines: &str, args: &[&str]) -> Vec<String> {
    let site = Site::new(&format!("map $args $x {{ {lines} }}"), "listen 1;");
    let ask = |args: &&str| {
        let mut req = site.request();
        req.args = args.as_bytes().to_vec();
        value(&req, 0)
    };
    args.iter().map(ask).collect()
}

#[test]
fn strings_in_any_case_then_expressions_then_the_default() {
    let lines = r"Foo 1; \default 2; default d; ~^b 3; ~*^C 4; ~^foo 5; '' e; \~z 6;";
    let args = ["FOO", "default", "bar", "Bar", "cd", "foobar", "", "~z"];
    assert_eq!(looked_up(lines, &args), ["1", "2", "3", "d", "4", "5", "e", "6"]);
    assert_eq!(looked_up("a b;", &["c"]), [""]);
}

#[test]
fn wildcards_need_the_word_hostnames_before_them() {
    let lines = "hostnames; a.b 1; *.a.b 2; .c 3; d.* 4; *.x.a.b 5; ~\\.$ 6;";
    let args = ["a.b.", "z.A.b", "c", "y.c.", "d.e.f", "q.x.a.b", "q."];
    assert_eq!(looked_up(lines, &args), ["1", "2", "3", "3", "4", "5", ""]);
    assert_eq!(looked_up("*.a 1; hostnames;", &["*.a", "b.a"]), ["1", ""]);
}

#[test]
fn captures_go_into_values_and_stay() {
    let site = Site::new("map $args $x { ~^(?<first>\\w)(.*)$ $2-$first; }", "listen 1;");
    let mut req = site.request();
    req.args = b"abc".to_vec();
    assert_eq!(value(&req, 0), "bc-a");
    assert_eq!(req.captures.borrow().get(2), Some(&b"bc"[..]));
}

#[test]
fn a_value_is_kept_unless_volatile() {
    let maps = "map $args $x { default $args; } map $args $y { volatile; default $args; }";
    let site = Site::new(maps, "listen 1;");
    let mut req = site.request();
    req.args = b"1".to_vec();
    assert_eq!((value(&req, 0), value(&req, 1)), ("1".into(), "1".into()));
    req.args = b"2".to_vec();
    assert_eq!((value(&req, 0), value(&req, 1)), ("1".into(), "2".into()));
}

#[test]
fn maps_use_one_another_in_any_order() {
    let maps = "map a$y $x { ab <$y>; } map $z $y { c b; } map $args $z { default $args; }";
    let site = Site::new(maps, "listen 1;");
    let mut req = site.request();
    req.args = b"c".to_vec();
    assert_eq!(value(&req, 0), "<b>");
}

#[test]
fn a_cycle_is_refused_or_cut() {
    let certain = "map $y $x { a b; } map $x $y { a b; }";
    assert_eq!(fixture::errors(certain, "listen 1;"), ["cycle while evaluating variable \"x\""]);
    let maps = "map $args $x { a $y; } map $args $y { a $x; b c; }";
    let (_, warnings) = fixture::snapshot(maps, "listen 1;");
    assert_eq!(warnings, ["variable \"x\" needs itself for some values: $x -> $y -> $x"]);
    let site = Site::new(maps, "listen 1;");
    let mut req = site.request();
    req.args = b"a".to_vec();
    assert_eq!(value(&req, 0), "");
    assert!(site.text("error.log").contains("cycle while evaluating variable \"x\""));
}

#[test]
fn complaints_are_nginxs() {
    for (text, expected) in [
        ("map $args x { }", "invalid variable name \"x\""),
        ("map $args $ { }", "invalid variable name \"$\""),
        ("map $args $host { }", "the duplicate \"host\" variable"),
        ("map $args $x { a; }", "invalid number of the map parameters"),
        ("map $args $x { a b c; }", "invalid number of the map parameters"),
        ("map $args $x { a { } }", "unexpected \"{\""),
        ("map $args $x { default b; default c; }", "duplicate default map parameter"),
        ("map $args $x { a b; A c; }", "conflicting parameter \"A\""),
        ("map $args $x { hostnames; *.* c; }", "invalid hostname or wildcard \"*.*\""),
        ("map $args $x { a $nothing; }", "unknown \"nothing\" variable"),
    ] {
        assert_eq!(fixture::errors(text, "listen 1;"), [expected], "{text}");
    }
}
