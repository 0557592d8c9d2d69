//! `proxyd ctl` from the words to the exit code, against a master played by the test.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tokio::net::UnixListener;

use super::arguments::Control;
use super::talk;
use crate::cli::contact::Contact;
use crate::cli::screen::Screen;
use crate::control::maintenance::{
    Barrier, Caller, Change, Counts, Inflight, Proof, Refusal, Switch, Wish,
};
use crate::control::{self, Ask};
use crate::log::ErrorLog;

/// What the master was told.
#[derive(Debug, PartialEq)]
enum Told {
    Switch(String, Change, Caller),
    Barrier(String, Barrier),
}

/// Answers everything with what it was made with.
struct Master {
    dir: tempfile::TempDir,
    told: Receiver<Told>,
}

/// What it has for those who ask.
#[derive(Clone)]
struct Answers {
    switches: Result<Vec<Switch>, Refusal>,
    proofs: Vec<Option<Proof>>,
}

struct Outcome {
    code: u8,
    out: String,
    errors: String,
}

impl Master {
    fn new(switches: Result<Vec<Switch>, Refusal>, proofs: &[Option<Proof>]) -> Master {
        let dir = tempfile::tempdir().unwrap();
        let listener = control::bind(&dir.path().join("ctl")).unwrap();
        let answers = Answers { switches, proofs: proofs.to_vec() };
        let (tell, told) = channel();
        thread::spawn(move || serve(listener, answers, &tell));
        Master { dir, told }
    }

    fn run(&self, words: &str) -> Outcome {
        let words = words.split(' ').map(Into::into);
        let control = Control::parse(words.collect()).unwrap();
        let path = |name| self.dir.path().join(name);
        let contact = Contact { pid_file: path("pid"), control: path("ctl") };
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let mut screen = Screen { json: control.json, out: &mut out, errors: &mut errors };
        let code = talk(&control, &contact, &ErrorLog::new(Vec::new()), &mut screen);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code, out: text(out), errors: text(errors) }
    }
}

fn serve(listener: std::os::unix::net::UnixListener, mut answers: Answers, tell: &Sender<Told>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = UnixListener::from_std(listener).unwrap();
        let (asks, mut asked) = tokio::sync::mpsc::channel(4);
        tokio::task::spawn_local(control::serve(listener, asks));
        while let Some(ask) = asked.recv().await {
            match ask {
                Ask::Switches(reply) => reply.send(answers.switches.clone().unwrap()).unwrap(),
                Ask::Switch(name, change, caller, reply) => {
                    let _ = tell.send(Told::Switch(name, change, caller));
                    reply.send(answers.switches.clone()).unwrap();
                }
                Ask::Inflight(_, reply) => reply.send(Ok(vec![inflight()])).unwrap(),
                Ask::Barrier(name, terms, reply) => {
                    let _ = tell.send(Told::Barrier(name, terms));
                    // None: it hands over to another master, without an answer.
                    if let Some(proof) = answers.proofs.remove(0) {
                        reply.send(Ok(proof)).unwrap();
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

fn inflight() -> Inflight {
    let total = Counts { write: 7, ..Counts::default() };
    Inflight { switch: "default".into(), state: "open".into(), total, ..Inflight::default() }
}

fn switch(name: &str, state: &str) -> Switch {
    serde_json::from_value(serde_json::json!({ "name": name, "state": state, "ordered": state }))
        .unwrap()
}

fn proof(timed_out: bool, unknown: u64) -> Proof {
    let clean = !timed_out && unknown == 0;
    let inflight = Counts { write: timed_out.into(), unknown, ..Counts::default() };
    Proof { clean, timed_out, waited_ms: 5, inflight, unknown, ..Proof::default() }
}

/// A master that closes these and then has these proofs.
fn closing(names: &[&str], proofs: &[Option<Proof>]) -> Master {
    Master::new(Ok(names.iter().map(|name| switch(name, "closed")).collect()), proofs)
}

#[test]
fn options_may_stand_before_it() {
    let rest = |text: &str| {
        let all: Vec<_> = text.split(' ').map(Into::into).collect();
        super::words(&all).map(|rest| rest.join(" ".as_ref()).into_string().unwrap())
    };
    assert_eq!(rest("proxyd ctl status").as_deref(), Some("status"));
    assert_eq!(
        rest("proxyd -p ctl -c x ctl status -l y").as_deref(),
        Some("-p ctl -c x status -l y")
    );
    for other in ["proxyd", "proxyd -s ctl", "proxyd -p ctl", "proxyd status ctl", "ctl"] {
        assert_eq!(rest(other), None, "{other}");
    }
}

#[test]
fn closing_says_who_and_why() {
    let master = closing(&["shop"], &[]);
    let outcome = master.run("maintenance on shop --reason moving --for 1m");
    assert_eq!((outcome.code, outcome.errors.as_str()), (0, ""));
    assert_eq!(outcome.out, "proxyd: maintenance \"shop\" closed\n");
    let change = Change {
        state: Some(Wish::Closed),
        reason: "moving".into(),
        seconds: Some(60),
        ..Change::default()
    };
    let caller = Caller {
        uid: nix::unistd::geteuid().as_raw(),
        pid: nix::unistd::getpid().as_raw(),
        program: "proxyd ctl".into(),
    };
    assert_eq!(master.told.try_recv(), Ok(Told::Switch("shop".into(), change, caller)));
}

#[test]
fn odd_names_reach_the_master() {
    let master = closing(&["a/b ü%"], &[]);
    assert_eq!(master.run("maintenance off a/bü%41?").code, 0);
    let Ok(Told::Switch(name, change, _)) = master.told.try_recv() else { panic!() };
    assert_eq!((name.as_str(), change.state), ("a/bü%41?", Some(Wish::Open)));
}

#[test]
fn the_proof_decides_the_code() {
    for (given, code) in [(proof(false, 0), 0), (proof(true, 0), 3), (proof(false, 3), 5)] {
        let master = closing(&["default"], &[Some(given.clone())]);
        let outcome = master.run("maintenance on --barrier 60s");
        assert_eq!(outcome.code, code, "{given:?}");
        assert!(outcome.out.starts_with("proxyd: maintenance \"default\" closed\n"));
        assert_eq!(outcome.errors.is_empty(), code == 0, "{}", outcome.errors);
    }
    let master = closing(&["default"], &[Some(proof(true, 0))]);
    let outcome = master.run("barrier --timeout 5s --include-bypass --json");
    assert_eq!((outcome.code, outcome.errors.as_str()), (3, ""));
    let read: Proof = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(read, proof(true, 0));
    let Ok(Told::Barrier(name, terms)) = master.told.try_recv() else { panic!() };
    assert!(name == "default" && terms.include_bypass && (4000..=5000).contains(&terms.timeout_ms));
}

#[test]
fn all_switches_are_waited_for() {
    let proofs = [proof(false, 2), proof(true, 0), proof(false, 0)].map(Some);
    let master = closing(&["default", "a", "b"], &proofs);
    let outcome = master.run("maintenance on --all --barrier 60s");
    assert_eq!(outcome.code, 3, "what is still under way is worse than what is unknown");
    let asked = master.told.try_iter().filter_map(|told| match told {
        Told::Barrier(name, _) => Some(name),
        Told::Switch(..) => None,
    });
    assert_eq!(asked.collect::<Vec<_>>(), ["default", "a", "b"]);
}

#[test]
fn a_master_that_hands_over_is_asked_again() {
    let master = closing(&["default"], &[None, None, Some(proof(false, 0))]);
    assert_eq!(master.run("barrier").code, 0);
    let master = closing(&["default"], &[const { None }; 5]);
    assert_eq!(master.run("barrier").code, 1);
}

#[test]
fn what_cannot_be_is_told_from_what_is_wrong() {
    for (refusal, code) in [
        (Refusal::State("flag file".into()), 2),
        (Refusal::Unknown("no such".into()), 1),
        (Refusal::Malformed("odd".into()), 1),
        (Refusal::Failed("disk".into()), 1),
    ] {
        let master = Master::new(Err(refusal.clone()), &[]);
        let outcome = master.run("maintenance off");
        assert_eq!((outcome.code, outcome.out.as_str()), (code, ""), "{refusal:?}");
    }
    let nobody = closing(&[], &[]);
    std::fs::remove_file(nobody.dir.path().join("ctl")).unwrap();
    for verb in ["maintenance on", "maintenance status", "inflight", "barrier"] {
        assert_eq!(nobody.run(verb).code, 1, "{verb}");
    }
}

#[test]
fn what_is_shown_is_there_for_programs_too() {
    let master = closing(&["default", "shop"], &[]);
    let outcome = master.run("maintenance status");
    assert!(outcome.out.starts_with("SWITCH ") && outcome.out.lines().count() == 3);
    let outcome = master.run("maintenance status shop --json");
    let read: Vec<Switch> = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(read, [switch("shop", "closed")]);
    assert_eq!(master.run("maintenance status other").code, 1);
    let outcome = master.run("inflight --json");
    let read: Vec<Inflight> = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!((outcome.code, read), (0, vec![inflight()]));
    assert!(master.run("inflight").out.starts_with("SWITCH "));
}
