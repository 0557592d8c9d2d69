//! Owns warnings about what is easily forgotten with maintenance mode: that behind another proxy all
//! clients have that proxy's address, and that a health check meets the closed door too.
//!
//! Must not refuse anything.

use super::{Matcher, Scope, warn};
use crate::conf::Env;
use crate::conf::Span;
use crate::http::cidr::unmapped;
use crate::http::draft::LocationDraft;
use crate::net::address::Host;
use ipnet::IpNet;
use std::net::IpAddr;

/// The last parts of the paths that health checks usually ask for.
const CHECKS: [&[u8]; 9] = [
    b"health",
    b"healthz",
    b"healthcheck",
    b"health-check",
    b"livez",
    b"readyz",
    b"ready",
    b"ping",
    b"up",
];

/// Looks at a server with its locations; `told` are the lists that were warned of already.
pub(super) fn run(server: &Scope, told: &mut Vec<Span>, env: &mut Env) {
    list(server, server, told, env);
    locations(server, server, told, env);
}

fn locations(scope: &Scope, server: &Scope, told: &mut Vec<Span>, env: &mut Env) {
    for location in &scope.locations {
        list(&location.scope, server, told, env);
        check(location, env);
        locations(&location.scope, server, told, env);
    }
}

/// A list of which no address can ever come to this server.
fn list(scope: &Scope, server: &Scope, told: &mut Vec<Span>, env: &mut Env) {
    let drafts = &scope.drafts;
    let Some((span, nets)) = drafts.maintenance.allowed() else { return };
    let reached =
        nets.iter().any(|net| server.drafts.server.hosts().any(|host| reaches(net, host)));
    if reached || drafts.realip.trusts() || told.contains(&span) {
        return;
    }
    told.push(span);
    let message = "no client has one of these addresses where this server listens: \
                   behind another proxy all have that proxy's";
    let help = "\"set_real_ip_from\" names the proxies whose word on the client is taken";
    warn(span, message.to_owned(), help, env);
}

/// Whether a client in this network can come to a listener on this host, unless a proxy stands
/// between them; `None` is one that only a proxy comes to.
fn reaches(net: &IpNet, host: Option<&Host>) -> bool {
    let (address, listens) = match host {
        None | Some(Host::Unix(_)) => return false,
        Some(Host::Name(_)) => return true,
        Some(Host::Ip(listens)) => (unmapped(net.network()), unmapped(*listens)),
    };
    let everywhere = net.prefix_len() == 0 || is_example(address);
    if everywhere || !is_near(listens) {
        return true;
    }
    if listens.is_loopback() { address.is_loopback() } else { is_near(address) }
}

/// Loopback or a private network.
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// One that is there to be replaced (RFC 5737 and RFC 3849).
fn is_example(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_documentation(),
        IpAddr::V6(v6) => v6.segments()[..2] == [0x2001, 0x0db8],
    }
}

/// A location that looks like a health check and closes with the rest, where somebody cares for
/// maintenance mode at all.
fn check(location: &LocationDraft, env: &mut Env) {
    let (Matcher::Exact(word) | Matcher::Prefix { path: word, .. }) = &location.matcher else {
        return;
    };
    let drafts = &location.scope.drafts;
    let last = word.text.split(|byte| *byte == b'/').rfind(|part| !part.is_empty());
    let checks = last.is_some_and(|last| CHECKS.contains(&last));
    if !checks || !drafts.maintenance.is_cared_for() || drafts.stub_status.is_on() {
        return;
    }
    let message = format!(
        "\"{}\" closes for maintenance as well, and who checks health there takes this server for ill",
        word.lossy()
    );
    warn(word.span, message, "\"maintenance off;\" in it keeps it open", env);
}

#[cfg(test)]
mod tests {
    use crate::http::fixture::snapshot;

    fn warnings(server: &str) -> Vec<String> {
        snapshot("", server).1
    }

    const NOBODY: &str = "no client has one of these addresses where this server listens: \
                          behind another proxy all have that proxy's";

    #[test]
    fn a_list_behind_a_proxy_needs_its_word() {
        let allow = "maintenance_allow 8.8.8.8 2a00::/16;";
        for listen in [
            "listen 10.0.0.5:80;",
            "listen 127.0.0.1:80; listen [fd00::1]:80;",
            "listen unix:/s;",
            "listen 80 proxy_protocol;",
        ] {
            let server = format!("{listen} {allow} location / {{ }} location /a {{ }}");
            assert_eq!(warnings(&server), [NOBODY], "{listen}");
            let trusts = format!("{server} set_real_ip_from 10.0.0.0/8;");
            assert_eq!(warnings(&trusts), [""; 0], "{listen}");
        }
        for listen in [
            "listen 80;",
            "listen [::]:80;",
            "listen 8.8.4.4:80;",
            "listen 10.0.0.5:80; listen 81;",
        ] {
            assert_eq!(warnings(&format!("{listen} {allow}")), [""; 0], "{listen}");
        }
        for nets in
            ["10.1.0.0/16", "::ffff:10.1.2.3", "8.8.8.8 192.168.0.1", "0.0.0.0/0", "192.0.2.1"]
        {
            let server = format!("listen 10.0.0.5:80; maintenance_allow {nets};");
            assert_eq!(warnings(&server), [""; 0], "{nets}");
        }
        let local = "listen 127.0.0.1:80; maintenance_allow 10.0.0.1;";
        assert_eq!(warnings(local), [NOBODY]);
    }

    #[test]
    fn health_checks_should_stay_open() {
        let told = |path: &str| {
            format!(
                "\"{path}\" closes for maintenance as well, and who checks health there takes this server for ill"
            )
        };
        let page = "listen 80; maintenance_status 503;";
        for (matcher, path) in
            [("= /healthz", "/healthz"), ("/api/health", "/api/health"), ("^~ /ping/", "/ping/")]
        {
            let server = format!("{page} location {matcher} {{ return 200; }}");
            assert_eq!(warnings(&server), [told(path)], "{matcher}");
        }
        for server in [
            "listen 80; location = /healthz { return 200; }".to_owned(),
            format!("{page} location = /healthz {{ maintenance off; return 200; }}"),
            format!("{page} location = /healthz {{ stub_status; }}"),
            format!("{page} location /health-insurance {{ }}"),
        ] {
            assert_eq!(warnings(&server), [""; 0], "{server}");
        }
    }
}
