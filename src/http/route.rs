//! Owns selection: the server by address and name, the location by URI, exactly as nginx does.
//!
//! Must not run any phase and must not change a request except for captures.

use super::regex::Regex;
use super::request::{Captures, Request};
use super::slots::Slots;
use super::snapshot::{Kind, Snapshot};
use crate::net::Address;
use std::collections::HashMap;

/// The servers behind one address.
#[derive(Debug, Default)]
pub struct Endpoint {
    /// The `default_server`, or the first one written.
    pub default: usize,
    pub names: ServerNames,
    /// Connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Connections are TLS.
    pub tls: bool,
    /// Some `listen` asks for HTTP/2: then every server here may be asked over it.
    pub http2: bool,
    /// The names of a server that has the address for itself, and takes every name: for people.
    pub lone: ServerNames,
}

/// All addresses of the configuration.
#[derive(Debug, Default)]
pub struct Endpoints {
    by_address: HashMap<Address, Endpoint>,
}

impl Endpoints {
    /// The endpoint of an address, made when first asked for.
    pub fn entry(&mut self, address: Address) -> &mut Endpoint {
        self.by_address.entry(address).or_default()
    }

    /// All of them, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Endpoint> {
        self.by_address.values()
    }

    /// The endpoint of a connection's local address: its own, else the wildcard's.
    pub fn find(&self, local: &Address, bound: &Address) -> Option<&Endpoint> {
        // The usual case, three times a request: one address, nothing to look up.
        if self.by_address.len() == 1 {
            return self.by_address.values().next();
        }
        self.by_address.get(local).or_else(|| self.by_address.get(bound))
    }

    /// Whether connections accepted on `bound` may belong to different endpoints.
    pub fn shares_port(&self, bound: &Address) -> bool {
        let Address::Inet(bound) = bound else { return false };
        bound.ip().is_unspecified()
            && self
                .by_address
                .keys()
                .filter(|a| matches!(a, Address::Inet(a) if a.port() == bound.port()))
                .count()
                > 1
    }
}

/// The names of the servers behind one address. Values are server indices.
#[derive(Debug, Default)]
pub struct ServerNames {
    exact: HashMap<Box<[u8]>, usize>,
    /// `*.example.com`, keyed by `example.com`; `.example.com` stands here and in `exact`.
    head: HashMap<Box<[u8]>, usize>,
    /// `www.example.*`, keyed by `www.example`.
    tail: HashMap<Box<[u8]>, usize>,
    regexes: Vec<(Regex, usize)>,
}

/// A name of `server_name`, in lower case.
#[derive(Debug, Clone)]
pub enum ServerName {
    Exact(Vec<u8>),
    /// `*.example.com`: any name that ends in `.example.com`.
    Head(Vec<u8>),
    /// `.example.com`: the name itself and any below it.
    Dot(Vec<u8>),
    /// `www.example.*`.
    Tail(Vec<u8>),
    Regex(Regex),
}

impl ServerName {
    /// Which kind of name it is; `None` for a star in the wrong place, or an empty label.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let stars = memchr::memchr_iter(b'*', text).count();
        let empty_label = text.windows(2).any(|pair| pair == b"..");
        if stars > 1 || empty_label || text.contains(&0) {
            return None;
        }
        if let Some(rest) = text.strip_prefix(b".") {
            return (stars == 0).then(|| Self::Dot(rest.to_vec()));
        }
        if let Some(rest) = text.strip_prefix(b"*.") {
            return Some(Self::Head(rest.to_vec()));
        }
        if let Some(front) = text.strip_suffix(b".*") {
            return Some(Self::Tail(front.to_vec()));
        }
        (stars == 0).then(|| Self::Exact(text.to_vec()))
    }
}

impl ServerNames {
    /// Adds a name. False when another server already has it: nginx warns and keeps the first.
    pub fn add(&mut self, name: &ServerName, server: usize) -> bool {
        let fresh = |map: &mut HashMap<Box<[u8]>, usize>, key: &[u8]| match map.get(key) {
            Some(owner) => *owner == server,
            None => map.insert(key.into(), server).is_none(),
        };
        match name {
            ServerName::Exact(n) => fresh(&mut self.exact, n),
            ServerName::Head(n) => fresh(&mut self.head, n),
            ServerName::Dot(n) => fresh(&mut self.exact, n) & fresh(&mut self.head, n),
            ServerName::Tail(n) => fresh(&mut self.tail, n),
            ServerName::Regex(r) => {
                self.regexes.push((r.clone(), server));
                true
            }
        }
    }

    /// nginx's precedence: exact, longest `*.`, longest `.*`, first regular expression.
    pub fn find(&self, host: &[u8], captures: &mut Captures, slots: &Slots) -> Option<usize> {
        if let Some(server) = self.find_name(host) {
            return Some(server);
        }
        // nginx tries no expression on a request that names no host, not even one that would match.
        if host.is_empty() {
            return None;
        }
        let hit = self.regexes.iter().find(|(regex, _)| regex.apply(host, captures, slots));
        hit.map(|(_, server)| *server)
    }

    /// The same without regular expressions.
    pub fn find_name(&self, host: &[u8]) -> Option<usize> {
        if let Some(server) = self.exact.get(host) {
            return Some(*server);
        }
        if !self.head.is_empty() {
            let dots = memchr::memchr_iter(b'.', host).map(|at| &host[at + 1..]);
            if let Some(server) = dots.into_iter().find_map(|rest| self.head.get(rest)) {
                return Some(*server);
            }
        }
        if !self.tail.is_empty() {
            let dots = memchr::memrchr_iter(b'.', host).map(|at| &host[..at]);
            return dots.into_iter().find_map(|front| self.tail.get(front)).copied();
        }
        None
    }
}

/// The locations inside a server or a location. Values are indices into `Snapshot::locations`.
#[derive(Debug, Default)]
pub struct Lookup {
    exact: HashMap<Box<[u8]>, usize>,
    /// Sorted by path.
    prefixes: Vec<PrefixEntry>,
    /// Those of both whose path ends in a slash, by the path without it.
    slashed: HashMap<Box<[u8]>, usize>,
    pub regexes: Vec<usize>,
    pub predicates: Vec<usize>,
    pub named: HashMap<Vec<u8>, usize>,
}

#[derive(Debug)]
struct PrefixEntry {
    path: Box<[u8]>,
    location: usize,
    /// The longest other entry that is a prefix of this one.
    parent: Option<usize>,
}

impl Lookup {
    /// Adds `= path`. False when there is one already.
    pub fn add_exact(&mut self, path: &[u8], location: usize) -> bool {
        self.exact.insert(path.into(), location).is_none()
    }

    /// Adds a prefix. False when there is one already.
    pub fn add_prefix(&mut self, path: &[u8], location: usize) -> bool {
        match self.prefixes.binary_search_by(|e| e.path.as_ref().cmp(path)) {
            Ok(_) => false,
            Err(at) => {
                self.prefixes.insert(at, PrefixEntry { path: path.into(), location, parent: None });
                true
            }
        }
    }

    /// Computes the links between prefixes; call once when all have been added.
    pub fn link(&mut self) {
        let exact = self.exact.iter().map(|(path, at)| (path, *at));
        let prefixes = self.prefixes.iter().map(|entry| (&entry.path, entry.location));
        self.slashed = exact
            .chain(prefixes)
            .filter_map(|(path, at)| Some((path.strip_suffix(b"/")?.into(), at)))
            .collect();
        for at in 0..self.prefixes.len() {
            let mut parent = at.checked_sub(1);
            while let Some(p) = parent {
                if self.prefixes[at].path.starts_with(&self.prefixes[p].path) {
                    break;
                }
                parent = self.prefixes[p].parent;
            }
            self.prefixes[at].parent = parent;
        }
    }

    /// The longest prefix of `uri`: among sorted strings it is the last one not above `uri`, or
    /// one of that one's own prefixes.
    fn longest_prefix(&self, uri: &[u8]) -> Option<usize> {
        let above = self.prefixes.partition_point(|e| e.path.as_ref() <= uri);
        let mut at = above.checked_sub(1);
        while let Some(i) = at {
            let entry = &self.prefixes[i];
            if uri.starts_with(&entry.path) {
                return Some(entry.location);
            }
            at = entry.parent;
        }
        None
    }

    pub(super) fn has_prefix(&self, path: &[u8]) -> bool {
        self.prefixes.binary_search_by(|e| e.path.as_ref().cmp(path)).is_ok()
    }

    /// A location whose path is `uri` and a slash: nginx redirects there when it is proxied.
    fn with_slash(&self, uri: &[u8]) -> Option<usize> {
        self.slashed.get(uri).copied()
    }
}

/// What selecting a location came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// This location.
    At(usize),
    /// The URI lacks the slash of this proxied location: 301.
    AddSlash(usize),
}

/// Selects the location for the request's URI, starting at the server's own level.
pub fn find_location(req: &mut Request) -> Found {
    let snapshot = req.snapshot.clone();
    let root = snapshot.servers[req.server].root;
    let mut found = root;
    match descend(&snapshot, root, req, &mut found) {
        Outcome::Redirect(at) => Found::AddSlash(at),
        _ => Found::At(found),
    }
}

enum Outcome {
    /// An exact or regular-expression location: the selection is over.
    Final,
    /// A prefix at most.
    Open,
    Redirect(usize),
}

/// One level of nginx's algorithm: exact; longest prefix and what is nested in it; then regular
/// expressions, unless a `^~` or something final was found; then predicates.
fn descend(snapshot: &Snapshot, level: usize, req: &mut Request, found: &mut usize) -> Outcome {
    let inner = &snapshot.locations[level].inner;
    if let Some(exact) = inner.exact.get(&*req.uri) {
        *found = *exact;
        return Outcome::Final;
    }
    if let Some(slashed) = inner.with_slash(&req.uri)
        && snapshot.locations[slashed].auto_redirect
        && !inner.has_prefix(&req.uri)
    {
        return Outcome::Redirect(slashed);
    }
    let mut stops_regex = false;
    if let Some(prefix) = inner.longest_prefix(&req.uri) {
        *found = prefix;
        stops_regex = matches!(snapshot.locations[prefix].kind, Kind::Prefix { stops_regex: true });
        match descend(snapshot, prefix, req, found) {
            Outcome::Open => {}
            done => return done,
        }
    }
    if stops_regex {
        return Outcome::Open;
    }
    let hit = inner.regexes.iter().find(|at| match &snapshot.locations[**at].kind {
        Kind::Regex(regex) => regex.apply_uri(req),
        _ => false,
    });
    let hit = hit.or_else(|| {
        inner.predicates.iter().find(|at| match &snapshot.locations[**at].kind {
            Kind::Predicate(value) => value.is_true(req),
            _ => false,
        })
    });
    let Some(hit) = hit else { return Outcome::Open };
    *found = *hit;
    match descend(snapshot, *hit, req, found) {
        redirect @ Outcome::Redirect(_) => redirect,
        _ => Outcome::Final,
    }
}

/// The named location of the request's server.
pub fn find_named(snapshot: &Snapshot, server: usize, name: &[u8]) -> Option<usize> {
    let root = snapshot.servers[server].root;
    snapshot.locations[root].inner.named.get(name).copied()
}
