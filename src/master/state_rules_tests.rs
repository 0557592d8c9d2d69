//! What may never happen, whatever the order of events.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{STOP_DEADLINE, State};
use crate::master::event::{Action, End, Event, Id, Milestone, Order, Plan, Sample};

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![3 => worker_event(), 2 => upgrade_event()]
}

fn any_end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Code(0)), Just(End::Code(2)), Just(End::Signal(9)), Just(End::NotStarted)]
}

fn worker_event() -> impl Strategy<Value = Event> {
    let id = 1..12_u64;
    let generation = 1..5_u64;
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
        4 => id.clone().prop_map(Event::Leaving),
        4 => (id, any_end()).prop_map(|(i, e)| Event::Gone(i, e)),
    ]
}

fn upgrade_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => any_order().prop_map(Event::Upgrade),
        6 => Just(Event::SuccessorReady),
        6 => Just(Event::SuccessorAccepting),
        1 => Just(Event::SuccessorTrouble("no".into())),
        2 => any_end().prop_map(Event::SuccessorGone),
        1 => Just(Event::Undo),
        3 => (1..30_u64).prop_map(Event::UndoneGone),
        1 => any::<bool>().prop_map(|fast| Event::Hurry { fast }),
        1 => (0..2_usize).prop_map(Event::Retired),
        1 => prop_oneof![Just(Event::Go), Just(Event::Confirmed), Just(Event::Abandoned)],
    ]
}

fn any_order() -> impl Strategy<Value = Order> {
    let time = || prop_oneof![Just(0_u64), Just(2)].prop_map(Duration::from_secs);
    (0..4_u8, time(), time()).prop_map(|(kind, watch, window)| Order {
        manual: kind > 1,
        foreign: kind == 3,
        dry_run: kind == 1 && watch.is_zero(),
        patience: Duration::from_secs(4),
        watch,
        window,
    })
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
    masters: Masters,
}

impl Observer {
    fn sees(&mut self, action: &Action, now: Instant) {
        assert!(!self.exited, "{action:?} after the exit");
        self.masters.sees(action, now);
        match action {
            Action::Load => {
                assert!(!self.loading && !self.candidate, "two reloads at once");
                assert!(!self.stopping, "a reload after the stop");
                self.loading = true;
            }
            Action::Spawn { id, .. } => {
                assert!(!self.stopping, "a worker started after the stop");
                assert!(!self.masters.handed, "a worker started after the server was handed over");
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
            Action::StartSuccessor | Action::LetSuccessorAccept => assert!(!self.stopping),
            Action::Exit => {
                assert!((self.stopping || self.masters.handed) && self.alive.is_empty());
                self.exited = true;
            }
            _ => {}
        }
    }

    fn told(&mut self, event: &Event, now: Instant, state: &State) {
        self.masters.told(event, now);
        match event {
            Event::Quit | Event::Terminate => self.stopping = true,
            // The new master was told to stop, and that meant both.
            Event::Hurry { .. } if state.running() && state.can_undo() => self.stopping = true,
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

/// The same for what is about other masters.
#[derive(Default)]
struct Masters {
    /// The last order given.
    order: Option<Order>,
    /// There is a successor in hand.
    successor: bool,
    /// Both accept.
    both: bool,
    /// The successor is the server; and until when this one may return.
    handed: bool,
    window: Option<Instant>,
    undone: Vec<Id>,
    /// An upgrade was begun, and nobody knows yet how it ended.
    open: bool,
    by_person: bool,
}

impl Masters {
    fn sees(&mut self, action: &Action, now: Instant) {
        match action {
            Action::StartSuccessor => {
                assert!(!self.successor && !self.handed, "two successors");
                assert!(!self.open, "nobody was told how the last one ended");
                (self.successor, self.both, self.open) = (true, false, true);
            }
            Action::LetSuccessorAccept => assert!(self.successor && !self.both),
            Action::ShowOld => {
                assert!(self.successor && !self.both);
                self.both = true;
            }
            Action::Measure => assert!(self.successor && self.both && !self.handed),
            Action::CommitSuccessor { .. } => {
                assert!(self.successor && self.both && !self.handed);
                let window = self.order.map_or(Duration::ZERO, |order| order.window);
                let may_return = !self.by_person && !window.is_zero();
                self.window = may_return.then_some(now + window);
                self.handed = true;
            }
            Action::DismissSuccessor(id, _) => {
                assert!(self.successor && !self.handed, "the server is sent away");
                self.successor = false;
                self.undone.push(*id);
            }
            Action::ForgetSuccessor => assert!(!self.successor),
            Action::KillSuccessor(id) => assert!(self.undone.contains(id)),
            Action::Return => {
                assert!(self.handed && !self.successor);
                (self.handed, self.window) = (false, None);
                assert!(!self.open, "nobody was told how it ended");
            }
            Action::Tell(milestone) => self.hears(milestone),
            Action::Exit => {
                let window = self.window.filter(|_| self.successor);
                assert!(self.undone.is_empty() && window.is_none(), "it left too early");
                assert!(!self.open, "nobody was told how it ended");
            }
            _ => {}
        }
    }

    fn hears(&mut self, milestone: &Milestone) {
        match milestone {
            Milestone::Done => {}
            Milestone::Started | Milestone::Ready | Milestone::Overlap => assert!(self.open),
            Milestone::Committed
            | Milestone::Rehearsed
            | Milestone::Refused(_)
            | Milestone::Late(_)
            | Milestone::Undone(_) => {
                assert!(self.open, "{milestone:?} after the end");
                assert!(self.handed || *milestone != Milestone::Committed);
                assert!(!self.handed || !self.successor || *milestone == Milestone::Committed);
                self.open = false;
            }
        }
    }

    fn told(&mut self, event: &Event, now: Instant) {
        let person = matches!(event, Event::Quit | Event::Terminate);
        match event {
            Event::Upgrade(order) if !self.successor && !self.handed => self.order = Some(*order),
            Event::SuccessorStarted => self.both = self.order.is_some_and(|order| order.foreign),
            Event::SuccessorGone(_) => self.successor = false,
            Event::UndoneGone(id) => self.undone.retain(|undone| undone != id),
            _ => {}
        }
        let over = self.window.is_some_and(|at| at <= now) && *event == Event::Tick;
        if self.handed && (over || person || matches!(event, Event::Hurry { .. })) {
            self.window = None;
        }
        self.by_person = person;
    }

    /// Whether the loop would pass the event on: nothing is heard of processes that there are not.
    fn is_possible(&self, event: &Event) -> bool {
        match event {
            Event::SuccessorReady
            | Event::SuccessorAccepting
            | Event::SuccessorTrouble(_)
            | Event::SuccessorGone(_) => self.successor,
            Event::UndoneGone(id) => self.undone.contains(id),
            _ => true,
        }
    }
}

/// Most events are about workers and masters that there are; a few about those of the past.
fn aimed(event: Event, observer: &Observer) -> Event {
    let at = |id: Id, there: &[Id]| match there.len() as Id {
        0 => id,
        _ if id > 8 => id - 8,
        count => there[usize::try_from(id % count).unwrap()],
    };
    let alive = |id| at(id, &observer.alive);
    match event {
        Event::Ready(id) => Event::Ready(alive(id)),
        Event::Prepared(id, generation) => Event::Prepared(alive(id), generation),
        Event::Committed(id, generation) => Event::Committed(alive(id), generation),
        Event::Leaving(id) => Event::Leaving(alive(id)),
        Event::Gone(id, end) => Event::Gone(alive(id), end),
        Event::UndoneGone(id) => Event::UndoneGone(at(id % 8, &observer.masters.undone)),
        event => event,
    }
}

/// What the loop answers at once.
fn answer(action: &Action, millis: u64, well: bool) -> Option<Event> {
    let plan = Plan { workers: (millis % 4) as usize, replace: millis.is_multiple_of(3) };
    let bad = Sample { new_requests: 100, new_failed: 100, ..Sample::default() };
    Some(match action {
        Action::Load if well => Event::Loaded(plan),
        Action::Load => Event::NotLoaded,
        Action::StartSuccessor if well => Event::SuccessorStarted,
        Action::StartSuccessor => Event::SuccessorGone(End::NotStarted),
        Action::LetSuccessorAccept if !well => Event::SuccessorTrouble("disk full".into()),
        Action::Measure => Event::Measured(if well { Sample::default() } else { bad }),
        Action::CommitSuccessor { .. } => Event::Retired(0),
        _ => return None,
    })
}

proptest! {
    #[test]
    fn whatever_happens(
        events in prop::collection::vec((any_event(), 0..2_000_u64, prop::bool::weighted(0.8)), 1..80),
        foreground in any::<bool>(),
    ) {
        let mut now = Instant::now();
        let mut state = State::new(2).in_foreground(foreground);
        let mut observer = Observer::default();
        let mut queue = VecDeque::from([Event::Start]);
        for (event, millis, well) in events {
            let event = aimed(event, &observer);
            let answers = matches!(event, Event::Loaded(_) | Event::NotLoaded);
            if !answers && observer.masters.is_possible(&event) {
                queue.push_back(event);
            }
            let is_tick = queue.back() == Some(&Event::Tick);
            while let Some(event) = queue.pop_front() {
                if observer.exited {
                    return Ok(());
                }
                observer.told(&event, now, &state);
                let actions = state.step(event, now);
                for action in &actions {
                    observer.sees(action, now);
                    queue.extend(answer(action, millis, well));
                }
                let alive: Vec<Id> = state.workers().map(|(id, _)| id).collect();
                let mut seen = observer.alive.clone();
                seen.sort_unstable();
                prop_assert_eq!(alive, seen);
            }
            let next = state.deadline();
            prop_assert!(!is_tick || next.is_none_or(|at| at > now), "the loop would spin");
            now += Duration::from_millis(millis);
        }
    }

    /// Once it stops, the master leaves when its workers and the successors that it has sent away do,
    /// and the clock alone ends a fast stop.
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
        let any_left = !left.is_empty() || !state.undone.is_empty();
        for id in left {
            last = state.step(Event::Gone(id, End::Signal(9)), now);
        }
        for id in state.undone.keys().copied().collect::<Vec<_>>() {
            last = state.step(Event::UndoneGone(id), now);
        }
        prop_assert!(!any_left || last.contains(&Action::Exit));
    }
}
