//! Every event in every state.

use std::time::Instant;

use super::super::change::RELOAD_DEADLINE;
use super::super::event::{Action, End, Event, Id, Plan};
use super::{BACKOFF_LIMIT, BACKOFF_STEP, HEALTHY, STOP_DEADLINE, State};

#[path = "state_rules_tests.rs"]
mod rules;

const IN_PLACE: Event = Event::Loaded(Plan { workers: 2, replace: false });
const REPLACE: Event = Event::Loaded(Plan { workers: 2, replace: true });

/// A master with two workers that serve.
fn serving(now: Instant) -> State {
    let mut state = State::new(2);
    let actions = state.step(Event::Start, now);
    assert_eq!(spawned(&actions), [(1, 0, 1), (2, 1, 1)]);
    for id in [1, 2] {
        assert_eq!(state.step(Event::Ready(id), now), [Action::Commit { id, generation: 1 }]);
        assert!(state.step(Event::Committed(id, 1), now).is_empty());
    }
    state
}

fn spawned(actions: &[Action]) -> Vec<(Id, usize, u64)> {
    let spawns = actions.iter().filter_map(|action| match action {
        Action::Spawn { id, slot, generation } => Some((*id, *slot, *generation)),
        _ => None,
    });
    spawns.collect()
}

fn quits(actions: &[Action]) -> Vec<(Id, bool)> {
    let quits = actions.iter().filter_map(|action| match action {
        Action::Quit { id, replaced } => Some((*id, *replaced)),
        _ => None,
    });
    quits.collect()
}

#[test]
fn start_logs_and_fills_every_slot() {
    let actions = State::new(1).step(Event::Start, Instant::now());
    let spawn = Action::Spawn { id: 1, slot: 0, generation: 1 };
    assert_eq!(actions, [Action::Notice("start worker processes"), spawn]);
}

#[test]
fn reload_in_place_is_two_phased_and_keeps_the_workers() {
    let now = Instant::now();
    let mut state = serving(now);
    let actions = state.step(Event::Reload, now);
    assert_eq!(actions, [Action::Notice("reconfiguring"), Action::Load]);
    assert_eq!(state.candidate(), 2);
    assert_eq!(state.step(IN_PLACE, now), [Action::Prepare(1), Action::Prepare(2)]);
    assert!(state.step(Event::Prepared(2, 2), now).is_empty());
    let [first, second] = [1, 2].map(|id| Action::Commit { id, generation: 2 });
    let commit = [Action::Adopt, first, second];
    assert_eq!(state.step(Event::Prepared(1, 2), now), commit);
    assert!(state.step(Event::Committed(1, 2), now).is_empty());
    assert_eq!(state.step(Event::Committed(2, 2), now), [Action::Answer(Ok(()))]);
    assert_eq!(state.deadline(), None);
    let respawn = state.step(Event::Gone(1, End::Signal(9)), now);
    assert_eq!(spawned(&respawn), [(3, 0, 2)]);
}

#[test]
fn a_bad_configuration_changes_nothing() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Reload, now);
    assert_eq!(state.step(Event::NotLoaded, now), [Action::Answer(Err(String::new()))]);
    assert_eq!(spawned(&state.step(Event::Gone(2, End::Code(0)), now)), [(3, 1, 1)]);
}

#[test]
fn one_refusal_aborts_for_all() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Reload, now);
    state.step(IN_PLACE, now);
    state.step(Event::Prepared(1, 2), now);
    let actions = state.step(Event::Refused(2, 2, "no".into()), now);
    let answer = Action::Answer(Err("no".into()));
    assert_eq!(actions, [Action::Abort(1), Action::Abort(2), Action::Discard, answer]);
    assert!(state.step(Event::Prepared(2, 2), now).is_empty(), "too late to matter");
}

#[test]
fn a_worker_that_dies_while_preparing_aborts_and_returns_with_the_old_generation() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Reload, now);
    state.step(IN_PLACE, now);
    let actions = state.step(Event::Gone(1, End::Signal(11)), now);
    assert!(actions.contains(&Action::Abort(2)) && actions.contains(&Action::Discard));
    assert_eq!(spawned(&actions), [(3, 0, 1)]);
}

#[test]
fn a_worker_that_dies_while_committing_returns_with_the_new_generation() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Reload, now);
    state.step(IN_PLACE, now);
    state.step(Event::Prepared(1, 2), now);
    state.step(Event::Prepared(2, 2), now);
    assert!(state.step(Event::Gone(1, End::Signal(11)), now).is_empty());
    let actions = state.step(Event::Committed(2, 2), now);
    assert_eq!(actions[0], Action::Answer(Ok(())));
    assert_eq!(spawned(&actions), [(3, 0, 2)]);
}

#[test]
fn workers_that_do_not_answer_are_not_waited_for_for_ever() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Reload, now);
    state.step(IN_PLACE, now);
    let late = now + RELOAD_DEADLINE;
    assert_eq!(state.deadline(), Some(late));
    assert!(matches!(state.step(Event::Tick, late).last(), Some(Action::Answer(Err(_)))));

    state.step(Event::Reload, late);
    state.step(IN_PLACE, late);
    state.step(Event::Prepared(1, 3), late);
    state.step(Event::Prepared(2, 3), late);
    state.step(Event::Committed(1, 3), late);
    let actions = state.step(Event::Tick, late + RELOAD_DEADLINE);
    assert_eq!(actions, [Action::Kill(2), Action::Answer(Ok(()))]);
}

#[test]
fn replacing_waits_for_the_new_before_sending_the_old_away() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Reload, now);
    let actions = state.step(Event::Loaded(Plan { workers: 3, replace: false }), now);
    assert_eq!(spawned(&actions), [(3, 0, 2), (4, 1, 2), (5, 2, 2)]);
    assert!(quits(&actions).is_empty());
    assert!(state.step(Event::Ready(3), now).is_empty());
    assert!(state.step(Event::Ready(5), now).is_empty());
    let actions = state.step(Event::Ready(4), now);
    assert_eq!(actions[0], Action::Adopt);
    let commits = [3, 4, 5].map(|id| Action::Commit { id, generation: 2 });
    assert_eq!(actions[1..], commits);
    state.step(Event::Committed(3, 2), now);
    state.step(Event::Committed(4, 2), now);
    let actions = state.step(Event::Committed(5, 2), now);
    assert_eq!(quits(&actions), [(1, true), (2, true)]);
    assert_eq!(actions.last(), Some(&Action::Answer(Ok(()))));
    assert!(state.step(Event::Gone(1, End::Code(0)), now).is_empty(), "not respawned");
    assert_eq!(spawned(&state.step(Event::Gone(5, End::Code(0)), now)), [(6, 2, 2)]);
}

#[test]
fn a_worker_that_becomes_ready_during_a_reload_first_serves_as_it_was_started() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Gone(1, End::Signal(9)), now);
    state.step(Event::Reload, now);
    assert_eq!(state.step(IN_PLACE, now), [Action::Prepare(2), Action::Prepare(3)]);
    assert_eq!(state.step(Event::Ready(3), now), [Action::Commit { id: 3, generation: 1 }]);
    assert!(state.step(Event::Committed(3, 1), now).is_empty());
    state.step(Event::Prepared(3, 2), now);
    assert_eq!(state.step(Event::Prepared(2, 2), now)[0], Action::Adopt);
}

#[test]
fn a_newcomer_that_dies_undoes_the_replacement() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Reload, now);
    state.step(REPLACE, now);
    state.step(Event::Ready(3), now);
    let actions = state.step(Event::Gone(4, End::Code(2)), now);
    assert_eq!(actions[0], Action::Fatal(4));
    assert_eq!(quits(&actions), [(3, true)]);
    assert!(actions.contains(&Action::Discard));
    assert!(spawned(&actions).is_empty());
    assert_eq!(state.step(Event::Gone(3, End::Code(0)), now), []);
    assert_eq!(spawned(&state.step(Event::Gone(1, End::Code(0)), now)), [(5, 0, 1)]);
}

#[test]
fn an_old_worker_that_dies_during_a_replacement_comes_back_only_if_it_is_undone() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Reload, now);
    state.step(REPLACE, now);
    assert!(state.step(Event::Gone(1, End::Signal(9)), now).is_empty());
    let actions = state.step(Event::Gone(3, End::Signal(9)), now);
    assert_eq!(spawned(&actions), [(5, 0, 1)]);
}

#[test]
fn a_reload_during_a_reload_is_remembered_once() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Reload, now);
    state.step(IN_PLACE, now);
    assert!(state.step(Event::Reload, now).is_empty());
    assert!(state.step(Event::Reload, now).is_empty());
    let actions = state.step(Event::Refused(1, 2, "no".into()), now);
    assert_eq!(actions.last(), Some(&Action::Load));
    let actions = state.step(Event::NotLoaded, now);
    assert_eq!(actions, [Action::Answer(Err(String::new()))]);
}

#[test]
fn respawn_backs_off_and_forgets_after_a_healthy_life() {
    let now = Instant::now();
    let mut state = serving(now);
    assert_eq!(spawned(&state.step(Event::Gone(1, End::Signal(11)), now)), [(3, 0, 1)]);
    assert!(state.step(Event::Gone(3, End::NotStarted), now).is_empty());
    assert_eq!(state.deadline(), Some(now + BACKOFF_STEP));
    assert!(state.step(Event::Tick, now).is_empty(), "not yet");
    let later = now + BACKOFF_STEP;
    assert_eq!(spawned(&state.step(Event::Tick, later)), [(4, 0, 1)]);
    let well = later + HEALTHY;
    assert_eq!(spawned(&state.step(Event::Gone(4, End::Signal(11)), well)), [(5, 0, 1)]);
    assert_eq!(super::backoff(60), BACKOFF_LIMIT);
}

#[test]
fn exit_code_two_is_fatal_for_the_slot() {
    let now = Instant::now();
    let mut state = serving(now);
    assert_eq!(state.step(Event::Gone(1, End::Code(2)), now), [Action::Fatal(1)]);
    assert_eq!(state.deadline(), None);
}

#[test]
fn quit_drains_closes_the_listeners_and_leaves_with_the_last_worker() {
    let now = Instant::now();
    let mut state = serving(now);
    let actions = state.step(Event::Quit, now);
    assert_eq!(quits(&actions), [(1, false), (2, false)]);
    assert_eq!(actions.last(), Some(&Action::CloseListeners));
    assert!(state.step(Event::Quit, now).is_empty());
    assert_eq!(state.deadline(), None, "draining has no deadline here");
    let refusal = Action::Refuse("the server is shutting down");
    assert_eq!(state.step(Event::Reload, now), [refusal]);
    assert!(state.step(Event::Gone(1, End::Signal(9)), now).is_empty());
    assert_eq!(state.step(Event::Gone(2, End::Code(0)), now), [Action::Exit]);
}

#[test]
fn terminate_kills_whoever_does_not_obey() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Quit, now);
    let actions = state.step(Event::Terminate, now);
    let all = [Action::StopOthers { fast: true }, Action::Terminate(1), Action::Terminate(2)];
    assert_eq!(actions, all);
    assert!(state.step(Event::Terminate, now).is_empty());
    state.step(Event::Gone(1, End::Code(0)), now);
    let late = now + STOP_DEADLINE;
    assert_eq!(state.deadline(), Some(late));
    assert_eq!(state.step(Event::Tick, late), [Action::Kill(2)]);
    assert!(state.step(Event::Tick, late).is_empty());
    assert_eq!(state.step(Event::Gone(2, End::Signal(9)), late), [Action::Exit]);
}

#[test]
fn quit_hurries_those_that_were_leaving_at_leisure() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Reload, now);
    state.step(REPLACE, now);
    for id in [3, 4] {
        state.step(Event::Ready(id), now);
    }
    state.step(Event::Committed(3, 2), now);
    assert_eq!(quits(&state.step(Event::Committed(4, 2), now)), [(1, true), (2, true)]);
    let all = [(1, false), (2, false), (3, false), (4, false)];
    assert_eq!(quits(&state.step(Event::Quit, now)), all);
}

#[test]
fn stopping_ends_a_reload_and_answers_everyone() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Reload, now);
    state.step(REPLACE, now);
    state.step(Event::Reload, now);
    let actions = state.step(Event::Quit, now);
    assert!(actions.contains(&Action::Refuse("the server is shutting down")));
    assert_eq!(quits(&actions).len(), 4);
    for id in 1..=3 {
        assert!(state.step(Event::Gone(id, End::Code(0)), now).is_empty());
    }
    assert_eq!(state.step(Event::Gone(4, End::Code(0)), now), [Action::Exit]);
}

#[test]
fn after_winch_nobody_is_started_until_a_reload() {
    let now = Instant::now();
    let mut state = serving(now);
    assert_eq!(quits(&state.step(Event::StopAccepting, now)), [(1, true), (2, true)]);
    assert!(state.step(Event::Gone(1, End::Code(0)), now).is_empty());
    assert!(state.step(Event::Gone(2, End::Code(0)), now).is_empty());
    state.step(Event::Reload, now);
    assert_eq!(spawned(&state.step(IN_PLACE, now)), [(3, 0, 2), (4, 1, 2)]);
    state.step(Event::Ready(3), now);
    assert_eq!(state.step(Event::Ready(4), now)[0], Action::Adopt);
    state.step(Event::Committed(3, 2), now);
    assert_eq!(state.step(Event::Committed(4, 2), now), [Action::Answer(Ok(()))]);
    assert_eq!(spawned(&state.step(Event::Gone(3, End::Code(0)), now)), [(5, 0, 2)]);
}

#[test]
fn while_all_workers_pause_a_new_configuration_is_adopted_at_once() {
    let now = Instant::now();
    let mut state = serving(now);
    for id in 1..=4 {
        // The second death of each is answered with a pause.
        state.step(Event::Gone(id, End::Signal(9)), now);
    }
    state.step(Event::Reload, now);
    assert_eq!(state.step(IN_PLACE, now), [Action::Adopt, Action::Answer(Ok(()))]);
    let respawned = spawned(&state.step(Event::Tick, now + BACKOFF_STEP));
    assert_eq!(respawned, [(5, 0, 2), (6, 1, 2)]);
}

#[test]
fn workers_given_up_get_another_chance_with_a_new_configuration() {
    let now = Instant::now();
    let mut state = serving(now);
    state.step(Event::Gone(1, End::Code(2)), now);
    state.step(Event::Reload, now);
    assert_eq!(spawned(&state.step(IN_PLACE, now)), [(3, 0, 2), (4, 1, 2)]);
    state.step(Event::Ready(3), now);
    let actions = state.step(Event::Ready(4), now);
    assert!(actions.contains(&Action::Adopt), "{actions:?}");
    state.step(Event::Committed(3, 2), now);
    assert_eq!(quits(&state.step(Event::Committed(4, 2), now)), [(2, true)]);
}

#[test]
fn reopening_is_possible_at_any_time() {
    let now = Instant::now();
    let mut state = serving(now);
    let reopen = [Action::Notice("reopening logs"), Action::ReopenLogs];
    assert_eq!(state.step(Event::Reopen, now), reopen);
    state.step(Event::Quit, now);
    assert_eq!(state.step(Event::Reopen, now), reopen);
}
