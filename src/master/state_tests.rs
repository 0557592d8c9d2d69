//! Every event in every state, and what may never happen whatever the order of events.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::change::RELOAD_DEADLINE;
use super::super::event::{Action, End, Event, Id, Plan};
use super::{BACKOFF_LIMIT, BACKOFF_STEP, HEALTHY, STOP_DEADLINE, State};

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
    assert_eq!(actions, [Action::Terminate(1), Action::Terminate(2)]);
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

fn any_event() -> impl Strategy<Value = Event> {
    let id = 1..8_u64;
    let generation = 1..5_u64;
    let end = prop_oneof![
        Just(End::Code(0)),
        Just(End::Code(2)),
        Just(End::Signal(9)),
        Just(End::NotStarted)
    ];
    let plan = (0..4_usize, any::<bool>());
    prop_oneof![
        1 => Just(Event::Quit),
        1 => Just(Event::Terminate),
        1 => Just(Event::StopAccepting),
        6 => Just(Event::Reload),
        1 => Just(Event::Reopen),
        6 => Just(Event::Tick),
        6 => plan.prop_map(|(workers, replace)| Event::Loaded(Plan { workers, replace })),
        2 => Just(Event::NotLoaded),
        8 => id.clone().prop_map(Event::Ready),
        12 => (id.clone(), generation.clone()).prop_map(|(i, g)| Event::Prepared(i, g)),
        2 => (id.clone(), generation.clone())
            .prop_map(|(i, g)| Event::Refused(i, g, "no".into())),
        12 => (id.clone(), generation).prop_map(|(i, g)| Event::Committed(i, g)),
        4 => (id, end).prop_map(|(i, e)| Event::Gone(i, e)),
    ]
}

/// What an observer of the actions believes; every rule is checked as they come.
#[derive(Default)]
struct Observer {
    alive: Vec<Id>,
    stopping: bool,
    loading: bool,
    candidate: bool,
    waiting: usize,
    exited: bool,
}

impl Observer {
    fn sees(&mut self, action: &Action) {
        assert!(!self.exited, "{action:?} after the exit");
        match action {
            Action::Load => {
                assert!(!self.loading && !self.candidate, "two reloads at once");
                assert!(!self.stopping, "a reload after the stop");
                self.loading = true;
            }
            Action::Spawn { id, .. } => {
                assert!(!self.stopping, "a worker started after the stop");
                assert!(!self.alive.contains(id));
                self.alive.push(*id);
            }
            Action::Adopt | Action::Discard => {
                assert!(self.candidate, "{action:?} without a candidate");
                self.candidate = false;
            }
            Action::Answer(_) => assert!(!self.candidate, "answered too early"),
            Action::Refuse(_) => self.waiting = 0,
            Action::Prepare(id)
            | Action::Commit { id, .. }
            | Action::Abort(id)
            | Action::Quit { id, .. }
            | Action::Terminate(id)
            | Action::Kill(id) => assert!(self.alive.contains(id), "{action:?} to the dead"),
            Action::Exit => {
                assert!(self.stopping && self.alive.is_empty());
                self.exited = true;
            }
            // Other masters are not on this stage.
            _ => {}
        }
    }

    fn told(&mut self, event: &Event) {
        match event {
            Event::Quit | Event::Terminate => self.stopping = true,
            Event::Loaded(_) if self.loading => {
                self.loading = false;
                self.candidate = true;
            }
            Event::NotLoaded => self.loading = false,
            Event::Gone(id, _) => self.alive.retain(|alive| alive != id),
            _ => {}
        }
    }
}

proptest! {
    /// Loading is synchronous in the loop, so its answer always follows `Load` at once.
    #[test]
    fn whatever_happens(
        events in prop::collection::vec((any_event(), 0..3_000_u64, any::<bool>()), 1..60),
    ) {
        let mut now = Instant::now();
        let mut state = State::new(2);
        let mut observer = Observer::default();
        let mut queue = vec![Event::Start];
        for (event, millis, valid) in events {
            if !matches!(event, Event::Loaded(_) | Event::NotLoaded) {
                queue.push(event);
            }
            while let Some(event) = queue.pop() {
                if observer.exited {
                    return Ok(());
                }
                observer.told(&event);
                let actions = state.step(event, now);
                for action in &actions {
                    observer.sees(action);
                    if *action == Action::Load {
                        let plan = Plan { workers: (millis % 4) as usize, replace: millis % 3 == 0 };
                        queue.push(if valid { Event::Loaded(plan) } else { Event::NotLoaded });
                    }
                }
                let alive: Vec<Id> = state.workers().map(|(id, _)| id).collect();
                let mut seen = observer.alive.clone();
                seen.sort_unstable();
                prop_assert_eq!(alive, seen);
            }
            now += Duration::from_millis(millis);
        }
    }

    /// Once it stops, the master leaves when its workers do, and the clock alone ends a fast stop.
    #[test]
    fn a_stop_ends(events in prop::collection::vec(any_event(), 0..40), fast in any::<bool>()) {
        let now = Instant::now();
        let mut state = State::new(2);
        state.step(Event::Start, now);
        for event in events {
            state.step(event, now);
        }
        let stop = if fast { Event::Terminate } else { Event::Quit };
        let mut last = state.step(stop, now);
        if fast {
            state.step(Event::Tick, now + STOP_DEADLINE);
        }
        let left: Vec<Id> = state.workers().map(|(id, _)| id).collect();
        prop_assert!(state.workers().all(|(_, leaving)| leaving));
        let any_left = !left.is_empty();
        for id in left {
            last = state.step(Event::Gone(id, End::Signal(9)), now);
        }
        prop_assert!(!any_left || last.contains(&Action::Exit));
    }
}
