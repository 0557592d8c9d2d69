//! From nginx to this program and back, by nginx's own upgrade: USR2, then QUIT to the old one.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::signal;
use crate::support::traffic::{Target, Traffic};
use crate::support::{Daemon, Setup, binary, is_reference, system};

/// nginx, if there is one.
fn nginx() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let known = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
    let found = env::split_paths(&path).chain(known).map(|directory| directory.join("nginx"));
    found.into_iter().find(|file| file.is_file())
}

/// A configuration that both understand, started with nginx.
fn start(nginx: &Path) -> Daemon {
    Setup::main(
        "worker_processes 2; events {} http { %%http%% access_log off;
            server { listen %%listen%%; listen unix:%%dir%%/s.sock;
                return 200 \"$nginx_version $pid\"; } }",
    )
    .set("http", "default_type text/plain; client_body_temp_path body; proxy_temp_path proxy;")
    .error_level("notice")
    .program(nginx)
    .start_daemon()
}

/// Has the master change to this program; the old one and the new one.
fn change(daemon: &Daemon, program: &Path) -> (Pid, Pid) {
    let old = daemon.master();
    system::workers_of(old, 2);
    daemon.install(program);
    signal(old, Signal::SIGUSR2);
    let (new, named) = daemon.both_masters();
    assert_eq!(named, old);
    system::workers_of(new, 2);
    (old, new)
}

fn version(daemon: &Daemon) -> String {
    let text = daemon.get("/").text();
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn nginx_hands_over_and_gets_it_back() {
    let Some(nginx) = nginx().filter(|_| !is_reference()) else {
        println!("not tried: there is no nginx here");
        return;
    };
    let daemon = start(&nginx);
    let (address, path) = (daemon.address(), daemon.path("s.sock"));
    let theirs = version(&daemon);
    let fresh = [Traffic::fresh(address, 200), Traffic::fresh(Target::Unix(path.clone()), 100)];
    let kept = Traffic::kept(address, 50, Duration::from_millis(50));
    let mut seen = vec![theirs.clone()];
    for program in [binary(), nginx.clone(), binary(), nginx] {
        kept.goes_on(50);
        let (old, new) = change(&daemon, &program);
        for load in &fresh {
            load.goes_on(10);
        }
        signal(old, Signal::SIGQUIT);
        daemon.only_master(new);
        system::gone(old);
        daemon.alone(new);
        seen.push(version(&daemon));
    }
    kept.goes_on(50);
    for load in fresh {
        load.stop().expect_no_loss();
    }
    let ours = seen[1].clone();
    assert_ne!(ours, theirs);
    assert_eq!(seen, [&theirs, &ours, &theirs, &ours, &theirs].map(String::as_str));
    assert!(path.exists());
    let report = kept.stop();
    // Ours loses none; nginx may close a connection at the moment it is used.
    println!("kept connections: {} answers, lost: {:?}", report.answered, report.losses);
}

/// Either side may think better of it.
#[test]
fn nginx_serves_on_when_it_is_not_replaced() {
    let Some(nginx) = nginx().filter(|_| !is_reference()) else {
        println!("not tried: there is no nginx here");
        return;
    };
    let daemon = start(&nginx);
    let load = Traffic::fresh(daemon.address(), 100);
    let theirs = version(&daemon);
    let (old, new) = change(&daemon, &binary());
    load.goes_on(10);
    signal(new, Signal::SIGQUIT);
    daemon.only_master(old);
    system::gone(new);
    load.goes_on(10);
    assert_eq!((version(&daemon), daemon.path("s.sock").exists()), (theirs.clone(), true));
    // The other way round: ours keeps serving when nginx goes.
    let (old, ours) = change(&daemon, &binary());
    signal(old, Signal::SIGQUIT);
    daemon.only_master(ours);
    system::gone(old);
    let (_, new) = change(&daemon, &nginx);
    load.goes_on(10);
    signal(new, Signal::SIGTERM);
    daemon.only_master(ours);
    system::gone(new);
    load.goes_on(10);
    assert_ne!(version(&daemon), theirs);
    assert!(daemon.path("s.sock").exists());
    load.stop().expect_no_loss();
}
