//! The master is killed at every call of the kernel between an order and its answer: the state file
//! then says the old or the new, and the next start believes it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{OK, STATE, is_closed, setup, switch};
use crate::support::{DEADLINE, Daemon, Origin, is_reference, system};

/// More calls than it takes.
const MOST: usize = 400;

/// Orders a state and says whether that was answered.
fn order(socket: &Path, state: &str) -> Option<u16> {
    let body = json!({ "state": state }).to_string();
    let length = body.len();
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    let head = "POST /1/proxyd/maintenance/default HTTP/1.1\r\nHost: localhost\r\n";
    stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// Lets a process run for so many calls of the kernel and kills it as the next one begins. If it rests
/// before that because the order has been answered, it lives: false.
fn kill_after(pid: Pid, calls: usize, answered: impl Fn() -> bool) -> bool {
    let mut begun = 0;
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {
                if answered() {
                    return false;
                }
                system::pause();
                continue;
            }
            Ok(WaitStatus::PtraceSyscall(_)) => begun += 1,
            // The end of the interruption, and signals that are not for us.
            Ok(WaitStatus::PtraceEvent(..)) => {}
            Ok(WaitStatus::Stopped(_, signal)) => {
                ptrace::syscall(pid, signal).expect("it goes on");
                continue;
            }
            other => panic!("{other:?}"),
        }
        // Each call stops it twice.
        if begun > 2 * calls {
            kill(pid, Signal::SIGKILL).expect("a signal");
            while !matches!(waitpid(pid, Some(WaitPidFlag::__WALL)), Ok(WaitStatus::Signaled(..))) {
            }
            return true;
        }
        ptrace::syscall(pid, None).expect("it goes on");
    }
}

fn written(daemon: &Daemon) -> Option<String> {
    let text = fs::read_to_string(daemon.path(STATE)).ok()?;
    let file: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    file["switches"]["default"]["state"].as_str().map(str::to_owned)
}

/// Kills the master that many calls after an order has been given; false if it was faster.
fn scene(daemon: &mut Daemon, calls: usize) -> bool {
    let before = switch(daemon, "default")["state"].as_str().expect("a state").to_owned();
    let after = if before == "open" { "closed" } else { "open" };
    let (pid, socket) = (daemon.master(), daemon.path("server.pid.ctl"));
    // With the thread that traces it ends the tracing.
    let tracing = thread::spawn(move || {
        ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD).expect("a process to trace");
        ptrace::interrupt(pid).expect("an interruption");
        let asking = thread::spawn(move || order(&socket, after));
        let killed = kill_after(pid, calls, || asking.is_finished());
        (killed, asking.join().expect("a client"))
    });
    let (killed, answer) = tracing.join().expect("a tracer");
    if !killed {
        assert_eq!(answer, Some(200));
        return false;
    }
    let found = written(daemon).unwrap_or_else(|| "open".to_owned());
    assert!(found == before || found == after, "neither {before} nor {after}: {found}");
    if answer == Some(200) {
        assert_eq!(found, after, "what was answered has been written");
    }
    daemon.was_killed();
    system::until("all workers leave", || daemon.processes().is_empty());
    daemon.start();
    assert_eq!(switch(daemon, "default")["state"], found.as_str());
    assert_eq!(is_closed(daemon, "/"), found == "closed");
    true
}

#[test]
fn who_is_killed_at_any_call_has_said_the_old_or_the_new() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering(OK);
    let mut daemon = setup(1, &origin, "").allow("is gone, draining").start_daemon();
    let mut calls = 0;
    while calls < MOST && scene(&mut daemon, calls) {
        calls += 1;
    }
    eprintln!("killed at {calls} calls");
    assert!((10..MOST).contains(&calls), "{calls}");
}
