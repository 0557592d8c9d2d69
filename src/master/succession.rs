//! One upgrade as the old master sees it, from the order to the end: the part of the master's
//! decisions that is about being replaced by another program. Pure, like the rest of the state.
//!
//! Until `CommitSuccessor` the old side has never stopped serving, so undoing costs nothing. A
//! rollback is the same with the predecessor's program.

use std::time::{Duration, Instant};

use super::event::{Action, End, Event, Id, Milestone, Order, Sample};
use super::state::{STOP_DEADLINE, State};
use super::watch;

/// How often new and old are compared while both accept.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the new master's workers may take to begin accepting, once told.
const GO_DEADLINE: Duration = Duration::from_secs(10);

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The new master builds; until when it may.
    Starting(Instant),
    /// It was told to accept; until when it may take.
    Going(Instant),
    /// Both accept; until when, and the next look. A person decides where there is no such moment.
    Overlap(Option<(Instant, Instant)>),
    /// The new master is the server; until when this one returns if it dies.
    Committed(Option<Instant>),
}

/// The upgrade in hand.
#[derive(Debug)]
pub(super) struct Succession {
    order: Order,
    stage: Stage,
}

/// What a master that is told to stop has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Stop as if it were alone.
    Alone,
    /// It has just left the server to its successor.
    Handed,
    /// It had retired before.
    Retired,
}

/// A new master that was sent away, and when it is killed if it has not begun to accept.
#[derive(Debug)]
pub(super) struct Undone {
    kill: Option<Instant>,
}

impl Succession {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Starting(at) | Stage::Going(at) => Some(at),
            Stage::Overlap(moments) => moments.map(|(end, look)| end.min(look)),
            Stage::Committed(until) => until,
        }
    }
}

impl Undone {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.kill
    }
}

impl State {
    /// Takes those events in that are about the successor.
    pub(super) fn succession_step(&mut self, event: Event, out: &mut Vec<Action>, now: Instant) {
        match event {
            Event::Upgrade(order) => self.upgrade(order, out, now),
            Event::SuccessorStarted => self.successor_started(out, now),
            Event::SuccessorReady => self.successor_ready(out, now),
            Event::SuccessorAccepting => self.successor_accepting(out, now),
            Event::SuccessorTrouble(why) => self.dismiss(&why, out, now),
            Event::SuccessorGone(end) => self.successor_gone(end, out, now),
            Event::Undo => self.dismiss("on request", out, now),
            Event::Superseded => {
                self.give_up_return();
                self.exit_if_done(out);
            }
            Event::Measured(sample) => self.measured(sample, out, now),
            Event::UndoneGone(id) => {
                self.undone.remove(&id);
                self.exit_if_done(out);
            }
            _ => {}
        }
    }

    /// Whether another master is to take over, or has.
    pub fn has_successor(&self) -> bool {
        self.succession.is_some()
    }

    /// Whether there is an upgrade in hand that can be undone for nothing.
    pub fn can_undo(&self) -> bool {
        let stage = self.succession.as_ref().map(|succession| succession.stage);
        stage.is_some_and(|stage| !matches!(stage, Stage::Committed(_)))
    }

    /// Whether the new master is the server.
    pub fn has_handed_over(&self) -> bool {
        self.succession.is_some() && !self.can_undo()
    }

    /// How long both accept; nothing where a person decides.
    pub fn watch(&self) -> Option<Duration> {
        self.succession.as_ref().map(|succession| succession.order.watch)
    }

    /// Whether this master serves again if the new one dies.
    pub fn may_return(&self) -> bool {
        let stage = self.succession.as_ref().map(|succession| succession.stage);
        matches!(stage, Some(Stage::Committed(Some(_))))
    }

    /// Whether both masters accept, and a person decides which stays.
    pub(super) fn in_manual_overlap(&self) -> bool {
        matches!(&self.succession, Some(Succession { stage: Stage::Overlap(None), .. }))
    }

    /// Why no upgrade can begin now, if so.
    pub fn upgrade_refusal(&self) -> Option<&'static str> {
        if !self.running() {
            Some("the server is shutting down")
        } else if self.heir.is_some() {
            Some("this server is itself about to take over")
        } else if self.succession.is_some() {
            Some("another change is in progress (upgrade)")
        } else if self.change.is_some() {
            Some("another change is in progress (reload)")
        } else {
            None
        }
    }

    fn upgrade(&mut self, order: Order, out: &mut Vec<Action>, now: Instant) {
        if self.upgrade_refusal().is_none() {
            self.succession =
                Some(Succession { order, stage: Stage::Starting(now + order.patience) });
            out.push(Action::StartSuccessor);
        }
    }

    fn successor_started(&mut self, out: &mut Vec<Action>, now: Instant) {
        let Some(succession) = &mut self.succession else { return };
        out.push(Action::Tell(Milestone::Started));
        if succession.order.foreign {
            succession.stage = Stage::Overlap(None);
            return;
        }
        succession.stage = Stage::Starting(now + succession.order.patience);
    }

    fn successor_ready(&mut self, out: &mut Vec<Action>, now: Instant) {
        let Some(succession) = &mut self.succession else { return };
        if !matches!(succession.stage, Stage::Starting(_)) {
            return;
        }
        out.push(Action::Tell(Milestone::Ready));
        if succession.order.dry_run {
            self.succession = None;
            self.send_off(String::from("rehearsal"), Some(now + STOP_DEADLINE), out);
            out.push(Action::Tell(Milestone::Rehearsed));
            self.after_change(out, now);
            return;
        }
        succession.stage = Stage::Going(now + GO_DEADLINE);
        out.push(Action::LetSuccessorAccept);
    }

    fn successor_accepting(&mut self, out: &mut Vec<Action>, now: Instant) {
        let Some(succession) = &mut self.succession else { return };
        if !matches!(succession.stage, Stage::Going(_)) {
            return;
        }
        let Order { manual, watch, .. } = succession.order;
        let moments = (now + watch, now + watch.min(LOOK_EVERY));
        succession.stage = Stage::Overlap((!manual).then_some(moments));
        out.push(Action::ShowOld);
        if !manual && watch.is_zero() {
            self.commit_successor(true, out, now);
        } else {
            out.push(Action::Tell(Milestone::Overlap));
        }
    }

    fn measured(&mut self, sample: Sample, out: &mut Vec<Action>, now: Instant) {
        let Some(Succession { stage: Stage::Overlap(Some((end, look))), .. }) =
            &mut self.succession
        else {
            return;
        };
        if let Some(why) = watch::verdict(sample) {
            self.dismiss(&why, out, now);
        } else if *end <= now {
            self.commit_successor(true, out, now);
        } else {
            *look = now + LOOK_EVERY;
        }
    }

    /// The new master is the server. Its own workers are sent home, and this master stays as long as
    /// they take, and where a clock decided also for as long as it may have to return.
    fn commit_successor(&mut self, by_clock: bool, out: &mut Vec<Action>, now: Instant) {
        let Some(succession) = &mut self.succession else { return };
        let window = by_clock.then_some(succession.order.window).filter(|time| !time.is_zero());
        succession.stage = Stage::Committed(window.map(|window| now + window));
        let reload = std::mem::take(&mut self.again);
        out.push(Action::CommitSuccessor { reload });
        self.retire(out, now);
        self.tell_when_empty(out);
        self.exit_if_done(out);
    }

    /// What a final stop means to an upgrade in hand. Where both accept, and the pid file names the new
    /// one already, telling the old one to stop means that the new one stays; in the foreground, and
    /// before, it means the whole server.
    pub(super) fn stop_decides(&mut self, fast: bool, out: &mut Vec<Action>, now: Instant) -> Stop {
        match self.succession.as_ref().map(|succession| succession.stage) {
            Some(Stage::Overlap(_)) if !self.foreground => {
                self.commit_successor(false, out, now);
                Stop::Handed
            }
            Some(Stage::Starting(_) | Stage::Going(_) | Stage::Overlap(_)) => {
                self.dismiss_for_good(out, now);
                Stop::Alone
            }
            Some(Stage::Committed(_)) => Stop::Retired,
            None => {
                self.heir_stops(fast, out);
                Stop::Alone
            }
        }
    }

    /// Sends the new master away because all is about to end: nobody is started any more.
    pub(super) fn dismiss_for_good(&mut self, out: &mut Vec<Action>, now: Instant) {
        if let Some(outcome) = self.dismissed("the server is shutting down", out, now) {
            out.push(Action::Tell(outcome));
        }
    }

    /// Nobody wants this master back.
    pub(super) fn give_up_return(&mut self) {
        if let Some(Succession { stage: stage @ Stage::Committed(_), .. }) = &mut self.succession {
            *stage = Stage::Committed(None);
        }
    }

    fn dismiss(&mut self, why: &str, out: &mut Vec<Action>, now: Instant) {
        if let Some(outcome) = self.dismissed(why, out, now) {
            self.undone_told(outcome, out, now);
        }
    }

    /// Sends the new master away, if it is not the server; answers what there is to tell.
    fn dismissed(&mut self, why: &str, out: &mut Vec<Action>, now: Instant) -> Option<Milestone> {
        let Succession { stage, .. } = self.succession.as_ref().filter(|_| self.can_undo())?;
        let accepted = matches!(stage, Stage::Overlap(_));
        self.succession = None;
        let kill = (!accepted).then_some(now + STOP_DEADLINE);
        self.send_off(why.to_owned(), kill, out);
        let why = why.to_owned();
        Some(if accepted { Milestone::Undone(why) } else { Milestone::Refused(why) })
    }

    fn send_off(&mut self, why: String, kill: Option<Instant>, out: &mut Vec<Action>) {
        let id = self.next_id();
        self.undone.insert(id, Undone { kill });
        out.push(Action::DismissSuccessor(id, why));
    }

    fn undone_told(&mut self, outcome: Milestone, out: &mut Vec<Action>, now: Instant) {
        out.push(Action::Tell(outcome));
        self.accept_again(out, now);
        self.after_change(out, now);
    }

    /// If the workers were sent away (`WINCH`), they are wanted again.
    pub(super) fn accept_again(&mut self, out: &mut Vec<Action>, now: Instant) {
        if self.running() && !self.accepting {
            self.accepting = true;
            self.fill(out, now);
        }
    }

    fn successor_gone(&mut self, end: End, out: &mut Vec<Action>, now: Instant) {
        let Some(Succession { stage, .. }) = self.succession.take() else { return };
        out.push(Action::ForgetSuccessor);
        // Whether nobody was told yet that it had become the server.
        let early = self.stop_closing();
        match stage {
            Stage::Starting(_) | Stage::Going(_) => {
                self.undone_told(Milestone::Refused(String::new()), out, now);
            }
            // The log has how it ended.
            Stage::Overlap(_) => self.undone_told(Milestone::Undone(String::new()), out, now),
            Stage::Committed(Some(_)) if end != End::Code(0) => {
                if early {
                    out.push(Action::Tell(Milestone::Undone(String::new())));
                }
                out.push(Action::Return);
                self.resume(out, now);
            }
            Stage::Committed(_) => {
                if early {
                    out.push(Action::Tell(Milestone::Committed));
                }
                if self.foreground {
                    // The server has stopped, and this is the process its supervisor knows. If it
                    // was a crash, the supervisor has to know soon.
                    self.hurry(end != End::Code(0), out, now);
                } else {
                    self.exit_if_done(out);
                }
            }
        }
    }

    /// A moment has come.
    pub(super) fn succession_tick(&mut self, out: &mut Vec<Action>, now: Instant) {
        let killed = self.undone.iter_mut().filter(|(_, undone)| undone.kill <= Some(now));
        for (id, undone) in killed {
            if undone.kill.take().is_some() {
                out.push(Action::KillSuccessor(*id));
            }
        }
        match self.succession.as_ref().map(|succession| succession.stage) {
            Some(Stage::Starting(at) | Stage::Going(at)) if at <= now => self.overdue(out, now),
            Some(Stage::Overlap(Some((end, look)))) if end.min(look) <= now => {
                out.push(Action::Measure);
            }
            Some(Stage::Committed(Some(at))) if at <= now => {
                self.give_up_return();
                self.exit_if_done(out);
            }
            _ => {}
        }
    }

    /// It did not get ready; it may not even listen any more.
    fn overdue(&mut self, out: &mut Vec<Action>, now: Instant) {
        let Some(Succession { order, stage }) = self.succession.take() else { return };
        let id = self.next_id();
        self.undone.insert(id, Undone { kill: None });
        out.push(Action::DismissSuccessor(id, "not ready in time".to_owned()));
        out.push(Action::KillSuccessor(id));
        let outcome = match stage {
            Stage::Going(_) => {
                let time = GO_DEADLINE.as_secs();
                Milestone::Refused(format!("its workers do not accept after {time} s; killed"))
            }
            _ => Milestone::Late(order.patience),
        };
        self.undone_told(outcome, out, now);
    }

    /// Whether this master has to stay although it has nothing to do: it may have to return, or a
    /// successor that it has sent away is still there.
    pub(super) fn has_to_stay(&self) -> bool {
        self.may_return() || !self.undone.is_empty()
    }

    /// An id for an undone successor.
    fn next_id(&mut self) -> Id {
        self.last_id += 1;
        self.last_id
    }
}

#[cfg(test)]
#[path = "succession_tests.rs"]
mod tests;
