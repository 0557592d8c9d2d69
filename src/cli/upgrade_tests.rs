//! `-s upgrade`, `-s rollback` and `-s status` from the words to the exit code, against a master played
//! by the test.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tokio::net::UnixListener;

use super::executable;
use crate::cli::arguments::Arguments;
use crate::cli::contact::Contact;
use crate::cli::screen::Screen;
use crate::cli::{Home, built_in_log, options, signal};
use crate::control::upgrade::{self as order, Progress, Status};
use crate::control::{self, Ask};
use crate::version;

/// A directory with a configuration, whose master says these lines to every order and then no more.
struct Master {
    dir: tempfile::TempDir,
    orders: Receiver<order::Request>,
}

/// What the command did.
struct Outcome {
    code: u8,
    out: String,
    errors: String,
    /// What the master was told.
    order: Option<order::Request>,
}

impl Master {
    fn new(configuration: &str, lines: &[(&str, Option<u8>)]) -> Master {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("c"), configuration).unwrap();
        let listener = control::bind(&dir.path().join("pid.ctl")).unwrap();
        let status = status(dir.path());
        let lines: Vec<_> = lines.iter().map(|(state, code)| progress(state, *code)).collect();
        let (told, orders) = channel();
        thread::spawn(move || serve(listener, &status, &lines, &told));
        Master { dir, orders }
    }

    fn run(&self, words: &[&str]) -> Outcome {
        let arguments = Arguments::parse(words.iter().map(Into::into)).unwrap();
        let home = Home { prefix: "/nonexistent", conf_file: "c" };
        let log = built_in_log(&options(&arguments, home));
        let (pid_file, control) = (self.dir.path().join("pid"), self.dir.path().join("pid.ctl"));
        let contact = Contact { pid_file, control };
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let json = arguments.terms.json;
        let mut screen = Screen { json, out: &mut out, errors: &mut errors };
        let request = arguments.signal.unwrap();
        let code = signal::talk(request, &contact, &arguments, home, &log, &mut screen);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let order = self.orders.try_recv().ok();
        Outcome { code, out: text(out), errors: text(errors), order }
    }
}

fn serve(
    listener: std::os::unix::net::UnixListener,
    status: &Status,
    lines: &[Progress],
    told: &Sender<order::Request>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = UnixListener::from_std(listener).unwrap();
        let (asks, mut asked) = tokio::sync::mpsc::channel(4);
        tokio::task::spawn_local(control::serve(listener, asks));
        // What has decided and is not followed to its end stays open, as it does while the old drain.
        let mut open = Vec::new();
        while let Some(ask) = asked.recv().await {
            match ask {
                Ask::Status(reply) => reply.send(status.clone()).unwrap(),
                Ask::Upgrade(order, said) | Ask::Rollback(order, said) => {
                    let wait = order.wait;
                    let _ = told.send(order);
                    for line in lines {
                        let _ = said.send(line.clone());
                    }
                    if !wait && lines.iter().any(|line| line.code.is_some()) {
                        open.push(said);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

fn progress(state: &str, code: Option<u8>) -> Progress {
    Progress { state: state.into(), text: format!("upgrade 0.0.9 -> B: {state}"), code }
}

fn status(dir: &Path) -> Status {
    Status {
        version: "0.0.9".into(),
        pid: 7,
        generation: 3,
        executable: "/usr/sbin/proxyd".into(),
        arguments: Vec::new(),
        prefix: dir.to_owned(),
        configuration: dir.join("c"),
        change: None,
        rollback: None,
        generations: Vec::new(),
        reload: None,
        switches: Vec::new(),
        upstreams: Vec::new(),
        floods: std::collections::BTreeMap::new(),
    }
}

const GOOD: &str = "events {}";

#[test]
fn an_upgrade_goes_from_judging_to_the_line_that_decides() {
    let lines = [("started", None), ("committed", Some(0)), ("draining", None)];
    let master = Master::new(GOOD, &lines);
    let outcome = master.run(&["-s", "upgrade", "--canary", "1", "--watch", "1500ms"]);
    let own = version::PROXYD;
    let expected = format!(
        "proxyd: upgrade 0.0.9 -> {own}: configuration ok\n\
         proxyd: upgrade 0.0.9 -> B: started\nproxyd: upgrade 0.0.9 -> B: committed\n"
    );
    assert_eq!((outcome.code, outcome.out, outcome.errors), (0, expected, String::new()));
    let wanted = order::Request {
        executable: Some(std::env::current_exe().unwrap()),
        canary: Some(1),
        watch: Some(1500),
        ..order::Request::default()
    };
    assert_eq!(outcome.order, Some(wanted));
}

#[test]
fn waiting_goes_on_to_the_end() {
    let lines = [("committed", Some(0)), ("draining", None), ("done", None)];
    let outcome = Master::new(GOOD, &lines).run(&["-s", "upgrade", "--wait"]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.out.ends_with("draining\nproxyd: upgrade 0.0.9 -> B: done\n"));
    assert!(outcome.order.unwrap().wait);
    // The new version died while the old one was still there.
    let lines = [("committed", Some(0)), ("undone", Some(2))];
    let outcome = Master::new(GOOD, &lines).run(&["-s", "upgrade", "--wait"]);
    assert_eq!(outcome.code, 2);
}

#[test]
fn the_code_is_the_masters() {
    for (state, code) in [("refused", 1), ("undone", 2)] {
        let master = Master::new(GOOD, &[("started", None), (state, Some(code))]);
        let outcome = master.run(&["-s", "rollback"]);
        assert_eq!(outcome.code, code);
        assert_eq!(outcome.out, "proxyd: upgrade 0.0.9 -> B: started\n");
        assert_eq!(outcome.errors, format!("proxyd: upgrade 0.0.9 -> B: {state}\n"));
        assert_eq!(outcome.order, Some(order::Request::default()));
    }
}

#[test]
fn a_master_that_goes_away_has_not_done_it() {
    for words in [["-s", "upgrade"], ["-s", "rollback"]] {
        let outcome = Master::new(GOOD, &[("started", None)]).run(&words);
        assert_eq!((outcome.code, outcome.errors.as_str()), (1, ""));
        assert!(outcome.out.ends_with("started\n"));
    }
}

#[test]
fn detached_is_as_soon_as_it_is_under_way() {
    let lines = [("prepared", None), ("started", None), ("ready", None), ("undone", Some(2))];
    let outcome = Master::new(GOOD, &lines).run(&["-s", "rollback", "--detach", "--dry-run"]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.out.ends_with("prepared\nproxyd: upgrade 0.0.9 -> B: started\n"));
    assert!(outcome.order.unwrap().dry_run);
    let outcome = Master::new(GOOD, &[("refused", Some(1))]).run(&["-s", "upgrade", "--detach"]);
    assert_eq!(outcome.code, 1);
}

#[test]
fn json_is_all_there_is_on_the_output() {
    let lines = [("started", None), ("undone", Some(2))];
    let outcome = Master::new(GOOD, &lines).run(&["-s", "upgrade", "--json"]);
    let parsed: Vec<Progress> =
        outcome.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let states: Vec<_> = parsed.iter().map(|step| (step.state.as_str(), step.code)).collect();
    assert_eq!(states, [("prepared", None), ("started", None), ("undone", Some(2))]);
    assert_eq!((outcome.code, outcome.errors.as_str()), (2, ""));
}

#[test]
fn with_a_bad_configuration_nothing_is_sent() {
    let outcome = Master::new("events {} bogus;", &[]).run(&["-s", "upgrade"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (1, ""));
    assert_eq!(outcome.order, None);
}

#[test]
fn another_configuration_is_judged_and_passed_on() {
    let master = Master::new("events {} bogus;", &[("committed", Some(0))]);
    let other = master.dir.path().join("other");
    std::fs::write(&other, GOOD).unwrap();
    let outcome = master.run(&["-s", "upgrade", "-c", "other"]);
    assert_eq!(outcome.code, 0);
    let names = [master.dir.path(), &other].map(|path| path.to_str().unwrap().to_owned());
    let words = ["-p", &names[0], "-c", &names[1]].map(str::to_owned).to_vec();
    assert_eq!(outcome.order.unwrap().arguments, Some(words));
}

#[test]
fn the_status_is_shown_or_handed_on() {
    let master = Master::new(GOOD, &[]);
    let outcome = master.run(&["-s", "status"]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.out.starts_with("proxyd 0.0.9, master process 7, generation 3\n"));
    let outcome = master.run(&["-s", "status", "--json"]);
    let parsed: Status = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!((outcome.code, parsed), (0, status(master.dir.path())));
}

#[test]
fn without_a_master_there_is_nothing_to_do() {
    let master = Master::new(GOOD, &[]);
    std::fs::remove_file(master.dir.path().join("pid.ctl")).unwrap();
    for request in ["upgrade", "rollback", "status"] {
        let outcome = master.run(&["-s", request]);
        assert_eq!((outcome.code, outcome.out.as_str()), (1, ""), "{request}");
    }
}

#[test]
fn an_executable_that_others_cannot_find_is_none() {
    assert_eq!(executable(Ok("/a/proxyd".into())), Ok("/a/proxyd".into()));
    let gone = executable(Ok("/a/proxyd (deleted)".into())).unwrap_err();
    assert_eq!(gone, "the file of this executable is gone: \"/a/proxyd (deleted)\"");
    let odd = executable(Ok(OsStr::from_bytes(b"/\xff").into())).unwrap_err();
    assert_eq!(odd, "the name of this executable is not UTF-8: \"/\u{fffd}\"");
    let error = executable(Err(std::io::Error::from_raw_os_error(2))).unwrap_err();
    assert!(error.ends_with(" failed (2: No such file or directory)"), "{error}");
}
