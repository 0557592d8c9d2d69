//! One reload, from the request to the answer: the part of the master's decisions that is about
//! replacing a configuration. Pure, like the rest of the state.
//!
//! Until `Adopt` the old configuration has never stopped serving, so undoing costs nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::event::{Action, Generation, Id, Plan};
use super::state::State;

/// How long all workers together may take to build, or to switch to, a new configuration.
pub const RELOAD_DEADLINE: Duration = Duration::from_secs(30);

/// Who is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// The loop, which reads the new configuration.
    Loading,
    /// Workers that have not yet said that they can use it.
    Preparing(BTreeSet<Id>),
    /// Workers that have not yet switched to it.
    Committing(BTreeSet<Id>),
    /// New workers that are not yet ready.
    Replacing(BTreeSet<Id>),
}

/// The reload in hand.
#[derive(Debug)]
pub(super) struct Change {
    stage: Stage,
    generation: Generation,
    workers: usize,
    /// By new workers, not in place.
    replace: bool,
    deadline: Instant,
}

impl Change {
    /// When patience ends; reading the configuration happens within one step and has no deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.stage != Stage::Loading).then_some(self.deadline)
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }
}

impl State {
    pub(super) fn reload(&mut self, out: &mut Vec<Action>, now: Instant) {
        if !self.running() {
            out.push(Action::Refuse("the server is shutting down"));
        } else if self.in_manual_overlap() {
            // As nginx: the old master takes its workers back, with the configuration they had.
            self.accept_again(out, now);
            out.push(Action::Refuse("another change is in progress (upgrade)"));
        } else if self.has_successor() || self.reload_waits() {
            self.again = true;
            out.push(Action::Refuse("another change is in progress (upgrade)"));
        } else if self.change.is_some() {
            self.again = true;
        } else {
            self.change = Some(Change {
                stage: Stage::Loading,
                generation: self.last_generation + 1,
                workers: self.target,
                replace: false,
                deadline: now + RELOAD_DEADLINE,
            });
            out.extend([Action::Notice("reconfiguring"), Action::Load]);
        }
    }

    pub(super) fn loaded(&mut self, plan: Plan, out: &mut Vec<Action>, now: Instant) {
        let Some(Change { stage: Stage::Loading, generation, .. }) = self.change else { return };
        self.last_generation = generation;
        let replace = plan.replace || plan.workers != self.target || !self.accepting;
        // Who could not be started with the old configuration may be with this one.
        let replace = replace || self.given_up();
        let stage = if replace {
            out.push(Action::Notice("start worker processes"));
            let slots = 0..plan.workers;
            Stage::Replacing(slots.map(|slot| self.spawn(slot, generation, out, now)).collect())
        } else {
            let all = self.present();
            out.extend(all.iter().copied().map(Action::Prepare));
            Stage::Preparing(all)
        };
        let deadline = now + RELOAD_DEADLINE;
        let workers = plan.workers;
        self.change = Some(Change { stage, generation, workers, replace, deadline });
        self.advance(out, now);
    }

    pub(super) fn not_loaded(&mut self, out: &mut Vec<Action>, now: Instant) {
        if let Some(Change { stage: Stage::Loading, .. }) = self.change {
            self.undo(String::new(), out, now);
        }
    }

    /// A worker is ready; says whether it has to wait for the others of its generation.
    pub(super) fn change_ready(&mut self, id: Id, out: &mut Vec<Action>, now: Instant) -> bool {
        let waited_for = match &mut self.change {
            Some(Change { stage: Stage::Replacing(waiting), .. }) => waiting.remove(&id),
            _ => false,
        };
        self.advance(out, now);
        waited_for
    }

    pub(super) fn prepared(
        &mut self,
        id: Id,
        generation: Generation,
        out: &mut Vec<Action>,
        now: Instant,
    ) {
        if let Some(Change { stage: Stage::Preparing(waiting), generation: wanted, .. }) =
            &mut self.change
            && *wanted == generation
        {
            waiting.remove(&id);
            self.advance(out, now);
        }
    }

    pub(super) fn committed(
        &mut self,
        id: Id,
        generation: Generation,
        out: &mut Vec<Action>,
        now: Instant,
    ) {
        if let Some(Change { stage: Stage::Committing(waiting), generation: wanted, .. }) =
            &mut self.change
            && *wanted == generation
        {
            waiting.remove(&id);
            self.advance(out, now);
        }
    }

    pub(super) fn refused(
        &mut self,
        id: Id,
        generation: Generation,
        why: String,
        out: &mut Vec<Action>,
        now: Instant,
    ) {
        if let Some(Change { stage: Stage::Preparing(waiting), generation: wanted, .. }) =
            &self.change
            && *wanted == generation
            && waiting.contains(&id)
        {
            self.undo(why, out, now);
        }
    }

    /// A wanted worker died; says whether the change has dealt with it.
    pub(super) fn change_lost(
        &mut self,
        id: Id,
        newcomer: bool,
        out: &mut Vec<Action>,
        now: Instant,
    ) -> bool {
        match self.change.as_mut().map(|change| &mut change.stage) {
            Some(Stage::Committing(waiting)) => {
                waiting.remove(&id);
                self.advance(out, now);
            }
            Some(Stage::Preparing(_)) => {
                let why = "a worker process exited while preparing the new configuration";
                self.undo(why.to_owned(), out, now);
            }
            Some(Stage::Replacing(_)) if newcomer => {
                let why = "a new worker process exited before it was ready";
                self.undo(why.to_owned(), out, now);
            }
            Some(Stage::Replacing(_) | Stage::Loading) => {}
            None => return false,
        }
        true
    }

    /// Goes to the next stage of the change as soon as nobody is waited for.
    fn advance(&mut self, out: &mut Vec<Action>, now: Instant) {
        match self.change.as_ref().map(|change| &change.stage) {
            Some(Stage::Preparing(waiting) | Stage::Replacing(waiting)) if waiting.is_empty() => {
                self.commit(out, now);
            }
            Some(Stage::Committing(waiting)) if waiting.is_empty() => self.finish(out, now),
            _ => {}
        }
    }

    /// All can use the new configuration: it becomes the current one.
    fn commit(&mut self, out: &mut Vec<Action>, now: Instant) {
        let Some(mut change) = self.change.take() else { return };
        let generation = change.generation;
        let all = if change.replace {
            self.renew_slots(generation, change.workers);
            self.of(generation)
        } else {
            let present = self.present();
            self.switch(generation, &present);
            present
        };
        out.push(Action::Adopt);
        out.extend(all.iter().map(|id| Action::Commit { id: *id, generation }));
        change.stage = Stage::Committing(all);
        change.deadline = now + RELOAD_DEADLINE;
        self.change = Some(change);
        self.advance(out, now);
    }

    fn finish(&mut self, out: &mut Vec<Action>, now: Instant) {
        let Some(change) = self.change.take() else { return };
        // Only now: a socket of its own (`reuseport`) must never be without somebody who accepts.
        self.send_away(true, |worker| worker.generation != change.generation, out);
        self.limit_draining(out);
        out.push(Action::Answer(Ok(())));
        self.after_change(out, now);
    }

    /// Puts everything back as it was before the change, and says why.
    fn undo(&mut self, why: String, out: &mut Vec<Action>, now: Instant) {
        self.withdraw(out);
        out.push(Action::Answer(Err(why)));
        self.after_change(out, now);
    }

    /// Gives up the change and the one that was to follow it, because the server stops.
    pub(super) fn no_more_changes(&mut self, out: &mut Vec<Action>) {
        let waited_for = self.change.is_some() || self.again;
        self.again = false;
        self.withdraw(out);
        if waited_for {
            out.push(Action::Refuse("the server is shutting down"));
        }
    }

    fn withdraw(&mut self, out: &mut Vec<Action>) {
        let Some(change) = self.change.take() else { return };
        match change.stage {
            Stage::Preparing(_) => {
                out.extend(self.present().into_iter().map(Action::Abort));
                out.push(Action::Discard);
            }
            Stage::Replacing(_) => {
                self.send_away(true, |worker| worker.generation == change.generation, out);
                out.push(Action::Discard);
            }
            // Nothing is open yet, or the new configuration is the current one already.
            Stage::Loading | Stage::Committing(_) => {}
        }
    }

    pub(super) fn after_change(&mut self, out: &mut Vec<Action>, now: Instant) {
        if std::mem::take(&mut self.again) {
            self.reload(out, now);
        } else {
            self.respawn_due(out, now);
        }
    }

    /// Patience with the workers is at an end.
    pub(super) fn change_overdue(&mut self, out: &mut Vec<Action>, now: Instant) {
        let Some(change) = &mut self.change else { return };
        if change.deadline().is_none_or(|at| at > now) {
            return;
        }
        if let Stage::Committing(waiting) = &mut change.stage {
            // Whoever does not switch would go on with the old configuration: start it afresh.
            out.extend(std::mem::take(waiting).into_iter().map(Action::Kill));
            self.advance(out, now);
        } else {
            self.undo("the worker processes did not answer in time".to_owned(), out, now);
        }
    }
}
