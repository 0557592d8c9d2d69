//! Tests of whole groups; owns what they share. Golden sequences were taken from nginx 1.31.5.

mod balancing;
mod connecting;
mod pooling;
mod properties;
mod sharing;

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use super::{Balance, Group, GroupSpec, KeepaliveSpec, ServerSpec};
use crate::net::Address;

/// A server at 127.0.0.1 with this port.
fn server(port: u16) -> ServerSpec {
    let address = Address::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    ServerSpec::new(&address.to_string(), vec![address])
}

fn weighted(port: u16, weight: u32) -> ServerSpec {
    ServerSpec { weight, ..server(port) }
}

fn spec(servers: Vec<ServerSpec>) -> GroupSpec {
    let keepalive = KeepaliveSpec::default();
    let (balance, zone, resolver) = (Balance::RoundRobin, None, None);
    let checks = Vec::new();
    GroupSpec { name: "u".into(), servers, keepalive, balance, zone, checks, resolver }
}

fn group(servers: Vec<ServerSpec>) -> Rc<Group> {
    Group::new(spec(servers))
}

fn balanced(balance: Balance, servers: Vec<ServerSpec>) -> Rc<Group> {
    Group::new(GroupSpec { balance, ..spec(servers) })
}

/// Runs a test on the kind of runtime a worker has.
fn local<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}
