//! Another version of the program takes over while clients are served, and hands back.

mod command;
mod counts;
mod crossing;
mod deaths;
mod draining;
mod failures;
mod files;
mod foreground;
mod loads;
mod manual;
mod scripts;
mod streams;
mod takeover;

use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::system::{self, Footprint, Paused};
use crate::support::{Daemon, Said, Setup, Site, is_reference, version};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Answers with the worker's process id, which tells of which version it is.
fn telling(workers: usize) -> Setup {
    configured(&telling_text(workers, "$pid"))
}

/// The text of such a configuration, answering with anything.
fn telling_text(workers: usize, answer: &str) -> String {
    format!(
        "worker_processes {workers}; %%main%% events {{}}
        http {{ %%http%% access_log off; keepalive_requests 1000000;
            server {{ listen %%listen%%; return 200 \"{answer}\"; }} }}"
    )
}

/// A whole configuration; `%%main%%` in it are the terms of upgrades. Unless said otherwise they end
/// as soon as both versions serve, and the old one then leaves for good.
fn configured(text: &str) -> Setup {
    let own = if is_reference() { "" } else { "upgrade_watch 0; upgrade_rollback_window 0;" };
    Setup::main(text).set("main", own).error_level("notice")
}

/// The text of a configuration that has a server behind it, `%%origin%%`, for everything but `/`.
fn full_text(workers: usize, more: &str) -> String {
    format!(
        "worker_processes {workers}; %%main%% events {{}}
        http {{ %%http%% access_log off; keepalive_requests 1000000; client_max_body_size 0; {more}
            server {{ listen %%listen%%;
                location = / {{ return 200 $pid; }}
                location / {{ proxy_pass http://%%origin%%; }}
                location /chat {{ proxy_pass http://%%origin%%;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection upgrade; }} }} }}"
    )
}

/// The next version of the program.
fn second() -> PathBuf {
    version::executable(version::SECOND)
}

fn signal(pid: Pid, signal: Signal) {
    kill(pid, signal).unwrap_or_else(|error| panic!("{signal} to {pid}: {error}"));
}

/// The worker that answers a request on a connection of its own.
fn answering(site: &Site) -> Pid {
    worker(&site.get("/").text())
}

fn worker(text: &str) -> Pid {
    Pid::from_raw(text.parse().unwrap_or_else(|_| panic!("no process id: {text}")))
}

/// Fails unless each of these groups of workers answers while the others cannot.
fn all_accept(site: &Site, groups: &[&[Pid]]) {
    for (at, group) in groups.iter().enumerate() {
        let others = groups.iter().enumerate().filter(|(other, _)| *other != at);
        let paused = Paused::new(others.flat_map(|(_, group)| group.iter().copied()));
        let by = answering(site);
        drop(paused);
        assert!(group.contains(&by), "{by} answered, not one of {group:?}");
    }
}

/// Has a daemon's master start the second version, by hand; both serve then.
fn both_serve(site: &Site, workers: usize) -> Both {
    let old = site.master();
    let old_workers = system::workers_of(old, workers);
    site.install(&second());
    signal(old, Signal::SIGUSR2);
    let (new, named) = site.both_masters();
    assert_eq!(named, old);
    Both { old, old_workers, new, new_workers: system::workers_of(new, workers) }
}

/// Has a program take over by `-s upgrade`; more words may follow.
fn upgrade(site: &Site, program: &Path, more: &[&str]) -> Said {
    let words: Vec<&str> = ["-s", "upgrade"].into_iter().chain(more.iter().copied()).collect();
    site.change(program, &words)
}

/// Has the program before take over again.
fn rollback(site: &Site, more: &[&str]) -> Said {
    let words: Vec<&str> = ["-s", "rollback"].into_iter().chain(more.iter().copied()).collect();
    site.change(&crate::support::binary(), &words)
}

/// Fails unless it went well.
fn done(said: &Said) {
    assert_eq!((said.code, said.errors.as_str()), (Some(0), ""), "{said:?}");
}

/// Fails unless it ended so and said this of it.
fn failed(said: &Said, code: i32, why: &str) {
    assert!(said.code == Some(code) && said.errors.contains(why), "not {why:?}: {said:?}");
}

/// What the server says of itself.
fn status(site: &Site) -> Value {
    let (status, text) = site.control("GET", "/1/proxyd/status");
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The version that serves, by its own word.
fn serving(site: &Site) -> String {
    status(site)["version"].as_str().expect("a version").to_owned()
}

/// Two masters and who works for them.
struct Both {
    old: Pid,
    old_workers: Vec<Pid>,
    new: Pid,
    new_workers: Vec<Pid>,
}

impl Both {
    /// Quits the old master and waits for its end.
    fn commit(&self, site: &Site) {
        signal(self.old, Signal::SIGQUIT);
        site.only_master(self.new);
        system::gone(self.old);
    }
}

/// Watches for as long as a test may take.
fn watching(workers: usize) -> Setup {
    telling(workers).set("main", "upgrade_watch 1m; upgrade_rollback_window 0;")
}

/// A daemon, all of which is to be as it was.
struct Undisturbed {
    daemon: Daemon,
    master: Pid,
    workers: Vec<Pid>,
    footprint: Footprint,
}

impl Undisturbed {
    fn start(setup: Setup, workers: usize) -> Undisturbed {
        let daemon = setup.start_daemon();
        let master = daemon.master();
        let workers = system::workers_of(master, workers);
        Undisturbed { workers, master, footprint: system::settled(master), daemon }
    }

    fn check(&self) {
        let Undisturbed { daemon, master, workers, footprint } = self;
        daemon.only_master(*master);
        system::settles(*master, footprint);
        assert_eq!(&system::workers_of(*master, workers.len()), workers);
        daemon.alone(*master);
        assert!(workers.contains(&answering(daemon)));
    }
}
