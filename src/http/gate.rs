//! Owns a worker's view of the switches of maintenance mode: whether one is closed, by an operator or
//! by a file, and what has been said of it.
//!
//! Must not know who may pass nor what is answered; `modules::maintenance` does.

use super::live::Live;
use super::roster::Roster;
use super::snapshot::{NeededSwitch, Snapshot};
use crate::log::{ErrorLog, Level, os_error};
use crate::zone::gates::{Class, Order, State};
use crate::zone::{Door, Gates, Switch};
use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A flag file is looked for at most this often.
const LOOK: Duration = Duration::from_secs(1);

/// How often the states are looked at for those who wait for a closing.
const ROUND: Duration = Duration::from_millis(200);

/// The switches that a configuration names, by their numbers in it.
pub struct Gate {
    door: Door,
    switches: Vec<Watched>,
    /// What is under way in this worker, whatever configuration it began with.
    pub roster: Rc<Roster>,
    errors: ErrorLog,
    /// Told when one has closed.
    closing: Notify,
    /// How many wait for that, and whether somebody looks for them.
    waiting: Cell<usize>,
    looking: Cell<bool>,
}

/// A switch, and what is known of it.
struct Watched {
    switch: Switch,
    /// What was said last, with its version.
    order: RefCell<Option<(u64, Rc<Order>)>>,
    flags: Vec<Flag>,
    looked: Cell<Option<Instant>>,
}

/// A file that closes a switch.
struct Flag {
    path: PathBuf,
    found: Cell<bool>,
    /// The log has been told that it cannot be looked for.
    failed: Cell<bool>,
}

impl Gate {
    /// Finds the switches of a configuration by their names. One more than there can be is no reason
    /// to leave a door open: what joined it joins `default`.
    pub fn new(snapshot: &Snapshot, door: Door, roster: Rc<Roster>, errors: &ErrorLog) -> Self {
        let gates = door.gates();
        let find = |needed: &NeededSwitch| {
            gates.switch(&needed.name).unwrap_or_else(|| {
                let name = &needed.name;
                let text = format_args!("too many switches, \"{name}\" is taken for \"default\"");
                errors.write(Level::Alert, None, text);
                gates.default_switch()
            })
        };
        let watch = |needed: &NeededSwitch| Watched {
            switch: find(needed),
            order: RefCell::default(),
            flags: needed.flag_files.iter().cloned().map(Flag::new).collect(),
            looked: Cell::default(),
        };
        Self {
            switches: snapshot.needs.switches.iter().map(watch).collect(),
            door,
            roster,
            errors: errors.clone(),
            closing: Notify::new(),
            waiting: Cell::default(),
            looking: Cell::default(),
        }
    }

    /// The switch of this number.
    pub fn switch(&self, at: usize) -> Switch {
        self.switches[at].switch
    }

    /// The switches of all configurations.
    pub fn gates(&self) -> Gates {
        self.door.gates()
    }

    /// Whether a switch is closed.
    pub fn is_closed(&self, at: usize) -> bool {
        let watched = &self.switches[at];
        self.door.state(watched.switch) != State::Open || self.is_flagged(watched)
    }

    /// What has been said of a switch last.
    pub fn order(&self, at: usize) -> Rc<Order> {
        let watched = &self.switches[at];
        let gates = self.door.gates();
        let mut known = watched.order.borrow_mut();
        match &*known {
            Some((version, order)) if *version == gates.version(watched.switch) => order.clone(),
            _ => {
                let (order, version) = gates.order_and_version(watched.switch);
                let order = Rc::new(order);
                *known = Some((version, order.clone()));
                order
            }
        }
    }

    /// Counts a request, then looks; false when the switch is closed, and then it is not counted.
    pub fn enter(&self, at: usize, class: Class) -> bool {
        let watched = &self.switches[at];
        if self.door.enter(watched.switch, class).is_err() {
            return false;
        }
        let flagged = self.is_flagged(watched);
        if flagged {
            self.door.leave(watched.switch, class);
        }
        !flagged
    }

    /// Counts a request that may pass a closed door; false when nobody may, and then it is not counted.
    pub fn enter_closed(&self, at: usize) -> bool {
        self.door.enter_closed(self.switches[at].switch).is_ok()
    }

    /// Counts a request that no switch keeps out.
    pub fn enter_exempt(&self, at: usize) {
        self.door.enter_anyway(self.switches[at].switch, Class::Bypass);
    }

    /// A request that was counted is through.
    pub fn leave(&self, at: usize, class: Class) {
        self.door.leave(self.switches[at].switch, class);
    }

    /// A request has become a stream.
    pub fn upgrade(&self, at: usize, class: Class) {
        self.door.reclass(self.switches[at].switch, class, Class::Stream);
    }

    /// An exchange is over, and nobody knows what came of it.
    pub fn unknown(&self, at: usize) {
        self.door.unknown(self.switches[at].switch);
    }

    /// Whether a file says that it is closed, as far as is known since the last look.
    fn is_flagged(&self, watched: &Watched) -> bool {
        if watched.flags.is_empty() {
            return false;
        }
        let now = Instant::now();
        if watched.looked.get().is_none_or(|before| now.duration_since(before) >= LOOK) {
            watched.looked.set(Some(now));
            watched.flags.iter().for_each(|flag| flag.look(&self.errors));
        }
        watched.flags.iter().any(|flag| flag.found.get())
    }
}

impl Flag {
    fn new(path: PathBuf) -> Self {
        Self { path, found: Cell::new(false), failed: Cell::new(false) }
    }

    fn look(&self, errors: &ErrorLog) {
        let found = self.path.try_exists();
        if let Err(error) = &found {
            self.complain(errors, error);
        }
        self.found.set(found.unwrap_or(false));
    }

    /// Once: it would be the same every second.
    fn complain(&self, errors: &ErrorLog, error: &io::Error) {
        if !self.failed.replace(true) {
            let (path, cause) = (self.path.display(), os_error(error));
            let text =
                format_args!("flag file \"{path}\" cannot be looked for, stat() failed{cause}");
            errors.write(Level::Alert, None, text);
        }
    }
}

/// Resolves when a switch is closed. However many wait, one looks.
pub async fn closed(live: &Rc<Live>, at: usize) {
    let gate = &live.gate;
    let _counted = Waiting::new(gate);
    loop {
        let mut told = pin!(gate.closing.notified());
        told.as_mut().enable();
        if gate.is_closed(at) {
            return;
        }
        if !gate.looking.replace(true) {
            tokio::task::spawn_local(look(live.clone()));
        }
        told.await;
    }
}

/// Looks at the states until nobody waits any more, and tells when one has closed.
async fn look(live: Rc<Live>) {
    let gate = &live.gate;
    let states = || (0..gate.switches.len()).map(|at| gate.is_closed(at)).collect::<Vec<_>>();
    let mut before = states();
    gate.closing.notify_waiters();
    while gate.waiting.get() > 0 {
        tokio::time::sleep(ROUND).await;
        let now = states();
        if now.iter().zip(&before).any(|(now, before)| *now && !before) {
            gate.closing.notify_waiters();
        }
        before = now;
    }
    gate.looking.set(false);
}

/// Somebody who waits for a closing.
struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    fn new(gate: &'a Gate) -> Self {
        gate.waiting.set(gate.waiting.get() + 1);
        Self(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::Site;
    use crate::log::LogFile;
    use std::sync::Arc;

    #[test]
    fn what_was_said_is_read_once() {
        let site = Site::new("", "listen 1;");
        let gate = &site.live.gate;
        let before = gate.order(0);
        assert!(Rc::ptr_eq(&before, &gate.order(0)));
        let order = Order { reason: "why".to_owned(), ..Order::default() };
        site.gates.set(site.gates.default_switch(), &order);
        assert_eq!(*gate.order(0), order);
    }

    #[test]
    fn one_switch_too_many_is_no_open_door() {
        let site = Site::new("", "listen 1; maintenance shop;");
        let gates = Gates::create().unwrap().1;
        for number in 0..64 {
            let _ = gates.switch(&number.to_string());
        }
        let log = Arc::new(LogFile::open(site.dir.path().join("full.log")).unwrap());
        let errors = ErrorLog::single(log, Level::Alert);
        let gate = Gate::new(&site.snapshot, gates.door(0).unwrap(), Rc::default(), &errors);
        assert!(!gate.is_closed(1));
        let order = Order { state: State::Closed, ..Order::default() };
        gates.set(gates.default_switch(), &order);
        assert!(gate.is_closed(1));
        let said = site.text("full.log");
        assert!(said.contains("too many switches, \"shop\" is taken for \"default\""), "{said}");
    }

    #[test]
    fn a_flag_is_looked_for_once_in_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flag");
        let site = Site::new("", &format!("listen 1; maintenance_flag_file {};", path.display()));
        assert!(!site.live.gate.is_closed(0));
        std::fs::write(&path, "").unwrap();
        assert!(!site.live.gate.is_closed(0), "the last look was just now");
        let looked = &site.live.gate.switches[0].looked;
        looked.set(looked.get().and_then(|at| at.checked_sub(LOOK)));
        assert!(site.live.gate.is_closed(0));
        assert!(!site.live.gate.enter(0, Class::Read));
        assert_eq!(site.gates.inflight(site.gates.default_switch()).read, 0);
    }
}
