//! The switches of a master without workers: what is written, put in force, told and waited for.

use std::os::unix::fs::MetadataExt;

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::config::Options;
use crate::control::maintenance::{Barrier, Proof, Wish};
use crate::log::{ErrorLog, Files};
use crate::master::Setup;
use crate::master::event::{End, Event};
use crate::master::generation::{Base, Generation};
use crate::master::spawn::{Launch, Life};
use crate::signals::Signal;
use crate::zone::gates::Class;

/// A worker that waits for nothing but its end.
fn idle(channel: OwnedFd) -> Life {
    Box::pin(async move {
        std::future::pending::<()>().await;
        drop(channel);
        0
    })
}

struct Stage {
    dir: tempfile::TempDir,
    master: Master,
}

fn master(dir: &Path) -> io::Result<Master> {
    let options = Options {
        prefix: dir.to_owned(),
        conf_file: dir.join("c"),
        globals: None,
        error_log: None,
        control: None,
    };
    let mut files = Files::new();
    let log = ErrorLog::new(Vec::new());
    let mut generation = Generation::build(1, &options, &mut files, Base::Nothing, &log).unwrap();
    let flag_files = vec![dir.join("flag")];
    generation.switches.push(NeededSwitch { name: "shop".into(), flag_files });
    let setup = Setup {
        options,
        generation,
        files,
        launch: Launch::Here(idle),
        control: None,
        daemon: false,
        words: vec!["proxyd".into()],
        inheritance: None,
        is_rollback: false,
    };
    let mut master = Master::new(setup, mpsc::unbounded_channel().0, mpsc::channel(1).0)?;
    master.begin_switches();
    Ok(master)
}

impl Stage {
    fn state_file(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// The lines about switches, without their beginning.
    fn told(&self) -> Vec<String> {
        let log = self.log();
        let about = |line: &str| Some(line[line.find("maintenance ")?..].to_owned());
        log.lines().filter_map(about).collect()
    }

    fn change(&mut self, name: &str, change: &Change) -> Result<Vec<String>, Refusal> {
        let caller = Caller { uid: 0, pid: 7, program: "proxyd ctl".into() };
        self.master.switch(name, change, &caller)
    }

    fn close(&mut self, name: &str) {
        let change = Change { state: Some(Wish::Closed), ..Change::default() };
        self.change(name, &change).unwrap();
    }

    fn open(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        self.change(name, &Change { state: Some(Wish::Open), ..Change::default() })
    }

    fn gates(&self) -> Gates {
        self.master.switches.gates.clone()
    }

    fn state(&self, name: &str) -> State {
        let gates = self.gates();
        gates.order(gates.switch(name).unwrap()).state
    }

    /// Begins again, as after a full stop.
    fn again(&mut self) -> io::Result<()> {
        self.master = master(self.dir.path())?;
        Ok(())
    }

    fn barrier(&self, timeout_ms: u64) -> oneshot::Receiver<Result<Proof, Refusal>> {
        let (reply, answer) = oneshot::channel();
        let terms = Barrier { timeout_ms, ..Barrier::default() };
        self.master.wait_until_clear("shop", terms, reply);
        answer
    }
}

fn play(scene: impl AsyncFnOnce(&mut Stage)) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let dir = tempfile::tempdir().unwrap();
        let text = "error_log log info; user root root; pid pid; runtime_state state; events {}";
        std::fs::write(dir.path().join("c"), text).unwrap();
        let master = master(dir.path()).unwrap();
        scene(&mut Stage { dir, master }).await;
    });
}

fn closing() -> Change {
    Change { state: Some(Wish::Closed), reason: "moving".into(), ..Change::default() }
}

#[test]
fn what_is_closed_is_written_down_and_told() {
    play(async |stage| {
        assert!(!stage.state_file().exists(), "nothing was said yet");
        let change = Change { seconds: Some(60), no_bypass: true, ..closing() };
        assert_eq!(stage.change("shop", &change).unwrap(), ["shop"]);
        assert_eq!([stage.state("shop"), stage.state("default")], [State::Closed, State::Open]);
        let document = Document::read(&stage.state_file()).unwrap();
        let (name, order) = document.orders().next().unwrap();
        assert_eq!((name, order.state, order.epoch), ("shop", State::Closed, 1));
        assert_eq!(order.until, Some(order.since + 60));
        stage.open("shop").unwrap();
        assert_eq!(stage.state("shop"), State::Open);
        let by = "by uid 0 (pid 7, proxyd ctl)";
        let closed = format!("maintenance \"shop\" closed for 60 s, without bypass, {by}: moving");
        assert_eq!(stage.told(), [closed, format!("maintenance \"shop\" opened {by}")]);
    });
}

#[test]
fn saying_it_again_changes_and_writes_nothing() {
    play(async |stage| {
        stage.close("default");
        let written = std::fs::metadata(stage.state_file()).unwrap();
        stage.close("default");
        let same = std::fs::metadata(stage.state_file()).unwrap();
        assert_eq!(written.ino(), same.ino());
        assert!(
            stage.told()[1].starts_with("maintenance \"default\" already closed, asked for by")
        );
        stage.change("default", &closing()).unwrap();
        assert!(
            stage.told()[2].starts_with("maintenance \"default\" still closed, on other terms, by")
        );
    });
}

#[test]
fn it_is_closed_after_a_full_stop() {
    play(async |stage| {
        stage.change("shop", &closing()).unwrap();
        stage.again().unwrap();
        assert_eq!([stage.state("shop"), stage.state("default")], [State::Closed, State::Open]);
        let gates = stage.gates();
        let order = gates.order(gates.switch("shop").unwrap());
        assert_eq!((order.reason.as_str(), order.epoch), ("moving", 1));
        stage.open("shop").unwrap();
        stage.again().unwrap();
        assert_eq!(stage.state("shop"), State::Open);
    });
}

#[test]
fn all_means_all() {
    play(async |stage| {
        let change = Change { all: true, ..closing() };
        assert_eq!(stage.change("default", &change).unwrap(), ["default", "shop"]);
        assert_eq!([stage.state("shop"), stage.state("default")], [State::Closed; 2]);
    });
}

#[test]
fn what_cannot_be_written_is_not_done() {
    play(async |stage| {
        stage.close("default");
        // Nothing can be put beside the file any more, not even by the superuser.
        std::fs::create_dir(stage.dir.path().join("state.new")).unwrap();
        let refusal = stage.change("shop", &closing()).unwrap_err();
        assert!(matches!(&refusal, Refusal::Failed(why) if why.contains("failed (21: Is a dir")));
        assert!(matches!(stage.open("default"), Err(Refusal::Failed(_))));
        assert_eq!([stage.state("shop"), stage.state("default")], [State::Open, State::Closed]);
        let log = stage.log();
        assert!(
            log.contains("[error]") && log.contains("maintenance \"shop\" not closed by uid 0")
        );
        assert!(log.contains("maintenance \"default\" not opened by uid 0"));
        stage.again().unwrap();
        assert_eq!([stage.state("shop"), stage.state("default")], [State::Open, State::Closed]);
    });
}

#[test]
fn a_file_that_tells_nothing_stops_the_start() {
    play(async |stage| {
        let path = stage.state_file();
        for text in ["", "garbage", "{\"version\":2}"] {
            std::fs::write(&path, text).unwrap();
            let why = check(&path, None).unwrap_err();
            assert!(
                why.starts_with(&format!("the state file \"{}\" is ", path.display())),
                "{why}"
            );
            assert!(why.contains("remove it to begin with everything open"));
            assert!(stage.again().is_err());
            assert_eq!(std::fs::read(&path).unwrap(), text.as_bytes(), "it is left as it is");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(check(&path, None), Ok(None));
        stage.again().unwrap();
    });
}

#[test]
fn a_file_that_was_damaged_meanwhile_is_replaced() {
    play(async |stage| {
        stage.close("default");
        std::fs::write(stage.state_file(), "garbage").unwrap();
        stage.change("shop", &closing()).unwrap();
        let document = Document::read(&stage.state_file()).unwrap();
        assert_eq!(document.orders().count(), 2);
        assert!(
            stage.log().contains("is damaged: expected value at line 1 column 1; it is replaced")
        );
        std::fs::write(stage.state_file(), "{\"version\":2}").unwrap();
        assert!(matches!(stage.open("shop"), Err(Refusal::Failed(_))));
        assert_eq!(stage.state("shop"), State::Closed);
    });
}

#[test]
fn a_slip_of_the_pen_closes_nothing() {
    play(async |stage| {
        let refusal = stage.change("shpo", &closing()).unwrap_err();
        let why = "no switch \"shpo\"; there are: default, shop";
        assert_eq!(refusal, Refusal::Unknown(why.to_owned()));
        assert!(!stage.gates().names().contains(&"shpo".to_owned()));
        assert!(matches!(stage.change("shop", &Change::default()), Err(Refusal::Malformed(_))));
    });
}

#[test]
fn an_orphan_is_remembered_until_it_is_opened() {
    play(async |stage| {
        let text = r#"{"version":1,"switches":{"old":{"state":"closed","slot":"new"}}}"#;
        std::fs::write(stage.state_file(), text).unwrap();
        stage.again().unwrap();
        assert!(stage.log().contains("[warn]"));
        assert!(
            stage.told()[0].starts_with("maintenance \"old\" is closed, and the configuration")
        );
        let all = stage.master.all_switches();
        let names: Vec<_> = all.iter().map(|s| (s.name.as_str(), s.configured)).collect();
        assert_eq!(names, [("default", true), ("shop", true), ("old", false)]);
        stage.close("shop");
        assert!(Document::read(&stage.state_file()).unwrap().has("old"));
        stage.open("old").unwrap();
        assert!(!Document::read(&stage.state_file()).unwrap().has("old"));
        assert_eq!(stage.master.all_switches().len(), 2);
    });
}

#[test]
fn a_flag_file_keeps_it_closed() {
    play(async |stage| {
        stage.close("shop");
        std::fs::write(stage.dir.path().join("flag"), "").unwrap();
        let Err(Refusal::State(why)) = stage.open("shop") else { panic!() };
        assert!(why.starts_with("\"shop\" stays closed: flag file \"") && why.ends_with("present"));
        assert_eq!(stage.state("shop"), State::Closed);
        let all = Change { state: Some(Wish::Open), all: true, ..Change::default() };
        assert!(matches!(stage.change("default", &all), Err(Refusal::State(_))));
        std::fs::remove_file(stage.dir.path().join("flag")).unwrap();
        stage.open("shop").unwrap();
        std::fs::write(stage.dir.path().join("flag"), "").unwrap();
        let shop = stage.master.all_switches().remove(1);
        assert_eq!((shop.state.as_str(), shop.ordered.as_str()), ("closed", "open"));
        assert_eq!(shop.flag_file, Some(stage.dir.path().join("flag")));
        let refusal = stage.barrier(0).await.unwrap().unwrap_err();
        assert!(matches!(&refusal, Refusal::State(why) if why.contains("by a flag file only")));
    });
}

#[test]
fn signals_close_and_open_the_default_one() {
    play(async |stage| {
        let send = |stage: &mut Stage, signal| {
            stage.master.switch_by_signal(Received { signal, sender: 9, user: 5 });
        };
        for (n, state) in
            [(1, State::Closed), (1, State::Closed), (2, State::Open), (2, State::Open)]
        {
            send(stage, Heard::RealTime(n));
            assert_eq!(stage.state("default"), state);
        }
        send(stage, Heard::RealTime(3));
        send(stage, Heard::Named(Signal::SIGHUP));
        let told = stage.told();
        assert_eq!(told[0], "maintenance \"default\" closed by uid 5 (pid 9, signal)");
        assert_eq!(
            told[1],
            "maintenance \"default\" already closed, asked for by uid 5 (pid 9, signal)"
        );
        assert_eq!(told[2], "maintenance \"default\" opened by uid 5 (pid 9, signal)");
        assert_eq!(told.len(), 4);
    });
}

#[test]
fn the_end_that_was_announced_opens_only_what_was_to_be() {
    play(async |stage| {
        let change = Change { seconds: Some(1), ..closing() };
        stage.change("default", &change).unwrap();
        stage.change("shop", &Change { auto_off: true, ..change }).unwrap();
        let due = stage.master.switches_deadline().unwrap();
        assert!(due <= Instant::now() + Duration::from_secs(1));
        stage.master.tend_switches();
        assert_eq!(stage.state("shop"), State::Closed, "not yet");
        stage.master.switches.ends.insert("shop".into(), Instant::now());
        stage.master.tend_switches();
        assert_eq!([stage.state("shop"), stage.state("default")], [State::Open, State::Closed]);
        assert_eq!(stage.told().last().unwrap(), "maintenance \"shop\" opened by its own end");
        assert!(stage.master.switches.ends.is_empty());
    });
}

#[test]
fn an_end_that_cannot_be_written_down_is_tried_again() {
    play(async |stage| {
        let change = Change { seconds: Some(1), auto_off: true, ..closing() };
        stage.change("shop", &change).unwrap();
        std::fs::create_dir(stage.dir.path().join("state.new")).unwrap();
        stage.master.switches.ends.insert("shop".into(), Instant::now());
        stage.master.tend_switches();
        assert_eq!(stage.state("shop"), State::Closed);
        assert!(stage.master.switches_deadline().unwrap() > Instant::now());
    });
}

#[test]
fn an_end_that_passed_while_nobody_served_opens_at_the_start() {
    play(async |stage| {
        let text = r#"{"version":1,"switches":{"shop":{"state":"closed","until":5,"auto_off":true},
            "default":{"state":"closed","until":5}}}"#;
        std::fs::write(stage.state_file(), text).unwrap();
        stage.again().unwrap();
        stage.master.tend_switches();
        assert_eq!([stage.state("shop"), stage.state("default")], [State::Open, State::Closed]);
        let default = stage.master.all_switches().remove(0);
        assert!(default.overrun.unwrap() > 1_000_000_000);
    });
}

#[test]
fn a_reload_that_names_another_file_moves_it() {
    play(async |stage| {
        let text = r#"{"version":1,"mirrors":1,"switches":{"shop":{"state":"closed"}}}"#;
        std::fs::write(stage.state_file(), text).unwrap();
        stage.again().unwrap();
        let (old, new) = (stage.state_file(), stage.dir.path().join("moved"));
        stage.master.current.process.runtime_state.clone_from(&new);
        stage.master.move_state_file(&old);
        assert!(!old.exists());
        let text = std::fs::read_to_string(&new).unwrap();
        assert!(text.contains("\"mirrors\": 1") && text.contains("\"closed\""), "{text}");
        let later = stage.dir.path().join("later");
        std::fs::write(&later, "{\"version\":2}").unwrap();
        stage.master.current.process.runtime_state.clone_from(&later);
        stage.master.move_state_file(&new);
        assert!(new.exists() && stage.log().contains("[emerg]"));
    });
}

#[test]
fn a_barrier_waits_for_the_last_one() {
    play(async |stage| {
        let gates = stage.gates();
        let shop = gates.switch("shop").unwrap();
        let (one, two) = (gates.door(3).unwrap(), gates.door(4).unwrap());
        one.enter(shop, Class::Read).unwrap();
        two.enter(shop, Class::Write).unwrap();
        two.enter_anyway(shop, Class::Bypass);
        stage.close("shop");
        let mut answer = stage.barrier(60_000);
        tokio::time::sleep(Duration::from_secs(5)).await;
        one.leave(shop, Class::Read);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(answer.try_recv().is_err());
        two.leave(shop, Class::Write);
        let proof = answer.await.unwrap().unwrap();
        assert!(proof.clean && !proof.timed_out, "{proof:?}");
        assert!((10_000..10_100).contains(&proof.waited_ms), "{proof:?}");
        assert_eq!((proof.inflight.bypass, proof.unknown), (1, 0));
    });
}

#[test]
fn a_barrier_ends_in_time_and_names_who_is_left() {
    play(async |stage| {
        let gates = stage.gates();
        let shop = gates.switch("shop").unwrap();
        let slot = stage.master.counters.claim(std::process::id()).unwrap();
        stage.master.counters.assign(slot, std::process::id());
        gates.door(slot).unwrap().enter(shop, Class::Stream).unwrap();
        stage.close("shop");
        let proof = stage.barrier(500).await.unwrap().unwrap();
        assert!(proof.timed_out && !proof.clean);
        assert!((500..520).contains(&proof.waited_ms), "{proof:?}");
        let share = &proof.workers[0];
        assert_eq!((share.worker, share.master), (std::process::id(), std::process::id()));
        assert_eq!((share.generation, share.counts.stream), (Some(1), 1));
        assert_eq!(stage.state("shop"), State::Closed, "the door is still shut");
        let found = stage.master.inflight(Some("shop")).unwrap().remove(0);
        assert_eq!((found.total.stream, found.workers), (1, proof.workers));
        assert_eq!(stage.barrier(0).await.unwrap().unwrap().waited_ms, 0);
    });
}

#[test]
fn a_dead_worker_leaves_unknown_outcomes() {
    play(async |stage| {
        let gates = stage.gates();
        let shop = gates.switch("shop").unwrap();
        let id = 1;
        assert!(stage.master.spawn(id, 0, 1).is_none());
        let slot = stage.master.children[&id].counters;
        let door = gates.door(slot).unwrap();
        for _ in 0..3 {
            door.enter(shop, Class::Write).unwrap();
        }
        stage.close("shop");
        let answer = stage.barrier(60_000);
        tokio::task::yield_now().await;
        stage.master.gone(id, End::Signal(9));
        let proof = answer.await.unwrap().unwrap();
        assert_eq!((proof.clean, proof.timed_out, proof.unknown), (false, false, 3));
        let _ = stage.master.state.step(Event::Quit, Instant::now());
    });
}

#[test]
fn what_a_dead_masters_worker_had_is_found() {
    play(async |stage| {
        let gates = stage.gates();
        let shop = gates.switch("shop").unwrap();
        // No process has these numbers.
        let slot = stage.master.counters.claim(u32::MAX).unwrap();
        stage.master.counters.assign(slot, u32::MAX - 1);
        gates.door(slot).unwrap().enter(shop, Class::Read).unwrap();
        stage.close("shop");
        let proof = stage.barrier(60_000).await.unwrap().unwrap();
        assert_eq!((proof.timed_out, proof.unknown), (false, 1));
    });
}

#[test]
fn what_was_opened_meanwhile_proves_nothing() {
    play(async |stage| {
        let refusal = stage.barrier(1000).await.unwrap().unwrap_err();
        assert!(matches!(&refusal, Refusal::State(why) if why.contains("is open")), "{refusal:?}");
        let gates = stage.gates();
        let shop = gates.switch("shop").unwrap();
        let door = gates.door(3).unwrap();
        for close_again in [false, true] {
            stage.close("shop");
            door.enter_anyway(shop, Class::Read);
            let answer = stage.barrier(60_000);
            tokio::task::yield_now().await;
            stage.open("shop").unwrap();
            if close_again {
                stage.close("shop");
            }
            door.leave(shop, Class::Read);
            let refusal = answer.await.unwrap().unwrap_err();
            assert_eq!(refusal, Refusal::State("\"shop\" was opened meanwhile".into()));
        }
    });
}

#[test]
fn nobody_waits_when_nobody_listens() {
    play(async |stage| {
        let gates = stage.gates();
        let shop = gates.switch("shop").unwrap();
        gates.door(3).unwrap().enter(shop, Class::Read).unwrap();
        stage.close("shop");
        let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let answer = stage.barrier(u64::MAX);
        tokio::task::yield_now().await;
        drop(answer);
        while tokio::runtime::Handle::current().metrics().num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn there_is_room_for_so_many() {
    play(async |stage| {
        let gates = stage.gates();
        let shop = gates.switch("shop").unwrap();
        gates.door(3).unwrap().enter(shop, Class::Read).unwrap();
        stage.close("shop");
        let waiting: Vec<_> = (0..WAITS).map(|_| stage.barrier(60_000)).collect();
        assert!(matches!(stage.barrier(60_000).await, Ok(Err(Refusal::Failed(_)))));
        drop(waiting);
        tokio::task::yield_now().await;
        assert!(stage.barrier(0).await.unwrap().unwrap().timed_out);
    });
}

#[test]
fn unknown_outcomes_are_forgotten_long_before_a_closing_only() {
    play(async |stage| {
        let gates = stage.gates();
        let shop = gates.switch("shop").unwrap();
        let door = gates.door(3).unwrap();
        let unknown = || gates.inflight(shop).unknown;
        door.unknown(shop);
        stage.master.switches.forget_old();
        assert_eq!(unknown(), 1, "it may have been just now");
        door.unknown(shop);
        door.unknown(shop);
        stage.master.switches.forget_old();
        assert_eq!(unknown(), 2);
        stage.close("shop");
        for _ in 0..3 {
            stage.master.switches.forget_old();
        }
        assert_eq!(unknown(), 2, "while it is closed nothing is forgotten");
        stage.open("shop").unwrap();
        stage.master.switches.forget_old();
        stage.master.switches.forget_old();
        assert_eq!(unknown(), 0);
    });
}

#[test]
fn who_has_no_say_does_not_answer() {
    play(async |stage| {
        stage.master.state = crate::master::state::State::heir(1, 2, None, false);
        let (reply, answer) = oneshot::channel();
        stage.master.ask(Ask::Switches(reply));
        assert!(answer.await.is_err());
        stage.master.switch_by_signal(Received { signal: Heard::RealTime(1), sender: 1, user: 0 });
        assert_eq!(stage.state("default"), State::Open);
        assert_eq!(stage.master.switches_deadline(), None);
    });
}
