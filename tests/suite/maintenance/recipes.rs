//! The snippets that go round: they mean what they mean in nginx, and `-t` says what they do not do.

use super::OK;
use crate::support::{Origin, Setup};

const SNIPPETS: &str = r#"server {
    listen [::]:%%port%% ipv6only=off;
    if ($remote_addr != "192.0.2.1") { rewrite ^(.*)$ /maintain.html redirect; }
    location / { rewrite ^(.*)$ /maintain.html break; proxy_pass http://%%origin%%; }
}"#;

#[test]
fn the_test_of_a_configuration_names_what_closes_nothing() {
    let outcome = Setup::http(SNIPPETS).set("port", 1).set("origin", "127.0.0.1:1").check();
    assert_eq!(outcome.code, Some(0), "{}", outcome.messages);
    for sentence in [
        "[warn] \"$remote_addr\" is never \"192.0.2.1\" on a listener with ipv6only=off",
        "[warn] the redirect to \"/maintain.html\" meets itself there and never ends",
        "[warn] requests reach the upstream as \"/maintain.html\", this does not close it",
    ] {
        assert!(outcome.messages.contains(sentence), "{}", outcome.messages);
    }
}

#[test]
fn the_test_of_a_configuration_names_what_is_forgotten() {
    let text = "server { listen 127.0.0.1:%%port%%; maintenance_allow 8.8.8.8;
        location = /healthz { return 204; } location / { proxy_pass http://127.0.0.1:1; } }";
    let outcome = Setup::http(text).set("port", 1).check();
    assert_eq!(outcome.code, Some(0), "{}", outcome.messages);
    for sentence in [
        "[warn] no client has one of these addresses where this server listens",
        "[warn] \"/healthz\" closes for maintenance as well",
    ] {
        assert!(outcome.messages.contains(sentence), "{}", outcome.messages);
    }
}

#[test]
fn a_rewrite_sends_orders_to_the_backend_under_another_name() {
    let origin = Origin::answering(OK);
    let text = "server { listen %%listen%%; \
                location / { rewrite ^(.*)$ /maintain.html break; proxy_pass http://%%origin%%; } }";
    let server = Setup::http(text).set("origin", origin.address()).start();
    let post = "POST /order HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(server.request(post).status, 200);
    let request = origin.received();
    assert!(request.starts_with("POST /maintain.html HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nabc"), "{request}");
}
