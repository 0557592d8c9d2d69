//! An upgrade as the new master sees it: it builds, accepts when told, and becomes the server or
//! leaves. Pure, like the rest of the state.

use std::collections::BTreeSet;
use std::time::Instant;

use super::event::{Action, End, Event, Id};
use super::state::{Phase, State};

/// How far it is.
#[derive(Debug)]
enum Stage {
    /// Workers that are not ready yet.
    Building(BTreeSet<Id>),
    /// All are ready and wait to be told.
    Ready,
    /// Workers that do not accept yet.
    Accepting(BTreeSet<Id>),
    /// All accept, beside those of the old master.
    Accepted,
}

/// A master that is to take over and has not yet.
#[derive(Debug)]
pub(super) struct Heir {
    stage: Stage,
    /// How many workers accept at first, where not all.
    canary: Option<usize>,
    /// A person decides by signals.
    manual: bool,
}

impl State {
    /// The state of a master that takes over from another one.
    pub fn heir(workers: usize, generation: u64, canary: Option<usize>, manual: bool) -> State {
        let stage = Stage::Building(BTreeSet::new());
        let mut state = State::new(workers);
        (state.generation, state.last_generation) = (generation, generation);
        state.heir = Some(Heir { stage, canary, manual });
        state
    }

    /// Whether this master is to take over and has not yet.
    pub fn is_heir(&self) -> bool {
        self.heir.is_some()
    }

    /// How many workers to start with.
    pub(super) fn first_workers(&self) -> usize {
        let canary = self.heir.as_ref().and_then(|heir| heir.canary);
        canary.map_or(self.target, |canary| canary.clamp(1, self.target))
    }

    /// Whether workers have to wait before they may accept.
    pub(super) fn is_armed(&self) -> bool {
        let stage = self.heir.as_ref().map(|heir| &heir.stage);
        matches!(stage, Some(Stage::Building(_) | Stage::Ready))
    }

    /// Whether a reload has to wait until it is decided who the server is.
    pub(super) fn reload_waits(&self) -> bool {
        let decided = |heir: &Heir| heir.manual && matches!(heir.stage, Stage::Accepted);
        self.heir.as_ref().is_some_and(|heir| !decided(heir))
    }

    pub(super) fn heir_begins(&mut self) {
        let all = self.present();
        if let Some(heir) = &mut self.heir {
            heir.stage = Stage::Building(all);
        }
    }

    /// Takes those events in that come from the old master.
    pub(super) fn heir_step(&mut self, event: &Event, out: &mut Vec<Action>, now: Instant) {
        let Some(heir) = &self.heir else { return };
        match (event, &heir.stage) {
            (Event::Go, Stage::Ready) => self.go(out),
            (Event::Confirmed, _)
            | (Event::PredecessorGone, Stage::Accepting(_) | Stage::Accepted) => {
                self.confirmed(out, now);
            }
            (Event::Abandoned, _) => self.abandoned(out, now),
            (Event::PredecessorGone, _) => {
                // Nobody is left to reload.
                self.again = false;
                self.abandoned(out, now);
            }
            _ => {}
        }
    }

    /// A worker is ready; says whether it has to wait for the word.
    pub(super) fn heir_ready(&mut self, id: Id, out: &mut Vec<Action>) -> bool {
        let of = self.first_workers();
        match self.heir.as_mut().map(|heir| &mut heir.stage) {
            Some(Stage::Building(waiting)) => {
                waiting.remove(&id);
                let ready = of - waiting.len().min(of);
                out.push(Action::Building { ready, of });
                if waiting.is_empty() {
                    self.set_stage(Stage::Ready);
                    out.push(Action::AnnounceReady);
                }
                true
            }
            Some(Stage::Ready) => true,
            _ => false,
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(heir) = &mut self.heir {
            heir.stage = stage;
        }
    }

    fn go(&mut self, out: &mut Vec<Action>) {
        let all = self.present();
        let generation = self.generation;
        out.extend(all.iter().map(|id| Action::Commit { id: *id, generation }));
        self.set_stage(Stage::Accepting(all));
    }

    /// A worker accepts.
    pub(super) fn heir_committed(&mut self, id: Id, out: &mut Vec<Action>) {
        // One that has been told to stop meanwhile does not offer itself any more.
        let running = self.running();
        if let Some(Heir { stage: Stage::Accepting(waiting), .. }) = &mut self.heir {
            waiting.remove(&id);
            if !running {
                return;
            }
            if waiting.is_empty() {
                self.set_stage(Stage::Accepted);
                out.push(Action::AnnounceAccepting);
            }
        }
    }

    /// A wanted worker is gone; says whether that is the end of it all.
    pub(super) fn heir_lost(
        &mut self,
        id: Id,
        end: End,
        out: &mut Vec<Action>,
        now: Instant,
    ) -> bool {
        match self.heir.as_mut().map(|heir| &mut heir.stage) {
            Some(Stage::Building(_) | Stage::Ready) => {
                out.push(Action::GiveUp(id, end));
                self.abandoned(out, now);
                true
            }
            Some(stage @ (Stage::Accepting(_) | Stage::Accepted)) => {
                if let Stage::Accepting(waiting) = stage {
                    waiting.remove(&id);
                }
                out.push(Action::AnnounceLost(id, end));
                false
            }
            None => false,
        }
    }

    /// Told to stop before it was the server: what it has taken stays with the old master.
    pub(super) fn heir_stops(&mut self, fast: bool, out: &mut Vec<Action>) {
        let Some(heir) = self.heir.as_ref().filter(|_| self.running()) else { return };
        // While a clock decides, whoever goes by the pid file means the server, not this half of it.
        let whole = !heir.manual && matches!(heir.stage, Stage::Accepted);
        out.push(Action::AnnounceStop(whole.then_some(fast)));
        if std::mem::take(&mut self.again) {
            out.push(Action::PassReload);
        }
        out.push(Action::LeaveListeners);
    }

    fn confirmed(&mut self, out: &mut Vec<Action>, now: Instant) {
        let heir = self.heir.take();
        if !self.running() {
            // Told to stop before it knew: that goes for those it has to take over as well.
            out.extend([Action::TakeOver, Action::StopOthers { fast: false }]);
            return;
        }
        if !heir.is_some_and(|heir| matches!(heir.stage, Stage::Accepted)) {
            // Nobody is left to hear it, but the pid file has to name this one.
            out.push(Action::AnnounceAccepting);
        }
        out.push(Action::TakeOver);
        if self.accepting {
            for slot in self.empty_slots() {
                self.spawn(slot, self.generation, out, now);
            }
        }
        self.accept_again(out, now);
        self.after_change(out, now);
    }

    fn abandoned(&mut self, out: &mut Vec<Action>, now: Instant) {
        let accepted = !self.is_armed();
        self.heir = None;
        if std::mem::take(&mut self.again) {
            out.push(Action::PassReload);
        }
        if !self.running() {
            return;
        }
        self.no_more_changes(out);
        out.push(Action::LeaveListeners);
        if accepted {
            self.set_phase(Phase::Retired);
            self.send_away(true, |_| true, out);
            self.exit_if_done(out);
        } else {
            self.terminate_workers(out, now);
        }
    }
}

#[cfg(test)]
#[path = "heir_tests.rs"]
mod tests;
