//! An upgrade as the old master sees it: every stage of it and every way it can end.

use std::time::{Duration, Instant};

use super::super::event::{Action, End, Event, Id, Milestone, Order, Plan, Sample};
use super::super::state::{STOP_DEADLINE, State};
use super::{GO_DEADLINE, LOOK_EVERY};

#[path = "succession_signal_tests.rs"]
mod signals;

const PATIENCE: Duration = Duration::from_secs(30);
const WATCH: Duration = Duration::from_secs(10);
const WINDOW: Duration = Duration::from_mins(1);
const MOMENT: Duration = Duration::from_millis(1);

/// A clock decides.
const CLOCK: Order = Order {
    manual: false,
    foreign: false,
    dry_run: false,
    patience: PATIENCE,
    watch: WATCH,
    window: WINDOW,
};
/// A person decides.
const PERSON: Order = Order { manual: true, ..CLOCK };
const FOREIGN: Order = Order { foreign: true, ..PERSON };

const CRASH: End = End::Signal(11);
const STOPPING: &str = "the server is shutting down";
const BUSY: Action = Action::Refuse("another change is in progress (upgrade)");
const KEEP: Action = Action::CommitSuccessor { reload: false };
const BEGIN: Action = Action::Notice("start worker processes");

fn bad() -> Sample {
    Sample { old_requests: 1000, old_failed: 1, new_requests: 1000, new_failed: 500 }
}

fn told(milestone: Milestone) -> Action {
    Action::Tell(milestone)
}

fn refused(why: &str) -> Action {
    Action::Tell(Milestone::Refused(why.to_owned()))
}

fn undone(why: &str) -> Action {
    Action::Tell(Milestone::Undone(why.to_owned()))
}

fn dismissed(id: Id, why: &str) -> Action {
    Action::DismissSuccessor(id, why.to_owned())
}

fn quit(id: Id) -> Action {
    Action::Quit { id, replaced: true }
}

fn spawned(actions: &[Action]) -> Vec<(Id, usize)> {
    let spawns = actions.iter().filter_map(|action| match action {
        Action::Spawn { id, slot, .. } => Some((*id, *slot)),
        _ => None,
    });
    spawns.collect()
}

fn loads(actions: &[Action]) -> usize {
    actions.iter().filter(|action| **action == Action::Load).count()
}

/// An old master with the workers 1 and 2, and a clock that goes as the test says.
struct Old {
    state: State,
    now: Instant,
}

impl Old {
    fn serving(foreground: bool) -> Old {
        let now = Instant::now();
        let mut old = Old { state: State::new(2).in_foreground(foreground), now };
        old.step(Event::Start);
        for id in [1, 2] {
            old.step(Event::Ready(id));
            old.step(Event::Committed(id, 1));
        }
        old
    }

    /// The new master's process runs.
    fn starting(order: Order, foreground: bool) -> Old {
        let mut old = Old::serving(foreground);
        assert_eq!(old.step(Event::Upgrade(order)), [Action::StartSuccessor]);
        assert_eq!(old.step(Event::SuccessorStarted), [told(Milestone::Started)]);
        old
    }

    /// It was told to accept.
    fn going(order: Order, foreground: bool) -> Old {
        let mut old = Old::starting(order, foreground);
        let go = [told(Milestone::Ready), Action::LetSuccessorAccept];
        assert_eq!(old.step(Event::SuccessorReady), go);
        old
    }

    /// Both accept.
    fn overlap(order: Order, foreground: bool) -> Old {
        let mut old = Old::going(order, foreground);
        let both = [Action::ShowOld, told(Milestone::Overlap)];
        assert_eq!(old.step(Event::SuccessorAccepting), both);
        old
    }

    /// The new one is the server, by the clock.
    fn committed(foreground: bool) -> Old {
        let mut old = Old::overlap(CLOCK, foreground);
        old.after(WATCH);
        assert_eq!(old.step(Event::Tick), [Action::Measure]);
        let actions = old.step(Event::Measured(Sample::default()));
        assert_eq!(actions, [KEEP, quit(1), quit(2)]);
        old.closed();
        old
    }

    /// Its workers accept no longer, and that is news.
    fn closed(&mut self) {
        assert_eq!(self.step(Event::Leaving(2)), []);
        assert_eq!(self.step(Event::Leaving(1)), [told(Milestone::Committed)]);
        assert_eq!([1, 2].map(|id| self.step(Event::Leaving(id))), [[], []], "once");
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        self.state.step(event, self.now)
    }

    fn after(&mut self, time: Duration) -> &mut Old {
        self.now += time;
        self
    }

    fn left(&self) -> Option<Duration> {
        self.state.deadline().map(|at| at.saturating_duration_since(self.now))
    }

    /// The workers leave one after the other; answers what the last one leads to.
    fn emptied(&mut self) -> Vec<Action> {
        let ids: Vec<Id> = self.state.workers().map(|(id, _)| id).collect();
        let mut last = Vec::new();
        for id in ids {
            last = self.step(Event::Gone(id, End::Code(0)));
        }
        last
    }

    /// It is as it was before the upgrade: serves, and may begin another one.
    fn serves_alone(&mut self) {
        assert_eq!(self.state.workers().collect::<Vec<_>>(), [(1, false), (2, false)]);
        assert!(self.state.is_serving() && !self.state.has_successor() && !self.state.can_undo());
        assert_eq!(spawned(&self.step(Event::Gone(1, CRASH))).len(), 1, "it looks after them");
        assert_eq!(self.step(Event::Upgrade(CLOCK)), [Action::StartSuccessor]);
    }
}

#[test]
fn a_program_that_cannot_be_started_changes_nothing() {
    let mut old = Old::serving(false);
    old.step(Event::Upgrade(CLOCK));
    let actions = old.step(Event::SuccessorGone(End::NotStarted));
    assert_eq!(actions, [Action::ForgetSuccessor, refused("")]);
    old.serves_alone();
}

#[test]
fn a_new_master_that_ends_before_it_accepts_changes_nothing() {
    for mut old in [Old::starting(CLOCK, false), Old::going(CLOCK, false)] {
        let actions = old.step(Event::SuccessorGone(End::Code(1)));
        assert_eq!(actions, [Action::ForgetSuccessor, refused("")]);
        assert_eq!(old.left(), None);
        old.serves_alone();
    }
}

#[test]
fn one_that_says_it_cannot_is_sent_away_and_killed_if_it_stays() {
    for mut old in [Old::starting(CLOCK, false), Old::going(CLOCK, false)] {
        let actions = old.step(Event::SuccessorTrouble("bind() failed".into()));
        assert_eq!(actions, [dismissed(3, "bind() failed"), refused("bind() failed")]);
        assert_eq!(old.left(), Some(STOP_DEADLINE));
        old.after(STOP_DEADLINE);
        assert_eq!(old.step(Event::Tick), [Action::KillSuccessor(3)]);
        assert_eq!(old.left(), None);
        assert_eq!(old.step(Event::UndoneGone(3)), []);
        old.serves_alone();
    }
}

#[test]
fn patience_with_one_that_does_not_get_ready_ends() {
    let mut old = Old::starting(CLOCK, false);
    assert_eq!(old.left(), Some(PATIENCE));
    assert_eq!(old.after(PATIENCE.saturating_sub(MOMENT)).step(Event::Tick), []);
    let actions = old.after(MOMENT).step(Event::Tick);
    let away = [dismissed(3, "not ready in time"), Action::KillSuccessor(3)];
    assert_eq!(actions, [&away[..], &[told(Milestone::Late(PATIENCE))]].concat());
    assert_eq!(old.left(), None);
    assert_eq!(old.step(Event::SuccessorReady), [], "too late");
    old.serves_alone();
}

#[test]
fn patience_counts_from_the_start_of_the_process() {
    let mut old = Old::serving(false);
    old.step(Event::Upgrade(CLOCK));
    old.after(WATCH).step(Event::SuccessorStarted);
    assert_eq!(old.left(), Some(PATIENCE));
}

#[test]
fn one_that_does_not_begin_to_accept_is_killed_at_once() {
    let mut old = Old::going(CLOCK, false);
    assert_eq!(old.left(), Some(GO_DEADLINE));
    let actions = old.after(GO_DEADLINE).step(Event::Tick);
    let away = [dismissed(3, "not ready in time"), Action::KillSuccessor(3)];
    let why = "its workers do not accept after 10 s; killed";
    assert_eq!(actions, [&away[..], &[refused(why)]].concat());
    old.serves_alone();
}

#[test]
fn while_both_accept_the_old_workers_are_left_alone_and_looked_after() {
    let mut old = Old::overlap(CLOCK, false);
    assert_eq!(old.state.watch(), Some(WATCH));
    assert!(old.state.can_undo() && !old.state.has_handed_over());
    assert_eq!(spawned(&old.step(Event::Gone(1, CRASH))), [(3, 0)]);
    assert_eq!(old.step(Event::Ready(3)), [Action::Commit { id: 3, generation: 1 }]);
    assert_eq!(old.state.workers().collect::<Vec<_>>(), [(2, false), (3, false)]);
}

#[test]
fn both_are_compared_until_the_watch_ends() {
    let mut old = Old::overlap(CLOCK, false);
    for _ in 1..WATCH.as_millis() / LOOK_EVERY.as_millis() {
        assert_eq!(old.left(), Some(LOOK_EVERY));
        assert_eq!(old.after(LOOK_EVERY).step(Event::Tick), [Action::Measure]);
        assert_eq!(old.step(Event::Measured(Sample::default())), []);
    }
    assert_eq!(old.after(LOOK_EVERY).step(Event::Tick), [Action::Measure]);
    assert_eq!(old.step(Event::Measured(Sample::default()))[0], KEEP);
}

#[test]
fn a_watch_shorter_than_a_look_is_one_look() {
    let watch = Duration::from_millis(100);
    let mut old = Old::overlap(Order { watch, ..CLOCK }, false);
    assert_eq!(old.left(), Some(watch));
    assert_eq!(old.after(watch).step(Event::Tick), [Action::Measure]);
    assert_eq!(old.step(Event::Measured(Sample::default()))[0], KEEP);
}

#[test]
fn one_that_fails_more_often_is_undone() {
    let mut old = Old::overlap(CLOCK, false);
    assert_eq!(old.after(LOOK_EVERY).step(Event::Tick), [Action::Measure]);
    let actions = old.step(Event::Measured(bad()));
    let why = "50.0 % local errors (of 1000) against 0.1 % before";
    assert_eq!(actions, [dismissed(3, why), undone(why)]);
    assert_eq!(old.left(), None, "it accepted, and may take its time to finish that");
    assert_eq!(old.step(Event::Measured(bad())), []);
    old.serves_alone();
}

#[test]
fn a_crash_while_both_accept_undoes_it() {
    let mut old = Old::overlap(CLOCK, false);
    let why = "worker 4250 exited on signal 6 after 1.3 s";
    let actions = old.step(Event::SuccessorTrouble(why.into()));
    assert_eq!(actions, [dismissed(3, why), undone(why)]);
    old.serves_alone();

    let mut old = Old::overlap(CLOCK, false);
    let actions = old.step(Event::SuccessorGone(CRASH));
    assert_eq!(actions, [Action::ForgetSuccessor, undone("")]);
    old.serves_alone();
}

#[test]
fn a_rollback_during_an_upgrade_undoes_it() {
    for mut old in [Old::starting(CLOCK, false), Old::going(CLOCK, false)] {
        let actions = old.step(Event::Undo);
        assert_eq!(actions, [dismissed(3, "on request"), refused("on request")]);
        old.serves_alone();
    }
    for order in [CLOCK, PERSON] {
        let mut old = Old::overlap(order, false);
        let actions = old.step(Event::Undo);
        assert_eq!(actions, [dismissed(3, "on request"), undone("on request")]);
        old.serves_alone();
    }
    let mut old = Old::committed(false);
    assert_eq!(old.step(Event::Undo), [], "that takes a rollback");
    assert_eq!(Old::serving(false).step(Event::Undo), []);
}

#[test]
fn without_a_watch_it_is_committed_as_soon_as_it_accepts() {
    let mut old = Old::going(Order { watch: Duration::ZERO, ..CLOCK }, false);
    let actions = old.step(Event::SuccessorAccepting);
    assert_eq!(actions, [Action::ShowOld, KEEP, quit(1), quit(2)]);
    old.closed();
    assert_eq!(old.left(), Some(WINDOW));
}

#[test]
fn a_person_is_not_hurried_by_a_watch_of_nothing() {
    let order = Order { watch: Duration::ZERO, ..PERSON };
    assert_eq!(Old::overlap(order, false).left(), None);
}

#[test]
fn a_rehearsal_ends_when_the_new_master_is_ready() {
    let mut old = Old::starting(Order { dry_run: true, ..CLOCK }, false);
    let actions = old.step(Event::SuccessorReady);
    let well = [told(Milestone::Ready), dismissed(3, "rehearsal"), told(Milestone::Rehearsed)];
    assert_eq!(actions, well);
    assert_eq!(old.left(), Some(STOP_DEADLINE), "it has accepted nothing");
    assert_eq!(old.step(Event::UndoneGone(3)), []);
    assert_eq!(old.left(), None);
    old.serves_alone();
}

#[test]
fn after_the_commit_it_drains_and_leaves_when_the_window_ends() {
    let mut old = Old::committed(false);
    assert!(old.state.has_handed_over() && !old.state.is_serving());
    assert_eq!(old.left(), Some(WINDOW));
    let last = old.emptied();
    assert!(!last.contains(&Action::Exit) && spawned(&last).is_empty(), "{last:?}");
    assert_eq!(old.after(WINDOW.saturating_sub(MOMENT)).step(Event::Tick), []);
    assert_eq!(old.after(MOMENT).step(Event::Tick), [Action::Exit]);
    assert_eq!(old.left(), None);
}

#[test]
fn after_the_window_it_waits_for_its_workers_only() {
    let mut old = Old::committed(false);
    assert_eq!(old.after(WINDOW).step(Event::Tick), []);
    assert_eq!(old.left(), None);
    assert_eq!(old.emptied().last(), Some(&Action::Exit));
}

#[test]
fn without_a_window_it_waits_for_its_workers_only() {
    let order = Order { watch: Duration::ZERO, window: Duration::ZERO, ..CLOCK };
    let mut old = Old::going(order, false);
    old.step(Event::SuccessorAccepting);
    old.closed();
    assert_eq!(old.left(), None);
    assert_eq!(old.emptied().last(), Some(&Action::Exit));
}

#[test]
fn a_new_master_that_dies_within_the_window_is_replaced_by_the_old_one() {
    for end in [CRASH, End::Code(1)] {
        for foreground in [false, true] {
            let mut old = Old::committed(foreground);
            old.step(Event::Gone(1, End::Code(0)));
            let actions = old.after(WINDOW.saturating_sub(MOMENT)).step(Event::SuccessorGone(end));
            assert_eq!(actions[..3], [Action::ForgetSuccessor, Action::Return, BEGIN]);
            assert_eq!(spawned(&actions), [(3, 0), (4, 1)]);
            assert!(old.state.is_serving());
            assert_eq!(old.left(), None, "no window is left");
            assert_eq!(old.step(Event::Ready(3)), [Action::Commit { id: 3, generation: 1 }]);
            assert_eq!(old.step(Event::Gone(2, End::Code(0))), [], "that one was leaving");
            assert_eq!(old.step(Event::Reload).last(), Some(&Action::Load));
        }
    }
}

#[test]
fn who_waits_is_told_how_it_ended_even_if_the_new_master_dies_at_once() {
    let commit = || {
        let mut old = Old::going(Order { watch: Duration::ZERO, ..CLOCK }, false);
        old.step(Event::SuccessorAccepting);
        old.step(Event::Leaving(1));
        old
    };
    let actions = commit().step(Event::SuccessorGone(CRASH));
    assert_eq!(actions[..3], [Action::ForgetSuccessor, undone(""), Action::Return]);
    let actions = commit().step(Event::SuccessorGone(End::Code(0)));
    assert_eq!(actions, [Action::ForgetSuccessor, told(Milestone::Committed)]);
    let actions = commit().step(Event::Terminate);
    assert_eq!(actions.iter().filter(|it| **it == told(Milestone::Committed)).count(), 1);
}

#[test]
fn the_old_one_does_not_return_after_the_window() {
    let mut old = Old::committed(false);
    old.after(WINDOW).step(Event::Tick);
    assert_eq!(old.step(Event::SuccessorGone(CRASH)), [Action::ForgetSuccessor]);
    assert_eq!(old.emptied().last(), Some(&Action::Exit));
}

#[test]
fn a_new_master_that_was_told_to_stop_is_not_replaced() {
    let mut old = Old::committed(false);
    assert_eq!(old.step(Event::SuccessorGone(End::Code(0))), [Action::ForgetSuccessor]);
    assert_eq!(old.left(), None);
    assert_eq!(old.emptied().last(), Some(&Action::Exit));

    let mut old = Old::committed(true);
    let actions = old.step(Event::SuccessorGone(End::Code(0)));
    let hurried = [1, 2].map(|id| Action::Quit { id, replaced: false });
    assert_eq!(actions[0], Action::ForgetSuccessor);
    assert!(hurried.iter().all(|quit| actions.contains(quit)), "its supervisor waits for it");
    assert_eq!(old.emptied().last(), Some(&Action::Exit));
}

#[test]
fn whoever_stops_the_new_master_stops_the_old_one_with_it() {
    let mut old = Old::committed(false);
    let actions = old.step(Event::Hurry { fast: false });
    assert!(actions.ends_with(&[1, 2].map(|id| Action::Quit { id, replaced: false })));
    assert_eq!(old.left(), None, "nor will it return");
    assert_eq!(old.step(Event::SuccessorGone(CRASH)), [Action::ForgetSuccessor]);
    assert_eq!(old.emptied().last(), Some(&Action::Exit));

    let mut old = Old::committed(false);
    let actions = old.step(Event::Hurry { fast: true });
    assert!(actions.ends_with(&[Action::Terminate(1), Action::Terminate(2)]));
    assert_eq!(old.after(STOP_DEADLINE).step(Event::Tick), [Action::Kill(1), Action::Kill(2)]);
    assert_eq!(old.emptied().last(), Some(&Action::Exit));

    // While both are watched, that was meant for the server.
    let actions = Old::overlap(CLOCK, false).step(Event::Hurry { fast: true });
    assert!(matches!(&actions[0], Action::DismissSuccessor(..)), "{actions:?}");
    assert!(actions.ends_with(&[Action::Terminate(1), Action::Terminate(2)]), "{actions:?}");
}

#[test]
fn nothing_is_begun_while_something_else_is_in_hand() {
    let mut old = Old::starting(CLOCK, false);
    assert_eq!(old.state.upgrade_refusal(), Some("another change is in progress (upgrade)"));
    assert_eq!(old.step(Event::Upgrade(CLOCK)), []);
    let mut old = Old::serving(false);
    old.step(Event::Reload);
    assert_eq!(old.state.upgrade_refusal(), Some("another change is in progress (reload)"));
    assert_eq!(old.step(Event::Upgrade(CLOCK)), []);
    let mut old = Old::committed(false);
    assert_eq!(old.state.upgrade_refusal(), Some(STOPPING));
    assert_eq!(old.step(Event::Upgrade(CLOCK)), []);
}

#[test]
fn another_upgrade_may_begin_while_an_undone_one_still_drains() {
    let mut old = Old::overlap(CLOCK, false);
    old.step(Event::Undo);
    assert_eq!(old.step(Event::Upgrade(CLOCK)), [Action::StartSuccessor]);
    for event in [Event::SuccessorStarted, Event::SuccessorReady, Event::SuccessorAccepting] {
        old.step(event);
    }
    old.after(WATCH).step(Event::Tick);
    old.step(Event::Measured(Sample::default()));
    old.after(WINDOW).step(Event::Tick);
    assert!(!old.emptied().contains(&Action::Exit), "the undone one is still there");
    assert_eq!(old.step(Event::UndoneGone(3)), [Action::Exit]);
}

#[test]
fn a_reload_waits_for_the_end_of_an_upgrade_and_is_done_once() {
    for stage in [Old::starting, Old::going, Old::overlap] {
        let mut old = stage(CLOCK, false);
        assert_eq!([old.step(Event::Reload), old.step(Event::Reload)], [[BUSY], [BUSY]]);
        let actions = old.step(Event::SuccessorGone(CRASH));
        assert_eq!(loads(&actions), 1, "{actions:?}");
        assert_eq!(loads(&old.step(Event::NotLoaded)), 0);
    }
    let mut old = Old::starting(Order { dry_run: true, ..CLOCK }, false);
    old.step(Event::Reload);
    assert_eq!(loads(&old.step(Event::SuccessorReady)), 1);
}

#[test]
fn a_reload_asked_for_meanwhile_is_the_new_masters_to_do() {
    let mut old = Old::overlap(CLOCK, false);
    old.step(Event::Reload);
    old.after(WATCH).step(Event::Tick);
    let actions = old.step(Event::Measured(Sample::default()));
    assert_eq!(actions[0], Action::CommitSuccessor { reload: true });
    assert_eq!(old.step(Event::Reload), [Action::Refuse(STOPPING)]);
}

#[test]
fn a_program_that_says_nothing_serves_as_soon_as_it_runs() {
    let mut old = Old::starting(FOREIGN, false);
    assert!(old.state.in_manual_overlap() && old.state.can_undo());
    assert_eq!(old.left(), None);
    let actions = old.step(Event::SuccessorGone(End::Code(1)));
    assert_eq!(actions, [Action::ForgetSuccessor, undone("")]);
    old.serves_alone();

    let mut old = Old::starting(FOREIGN, false);
    old.step(Event::StopAccepting);
    assert_eq!(spawned(&old.step(Event::Reload)), [(3, 0), (4, 1)]);

    let mut old = Old::serving(false);
    old.step(Event::Upgrade(FOREIGN));
    let actions = old.step(Event::SuccessorGone(End::NotStarted));
    assert_eq!(actions, [Action::ForgetSuccessor, refused("")]);
}

#[test]
fn after_its_return_the_old_master_is_like_any_other() {
    let mut old = Old::committed(false);
    old.emptied();
    old.step(Event::SuccessorGone(CRASH));
    for id in [3, 4] {
        old.step(Event::Ready(id));
    }
    old.step(Event::Reload);
    let plan = Plan { workers: 2, replace: false };
    assert_eq!(old.step(Event::Loaded(plan)), [Action::Prepare(3), Action::Prepare(4)]);
    old.step(Event::Prepared(3, 2));
    old.step(Event::Prepared(4, 2));
    old.step(Event::Committed(3, 2));
    assert_eq!(old.step(Event::Committed(4, 2)), [Action::Answer(Ok(()))]);
    assert_eq!(old.step(Event::Upgrade(CLOCK)), [Action::StartSuccessor]);
}
