//! New versions that are no good, and processes that die at the worst moment: somebody serves on.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{
    Undisturbed, answering, configured, done, failed, second, signal, telling, telling_text,
    upgrade, watching,
};
use crate::support::system;
use crate::support::traffic::{Loss, Traffic};
use crate::support::{Origin, Site, impostor, is_reference, version};

/// Asks for an upgrade to a program that cannot ask itself: the last line, and how long it took.
fn order(site: &Site, executable: &Path) -> (Value, Duration) {
    let begun = Instant::now();
    let order = json!({ "executable": executable }).to_string();
    let (status, lines) = site.ask_control("POST", "/1/proxyd/upgrade", &order);
    assert_eq!(status, 200);
    let last = lines.last().expect("a line");
    (serde_json::from_str(&last).expect("JSON"), begun.elapsed())
}

/// Fails unless nothing was changed, for this reason.
fn refused(line: &Value, why: &str) {
    assert!(line["code"] == 1 && line["state"] == "refused", "{line}");
    let text = line["text"].as_str().unwrap_or_default();
    assert!(text.starts_with("upgrade 0.1.0 -> ") && text.contains(why), "not {why:?}: {text}");
}

/// What every file that is no program leads to: whether as the new version, and why.
fn bad_files(directory: &Path) -> Vec<(PathBuf, &'static str)> {
    vec![
        (impostor::file(directory, "garbage", b"no program\n"), "(8: Exec format error)"),
        (impostor::file(directory, "empty", b""), "(8: Exec format error)"),
        (impostor::not_executable(directory), "(13: Permission denied)"),
        (directory.join("missing"), "(2: No such file or directory)"),
    ]
}

/// By hand. nginx says the same, only to another address: its new process fails, not its master.
#[test]
fn a_file_that_is_no_program_changes_nothing() {
    let setup = telling(1).allow("execve() failed while executing new binary process");
    let server = Undisturbed::start(setup, 1);
    let (daemon, own) = (&server.daemon, server.master);
    let load = Traffic::kept(daemon.address(), 10, Duration::from_millis(20));
    let (busy, writer) = impostor::being_written(daemon.directory());
    let mut files = bad_files(daemon.directory());
    files.push((busy, "(26: Text file busy)"));
    let link = daemon.path(crate::support::program_name()).display().to_string();
    for (at, (file, why)) in files.into_iter().enumerate() {
        daemon.install(&file);
        signal(own, Signal::SIGUSR2);
        let text = format!("execve() failed while executing new binary process \"{link}\" {why}");
        let line = daemon.logged(&text);
        assert!(line.contains("[alert]"), "{line}");
        daemon.wait_for("error.log", |log| log.matches("execve() failed").count() > at);
        server.check();
    }
    drop(writer);
    let report = load.stop();
    if !is_reference() {
        report.expect_no_loss();
    }
}

/// A program that is none of ours is dealt with as nginx does.
#[test]
fn a_program_that_ends_at_once_changes_nothing() {
    let server = Undisturbed::start(telling(1), 1);
    server.daemon.install(Path::new("/bin/false"));
    signal(server.master, Signal::SIGUSR2);
    let line = server.daemon.logged("start new binary process ");
    let pid = line.rsplit(' ').next().unwrap_or_default();
    server.daemon.logged(&format!("new binary process {pid} exited with code 1"));
    server.check();
}

#[test]
fn a_bad_program_is_refused_at_once() {
    if is_reference() {
        return;
    }
    let setup = telling(1).allow("execve() failed while executing new binary process");
    let server = Undisturbed::start(setup.allow("exited on signal 11"), 1);
    let directory = server.daemon.directory();
    let fresh = Traffic::fresh(server.daemon.address(), 200);
    let kept = Traffic::kept(server.daemon.address(), 20, Duration::from_millis(20));
    let (busy, writer) = impostor::being_written(directory);
    let crash = impostor::compiled(directory, "crash", impostor::CRASHES);
    let mut files = bad_files(directory);
    files.push((busy, "(26: Text file busy)"));
    files.push((PathBuf::from("/bin/false"), "exited with code 1 before ready"));
    files.push((crash, "exited on signal 11 before ready; last words: \"last words\""));
    for (file, why) in files {
        let (line, took) = order(&server.daemon, &file);
        refused(&line, why);
        assert!(took < Duration::from_secs(1), "{took:?} for {}", file.display());
        server.check();
    }
    drop(writer);
    fresh.stop().expect_no_loss();
    kept.stop().expect_no_loss();
}

#[test]
fn a_new_version_that_never_gets_ready_is_killed() {
    if is_reference() {
        return;
    }
    let setup = telling(1).set("main", "upgrade_timeout 500ms;");
    let server = Undisturbed::start(setup.allow("exited on signal 9"), 1);
    let hang = impostor::compiled(server.daemon.directory(), "hang", impostor::HANGS);
    let (line, took) = order(&server.daemon, &hang);
    refused(&line, "not ready after 0.5 s (0 of 0 workers); killed");
    assert!((500..1500).contains(&took.as_millis()), "{took:?}");
    server.check();
    // The same by hand.
    server.daemon.install(&hang);
    signal(server.master, Signal::SIGUSR2);
    let second = |log: &str| log.matches("not ready after 0.5 s").count() == 2;
    server.daemon.wait_for("error.log", second);
    server.check();
    assert!(!server.daemon.error_log().contains("oldbin"));
}

/// By hand, nobody reads the configuration before the new master does.
#[test]
fn a_configuration_the_new_version_cannot_use_changes_nothing() {
    let setup = telling(1).allow("unknown directive \"nonsense\"").allow("/nowhere/");
    let mut server = Undisturbed::start(setup, 1);
    for (at, wrong) in ["nonsense on;", "error_log /nowhere/x;"].into_iter().enumerate() {
        server.daemon.configure_main(&format!("{wrong}\n{}", telling_text(1, "$pid")));
        server.daemon.install(&second());
        signal(server.master, Signal::SIGUSR2);
        let ended = |log: &str| {
            let lines = log.lines().filter(|line| line.contains("new binary process "));
            lines.filter(|line| line.ends_with(" exited with code 1")).count() > at
        };
        server.daemon.wait_for("error.log", ended);
        server.check();
    }
    let log = server.daemon.error_log();
    assert!(log.contains("[emerg]") && log.contains("nginx.conf:1"), "{log}");
}

#[test]
fn an_address_that_is_taken_changes_nothing() {
    if is_reference() {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let setup = telling(1).allow("(98: Address already in use)").allow("still could not bind()");
    let mut server = Undisturbed::start(setup, 1);
    let text = telling_text(1, "$pid").replace("server {", &format!("server {{ listen {address};"));
    server.daemon.configure_main(&text);
    let said = upgrade(&server.daemon, &second(), &[]);
    failed(&said, 1, &format!("bind() to {address} failed (98: Address already in use)"));
    server.check();
}

#[test]
fn a_worker_that_dies_during_the_watch_undoes_the_upgrade() {
    if is_reference() {
        return;
    }
    let server = Undisturbed::start(watching(2).allow("exited on signal 6"), 2);
    let daemon = &server.daemon;
    let load = Traffic::fresh(daemon.address(), 100);
    let upgrading = daemon.start_change(&second(), &["-s", "upgrade"]);
    daemon.logged("both accepting, watching for 60 s");
    let new = system::workers_of(daemon.master(), 2);
    let begun = Instant::now();
    signal(new[0], Signal::SIGABRT);
    let said = upgrading.end();
    let took = begun.elapsed();
    failed(&said, 2, &format!("rolled back: worker {} exited on signal 6 after ", new[0]));
    assert!(said.errors.contains("0.1.0 never stopped"), "{said:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    server.check();
    let report = load.stop();
    // What the dead one held, and nothing else.
    let lost: usize = report.losses.values().sum();
    assert!(lost <= 2, "{report:?}");
    println!("undone {took:?} after a worker died; {lost} requests lost with it");
}

/// A configuration that answers this share of requests with an error of its own.
fn failing(share: &str) -> String {
    format!(
        "%%main%% events {{}} http {{ %%http%% access_log off;
            split_clients $request_id $bad {{ {share} 1; * 0; }}
            server {{ listen %%listen%%;
                location / {{ if ($bad) {{ return 500; }} return 200 $pid; }} }} }}"
    )
}

#[test]
fn a_version_that_fails_more_often_is_sent_back() {
    if is_reference() {
        return;
    }
    let mut server = Undisturbed::start(watching(1), 1);
    let file = server.daemon.path("nginx.conf");
    let before = std::fs::read(&file).expect("a configuration");
    server.daemon.configure_main(&failing("15%"));
    let load = Traffic::fresh(server.daemon.address(), 400);
    let begun = Instant::now();
    let said = upgrade(&server.daemon, &second(), &[]);
    let took = begun.elapsed();
    failed(&said, 2, " % local errors (of ");
    assert!(said.errors.contains(" against 0.0 % before; 0.1.0 never stopped"), "{said:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    let report = load.stop();
    assert!(report.losses.keys().all(|loss| *loss == Loss::Status(500)), "{report:?}");
    std::fs::write(file, before).expect("a configuration");
    server.check();
    println!("sent back after {took:?}, {} requests", report.answered);
}

/// A server behind that fails does so for both versions, and is no reason to go back.
#[test]
fn a_failing_backend_is_not_the_new_versions_fault() {
    if is_reference() {
        return;
    }
    let count = AtomicUsize::new(0);
    let origin = Origin::new(move |peer| {
        while peer.request().is_some() {
            let bad = count.fetch_add(1, Relaxed).is_multiple_of(2);
            let status = if bad { "502 Bad Gateway" } else { "200 OK" };
            peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok"));
        }
    });
    let text = "%%main%% events {} http { %%http%% server { listen %%listen%%;
        location / { proxy_pass http://%%origin%%; } } }";
    let setup = configured(text).set("origin", origin.address());
    let setup = setup.set("main", "upgrade_watch 1500ms; upgrade_rollback_window 0;");
    let daemon = setup.start_daemon();
    let load = Traffic::fresh(daemon.address(), 200);
    done(&upgrade(&daemon, &second(), &["--wait"]));
    let report = load.stop();
    let bad = report.losses.get(&Loss::Status(502)).copied().unwrap_or(0);
    assert!(bad > 50 && report.losses.len() == 1, "{report:?}");
}

/// After many good and bad upgrades everything is as after the first.
#[test]
fn many_upgrades_leak_nothing() {
    if is_reference() {
        return;
    }
    let setup = telling(1).allow("execve() failed").allow("exited on signal 11");
    let daemon = setup.start_daemon();
    let versions = [version::FIRST, version::SECOND].map(version::executable);
    let garbage = impostor::file(daemon.directory(), "garbage", b"no program\n");
    let crash = impostor::compiled(daemon.directory(), "crash", impostor::CRASHES);
    let mut first = None;
    for round in 0..8 {
        done(&upgrade(&daemon, &versions[(round + 1) % 2], &["--wait"]));
        answering(&daemon);
        if round >= 1 {
            let before = first.get_or_insert_with(|| system::settled(daemon.master()));
            system::settles(daemon.master(), before);
        }
        for bad in [&garbage, &crash, &PathBuf::from("/bin/false")] {
            assert_eq!(order(&daemon, bad).0["code"], 1);
        }
        done(&upgrade(&daemon, &second(), &["--dry-run"]));
        if let Some(before) = &first {
            system::settles(daemon.master(), before);
        }
    }
    daemon.alone(daemon.master());
}
