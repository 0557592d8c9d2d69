//! Owns the finished configuration of `http {}`: complete, compiled, immutable.
//!
//! Must not change after it is built and must not hold anything of a worker (sockets, pools, files).

use super::affinity::Affinity;
use super::computed::Computed;
use super::modules::Conf;
use super::regex::Regex;
use super::route::{Endpoints, Lookup};
use super::upstream_ssl;
use super::vars::Names;
use super::zones::SharedZone;
use crate::dns::ResolverSpec;
use crate::log::kept::Keeping;
use crate::net::ListenSpec;
use crate::upstream::GroupSpec;
use crate::zone::keyed;
use std::collections::HashMap;
use std::path::PathBuf;

/// What the master must open for the workers.
#[derive(Debug, Default, Clone)]
pub struct Needs {
    /// Listening sockets, one an address.
    pub listen: Vec<ListenSpec>,
    /// Log files, in the order that the snapshot's indices refer to. Paths are absolute but for
    /// `log::STDERR`, which is no file.
    pub log_files: Vec<PathBuf>,
    /// Directories for temporary files, owned by the workers' user.
    pub temp_dirs: Vec<PathBuf>,
    /// Zones of keyed records.
    pub zones: Vec<keyed::Spec>,
    /// Switches of maintenance mode; the first one is `default`, whether it is named or not.
    pub switches: Vec<NeededSwitch>,
}

/// A switch of maintenance mode, joined by some level of the configuration.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct NeededSwitch {
    pub name: String,
    /// Files that close it while they exist (`maintenance_flag_file`); absolute.
    pub flag_files: Vec<PathBuf>,
}

/// A `server` block.
#[derive(Debug)]
pub struct Server {
    /// `$server_name`: the first name of the block.
    pub name: Vec<u8>,
    /// The block's own level, as an index into `Snapshot::locations`: what applies before a
    /// location has been selected, and where the selection starts.
    pub root: usize,
    /// All its levels, the block's own last.
    pub locations: std::ops::Range<usize>,
}

/// How a location was written; decides what may follow it (`proxy_pass` with a URI, `alias`).
#[derive(Debug, Clone)]
pub enum Kind {
    /// The server's own level.
    Server,
    /// `location = /path`.
    Exact,
    /// `location /path`, `location ^~ /path` (no regular expression is tried after it).
    Prefix { stops_regex: bool },
    /// `location ~ pattern`, `location ~* pattern`.
    Regex(Regex),
    /// `location @name`.
    Named,
    /// `location $variable`.
    Predicate(super::template::Template),
    /// `if` or `limit_except` inside a location.
    Inner,
}

/// A `location` block, or another block that stands for one.
#[derive(Debug)]
pub struct Location {
    /// As written: the path, the pattern, the name.
    pub name: Vec<u8>,
    pub kind: Kind,
    pub conf: Conf,
    /// The locations inside this one.
    pub inner: Lookup,
    /// A prefix ending in `/` whose content is proxied: a request for it without the slash is
    /// answered with 301.
    pub auto_redirect: bool,
}

/// Everything a worker needs to serve.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub servers: Vec<Server>,
    pub locations: Vec<Location>,
    pub endpoints: Endpoints,
    /// Upstream groups, named and implicit.
    pub groups: Vec<GroupSpec>,
    /// Name servers that requests need.
    pub resolvers: Vec<ResolverSpec>,
    /// What requests say of their server, by the index of the group.
    pub affinities: HashMap<usize, Affinity>,
    /// How servers speak TLS.
    pub tls: Vec<crate::tls::Server>,
    /// How TLS is spoken with upstreams.
    pub upstream_ssl: Vec<upstream_ssl::Settings>,
    /// The zone with the keys of their tickets, among `needs.zones`.
    pub ticket_zone: Option<usize>,
    /// Sets of error logs: (level, index into `needs.log_files`).
    pub error_logs: Vec<Vec<(crate::log::Level, usize)>>,
    /// What is kept open of logs whose names have variables.
    pub kept_logs: Vec<Keeping>,
    /// What is kept of certificates whose names have variables.
    pub kept_certificates: Vec<super::certificates::kept::Keeping>,
    /// Somebody wants to know the files of request bodies (`$request_body_file`).
    pub shows_body_files: bool,
    /// Slots a request keeps for variables that the configuration defines.
    pub slots: usize,
    /// Their names, for those who ask while the server runs.
    pub names: Names,
    /// Zones of keyed records, in the order of `needs.zones`.
    pub zones: Vec<SharedZone>,
    /// Variables of `map` and its kin.
    pub computed: Vec<Computed>,
    pub needs: Needs,
}

impl Snapshot {
    /// What the master must open.
    pub fn needs(&self) -> &Needs {
        &self.needs
    }

    /// The configuration of a location.
    pub fn conf(&self, location: usize) -> &Conf {
        &self.locations[location].conf
    }
}
