//! Owns warnings about recipes for closing a site that do not close it, or close too much.
//!
//! Must not refuse anything: what is written means what it means in nginx.

mod forgotten;

use super::draft::{LocationDraft, Matcher, Scope};
use super::modules::rewrite::{Closing, How};
use crate::conf::{Env, Error, Pattern, Span};
use std::net::Ipv4Addr;

const HELP: &str = "\"maintenance\" closes it: `proxyd ctl maintenance on`";

/// Looks at all servers, when inheritance has been settled.
pub fn run(http: &Scope, env: &mut Env) {
    let mut told = Vec::new();
    for server in &http.servers {
        forgotten::run(server, &mut told, env);
        let dual = server.drafts.server.is_dual_stack();
        for closing in server.drafts.rewrite.closings() {
            let selected = select(server, &closing.path);
            match closing.how {
                How::Redirect => leads_back(&closing, env),
                _ if selected.is_some_and(passes_on) => reaches(&closing, env),
                _ => {}
            }
        }
        compared(server, dual, env);
        locations(server, server, dual, env);
    }
}

fn locations(scope: &Scope, server: &Scope, dual: bool, env: &mut Env) {
    for location in &scope.locations {
        let inside = &location.scope;
        for closing in inside.drafts.rewrite.closings() {
            let selected = select(server, &closing.path);
            match closing.how {
                How::Here if inside.drafts.proxy.passes() => reaches(&closing, env),
                How::Inside if selected.is_some_and(passes_on) => reaches(&closing, env),
                How::Redirect if selected.is_some_and(|found| std::ptr::eq(found, location)) => {
                    leads_back(&closing, env);
                }
                _ => {}
            }
        }
        compared(inside, dual, env);
        locations(inside, server, dual, env);
    }
}

/// Parts of the names that such pages have. A site may well be one page that answers everything.
const NAMES: [&[u8]; 10] = [
    b"maint",
    b"down",
    b"offline",
    b"closed",
    b"sorry",
    b"unavailable",
    b"construction",
    b"upgrad",
    b"50",
    b"wartung",
];

/// Whether a path is meant to tell that nothing else is there.
fn tells(path: &[u8]) -> bool {
    let path = path.to_ascii_lowercase();
    NAMES.iter().any(|name| memchr::memmem::find(&path, name).is_some())
}

fn passes_on(location: &LocationDraft) -> bool {
    location.scope.drafts.proxy.passes()
}

fn warn(span: Span, message: String, help: &str, env: &mut Env) {
    env.warn(Error::new(message, span).with_help(help));
}

fn reaches(closing: &Closing, env: &mut Env) {
    if !tells(&closing.path) {
        return;
    }
    let path = String::from_utf8_lossy(&closing.path);
    let message = format!("requests reach the upstream as \"{path}\", this does not close it");
    warn(closing.span, message, HELP, env);
}

fn leads_back(closing: &Closing, env: &mut Env) {
    let path = String::from_utf8_lossy(&closing.path);
    let message = format!("the redirect to \"{path}\" meets itself there and never ends");
    warn(closing.span, message, HELP, env);
}

/// Comparisons with an IPv4 address that no client can have.
fn compared(scope: &Scope, dual: bool, env: &mut Env) {
    for word in scope.drafts.rewrite.addresses().into_iter().filter(|_| dual) {
        if word.str().is_ok_and(|text| text.parse::<Ipv4Addr>().is_ok()) {
            let message = format!(
                "\"$remote_addr\" is never \"{0}\" on a listener with ipv6only=off, it is \"::ffff:{0}\"",
                word.lossy()
            );
            let help = "\"allow\", \"geo\" and \"maintenance_allow\" know that both are the same";
            warn(word.span, message, help, env);
        }
    }
}

/// The location that is selected for a path, as far as that is known without a request.
fn select<'a>(outer: &'a Scope, path: &[u8]) -> Option<&'a LocationDraft> {
    let exact = |location: &&LocationDraft| matches!(&location.matcher, Matcher::Exact(word) if word.text == path);
    if let Some(found) = outer.locations.iter().find(exact) {
        return Some(found);
    }
    let prefix = |location: &&LocationDraft| matches!(&location.matcher, Matcher::Prefix { path: word, .. } if path.starts_with(&word.text));
    let length = |location: &&LocationDraft| match &location.matcher {
        Matcher::Prefix { path, .. } => path.text.len(),
        _ => 0,
    };
    let longest = outer.locations.iter().filter(prefix).max_by_key(length);
    let inner = longest.map(|found| select(&found.scope, path).unwrap_or(found));
    if longest
        .is_some_and(|found| matches!(found.matcher, Matcher::Prefix { stops_regex: true, .. }))
    {
        return inner;
    }
    let regex = |location: &&LocationDraft| match &location.matcher {
        Matcher::Regex { pattern, caseless } => {
            let text = pattern.str().ok();
            let compiled = text.and_then(|text| Pattern::new(text, *caseless).ok());
            compiled.is_some_and(|pattern| pattern.is_match(path))
        }
        _ => false,
    };
    outer.locations.iter().find(regex).or(inner)
}

#[cfg(test)]
mod tests {
    use crate::http::fixture::snapshot;

    fn warnings(server: &str) -> Vec<String> {
        snapshot("", &format!("listen 1; {server}")).1
    }

    const REACHES: &str =
        "requests reach the upstream as \"/maintain.html\", this does not close it";
    const LEADS_BACK: &str = "the redirect to \"/maintain.html\" meets itself there and never ends";

    #[test]
    fn a_rewrite_in_front_of_an_upstream_closes_nothing() {
        let pass = "proxy_pass http://one;";
        for server in [
            format!("location / {{ rewrite ^(.*)$ /maintain.html break; {pass} }}"),
            format!("rewrite ^(.*)$ /maintain.html break; location / {{ {pass} }}"),
            format!("rewrite ^ /maintain.html?x last; location / {{ location /m {{ {pass} }} }}"),
            format!("location /a {{ rewrite .* /maintain.html last; }} location / {{ {pass} }}"),
            format!(
                "location / {{ if ($remote_addr != 192.0.2.1) {{ rewrite ^(.*)$ /maintain.html break; }} {pass} }}"
            ),
            format!("rewrite ^ /maintain.html; location / {{ }} location ~ html$ {{ {pass} }}"),
        ] {
            let found = warnings(&server.replace("?x", ""));
            assert_eq!(found, [REACHES], "{server}");
        }
        for server in [
            "location / { rewrite ^(.*)$ /maintain.html break; }".to_owned(),
            format!("location / {{ rewrite ^/old(.*)$ /maintain.html break; {pass} }}"),
            format!("location / {{ rewrite ^(.*)$ /new$1 break; {pass} }}"),
            format!("location / {{ rewrite ^ /index.html break; {pass} }}"),
            format!("rewrite ^ /index.php last; location / {{ {pass} }}"),
            format!(
                "rewrite ^ /maintain.html last; location = /maintain.html {{ }} location / {{ {pass} }}"
            ),
            format!(
                "rewrite ^ /maintain.html last; location ^~ /m {{ }} location ~ html$ {{ {pass} }}"
            ),
        ] {
            assert_eq!(warnings(&server), [""; 0], "{server}");
        }
    }

    #[test]
    fn a_redirect_to_where_it_stands_never_ends() {
        for server in [
            "return 302 /maintain.html;",
            "rewrite ^(.*)$ /maintain.html redirect;",
            "location / { return 302 /maintain.html; }",
            "location / { rewrite ^ /maintain.html permanent; }",
            "if ($remote_addr != 192.0.2.1) { return 302 /maintain.html; }",
            "if ($remote_addr = 192.0.2.1) { break; } return 302 /maintain.html;",
        ] {
            assert_eq!(warnings(server), [LEADS_BACK], "{server}");
        }
        for server in [
            "location / { return 302 /maintain.html; } location = /maintain.html { }",
            "location / { return 302 https://status.example.com/; }",
            "location /old { return 301 /new; }",
            "rewrite ^/maintain.html$ /x break; return 302 /maintain.html;",
            "if ($uri != /maintain.html) { return 302 /maintain.html; }",
            "location / { rewrite ^/x$ /maintain.html redirect; }",
        ] {
            assert_eq!(warnings(server), [""; 0], "{server}");
        }
    }

    #[test]
    fn an_address_is_compared_with_what_it_is() {
        let server = "if ($remote_addr = 192.0.2.1) { set $friend 1; }";
        let dual = format!("listen [::]:2 ipv6only=off; {server}");
        assert_eq!(
            warnings(&dual),
            [
                "\"$remote_addr\" is never \"192.0.2.1\" on a listener with ipv6only=off, it is \"::ffff:192.0.2.1\""
            ]
        );
        assert_eq!(warnings(&format!("listen [::]:2; {server}")), [""; 0]);
        let other = "listen [::]:2 ipv6only=off; if ($remote_addr = ::1) { set $friend 1; }";
        assert_eq!(warnings(other), [""; 0]);
    }
}
