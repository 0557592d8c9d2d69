//! Both masters of an upgrade on one stage, with their workers, the words and signals between them and
//! the pid file, in whatever order chance has it: the steps, and what has to hold.
//!
//! Must not run anything: no process, no file, no clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::master::event::{End, Event, Generation, Id, Milestone, Order};
use crate::master::state::State;

#[path = "takeover_stage_tests.rs"]
mod stage;

const KILLED: End = End::Signal(9);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Old,
    New,
}
use Who::{New, Old};

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// For so long all goes as it should.
    Smooth(usize),
    /// The next word of the other master arrives.
    Hear(Who),
    /// One of the signals sent by a process arrives.
    Signal(Who, usize),
    /// A worker does what it is at.
    Work(Who, usize),
    /// A worker crashes, or finds that it cannot serve.
    Fall(Who, usize, bool),
    Clock(u64),
    Reload(Who),
    Stop(Who, bool),
    StopAccepting(Who),
    Undo,
    Kill(Who),
}

fn step() -> impl Strategy<Value = Step> {
    let who = || prop_oneof![Just(Old), Just(New)];
    let some = || 0..4_usize;
    let time =
        prop_oneof![10 => 0..300_u64, 5 => Just(1_000), 5 => Just(10_000), 1 => Just(60_000)];
    prop_oneof![
        8 => (1..9_usize).prop_map(Step::Smooth),
        20 => who().prop_map(Step::Hear),
        12 => (who(), some()).prop_map(|(who, which)| Step::Signal(who, which)),
        24 => (who(), some()).prop_map(|(who, which)| Step::Work(who, which)),
        3 => (who(), some(), any::<bool>()).prop_map(|(who, which, fatal)| Step::Fall(who, which, fatal)),
        8 => time.prop_map(Step::Clock),
        3 => who().prop_map(Step::Reload),
        1 => (who(), any::<bool>()).prop_map(|(who, fast)| Step::Stop(who, fast)),
        2 => who().prop_map(Step::StopAccepting),
        1 => Just(Step::Undo),
        1 => who().prop_map(Step::Kill),
    ]
}

/// How the upgrade is ordered, and what will go wrong with it.
#[derive(Debug, Clone)]
struct Setup {
    order: Order,
    canary: Option<usize>,
    foreground: bool,
    /// Whether the old pid file can be kept under another name.
    keeps: bool,
    /// Whether the new program does as well as the old one.
    good: bool,
}

fn setup() -> impl Strategy<Value = Setup> {
    let time = |most| prop_oneof![Just(0_u64), Just(most)].prop_map(Duration::from_secs);
    let rarely = || prop::bool::weighted(0.1);
    let canary = prop::option::weighted(0.2, 1..3_usize);
    let kind = (any::<bool>(), any::<bool>(), rarely(), time(10), time(60));
    (kind, canary, rarely(), rarely()).prop_map(|(kind, canary, full, bad)| {
        let (manual, foreground, dry_run, watch, window) = kind;
        let patience = Duration::from_secs(30);
        let dry_run = dry_run && !manual;
        Setup {
            order: Order { manual, foreign: false, dry_run, patience, watch, window },
            canary: canary.filter(|_| !manual),
            foreground: foreground && !manual,
            keeps: !full,
            good: !bad,
        }
    })
}

/// What a worker was told and has not done yet.
#[derive(Debug)]
enum Duty {
    BeReady,
    Commit(Generation),
    Prepare(Generation),
    Leave,
}

#[derive(Debug)]
struct Side {
    state: State,
    alive: bool,
    workers: BTreeMap<Id, VecDeque<Duty>>,
    /// What the other master has said, in this order.
    words: VecDeque<Event>,
    /// What processes have sent or left behind, in any order.
    signals: Vec<Event>,
    /// The exit code.
    code: i32,
    /// It has loaded a configuration since the last `HUP`.
    loaded: bool,
    loads: usize,
}

impl Side {
    fn new(state: State) -> Side {
        Side {
            state,
            alive: true,
            workers: BTreeMap::new(),
            words: VecDeque::new(),
            signals: Vec::new(),
            code: 0,
            loaded: false,
            loads: 0,
        }
    }

    fn runs(&self) -> bool {
        self.alive && self.state.running()
    }

    /// Its workers accept, or will without another word.
    fn serves(&self) -> bool {
        let state = &self.state;
        let due = || state.succession.is_none() && state.deadline().is_some();
        let workers = !state.present().is_empty() || !state.given_up() || due();
        self.runs() && !state.is_armed() && state.accepting && workers
    }

    fn is_heir(&self) -> bool {
        self.runs() && self.state.is_heir()
    }

    fn is_server(&self) -> bool {
        self.runs() && !self.state.is_heir()
    }

    /// After the commit: whether it will return if the new one dies.
    fn may_return(&self) -> bool {
        self.alive && self.state.has_handed_over() && self.state.has_to_stay()
    }

    fn is_told(&self, what: fn(&Event) -> bool) -> bool {
        self.alive && (self.words.iter().any(what) || self.signals.iter().any(what))
    }
}

/// What the old master has of the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hand {
    Empty,
    Full,
    Undone(Id),
}

#[derive(Debug)]
struct Stage {
    setup: Setup,
    now: Instant,
    old: Side,
    new: Side,
    hand: Hand,
    /// Whom the pid file names.
    pid: Option<Who>,
    kept: bool,
    oldbin: bool,
    /// The new master was told to accept.
    went: bool,
    /// It has links to those before it.
    linked: bool,
    /// The new master was told to stop before it was the server.
    declined: bool,
    /// A person wants no server at all.
    stopped: bool,
    /// The only server was killed.
    lost: bool,
    /// Somebody was killed who may have had a reload in mind.
    forgot: bool,
    wanted: bool,
    committed: bool,
    outcomes: Vec<Milestone>,
}

impl Stage {
    /// The old one serves, and has begun the upgrade.
    fn new(setup: Setup) -> Stage {
        let new = State::heir(2, 2, setup.canary, setup.order.manual);
        let old = Side::new(State::new(2).in_foreground(setup.foreground));
        let new = Side { alive: false, ..Side::new(new.in_foreground(setup.foreground)) };
        let order = setup.order;
        let mut stage = Stage {
            setup,
            now: Instant::now(),
            old,
            new,
            hand: Hand::Empty,
            pid: Some(Old),
            kept: false,
            oldbin: false,
            went: false,
            linked: false,
            declined: false,
            stopped: false,
            lost: false,
            forgot: false,
            wanted: false,
            committed: false,
            outcomes: Vec::new(),
        };
        stage.take(Old, Event::Start);
        stage.settle();
        stage.take(Old, Event::Upgrade(order));
        stage
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Clock(millis) => {
                // The end of a process is known before the window ends.
                if !self.old.may_return() || self.new.alive {
                    self.now += Duration::from_millis(millis);
                    self.tick(Old);
                    self.tick(New);
                }
            }
            Step::Smooth(rounds) => {
                for _ in 0..rounds {
                    self.round();
                }
            }
            Step::Hear(who) => self.hear(who),
            Step::Signal(who, which) => self.signal(who, which),
            Step::Undo if self.old.alive && self.old.state.can_undo() => {
                self.take(Old, Event::Undo);
            }
            Step::Undo => {}
            Step::Work(who, ..)
            | Step::Fall(who, ..)
            | Step::Reload(who)
            | Step::Stop(who, _)
            | Step::StopAccepting(who)
            | Step::Kill(who)
                if !self.side(who).alive => {}
            Step::Work(who, which) => self.work(who, which),
            Step::Fall(who, which, fatal) => self.fall(who, which, fatal),
            Step::Reload(who) => {
                if self.side(who).runs() && !self.setup.order.manual {
                    self.wanted = true;
                    (self.old.loaded, self.new.loaded) = (false, false);
                }
                self.take(who, Event::Reload);
            }
            Step::Stop(who, fast) => self.stop(who, fast),
            Step::StopAccepting(who) => {
                // One of both has to.
                let both = self.old.serves() && self.new.serves() && self.new.is_heir();
                if both && self.old.state.in_manual_overlap() {
                    self.take(who, Event::StopAccepting);
                }
            }
            Step::Kill(who) => self.kill(who),
        }
    }

    /// Everything that is under way comes to its end, and nothing more happens.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let idle = [Old, New].map(|who| self.side(who).is_idle());
            if idle == [true, true] {
                let deadlines = [Old, New].map(|who| self.side(who).deadline());
                let Some(next) = deadlines.into_iter().flatten().min() else { return };
                self.now = self.now.max(next);
                self.tick(Old);
                self.tick(New);
            }
            self.round();
        }
        panic!("there is no end to it");
    }

    fn round(&mut self) {
        for who in [Old, New] {
            self.signal(who, 0);
            self.hear(who);
            for which in (0..self.side(who).workers.len()).rev() {
                self.work(who, which);
            }
            self.check();
        }
    }
}

impl Side {
    fn is_idle(&self) -> bool {
        let idle = self.words.is_empty() && self.signals.is_empty();
        !self.alive || idle && self.workers.values().all(VecDeque::is_empty)
    }

    fn deadline(&self) -> Option<Instant> {
        self.state.deadline().filter(|_| self.alive)
    }
}

impl Stage {
    /// What has to hold at every moment.
    fn check(&self) {
        assert!(!(self.old.is_server() && self.new.is_server()), "two servers");
        assert!(self.outcomes.iter().filter(|outcome| is_last(outcome)).count() <= 1);
        if self.stopped || self.lost {
            return;
        }
        assert!(self.old.serves() || self.new.serves() || self.is_about_to_serve(), "no server");
        let right = match self.pid {
            Some(Old) => self.old.alive || self.new.is_told(|word| *word == Event::PredecessorGone),
            // It came late, and the old one is about to hear of it.
            Some(New) if matches!(self.hand, Hand::Undone(_)) => {
                self.old_hears_of_the_end()
                    || self.old.is_told(|word| *word == Event::SuccessorAccepting)
            }
            Some(New) => self.new.alive || self.old_hears_of_the_end(),
            None => false,
        };
        assert!(right, "the pid file names {:?}", self.pid);
    }

    fn old_hears_of_the_end(&self) -> bool {
        self.old.is_told(|event| matches!(event, Event::SuccessorGone(_)))
    }

    /// A word or a signal is on its way that makes one of them serve.
    fn is_about_to_serve(&self) -> bool {
        let given =
            |word: &Event| matches!(word, Event::Go | Event::Confirmed | Event::PredecessorGone);
        let new = self.new.is_heir() && self.new.is_told(given);
        let trouble =
            |word: &Event| matches!(word, Event::SuccessorTrouble(_) | Event::Hurry { .. });
        let waits = self.old.runs() || self.old.may_return();
        let old = waits && (self.old_hears_of_the_end() || self.old.is_told(trouble));
        new || old
    }

    /// What has to hold when everything has come to its end.
    fn verdict(&self) {
        let outcomes = self.outcomes.iter().filter(|outcome| is_last(outcome)).count();
        let decided = outcomes == 1 || self.old.state.in_manual_overlap();
        assert!(decided || self.forgot, "{:?}", self.outcomes);
        if self.stopped || self.lost {
            assert!(!self.old.alive && !self.new.alive, "somebody stayed");
            return;
        }
        assert_ne!(self.old.is_server(), self.new.is_server(), "one server");
        let (mut server, mut other, mut name) = (&self.old, &self.new, Old);
        if self.new.is_server() {
            (server, other, name) = (other, server, New);
        }
        let both = self.old.alive && self.old.state.in_manual_overlap();
        assert!(server.serves() || both);
        assert_eq!(other.alive, both);
        assert!(self.oldbin == both || self.forgot);
        assert_eq!(self.pid, Some(if both { New } else { name }));
        assert!(server.loaded || !self.wanted || self.forgot, "a reload was forgotten");
    }
}

/// Whether an upgrade ends with this.
fn is_last(milestone: &Milestone) -> bool {
    !matches!(
        milestone,
        Milestone::Started | Milestone::Ready | Milestone::Overlap | Milestone::Done
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(600)))]

    #[test]
    fn there_is_always_a_server(
        setup in setup(),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut stage = Stage::new(setup);
        for step in steps {
            stage.perform(step);
            stage.check();
        }
        stage.settle();
        stage.verdict();
    }
}
