//! Server-side includes: what a page says is done, in the order in which it says so.

use super::setup;
use crate::support::{Held, Origin, Server};

/// A server with pages, by name and text.
fn pages(pages: &[(&str, &str)]) -> Server {
    let server = setup("ssi on; default_type text/html;");
    let add = |setup: crate::support::Setup, (name, text): &(&str, &str)| {
        setup.file(&format!("html/{name}"), text)
    };
    pages.iter().fold(server, add).start()
}

#[test]
fn values_are_set_and_shown() {
    let server = pages(&[
        ("echo.html", "<!--#echo var=\"arg_a\" -->,<!--#echo var='arg_b' default='none' -->"),
        (
            "set.html",
            "<!--#set var=\"x\" value=\"<$arg_a>\" --><!--#echo var=\"X\" -->,\
            <!--#echo var=\"x\" encoding=\"none\" -->,<!--#echo var=\"x\" encoding=\"url\" -->",
        ),
        (
            "if.html",
            "<!--#if expr=\"$arg_a = one\" -->1<!--#elif expr=\"$arg_a = /^(t)(?<rest>wo)/\" -->\
            2<!--#echo var=\"1\" --><!--#echo var=\"rest\" --><!--#else -->3<!--#endif -->.",
        ),
        (
            "wrong.html",
            "<!--#nothing -->,<!--#config errmsg=\"no\" --><!--#echo -->,\
            <!--#if expr=\"a ~ b\" -->",
        ),
        ("date.html", "<!--#config timefmt=\"%Y-%%\" --><!--#echo var=\"date_gmt\" -->"),
        ("tail.html", "a<!--#echo var=\"arg_a\" -->b<"),
    ]);
    for (path, body) in [
        ("/echo.html?a=<", "&lt;,none"),
        ("/echo.html", "(none),none"),
        ("/set.html?a=b", "&lt;b&gt;,<b>,%3Cb%3E"),
        ("/if.html?a=one", "1."),
        ("/if.html?a=two", "2two."),
        ("/if.html?a=three", "3."),
        ("/wrong.html", "[an error occurred while processing the directive],no,no"),
        ("/tail.html?a=1", "a1b<"),
    ] {
        assert_eq!(server.get(path).text(), body, "{path}");
    }
    let date = server.get("/date.html").text();
    assert!(date.starts_with("20") && date.ends_with("-%"), "{date}");
    let answer = server.get("/echo.html");
    assert_eq!((answer.header("Last-Modified"), answer.header("ETag")), (None, None));
    assert!(answer.is_chunked());
    let log = server.error_log();
    assert!(log.contains("invalid SSI command: \"nothing\""), "{log}");
    assert!(log.contains("mandatory \"var\" parameter is absent in \"echo\" SSI command"), "{log}");
    assert!(log.contains("invalid expression in \"a ~ b\""), "{log}");
}

#[test]
fn pages_include_others() {
    let server = pages(&[
        (
            "all.html",
            "<!--#set var=\"who\" value=\"all\" -->[<!--#include virtual=\"/dir/one.html?a=b\" -->]\
            <!--#include file=\"page.html\" --><!--#echo var=\"who\" -->",
        ),
        ("dir/one.html", "<!--#echo var=\"arg_a\" -->-<!--#include virtual=\"two.html\" -->"),
        ("dir/two.html", "<!--#echo var=\"who\" --><!--#set var=\"who\" value=\"two\" -->"),
        (
            "late.html",
            "<!--#include virtual=\"/dir/two.html\" wait=\"yes\" --><!--#echo var=\"who\" -->",
        ),
        ("own.html", "x<!--#include virtual=\"/own.html\" -->"),
        ("up.html", "<!--#include virtual=\"/../etc/passwd\" -->"),
        (
            "stub.html",
            "<!--#block name=\"b\" -->stub<!--#echo var=\"arg_a\" --><!--#endblock -->\
            <!--#include virtual=\"/missing.html\" stub=\"b\" -->,<!--#include virtual=\"/empty.html\" \
            stub=\"b\" -->,<!--#include virtual=\"/page.html\" stub=\"b\" -->",
        ),
        ("empty.html", ""),
        ("set.html", "<!--#include virtual=\"/page.html\" set=\"v\" -->[<!--#echo var=\"v\" -->]"),
    ]);
    for (path, body) in [
        ("/late.html", "(none)two"),
        ("/set.html", "[page\n]"),
        ("/up.html", "[an error occurred while processing the directive]"),
    ] {
        assert_eq!(server.get(path).text(), body, "{path}");
    }
    let all = server.get("/all.html").text();
    assert!(all.starts_with("[b-all]page\n"), "{all}");
    let stub = server.get("/stub.html?a=x").text();
    assert_eq!(stub, "stub(none),stub(none),page\n");
    let own = server.get("/own.html").text();
    assert_eq!(own.matches('x').count(), 52);
    let log = server.error_log();
    assert!(log.contains("subrequests cycle while processing \"/own.html\""), "{log}");
    assert!(log.contains("unsafe URI \"/../etc/passwd\" was detected"), "{log}");
    let missing = "subrequest: \"/missing.html\"";
    assert!(log.contains(missing), "{log}");
}

#[test]
fn all_includes_of_a_page_are_asked_for_at_once() {
    let held = Held::new();
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst");
    let server = setup(
        "location = /all.html { ssi on; } location /held { proxy_pass http://%%held%%; }
        location /first { proxy_pass http://%%origin%%; }",
    )
    .set("held", held.origin.address())
    .set("origin", origin.address())
    .file("html/all.html", "a<!--#include virtual='/held' -->b<!--#include virtual='/first' -->c")
    .start();
    let mut client = server.client();
    client.send("GET /all.html HTTP/1.1\r\nHost: localhost\r\n\r\n");
    held.has_come();
    // The second one does not wait for the answer of the first.
    assert!(origin.received().starts_with("GET /first HTTP/1.1\r\n"));
    held.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.response().text(), "aokbfirstc");
}
