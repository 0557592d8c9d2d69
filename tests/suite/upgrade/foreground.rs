//! In the foreground the first process stays what its supervisor knows, whoever serves: it passes
//! signals on, reaps what is left behind, and ends as the server does.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{answering, configured, done, failed, second, signal, telling, telling_text, upgrade};
use crate::support::{DEADLINE, Server, binary, is_reference, program_name, system};

/// Upgrades so often, there and back; the masters, the first of which is the process started.
fn upgraded(server: &Server, number: usize, workers: usize) -> Vec<Pid> {
    let mut masters = vec![server.master()];
    for round in 0..number {
        let program = if round % 2 == 0 { second() } else { binary() };
        done(&upgrade(server, &program, &["--wait"]));
        masters.push(server.master());
        assert!(system::workers_of(server.master(), workers).contains(&answering(server)));
    }
    masters
}

#[test]
fn the_first_process_stays() {
    if is_reference() {
        return;
    }
    let mut server = telling(1).start();
    let own = server.pid();
    assert_eq!(server.master(), own);
    let masters = upgraded(&server, 4, 1);
    assert_eq!(masters[0], own);
    assert!(masters[1..].iter().all(|pid| *pid != own), "{masters:?}");
    // Of all of them two are left, and the server is the first one's child.
    system::until("retired masters have gone", || system::children(own) == [server.master()]);
    assert_eq!(system::status(own, "Name"), program_name());
    println!("the first process holds {}", system::status(own, "VmRSS"));
    // What is sent to it concerns the server.
    server.configure_main(&telling_text(1, "new $pid"));
    server.signal(Signal::SIGHUP);
    system::until("a reload", || server.get("/").text().starts_with("new "));
    std::fs::rename(server.path("error.log"), server.path("old.log")).expect("a log");
    server.signal(Signal::SIGUSR1);
    system::until("a new log", || server.path("error.log").exists());
    server.signal(Signal::SIGHUP);
    server.logged("reconfiguring");
    let last = server.master();
    assert!(server.quit().success());
    assert!(!system::alive(last) && !server.path("server.pid").exists());
}

#[test]
fn a_stop_ends_everything() {
    if is_reference() {
        return;
    }
    for (number, end) in [(1, Signal::SIGTERM), (2, Signal::SIGINT), (1, Signal::SIGQUIT)] {
        let mut server = telling(2).start();
        upgraded(&server, number, 2);
        server.signal(end);
        assert!(server.wait(DEADLINE).expect("an end").success(), "{end}");
    }
    let mut server = telling(2).start();
    upgraded(&server, 1, 2);
    assert_eq!(server.command(&["-s", "quit"]).0, Some(0));
    assert!(server.wait(DEADLINE).expect("an end").success());
}

/// How the server ended is how the first process ends.
#[test]
fn the_first_process_ends_as_the_server_does() {
    if is_reference() {
        return;
    }
    let mut server = telling(1).allow("is gone, draining").start();
    upgraded(&server, 1, 1);
    let workers = system::workers_of(server.master(), 1);
    signal(server.master(), Signal::SIGKILL);
    let status = server.wait(DEADLINE).expect("an end");
    assert_eq!(status.code(), Some(128 + 9));
    workers.into_iter().for_each(system::gone);
    server.ended_badly();
}

/// A supervisor that stops the service means all of it, also in the middle of an upgrade.
#[test]
fn a_stop_in_the_middle_of_an_upgrade_ends_everything() {
    if is_reference() {
        return;
    }
    for end in [Signal::SIGTERM, Signal::SIGQUIT] {
        let mut server = telling(1).set("main", "upgrade_watch 1m;").start();
        let upgrading = server.start_change(&second(), &["-s", "upgrade"]);
        server.logged("both accepting, watching for 60 s");
        server.signal(end);
        let said = upgrading.end();
        failed(&said, 2, "the server is shutting down");
        assert!(server.wait(DEADLINE).expect("an end").success(), "{end}");
    }
}

#[test]
fn the_old_version_returns_in_the_foreground() {
    if is_reference() {
        return;
    }
    let mut server = telling(1)
        .set("main", "upgrade_watch 1m; upgrade_rollback_window 1m;")
        .allow("exited on signal 9")
        .allow("is gone, draining")
        .allow("serving again")
        .start();
    let own = server.pid();
    let upgrading = server.start_change(&second(), &["-s", "upgrade"]);
    server.logged("both accepting, watching for 60 s");
    let (new, old) = server.both_masters();
    assert_eq!(old, own);
    signal(new, Signal::SIGKILL);
    failed(&upgrading.end(), 2, "exited on signal 9");
    server.only_master(own);
    assert_eq!(system::parent(answering(&server)), own);
    // After it was committed, too.
    done(&upgrade(&server, &second(), &["--watch", "0"]));
    signal(server.master(), Signal::SIGKILL);
    server.only_master(own);
    system::until("the first process serves", || system::parent(answering(&server)) == own);
    assert!(server.quit().success());
}

/// Process 1 of a container.
#[test]
fn process_1_of_a_container() {
    const ALONE: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let possible = Command::new(ALONE[0]).args(&ALONE[1..]).arg("true").output();
    if is_reference() || !possible.is_ok_and(|run| run.status.success()) {
        println!("not tried: no process namespace can be had here");
        return;
    }
    let mut server = telling(1).start_under(&ALONE);
    let outer = system::children(server.pid());
    let [init] = outer[..] else { panic!("{outer:?}") };
    assert_eq!(server.read("server.pid"), "1\n");
    let mut last = String::new();
    for round in 0..5 {
        let program = if round % 2 == 0 { second() } else { binary() };
        done(&upgrade(&server, &program, &["--wait"]));
        let pid = server.read("server.pid");
        assert!(pid != "1\n" && pid != last, "{pid}");
        last = pid;
        assert_eq!(server.get("/").status, 200);
        assert_eq!(system::children(server.pid()), [init]);
    }
    // It reaps whatever is left behind in its container.
    let target = init.to_string();
    let mut orphans = Command::new("nsenter");
    orphans.args(["--target", &target, "--pid", "--mount", "sh", "-c"]);
    orphans.arg("i=0; while [ $i -lt 200 ]; do (true & ) ; i=$((i+1)); done");
    assert_eq!(server.ended(&mut orphans).0, Some(0));
    system::until("orphans are reaped", || system::zombies(init).is_empty());
    server.configure_main(&telling_text(1, "new"));
    kill(init, Signal::SIGHUP).expect("a signal");
    system::until("a reload", || server.get("/").text() == "new");
    kill(init, Signal::SIGTERM).expect("a signal");
    assert!(server.wait(DEADLINE).expect("an end").success());
}

/// What a service manager hears, on a socket of its own.
struct Ear(UnixDatagram);

impl Ear {
    /// The next message that does not only tell a status.
    fn next(&self) -> String {
        loop {
            let mut buffer = [0; 4096];
            let count = self.0.recv(&mut buffer).expect("a message in time");
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            assert!(!text.contains("MAINPID="), "{text}");
            if !text.starts_with("STATUS=") && !text.starts_with("EXTEND_TIMEOUT") {
                return text;
            }
        }
    }

    fn hears(&self, start: &str) {
        let text = self.next();
        assert!(text.starts_with(start), "not {start}: {text}");
    }
}

#[test]
fn a_service_manager_is_kept_informed() {
    if is_reference() {
        return;
    }
    let name = format!("proxyd-suite-{}", std::process::id());
    let hidden = SocketAddr::from_abstract_name(name.as_bytes()).expect("a name");
    for abstract_name in [false, true] {
        let setup = telling(1);
        let path = setup.path("notify.sock");
        let (socket, shown) = if abstract_name {
            (UnixDatagram::bind_addr(&hidden), format!("@{name}"))
        } else {
            (UnixDatagram::bind(&path), path.display().to_string())
        };
        let ear = Ear(socket.expect("a socket"));
        ear.0.set_read_timeout(Some(DEADLINE)).expect("a time limit");
        let mut server = setup.environment("NOTIFY_SOCKET", shown).start();
        ear.hears("READY=1");
        for program in [second(), binary()] {
            done(&upgrade(&server, &program, &["--wait"]));
            ear.hears("RELOADING=1\nMONOTONIC_USEC=");
            ear.hears("READY=1");
        }
        failed(&upgrade(&server, &second(), &["--watch", "x"]), 1, "invalid option");
        assert!(server.quit().success());
        ear.hears("STOPPING=1");
    }
}

/// The file of the first program may be gone all the time.
#[test]
fn an_upgrade_needs_its_own_executable_no_more() {
    if is_reference() {
        return;
    }
    let setup = configured(&telling_text(1, "$pid")).linked();
    let program = setup.path("started");
    crate::support::version::copy(&binary(), &program);
    let server = setup.program(&program).start();
    std::fs::remove_file(&program).expect("a program to delete");
    done(&upgrade(&server, &second(), &["--wait"]));
    done(&super::rollback(&server, &["--wait"]));
    assert!(system::executable(server.master()).ends_with("/started (deleted)"));
    answering(&server);
}
