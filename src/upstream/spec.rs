//! Owns what an `upstream` block says, as plain data.
//! Must not hold running state: equal specifications mean the running group may be kept.

use std::time::Duration;

use crate::dns::ResolverSpec;
use crate::net::Address;

use super::balance::Balance;

/// One `upstream { }` block, or the group implied by `proxy_pass http://host:port`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSpec {
    /// Name of the block, or `host:port` of an implied group.
    pub name: String,
    /// The `server` lines in the order written.
    pub servers: Vec<ServerSpec>,
    /// The `keepalive*` directives.
    pub keepalive: KeepaliveSpec,
    /// The load balancing method.
    pub balance: Balance,
    /// The zone that its state is shared in by all workers, and the size of it.
    pub zone: Option<(Vec<u8>, u64)>,
    /// Of each health check of the group, whether it is `mandatory`: servers get nothing before it.
    pub checks: Vec<bool>,
    /// Who is asked for the names of servers with `resolve`, and how long an answer may take.
    pub resolver: Option<(ResolverSpec, Duration)>,
}

impl GroupSpec {
    /// The group implied by a `proxy_pass` that names no `upstream` block:
    /// default limits and no kept connections, as in nginx.
    pub fn implied(name: &str, addresses: Vec<Address>, host_port: Option<(String, u16)>) -> Self {
        let mut server = ServerSpec::new(name, addresses);
        server.host_port = host_port;
        Self {
            name: name.to_owned(),
            servers: vec![server],
            keepalive: KeepaliveSpec::OFF,
            balance: Balance::RoundRobin,
            zone: None,
            checks: Vec::new(),
            resolver: None,
        }
    }
}

/// One `server` line; each of its addresses becomes a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSpec {
    /// As written in the configuration.
    pub name: String,
    /// Empty when the name could not be resolved yet.
    pub addresses: Vec<Address>,
    /// What to ask the resolver for when `addresses` is empty.
    pub host_port: Option<(String, u16)>,
    /// `weight=`, at least 1.
    pub weight: u32,
    /// `max_fails=`; 0 turns accounting off.
    pub max_fails: u32,
    /// `fail_timeout=`; counted in whole seconds.
    pub fail_timeout: Duration,
    /// `backup`.
    pub backup: bool,
    /// `down`.
    pub down: bool,
    /// `drain`: only requests that belong to it by their session still go there.
    pub drain: bool,
    /// `route=`; without it a session is known by a hash of the address.
    pub route: Option<String>,
    /// `resolve`: the addresses of `host_port` are asked for while the server runs.
    pub resolve: bool,
    /// `service=`: the name of a service instead of a port.
    pub service: Option<String>,
    /// `max_conns=`, of each worker unless the group has a zone; 0 is no limit.
    pub max_conns: u32,
    /// `slow_start=`: for so long its weight grows when it comes back; counted in whole seconds.
    pub slow_start: Duration,
}

impl ServerSpec {
    /// A server with nginx's defaults: weight 1, `max_fails` 1, `fail_timeout` 10 s.
    pub fn new(name: &str, addresses: Vec<Address>) -> Self {
        Self {
            name: name.to_owned(),
            addresses,
            host_port: None,
            weight: 1,
            max_fails: 1,
            fail_timeout: Duration::from_secs(10),
            backup: false,
            down: false,
            drain: false,
            route: None,
            resolve: false,
            service: None,
            max_conns: 0,
            slow_start: Duration::ZERO,
        }
    }
}

/// The `keepalive`, `keepalive_requests`, `keepalive_time` and `keepalive_timeout` directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveSpec {
    /// Idle connections kept per worker; 0 keeps none.
    pub connections: usize,
    /// Whether a connection is reused only under the settings that opened it.
    pub local: bool,
    /// Requests on one connection before it is closed.
    pub requests: u64,
    /// Age after which a connection is closed instead of kept.
    pub time: Duration,
    /// How long a connection may stay idle.
    pub timeout: Duration,
}

impl KeepaliveSpec {
    /// No kept connections: `keepalive 0`, and implied groups.
    pub const OFF: Self = Self { connections: 0, ..Self::DEFAULT };

    // Since 1.29.7 an upstream block keeps connections without being asked.
    const DEFAULT: Self = Self {
        connections: 32,
        local: true,
        requests: 1000,
        time: Duration::from_hours(1),
        timeout: Duration::from_mins(1),
    };
}

/// An `upstream` block without a `keepalive` directive.
impl Default for KeepaliveSpec {
    fn default() -> Self {
        Self::DEFAULT
    }
}
