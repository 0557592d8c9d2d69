//! Names and descriptors: pid files at every instant, sockets in the file system, logs, the program.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, geteuid};

use super::{
    all_accept, answering, both_serve, configured, done, rollback, second, serving, signal,
    telling, telling_text, upgrade,
};
use crate::support::traffic::{Target, Traffic};
use crate::support::{
    Client, Daemon, Directory, binary, is_reference, program_name, system, version,
};

/// Everything that happens to names in a directory.
struct Names(Inotify);

impl Names {
    fn watch(directory: &Path) -> Names {
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).expect("inotify");
        let events = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_CLOSE_WRITE;
        watch.add_watch(directory, events).expect("a watch");
        Names(watch)
    }

    /// What has happened to this name and that: whether there is one now, or `w` for written in place.
    fn happened(&self, names: [&str; 2]) -> Vec<(usize, char)> {
        let mut all = Vec::new();
        while let Ok(events) = self.0.read_events() {
            for event in events {
                let name = event.name.unwrap_or_default();
                let Some(which) = names.iter().position(|known| name == *known) else { continue };
                let there = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
                let what = match event.mask {
                    mask if mask.intersects(there) => '+',
                    mask if mask.contains(AddWatchFlags::IN_CLOSE_WRITE) => 'w',
                    _ => '-',
                };
                all.push((which, what));
            }
        }
        all
    }
}

/// At no instant is the pid file missing or cut short, and the old master is only shown as such when
/// the new one serves.
#[test]
fn the_pid_file_is_always_there() {
    if is_reference() {
        return;
    }
    let daemon = telling(1).start_daemon();
    let names = Names::watch(daemon.directory());
    let (path, stop) = (daemon.path("server.pid"), Arc::new(AtomicBool::new(false)));
    let over = Arc::clone(&stop);
    let reader = thread::spawn(move || {
        let mut pids = Vec::new();
        let mut last = false;
        while !last {
            last = over.load(Relaxed);
            let text = fs::read_to_string(&path).expect("a pid file");
            let pid: i32 =
                text.strip_suffix('\n').and_then(|text| text.parse().ok()).expect("a pid");
            if pids.last() != Some(&pid) {
                pids.push(pid);
            }
        }
        pids
    });
    let mut masters = vec![daemon.master()];
    for round in 0..4 {
        let program = if round % 2 == 0 { second() } else { binary() };
        if round < 2 {
            done(&upgrade(&daemon, &program, &["--wait"]));
        } else {
            let both = both_serve(&daemon, 1);
            both.commit(&daemon);
        }
        masters.push(daemon.master());
    }
    let both = both_serve(&daemon, 1);
    signal(both.new, Signal::SIGQUIT);
    daemon.only_master(both.old);
    masters.extend([both.new, both.old]);
    stop.store(true, Relaxed);
    let events = names.happened(["server.pid", "server.pid.oldbin"]);
    let seen = reader.join().unwrap_or_else(|_| panic!("a reader without a pid: {events:?}"));
    // It may have looked away while one was there for a moment only.
    assert!(seen.into_iter().all(|pid| masters.contains(&Pid::from_raw(pid))));
    // Each time the new name first, then the old one; and at the end the old one back.
    assert!(!events.contains(&(0, '-')) && !events.contains(&(0, 'w')), "{events:?}");
    let shown = events.iter().enumerate().filter(|(_, event)| **event == (1, '+'));
    for (at, _) in shown {
        assert_eq!(events[..at].last(), Some(&(0, '+')), "{events:?}");
    }
}

#[test]
fn a_socket_in_the_file_system_stays_in_place() {
    let text = telling_text(2, "$pid").replace("listen %%listen%%;", "listen unix:%%dir%%/s.sock;");
    let daemon = configured(&text).start_daemon();
    let path = daemon.path("s.sock");
    let inode = |path: &Path| fs::metadata(path).expect("a socket").ino();
    let before = inode(&path);
    let load = Traffic::fresh(Target::Unix(path.clone()), 200);
    for round in 0..4 {
        load.goes_on(20);
        let both = both_serve(&daemon, 2);
        if round == 2 {
            signal(both.new, Signal::SIGQUIT);
            daemon.only_master(both.old);
            system::gone(both.new);
        } else {
            both.commit(&daemon);
        }
        assert_eq!(inode(&path), before);
    }
    load.goes_on(20);
    load.stop().expect_no_loss();
    daemon.stop();
    assert!(!path.exists());
}

/// Whoever is the last takes the name away: the successor of the first process in the foreground, and
/// one that is told to stop while its predecessor stands by.
#[test]
fn a_socket_in_the_file_system_goes_with_the_server() {
    if is_reference() {
        return;
    }
    let text = telling_text(1, "$pid").replace("listen %%listen%%;", "listen unix:%%dir%%/s.sock;");
    let mut server = configured(&text).start();
    let path = server.path("s.sock");
    done(&upgrade(&server, &second(), &[]));
    assert!(connects(&path));
    assert!(server.quit().success());
    assert!(!path.exists());
    let setup = configured(&text).set("main", "upgrade_watch 0; upgrade_rollback_window 1m;");
    let daemon = setup.start_daemon();
    let path = daemon.path("s.sock");
    done(&upgrade(&daemon, &second(), &[]));
    assert!(connects(&path));
    assert_eq!(daemon.command(&["-s", "stop"]).0, Some(0));
    system::until("all have gone", || daemon.processes().is_empty());
    assert!(!path.exists());
}

fn connects(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// Addresses change with the version: new ones answer as soon as both serve, old ones until the old
/// version goes.
#[test]
fn addresses_come_with_the_new_version_and_go_with_the_old() {
    let mut daemon = configured(
        "worker_processes 1; %%main%% events {} http { %%http%%
            server { listen %%listen%%; listen %%listen_old%%; listen unix:%%dir%%/s.sock;
                return 200 old; } }",
    )
    .start_daemon();
    daemon.configure_main(
        "worker_processes 1; %%main%% events {} http { %%http%%
            server { listen %%listen%%; listen %%listen_new%%; return 200 new; } }",
    );
    let (old, new) = (daemon.address_of("listen_old"), daemon.address_of("listen_new"));
    let get = |address| Client::connect(address).send("GET / HTTP/1.0\r\n\r\n").response().text();
    assert!(std::net::TcpStream::connect(new).is_err());
    let both = both_serve(&daemon, 1);
    assert_eq!((get(new).as_str(), get(old).as_str()), ("new", "old"));
    // nginx takes away a socket's name at once, though nobody has decided.
    assert!(is_reference() || connects(&daemon.path("s.sock")));
    both.commit(&daemon);
    assert_eq!(get(new), "new");
    system::until("the old address is gone", || std::net::TcpStream::connect(old).is_err());
    assert!(!daemon.path("s.sock").exists());
}

/// The same, undone: what the new version brought is gone, what it did not want is still there.
#[test]
fn addresses_are_as_before_when_the_new_version_goes() {
    if is_reference() {
        return;
    }
    let mut daemon = configured(
        "worker_processes 1; %%main%% events {} http { %%http%%
            server { listen %%listen%%; listen unix:%%dir%%/old.sock; return 200 old; } }",
    )
    .start_daemon();
    daemon.configure_main(
        "worker_processes 1; %%main%% events {} http { %%http%%
            server { listen %%listen%%; listen unix:%%dir%%/new.sock; return 200 new; } }",
    );
    let both = both_serve(&daemon, 1);
    let (old, new) = (daemon.path("old.sock"), daemon.path("new.sock"));
    assert!(connects(&old) && connects(&new));
    signal(both.new, Signal::SIGQUIT);
    daemon.only_master(both.old);
    system::gone(both.new);
    assert!(connects(&old) && !connects(&new));
    assert!(!new.exists());
    assert_eq!(daemon.get("/").text(), "old");
}

/// Every process of every generation writes to the new file, and no line is lost or torn.
#[test]
fn logs_are_rotated_in_all_generations() {
    if is_reference() || !geteuid().is_root() {
        // What workers have open, only root may know.
        return;
    }
    let text = telling_text(2, "$pid").replace("server {", "server { access_log access.log own;");
    let text = text.replace("%%http%%", "log_format own \"$arg_n.\"; %%http%%");
    let daemon = configured(&text).start_daemon();
    let mut number = 0;
    let mut ask = |client: &mut Client| {
        number += 1;
        client.send(format!("GET /?n={number} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let by = super::worker(&client.response().text());
        assert!(system::alive(by));
        number
    };
    let mut clients: Vec<Client> = (0..6).map(|_| daemon.client()).collect();
    for client in &mut clients {
        ask(client);
    }
    let both = both_serve(&daemon, 2);
    clients.extend((0..6).map(|_| daemon.client()));
    rotate(&daemon, "access.log", "access.log.1");
    for client in &mut clients {
        ask(client);
    }
    let mut begun = daemon.client();
    begun.send("GET /?n=");
    answering_all(&both, &daemon);
    signal(both.old, Signal::SIGQUIT);
    daemon.logged("gracefully shutting down");
    rotate(&daemon, "access.log", "access.log.2");
    begun.send("last HTTP/1.1\r\nHost: localhost\r\n\r\n").response();
    drop(clients);
    system::gone(both.old);
    let last = ask(&mut daemon.client());
    daemon.wait_for("access.log", |text| text.contains(&format!("{last}.\n")));
    let second = daemon.read("access.log");
    assert!(second.contains("last.\n"), "{second}");
    let all = ["access.log.1", "access.log.2", "access.log"].map(|name| daemon.read(name)).concat();
    let numbered = |line: &&str| line.starts_with(|first: char| first.is_ascii_digit());
    let mut numbers: Vec<usize> = all
        .lines()
        .filter(numbered)
        .map(|line| match line.strip_suffix('.').and_then(|number| number.parse().ok()) {
            Some(number) => number,
            None => panic!("torn: {line:?}"),
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
}

/// Has a log renamed and opened again as `logrotate` does, by the master of the pid file, and waits
/// until nobody has the old one open.
fn rotate(daemon: &Daemon, log: &str, aside: &str) {
    fs::rename(daemon.path(log), daemon.path(aside)).expect("a log");
    signal(daemon.master(), Signal::SIGUSR1);
    let path = daemon.path(aside).display().to_string();
    system::until("the log is opened again", || {
        let open = |pid: Pid| system::descriptors(pid).into_values().any(|target| target == path);
        !daemon.processes().into_keys().any(open)
    });
}

/// Makes sure that what was sent before has been accepted by somebody.
fn answering_all(both: &super::Both, daemon: &Daemon) {
    all_accept(daemon, &[&both.old_workers, &both.new_workers]);
}

/// Starts by this word in the server's directory, turns the link it leads to, and upgrades.
fn found_by(word: &str, link: &str) {
    let setup = telling(1).linked();
    let turned = setup.path(link);
    fs::create_dir(setup.path("bin")).expect("a directory");
    std::os::unix::fs::symlink(setup.path(program_name()), setup.path("bin/searched"))
        .expect("a link");
    let search = format!("{}:/usr/bin:/bin", setup.path("bin").display());
    let daemon = setup.program(word).environment("PATH", search).start_daemon();
    fs::remove_file(&turned).expect("a link");
    std::os::unix::fs::symlink(second(), &turned).expect("a link");
    let old = daemon.master();
    system::workers_of(old, 1);
    signal(old, Signal::SIGUSR2);
    let (new, _) = daemon.both_masters();
    assert_eq!(system::executable(new), second().display().to_string(), "{word}");
    system::workers_of(new, 1);
    signal(old, Signal::SIGQUIT);
    daemon.only_master(new);
}

/// The name the server was started by leads to the new program.
#[test]
fn the_program_is_found_again() {
    let name = program_name();
    found_by(&format!("./{name}"), name);
    if !is_reference() {
        // nginx takes the name as it is, wherever it had been found.
        found_by("searched", "bin/searched");
    }
}

/// What is not a listening socket is complained of and not used; the addresses are bound anew.
#[test]
fn strange_inheritance_is_refused() {
    let script = "exec 3</dev/null; NGINX='3;x;' exec \"$0\" \"$@\"";
    let setup = telling(1).allow("invalid socket number ").allow("Socket operation on non-socket");
    let server = setup.start_under(&["sh", "-c", script]);
    assert_eq!(super::worker(&server.get("/").text()), server.all_workers(1)[0]);
    let log = server.error_log();
    for text in [
        "[notice] ",
        "using inherited sockets from \"3;x;\"",
        "invalid socket number \"x;\" in NGINX environment variable, \
         ignoring the rest of the variable",
    ] {
        assert!(log.contains(text), "no {text:?} in {log}");
    }
    let line = log.lines().find(|line| line.contains("of the inherited socket #3 failed"));
    assert!(line.is_some_and(|line| line.contains("[crit]")), "{log}");
}

#[test]
fn sockets_of_other_kinds_are_refused() {
    if is_reference() {
        return;
    }
    for script in [
        // A closed descriptor.
        "exec 3>&-; NGINX='3;' exec \"$0\" \"$@\"",
        // A connected socket and a datagram socket, by means of bash.
        "exec 3<>/dev/udp/127.0.0.1/9; NGINX='3;' exec \"$0\" \"$@\"",
    ] {
        let setup = telling(1).allow("inherited socket #3");
        let server = setup.start_under(&["bash", "-c", script]);
        let log = server.error_log();
        let line = log.lines().find(|line| line.contains("inherited socket #3"));
        assert!(line.is_some_and(|line| line.contains("[crit]")), "{log}");
        assert_eq!(super::worker(&server.get("/").text()), server.all_workers(1)[0]);
    }
}

/// A process that was started by another one has only what it is meant to have.
#[test]
fn processes_have_only_what_is_theirs() {
    if is_reference() || !geteuid().is_root() {
        return;
    }
    let daemon = telling(1).start_daemon();
    done(&upgrade(&daemon, &second(), &["--wait"]));
    done(&upgrade(&daemon, &binary(), &["--wait"]));
    let master = daemon.master();
    let worker = system::workers_of(master, 1)[0];
    answering(&daemon);
    system::settled(master);
    system::sockets_settle(worker, 2);
    let of = |pid| system::descriptors(pid);
    let count = |pid, part: &str| of(pid).values().filter(|target| target.contains(part)).count();
    let programs = [second(), binary()].map(|path| path.display().to_string());
    for part in ["server.pid", "proxyd-config", &programs[0], &programs[1]] {
        assert_eq!(count(worker, part), 0, "{part}: {:?}", of(worker));
    }
    // What panics and libraries say has to land somewhere.
    for pid in [worker, master] {
        assert!(of(pid)[&2].ends_with("/error.log"), "{:?}", of(pid));
    }
    // Its own program, and the one before with its configuration.
    let held = (count(master, &programs[0]), count(master, &programs[1]));
    assert_eq!((held, count(master, "proxyd-config")), ((1, 1), 2), "{:?}", of(master));
    let known = ["/dev/null", "/error.log", "/access.log", "socket:", "pipe:", "anon_inode:"];
    let ours = [&programs[0], &programs[1], "/memfd:"];
    let unknown = |target: &String| !known.iter().chain(&ours).any(|part| target.contains(part));
    let strange: Vec<_> = of(master).into_values().filter(unknown).collect();
    assert!(strange.is_empty(), "{strange:?}");
    let environment = fs::read(format!("/proc/{worker}/environ")).unwrap_or_default();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(!environment.contains("NGINX=") && !environment.contains("HANDOVER"), "{environment}");
}

/// The way back works where nothing can be written any more and the program's file has gone.
#[test]
fn a_rollback_needs_no_room() {
    let setup = telling(2);
    if is_reference() || !setup.mount_small() {
        println!("not tried: no file system of its own can be had here");
        return;
    }
    let elsewhere = Directory::new();
    let program = elsewhere.path().join("gone");
    version::copy(&second(), &program);
    let mut daemon = setup.start_daemon();
    done(&upgrade(&daemon, &program, &["--wait"]));
    fs::remove_file(&program).expect("a program to delete");
    let load = Traffic::kept(daemon.address(), 20, Duration::from_millis(20));
    load.goes_on(40);
    let filler = daemon.path("filler");
    assert!(fs::write(&filler, vec![0; 2 << 20]).is_err());
    assert!(fs::write(daemon.path("more"), b"more").is_err());
    done(&rollback(&daemon, &["--wait"]));
    assert_eq!(serving(&daemon), version::FIRST);
    assert!(system::alive(daemon.master()));
    load.goes_on(40);
    load.stop().expect_no_loss();
    daemon.allow("No space left on device");
    daemon.allow("server.pid.oldbin\" failed");
    fs::remove_file(filler).expect("room again");
}
