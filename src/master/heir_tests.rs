//! An upgrade as the new master sees it; and both masters against each other, with whatever may happen
//! between them.

use std::time::Instant;

use super::super::event::{Action, End, Event, Id, Plan};
use super::super::state::{STOP_DEADLINE, State};

const CRASH: End = End::Signal(11);
const BUSY: Action = Action::Refuse("another change is in progress (upgrade)");

/// A new master with three places for workers, of generation 7.
struct New {
    state: State,
    now: Instant,
}

impl New {
    fn building(canary: Option<usize>, manual: bool) -> New {
        let state = State::heir(3, 7, canary, manual);
        let mut new = New { state, now: Instant::now() };
        let actions = new.step(Event::Start);
        assert_eq!(actions[0], Action::Notice("start worker processes"));
        assert_eq!(spawned(&actions), (0..canary.unwrap_or(3)).collect::<Vec<_>>());
        new
    }

    /// All are ready and wait for the word.
    fn ready(canary: Option<usize>, manual: bool) -> New {
        let mut new = New::building(canary, manual);
        let of = canary.unwrap_or(3);
        for ready in 1..=of {
            let mut expected = vec![Action::Building { ready, of }];
            expected.extend((ready == of).then_some(Action::AnnounceReady));
            assert_eq!(new.step(Event::Ready(ready as Id)), expected);
        }
        new
    }

    /// The word was given; no worker has taken it in yet.
    fn accepting(canary: Option<usize>, manual: bool) -> New {
        let mut new = New::ready(canary, manual);
        let commits = (1..=canary.unwrap_or(3) as Id).map(commit).collect::<Vec<_>>();
        assert_eq!(new.step(Event::Go), commits);
        new
    }

    fn accepted(canary: Option<usize>, manual: bool) -> New {
        let mut new = New::accepting(canary, manual);
        let last = canary.unwrap_or(3) as Id;
        for id in 1..last {
            assert_eq!(new.step(Event::Committed(id, 7)), []);
        }
        assert_eq!(new.step(Event::Committed(last, 7)), [Action::AnnounceAccepting]);
        new
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        self.state.step(event, self.now)
    }

    fn emptied(&mut self) -> Vec<Action> {
        let ids: Vec<Id> = self.state.workers().map(|(id, _)| id).collect();
        let mut last = Vec::new();
        for id in ids {
            last = self.step(Event::Gone(id, End::Code(0)));
        }
        last
    }

    fn serves(&self) {
        assert!(self.state.is_serving() && !self.state.is_heir());
        assert_eq!(self.state.workers().filter(|(_, leaving)| !leaving).count(), 3);
    }
}

fn commit(id: Id) -> Action {
    Action::Commit { id, generation: 7 }
}

fn quit(id: Id) -> Action {
    Action::Quit { id, replaced: true }
}

fn spawned(actions: &[Action]) -> Vec<usize> {
    let spawns = actions.iter().filter_map(|action| match action {
        Action::Spawn { slot, .. } => Some(*slot),
        _ => None,
    });
    spawns.collect()
}

fn terminated(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Terminate(_))).count()
}

#[test]
fn it_accepts_when_told_and_is_the_server_when_told() {
    let mut new = New::accepted(None, false);
    assert!(new.state.is_heir());
    assert_eq!(new.step(Event::Go), [], "once");
    assert_eq!(new.step(Event::Confirmed), [Action::TakeOver]);
    new.serves();
    assert_eq!(new.state.deadline(), None);
    for event in [Event::Confirmed, Event::Abandoned, Event::PredecessorGone, Event::Go] {
        assert_eq!(new.step(event), [], "that is settled");
    }
}

#[test]
fn it_does_not_accept_before_all_are_ready() {
    let mut new = New::building(None, false);
    assert_eq!(new.step(Event::Ready(2)), [Action::Building { ready: 1, of: 3 }]);
    assert_eq!(new.step(Event::Ready(2)), [], "once");
    assert_eq!(new.step(Event::Go), []);
}

#[test]
fn canaries_accept_alone_and_the_others_follow_when_it_is_the_server() {
    let mut new = New::accepted(Some(1), false);
    let actions = new.step(Event::Confirmed);
    assert_eq!((&actions[0], spawned(&actions)), (&Action::TakeOver, vec![1, 2]));
    assert_eq!(new.step(Event::Ready(2)), [commit(2)]);
    new.serves();
    for (canary, first) in [(0, 1), (9, 3)] {
        let mut state = State::heir(3, 7, Some(canary), false);
        let actions = state.step(Event::Start, Instant::now());
        assert_eq!(spawned(&actions).len(), first, "{canary}");
    }
}

#[test]
fn a_worker_that_ends_before_it_accepts_is_the_end_of_it_all() {
    for mut new in [New::building(None, false), New::ready(None, false)] {
        for end in [CRASH, End::Code(2), End::NotStarted] {
            let mut new = New { state: State::heir(3, 7, None, false), now: new.now };
            new.step(Event::Start);
            let actions = new.step(Event::Gone(2, end));
            assert_eq!(actions[..2], [Action::GiveUp(2, end), Action::LeaveListeners]);
            assert_eq!((terminated(&actions), spawned(&actions).len()), (2, 0));
            assert_eq!(new.state.deadline(), Some(new.now + STOP_DEADLINE));
        }
        assert_eq!(new.step(Event::Gone(1, CRASH))[0], Action::GiveUp(1, CRASH));
        assert_eq!(new.step(Event::Go), []);
        assert!(new.emptied().contains(&Action::Exit));
    }
}

#[test]
fn a_worker_that_ends_while_both_accept_is_told_and_replaced() {
    let mut new = New::accepted(None, false);
    let actions = new.step(Event::Gone(2, CRASH));
    assert_eq!((&actions[0], spawned(&actions)), (&Action::AnnounceLost(2, CRASH), vec![1]));
    assert_eq!(new.step(Event::Ready(4)), [commit(4)]);
    assert_eq!(new.step(Event::Committed(4, 7)), [], "announced before");

    let mut new = New::accepting(None, false);
    new.step(Event::Committed(1, 7));
    assert_eq!(new.step(Event::Gone(2, CRASH))[0], Action::AnnounceLost(2, CRASH));
    assert_eq!(new.step(Event::Committed(3, 7)), [Action::AnnounceAccepting]);

    let mut new = New::accepted(None, false);
    let actions = new.step(Event::Gone(2, End::Code(2)));
    assert_eq!(actions, [Action::AnnounceLost(2, End::Code(2)), Action::Fatal(2)]);
}

#[test]
fn who_was_given_up_is_tried_again_when_it_is_the_server() {
    let mut new = New::accepted(None, false);
    new.step(Event::Gone(2, End::Code(2)));
    assert_eq!(spawned(&new.step(Event::Confirmed)), [1]);
}

#[test]
fn not_wanted_before_it_accepted_it_leaves_at_once() {
    for mut new in [New::building(None, false), New::ready(None, false)] {
        let actions = new.step(Event::Abandoned);
        assert_eq!((&actions[0], terminated(&actions)), (&Action::LeaveListeners, 3));
        assert_eq!(new.state.deadline(), Some(new.now + STOP_DEADLINE));
        assert!(new.emptied().contains(&Action::Exit));
    }
}

#[test]
fn not_wanted_after_it_accepted_it_finishes_what_it_has() {
    for mut new in [New::accepting(None, false), New::accepted(None, false)] {
        let actions = new.step(Event::Abandoned);
        assert_eq!(actions[..4], [Action::LeaveListeners, quit(1), quit(2), quit(3)]);
        assert!(!new.state.is_serving());
        assert_eq!(new.step(Event::Committed(3, 7)), [], "nothing is announced any more");
        assert_eq!(spawned(&new.step(Event::Gone(1, CRASH))).len(), 0);
        assert_eq!(new.step(Event::PredecessorGone), [], "too late");
        assert!(new.emptied().contains(&Action::Exit));
    }
}

#[test]
fn when_the_old_master_dies_before_the_word_it_leaves() {
    for mut new in [New::building(None, false), New::ready(None, false)] {
        let actions = new.step(Event::PredecessorGone);
        assert_eq!((&actions[0], terminated(&actions)), (&Action::LeaveListeners, 3));
        assert!(new.emptied().contains(&Action::Exit));
    }
}

#[test]
fn when_the_old_master_dies_after_the_word_it_is_the_server() {
    let mut new = New::accepted(Some(2), true);
    let actions = new.step(Event::PredecessorGone);
    assert_eq!((&actions[0], spawned(&actions)), (&Action::TakeOver, vec![2]));
    new.serves();

    let mut new = New::accepting(None, false);
    new.step(Event::Committed(1, 7));
    let named = [Action::AnnounceAccepting, Action::TakeOver];
    assert_eq!(new.step(Event::PredecessorGone), named, "the pid file named a dead one");
    assert_eq!(new.step(Event::Committed(2, 7)), []);
    new.serves();
}

#[test]
fn a_reload_waits_until_it_is_the_server_and_is_done_once() {
    for manual in [false, true] {
        for stage in [New::building, New::ready, New::accepting] {
            let mut new = stage(None, manual);
            assert_eq!([new.step(Event::Reload), new.step(Event::Reload)], [[BUSY], [BUSY]]);
        }
    }
    let mut new = New::accepted(None, false);
    new.step(Event::Reload);
    new.step(Event::Reload);
    let actions = new.step(Event::Confirmed);
    assert_eq!(actions.iter().filter(|action| **action == Action::Load).count(), 1);
    assert_eq!(new.step(Event::NotLoaded), [Action::Answer(Err(String::new()))]);
}

#[test]
fn where_a_person_decides_it_reloads_while_both_accept() {
    let mut new = New::accepted(None, true);
    assert_eq!(new.step(Event::Reload).last(), Some(&Action::Load));
    let actions = new.step(Event::Abandoned);
    assert!(actions.contains(&Action::Refuse("the server is shutting down")), "{actions:?}");

    let mut new = New::accepted(None, true);
    new.step(Event::Reload);
    new.step(Event::Loaded(Plan { workers: 3, replace: true }));
    let actions = new.step(Event::Gone(4, End::Code(2)));
    assert!(actions.contains(&Action::Discard), "{actions:?}");
    assert!(!actions.contains(&Action::AnnounceLost(4, End::Code(2))), "that is not the program");
}

#[test]
fn told_once_more_it_hurries_while_it_finishes() {
    let mut new = New::accepted(None, false);
    new.step(Event::Abandoned);
    let actions = new.step(Event::Quit);
    assert!(actions.ends_with(&[1, 2, 3].map(|id| Action::Quit { id, replaced: false })));
}

#[test]
fn a_reload_that_was_asked_for_here_goes_to_the_old_master_if_that_stays() {
    for stage in [New::building, New::ready, New::accepting, New::accepted] {
        for event in [Event::Abandoned, Event::Quit, Event::Terminate] {
            let mut new = stage(None, false);
            new.step(Event::Reload);
            assert!(new.step(event).contains(&Action::PassReload));
        }
    }
    let mut new = New::ready(None, false);
    new.step(Event::Reload);
    assert!(new.step(Event::Gone(1, CRASH)).contains(&Action::PassReload));
    let mut new = New::ready(None, false);
    new.step(Event::Reload);
    assert!(!new.step(Event::PredecessorGone).contains(&Action::PassReload), "to the dead");
    let mut new = New::accepted(None, false);
    assert!(!new.step(Event::Abandoned).contains(&Action::PassReload), "nobody has asked");
}

#[test]
fn told_to_stop_it_leaves_the_addresses_to_the_old_master() {
    for stage in [New::building, New::ready, New::accepting, New::accepted] {
        for (event, fast) in [(Event::Quit, false), (Event::Terminate, true)] {
            let mut new = stage(None, true);
            let actions = new.step(event.clone());
            assert_eq!(actions[..2], [Action::AnnounceStop(None), Action::LeaveListeners]);
            assert!(actions.contains(&Action::StopOthers { fast }), "{actions:?}");
            assert_eq!(terminated(&actions), if fast { 3 } else { 0 });
            assert!(!new.step(event).contains(&Action::LeaveListeners), "once");
            for late in [Event::Go, Event::Committed(1, 7), Event::Ready(1), Event::Abandoned] {
                assert_eq!(new.step(late.clone()), [], "{late:?} comes too late");
            }
            assert!(new.emptied().contains(&Action::Exit));
        }
    }
}

#[test]
fn told_to_stop_it_does_not_offer_itself_any_more() {
    let mut new = New::accepting(None, false);
    new.step(Event::Quit);
    for id in 1..=3 {
        assert_eq!(new.step(Event::Committed(id, 7)), []);
    }
}

#[test]
fn told_to_stop_before_it_learns_that_it_is_the_server_it_stops_the_server() {
    for word in [Event::Confirmed, Event::PredecessorGone] {
        let mut new = New::accepted(Some(1), false);
        new.step(Event::Quit);
        let actions = new.step(word);
        assert_eq!(actions, [Action::TakeOver, Action::StopOthers { fast: false }]);
        assert!(new.emptied().contains(&Action::Exit));
    }
}

#[test]
fn the_server_accepts_even_if_it_was_told_not_to_before() {
    let mut new = New::accepted(None, true);
    assert_eq!(new.step(Event::StopAccepting), [quit(1), quit(2), quit(3)]);
    new.step(Event::Gone(1, End::Code(0)));
    let actions = new.step(Event::Confirmed);
    assert_eq!((&actions[0], spawned(&actions)), (&Action::TakeOver, vec![0, 1, 2]));
    new.serves();
}

#[test]
fn as_the_server_it_stops_like_any_other() {
    let mut new = New::accepted(None, false);
    new.step(Event::Confirmed);
    let actions = new.step(Event::Quit);
    assert!(!actions.contains(&Action::LeaveListeners), "{actions:?}");
    assert_eq!(actions.last(), Some(&Action::CloseListeners));
    assert!(new.emptied().contains(&Action::Exit));
}

#[test]
fn no_upgrade_begins_before_it_is_the_server() {
    let mut new = New::accepted(None, false);
    let refusal = Some("this server is itself about to take over");
    assert_eq!(new.state.upgrade_refusal(), refusal);
    new.step(Event::Confirmed);
    assert_eq!(new.state.upgrade_refusal(), None);
}

#[path = "takeover_tests.rs"]
mod takeover;
