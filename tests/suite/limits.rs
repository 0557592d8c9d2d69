//! Where resources end: descriptors, connections, patience, names.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::support::{Client, DEADLINE, End, Origin, Server, Setup, system};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Nothing comes on this connection, not even its end, for this long.
fn stays_silent(client: &Client, time: Duration) {
    let mut stream = client.handle();
    stream.set_read_timeout(Some(time)).expect("a time limit");
    let error = stream.read(&mut [0]).expect_err("nothing");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
}

fn only_worker(server: &Server) -> Pid {
    server.all_workers(1)[0]
}

#[test]
fn out_of_descriptors_accepting_pauses_and_resumes() {
    const TEXT: &str = "accept4() failed (24: Too many open files)";
    let server = Setup::main(
        "worker_rlimit_nofile 40; events { worker_connections 100; }
        http { %%http%% server { listen %%listen%%; return 200 ok; } }",
    )
    .error_level("notice")
    .allow(TEXT)
    .start();
    assert_eq!(server.get("/").text(), "ok");
    let worker = only_worker(&server);
    let mut all: Vec<Client> = (0..60).map(|_| server.client()).collect();
    let log = server.wait_for("error.log", |log| log.contains(TEXT));
    assert!(log.contains("100 worker_connections exceed open file resource limit: 40"), "{log}");
    let last = all.last_mut().expect("a client");
    last.send(REQUEST);
    let used = system::cpu_time(worker);
    stays_silent(last, Duration::from_secs(1));
    let used = system::cpu_time(worker).saturating_sub(used);
    println!("{used:?} of CPU time in a second without descriptors");
    assert!(used < Duration::from_millis(50), "{used:?}");
    assert_eq!(server.error_log().matches(TEXT).count(), 1);
    // Those that were accepted are served all the while.
    let mut last = all.pop().expect("a client");
    let first = &mut all[0];
    assert_eq!(first.send(REQUEST).response().text(), "ok");
    let begun = Instant::now();
    all.truncate(20);
    assert_eq!(last.response().text(), "ok");
    println!("accepting again after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(server.error_log().matches(TEXT).count(), 1);
}

fn with_connections(number: usize) -> Server {
    Setup::main(&format!(
        "events {{ worker_connections {number}; }}
        http {{ %%http%% server {{ listen %%listen%%; return 200 ok; }} }}"
    ))
    .error_level("notice")
    .allow("worker_connections are not enough")
    .start()
}

#[test]
fn more_than_worker_connections_wait() {
    const TEXT: &str = "[alert] ";
    let server = with_connections(5);
    let mut all: Vec<Client> = (0..5).map(|_| server.client()).collect();
    // A connection that has sent something is no longer new.
    for client in &mut all {
        client.send("GET / HTTP/1.1\r\n");
    }
    let mut waiting = server.client();
    waiting.send(REQUEST);
    let log = server.wait_for("error.log", |log| log.contains(TEXT));
    assert!(log.contains("5 worker_connections are not enough"), "{log}");
    stays_silent(&waiting, Duration::from_millis(200));
    all.pop();
    assert_eq!(waiting.response().text(), "ok");
    for client in &mut all {
        assert_eq!(client.send("Host: localhost\r\n\r\n").response().text(), "ok");
    }
    assert_eq!(server.error_log().matches(TEXT).count(), 1);
}

#[test]
fn the_connection_idle_for_longest_makes_room() {
    let server = with_connections(3);
    let mut all: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for client in &mut all {
        assert_eq!(client.send(REQUEST).response().text(), "ok");
    }
    let mut next = server.client();
    next.send(REQUEST);
    assert_eq!(all[0].end(), End::Closed);
    drop(all.remove(0));
    assert_eq!(next.response().text(), "ok");
    for client in &mut all {
        assert_eq!(client.send(REQUEST).response().text(), "ok");
    }
}

#[test]
fn a_full_worker_can_be_stopped() {
    let mut server = with_connections(1);
    let mut slow = server.client();
    slow.send("GET / HTTP/1.1\r\n");
    let mut waiting = server.client();
    waiting.send(REQUEST);
    server.wait_for("error.log", |log| log.contains("are not enough"));
    server.signal(nix::sys::signal::Signal::SIGQUIT);
    // What has been accepted is answered, and that is all.
    assert_eq!(waiting.response().text(), "ok");
    slow.send("Host: localhost\r\n\r\n");
    assert_eq!(slow.response().text(), "ok");
    assert!(server.wait(DEADLINE).expect("an end").success());
}

#[test]
fn an_unknown_upstream_name_does_not_stop_the_start() {
    let setup = Setup::main(
        "events {}\nhttp { %%http%%
        upstream named { server no-such-host.invalid:81; }
        server { listen %%listen%%;
            location / { return 200 ok; }
            location /group { proxy_pass http://named; }
            location /direct { proxy_pass http://no-such-host.invalid/; } } }",
    );
    let server = setup.start();
    assert_eq!(server.get("/").text(), "ok");
    for _ in 0..2 {
        assert_eq!(server.get("/group").status, 502);
        assert_eq!(server.get("/direct").status, 502);
    }
    let log = server.error_log();
    let place = |line: u32| format!("in {}:{line}", server.path("nginx.conf").display());
    for (line, text) in [
        (3, "host not found in upstream \"no-such-host.invalid:81\""),
        (7, "host not found in upstream \"no-such-host.invalid\""),
    ] {
        let told = |l: &&str| l.contains("[warn]") && l.contains(text) && l.contains(&place(line));
        assert!(log.lines().any(|line| told(&line)), "{text} {}:\n{log}", place(line));
    }
}

/// Sends a byte whenever nothing has come for a while; answers when the end has.
fn drip(client: &Client) -> End {
    let mut stream = client.handle();
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a time limit");
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        match stream.read(&mut [0]) {
            Ok(0) => return End::Closed,
            Ok(_) => panic!("an answer"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return End::Reset,
        }
        // It may be too late; the next read tells.
        let _ = stream.write(b"a");
    }
    panic!("a slow client is never cut");
}

#[test]
fn a_slow_client_is_cut_and_others_are_not() {
    let mut server =
        Server::http("client_header_timeout 1s; server { listen %%listen%%; return 200 ok; }");
    let mut kept = server.client();
    let mut slow = server.client();
    let silent = server.client();
    let begun = Instant::now();
    slow.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
    assert_eq!(kept.send(REQUEST).response().text(), "ok");
    drip(&slow);
    let cut = begun.elapsed();
    println!("cut after {cut:?}");
    assert!((1.0..2.5).contains(&cut.as_secs_f64()), "{cut:?}");
    let mut silent = silent;
    assert_eq!(silent.end(), End::Closed);
    assert_eq!(kept.send(REQUEST).response().text(), "ok");
    server.quit();
    let text = "client timed out (110: Connection timed out) while reading client request headers";
    let log = server.error_log();
    assert!(log.contains(text), "{log}");
    assert_eq!(server.read("access.log").matches("\" 408 0 ").count(), 1);
}

/// Nobody reads any more: the write fails, the worker goes on.
#[test]
fn a_client_that_resets_within_a_large_answer_harms_nobody() {
    let origin = Origin::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {0}\r\n\r\n{1}",
        8 << 20,
        "x".repeat(8 << 20)
    ));
    let setup = Setup::http(
        "server { listen %%listen%%; location / { return 200 $pid; }
            location /big { proxy_pass http://%%origin%%; proxy_max_temp_file_size 0; } }",
    );
    let server = setup.set("origin", origin.address()).start();
    let worker = only_worker(&server);
    for _ in 0..5 {
        let mut client = server.client();
        client.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.response_head().status, 200);
        client.reset();
    }
    server.wait_for("access.log", |log| log.lines().count() == 5);
    assert_eq!(server.get("/").text(), worker.to_string());
}
