//! What the limits count in: it belongs to all workers, and outlives each of them.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Client, DEADLINE, Origin, Server, Setup, is_reference};

const HELD: &str = "GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// One request in a minute for each key, ten to spare.
fn limited(workers: usize, more: &str) -> Setup {
    Setup::main(&format!(
        "worker_processes {workers}; events {{}}
        http {{ %%http%%
            limit_req_zone $arg_k zone=one:1m rate=1r/m;
            {more}
            server {{ listen %%listen%%;
                location / {{ limit_req zone=one burst=10 nodelay; limit_req_status 429; }} }} }}"
    ))
    .file("html/f", "here")
    .error_level("notice")
    .allow("limiting requests, excess: ")
    .allow("exited on signal 9")
}

/// How many requests of a key get in, each on a connection of its own.
fn let_in(server: &Server, key: &str, tries: usize) -> usize {
    let statuses = (0..tries).map(|_| server.get(&format!("/f?k={key}")).status);
    statuses.filter(|status| *status == 200).count()
}

#[test]
fn all_workers_count_together() {
    let server = limited(3, "").start();
    assert_eq!(let_in(&server, "a", 40), 11);
    assert_eq!(let_in(&server, "b", 40), 11);
    let log = server.error_log();
    assert!(log.contains("limiting requests, excess: 1"), "{log}");
    assert!(log.contains(" by zone \"one\", client: 127.0.0.1, server: "), "{log}");
}

#[test]
fn counts_go_on_over_a_reload() {
    let server = limited(2, "").start();
    assert_eq!(let_in(&server, "a", 5), 5);
    server.signal(Signal::SIGHUP);
    server.wait_for("error.log", |log| log.contains("reconfiguring"));
    assert_eq!(let_in(&server, "a", 20), 6);
}

/// Whatever a worker is killed at, the others go on counting, and nothing is counted twice or lost.
#[test]
fn killed_workers_leave_no_zone_locked() {
    if is_reference() {
        return;
    }
    let server = limited(2, "").start();
    let (mut kills, end) = (0, Instant::now() + DEADLINE);
    while kills < 12 {
        assert!(Instant::now() < end, "{kills} workers were killed");
        let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
        for (at, client) in clients.iter_mut().enumerate() {
            let key = format!("{kills}-{at}");
            let request = format!("GET /f?k={key} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client.send(request.repeat(15));
        }
        for victim in server.workers() {
            kill(victim, Signal::SIGKILL).expect("a signal");
            kills += 1;
        }
        drop(clients);
        assert_eq!(let_in(&server, &format!("after-{kills}"), 14), 11);
    }
}

/// Holds every request to `/held` until its client has gone.
fn holding(workers: usize) -> (Server, Origin) {
    let origin = Origin::new(|peer| {
        while peer.request().is_some() {
            peer.wait_for_end();
        }
    });
    let server = Setup::main(&format!(
        "worker_processes {workers}; events {{}}
        http {{ %%http%%
            limit_conn_zone $server_port zone=all:1m;
            server {{ listen %%listen%%;
                location / {{ limit_conn all 3; }}
                location /free {{ return 200 $pid; }}
                location /held {{ limit_conn all 3; proxy_pass http://%%origin%%; }} }} }}"
    ))
    .file("html/f", "here")
    .set("origin", origin.address())
    .error_level("notice")
    .allow("limiting connections by zone")
    .allow("exited on signal 9")
    .start();
    (server, origin)
}

/// Waits until a request gets this status.
fn becomes(server: &Server, status: u16) {
    let end = Instant::now() + DEADLINE;
    while server.get("/f").status != status {
        assert!(Instant::now() < end, "never {status}");
    }
}

fn held(server: &Server) -> Client {
    let mut client = server.client();
    client.send(HELD);
    client
}

#[test]
fn connections_are_counted_together_and_given_back() {
    let (server, origin) = holding(2);
    let mut clients: Vec<Client> = (0..3).map(|_| held(&server)).collect();
    becomes(&server, 503);
    clients.pop();
    becomes(&server, 200);
    drop(clients);
    becomes(&server, 200);
    drop(origin);
}

#[test]
fn a_killed_worker_gives_its_connections_back() {
    if is_reference() {
        return;
    }
    let (server, origin) = holding(1);
    let _lost: Vec<Client> = (0..3).map(|_| held(&server)).collect();
    becomes(&server, 503);
    let worker = Pid::from_raw(server.get("/free").text().parse().expect("a process id"));
    kill(worker, Signal::SIGKILL).expect("a signal");
    becomes(&server, 200);
    drop(origin);
}

#[test]
fn another_key_for_the_same_zone_is_refused() {
    let mut server = limited(1, "").allow("uses the \"$uri\" key").start();
    assert_eq!(let_in(&server, "a", 2), 2);
    server.configure_main(
        "events {} http { %%http%% limit_req_zone $uri zone=one:1m rate=1r/m;
            server { listen %%listen%%; location / { return 200 new; } } }",
    );
    server.signal(Signal::SIGHUP);
    let text =
        "limit_req \"one\" uses the \"$uri\" key while previously it used the \"$arg_k\" key";
    server.wait_for("error.log", |log| log.contains(text));
    assert_eq!(let_in(&server, "a", 20), 9);
}

#[test]
fn another_size_begins_anew() {
    let mut server = limited(1, "").start();
    assert_eq!(let_in(&server, "a", 20), 11);
    server.configure_main(
        "events {} http { %%http%% limit_req_zone $arg_k zone=one:2m rate=1r/m;
            server { listen %%listen%%;
                location / { limit_req zone=one burst=4 nodelay; }
                location = /new { return 200 new; } } }",
    );
    server.signal(Signal::SIGHUP);
    let end = Instant::now() + DEADLINE;
    while server.get("/new?k=other").text() != "new" {
        assert!(Instant::now() < end, "the old configuration stays");
        std::thread::yield_now();
    }
    assert_eq!(let_in(&server, "a", 20), 5);
}

#[test]
fn what_is_delayed_comes_later() {
    let server = Setup::http(
        "limit_req_zone $arg_k zone=two:1m rate=2r/s;
        server { listen %%listen%%; limit_req zone=two burst=3; }",
    )
    .file("html/f", "here")
    .start();
    let begun = Instant::now();
    assert_eq!(let_in(&server, "a", 3), 3);
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    // Who does not wait for the answer is not waited for.
    let mut client = server.client();
    client.send("GET /f?k=a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    drop(client);
    server.wait_for("access.log", |log| log.contains(" 499 "));
}
