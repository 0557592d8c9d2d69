//! Owns one peer (an address of a `server`) and its failure and connection accounting.
//! Must not choose between peers nor open connections.

use std::cell::OnceCell;
use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use md5::{Digest, Md5};
use tokio::time::Instant;

use crate::net::Address;

use super::least_time::{LeastTime, Times};

use super::balance::Tried;
use super::spec::ServerSpec;
use super::state::{
    ACCESSED, BEGINS, CHECKED, CURRENT, Checks, EFFECTIVE, FAILS, HEALTH, SCALE, SLOW_SINCE,
    Sharing, State,
};
use crate::dns::ServiceAddress;
use crate::zone::keyed::Entered;

/// Whole seconds of a clock that never goes back and starts far from zero,
/// so that zero can mean "never".
pub(super) type Seconds = u64;

/// A moment on that clock, and in milliseconds since it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) seconds: Seconds,
    pub(super) millis: u64,
}

/// One address requests can be sent to, with what this worker knows about it.
pub(super) struct Peer {
    pub(super) address: Address,
    name: String,
    server: String,
    /// What a session that belongs to it is known by.
    id: String,
    pub(super) backup: bool,
    weight: i64,
    max_fails: u32,
    fail_timeout: Seconds,
    max_conns: u32,
    pub(super) down: bool,
    drain: bool,
    pub(super) times: Times,
    slow_start: Seconds,
    pub(super) checks: Checks,
    pub(super) state: State,
}

impl Peer {
    pub(super) fn new(server: &ServerSpec, address: Address) -> Self {
        let weight = i64::from(server.weight.max(1));
        let name = address.to_string();
        Self {
            id: server.route.clone().unwrap_or_else(|| hashed(&name)),
            name,
            address,
            server: server.name.clone(),
            backup: server.backup,
            weight,
            max_fails: server.max_fails,
            fail_timeout: server.fail_timeout.as_secs(),
            max_conns: server.max_conns,
            down: server.down,
            drain: server.drain,
            times: Times::default(),
            slow_start: server.slow_start.as_secs(),
            checks: Checks::default(),
            state: State::new(weight),
        }
    }

    /// The same with the state that all workers share: that of the `nth` server that is just like it.
    #[must_use]
    pub(super) fn shared(self, sharing: &Sharing, nth: usize) -> Self {
        let Self { name, server, weight, backup, .. } = &self;
        let group = sharing.group.to_ascii_lowercase();
        let name = format!("{group}\0{server}\0{name}\0{weight}\0{backup}\0{nth}");
        let state = self.state.shared(sharing, name.as_bytes());
        // What is found of it elsewhere does not reach one that is known here alone.
        let all = sharing.checks;
        Self { checks: if state.is_shared() { all } else { all.optional() }, state, ..self }
    }

    /// A host that a service names; what it says of itself goes before the `server` line's defaults.
    pub(super) fn of_service(server: &ServerSpec, one: &ServiceAddress, backup: bool) -> Self {
        let weight = if server.weight == 1 { u32::from(one.weight) } else { server.weight };
        let spec = ServerSpec { weight, backup, name: one.host.clone(), ..server.clone() };
        Self::new(&spec, Address::Inet(one.address))
    }

    /// The same address under another `server` line.
    pub(super) fn again(&self, server: &ServerSpec) -> Self {
        let (Address::Inet(inet), None) = (&self.address, &server.service) else {
            let one =
                ServerSpec { name: self.server.clone(), backup: self.backup, ..server.clone() };
            return Self::new(&one, self.address.clone());
        };
        let port = server.host_port.as_ref().map_or(inet.port(), |(_, port)| *port);
        Self::new(server, Address::Inet((inet.ip(), port).into()))
    }

    /// Whether it gets no new sessions.
    pub(super) fn down(&self) -> bool {
        self.down || self.drain
    }

    /// Whether requests of its own sessions may still go there.
    pub(super) fn welcomes_its_own(&self, now: Seconds) -> bool {
        !self.down && self.is_well() && !self.failing(now) && !self.full()
    }

    /// Whether health checks have nothing against it.
    pub(super) fn is_well(&self) -> bool {
        self.complaint().is_none()
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The `server` parameter as written.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Whether both come from the same `server`.
    pub(super) fn same_server(&self, other: &Self) -> bool {
        self.server == other.server
    }

    /// Whether the other one stands for the same: then this one may go on with what it knows.
    pub(super) fn same(&self, other: &Self) -> bool {
        (&self.address, &self.server, self.weight, self.backup)
            == (&other.address, &other.server, other.weight, other.backup)
    }

    /// How often `fail_timeout` has passed since the last failure or trial.
    pub(super) fn timeouts_since_check(&self, now: Seconds) -> u32 {
        let passed = now.saturating_sub(self.state.get(CHECKED));
        if passed <= self.fail_timeout {
            return 0;
        }
        u32::try_from(passed / (self.fail_timeout + 1)).unwrap_or(u32::MAX)
    }

    pub(super) fn weight(&self) -> i64 {
        self.weight
    }

    /// In parts of a weight.
    pub(super) fn current_weight(&self) -> i64 {
        self.state.signed(CURRENT)
    }

    /// The weight that it has at the moment, in parts: less than its own while it starts slowly.
    pub(super) fn weight_now(&self, now: Seconds) -> i64 {
        self.slowly(self.weight * SCALE, now)
    }

    /// What of a weight counts while it starts slowly.
    fn slowly(&self, weight: i64, now: Seconds) -> i64 {
        if self.slow_start == 0 || self.state.get(SLOW_SINCE) == 0 {
            return weight;
        }
        if self.state.get(SLOW_SINCE) == BEGINS {
            self.state.set(SLOW_SINCE, now);
        }
        let passed = now.saturating_sub(self.state.get(SLOW_SINCE));
        if passed >= self.slow_start {
            self.state.set(SLOW_SINCE, 0);
            return weight;
        }
        let part = i128::from(weight) * i128::from(passed) / i128::from(self.slow_start);
        i64::try_from(part).unwrap_or(weight).max(1)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn fails(&self) -> u32 {
        u32::try_from(self.state.get(FAILS)).unwrap_or(u32::MAX)
    }

    pub(super) fn conns(&self) -> u32 {
        self.state.conns()
    }

    /// Whether `max_conns` is reached.
    pub(super) fn full(&self) -> bool {
        self.max_conns != 0 && self.conns() >= self.max_conns
    }

    /// Whether `max_fails` failures have taken it out until `fail_timeout` passes.
    pub(super) fn failing(&self, now: Seconds) -> bool {
        self.max_fails != 0
            && self.fails() >= self.max_fails
            && now.saturating_sub(self.state.get(CHECKED)) <= self.fail_timeout
    }

    /// Whether one of several peers may get a request now.
    pub(super) fn usable(&self, now: Seconds) -> bool {
        !self.down() && self.is_well() && !self.failing(now) && !self.full()
    }

    /// Takes part in one round: gains its effective weight, returned in parts, which itself recovers by
    /// one towards the configured weight.
    pub(super) fn gain(&self, now: Seconds) -> i64 {
        let effective = self.state.signed(EFFECTIVE);
        let gained = self.slowly(effective, now);
        self.state.add(CURRENT, gained);
        if effective < self.weight * SCALE {
            self.state.set(EFFECTIVE, (effective + SCALE).cast_unsigned());
        }
        gained
    }

    /// Pays for winning a round with the sum of what all peers gained.
    pub(super) fn pay(&self, total: i64) {
        self.state.add(CURRENT, -total);
    }

    /// Starts a trial if the last failure or trial is long enough ago.
    pub(super) fn check(&self, now: Seconds) {
        if now.saturating_sub(self.state.get(CHECKED)) > self.fail_timeout {
            self.state.set(CHECKED, now);
        }
    }

    /// Counts a failure; true when the peer is out from now on.
    fn fail(&self, now: Seconds) -> bool {
        self.state.add(FAILS, 1);
        self.state.set(ACCESSED, now);
        self.state.set(CHECKED, now);
        if self.max_fails == 0 {
            return false;
        }
        let part = self.weight / i64::from(self.max_fails) * SCALE;
        let lowered = self.state.signed(EFFECTIVE) - part;
        self.state.set(EFFECTIVE, lowered.max(0).cast_unsigned());
        self.fails() >= self.max_fails
    }

    fn release(&self, single: bool, entered: Entered) {
        // Failures are forgotten only by a trial begun after the last of them,
        // so that successes in between do not hide a peer that fails now and then.
        if single || self.state.get(ACCESSED) < self.state.get(CHECKED) {
            self.recovers();
        }
        if entered == Entered::Counted {
            self.state.leave();
        }
    }

    /// Its failures are forgotten.
    fn recovers(&self) {
        let fails = self.fails();
        if fails == 0 {
            return;
        }
        if self.max_fails != 0 && fails >= self.max_fails {
            self.start_slowly();
        }
        self.state.set(FAILS, 0);
    }

    /// It has been away, and begins with little.
    pub(super) fn start_slowly(&self) {
        if self.slow_start != 0 {
            self.state.set(SLOW_SINCE, BEGINS);
        }
    }

    /// What health checks say of it, if they have anything against it.
    pub(super) fn complaint(&self) -> Option<&'static str> {
        self.checks.complaint(self.state.get(HEALTH))
    }
}

/// A peer chosen for one request; counts as one of its connections while held.
///
/// Dropping it is the same as [`Group::free`](super::Group::free) without a failure, so a request that
/// is cancelled leaves nothing behind.
pub struct PeerRef {
    pub(super) peer: Rc<Peer>,
    single: bool,
    entered: Entered,
    watch: Option<Watch>,
}

/// The measuring of one request's times, where they are balanced by.
struct Watch {
    how: LeastTime,
    began: Instant,
    /// When it began, on the peers' clock.
    millis: u64,
    header: Option<Duration>,
    /// It counts as under way.
    inflight: bool,
}

impl PeerRef {
    /// `None`: it has just got the last connection that it may have.
    pub(super) fn new(peer: Rc<Peer>, single: bool) -> Option<Self> {
        let entered = peer.state.enter(peer.max_conns);
        if entered == Entered::Full {
            return None;
        }
        Some(Self { peer, single, entered, watch: None })
    }

    /// Begins to measure.
    pub(super) fn watch(&mut self, how: LeastTime, now: u64) {
        if how.inflight {
            self.peer.times.begin(now);
        }
        let began = Instant::now();
        self.watch = Some(Watch { how, began, millis: now, header: None, inflight: how.inflight });
    }

    /// The head of the answer has come.
    pub fn head_came(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let took = watch.began.elapsed();
        watch.header = Some(took);
        if !watch.how.last_byte && watch.how.inflight {
            self.peer.times.head_came(millis(took));
            watch.end_inflight(&self.peer.times, took);
        }
    }

    /// Whether a session belongs to it.
    pub fn id(&self) -> &str {
        self.peer.id()
    }

    /// Where to connect.
    pub fn address(&self) -> &Address {
        &self.peer.address
    }

    /// The address as `$upstream_addr` and the error log show it.
    pub fn name(&self) -> &str {
        &self.peer.name
    }

    /// The `server` parameter as written.
    pub fn server(&self) -> &str {
        self.peer.server()
    }

    /// An answer that goes to the next server says nothing of its times.
    pub(super) fn disregard(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.header = None;
        }
    }

    /// Counts a failure; a group's only peer is never taken out and keeps no count.
    pub(super) fn fail(&self, now: Seconds) -> bool {
        !self.single && self.peer.fail(now)
    }
}

impl Watch {
    fn end_inflight(&mut self, times: &Times, took: Duration) {
        if std::mem::take(&mut self.inflight) {
            times.end(self.millis + millis(took), millis(took));
        }
    }

    /// The request is over.
    fn end(mut self, times: &Times) {
        let took = self.began.elapsed();
        self.end_inflight(times, took);
        let Some(header) = self.header else { return };
        times.answered(millis(took));
        if self.how.last_byte || !self.how.inflight {
            times.head_came(millis(header));
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// As nginx names a server to clients without giving its address away.
fn hashed(name: &str) -> String {
    let mut out = String::with_capacity(32);
    for byte in Md5::digest(name.as_bytes()) {
        // A string takes whatever is written.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

impl Drop for PeerRef {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.end(&self.peer.times);
        }
        self.peer.release(self.single, self.entered);
    }
}

/// How the request ended for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Ok,
    /// Error, timeout, or an answer that `proxy_next_upstream` counts as unsuccessful.
    Failed,
    /// 403 or 404 passed to the next server: never held against the peer.
    NextWithoutFault,
}

/// Peers of one rank: the primary servers, or the backup ones.
#[derive(Default)]
pub(super) struct Peers {
    pub(super) list: Vec<Rc<Peer>>,
    /// The only peer of the group: always used, whatever its failures.
    pub(super) single: bool,
    pub(super) total_weight: i64,
    /// How many may be tried: those not `down`.
    pub(super) tries: u32,
    /// For `hash ... consistent`, once it is needed.
    pub(super) ring: OnceCell<Vec<(u32, usize)>>,
}

impl Peers {
    fn new(list: Vec<Rc<Peer>>) -> Self {
        let tries = list.iter().filter(|peer| !peer.down()).count();
        Self {
            single: false,
            total_weight: list.iter().map(|peer| peer.weight).sum(),
            tries: u32::try_from(tries).unwrap_or(u32::MAX),
            list,
            ring: OnceCell::new(),
        }
    }

    /// Index of the peer in whose share of the weights this place lies.
    pub(super) fn at_weight(&self, place: i64) -> Option<usize> {
        let mut left = place;
        self.list.iter().position(|peer| {
            left -= peer.weight();
            left < 0
        })
    }

    /// Index of the peer that a session belongs to, if it may go there.
    pub(super) fn by_id(&self, id: &[u8], tried: &Tried, now: Seconds) -> Option<usize> {
        let index = self.list.iter().position(|peer| peer.id.as_bytes() == id)?;
        let welcome = self.list.get(index)?.welcomes_its_own(now);
        (welcome && !tried.has(index)).then_some(index)
    }
}

/// Both ranks as one request sees them; replaced whole when a name resolves.
pub(super) struct Ranks {
    pub(super) primary: Peers,
    pub(super) backup: Peers,
}

impl Ranks {
    /// `found` holds the peers of each server, in the order written.
    pub(super) fn new(found: &[Vec<Rc<Peer>>]) -> Self {
        let rank = |backup| {
            let of_rank = found.iter().flatten().filter(|peer| peer.backup == backup);
            Peers::new(of_rank.cloned().collect())
        };
        let mut ranks = Self { primary: rank(false), backup: rank(true) };
        ranks.primary.single = ranks.primary.list.len() == 1 && ranks.backup.list.is_empty();
        ranks
    }
}
