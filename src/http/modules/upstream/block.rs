//! Owns what may stand inside an `upstream` block.
//!
//! Must not look names up before the whole configuration has been read.

use super::server::{self, WrittenServer};
use crate::conf::values::{self, once, parse_number};
use crate::conf::{Action, Args, Contexts, Directive, Env, Error, Row, Setter, Table, Word};
use crate::http::draft;
use crate::http::finish::Finish;
use crate::upstream::{Balance, GroupSpec, KeepaliveSpec};
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
         with `weight=`, `max_conns=`, `max_fails=`, `fail_timeout=`, `backup`, `down`.",
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
    not_yet("zone"),
    not_yet("hash"),
    not_yet("random"),
    not_yet("least_time"),
    not_yet("sticky"),
    not_yet("resolver"),
    not_yet("resolver_timeout"),
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
    pub(super) fn finish(&self, cx: &mut Finish) -> GroupSpec {
        GroupSpec {
            name: self.name.lossy().into_owned(),
            servers: self.servers.iter().map(|server| server.finish(cx)).collect(),
            keepalive: self.keepalive(),
            balance: self.balance.unwrap_or_default(),
        }
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
