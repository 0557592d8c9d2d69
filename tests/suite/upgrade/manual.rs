//! The upgrade by hand, with nginx's signals: USR2, then QUIT to the one that is to go.
//!
//! What nginx documents must hold for nginx too: `PROXYD_BIN` checks that.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{REQUEST, all_accept, answering, both_serve, second, signal, telling, telling_text};
use crate::support::system::{self, Paused};
use crate::support::{Daemon, End, is_reference, program_name, version};

const IGNORED: &str = "the changing binary signal is ignored: you should shutdown or terminate \
    before either old or new binary's process";

/// Waits until this process has logged each of these.
fn logged(daemon: &Daemon, by: Pid, texts: &[String]) {
    for text in texts {
        daemon.logged(&format!("{by}#{by}: {text}"));
    }
}

/// How the log names a signal from this test.
fn from_here(number: i32, name: &str, what: &str) -> String {
    format!("signal {number} (SIG{name}) received from {}, {what}", Pid::this())
}

#[test]
fn the_new_version_stays_when_the_old_one_quits() {
    let daemon = telling(2).start_daemon();
    let both = both_serve(&daemon, 2);
    let (old, new) = (both.old, both.new);
    let start = format!("start new binary process {new}");
    let changing = "changing binary".to_owned();
    logged(&daemon, old, &[from_here(12, "USR2", "changing binary"), changing, start]);
    logged(&daemon, new, &["using inherited sockets from \"".to_owned()]);
    for pid in &both.new_workers {
        logged(&daemon, new, &[format!("start worker process {pid}")]);
    }
    assert_eq!(system::children(old).len(), 3);
    let title = system::title(new);
    assert!(title.starts_with(&format!("{}: master process ", program_name())), "{title}");
    assert_eq!(system::status(new, "Name"), program_name());
    all_accept(&daemon, &[&both.old_workers, &both.new_workers]);
    both.commit(&daemon);
    logged(&daemon, old, &[from_here(3, "QUIT", "shutting down"), "exit".to_owned()]);
    for pid in &both.old_workers {
        logged(&daemon, old, &[format!("worker process {pid} exited with code 0")]);
        assert!(!system::alive(*pid));
    }
    assert!(both.new_workers.contains(&answering(&daemon)));
    assert_eq!(system::executable(new), second().display().to_string());
}

#[test]
fn the_old_version_stays_when_the_new_one_quits() {
    for end in [Signal::SIGQUIT, Signal::SIGTERM] {
        let daemon = telling(2).start_daemon();
        system::workers_of(daemon.master(), 2);
        let before = system::settled(daemon.master());
        let both = both_serve(&daemon, 2);
        signal(both.new, end);
        daemon.only_master(both.old);
        let ended = format!("new binary process {} exited with code 0", both.new);
        logged(&daemon, both.old, &[ended]);
        assert!(both.old_workers.contains(&answering(&daemon)));
        assert_eq!(system::workers_of(both.old, 2), both.old_workers);
        if !is_reference() {
            system::settles(both.old, &before);
        }
        // It can be tried again.
        both_serve(&daemon, 2).commit(&daemon);
    }
}

/// The old master without workers gets new ones when the new master goes.
#[test]
fn the_workers_of_the_old_return_when_they_were_sent_away() {
    let daemon = telling(2).start_daemon();
    let both = both_serve(&daemon, 2);
    signal(both.old, Signal::SIGWINCH);
    logged(&daemon, both.old, &[from_here(28, "WINCH", "stop accepting connections")]);
    for pid in &both.old_workers {
        system::gone(*pid);
    }
    assert!(both.new_workers.contains(&answering(&daemon)));
    assert_eq!(daemon.both_masters(), (both.new, both.old));
    let begun = Instant::now();
    signal(both.new, Signal::SIGTERM);
    daemon.only_master(both.old);
    let by = answering(&daemon);
    let waited = begun.elapsed();
    assert!(system::workers_of(both.old, 2).contains(&by));
    println!("answered {waited:?} after the new master was told to go");
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

/// What the old master starts again has the configuration it had, whatever is in the file.
#[test]
fn the_old_version_returns_with_its_old_configuration() {
    let mut daemon = telling(1).start_daemon();
    daemon.configure_main(&telling_text(1, "new $pid"));
    let both = both_serve(&daemon, 1);
    signal(both.old, Signal::SIGWINCH);
    for pid in &both.old_workers {
        system::gone(*pid);
    }
    let text = daemon.get("/").text();
    assert_eq!(text, format!("new {}", both.new_workers[0]));
    signal(both.old, Signal::SIGHUP);
    let back = system::workers_of(both.old, 1);
    assert_ne!(back, both.old_workers);
    let paused = Paused::new(both.new_workers.clone());
    assert_eq!(answering(&daemon), back[0]);
    drop(paused);
    signal(both.new, Signal::SIGQUIT);
    daemon.only_master(both.old);
    system::gone(both.new);
    assert_eq!(answering(&daemon), back[0]);
}

#[test]
fn only_one_upgrade_at_a_time() {
    let daemon = telling(1).start_daemon();
    let both = both_serve(&daemon, 1);
    for pid in [both.old, both.new] {
        signal(pid, Signal::SIGUSR2);
        logged(&daemon, pid, &[from_here(12, "USR2", "ignoring"), IGNORED.to_owned()]);
    }
    let log = daemon.error_log();
    assert_eq!(log.matches("[crit]").count(), 2, "{log}");
    assert_eq!(daemon.both_masters(), (both.new, both.old));
    assert_eq!(daemon.masters().len(), 2);
    both.commit(&daemon);
    // With the old one gone, the next may come.
    let again = both_serve(&daemon, 1);
    assert_eq!(again.old, both.new);
    again.commit(&daemon);
}

#[test]
fn there_is_no_upgrade_by_signal_in_the_foreground() {
    let server = telling(1).linked().start();
    assert!(server.all_workers(1).contains(&answering(&server)));
    server.signal(Signal::SIGUSR2);
    let own = server.pid();
    for text in [from_here(12, "USR2", "ignoring"), IGNORED.to_owned()] {
        server.logged(&format!("{own}#{own}: {text}"));
    }
    assert_eq!(server.master(), own);
    assert_eq!(system::children(own).len(), 1);
}

#[test]
fn the_old_master_may_be_told_to_stop() {
    let daemon = telling(1).start_daemon();
    let both = both_serve(&daemon, 1);
    let mut kept = daemon.client();
    kept.send(REQUEST).response();
    signal(both.old, Signal::SIGTERM);
    daemon.only_master(both.new);
    system::gone(both.old);
    assert!(both.new_workers.contains(&answering(&daemon)));
}

/// Connections of the old master's workers last as long as they want to; meanwhile both pid files
/// are there.
#[test]
fn the_old_master_waits_for_what_it_has_begun() {
    let daemon = telling(1).start_daemon();
    let mut begun = daemon.client();
    begun.send("GET / HTTP/1.1\r\n");
    // Accepted for certain once a later connection is answered.
    let own = answering(&daemon);
    let both = both_serve(&daemon, 1);
    signal(both.old, Signal::SIGQUIT);
    daemon.logged("gracefully shutting down");
    assert_eq!(answering(&daemon), both.new_workers[0]);
    assert_eq!(daemon.both_masters(), (both.new, both.old));
    let answer = begun.send("Host: localhost\r\n\r\n").response();
    assert_eq!((answer.text(), answer.header("Connection")), (own.to_string(), Some("close")));
    assert_eq!(begun.end(), End::Closed);
    daemon.only_master(both.new);
}

#[test]
fn several_upgrades_in_a_row() {
    let daemon = telling(1).start_daemon();
    let mut masters = vec![daemon.master()];
    for _ in 0..4 {
        let both = both_serve(&daemon, 1);
        both.commit(&daemon);
        daemon.alone(both.new);
        masters.push(both.new);
    }
    masters.sort();
    masters.dedup();
    assert_eq!(masters.len(), 5);
}

/// A killed new master leaves nobody without an answer, and its workers leave.
#[test]
fn a_killed_new_master_is_forgotten() {
    if is_reference() {
        // Its workers would serve on for ever.
        return;
    }
    let mut daemon = telling(2).start_daemon();
    daemon.allow("is gone");
    daemon.allow("exited on signal 9");
    let both = both_serve(&daemon, 2);
    daemon.kill(both.new);
    daemon.only_master(both.old);
    logged(&daemon, both.old, &[format!("new binary process {} exited on signal 9", both.new)]);
    for pid in &both.new_workers {
        system::gone(*pid);
    }
    assert!(both.old_workers.contains(&answering(&daemon)));
    both_serve(&daemon, 2).commit(&daemon);
}

/// With the old master gone for no matter what reason, the new one is the master.
#[test]
fn a_killed_old_master_leaves_the_new_one() {
    if is_reference() {
        // Its workers would serve on for ever.
        return;
    }
    let mut daemon = telling(2).start_daemon();
    daemon.allow("is gone");
    let both = both_serve(&daemon, 2);
    daemon.kill(both.old);
    for pid in &both.old_workers {
        system::gone(*pid);
    }
    assert!(both.new_workers.contains(&answering(&daemon)));
    assert_eq!(daemon.master(), both.new);
    // It is a master like any other.
    both_serve(&daemon, 2).commit(&daemon);
    daemon.stop();
    daemon.start();
    assert!(!daemon.path("server.pid.oldbin").exists());
}

#[test]
fn versions_are_told_apart() {
    if is_reference() {
        return;
    }
    for (number, program) in
        [(version::SECOND, second()), (version::FIRST, crate::support::binary())]
    {
        let output = std::process::Command::new(program).arg("-v").output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(&format!("(proxyd/{number})")), "{text}");
    }
}
