//! The switches of maintenance mode as the master has them. What is said of them is written down
//! first, then put in force for all workers at once, then told.
//!
//! Must not decide what a wish comes to (`orders`), nor know what a closed door answers.

mod barrier;
mod file;
mod orders;
mod report;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;

use super::Master;
use super::inheritance::Inheritance;
use super::zones::{self, Zone};
use crate::config::NeededSwitch;
use crate::control::Ask;
use crate::control::maintenance::{Caller, Change, Refusal};
use crate::handover::Attached;
use crate::log::{Level, os_error};
use crate::signals::{Heard, Received};
use crate::sys::process::{self, Pid};
use crate::zone::gates::{DEFAULT, Gates, Order, State};
use crate::zone::{Counters, Switch};
use file::{Document, Unreadable};
use orders::{Deed, Wanted};

/// Outcomes that stayed unknown are forgotten after once to twice this time, while it is open.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);
/// So many may wait for proofs at a time: there has to be room left for those who give orders.
const WAITS: usize = 64;
/// When a switch that was to open by itself could not be, it is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// The switches and what is due about them.
pub(super) struct Switches {
    pub gates: Gates,
    pub fd: Rc<OwnedFd>,
    /// When those are opened that were to be.
    ends: BTreeMap<String, Instant>,
    /// How many unknown outcomes there were when old ones were forgotten last.
    unknown: BTreeMap<String, u64>,
    /// When they are forgotten next.
    forget_at: Instant,
    /// How many more may wait for a proof.
    waits: Arc<Semaphore>,
}

/// Whether it can be known what is closed, before anybody sees that a master begins. The error says
/// why not; the answer is what is odd.
pub fn check(path: &Path, inheritance: Option<&Inheritance>) -> Result<Option<String>, String> {
    let Err(wrong) = Document::read(path) else { return Ok(None) };
    let text = format!("the state file \"{}\" {wrong}", path.display());
    let shared = inherited(inheritance).is_some();
    if shared && !matches!(wrong, Unreadable::Later(_)) {
        return Ok(Some(format!("{text}; what the old master has closed stays closed")));
    }
    Err(format!(
        "{text}; it cannot be known what is closed for maintenance: repair it, or remove it to begin \
         with everything open"
    ))
}

/// The gates of all masters are the same memory, if they have the same shape.
fn inherited(inheritance: Option<&Inheritance>) -> Option<(OwnedFd, Gates)> {
    let elder = inheritance?.elder.as_ref()?;
    let (_, fd) = elder.fds.iter().find(|(kind, _)| *kind == Attached::Gates)?;
    Some((fd.try_clone().ok()?, Gates::attach(fd.as_fd()).ok()?))
}

impl Switches {
    /// What another master has left, or what is in the state file.
    pub(super) fn new(inheritance: Option<&Inheritance>, path: &Path) -> io::Result<Switches> {
        let (fd, gates) = match inherited(inheritance) {
            Some(found) => found,
            None => from_file(path)?,
        };
        Ok(Switches {
            gates,
            fd: Rc::new(fd),
            ends: BTreeMap::new(),
            unknown: BTreeMap::new(),
            forget_at: Instant::now() + UNKNOWN_FOR,
            waits: Arc::new(Semaphore::new(WAITS)),
        })
    }

    /// Notes when the switches open that were to do so. Only here the clock on the wall counts.
    fn note_ends(&mut self) {
        let (now, clock) = (Instant::now(), now());
        self.ends.clear();
        for name in self.gates.names() {
            let order = self.gates.switch(&name).map(|switch| self.gates.order(switch));
            let end = order.filter(|order| order.auto_off && order.state == State::Closed);
            if let Some(end) = end.and_then(|order| order.until) {
                let left = Duration::from_secs(end.saturating_sub(clock));
                self.ends.insert(name, now + left);
            }
        }
    }

    /// Forgets the unknown outcomes of switches that were open all the time since long ago. A request
    /// that was given up just before the closing may still be at work behind.
    fn forget_old(&mut self) {
        let before = std::mem::take(&mut self.unknown);
        for name in self.gates.names() {
            let Some(switch) = self.gates.switch(&name) else { continue };
            if self.gates.order(switch).state == State::Open {
                let known = before.get(&name).copied().unwrap_or_default();
                let new = self.gates.inflight(switch).unknown.saturating_sub(known);
                self.gates.forget_unknown_but(switch, new);
                self.unknown.insert(name, new);
            }
        }
    }
}

fn from_file(path: &Path) -> io::Result<(OwnedFd, Gates)> {
    let (fd, gates) = Gates::create()?;
    let document = Document::read(path).map_err(|wrong| {
        io::Error::other(format!("the state file \"{}\" {wrong}", path.display()))
    })?;
    for (name, order) in document.orders() {
        let switch = gates.switch(name).ok_or_else(|| io::Error::other("too many switches"))?;
        gates.set(switch, &order);
    }
    Ok((fd, gates))
}

/// Gives back what dead workers of dead masters had.
pub(super) fn sweep(counters: &Counters, gates: &Gates, zones: &[Zone]) {
    let alive = |pid| i32::try_from(pid).is_ok_and(|pid| process::lives(Pid::from_raw(pid)));
    counters.sweep_and(alive, |slot| {
        gates.bury(slot);
        zones::bury(zones, slot);
    });
}

/// Who did it, for the log.
fn by(caller: &Caller) -> String {
    match caller.program.as_str() {
        "" => format!("uid {} (pid {})", caller.uid, caller.pid),
        program => format!("uid {} (pid {}, {program})", caller.uid, caller.pid),
    }
}

/// Seconds of the epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Master {
    /// Whether this is the master that says what is closed.
    fn has_switches(&self) -> bool {
        !self.state.is_heir() && !self.state.has_handed_over()
    }

    /// This master says what is closed from now on: at its start, when it takes over, and when it
    /// takes over again.
    pub(super) fn begin_switches(&mut self) {
        self.switches.note_ends();
        self.switches.unknown.clear();
        self.switches.forget_at = Instant::now() + UNKNOWN_FOR;
        self.tell_orphans();
        // The file may be another one than the old master's, or could not be read.
        if let Err(why) = self.write_down(&[], None) {
            self.log().write(Level::Emerg, None, format_args!("{why}"));
        }
    }

    /// What the control API wants of them. Where another master has the say the answer is none.
    pub(super) fn ask_about_switches(&mut self, ask: Ask) {
        if !self.has_switches() {
            return;
        }
        // Whoever has gone away meanwhile does not want the answer any more.
        match ask {
            Ask::Switches(reply) => drop(reply.send(self.all_switches())),
            Ask::Switch(name, change, caller, reply) => {
                let names = self.switch(&name, &change, &caller);
                let _ = reply.send(names.map(|names| self.switches_named(&names)));
            }
            Ask::Inflight(name, reply) => self.tell_inflight(name.as_deref(), reply),
            Ask::Token(name, order, caller, reply) => {
                let _ = reply.send(self.token(&name, &order, &caller));
            }
            Ask::Revoke(name, order, caller, reply) => {
                let names = self.revoke(&name, &order, &caller);
                let _ = reply.send(names.map(|names| self.switches_named(&names)));
            }
            Ask::Hurry => self.hurry(),
            Ask::Barrier(name, terms, reply) => self.wait_until_clear(&name, terms, reply),
            // All others are answered elsewhere.
            _ => {}
        }
    }

    /// When something is due.
    pub(super) fn switches_deadline(&self) -> Option<Instant> {
        let ends = self.switches.ends.values().copied();
        ends.chain([self.switches.forget_at]).min().filter(|_| self.has_switches())
    }

    /// Does what is due.
    pub(super) fn tend_switches(&mut self) {
        let at = Instant::now();
        if self.switches.forget_at <= at {
            self.switches.forget_at = at + UNKNOWN_FOR;
            self.switches.forget_old();
        }
        let due: Vec<String> = self
            .switches
            .ends
            .iter()
            .filter(|(_, end)| **end <= at)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            let names = std::slice::from_ref(&name);
            let opened = self.change(names, &Wanted::plain(State::Open), "its own end");
            if opened.is_err() {
                self.switches.ends.insert(name, at + TRY_AGAIN);
            }
        }
    }

    /// A change was asked for over the control API.
    pub(super) fn switch(
        &mut self,
        name: &str,
        change: &Change,
        caller: &Caller,
    ) -> Result<Vec<String>, Refusal> {
        let wanted = Wanted::new(change)?;
        let names = self.meant(name, change)?;
        let by = by(caller);
        if wanted.opens() {
            self.no_flags(&names, &by)?;
        }
        self.change(&names, &wanted, &by)?;
        Ok(names)
    }

    /// The same by a signal, which has no answer: the log has it.
    pub(super) fn switch_by_signal(&mut self, received: Received) {
        let state = match received.signal {
            Heard::RealTime(1) => State::Closed,
            Heard::RealTime(2) => State::Open,
            _ => return,
        };
        if !self.has_switches() {
            return self.pass_switch_on(received.signal);
        }
        let by = format!("uid {} (pid {}, signal)", received.user, received.sender);
        let (names, wanted) = ([DEFAULT.to_owned()], Wanted::plain(state));
        if state == State::Closed || self.no_flags(&names, &by).is_ok() {
            let _ = self.change(&names, &wanted, &by);
        }
    }

    /// Whoever reads a pid file while one master takes over from another may meet the one that has
    /// no say.
    fn pass_switch_on(&self, signal: Heard) {
        let successor = self.upgrading.successor.as_ref();
        // Another program would die of it.
        let successor = successor.filter(|found| found.wire.is_some()).map(|found| found.pid);
        let says = if self.state.is_heir() { self.elder_pid() } else { successor };
        if let Some(pid) = says {
            let _ = signal.send(pid);
        }
    }

    /// Opening is in vain while a flag file keeps it closed, and once that is removed nobody would
    /// expect that it opens by itself.
    fn no_flags(&self, names: &[String], by: &str) -> Result<(), Refusal> {
        for name in names {
            if let Some(path) = self.flag_file(name) {
                let text = format!("flag file \"{}\" is still present", path.display());
                let line = format_args!("maintenance \"{name}\" not opened by {by}: {text}");
                self.log().write(Level::Error, None, line);
                return Err(Refusal::State(format!("\"{name}\" stays closed: {text}")));
            }
        }
        Ok(())
    }

    /// The switches that a change is about.
    fn meant(&self, name: &str, change: &Change) -> Result<Vec<String>, Refusal> {
        match &change.host {
            Some(_) if change.all => {
                Err(Refusal::Malformed("\"host\" and \"all\" exclude each other".to_owned()))
            }
            Some(host) => {
                let names = self.current.doors.switches_of(host);
                let none = || Refusal::Unknown(format!("no server is called \"{host}\""));
                Some(names).filter(|names| !names.is_empty()).ok_or_else(none)
            }
            None if change.all => Ok(self.switch_names()),
            None => Ok(vec![self.known(name)?]),
        }
    }

    fn change(&mut self, names: &[String], wanted: &Wanted, by: &str) -> Result<(), Refusal> {
        let (mut orders, mut deeds) = (Vec::new(), Vec::new());
        for name in names {
            let full = || Refusal::Failed("there are too many switches".to_owned());
            let switch = self.switches.gates.switch(name).ok_or_else(full)?;
            let (order, deed) = wanted.after(&self.switches.gates.order(switch), now());
            deeds.push((name, deed));
            if deed != Deed::Nothing {
                orders.push((name.clone(), switch, order));
            }
        }
        if let Err(why) = self.write_down(&orders, None) {
            let what = if wanted.opens() { "opened" } else { "closed" };
            for (name, ..) in &orders {
                let line = format_args!("maintenance \"{name}\" not {what} by {by}: {why}");
                self.log().write(Level::Error, None, line);
            }
            return Err(Refusal::Failed(why));
        }
        for (_, switch, order) in &orders {
            self.switches.gates.set(*switch, order);
        }
        self.switches.note_ends();
        for (name, deed) in deeds {
            self.tell_deed(name, deed, wanted, by);
        }
        Ok(())
    }

    /// The line by which it can be known later who did what when.
    fn tell_deed(&self, name: &str, deed: Deed, wanted: &Wanted, by: &str) {
        let deed = match deed {
            Deed::Closed => "closed",
            Deed::Opened => "opened",
            Deed::Changed => "still closed, on other terms,",
            Deed::Nothing if wanted.opens() => "already open, asked for",
            Deed::Nothing => "already closed, asked for",
        };
        let (terms, reason) = (wanted.terms(), wanted.reason());
        let colon = if reason.is_empty() { "" } else { ": " };
        let line = format_args!("maintenance \"{name}\" {deed}{terms} by {by}{colon}{reason}");
        self.log().write(Level::Notice, None, line);
    }

    /// Writes the state file: what is in force, with these orders in place of what they replace.
    /// Nothing is written where it would be the same.
    fn write_down(
        &self,
        orders: &[(String, Switch, Order)],
        moved_from: Option<&Path>,
    ) -> Result<(), String> {
        let path = &self.current.process.runtime_state;
        let mut document = self.written(path)?;
        if let Some(old) = moved_from {
            document = self.written(old)?;
        }
        self.put_down(&mut document, orders);
        let before = file::contents(path).unwrap_or_default();
        let after = document.encode();
        let nothing = before.is_none() && document.is_empty();
        if nothing || before.as_deref() == Some(&after) {
            return Ok(());
        }
        let failed = |error: io::Error| {
            let (path, cause) = (path.display(), os_error(&error));
            format!("writing the state file \"{path}\" failed{cause}")
        };
        file::replace(&mut file::System, path, before.as_deref(), &after).map_err(failed)
    }

    /// What has been written there. One that is damaged may be replaced: what is in force is known
    /// better. Not so one of a later program.
    fn written(&self, path: &Path) -> Result<Document, String> {
        let unreadable =
            |wrong: &Unreadable| format!("the state file \"{}\" {wrong}", path.display());
        Document::read(path).or_else(|wrong| match wrong {
            Unreadable::Malformed(_) => {
                let text = unreadable(&wrong);
                self.log().write(Level::Error, None, format_args!("{text}; it is replaced"));
                Ok(Document::default())
            }
            wrong => Err(unreadable(&wrong)),
        })
    }

    fn put_down(&self, document: &mut Document, orders: &[(String, Switch, Order)]) {
        let gates = &self.switches.gates;
        for name in gates.names() {
            let Some(switch) = gates.switch(&name) else { continue };
            let said = orders.iter().find(|(_, meant, _)| *meant == switch);
            let order = said.map_or_else(|| gates.order(switch), |(.., order)| order.clone());
            // Tokens that were revoked must not come back with a configuration.
            let kept = order.state != State::Open || order.revoked > 0 || self.is_configured(&name);
            if kept && (order != Order::default() || document.has(&name)) {
                document.put(&name, &order);
            } else if !kept {
                document.forget(&name);
            }
        }
    }

    /// A reload has named another file.
    pub(super) fn move_state_file(&self, old: &Path) {
        let new = &self.current.process.runtime_state;
        if new == old {
            return;
        }
        match self.write_down(&[], Some(old)) {
            Ok(()) => drop(std::fs::remove_file(old)),
            Err(why) => self.log().write(Level::Emerg, None, format_args!("{why}")),
        }
    }

    /// What is closed and would be opened by nobody is easily forgotten.
    pub(super) fn tell_orphans(&self) {
        for name in self.switch_names() {
            let order = self.switches.gates.switch(&name).map(|s| self.switches.gates.order(s));
            if !self.is_configured(&name) && order.is_some_and(|o| o.state == State::Closed) {
                let text = "is closed, and the configuration does not name it any more";
                self.log().write(Level::Warn, None, format_args!("maintenance \"{name}\" {text}"));
            }
        }
    }

    fn needed(&self, name: &str) -> Option<&NeededSwitch> {
        self.current.switches.iter().find(|needed| needed.name == name)
    }

    /// Whether requests may meet this switch.
    fn is_configured(&self, name: &str) -> bool {
        name == DEFAULT || self.needed(name).is_some()
    }

    /// The switches that the configuration names, then those that are closed without that.
    fn switch_names(&self) -> Vec<String> {
        let mut names = vec![DEFAULT.to_owned()];
        let needed = self.current.switches.iter().map(|needed| needed.name.clone());
        names.extend(needed.filter(|name| name != DEFAULT));
        for name in self.switches.gates.names() {
            let order = self.switches.gates.switch(&name).map(|s| self.switches.gates.order(s));
            let closed = order.is_some_and(|order| order.state == State::Closed);
            if closed && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The name, if there is such a switch: a slip of the pen closes nothing.
    fn known(&self, name: &str) -> Result<String, Refusal> {
        let names = self.switch_names();
        if names.iter().any(|known| known == name) {
            return Ok(name.to_owned());
        }
        let names = names.join(", ");
        Err(Refusal::Unknown(format!("no switch \"{name}\"; there are: {names}")))
    }

    /// A file that keeps the switch closed, if one is there; as workers see it.
    fn flag_file(&self, name: &str) -> Option<&Path> {
        let mut files = self.needed(name)?.flag_files.iter();
        files.find(|path| path.try_exists().unwrap_or(false)).map(PathBuf::as_path)
    }
}
