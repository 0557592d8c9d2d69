//! Processes that die: what is lost, what is not, and how soon it is as before.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Client, DEADLINE, End, Load, Origin, Server, Setup, system};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Answers with the worker's process id.
fn telling(workers: usize) -> Setup {
    Setup::main(&format!(
        "worker_processes {workers}; events {{}}
        http {{ %%http%% access_log off; keepalive_requests 1000000;
            server {{ listen %%listen%%;
                location / {{ return 200 $pid; }}
                location /status {{ stub_status; }} }} }}"
    ))
    .error_level("notice")
    .allow("exited on signal 9")
}

fn worker(text: &str) -> Pid {
    Pid::from_raw(text.parse().unwrap_or_else(|_| panic!("no process id: {text}")))
}

/// Waits until the load has got so many more answers.
fn goes_on(load: &Load, more: usize) {
    let (wanted, end) = (load.answered() + more, Instant::now() + DEADLINE);
    while load.answered() < wanted {
        assert!(Instant::now() < end, "{} answers, not {wanted}", load.answered());
        thread::yield_now();
    }
}

/// How long a client that comes when the worker has just been killed waits for its answer; it is
/// another worker's.
fn killed_and_answered(server: &Server) -> Duration {
    let old = worker(&server.get("/").text());
    let begun = Instant::now();
    kill(old, Signal::SIGKILL).expect("a signal");
    let new = worker(&server.get("/").text());
    assert_ne!(new, old);
    begun.elapsed()
}

#[test]
fn a_killed_worker_takes_only_its_connections_along() {
    let server = telling(2).start();
    let load = Load::start(server.address(), 20);
    goes_on(&load, 200);
    let all = server.all_workers(2);
    let (victim, other) = (all[0], all[1]);
    kill(victim, Signal::SIGKILL).expect("a signal");
    let line = format!("[alert] {0}#{0}: worker process {victim} exited on signal 9", server.pid());
    server.wait_for("error.log", |log| log.contains(&line));
    goes_on(&load, 200);
    let tally = load.stop();
    // Who had no answer yet on a connection cannot know whose it was.
    let of_victim = |last: &Option<String>| last.as_ref().is_none_or(|pid| worker(pid) == victim);
    let others: Vec<_> = tally.failures.iter().filter(|(last, _)| !of_victim(last)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(tally.failures.len() <= 20, "{:?}", tally.failures);
    let now = server.workers();
    assert!(now.len() == 2 && now.contains(&other) && !now.contains(&victim), "{now:?}");
    println!("{} answers, {} failed with the worker", tally.answered, tally.failures.len());
}

#[test]
fn a_killed_worker_is_replaced_at_once() {
    let server = telling(1).start();
    let waited = killed_and_answered(&server);
    println!("answered {waited:?} after the only worker was killed");
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    assert!(system::zombies(server.pid()).is_empty());
}

/// What is counted of the dead is not counted for ever.
#[test]
fn the_connections_of_the_dead_are_no_longer_active() {
    let server = telling(1).start();
    let mut lost: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for client in &mut lost {
        assert_eq!(client.send(REQUEST).response().status, 200);
    }
    killed_and_answered(&server);
    let status = server.get("/status").text();
    assert!(status.starts_with("Active connections: 1 "), "{status}");
    // Three, one that told the worker's number, one that waited for the next, and this one.
    assert!(status.contains("\n 6 6 6 "), "{status}");
}

#[test]
fn a_worker_that_keeps_dying_is_started_with_pauses() {
    let server = telling(1).start();
    let waits: Vec<Duration> = (0..5).map(|_| killed_and_answered(&server)).collect();
    println!("answered after {waits:?}");
    // 0, 0.1, 0.2, 0.4, 0.8 seconds.
    for (wait, pause) in waits.iter().zip([0, 100, 200, 400, 800]) {
        assert!(*wait >= Duration::from_millis(pause), "{waits:?}");
        assert!(*wait < Duration::from_millis(pause + 2000), "{waits:?}");
    }
    let log = server.error_log();
    assert_eq!(log.matches("exited on signal 9").count(), 5, "{log}");
    assert_eq!(log.matches("start worker process ").count(), 6, "{log}");
    assert!(system::zombies(server.pid()).is_empty());
}

#[test]
fn workers_leave_when_the_master_was_killed() {
    system::adopt_orphans();
    let origin = Origin::new(|peer| {
        // Answers when the test says so, by another connection.
        while let Some(request) = peer.request() {
            if request.starts_with(b"GET /held") {
                peer.wait_for_end();
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let setup = Setup::main(
        "worker_processes 2; worker_shutdown_timeout 5s; events {}
        http { %%http%% server { listen %%listen%%;
            location / { return 200 $pid; }
            location /up { proxy_pass http://%%origin%%; } } }",
    );
    let setup = setup.set("origin", origin.address()).allow("is gone, draining");
    let mut server = setup.start();
    let mut idle = server.client();
    let last = worker(&idle.send(REQUEST).response().text());
    let workers = server.all_workers(2);
    let master = server.pid();
    server.crash();
    let gone = format!("master process {master} is gone, draining");
    server.wait_for("error.log", |log| log.matches(&gone).count() == 2);
    refused_soon(&server);
    // The address is free while the old workers still finish what they have.
    let next = telling(1).set("listen", server.address()).start();
    let mut client = Client::connect(server.address());
    let new = worker(&client.send(REQUEST).response().text());
    assert!(!workers.contains(&new));
    let answer = idle.send("GET /up HTTP/1.1\r\nHost: localhost\r\n\r\n").response();
    assert_eq!((answer.text().as_str(), answer.header("Connection")), ("ok", Some("close")));
    assert_eq!(idle.end(), End::Closed);
    for pid in workers {
        system::end_of(pid);
    }
    let log = server.error_log();
    assert!(log.contains(&format!("{last}#{last}: exit")), "{log}");
    drop(next);
}

fn refused_soon(server: &Server) {
    let end = Instant::now() + DEADLINE;
    while TcpStream::connect(server.address()).is_ok() {
        assert!(Instant::now() < end, "still accepted");
    }
}

#[test]
fn a_stop_during_a_reload_wins() {
    for round in 0..4 {
        let mut server = telling(2).start();
        let load = Load::start(server.address(), 4);
        goes_on(&load, 20);
        server.signal(Signal::SIGHUP);
        if round % 2 == 0 {
            // Whatever point the reload has come to.
            goes_on(&load, round);
        }
        let signal = if round < 2 { Signal::SIGTERM } else { Signal::SIGQUIT };
        server.signal(signal);
        drop(load);
        let status = server.wait(DEADLINE).expect("an end");
        assert!(status.success(), "{signal}: {status}");
        assert!(!server.path("server.pid").exists());
        assert!(!server.path("server.pid.ctl").exists());
    }
}

#[test]
fn storms_of_signals_are_weathered() {
    let mut server = telling(2).start();
    let load = Load::start(server.address(), 4);
    let workers = server.all_workers(2);
    for round in 0..100 {
        let signal = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGWINCH, Signal::SIGCHLD];
        server.signal(signal[round % 4]);
    }
    goes_on(&load, 200);
    assert_eq!(server.control("PATCH", "/1/control/config").0, 200);
    assert_eq!(load.stop().failures, []);
    assert_eq!(server.workers(), workers);
    assert!(server.quit().success());
}
