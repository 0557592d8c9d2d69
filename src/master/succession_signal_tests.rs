//! What the signals mean to the old master while an upgrade is in hand, and after it.

use super::*;

#[test]
fn in_manual_overlap_winch_sends_the_workers_away_and_hup_takes_them_back() {
    let mut old = Old::overlap(PERSON, false);
    assert_eq!(old.left(), None, "a person has all the time");
    assert_eq!(old.step(Event::StopAccepting), [quit(1), quit(2)]);
    assert_eq!(old.emptied(), []);
    let actions = old.step(Event::Reload);
    assert_eq!((&actions[0], spawned(&actions)), (&BEGIN, vec![(3, 0), (4, 1)]));
    assert_eq!(actions.last(), Some(&BUSY));
    assert_eq!(old.step(Event::Reload), [BUSY], "one set of workers is enough");
    let actions = old.step(Event::SuccessorGone(End::Code(0)));
    assert_eq!(actions, [Action::ForgetSuccessor, undone("")], "nor is it a reload afterwards");
}

#[test]
fn after_winch_the_workers_are_back_as_soon_as_the_new_master_is_gone() {
    for end in [End::Code(0), End::Signal(15), End::Signal(9)] {
        let mut old = Old::overlap(PERSON, false);
        old.step(Event::StopAccepting);
        let actions = old.step(Event::SuccessorGone(end));
        assert_eq!(actions[..3], [Action::ForgetSuccessor, undone(""), BEGIN]);
        assert_eq!(spawned(&actions), [(3, 0), (4, 1)]);
    }
    let mut old = Old::overlap(PERSON, false);
    old.step(Event::StopAccepting);
    assert_eq!(spawned(&old.step(Event::SuccessorTrouble("crash".into()))).len(), 2);
}

#[test]
fn told_to_quit_while_both_accept_the_old_one_hands_over() {
    for order in [PERSON, FOREIGN, CLOCK] {
        let stage = if order.foreign { Old::starting } else { Old::overlap };
        let mut old = stage(order, false);
        let actions = old.step(Event::Quit);
        assert_eq!(actions, [KEEP, quit(1), quit(2)]);
        old.closed();
        assert_eq!(old.left(), None, "a person is not second-guessed");
        assert_eq!(old.step(Event::SuccessorGone(CRASH)), [Action::ForgetSuccessor]);
        assert_eq!(old.emptied().last(), Some(&Action::Exit));
    }
}

#[test]
fn told_to_terminate_while_both_accept_the_old_one_hands_over_and_is_gone() {
    for order in [PERSON, FOREIGN, CLOCK] {
        let stage = if order.foreign { Old::starting } else { Old::overlap };
        let mut old = stage(order, false);
        let actions = old.step(Event::Terminate);
        assert_eq!(actions[0], KEEP);
        assert!(actions.contains(&told(Milestone::Committed)), "{actions:?}");
        assert!(actions.ends_with(&[Action::Terminate(1), Action::Terminate(2)]));
        assert!(!actions.iter().any(|action| matches!(action, Action::StopOthers { .. })));
        assert_eq!(old.after(STOP_DEADLINE).step(Event::Tick), [Action::Kill(1), Action::Kill(2)]);
        assert_eq!(old.emptied().last(), Some(&Action::Exit));
    }
}

#[test]
fn after_winch_quit_leaves_nothing_to_wait_for() {
    let mut old = Old::overlap(PERSON, false);
    old.step(Event::StopAccepting);
    old.emptied();
    let actions = old.step(Event::Quit);
    assert_eq!(actions[..2], [KEEP, told(Milestone::Committed)]);
    assert_eq!(actions[2..], [told(Milestone::Done), Action::Exit]);
}

/// Where the pid file still names the old one, and in the foreground always, a stop is for all.
fn stops_all(mut old: Old, fast: bool) {
    let accepted = old.state.succession.as_ref().is_some_and(|it| it.deadline().is_none())
        || old.left() == Some(LOOK_EVERY);
    let actions = old.step(if fast { Event::Terminate } else { Event::Quit });
    assert_eq!(actions[0], dismissed(3, STOPPING));
    assert_eq!(actions[1], if accepted { undone(STOPPING) } else { refused(STOPPING) });
    assert!(actions.contains(&Action::StopOthers { fast }), "{actions:?}");
    assert!(!actions.contains(&KEEP) && spawned(&actions).is_empty(), "{actions:?}");
    assert!(old.state.workers().all(|(_, leaving)| leaving));
    if fast {
        let killed = old.after(STOP_DEADLINE).step(Event::Tick);
        assert!(killed.contains(&Action::KillSuccessor(3)), "{killed:?}");
    }
    assert!(!old.emptied().contains(&Action::Exit), "the new master is still there");
    assert_eq!(old.step(Event::UndoneGone(3)), [Action::Exit]);
    assert_eq!(old.left(), None);
}

#[test]
fn a_stop_before_both_accept_or_in_the_foreground_is_the_end_of_both() {
    for fast in [false, true] {
        for stage in [Old::starting, Old::going] {
            stops_all(stage(CLOCK, false), fast);
            stops_all(stage(PERSON, false), fast);
            stops_all(stage(CLOCK, true), fast);
        }
        stops_all(Old::overlap(CLOCK, true), fast);
    }
}

#[test]
fn nobody_is_started_to_be_stopped() {
    for event in [Event::Quit, Event::Terminate] {
        let mut old = Old::starting(PERSON, false);
        old.step(Event::StopAccepting);
        old.emptied();
        assert_eq!(spawned(&old.step(event)), []);
    }
}

#[test]
fn a_reload_that_was_remembered_is_forgotten_by_a_stop() {
    let mut old = Old::starting(CLOCK, false);
    old.step(Event::Reload);
    let actions = old.step(Event::Quit);
    assert!(!actions.contains(&Action::Load), "{actions:?}");
    old.emptied();
    assert_eq!(old.step(Event::UndoneGone(3)), [Action::Exit]);
}

#[test]
fn told_once_more_a_retired_master_hurries() {
    let mut old = Old::committed(false);
    let actions = old.step(Event::Quit);
    assert!(actions.ends_with(&[1, 2].map(|id| Action::Quit { id, replaced: false })));
    assert_eq!(old.left(), None, "and does not wait for the window");
    assert_eq!(old.emptied().last(), Some(&Action::Exit));

    let mut old = Old::committed(false);
    let actions = old.step(Event::Terminate);
    assert!(actions.ends_with(&[Action::Terminate(1), Action::Terminate(2)]));
    assert_eq!(old.emptied().last(), Some(&Action::Exit));

    let mut old = Old::committed(false);
    old.emptied();
    assert_eq!(old.step(Event::Quit).last(), Some(&Action::Exit));
}

#[test]
fn a_retired_master_reopens_its_logs_and_ignores_the_rest() {
    let mut old = Old::committed(false);
    assert_eq!(old.step(Event::Reopen).last(), Some(&Action::ReopenLogs));
    assert_eq!(old.step(Event::StopAccepting), []);
    assert_eq!(old.step(Event::SuccessorTrouble("a worker has ended".into())), []);
}
