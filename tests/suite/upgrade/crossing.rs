//! Upgrades, reloads and rollbacks that come at the same time: one after the other, or not at all.

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use super::{
    answering, both_serve, done, failed, rollback, second, serving, signal, status, telling,
    telling_text, upgrade, watching,
};
use crate::support::{Daemon, binary, is_reference, system, version};

/// Whoever asked may go away; what was asked for happens.
#[test]
fn an_upgrade_does_not_depend_on_who_asked() {
    if is_reference() {
        return;
    }
    let daemon = watching(1).start_daemon();
    let change = daemon.start_change(&second(), &["-s", "upgrade", "--watch", "500ms"]);
    daemon.logged("both accepting, watching for 0.5 s");
    change.signal(Signal::SIGKILL);
    assert_eq!(change.end().code, None);
    daemon.logged("committed; ");
    daemon.only_master(daemon.master());
    assert_eq!(serving(&daemon), version::SECOND);
}

#[test]
fn a_rollback_during_the_watch_undoes_the_upgrade() {
    if is_reference() {
        return;
    }
    let daemon = watching(1).start_daemon();
    let old = daemon.master();
    system::workers_of(old, 1);
    let before = system::settled(old);
    let upgrading = daemon.start_change(&second(), &["-s", "upgrade"]);
    daemon.logged("upgrade 0.1.0 -> 0.1.1: both accepting, watching for 60 s");
    let (new, _) = daemon.both_masters();
    let busy = upgrade(&daemon, &second(), &[]);
    failed(&busy, 1, "another change is in progress (upgrade");
    done(&rollback(&daemon, &[]));
    failed(&upgrading.end(), 2, "upgrade 0.1.0 -> 0.1.1: rolled back on request");
    daemon.only_master(old);
    system::gone(new);
    assert_eq!(system::parent(answering(&daemon)), old);
    system::settles(old, &before);
}

/// Ten times the same wish is one wish, and it is granted when it is decided who the server is.
#[test]
fn reloads_wait_for_the_end_of_an_upgrade() {
    if is_reference() {
        return;
    }
    let mut daemon = watching(1).start_daemon();
    let upgrading = daemon.start_change(&second(), &["-s", "upgrade", "--watch", "600ms"]);
    daemon.logged("both accepting, watching for 0.6 s");
    let (new, old) = daemon.both_masters();
    daemon.configure_main(&telling_text(1, "new $pid"));
    for _ in 0..10 {
        signal(old, Signal::SIGHUP);
    }
    let reloading = daemon.change(&binary(), &["-s", "reload"]);
    assert!(reloading.code == Some(1), "{reloading:?}");
    assert!(reloading.errors.contains("another change is in progress"), "{reloading:?}");
    done(&upgrading.end());
    system::until("the new master has reloaded", || daemon.get("/").text().starts_with("new "));
    let by = |pid: Pid| daemon.error_log().matches(&format!("{pid}#{pid}: reconfiguring")).count();
    assert_eq!((by(old), by(new)), (0, 1));
}

/// An upgrade that comes while a reload is under way is told so.
#[test]
fn an_upgrade_does_not_cross_a_reload() {
    if is_reference() {
        return;
    }
    let daemon = telling(1).start_daemon();
    let worker = answering(&daemon);
    let stopped = system::Paused::new([worker]);
    signal(daemon.master(), Signal::SIGHUP);
    daemon.logged("reconfiguring");
    failed(&upgrade(&daemon, &second(), &[]), 1, "another change is in progress (reload");
    drop(stopped);
    system::until("the reload is over", || status(&daemon)["change"] == Value::Null);
    done(&upgrade(&daemon, &second(), &["--wait"]));
}

/// By hand and by command at the same time: the one that came second is refused.
#[test]
fn a_command_does_not_cross_an_upgrade_by_hand() {
    if is_reference() {
        return;
    }
    let daemon: Daemon = telling(1).start_daemon();
    let both = both_serve(&daemon, 1);
    failed(&upgrade(&daemon, &second(), &[]), 1, "another change is in progress");
    both.commit(&daemon);
    done(&upgrade(&daemon, &binary(), &["--wait"]));
}
