//! Owns the warning that clients will not accept the certificate of a server, because it is for other
//! names.
//!
//! Must not refuse anything: names may be there for requests without TLS.

use crate::conf::Word;
use crate::http::finish::Finish;
use crate::http::route::{Endpoint, Endpoints};
use crate::http::snapshot::Server;
use crate::tls::host;

/// Looks at the names of all servers, as written, that can be reached by TLS.
pub fn warn(names: &[Vec<Word>], servers: &[Server], endpoints: &Endpoints, cx: &mut Finish) {
    for (server, words) in names.iter().enumerate() {
        for word in words {
            let Some(host) = example(&word.lossy()) else { continue };
            let reached =
                endpoints.all().filter(|endpoint| endpoint.tls && leads(endpoint, &host, server));
            let mut shown =
                reached.filter_map(|endpoint| numbers(servers, cx, server, endpoint.default));
            if shown.any(|number| !covers(cx, number, &host)) {
                let name = word.lossy();
                cx.env.warn(
                    word.error(format_args!("no certificate of the server is for \"{name}\"")),
                );
            }
        }
    }
}

/// A host that a name stands for. None for what only looks like one.
fn example(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let is_host = name.contains('.') && !name.starts_with('~') && !name.ends_with('*');
    is_host.then(|| match name.strip_prefix("*.") {
        Some(domain) => format!("any.{domain}"),
        None => name.trim_start_matches('.').to_owned(),
    })
}

/// Whether clients that ask for this host here get to this server.
fn leads(endpoint: &Endpoint, host: &str, server: usize) -> bool {
    let found = endpoint.names.find_name(host.as_bytes());
    found.or_else(|| endpoint.lone.find_name(host.as_bytes())) == Some(server)
}

/// How TLS is spoken with this server, or with the default one in its stead.
fn numbers(servers: &[Server], cx: &Finish, server: usize, default: usize) -> Option<usize> {
    let of = |server: usize| cx.conf(servers.get(server)?.root)?.ssl.server;
    of(server).or_else(|| of(default))
}

fn covers(cx: &Finish, number: usize, name: &str) -> bool {
    let Some(server) = cx.tls.get(number) else { return true };
    let first = server.certificates.iter().filter_map(|pair| pair.cert.first());
    let mut first = first.peekable();
    server.reject || first.peek().is_none() || first.any(|der| host::is_named(der, name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_are_looked_at() {
        for (name, host) in [
            ("A.example", Some("a.example")),
            ("*.example.com", Some("any.example.com")),
            (".example.com", Some("example.com")),
            ("www.example.*", None),
            ("~^www\\.", None),
            ("_", None),
            ("", None),
            ("localhost", None),
        ] {
            assert_eq!(example(name).as_deref(), host, "{name}");
        }
    }
}
