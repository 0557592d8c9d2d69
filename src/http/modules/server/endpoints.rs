//! Owns the joining of all servers' addresses: who is the default where, who answers to which name,
//! which sockets are needed.
//!
//! Must not open sockets.

use super::listen::Listen;
use super::names::{self, Compiled};
use super::protocols::{HTTP2, PROXY_PROTOCOL, Protocols, SSL};
use crate::conf::Error;
use crate::http::draft::Scope;
use crate::http::finish::Finish;
use crate::http::route::{Endpoints, ServerName, ServerNames};
use crate::net::{Address, ListenSpec};

/// An address and all that is said of it.
struct Place {
    spec: ListenSpec,
    /// Some `listen` has parameters of the socket: it is bound even beside a wildcard.
    set: bool,
    /// Some `listen` claims the default.
    claimed: bool,
    protocols: Protocols,
    default: usize,
    servers: Vec<usize>,
}

/// Addresses and the servers behind them; the sockets to open, each port's wildcard after the
/// addresses that are bound beside it.
pub fn endpoints(servers: &[Scope], cx: &mut Finish) -> (Endpoints, Vec<ListenSpec>) {
    let mut places = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        let listens = &server.drafts.server.listens;
        if listens.is_empty() {
            let implied = Listen::implied(cx.env.superuser, server.span);
            add(&mut places, number, &implied, cx);
        }
        for listen in listens {
            add(&mut places, number, listen, cx);
        }
    }
    let names: Vec<_> = servers.iter().map(|server| names::compile(server, cx)).collect();
    let mut endpoints = Endpoints::default();
    for place in &places {
        let endpoint = endpoints.entry(place.spec.address.clone());
        endpoint.default = place.default;
        endpoint.proxy_protocol = place.protocols.has(PROXY_PROTOCOL);
        endpoint.tls = place.protocols.has(SSL);
        endpoint.http2 = place.protocols.has(HTTP2);
        // A lone server takes every name; only captures make its names worth looking at.
        let captures = |name: &Compiled| matches!(name.name, Some(ServerName::Regex(_)));
        if place.servers.len() == 1 && !names[place.default].iter().any(captures) {
            for name in names[place.default].iter().filter_map(|name| name.name.as_ref()) {
                endpoint.lone.add(name, place.default);
            }
            continue;
        }
        for &server in &place.servers {
            for name in &names[server] {
                enter(&mut endpoint.names, name, server, &place.spec.address, cx);
            }
        }
    }
    (endpoints, sockets(places))
}

/// Gives a name to a server, unless another one has it.
fn enter(known: &mut ServerNames, name: &Compiled, server: usize, at: &Address, cx: &mut Finish) {
    let Compiled { shown, span, name } = name;
    let Some(name) = name else {
        let message = format!("invalid server name or wildcard \"{shown}\" on {at}");
        return cx.report(Error::new(message, *span));
    };
    if !known.add(name, server) {
        let message = format!("conflicting server name \"{shown}\" on {at}, ignored");
        cx.env.warn(Error::new(message, *span));
    }
}

/// Resolves one `listen` and enters each of its addresses.
fn add(places: &mut Vec<Place>, server: usize, listen: &Listen, cx: &mut Finish) {
    let found = listen.endpoint.resolve(&mut |name| cx.env.world.resolve(name));
    let addresses = match found {
        Ok(addresses) => addresses,
        Err(bad) => {
            let message = format!("{bad} in \"{}\" of the \"listen\" directive", listen.text);
            return cx.report(Error::new(message, listen.span));
        }
    };
    for address in addresses {
        if let Some(place) = places.iter_mut().find(|place| place.spec.address == address) {
            match join(place, server, listen) {
                Ok(None) => {}
                Ok(Some(warning)) => cx.env.warn(Error::new(warning, listen.span)),
                Err(message) => cx.report(Error::new(message, listen.span)),
            }
            continue;
        }
        let spec = ListenSpec { address, ..listen.options.clone() };
        let (set, claimed) = (listen.set, listen.default);
        let protocols = Protocols::new(listen.protocols);
        let servers = vec![server];
        places.push(Place { spec, set, claimed, protocols, default: server, servers });
    }
}

/// A second `listen` for an address; perhaps with a warning.
fn join(place: &mut Place, server: usize, listen: &Listen) -> Result<Option<String>, String> {
    let address = place.spec.address.clone();
    if place.servers.contains(&server) {
        return Err(format!("a duplicate listen {address}"));
    }
    place.servers.push(server);
    let surprising = place.protocols.join(listen.protocols, listen.set, place.set);
    if listen.set {
        if place.set {
            return Err(format!("duplicate listen options for {address}"));
        }
        place.set = true;
        place.spec = ListenSpec { address: address.clone(), ..listen.options.clone() };
    }
    if listen.default {
        if place.claimed {
            return Err(format!("a duplicate default server for {address}"));
        }
        place.claimed = true;
        place.default = server;
    }
    Ok(surprising.then(|| format!("protocol options redefined for {address}")))
}

/// nginx's rule: beside the wildcard of its family and port an address is bound only if a `listen`
/// for it has parameters of its own.
fn sockets(places: Vec<Place>) -> Vec<ListenSpec> {
    let family_and_port = |address: &Address| match address {
        Address::Inet(inet) => Some((inet.is_ipv6(), inet.port())),
        Address::Unix(_) => None,
    };
    let addresses = places.iter().map(|place| &place.spec.address);
    let wildcards: Vec<_> =
        addresses.filter(|address| address.is_wildcard()).map(family_and_port).collect();
    let covered =
        |address: &Address| !address.is_wildcard() && wildcards.contains(&family_and_port(address));
    let bound = places.into_iter().filter(|place| place.set || !covered(&place.spec.address));
    let mut specs: Vec<_> = bound.map(|place| place.spec).collect();
    specs.sort_by_key(|spec| spec.address.is_wildcard());
    specs
}
