//! What init scripts and packages do to upgrade nginx, with good new versions and bad ones. There is
//! a master at every moment.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{answering, second, signal, telling};
use crate::support::{Site, impostor, is_reference, program_name, system};

/// Looks every millisecond whether the pid files name a living master.
struct Watchman {
    stop: Arc<AtomicBool>,
    missed: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Watchman {
    fn start(directory: &Path) -> Watchman {
        let (stop, missed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (over, count, directory) =
            (Arc::clone(&stop), Arc::clone(&missed), directory.to_owned());
        let thread = thread::spawn(move || {
            while !over.load(Relaxed) {
                // One may have passed it on to the other between two looks.
                if !(0..3).any(|_| a_master_lives(&directory)) {
                    count.fetch_add(1, Relaxed);
                }
                system::pause();
            }
        });
        Watchman { stop, missed, thread: Some(thread) }
    }

    /// How often there was none.
    fn missed(mut self) -> usize {
        self.stop.store(true, Relaxed);
        self.thread.take().expect("it runs").join().expect("a watchman");
        self.missed.load(Relaxed)
    }
}

fn a_master_lives(directory: &Path) -> bool {
    ["server.pid", "server.pid.oldbin"].iter().any(|name| {
        let text = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        text.trim().parse().is_ok_and(|pid| system::alive(Pid::from_raw(pid)))
    })
}

impl Drop for Watchman {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// `start-stop-daemon --stop --signal S --pidfile F --name N`: the process must have that name. False
/// if there is none to be told.
fn told(site: &Site, number: Signal, file: &str) -> bool {
    let name = number.as_str().trim_start_matches("SIG");
    let output = Command::new("start-stop-daemon")
        .args(["--stop", "--quiet", "--signal", name, "--name", program_name()])
        .arg("--pidfile")
        .arg(site.path(file))
        .output();
    match output {
        Ok(output) => output.status.success(),
        // Not on this system; what it does is no secret.
        Err(_) => match site.pid_in(file) {
            Some(pid) if system::status(pid, "Name") == program_name() => {
                signal(pid, number);
                true
            }
            _ => false,
        },
    }
}

fn there(site: &Site, file: &str) -> bool {
    !site.read(file).is_empty()
}

/// Waits for something as long as a script does; `limit` stands for its ten seconds or five.
fn comes(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        system::pause();
    }
    true
}

/// A script's exit code, given the longest it waits.
type Script = fn(&Site, Duration) -> i32;

/// Debian's `/etc/init.d/nginx upgrade`: 0, 1 if it does not run, 2 if the pid files are late, 3 if
/// the old master cannot be told.
fn debian_init(site: &Site, limit: Duration) -> i32 {
    if !told(site, Signal::SIGUSR2, "server.pid") {
        return 1;
    }
    let both = || there(site, "server.pid.oldbin") && there(site, "server.pid");
    if !comes(limit, both) {
        return 2;
    }
    if told(site, Signal::SIGQUIT, "server.pid.oldbin") { 0 } else { 3 }
}

/// The script of nginx.org's packages: 6 for a bad configuration, 1 if the upgrade failed.
fn nginx_init(site: &Site, limit: Duration) -> i32 {
    if site.command(&["-t", "-q"]).0 != Some(0) {
        return 6;
    }
    if !told(site, Signal::SIGUSR2, "server.pid") {
        return 1;
    }
    let exist = || ["server.pid.oldbin", "server.pid"].iter().all(|name| site.path(name).exists());
    i32::from(!(comes(limit, exist) && told(site, Signal::SIGQUIT, "server.pid.oldbin")))
}

/// What Debian's packages did after unpacking: they looked for the old pid file only, and told the
/// old master to quit at once. Bad new versions of nginx left nobody.
fn old_postinst(site: &Site, limit: Duration) -> i32 {
    if !told(site, Signal::SIGUSR2, "server.pid") {
        return 1;
    }
    let shown = comes(limit, || there(site, "server.pid.oldbin"));
    i32::from(!(shown && told(site, Signal::SIGQUIT, "server.pid.oldbin")))
}

/// `make upgrade`: it waits for a second and looks once.
fn make_upgrade(site: &Site, limit: Duration) -> i32 {
    if site.command(&["-t"]).0 != Some(0) || !told(site, Signal::SIGUSR2, "server.pid") {
        return 1;
    }
    let shown = comes(limit.min(Duration::from_secs(1)), || there(site, "server.pid.oldbin"));
    i32::from(!(shown && told(site, Signal::SIGQUIT, "server.pid.oldbin")))
}

const SCRIPTS: [(&str, Script, i32); 4] = [
    ("Debian's init script", debian_init, 2),
    ("nginx.org's init script", nginx_init, 1),
    ("the old postinst", old_postinst, 1),
    ("make upgrade", make_upgrade, 1),
];

#[test]
fn scripts_upgrade_to_a_good_version() {
    for (name, script, _) in SCRIPTS {
        let daemon = telling(1).start_daemon();
        let old = daemon.master();
        system::workers_of(old, 1);
        answering(&daemon);
        daemon.install(&second());
        let watchman = Watchman::start(daemon.directory());
        assert_eq!(script(&daemon, Duration::from_secs(10)), 0, "{name}");
        system::until("the old master has gone", || !system::alive(old));
        // nginx has no pid file for a moment, and its scripts do not notice.
        daemon.wait_for("server.pid", |text| !text.is_empty());
        assert!(watchman.missed() == 0 || is_reference(), "{name}");
        let new = daemon.master();
        assert_eq!(system::parent(answering(&daemon)), new, "{name}");
        daemon.alone(new);
    }
}

#[test]
fn scripts_fail_with_a_bad_version_and_leave_the_old_one() {
    if is_reference() {
        // With it there may be nobody left.
        return;
    }
    for (name, script, code) in SCRIPTS {
        let setup = telling(1).set("main", "upgrade_timeout 150ms;");
        let daemon = setup.allow("exited on signal").start_daemon();
        let old = daemon.master();
        let worker = system::workers_of(old, 1)[0];
        for (kind, source) in [("hang", impostor::HANGS), ("crash", impostor::CRASHES)] {
            daemon.install(&impostor::compiled(daemon.directory(), kind, source));
            let watchman = Watchman::start(daemon.directory());
            assert_eq!(script(&daemon, Duration::from_millis(300)), code, "{name}, {kind}");
            daemon.alone(old);
            assert_eq!(watchman.missed(), 0, "{name}, {kind}");
            assert_eq!((daemon.master(), answering(&daemon)), (old, worker), "{name}, {kind}");
            assert!(!daemon.path("server.pid.oldbin").exists());
        }
    }
}
