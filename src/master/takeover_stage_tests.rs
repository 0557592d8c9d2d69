//! What becomes of an action on the stage: workers have duties, masters hear words and signals, files
//! change their names, processes end.
//!
//! Must not judge: the rules are beside the steps.

use std::collections::VecDeque;

use super::Who::{New, Old};
use super::{Duty, Hand, KILLED, Side, Stage, Who};
use crate::master::event::{Action, End, Event, Plan, Sample};

impl Stage {
    pub(super) fn side(&mut self, who: Who) -> &mut Side {
        match who {
            Old => &mut self.old,
            New => &mut self.new,
        }
    }

    /// As the master's loop does.
    pub(super) fn take(&mut self, who: Who, event: Event) {
        let mut queue = VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            let now = self.now;
            for action in self.side(who).state.step(event, now) {
                queue.extend(self.act(who, action));
            }
        }
    }

    fn act(&mut self, who: Who, action: Action) -> Option<Event> {
        let side = self.side(who);
        let tell = |side: &mut Side, id, duty| {
            side.workers.get_mut(&id).expect("it lives").push_back(duty);
        };
        match action {
            Action::Load => {
                side.loaded = true;
                side.loads += 1;
                let plan = Plan { workers: 2, replace: side.loads.is_multiple_of(2) };
                return Some(if side.loads.is_multiple_of(3) {
                    Event::NotLoaded
                } else {
                    Event::Loaded(plan)
                });
            }
            Action::Spawn { id, .. } => {
                side.workers.insert(id, VecDeque::from([Duty::BeReady]));
            }
            Action::Prepare(id) => {
                let generation = side.state.candidate();
                tell(side, id, Duty::Prepare(generation));
            }
            Action::Commit { id, generation } => tell(side, id, Duty::Commit(generation)),
            Action::Quit { id, .. } | Action::Terminate(id) => tell(side, id, Duty::Leave),
            Action::Kill(id) => {
                side.workers.remove(&id);
                return Some(Event::Gone(id, KILLED));
            }
            Action::Exit => self.leave(who),
            other if who == Old => return self.act_as_old(other),
            other => return self.act_as_new(&other),
        }
        None
    }

    fn act_as_old(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::StartSuccessor => {
                self.new.alive = true;
                self.hand = Hand::Full;
                self.take(New, Event::Start);
                return Some(Event::SuccessorStarted);
            }
            Action::LetSuccessorAccept if !self.setup.keeps => {
                return Some(Event::SuccessorTrouble("No space left on device".into()));
            }
            Action::LetSuccessorAccept => {
                (self.kept, self.went) = (true, true);
                self.say(New, Event::Go);
            }
            Action::ShowOld => self.oldbin = true,
            Action::Measure => {
                let new_failed = if self.setup.good { 0 } else { 100 };
                let new_requests = 100;
                let sample = Sample { new_requests, new_failed, ..Sample::default() };
                return Some(Event::Measured(sample));
            }
            Action::CommitSuccessor { reload } => {
                assert_eq!((self.hand, self.oldbin), (Hand::Full, true));
                self.lost |= !self.new.alive && !self.old.may_return();
                self.committed = true;
                // Both were told to stop, or the new one was at the very moment it became the server.
                self.stopped |= self.declined;
                let said =
                    |word: &Event| matches!(word, Event::SuccessorTrouble(_) | Event::Hurry { .. });
                assert!(!self.declined || self.old.is_told(said), "it is known to stop");
                self.say(New, Event::Confirmed);
                if reload {
                    self.send(New, Event::Reload);
                }
                return Some(Event::Retired(0));
            }
            Action::DismissSuccessor(id, _) => {
                assert!(!self.committed, "it is the server");
                self.hand = Hand::Undone(id);
                self.restore();
                self.say(New, Event::Abandoned);
            }
            Action::ForgetSuccessor => {
                self.hand = Hand::Empty;
                if self.old.is_server() {
                    self.restore();
                }
            }
            Action::KillSuccessor(_) if self.new.alive => self.kill(New),
            Action::Return => {
                assert!(!self.new.alive);
                (self.pid, self.oldbin) = (Some(Old), false);
                // Whoever was told to stop has been killed before it could say so.
                self.stopped = false;
            }
            Action::Tell(milestone) => self.outcomes.push(milestone),
            Action::StopOthers { fast } if matches!(self.hand, Hand::Undone(_)) => {
                self.send(New, if fast { Event::Terminate } else { Event::Quit });
            }
            _ => {}
        }
        None
    }

    fn act_as_new(&mut self, action: &Action) -> Option<Event> {
        match action {
            Action::AnnounceReady => self.say(Old, Event::SuccessorReady),
            Action::AnnounceAccepting => {
                self.pid = Some(New);
                self.say(Old, Event::SuccessorAccepting);
            }
            Action::AnnounceLost(..) => self.say(Old, Event::SuccessorTrouble("crash".into())),
            Action::AnnounceStop(Some(fast)) => self.say(Old, Event::Hurry { fast: *fast }),
            Action::AnnounceStop(None) => {
                self.say(Old, Event::SuccessorTrouble("told to stop".into()));
            }
            Action::GiveUp(..) => {
                self.new.code = 1;
                self.lost |= !self.old.alive;
                self.say(Old, Event::SuccessorTrouble("it will not do".into()));
            }
            Action::TakeOver => {
                self.linked = true;
                return Some(Event::Retired(usize::from(self.old.alive)));
            }
            Action::StopOthers { fast } if self.linked => {
                self.say(Old, Event::Hurry { fast: *fast });
            }
            Action::PassReload => self.send(Old, Event::Reload),
            _ => {}
        }
        None
    }

    fn say(&mut self, to: Who, word: Event) {
        if self.side(to).alive {
            self.side(to).words.push_back(word);
        }
    }

    fn send(&mut self, to: Who, signal: Event) {
        if self.side(to).alive {
            self.side(to).signals.push(signal);
        }
    }

    /// The new one's pid file may have come after the old one's was put back.
    fn reclaim(&mut self) {
        if self.old.runs() && self.pid == Some(New) {
            self.pid = Some(Old);
        }
    }

    fn restore(&mut self) {
        if std::mem::take(&mut self.kept) {
            (self.pid, self.oldbin) = (Some(Old), false);
        }
    }

    /// The process ends as it should.
    fn leave(&mut self, who: Who) {
        assert!(self.side(who).workers.is_empty());
        let waits = matches!(self.hand, Hand::Undone(_)) || self.old.may_return();
        assert!(who == New || !waits, "it left too early");
        // One that was not to be the server leaves the file to the old master.
        if self.pid == Some(who) && (who == Old || self.linked) {
            self.pid = None;
        }
        if who == Old {
            self.oldbin = false;
        }
        let code = self.side(who).code;
        self.ended(who, End::Code(code));
    }

    pub(super) fn kill(&mut self, who: Who) {
        self.lost |= match who {
            Old if self.old.is_server() => {
                !(self.went && self.hand == Hand::Full && self.new.is_heir())
            }
            Old => !self.new.alive,
            New => !self.old.runs() && !self.old.may_return(),
        };
        self.forgot = true;
        self.ended(who, KILLED);
    }

    /// The workers of a dead master accept no more.
    fn ended(&mut self, who: Who, end: End) {
        let side = self.side(who);
        if !std::mem::take(&mut side.alive) {
            return;
        }
        side.workers.clear();
        side.words.clear();
        side.signals.clear();
        match who {
            Old => self.say(New, Event::PredecessorGone),
            New => self.send(Old, Event::SuccessorGone(end)),
        }
    }

    pub(super) fn hear(&mut self, who: Who) {
        let Some(word) = self.side(who).words.pop_front() else { return };
        let word = match word {
            Event::PredecessorGone if self.linked => Event::Retired(0),
            word => word,
        };
        if (who, &word) == (Old, &Event::SuccessorAccepting) && self.hand != Hand::Full {
            self.reclaim();
        }
        // Of one that was sent away nothing else is heard any more.
        if who == New || self.hand == Hand::Full || matches!(word, Event::Hurry { .. }) {
            // Told to stop while both were watched, the new one has passed it on: both stop.
            let hurried = who == Old && matches!(word, Event::Hurry { .. });
            let both = self.old.runs() && self.old.state.can_undo() && self.hand == Hand::Full;
            self.stopped |= hurried && both;
            if hurried && self.old.runs() && !both {
                return;
            }
            self.take(who, word);
        }
    }

    pub(super) fn signal(&mut self, who: Who, which: usize) {
        let signals = &mut self.side(who).signals;
        if signals.is_empty() {
            return;
        }
        let which = which % signals.len();
        match (signals.swap_remove(which), self.hand) {
            (Event::SuccessorGone(_), Hand::Undone(id)) => {
                self.hand = Hand::Empty;
                self.reclaim();
                self.take(Old, Event::UndoneGone(id));
            }
            (Event::Quit, _) => self.stop(who, false),
            (Event::Terminate, _) => self.stop(who, true),
            (event, _) => self.take(who, event),
        }
    }

    pub(super) fn work(&mut self, who: Who, which: usize) {
        let side = self.side(who);
        let Some((&id, duties)) = side.workers.iter_mut().nth(which) else { return };
        let event = match duties.pop_front() {
            None => return,
            Some(Duty::BeReady) => Event::Ready(id),
            Some(Duty::Commit(generation)) => Event::Committed(id, generation),
            Some(Duty::Prepare(generation)) => Event::Prepared(id, generation),
            Some(Duty::Leave) => {
                side.workers.remove(&id);
                Event::Gone(id, End::Code(0))
            }
        };
        self.take(who, event);
    }

    pub(super) fn fall(&mut self, who: Who, which: usize, fatal: bool) {
        // A server all of whose workers cannot serve is another story.
        let fatal = fatal && who == New && self.new.is_heir();
        let id = self.side(who).workers.keys().nth(which).copied();
        if let Some(id) = id {
            self.side(who).workers.remove(&id);
            self.take(who, Event::Gone(id, if fatal { End::Code(2) } else { KILLED }));
        }
    }

    pub(super) fn stop(&mut self, who: Who, fast: bool) {
        let event = if fast { Event::Terminate } else { Event::Quit };
        if who == Old && self.setup.foreground && self.old.state.has_handed_over() {
            self.send(New, event.clone());
        }
        let (served, was_heir) = (self.side(who).is_server(), self.side(who).is_heir());
        self.declined |= was_heir;
        // Nobody waits any longer for a new master that has just died.
        let was_to_return = who == Old && self.old.may_return() && !self.new.alive;
        self.take(who, event);
        self.stopped |= served && !(who == Old && self.old.state.has_handed_over());
        self.stopped |= was_heir && !self.old.runs();
        self.lost |= was_to_return;
    }

    pub(super) fn tick(&mut self, who: Who) {
        let now = self.now;
        let due = self.side(who).state.deadline().is_some_and(|at| at <= now);
        if self.side(who).alive && due {
            self.take(who, Event::Tick);
            let next = self.side(who).state.deadline();
            assert!(next.is_none_or(|at| at > now), "the loop would spin");
        }
    }
}
