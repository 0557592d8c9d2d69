//! The life of the server: signals, reload, the pid file and the exit code.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Client, DEADLINE, End, Held, OK, Server, Setup};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Fetches `/` until the answer is `expected`; only `before` may come earlier.
fn ask_until(server: &Server, before: &str, expected: &str) {
    let end = Instant::now() + DEADLINE;
    loop {
        let text = server.get("/").text();
        if text == expected {
            return;
        }
        assert_eq!(text, before);
        assert!(Instant::now() < end, "still {before:?}");
    }
}

/// A connection that has had an answer and stays open.
fn idle(server: &Server, path: &str) -> Client {
    let mut client = server.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_eq!(client.response().header("Connection"), Some("keep-alive"));
    client
}

#[test]
fn the_pid_file_comes_and_goes() {
    let mut server = Server::http("server { listen %%listen%%; return 200; }");
    assert_eq!(server.read("server.pid"), format!("{}\n", server.pid()));
    // Until a worker answers, nginx may miss a signal.
    assert_eq!(server.get("/").status, 200);
    assert!(server.quit().success());
    assert!(!server.path("server.pid").exists());
}

#[test]
fn quit_answers_what_it_has_begun_and_closes_what_is_idle() {
    let held = Held::new();
    let mut server = Setup::http(
        "server { listen %%listen%%;
            location / { proxy_pass http://%%origin%%; }
            location /idle { return 200; } }",
    )
    .set("origin", held.origin.address())
    .start();
    let mut waiting = server.client();
    waiting.send(REQUEST);
    held.has_come();
    let mut idle = idle(&server, "/idle");
    server.signal(Signal::SIGQUIT);
    assert_eq!(idle.end(), End::Closed);
    held.answer(OK);
    let answer = waiting.response();
    assert_eq!((answer.text().as_str(), answer.header("Connection")), ("ok", Some("close")));
    assert_eq!(waiting.end(), End::Closed);
    let status = server.wait(DEADLINE).expect("an end");
    assert!(status.success());
}

#[test]
fn stop_waits_for_nobody() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let held = Held::new();
        let mut server = Setup::http(
            "server { listen %%listen%%; location / { proxy_pass http://%%origin%%; } }",
        )
        .set("origin", held.origin.address())
        .start();
        let mut waiting = server.client();
        waiting.send(REQUEST);
        held.has_come();
        server.signal(signal);
        assert_eq!(waiting.read_to_end(), b"");
        let status = server.wait(DEADLINE).expect("an end");
        assert!(status.success(), "{signal}");
        drop(server);
    }
}

#[test]
fn reload_serves_the_new_configuration_and_finishes_the_old() {
    let held = Held::new();
    let mut server = Setup::http(
        "server { listen %%listen%%; location / { return 200 old; }
            location /held { proxy_pass http://%%origin%%; } }",
    )
    .set("origin", held.origin.address())
    .start();
    assert_eq!(server.get("/").text(), "old");
    let mut waiting = server.client();
    waiting.send("GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n");
    held.has_come();
    server.configure("server { listen %%listen%%; location / { return 200 new; } }");
    server.signal(Signal::SIGHUP);
    ask_until(&server, "old", "new");
    held.answer(OK);
    assert_eq!(waiting.response().text(), "ok");
}

#[test]
fn reload_moves_to_other_addresses() {
    let mut server = Server::http("server { listen %%listen%%; return 200 old; }");
    let old = server.address();
    server.configure(
        "server { listen %%listen_new%%; return 200 new; } server { listen %%listen%%; return 200 kept; }",
    );
    server.signal(Signal::SIGHUP);
    ask_until(&server, "old", "kept");
    let mut client = Client::connect(server.address_of("listen_new"));
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "new");
    server.configure("server { listen %%listen_new%%; return 200 last; }");
    server.signal(Signal::SIGHUP);
    // Once the new configuration answers, the old address is on its way out.
    let end = Instant::now() + DEADLINE;
    while std::net::TcpStream::connect(old).is_ok() {
        assert!(Instant::now() < end, "{old} still listens");
    }
}

#[test]
fn a_reload_that_fails_changes_nothing() {
    let mut server = Setup::http("server { listen %%listen%%; return 200 old; }")
        .allow("unknown directive \"nonsense\"")
        .start();
    server.configure("nonsense; server { listen %%listen%%; return 200 new; }");
    server.signal(Signal::SIGHUP);
    let log = server.wait_for("error.log", |log| log.contains("[emerg]"));
    assert!(log.contains("unknown directive \"nonsense\" in "), "{log}");
    assert_eq!(server.get("/").text(), "old");
}

#[test]
fn a_worker_that_dies_is_replaced() {
    let server = Setup::http("server { listen %%listen%%; return 200 $pid; }")
        .allow("exited on signal 9")
        .start();
    let worker = server.get("/").text();
    let pid: i32 = worker.parse().expect("a process id");
    assert_ne!(Pid::from_raw(pid), server.pid());
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("a signal");
    let log = server.wait_for("error.log", |log| log.contains("exited on signal 9"));
    assert!(log.contains(&format!("worker process {worker} exited on signal 9")), "{log}");
    let next = server.get("/").text();
    assert!(next != worker && next.parse::<i32>().is_ok(), "{next}");
}

#[test]
fn signals_from_the_command_line() {
    let mut server = Server::http("server { listen %%listen%%; return 200 old; }");
    server.configure("server { listen %%listen%%; return 200 new; }");
    let (code, messages) = server.command(&["-s", "reload"]);
    assert_eq!(code, Some(0), "{messages}");
    ask_until(&server, "old", "new");
    let (code, messages) = server.command(&["-s", "dance"]);
    assert_eq!(code, Some(1));
    assert!(messages.contains("invalid option: \"-s dance\""), "{messages}");
    let (code, messages) = server.command(&["-s", "quit"]);
    assert_eq!(code, Some(0), "{messages}");
    assert!(server.wait(DEADLINE).expect("an end").success());
    let (code, messages) = server.command(&["-s", "stop"]);
    assert_eq!(code, Some(1));
    assert!(messages.contains("server.pid\" failed (2: No such file or directory)"), "{messages}");
}
