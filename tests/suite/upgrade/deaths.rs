//! Masters and workers that are killed at the worst moment: somebody serves on.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{Pid, geteuid};
use serde_json::json;

use super::{
    Undisturbed, answering, both_serve, done, failed, second, signal, telling, upgrade, watching,
};
use crate::support::traffic::Traffic;
use crate::support::{impostor, is_reference, system, version};

/// Killed while it builds, while both serve, and after it has become the server.
#[test]
fn the_old_version_serves_on_when_the_new_master_is_killed() {
    if is_reference() {
        return;
    }
    let setup = watching(2).set("main", "upgrade_watch 1m; upgrade_rollback_window 1m;");
    let setup = setup.allow("exited on signal 9").allow("is gone").allow("serving again");
    let mut server = Undisturbed::start(setup, 2);
    // A good one may be ready before it can be killed: this one never is.
    let hang = impostor::compiled(server.daemon.directory(), "hang", impostor::HANGS);
    let order = json!({ "executable": hang }).to_string();
    let (_, building) = server.daemon.ask_control("POST", "/1/proxyd/upgrade", &order);
    let line = server.daemon.logged("start new binary process ");
    let new = line.rsplit(' ').next().and_then(|pid| pid.parse().ok()).map(Pid::from_raw);
    let new = new.expect("a process id");
    server.daemon.kill(new);
    let last = building.last().expect("a line");
    assert!(last.contains("exited on signal 9 before ready"), "{last}");
    server.check();
    // While both serve.
    let watched = server.daemon.start_change(&second(), &["-s", "upgrade"]);
    server.daemon.logged("both accepting, watching for 60 s");
    let (new, _) = server.daemon.both_masters();
    let workers = system::workers_of(new, 2);
    server.daemon.kill(new);
    failed(&watched.end(), 2, "exited on signal 9");
    for pid in &workers {
        system::gone(*pid);
    }
    server.check();
}

#[test]
fn the_old_version_returns_when_the_new_one_dies_soon() {
    if is_reference() {
        return;
    }
    let setup = telling(2).set("main", "upgrade_watch 0; upgrade_rollback_window 1m;");
    let setup = setup.allow("exited on signal 9").allow("is gone");
    let mut daemon = setup.allow("the new master is gone, serving again").start_daemon();
    let old = daemon.master();
    done(&upgrade(&daemon, &second(), &[]));
    let new = daemon.master();
    let workers = system::workers_of(new, 2);
    system::until("the old workers have gone", || system::children(old) == [new]);
    assert!(workers.contains(&answering(&daemon)));
    for pid in &workers {
        signal(*pid, Signal::SIGSTOP);
    }
    let begun = Instant::now();
    daemon.kill(new);
    let by = answering(&daemon);
    let took = begun.elapsed();
    assert_eq!(system::parent(by), old);
    for pid in &workers {
        signal(*pid, Signal::SIGCONT);
    }
    daemon.only_master(old);
    println!("served again {took:?} after the new master was killed");
    assert!(took < Duration::from_secs(1), "{took:?}");
    // It is the server again in every respect.
    done(&upgrade(&daemon, &second(), &["--watch", "0"]));
}

#[test]
fn the_new_version_serves_on_when_the_old_master_is_killed() {
    if is_reference() {
        return;
    }
    let mut daemon = watching(1).allow("is gone").start_daemon();
    let (old, worker) = (daemon.master(), answering(&daemon));
    let load = Traffic::fresh(daemon.address(), 100);
    let upgrading = daemon.start_change(&second(), &["-s", "upgrade"]);
    daemon.logged("both accepting, watching for 60 s");
    let (new, _) = daemon.both_masters();
    daemon.kill(old);
    failed(&upgrading.end(), 1, "master went away");
    system::gone(worker);
    assert_eq!(system::parent(answering(&daemon)), new);
    done(&upgrade(&daemon, &version::executable(version::THIRD), &["--watch", "0", "--wait"]));
    load.stop().expect_no_loss();
    daemon.stop();
    daemon.start();
    assert!(!daemon.path("server.pid.oldbin").exists());
}

/// Before the new master is ready, nobody is left when the old one dies; a restart then works.
#[test]
fn a_new_master_does_not_stay_alone_unfinished() {
    if is_reference() {
        return;
    }
    let mut daemon = telling(1).allow("is gone").start_daemon();
    let hang = impostor::compiled(daemon.directory(), "hang", impostor::HANGS);
    let old = daemon.master();
    let order = json!({ "executable": hang }).to_string();
    let (_, lines) = daemon.ask_control("POST", "/1/proxyd/upgrade", &order);
    let line = daemon.logged("start new binary process ");
    daemon.kill(old);
    drop(lines);
    let hanging = line.rsplit(' ').next().and_then(|pid| pid.parse().ok()).map(Pid::from_raw);
    signal(hanging.expect("a process id"), Signal::SIGKILL);
    system::until("all have gone", || daemon.processes().is_empty());
    daemon.start();
    answering(&daemon);
    // A real one, caught before it is ready.
    let stopped = daemon.start_change(&second(), &["-s", "upgrade"]);
    let old = daemon.master();
    daemon.wait_for("error.log", |log| log.matches("start new binary process ").count() == 2);
    daemon.kill(old);
    stopped.end();
    system::until("nobody serves, or one master", || {
        let masters = daemon.masters();
        !masters.contains(&old) && (daemon.processes().is_empty() || masters.len() == 1)
    });
}

/// One that is started again has the program it had, whatever has been installed.
#[test]
fn a_worker_that_dies_returns_as_what_it_was() {
    // What a worker executes, only root may know.
    if is_reference() || !geteuid().is_root() {
        return;
    }
    let mut daemon = telling(1).allow("exited on signal 9").start_daemon();
    let both = both_serve(&daemon, 1);
    let first = system::executable(both.old);
    assert_ne!(first, system::executable(both.new));
    daemon.kill(both.old_workers[0]);
    system::until("another worker", || {
        system::workers(both.old).first().is_some_and(|pid| *pid != both.old_workers[0])
    });
    let again = system::workers_of(both.old, 1)[0];
    assert_eq!(system::executable(again), first);
    // One that was to leave anyway is not missed.
    let paused = system::Paused::new(both.new_workers.clone());
    let mut begun = daemon.client();
    begun.send("GET / HTTP/1.1\r\n");
    assert_eq!(answering(&daemon), again);
    drop(paused);
    signal(both.old, Signal::SIGQUIT);
    daemon.logged("gracefully shutting down");
    daemon.kill(again);
    system::gone(both.old);
    daemon.only_master(both.new);
    daemon.alone(both.new);
}
