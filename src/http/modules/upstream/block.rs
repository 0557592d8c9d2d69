//! Owns what may stand inside an `upstream` block.
//!
//! Must not look names up before the whole configuration has been read.

use super::server::{self, WrittenServer};
use super::sticky::StickyDraft;
use crate::conf::values::{self, once, parse_number};
use crate::conf::{Action, Args, Contexts, Directive, Env, Error, Row, Setter, Table, Word};
use crate::dns::ResolverSpec;
use crate::http::affinity::Affinity;
use crate::http::draft::{self, Scope};
use crate::http::finish::Finish;
use crate::http::resolver::{ResolverDraft, TIMEOUT};
use crate::http::zones::ZoneName;
use crate::upstream::{Balance, GroupSpec, KeepaliveSpec, LeastTime};
use std::sync::LazyLock;
use std::time::Duration;

/// An `upstream` block as written.
#[derive(Debug, Clone)]
pub struct UpstreamDraft {
    name: Word,
    pub(super) servers: Vec<WrittenServer>,
    pub(super) balance: Option<Balance>,
    /// `keepalive connections [local]`.
    keepalive: Option<(usize, bool)>,
    requests: Option<u64>,
    time: Option<Duration>,
    timeout: Option<Duration>,
    /// The key of `hash`.
    key: Option<Word>,
    sticky: Option<StickyDraft>,
    zone: Option<ZoneName>,
    resolver: Option<ResolverDraft>,
    resolver_timeout: Option<Duration>,
}

/// Every directive of `upstream {}`.
pub static TABLE: LazyLock<Table<UpstreamDraft>> = LazyLock::new(|| Table::new(&[ROWS]));

const fn row(
    name: &'static str,
    args: Args,
    doc: &'static str,
    set: Setter<UpstreamDraft>,
) -> Row<UpstreamDraft> {
    Row { name, contexts: Contexts::UPSTREAM, args, doc, action: Action::Set(set) }
}

const fn not_yet(name: &'static str) -> Row<UpstreamDraft> {
    let doc = "Not supported yet.";
    Row { name, contexts: Contexts::UPSTREAM, args: Args::Any, doc, action: Action::NotYet }
}

static ROWS: &[Row<UpstreamDraft>] = &[
    row(
        "server",
        Args::AtLeast(1),
        "A server of the group: an address, a name (each of its addresses is a server) or a unix socket, \
         with `weight=`, `max_conns=`, `max_fails=`, `fail_timeout=`, `backup`, `down`, `drain`, `route=`, \
         `resolve` (its addresses are followed while the server runs) and `service=` (SRV records).",
        server::read,
    ),
    row(
        "keepalive",
        Args::Between(1, 2),
        "Idle connections a worker keeps to the servers of the group; with `local` each is used again only \
         by the location that opened it. The default is 32 `local`; 0 keeps none.",
        keepalive,
    ),
    row(
        "keepalive_requests",
        Args::Exactly(1),
        "Requests on one connection before it is closed; default 1000.",
        |draft, dir, _| values::number(&mut draft.requests, dir),
    ),
    row(
        "keepalive_time",
        Args::Exactly(1),
        "Age after which a connection is closed instead of kept; default 1h.",
        |draft, dir, _| values::msec(&mut draft.time, dir),
    ),
    row(
        "keepalive_timeout",
        Args::Exactly(1),
        "How long an idle connection is kept; default 60s.",
        |draft, dir, _| values::msec(&mut draft.timeout, dir),
    ),
    row(
        "least_conn",
        Args::None,
        "Chooses the server with the fewest active connections, by weight.",
        |draft, dir, env| balance(draft, Balance::LeastConn, dir, env),
    ),
    row(
        "ip_hash",
        Args::None,
        "Chooses the server by the client's address, so that a client stays with its server.",
        |draft, dir, env| balance(draft, Balance::IpHash, dir, env),
    ),
    row(
        "hash",
        Args::Between(1, 2),
        "Chooses the server by a key of the request; with `consistent` on a ring (ketama), so that few keys \
         move when servers come or go.",
        hash,
    ),
    row(
        "random",
        Args::Between(0, 2),
        "Chooses a server at random, by weight; with `two` the one with fewer connections of two.",
        random,
    ),
    row(
        "least_time",
        Args::Between(1, 2),
        "Chooses the server with the least average time and fewest connections, by weight: time to the \
         `header` or to the `last_byte`; with `inflight` requests under way count.",
        least_time,
    ),
    row(
        "sticky",
        Args::AtLeast(2),
        "Keeps a client with its server: by a `cookie` that is set for it, by a `route` that variables \
         hold, or by a session that the server itself begins (`learn`).",
        |draft, dir, _| {
            once(&draft.sticky, dir)?;
            draft.sticky = Some(StickyDraft::read(dir)?);
            Ok(())
        },
    ),
    row(
        "zone",
        Args::Between(1, 2),
        "Has all workers know the servers together: their connections, failures and health, counted in shared \
         memory of this size. Several groups may have one zone; those without a size have one that \
         another group declares.",
        |draft, dir, _| {
            once(&draft.zone, dir)?;
            draft.zone = Some(ZoneName::read(dir)?);
            Ok(())
        },
    ),
    row(
        "resolver",
        Args::AtLeast(1),
        "Name servers for servers with `resolve`, instead of those of `http`.",
        |draft, dir, env| {
            once(&draft.resolver, dir)?;
            draft.resolver = Some(ResolverDraft::read(dir, env)?);
            Ok(())
        },
    ),
    row(
        "resolver_timeout",
        Args::Exactly(1),
        "How long an answer of those may take (default 30s).",
        |draft, dir, _| values::msec(&mut draft.resolver_timeout, dir),
    ),
    not_yet("queue"),
    not_yet("state"),
    not_yet("ntlm"),
];

fn keepalive(draft: &mut UpstreamDraft, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    once(&draft.keepalive, dir)?;
    let word = dir.arg(0);
    let connections = parse_number(&word.text).and_then(|n| usize::try_from(n).ok());
    let Some(connections) = connections else {
        let shown = word.lossy();
        return Err(
            word.error(format_args!("invalid value \"{shown}\" in \"keepalive\" directive"))
        );
    };
    let local = match dir.args.get(1) {
        None => false,
        Some(word) if word.text == b"local" => true,
        Some(word) => {
            return Err(word.error(format_args!("invalid parameter \"{}\"", word.lossy())));
        }
    };
    draft.keepalive = Some((connections, local));
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of a setter")]
fn balance(
    draft: &mut UpstreamDraft,
    how: Balance,
    dir: &Directive,
    env: &mut Env,
) -> Result<(), Error> {
    if draft.balance.is_some() {
        env.warn(dir.error("load balancing method redefined"));
    }
    draft.balance = Some(how);
    Ok(())
}

/// The error of a word that means nothing here.
fn invalid(word: &Word) -> Error {
    word.error(format_args!("invalid parameter \"{}\"", word.lossy()))
}

fn hash(draft: &mut UpstreamDraft, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    let how = match dir.args.get(1) {
        None => Balance::Hash,
        Some(word) if word.text == b"consistent" => Balance::ConsistentHash,
        Some(word) => return Err(invalid(word)),
    };
    draft.key = Some(dir.arg(0).clone());
    balance(draft, how, dir, env)
}

fn random(draft: &mut UpstreamDraft, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    let how = match &dir.args[..] {
        [] => Balance::Random,
        [two] if two.text == b"two" => Balance::RandomTwo,
        [two, how] if two.text == b"two" && how.text == b"least_conn" => Balance::RandomTwo,
        [two, how] if two.text == b"two" => return Err(invalid(how)),
        _ => return Err(invalid(dir.arg(0))),
    };
    balance(draft, how, dir, env)
}

fn least_time(draft: &mut UpstreamDraft, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    let inflight = match dir.args.get(1) {
        None => false,
        Some(word) if word.text == b"inflight" => true,
        Some(word) => return Err(invalid(word)),
    };
    let last_byte = match &*dir.arg(0).text {
        b"header" => false,
        b"last_byte" => true,
        _ => {
            let shown = dir.arg(0).lossy();
            return Err(dir.arg(0).error(format_args!("invalid value \"{shown}\"")));
        }
    };
    balance(draft, Balance::LeastTime(LeastTime { last_byte, inflight }), dir, env)
}

impl UpstreamDraft {
    /// Reads the block.
    pub(super) fn read(dir: &Directive, env: &mut Env) -> Result<Self, Error> {
        let mut draft = Self {
            name: dir.arg(0).clone(),
            servers: Vec::new(),
            balance: None,
            keepalive: None,
            requests: None,
            time: None,
            timeout: None,
            key: None,
            sticky: None,
            zone: None,
            resolver: None,
            resolver_timeout: None,
        };
        let directives = dir.block.as_deref().unwrap_or_default();
        let before = env.errors.len();
        TABLE.apply(&mut draft, Contexts::UPSTREAM, directives, env, &|name| {
            draft::TABLE.knows(name)
        });
        // A server line that was refused is a server all the same.
        if draft.servers.is_empty() && env.errors.len() == before {
            return Err(dir.error("no servers are inside upstream"));
        }
        if !draft.servers.is_empty() && draft.servers.iter().all(|server| server.spec.backup) {
            let name = draft.name.lossy();
            return Err(dir.error(format_args!("no servers in upstream \"{name}\"")));
        }
        Ok(draft)
    }

    /// Whether this is the group's name; case does not count.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name.lossy().eq_ignore_ascii_case(name)
    }

    /// Resolves its servers and fills the defaults.
    pub(super) fn finish(&self, http: &Scope, cx: &mut Finish) -> GroupSpec {
        let resolver = self.resolver(http, cx);
        GroupSpec {
            name: self.name.lossy().into_owned(),
            servers: self.servers.iter().map(|server| server.finish(cx)).collect(),
            keepalive: self.keepalive(),
            balance: self.balance.unwrap_or_default(),
            zone: self.zone.as_ref().and_then(|zone| zone.find(cx)),
            checks: Vec::new(),
            resolver,
        }
    }

    /// Declares its zone, so that others find it wherever they stand.
    pub(super) fn declare(&self, cx: &mut Finish) {
        if let Some(zone) = &self.zone {
            zone.declare(cx);
        }
    }

    /// What requests say of their server.
    pub(super) fn affinity(&self, cx: &mut Finish) -> Option<Affinity> {
        let key = self.key.as_ref().map(|word| cx.template(word));
        let sticky = self.sticky.as_ref().map(|draft| draft.finish(&self.name, cx));
        (key.is_some() || sticky.is_some()).then_some(Affinity { key, sticky })
    }

    /// Who is asked for names at run time, if there are any.
    fn resolver(&self, http: &Scope, cx: &mut Finish) -> Option<(ResolverSpec, Duration)> {
        let server = self.servers.iter().find(|server| server.spec.resolve)?;
        let name = self.name.lossy();
        if self.zone.is_none() {
            cx.report(server.word.error(format_args!(
                "resolving names at run time requires upstream \"{name}\" to be in shared memory"
            )));
            return None;
        }
        let outer = &http.drafts.resolver;
        let Some(draft) = self.resolver.as_ref().or(outer.resolver.as_ref()) else {
            cx.report(server.word.error(format_args!(
                "no resolver defined to resolve names at run time in upstream \"{name}\""
            )));
            return None;
        };
        let spec = draft.finish(cx);
        cx.resolver(spec.clone());
        Some((spec, self.resolver_timeout.or(outer.timeout).unwrap_or(TIMEOUT)))
    }

    fn keepalive(&self) -> KeepaliveSpec {
        let default = KeepaliveSpec::default();
        let (connections, local) = self.keepalive.unwrap_or((default.connections, default.local));
        if connections == 0 {
            return KeepaliveSpec::OFF;
        }
        KeepaliveSpec {
            connections,
            local,
            requests: self.requests.unwrap_or(default.requests),
            time: self.time.unwrap_or(default.time),
            timeout: self.timeout.unwrap_or(default.timeout),
        }
    }
}
