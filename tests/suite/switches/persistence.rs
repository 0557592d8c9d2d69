//! What has been closed stays closed: over reloads, crashes, stops, upgrades and ways back.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use super::{OK, STATE, ctl, done, expect, is_closed, off, on, setup, switch, switches, text};
use crate::support::{Daemon, Origin, Setup, Site, binary, is_reference, system, version};

fn start(more: &str) -> (Origin, Daemon) {
    let origin = Origin::answering(OK);
    let daemon = setup(2, &origin, more).start_daemon();
    (origin, daemon)
}

fn change(site: &Site, program: &std::path::Path, what: &str) {
    let said = site.change(program, &["-s", what, "--wait"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// Kills all processes and starts the server again.
fn crash(daemon: &mut Daemon) {
    daemon.allow("is gone, draining");
    for pid in daemon.processes().into_keys() {
        daemon.kill(pid);
        system::gone(pid);
    }
    daemon.start();
}

fn state_file(site: &Site) -> Value {
    serde_json::from_str(&site.read(STATE)).expect("a state file")
}

#[test]
fn it_stays_closed_whatever_happens() {
    if is_reference() {
        return;
    }
    let (_origin, mut daemon) = start("");
    let second = version::executable(version::SECOND);
    done(&daemon, &["maintenance", "on", "shop", "--reason", "moving", "--for", "2h"]);
    let said = |site: &Site| {
        let shop = switch(site, "shop");
        ["since", "until", "reason", "epoch"].map(|field| shop[field].clone())
    };
    let before = said(&daemon);
    let check = |site: &Site, after: &str| {
        expect(site, false, true);
        assert_eq!(said(site), before, "after {after}");
    };
    assert_eq!(daemon.command(&["-s", "reload"]).0, Some(0));
    check(&daemon, "a reload");
    crash(&mut daemon);
    check(&daemon, "a crash");
    change(&daemon, &second, "upgrade");
    check(&daemon, "an upgrade");
    change(&daemon, &binary(), "rollback");
    check(&daemon, "a rollback");
    daemon.stop();
    daemon.start();
    check(&daemon, "a stop");
    let worker = super::worker(&daemon);
    daemon.allow("exited on signal 9");
    daemon.kill(worker);
    daemon.logged(&format!("worker process {worker} exited on signal 9"));
    check(&daemon, "a worker's death");
    done(&daemon, &["maintenance", "off", "shop"]);
    for step in 0..2 {
        expect(&daemon, false, false);
        if step == 0 {
            crash(&mut daemon);
        }
    }
}

#[test]
fn what_is_said_during_an_upgrade_is_said_to_both() {
    if is_reference() {
        return;
    }
    let (_origin, daemon) = start("");
    let old = daemon.master();
    on(&daemon);
    daemon.install(&version::executable(version::SECOND));
    kill(old, Signal::SIGUSR2).expect("a signal");
    daemon.both_masters();
    for closed in [true, false, true] {
        if closed {
            on(&daemon);
        } else {
            off(&daemon);
        }
        // Whichever answers.
        for _ in 0..20 {
            assert_eq!(is_closed(&daemon, "/"), closed);
        }
    }
    kill(old, Signal::SIGQUIT).expect("a signal");
    system::gone(old);
    expect(&daemon, true, false);
    assert_eq!(switch(&daemon, "default")["epoch"], 2);
    off(&daemon);
    expect(&daemon, false, false);
}

/// An old worker with a client that it has had for long is as closed as the new ones.
#[test]
fn workers_that_drain_obey_as_well() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering(OK);
    let daemon = setup(1, &origin, "").start_daemon();
    let mut client = daemon.client();
    assert_eq!(client.send(super::REQUEST).response().status, 200);
    let mut begun = daemon.client();
    begun.send("GET / HTTP/1.1\r\n");
    let old = super::worker(&daemon);
    change_without_waiting(&daemon);
    on(&daemon);
    assert_ne!(super::worker(&daemon), old);
    assert_eq!(client.send(super::REQUEST).response().status, 503);
    assert_eq!(begun.send("Host: localhost\r\n\r\n").response().status, 503);
    off(&daemon);
}

/// Likewise where a reload needs other processes: here one more.
#[test]
fn workers_that_a_reload_has_replaced_obey_as_well() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering(OK);
    let mut daemon = setup(1, &origin, "").start_daemon();
    let mut client = daemon.client();
    assert_eq!(client.send(super::REQUEST).response().status, 200);
    let old = super::worker(&daemon);
    daemon.configure_main(&text(2, &origin, ""));
    assert_eq!(daemon.command(&["-s", "reload"]).0, Some(0));
    on(&daemon);
    assert_ne!(super::worker(&daemon), old);
    let answer = client.send(super::REQUEST).response();
    assert_eq!((answer.status, answer.header("Connection")), (503, Some("close")));
    assert_eq!(origin.connections(), 1);
}

fn change_without_waiting(site: &Site) {
    let said = site.change(&version::executable(version::SECOND), &["-s", "upgrade"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn a_switch_that_is_not_configured_any_more_is_not_forgotten() {
    if is_reference() {
        return;
    }
    let (origin, mut daemon) = start("");
    let without = text(1, &origin, "").replace("maintenance shop;", "");
    done(&daemon, &["maintenance", "on", "shop"]);
    let with = text(2, &origin, "");
    daemon.configure_main(&without);
    assert_eq!(daemon.command(&["-s", "reload"]).0, Some(0));
    let line = daemon.logged("maintenance \"shop\" is closed, and the configuration does not");
    assert!(line.contains("[warn]"), "{line}");
    assert!(!is_closed(&daemon, "/shop"), "requests go by the configuration");
    assert_eq!(switch(&daemon, "shop")["configured"], false);
    crash(&mut daemon);
    assert_eq!(switch(&daemon, "shop")["state"], "closed");
    daemon.configure_main(&with);
    assert_eq!(daemon.command(&["-s", "reload"]).0, Some(0));
    assert!(is_closed(&daemon, "/shop"));
    daemon.configure_main(&without);
    assert_eq!(daemon.command(&["-s", "reload"]).0, Some(0));
    done(&daemon, &["maintenance", "off", "shop"]);
    assert_eq!(switches(&daemon).len(), 1);
    assert_eq!(state_file(&daemon)["switches"].get("shop"), None);
}

#[test]
fn a_file_that_tells_nothing_stops_a_start_but_no_server() {
    if is_reference() {
        return;
    }
    let (_origin, mut daemon) = start("");
    daemon.allow("the state file");
    done(&daemon, &["maintenance", "on", "shop"]);
    for (content, why) in [
        ("{\"version\":1,\"swit", "is damaged: EOF while parsing"),
        ("", "is damaged: EOF while parsing a value"),
        ("garbage", "is damaged: expected value"),
        ("{\"version\":7}", "is of version 7, this program knows version 1"),
    ] {
        fs::write(daemon.path(STATE), content).expect("a file");
        // Memory is what counts as long as there is a server.
        assert_eq!(daemon.command(&["-s", "reload"]).0, Some(0));
        expect(&daemon, false, true);
        daemon.stop();
        let (code, messages) = daemon.command(&[]);
        assert_eq!(code, Some(1), "{messages}");
        let line = messages.lines().find(|line| line.contains("[emerg]")).unwrap_or_default();
        assert!(line.contains(why) && line.contains("/state\""), "{messages}");
        assert!(!daemon.path("server.pid.ctl").exists(), "nothing is left behind");
        assert_eq!(daemon.read(STATE), content, "it is for a person to look at");
        fs::write(
            daemon.path(STATE),
            json!({ "version": 1, "switches": { "shop": { "state": "closed" } } }).to_string(),
        )
        .expect("a file");
        daemon.start();
        expect(&daemon, false, true);
    }
}

/// A later version may have written what this one cannot judge: then it does not even begin to take
/// over.
#[test]
fn a_way_back_is_refused_before_it_begins_if_the_file_is_of_a_later_version() {
    if is_reference() {
        return;
    }
    let (_origin, mut daemon) = start("");
    daemon.allow("the state file");
    on(&daemon);
    let (master, before) = (daemon.master(), daemon.read(STATE));
    fs::write(daemon.path(STATE), "{\"version\":2}").expect("a file");
    let said = daemon.change(&version::executable(version::SECOND), &["-s", "upgrade"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.errors.contains("is of version 2, this program knows version 1"), "{said:?}");
    assert_eq!(daemon.master(), master);
    expect(&daemon, true, false);
    assert_eq!(ctl(&daemon, &["maintenance", "off"]).code, Some(1), "nor is it overwritten");
    expect(&daemon, true, false);
    // Damage is another thing: memory knows better.
    fs::write(daemon.path(STATE), "garbage").expect("a file");
    change(&daemon, &version::executable(version::SECOND), "upgrade");
    expect(&daemon, true, false);
    let after: Value = state_file(&daemon);
    assert_eq!(after, serde_json::from_str::<Value>(&before).expect("JSON"));
}

#[test]
fn what_a_later_version_has_written_is_kept() {
    if is_reference() {
        return;
    }
    let (_origin, daemon) = start("");
    on(&daemon);
    let mut file = state_file(&daemon);
    file["mirrors"] = json!({ "a": 1 });
    file["switches"]["default"]["slot"] = json!("new");
    fs::write(daemon.path(STATE), file.to_string()).expect("a file");
    off(&daemon);
    let file = state_file(&daemon);
    assert_eq!(
        (&file["mirrors"]["a"], &file["switches"]["default"]["slot"]),
        (&json!(1), &json!("new"))
    );
    assert_eq!(file["switches"]["default"]["state"], "open");
}

#[test]
fn a_reload_may_move_the_file() {
    if is_reference() {
        return;
    }
    let (origin, mut daemon) = start("");
    on(&daemon);
    let moved = text(2, &origin, "").replace("%%dir%%/state;", "%%dir%%/moved;");
    daemon.configure_main(&moved);
    assert_eq!(daemon.command(&["-s", "reload"]).0, Some(0));
    assert!(!daemon.path(STATE).exists() && daemon.path("moved").exists());
    crash(&mut daemon);
    expect(&daemon, true, false);
}

#[test]
fn with_a_full_disk_nothing_changes() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering(OK);
    let setup: Setup = setup(1, &origin, "");
    if !setup.mount_small() {
        eprintln!("NOT CHECKED: no file system can be mounted here");
        return;
    }
    let server = setup.start();
    on(&server);
    let before = server.read(STATE);
    let filled = fill(&server.path("filler"));
    for (verb, name) in [("off", "default"), ("on", "shop")] {
        let said = ctl(&server, &["maintenance", verb, name]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.errors.contains("(28: No space left on device)"), "{said:?}");
        expect(&server, true, false);
    }
    assert_eq!(server.read(STATE), before);
    assert!(filled && !server.path("state.new").exists());
    fs::remove_file(server.path("filler")).expect("a file to remove");
    off(&server);
    expect(&server, false, false);
}

/// Takes all the space there is.
fn fill(path: &std::path::Path) -> bool {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("a file");
    for size in [4096, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    true
}

/// Who has waited out an announced end while nobody served is late, not open.
#[test]
fn time_passes_while_nobody_serves() {
    if is_reference() {
        return;
    }
    let (_origin, daemon) = start("");
    let mut daemon = daemon;
    daemon.stop();
    let text = json!({ "version": 1, "switches": {
        "default": { "state": "closed", "since": 100, "until": 200 },
        "shop": { "state": "closed", "since": 100, "until": 200, "auto_off": true },
    } });
    fs::write(daemon.path(STATE), text.to_string()).expect("a file");
    daemon.start();
    daemon.logged("maintenance \"shop\" opened by its own end");
    expect(&daemon, true, false);
    let over = switch(&daemon, "default")["overrun"].as_u64().map(Duration::from_secs);
    assert!(over.is_some_and(|over| over > Duration::from_hours(24)), "{over:?}");
}
