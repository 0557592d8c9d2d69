//! What the master decides. One pure function, [`State::step`], turns an event into actions;
//! the loop in the parent module performs them. Nothing here touches a process, a file, a
//! descriptor or the clock: time is an argument.
//!
//! A worker is known by a number that is never used twice, so an event about a process that is
//! already gone can never be taken for one about its successor.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::change::Change;
use super::event::{Action, End, Event, Generation, Id, Milestone};
use super::heir::Heir;
use super::succession::{Stop, Succession, Undone};

/// How long workers may take to obey a fast stop before they are killed.
pub const STOP_DEADLINE: Duration = Duration::from_secs(1);
/// First pause of the respawn back-off; doubled each time up to [`BACKOFF_LIMIT`].
pub const BACKOFF_STEP: Duration = Duration::from_millis(100);
/// Longest pause of the respawn back-off.
pub const BACKOFF_LIMIT: Duration = Duration::from_secs(5);
/// A worker that lived this long was well: its death is answered at once again.
pub const HEALTHY: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Quitting,
    /// Another master serves the addresses; what is under way here is finished.
    Retired,
    /// Fast stop; at this moment the workers are killed. `None` once they were.
    Terminating(Option<Instant>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Starting,
    Serving,
    Leaving,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) generation: Generation,
    slot: usize,
    life: Life,
    born: Instant,
}

/// A place for a worker; it outlives the processes that fill it.
#[derive(Debug, Default)]
struct Slot {
    failures: u32,
    due: Option<Instant>,
}

/// Everything the master knows about its workers and about the reload in hand.
#[derive(Debug)]
pub struct State {
    phase: Phase,
    workers: BTreeMap<Id, Worker>,
    slots: BTreeMap<usize, Slot>,
    pub(super) last_id: Id,
    pub(super) generation: Generation,
    pub(super) target: usize,
    /// False after `WINCH`: the workers were sent away and none is started.
    pub(super) accepting: bool,
    pub(super) last_generation: Generation,
    pub(super) change: Option<Change>,
    /// A reload was asked for while another change was in hand: remembered once.
    pub(super) again: bool,
    /// The upgrade in hand, seen from the old side.
    pub(super) succession: Option<Succession>,
    /// Successors that were sent away and still live.
    pub(super) undone: BTreeMap<Id, Undone>,
    /// This master is to take over from another and has not yet.
    pub(super) heir: Option<Heir>,
    /// Not in the background: somebody supervises this process.
    pub(super) foreground: bool,
    /// Workers that may still accept although another master is the server.
    closing: BTreeSet<Id>,
    /// How long one that does not answer keeps others waiting for that news.
    closing_until: Option<Instant>,
    /// Retired masters that still finish what they had. Where a supervisor ends everything with the
    /// first process, they are waited for.
    retired: usize,
    /// `max_draining_generations`
    pub most_draining: usize,
}

impl State {
    /// The state of a master that will run `workers` workers with generation 1.
    pub fn new(workers: usize) -> Self {
        Self {
            phase: Phase::Running,
            workers: BTreeMap::new(),
            slots: BTreeMap::new(),
            last_id: 0,
            generation: 1,
            target: workers,
            accepting: true,
            last_generation: 1,
            change: None,
            again: false,
            succession: None,
            undone: BTreeMap::new(),
            heir: None,
            foreground: false,
            closing: BTreeSet::new(),
            closing_until: None,
            retired: 0,
            most_draining: usize::MAX,
        }
    }

    /// The same for a process that somebody supervises.
    #[must_use]
    pub fn in_foreground(self, foreground: bool) -> Self {
        Self { foreground, ..self }
    }

    /// The next moment at which [`Event::Tick`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        let stop = match self.phase {
            Phase::Terminating(at) => at,
            Phase::Running | Phase::Quitting | Phase::Retired => None,
        };
        let succession = self.succession.as_ref().and_then(Succession::deadline);
        let closing = self.closing_until;
        let undone = self.undone.values().filter_map(Undone::deadline).min();
        let change = self.change.as_ref().and_then(Change::deadline);
        let respawn = self.slots.values().filter_map(|slot| slot.due).min();
        let respawn = respawn.filter(|_| self.may_respawn());
        [stop, change, respawn, succession, undone, closing].into_iter().flatten().min()
    }

    /// Every worker, and whether it is on its way out.
    pub fn workers(&self) -> impl Iterator<Item = (Id, bool)> + '_ {
        self.workers.iter().map(|(id, worker)| (*id, worker.life == Life::Leaving))
    }

    /// The generations that workers on their way out belong to, each with these.
    pub fn leaving(&self) -> BTreeMap<Generation, Vec<Id>> {
        let mut generations = BTreeMap::<_, Vec<Id>>::new();
        for (id, worker) in self.workers.iter().filter(|(_, worker)| worker.life == Life::Leaving) {
            generations.entry(worker.generation).or_default().push(*id);
        }
        generations
    }

    /// The generation that the configuration being loaded has, or would have.
    pub fn candidate(&self) -> Generation {
        self.change.as_ref().map_or(self.last_generation + 1, Change::generation)
    }

    /// Takes one event in and says what is to be done about it.
    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Start => self.fill(&mut out, now),
            Event::Terminate => self.terminate(&mut out, now),
            Event::Quit => self.quit(&mut out, now),
            Event::Hurry { fast } => self.hurry(fast, &mut out, now),
            Event::Reload => self.reload(&mut out, now),
            Event::Reopen => out.extend([Action::Notice("reopening logs"), Action::ReopenLogs]),
            Event::StopAccepting => self.stop_accepting(&mut out),
            Event::Loaded(plan) => self.loaded(plan, &mut out, now),
            Event::NotLoaded => self.not_loaded(&mut out, now),
            Event::Ready(id) => self.ready(id, &mut out, now),
            Event::Prepared(id, generation) => self.prepared(id, generation, &mut out, now),
            Event::Refused(id, generation, why) => {
                self.refused(id, generation, why, &mut out, now);
            }
            Event::Committed(id, generation) => {
                self.committed(id, generation, &mut out, now);
                self.heir_committed(id, &mut out);
            }
            Event::Leaving(id) => self.tell_committed(Some(id), &mut out),
            Event::Gone(id, end) => self.gone(id, end, &mut out, now),
            Event::Tick => self.tick(&mut out, now),
            Event::Retired(count) => {
                self.retired = count;
                self.exit_if_done(&mut out);
            }
            Event::Go | Event::Confirmed | Event::Abandoned | Event::PredecessorGone => {
                self.heir_step(&event, &mut out, now);
            }
            other => self.succession_step(other, &mut out, now),
        }
        out
    }

    /// Whether this master is the server, alone or with one that may take over.
    pub fn is_serving(&self) -> bool {
        self.running()
    }

    pub(super) fn running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Respawning waits while a reload is in hand, so that no worker starts with a configuration
    /// that is about to be replaced or has not been agreed on yet.
    fn may_respawn(&self) -> bool {
        self.running() && self.accepting && self.change.is_none() && !self.is_armed()
    }

    /// The workers that are not on their way out.
    pub(super) fn present(&self) -> BTreeSet<Id> {
        let here = self.workers.iter().filter(|(_, worker)| worker.life != Life::Leaving);
        here.map(|(id, _)| *id).collect()
    }

    /// Whether a worker is missing that will not be started again.
    pub(super) fn given_up(&self) -> bool {
        let due = self.slots.values().filter(|slot| slot.due.is_some()).count();
        self.present().len() + due < self.slots.len()
    }

    pub(super) fn spawn(
        &mut self,
        slot: usize,
        generation: Generation,
        out: &mut Vec<Action>,
        now: Instant,
    ) -> Id {
        self.last_id += 1;
        let id = self.last_id;
        let worker = Worker { generation, slot, life: Life::Starting, born: now };
        self.workers.insert(id, worker);
        out.push(Action::Spawn { id, slot, generation });
        id
    }

    /// Starts a worker in every slot.
    pub(super) fn fill(&mut self, out: &mut Vec<Action>, now: Instant) {
        out.push(Action::Notice("start worker processes"));
        self.slots = (0..self.target).map(|slot| (slot, Slot::default())).collect();
        for slot in 0..self.first_workers() {
            self.spawn(slot, self.generation, out, now);
        }
        self.heir_begins();
    }

    /// The places nobody is in or about to be put in.
    pub(super) fn empty_slots(&self) -> Vec<usize> {
        let taken: BTreeSet<usize> = self.workers.values().map(|worker| worker.slot).collect();
        let free =
            |(number, slot): &(&usize, &Slot)| slot.due.is_none() && !taken.contains(*number);
        self.slots.iter().filter(free).map(|(number, _)| *number).collect()
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Another master is the server now; workers finish what they have.
    pub(super) fn retire(&mut self, out: &mut Vec<Action>, now: Instant) {
        self.phase = Phase::Retired;
        self.accepting = false;
        self.closing = self.present();
        self.closing_until = Some(now + STOP_DEADLINE);
        self.send_away(true, |_| true, out);
        self.tell_committed(None, out);
    }

    /// A worker accepts no longer, or is gone. When none of the old side's does, the new one is the
    /// server without any doubt, and whoever waits for that is told.
    pub(super) fn tell_committed(&mut self, id: Option<Id>, out: &mut Vec<Action>) {
        if self.phase != Phase::Retired || !self.has_handed_over() {
            return;
        }
        let was_told = id.is_some() && self.closing.is_empty();
        if let Some(id) = id {
            self.closing.remove(&id);
        }
        if self.closing.is_empty() && !was_told {
            self.closing_until = None;
            out.push(Action::Tell(Milestone::Committed));
        }
    }

    /// Waits no longer for workers that may still accept; says whether there were any.
    pub(super) fn stop_closing(&mut self) -> bool {
        self.closing_until = None;
        !std::mem::take(&mut self.closing).is_empty()
    }

    /// Nothing is under way any more on the old side, even if its master stays for a while.
    pub(super) fn tell_when_empty(&self, out: &mut Vec<Action>) {
        if self.phase == Phase::Retired && self.workers.is_empty() {
            out.push(Action::Tell(Milestone::Done));
        }
    }

    /// Serves again after having retired.
    pub(super) fn resume(&mut self, out: &mut Vec<Action>, now: Instant) {
        self.phase = Phase::Running;
        self.accept_again(out, now);
    }

    /// The workers named serve with this generation from now on.
    pub(super) fn switch(&mut self, generation: Generation, workers: &BTreeSet<Id>) {
        self.generation = generation;
        for (_, worker) in self.workers.iter_mut().filter(|(id, _)| workers.contains(id)) {
            worker.generation = generation;
        }
    }

    /// The workers of this generation take over: as many places as it wants, all of them taken.
    pub(super) fn renew_slots(&mut self, generation: Generation, workers: usize) {
        self.generation = generation;
        self.target = workers;
        self.accepting = true;
        self.slots = (0..workers).map(|slot| (slot, Slot::default())).collect();
    }

    /// The workers of one generation.
    pub(super) fn of(&self, generation: Generation) -> BTreeSet<Id> {
        let theirs = self.workers.iter().filter(|(_, worker)| worker.generation == generation);
        theirs.map(|(id, _)| *id).collect()
    }

    pub(super) fn respawn_due(&mut self, out: &mut Vec<Action>, now: Instant) {
        if !self.may_respawn() {
            return;
        }
        let mut due = Vec::new();
        for (number, slot) in &mut self.slots {
            if slot.due.is_some_and(|at| at <= now) {
                slot.due = None;
                due.push(*number);
            }
        }
        for slot in due {
            self.spawn(slot, self.generation, out, now);
        }
    }

    fn terminate(&mut self, out: &mut Vec<Action>, now: Instant) {
        if matches!(self.phase, Phase::Terminating(_)) {
            return;
        }
        let stop = self.stop_decides(true, out, now);
        self.give_up_return();
        self.no_more_changes(out);
        if stop == Stop::Alone {
            out.push(Action::StopOthers { fast: true });
        }
        self.terminate_workers(out, now);
    }

    pub(super) fn terminate_workers(&mut self, out: &mut Vec<Action>, now: Instant) {
        if self.stop_closing() {
            out.push(Action::Tell(Milestone::Committed));
        }
        self.phase = Phase::Terminating(Some(now + STOP_DEADLINE));
        for (id, worker) in &mut self.workers {
            worker.life = Life::Leaving;
            out.push(Action::Terminate(*id));
        }
        self.exit_if_done(out);
    }

    fn quit(&mut self, out: &mut Vec<Action>, now: Instant) {
        match self.stop_decides(false, out, now) {
            Stop::Alone if self.running() => {}
            // Told once more: nobody waits for idle connections any longer.
            Stop::Retired => return self.hurry(false, out, now),
            Stop::Alone if self.phase == Phase::Retired => return self.hurry(false, out, now),
            Stop::Alone | Stop::Handed => return,
        }
        self.quit_alone(out);
    }

    fn quit_alone(&mut self, out: &mut Vec<Action>) {
        out.push(Action::StopOthers { fast: false });
        // Those that leave because others followed need not wait for idle connections any more.
        let leaving = self.workers.iter().filter(|(_, worker)| worker.life == Life::Leaving);
        out.extend(leaving.map(|(id, _)| Action::Quit { id: *id, replaced: false }));
        self.no_more_changes(out);
        self.phase = Phase::Quitting;
        self.send_away(false, |_| true, out);
        out.push(Action::CloseListeners);
        self.exit_if_done(out);
    }

    /// A retired master is to be gone sooner; or the new master, which the pid file names, was told
    /// to stop, and that means both.
    pub(super) fn hurry(&mut self, fast: bool, out: &mut Vec<Action>, now: Instant) {
        if self.running() && self.can_undo() {
            self.dismiss_for_good(out, now);
            if fast {
                return self.terminate(out, now);
            }
            return self.quit_alone(out);
        }
        if self.phase != Phase::Retired {
            return;
        }
        self.give_up_return();
        out.push(Action::StopOthers { fast });
        if fast {
            self.terminate_workers(out, now);
            return;
        }
        out.extend(self.workers.keys().map(|id| Action::Quit { id: *id, replaced: false }));
        self.exit_if_done(out);
    }

    fn stop_accepting(&mut self, out: &mut Vec<Action>) {
        if !self.running() {
            return;
        }
        self.no_more_changes(out);
        self.accepting = false;
        for slot in self.slots.values_mut() {
            slot.due = None;
        }
        self.send_away(true, |_| true, out);
    }

    pub(super) fn send_away(
        &mut self,
        replaced: bool,
        which: impl Fn(&Worker) -> bool,
        out: &mut Vec<Action>,
    ) {
        for (id, worker) in &mut self.workers {
            if worker.life != Life::Leaving && which(worker) {
                worker.life = Life::Leaving;
                out.push(Action::Quit { id: *id, replaced });
            }
        }
    }

    /// Old workers do not pile up: those of the oldest generations beyond the limit leave at once.
    pub(super) fn limit_draining(&self, out: &mut Vec<Action>) {
        let leaving = || self.workers.iter().filter(|(_, worker)| worker.life == Life::Leaving);
        let generations: BTreeSet<_> = leaving().map(|(_, worker)| worker.generation).collect();
        let beyond = generations.len().saturating_sub(self.most_draining);
        let Some(kept) = generations.iter().nth(beyond) else { return };
        let old = leaving().filter(|(_, worker)| worker.generation < *kept);
        out.extend(old.map(|(id, _)| Action::Terminate(*id)));
    }

    pub(super) fn exit_if_done(&self, out: &mut Vec<Action>) {
        let waits = self.has_to_stay() || (self.foreground && self.retired > 0);
        let said = out.last() == Some(&Action::Exit);
        if !self.running() && self.workers.is_empty() && !waits && !said {
            out.push(Action::Exit);
        }
    }

    fn ready(&mut self, id: Id, out: &mut Vec<Action>, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.life != Life::Starting {
            return;
        }
        worker.life = Life::Serving;
        let generation = worker.generation;
        if !self.change_ready(id, out, now) && !self.heir_ready(id, out) {
            out.push(Action::Commit { id, generation });
        }
    }

    fn gone(&mut self, id: Id, end: End, out: &mut Vec<Action>, now: Instant) {
        let Some(worker) = self.workers.remove(&id) else { return };
        if worker.life != Life::Leaving && self.running() {
            self.lost(id, &worker, end, out, now);
        }
        self.tell_committed(Some(id), out);
        self.tell_when_empty(out);
        self.exit_if_done(out);
    }

    /// A worker that was wanted is gone.
    fn lost(&mut self, id: Id, worker: &Worker, end: End, out: &mut Vec<Action>, now: Instant) {
        let newcomer = worker.generation != self.generation;
        // One of a reload that comes to nothing says nothing about the program.
        if !newcomer && self.heir_lost(id, end, out, now) {
            return;
        }
        if end == End::Code(2) {
            out.push(Action::Fatal(id));
        } else if !newcomer {
            self.schedule(worker, now);
        }
        if !self.change_lost(id, newcomer, out, now) {
            self.respawn_due(out, now);
        }
    }

    fn schedule(&mut self, worker: &Worker, now: Instant) {
        let Some(slot) = self.slots.get_mut(&worker.slot) else { return };
        if now.saturating_duration_since(worker.born) >= HEALTHY {
            slot.failures = 0;
        }
        slot.due = Some(now + backoff(slot.failures));
        slot.failures = slot.failures.saturating_add(1);
    }

    fn tick(&mut self, out: &mut Vec<Action>, now: Instant) {
        if let Phase::Terminating(Some(at)) = self.phase
            && at <= now
        {
            self.phase = Phase::Terminating(None);
            out.extend(self.workers.keys().copied().map(Action::Kill));
            out.extend(self.undone.keys().copied().map(Action::KillSuccessor));
        }
        if self.closing_until.is_some_and(|at| at <= now) {
            self.closing_until = None;
            self.closing.clear();
            self.tell_committed(None, out);
        }
        self.succession_tick(out, now);
        self.change_overdue(out, now);
        self.respawn_due(out, now);
    }
}

/// The pause before a worker that died `failures` times in a row is started again.
fn backoff(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => BACKOFF_STEP.saturating_mul(1 << (n - 1).min(10)).min(BACKOFF_LIMIT),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
