//! Owns a worker's obedience to what masters call out to the workers of all generations: it cuts off
//! what is under way through a switch, and parts with connections to servers behind. It looks for calls
//! while anything is under way or a connection is idle, and sleeps otherwise.
//!
//! Must not judge why it is called; masters do.

use super::roster::{Entry, Roster};
use crate::log::{ErrorLog, Level, counted};
use crate::upstream::Group;
use crate::zone::gates::{Class, Cuts, Reach};
use crate::zone::{Door, Switch};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// From one look to the next. Who has a channel to this worker can have it look at once.
const ROUND: Duration = Duration::from_millis(100);

/// One for a worker, whatever configurations it has had.
pub struct Calls {
    door: Door,
    roster: Rc<Roster>,
    /// Those of all configurations that are still in use.
    groups: RefCell<Vec<Weak<Group>>>,
    /// Of the configuration in force.
    log: RefCell<ErrorLog>,
    awake: Cell<bool>,
    /// What has been obeyed.
    cuts: RefCell<HashMap<Switch, Cuts>>,
    renewed: Cell<u64>,
}

impl Calls {
    /// One that sleeps.
    pub fn new(door: Door, roster: Rc<Roster>, log: &ErrorLog) -> Rc<Self> {
        Rc::new(Self {
            door,
            roster,
            groups: RefCell::default(),
            log: RefCell::new(log.clone()),
            awake: Cell::default(),
            cuts: RefCell::default(),
            renewed: Cell::default(),
        })
    }

    /// A configuration is in force that has these groups and this log.
    pub fn follow(&self, groups: &[Rc<Group>], log: &ErrorLog) {
        let mut known = self.groups.borrow_mut();
        known.retain(|group| group.strong_count() > 0);
        for group in groups.iter().map(Rc::downgrade) {
            if !known.iter().any(|known| known.ptr_eq(&group)) {
                known.push(group);
            }
        }
        self.log.replace(log.clone());
    }

    /// Something is about to be counted at a switch. Must run in a `LocalSet`.
    pub fn wake(self: &Rc<Self>) {
        if !self.awake.replace(true) {
            self.renewed.set(self.door.wake());
            self.note_cuts();
            tokio::task::spawn_local(self.clone().listen());
        }
    }

    async fn listen(self: Rc<Self>) {
        loop {
            tokio::time::sleep(ROUND).await;
            self.obey();
            if self.roster.is_empty() && self.idle() == 0 {
                break;
            }
        }
        self.door.rest();
        self.obey();
        self.awake.set(false);
    }

    /// Looks for calls, and does what they say.
    pub fn obey(&self) {
        for (switch, reach) in self.note_cuts() {
            self.cut(switch, reach);
        }
        let call = self.door.gates().renewals();
        if self.renewed.replace(call) != call {
            self.renew(call);
        }
    }

    /// Takes note of the calls to cut something off; those that are new.
    fn note_cuts(&self) -> Vec<(Switch, Reach)> {
        let gates = self.door.gates();
        let mut known = self.cuts.borrow_mut();
        let mut new = Vec::new();
        for switch in gates.switches() {
            let now = gates.cuts(switch);
            let before = known.insert(switch, now).unwrap_or_default();
            new.extend(now.since(&before).map(|reach| (switch, reach)));
        }
        new
    }

    fn cut(&self, switch: Switch, reach: Reach) {
        let reached = |entry: &Entry| match reach {
            Reach::Streams => entry.class == Class::Stream,
            Reach::Barred => entry.class != Class::Bypass,
            Reach::All => true,
        };
        let cut = self.roster.cut(|entry| entry.switch == switch && reached(entry));
        if cut > 0 {
            let (name, requests) = (self.door.gates().name(switch), counted(cut, "request"));
            let text = format_args!("maintenance \"{name}\": {requests} cut off");
            self.log.borrow().write(Level::Notice, None, text);
        }
    }

    fn renew(&self, call: u64) {
        let now = tokio::time::Instant::now();
        let parted: usize = self.groups().iter().map(|group| group.pool().renew(now)).sum();
        let parted = parted as u64;
        self.door.renewed(call, parted);
        if parted > 0 {
            let connections = counted(parted, "idle upstream connection");
            let text = format_args!("maintenance: {connections} closed");
            self.log.borrow().write(Level::Notice, None, text);
        }
    }

    fn idle(&self) -> usize {
        self.groups().iter().map(|group| group.pool().len()).sum()
    }

    fn groups(&self) -> Vec<Rc<Group>> {
        self.groups.borrow().iter().filter_map(Weak::upgrade).collect()
    }
}
