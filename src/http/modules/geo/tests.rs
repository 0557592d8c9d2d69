//! What `geo` gives for addresses, and its complaints.

use crate::http::computed;
use crate::http::fixture::{self, Site};
use crate::http::headers::Name;

/// What the only `geo` gives for each address in `$args`.
fn looked_up(lines: &str, addresses: &[&str]) -> Vec<String> {
    let site = Site::new(&format!("geo $args $x {{ {lines} }}"), "listen 1;");
    let ask = |address: &&str| {
        let mut req = site.request();
        req.args = address.as_bytes().to_vec();
        let mut out = Vec::new();
        assert!(computed::append(&req, 0, &mut out));
        String::from_utf8(out).unwrap()
    };
    addresses.iter().map(ask).collect()
}

#[test]
fn the_longest_network_counts() {
    let lines = "10.0.0.0/8 a; 10.1.0.0/16 b; 10.1.1.1 c; ::/0 d; 2001:db8::/32 e;";
    let addresses =
        ["10.2.0.0", "10.1.0.1", "10.1.1.1", "::1", "2001:db8::1", "1.1.1.1", "::ffff:10.1.1.1"];
    assert_eq!(looked_up(lines, &addresses), ["a", "b", "c", "d", "e", "", "c"]);
}

#[test]
fn what_is_no_address_counts_as_the_last_one() {
    let lines = "default d; 255.255.255.255 none;";
    assert_eq!(looked_up(lines, &["unix:", "", "1.1.1.1", "::1"]), ["none", "none", "d", "d"]);
    assert_eq!(
        looked_up("ranges; default d; 0.0.0.0-1.0.0.0 r;", &["x", "1.0.0.0", "1.0.0.1", "::1"]),
        ["d", "r", "d", "d"]
    );
    assert_eq!(looked_up("default d; delete 0.0.0.0/0;", &["1.1.1.1", "::1"]), ["", "d"]);
    assert_eq!(looked_up("", &["1.1.1.1"]), [""]);
}

#[test]
fn a_trusted_proxy_tells_the_address() {
    let site = Site::new("geo $x { proxy 127.0.0.0/8; 192.0.2.1 a; 127.0.0.1 b; }", "listen 1;");
    let mut req = site.request();
    req.head.headers.push_known(Name::XForwardedFor, b"192.0.2.1");
    let mut out = Vec::new();
    assert!(computed::append(&req, 0, &mut out));
    assert_eq!(out, b"a");
}

#[test]
fn complaints_are_nginxs() {
    for (text, expected) in [
        ("geo x { }", "invalid variable name \"x\""),
        ("geo args $x { }", "invalid variable name \"args\""),
        (
            "geo $x { 1.1.1.1 a; ranges; }",
            "the \"ranges\" directive must be the first directive inside \"geo\" block",
        ),
        ("geo $x { 1.1.1.1; }", "invalid number of the geo parameters"),
        ("geo $x { a b; }", "invalid network \"a\""),
        ("geo $x { proxy b; }", "invalid network \"b\""),
        ("geo $x { ranges; 1.1.1.1 b; }", "invalid range \"1.1.1.1\""),
        ("geo $x { ranges; 1.1.1.2-1.1.1.1 b; }", "invalid range \"1.1.1.2-1.1.1.1\""),
        (
            "geo $x { ranges; 1.1.1.1-255.255.255.255 b; }",
            "invalid range \"1.1.1.1-255.255.255.255\"",
        ),
        (
            "geo $x { ranges; 1.1.1.1-1.1.1.3 b; 1.1.1.2-1.1.1.4 c; }",
            "range \"1.1.1.2-1.1.1.4\" overlaps \"1.1.1.1-1.1.1.3\"",
        ),
    ] {
        assert_eq!(fixture::errors(text, "listen 1;"), [expected], "{text}");
    }
}

#[test]
fn warnings_are_nginxs() {
    for (lines, expected) in [
        (
            "1.1.1.1 a; 1.1.1.1/32 b;",
            "duplicate network \"1.1.1.1/32\", value: \"b\", old value: \"a\"",
        ),
        ("1.1.1.1/24 a;", "low address bits of 1.1.1.1/24 are meaningless"),
        ("delete 1.1.1.1;", "no network \"1.1.1.1\" to delete"),
        (
            "ranges; default a; default b;",
            "duplicate default geo range value: \"b\", old value: \"a\"",
        ),
        ("ranges; delete 1.1.1.1-1.1.1.2;", "no address range \"1.1.1.1-1.1.1.2\" to delete"),
        (
            "ranges; 1.1.1.1-1.1.1.2 a; 1.1.1.1-1.1.1.2 b;",
            "duplicate range \"1.1.1.1-1.1.1.2\", value: \"b\", old value: \"a\"",
        ),
    ] {
        let (_, warnings) = fixture::snapshot(&format!("geo $x {{ {lines} }}"), "listen 1;");
        assert_eq!(warnings, [expected], "{lines}");
    }
}
