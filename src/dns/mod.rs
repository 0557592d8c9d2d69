//! Owns names looked up while the server runs: with the servers of a `resolver` directive, never with
//! the system's resolver, which would block.
//!
//! One answer serves all who ask for a name at once, and those who ask while it is valid. Must not
//! know who asks nor what for.

mod exchange;
mod message;
#[cfg(test)]
mod tests;

use message::{Kind, Records, Service};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Aliases followed before a name counts as not found.
const ALIASES: usize = 50;

/// Kept after its last use, in seconds.
const UNUSED: Seconds = 30;

/// How long a failure is believed, in seconds, where somebody asks by himself again and again.
const FAILED: Seconds = 10;

/// Whole seconds since the resolver began: nginx compares those.
type Seconds = u64;

/// A `resolver` directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverSpec {
    /// Asked in turn.
    pub servers: Vec<SocketAddr>,
    /// `valid=` in seconds, instead of what answers say.
    pub valid: Option<u64>,
    /// Which addresses are asked for; not neither.
    pub ipv4: bool,
    pub ipv6: bool,
}

/// Why a name has no address. Displays as nginx puts it into brackets: `3: Host not found`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What the server has said (RFC 1035, section 4.1.1).
    Code(u8),
    /// Nobody has answered in time.
    TimedOut,
}

impl Failure {
    /// The name does not exist, or has nothing of what was asked for.
    pub const NOT_FOUND: Self = Self::Code(3);
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, sentence) = match self {
            Self::Code(1) => (1, "Format error"),
            Self::Code(2) => (2, "Server failure"),
            Self::Code(3) => (3, "Host not found"),
            Self::Code(4) => (4, "Unimplemented"),
            Self::Code(5) => (5, "Operation refused"),
            Self::Code(code) => (*code, "Unknown error"),
            Self::TimedOut => (110, "Operation timed out"),
        };
        write!(f, "{code}: {sentence}")
    }
}

/// An address of a service, with the order in which it is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddress {
    pub address: SocketAddr,
    /// The host that has it.
    pub host: String,
    /// Lower is used first.
    pub priority: u16,
    pub weight: u16,
}

/// An answer and how long it may be kept.
#[derive(Clone, Debug)]
pub struct Resolved<T> {
    pub found: T,
    pub valid: Duration,
}

/// What is asked: a host has addresses, a service has hosts.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Question {
    Host(String),
    Service(String),
}

/// An answer that has come, or is awaited by all who want it.
struct Node {
    answer: Rc<OnceCell<Result<Records, Failure>>>,
    /// Valid up to and including this second, once it has come.
    until: Cell<Seconds>,
    used: Cell<Seconds>,
}

/// The name servers of a `resolver` directive and what they have answered.
pub struct Resolver {
    spec: ResolverSpec,
    /// The server that is asked next.
    turn: Cell<usize>,
    nodes: RefCell<HashMap<Question, Rc<Node>>>,
    began: Instant,
}

impl Resolver {
    /// Knows nothing yet.
    pub fn new(spec: ResolverSpec) -> Rc<Self> {
        let nodes = RefCell::default();
        Rc::new(Self { spec, turn: Cell::new(0), nodes, began: Instant::now() })
    }

    /// What it was made from; a reload that asks for the same may keep it.
    pub fn spec(&self) -> &ResolverSpec {
        &self.spec
    }

    /// All addresses of a host. Known ones begin at random, so that load spreads.
    pub async fn host(
        &self,
        name: &str,
        limit: Duration,
    ) -> Result<Resolved<Vec<IpAddr>>, Failure> {
        let asked = tokio::time::timeout(limit, self.follow(Question::Host(plain(name))));
        let (records, until, known) = asked.await.map_err(|_| Failure::TimedOut)??;
        let mut found = records.addresses;
        if known {
            rotate(&mut found);
        }
        Ok(Resolved { found, valid: self.left(until) })
    }

    /// All addresses of a service of a host (`_service._tcp.host`, or `service.host` if it has dots).
    pub async fn service(
        &self,
        service: &str,
        name: &str,
        limit: Duration,
    ) -> Result<Resolved<Vec<ServiceAddress>>, Failure> {
        let name = plain(name);
        let full = if service.contains('.') {
            format!("{service}.{name}")
        } else {
            format!("_{service}._tcp.{name}")
        };
        let asked = tokio::time::timeout(limit, self.follow(Question::Service(plain(&full))));
        let (records, until, _) = asked.await.map_err(|_| Failure::TimedOut)??;
        self.hosts_of(service, &name, records.services, until, limit).await
    }

    /// How long a failure is believed.
    pub fn retry(&self) -> Duration {
        Duration::from_secs(self.spec.valid.unwrap_or(FAILED))
    }

    /// Looks up the hosts of a service, all at once.
    async fn hosts_of(
        &self,
        service: &str,
        name: &str,
        mut services: Vec<Service>,
        until: Seconds,
        limit: Duration,
    ) -> Result<Resolved<Vec<ServiceAddress>>, Failure> {
        services.sort_by_key(|one| one.priority);
        let hosts = all(services.iter().map(|one| self.host(&one.target, limit))).await;
        let mut valid = self.left(until);
        let mut found = Vec::new();
        let mut failures = Vec::new();
        for (Service { priority, weight, port, target }, host) in services.iter().zip(hosts) {
            match host {
                Ok(host) => {
                    valid = valid.min(host.valid);
                    found.extend(host.found.into_iter().map(|ip| ServiceAddress {
                        address: (ip, *port).into(),
                        host: target.clone(),
                        priority: *priority,
                        weight: *weight,
                    }));
                }
                Err(failure) => {
                    tracing::error!(
                        "{target} could not be resolved ({failure}) while resolving service {service} of {name}"
                    );
                    failures.push(failure);
                }
            }
        }
        match failures.first().copied().filter(|_| found.is_empty()) {
            None => Ok(Resolved { found, valid }),
            Some(_) if failures.contains(&Failure::NOT_FOUND) => Err(Failure::NOT_FOUND),
            Some(first) => Err(first),
        }
    }

    /// Follows aliases to an answer; until when it is valid, and whether it was known.
    async fn follow(&self, question: Question) -> Result<(Records, Seconds, bool), Failure> {
        let mut question = question;
        for _ in 0..ALIASES {
            let (node, known) = self.node(&question);
            let records = node.answer.get_or_init(|| self.ask(&question, &node)).await.clone();
            let records = records.inspect_err(|_| self.forget(&question, &node))?;
            match records.alias {
                Some(alias) if records.addresses.is_empty() && records.services.is_empty() => {
                    question = match question {
                        Question::Host(_) => Question::Host(alias),
                        Question::Service(_) => Question::Service(alias),
                    };
                }
                _ => return Ok((records, node.until.get(), known)),
            }
        }
        Err(Failure::NOT_FOUND)
    }

    /// The place of an answer, and whether it is there already.
    fn node(&self, question: &Question) -> (Rc<Node>, bool) {
        let now = self.now();
        let mut nodes = self.nodes.borrow_mut();
        if let Some(node) = nodes.get(question) {
            let known = node.answer.initialized();
            if !known || now <= node.until.get() {
                node.used.set(now);
                return (node.clone(), known);
            }
        }
        // What nobody has wanted for a while makes room.
        nodes.retain(|_, node| !node.answer.initialized() || now <= node.used.get() + UNUSED);
        let node = Node { answer: Rc::default(), until: Cell::new(0), used: Cell::new(now) };
        let node = Rc::new(node);
        nodes.insert(question.clone(), node.clone());
        (node, false)
    }

    /// A failure is not kept: who asks next may have better luck.
    fn forget(&self, question: &Question, node: &Rc<Node>) {
        let mut nodes = self.nodes.borrow_mut();
        if nodes.get(question).is_some_and(|kept| Rc::ptr_eq(kept, node)) {
            nodes.remove(question);
        }
    }

    async fn ask(&self, question: &Question, node: &Node) -> Result<Records, Failure> {
        let first = self.turn.get();
        self.turn.set((first + 1) % self.spec.servers.len().max(1));
        let (name, kinds): (_, &[Kind]) = match question {
            Question::Service(name) => (name, &[Kind::Srv]),
            Question::Host(name) => match (self.spec.ipv4, self.spec.ipv6) {
                (true, true) => (name, &[Kind::A, Kind::Aaaa]),
                (false, true) => (name, &[Kind::Aaaa]),
                _ => (name, &[Kind::A]),
            },
        };
        let records = exchange::ask(&self.spec.servers, first, name, kinds).await?;
        if records.addresses.is_empty() && records.services.is_empty() && records.alias.is_none() {
            return Err(Failure::NOT_FOUND);
        }
        node.until.set(self.now() + self.spec.valid.unwrap_or(records.ttl.into()));
        Ok(records)
    }

    fn now(&self) -> Seconds {
        self.began.elapsed().as_secs()
    }

    fn left(&self, until: Seconds) -> Duration {
        Duration::from_secs(until.saturating_sub(self.now()))
    }
}

/// Waits for all of them side by side.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        let mut pending = false;
        for (future, done) in waiting.iter_mut().filter(|(_, done)| done.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => *done = Some(value),
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    waiting.into_iter().filter_map(|(_, done)| done).collect()
}

/// As names are compared: without case, without the dot that ends a full name.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Begins with any of them; those of one family stay together in their order.
fn rotate(addresses: &mut [IpAddr]) {
    if addresses.len() < 2 {
        return;
    }
    let random = RandomState::new();
    let at = |salt: u8, n: usize| usize::try_from(random.hash_one(salt)).unwrap_or(0) % n.max(1);
    let second = addresses.iter().position(IpAddr::is_ipv6).unwrap_or(addresses.len());
    let (four, six) = addresses.split_at_mut(second);
    four.rotate_left(at(0, four.len()));
    six.rotate_left(at(1, six.len()));
    addresses.rotate_left(at(2, addresses.len()));
}
