//! What reloading and dying processes cost clients: `cargo bench --bench reload`.
//!
//! 200 keep-alive clients ask without pause while websockets are open, and the server is reloaded 20
//! times, or its workers are killed. Prints a table; fails when a request fails that must not.
//! Starts the program as the test suite does, and so shares its support.

// A benchmark needs less of it than the tests.
#[allow(dead_code, unused_imports)]
#[path = "../../tests/suite/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Client, Frame, Load, Origin, Server, Setup, WebSocket, accept_websocket, system};

const CLIENTS: usize = 200;
const RELOADS: usize = 20;
const SOCKETS: usize = 10;
const KILLS: usize = 10;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn main() -> ExitCode {
    // `cargo test --all-targets` starts benchmarks too, without this.
    if !std::env::args().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    let good = [reloads(), replacements(), kills()];
    if good.iter().all(|good| *good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Answers with a number and the worker's process id; `/chat` is a tunnel.
fn configuration(workers: usize, number: usize) -> String {
    format!(
        "worker_processes {workers}; events {{ worker_connections 2000; }}
        http {{ %%http%% access_log off; keepalive_requests 100000000;
            server {{ listen %%listen%%;
                location / {{ return 200 \"{number} $pid\"; }}
                location /chat {{ proxy_pass http://%%origin%%; proxy_read_timeout 1h;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection upgrade; }} }} }}"
    )
}

fn echo() -> Origin {
    Origin::new(|peer| {
        accept_websocket(peer);
    })
}

fn start(workers: usize, origin: &Origin) -> Server {
    let setup = Setup::main(&configuration(workers, 0)).set("origin", origin.address());
    setup.error_level("notice").allow("exited on signal 9").start()
}

/// Lets so many more requests be answered.
fn more(load: &Load, count: usize) {
    let wanted = load.answered() + count;
    while load.answered() < wanted {
        std::thread::yield_now();
    }
}

/// Every websocket still says what it is told; how many do not.
fn cut(sockets: &mut [WebSocket], number: usize) -> usize {
    let frame = Frame::text(&format!("{number}"));
    let echoes = |socket: &mut WebSocket| {
        socket.send(&frame);
        socket.receive() == frame
    };
    sockets.iter_mut().map(echoes).filter(|good| !good).count()
}

/// By the command line and by signal in turn; the workers stay.
fn reloads() -> bool {
    let origin = echo();
    let mut server = start(2, &origin);
    let workers = server.all_workers(2);
    let mut sockets: Vec<_> =
        (0..SOCKETS).map(|_| WebSocket::open(server.client(), "/chat")).collect();
    let load = Load::start(server.address(), CLIENTS);
    more(&load, 10 * CLIENTS);
    let (mut lost, mut took) = (0, Vec::new());
    for number in 1..=RELOADS {
        server.configure_main(&configuration(2, number));
        let begun = Instant::now();
        if number % 2 == 0 {
            let (code, messages) = server.command(&["-s", "reload"]);
            assert_eq!(code, Some(0), "{messages}");
        } else {
            server.signal(Signal::SIGHUP);
            let new = format!("{number} ");
            // A connection that is there already: its next requests tell.
            let mut client = server.client();
            while !client.send(REQUEST).response().text().starts_with(&new) {}
        }
        took.push(begun.elapsed());
        lost += cut(&mut sockets, number);
        more(&load, 5 * CLIENTS);
    }
    let replaced = server.workers() != workers;
    let memory: Vec<String> = workers.iter().map(|pid| system::status(*pid, "VmRSS")).collect();
    let tally = load.stop();
    println!("\n{RELOADS} reloads, {CLIENTS} keep-alive clients, {SOCKETS} websockets, 2 workers");
    took.sort();
    row("a reload takes", &format!("{:?}, at most {:?}", middle(&took), took[took.len() - 1]));
    row("requests", &tally.answered.to_string());
    row("failed", &tally.failures.len().to_string());
    row("connections made", &tally.connections.to_string());
    row("websockets cut", &lost.to_string());
    row("workers replaced", if replaced { "yes" } else { "none" });
    row("memory of the workers", &memory.join(", "));
    latencies(&tally.times);
    for failure in tally.failures.iter().take(5) {
        println!("{failure:?}");
    }
    tally.failures.is_empty() && lost == 0 && !replaced && tally.connections == CLIENTS
}

/// The number of workers changes each time, so that all are replaced.
fn replacements() -> bool {
    let origin = echo();
    let mut server = start(1, &origin);
    server.all_workers(1);
    let load = Load::start(server.address(), CLIENTS);
    for number in 1..=RELOADS {
        more(&load, 5 * CLIENTS);
        server.configure_main(&configuration(1 + number % 2, number));
        let (code, messages) = server.command(&["-s", "reload"]);
        assert_eq!(code, Some(0), "{messages}");
    }
    more(&load, 5 * CLIENTS);
    let tally = load.stop();
    println!("\n{RELOADS} changes of worker_processes, {CLIENTS} keep-alive clients");
    row("requests", &tally.answered.to_string());
    row("failed", &tally.failures.len().to_string());
    row("connections made", &tally.connections.to_string());
    latencies(&tally.times);
    for failure in tally.failures.iter().take(5) {
        println!("{failure:?}");
    }
    tally.failures.is_empty()
}

/// `kill -9`: with a worker left, and of the only one.
fn kills() -> bool {
    let origin = echo();
    let server = start(2, &origin);
    let victim = server.all_workers(2)[0];
    let load = Load::start(server.address(), CLIENTS);
    more(&load, 20 * CLIENTS);
    kill(victim, Signal::SIGKILL).expect("a signal");
    server.wait_for("error.log", |log| log.matches("start worker process ").count() == 3);
    more(&load, 20 * CLIENTS);
    let tally = load.stop();
    let of_victim = |last: &Option<String>| {
        last.as_ref().is_none_or(|text| text.ends_with(&format!(" {victim}")))
    };
    let others = tally.failures.iter().filter(|(last, _)| !of_victim(last)).count();
    println!("\none of 2 workers killed, {CLIENTS} keep-alive clients");
    row("requests", &tally.answered.to_string());
    row("failed, all its own", &tally.failures.len().to_string());
    row("failed, of the other", &others.to_string());
    drop(server);
    let mut gaps: Vec<Duration> = (0..KILLS).map(|_| gap(&origin)).collect();
    gaps.sort();
    println!("\nthe only worker killed, {KILLS} times");
    row("a waiting client is answered after", &format!("{:?}", middle(&gaps)));
    row("at most", &format!("{:?}", gaps[gaps.len() - 1]));
    others == 0 && gaps[gaps.len() - 1] < Duration::from_millis(100)
}

/// From the death of the only worker, of a server of its own, to the answer of the next.
fn gap(origin: &Origin) -> Duration {
    let server = start(1, origin);
    let ask = || Client::connect(server.address()).send(REQUEST).response().text();
    let text = ask();
    let pid = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    let begun = Instant::now();
    kill(Pid::from_raw(pid.expect("a process id")), Signal::SIGKILL).expect("a signal");
    assert_ne!(ask(), text);
    begun.elapsed()
}

fn row(name: &str, value: &str) {
    println!("  {name:<36} {value}");
}

/// Of sorted times.
fn latencies(times: &[Duration]) {
    let at = |share: usize| times.get((times.len() * share / 1000).min(times.len().max(1) - 1));
    let shares = [500, 990, 999, 1000].map(|share| at(share).copied().unwrap_or_default());
    row("answers: median, 99 %, 99.9 %, longest", &format!("{shares:?}"));
}

/// Of sorted times.
fn middle(times: &[Duration]) -> Duration {
    times.get(times.len() / 2).copied().unwrap_or_default()
}
