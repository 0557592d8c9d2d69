//! `SIGRTMIN+1` closes and `SIGRTMIN+2` opens, whichever process is asked.

use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::process::Command;

use super::{OK, expect, is_closed, off, on, setup};
use crate::support::{Origin, Site, binary, is_reference, system, version};

/// Signals by number: those have no names.
fn send(pid: Pid, n: i32) {
    let number = libc::SIGRTMIN() + n;
    let kill = format!("kill -{number} {pid}");
    let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
    assert!(status.success(), "{kill}");
}

fn closes_and_opens(site: &Site, pid: Pid) {
    for (n, closed) in [(1, true), (2, false)] {
        send(pid, n);
        system::until(&format!("signal {n} to {pid}"), || is_closed(site, "/") == closed);
        expect(site, closed, false);
    }
}

#[test]
fn the_master_obeys_and_says_so() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering(OK);
    let server = setup(2, &origin, "").start();
    closes_and_opens(&server, server.pid());
    let (number, sender) = (libc::SIGRTMIN() + 1, "received from ");
    server.logged(&format!("signal {number} (SIGRTMIN+1) {sender}"));
    let uid = nix::unistd::geteuid();
    server.logged(&format!("maintenance \"default\" closed by uid {uid} (pid "));
    for _ in 0..3 {
        send(server.pid(), 1);
    }
    server.wait_for("error.log", |log| log.matches("already closed, asked for").count() == 2);
    assert!(is_closed(&server, "/"));
    // What was said with more words stays as it was said.
    off(&server);
}

#[test]
fn a_worker_is_not_the_one_to_ask() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering(OK);
    let server = setup(1, &origin, "").start();
    // One that answers has begun to listen for signals.
    assert_eq!(server.get("/").status, 200);
    let workers = server.all_workers(1);
    for n in [1, 2] {
        send(workers[0], n);
        server.logged(&format!("(SIGRTMIN+{n}) received from "));
    }
    expect(&server, false, false);
    assert_eq!(server.workers(), workers);
}

/// A signal without a name ends a process as any other.
#[test]
fn a_worker_that_is_killed_by_another_one_is_replaced() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering(OK);
    let server = setup(1, &origin, "").allow("exited on signal ").start();
    let workers = server.all_workers(1);
    on(&server);
    send(workers[0], 5);
    let number = libc::SIGRTMIN() + 5;
    server.logged(&format!("worker process {} exited on signal {number}", workers[0]));
    system::until("another worker", || server.workers().iter().any(|pid| *pid != workers[0]));
    expect(&server, true, false);
}

/// While one master takes over from another, the pid file names the one that has no say yet.
#[test]
fn in_an_upgrade_either_master_may_be_asked() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering(OK);
    let daemon = setup(1, &origin, "").start_daemon();
    let old = daemon.master();
    daemon.install(&version::executable(version::SECOND));
    nix::sys::signal::kill(old, Signal::SIGUSR2).expect("a signal");
    let (new, _) = daemon.both_masters();
    for pid in [new, old] {
        closes_and_opens(&daemon, pid);
    }
    nix::sys::signal::kill(old, Signal::SIGQUIT).expect("a signal");
    system::gone(old);
    closes_and_opens(&daemon, new);
}

#[test]
fn in_the_foreground_the_first_process_passes_them_on() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering(OK);
    let server = setup(1, &origin, "").start();
    let second = version::executable(version::SECOND);
    for program in [&second, &binary()] {
        let said = server.change(program, &["-s", "upgrade", "--wait"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_ne!(server.master(), server.pid());
        closes_and_opens(&server, server.pid());
        closes_and_opens(&server, server.master());
    }
}
