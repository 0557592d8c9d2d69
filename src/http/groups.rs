//! Owns how an authority in the configuration becomes an upstream group: named, or implied by a host.
//!
//! Must not choose peers nor open connections; `crate::upstream` does, by these specifications.

use super::finish::Finish;
use crate::conf::Word;
use crate::net::Address;
use crate::net::address::{Endpoint, Host};
use crate::upstream::GroupSpec;

/// The group of an authority that `word` names: an `upstream` block, else the host itself, which is
/// looked up now. Index into the snapshot's groups; the error is nginx's
/// sentence.
pub fn implied(
    cx: &mut Finish,
    word: &Word,
    authority: &str,
    default_port: u16,
) -> Result<usize, String> {
    let bad = |why: &dyn std::fmt::Display| format!("{why} in upstream \"{authority}\"");
    let endpoint = Endpoint::parse_server(authority, default_port).map_err(|why| bad(&why))?;
    let shown = match &endpoint.host {
        Host::Name(host) => host.clone(),
        Host::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
        Host::Ip(ip) => ip.to_string(),
        Host::Unix(path) => format!("unix:{}", path.display()),
    };
    if let Some(named) = cx.group_names.get(&shown.to_ascii_lowercase()) {
        let port = endpoint.port;
        let with_port = format!("upstream \"{shown}\" may not have port {port}");
        return if endpoint.port_given { Err(with_port) } else { Ok(*named) };
    }
    let name = match &endpoint.host {
        Host::Unix(_) => shown,
        _ => format!("{shown}:{}", endpoint.port),
    };
    let is_named = |at: usize| cx.group_names.values().any(|named| *named == at);
    let same = |(at, group): &(usize, &GroupSpec)| group.name == name && !is_named(*at);
    if let Some((at, _)) = cx.groups.iter().enumerate().find(same) {
        return Ok(at);
    }
    let addresses = addresses(&endpoint, word, authority, cx);
    cx.groups.push(GroupSpec::implied(&name, addresses, host_port(&endpoint)));
    Ok(cx.groups.len() - 1)
}

/// The addresses of a server. A name that has none now is worth a warning: it is asked for again
/// when it is needed.
pub fn addresses(endpoint: &Endpoint, word: &Word, shown: &str, cx: &mut Finish) -> Vec<Address> {
    match endpoint.resolve(&mut |name| cx.env.world.resolve(name)) {
        Ok(addresses) => addresses,
        Err(bad) => {
            let error = word.error(format_args!("{bad} in upstream \"{shown}\""));
            cx.env.warn(error.with_help("it is looked up again when a request needs it"));
            Vec::new()
        }
    }
}

/// What to ask the resolver for later.
pub fn host_port(endpoint: &Endpoint) -> Option<(String, u16)> {
    match &endpoint.host {
        Host::Name(name) => Some((name.clone(), endpoint.port)),
        Host::Ip(_) | Host::Unix(_) => None,
    }
}
