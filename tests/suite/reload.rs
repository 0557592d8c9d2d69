//! Reloading while clients ask: nobody notices, and a configuration that cannot be used changes
//! nothing.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::{Pid, geteuid};

use crate::support::{
    Client, DEADLINE, End, Frame, Load, Origin, Server, Setup, WebSocket, echo, system,
};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A configuration that answers with its number and the worker's, and has a tunnel to `%%origin%%`.
fn numbered(workers: usize, number: usize) -> String {
    format!(
        "worker_processes {workers}; events {{}}
        http {{ %%http%% access_log off; keepalive_requests 1000000;
            upstream group {{ server %%origin%%; keepalive 8; }}
            server {{ listen %%listen%%;
                location / {{ return 200 \"{number} $pid\"; }}
                location /up {{ proxy_pass http://group; }}
                location /chat {{ proxy_pass http://%%origin%%;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection upgrade; }} }} }}"
    )
}

fn start(workers: usize, origin: &Origin) -> Server {
    let setup = Setup::main(&numbered(workers, 0)).set("origin", origin.address());
    setup.error_level("notice").start()
}

/// Reloads by the command line, which must go well and say nothing.
fn reload(server: &Server) {
    let (code, messages) = server.command(&["-s", "reload"]);
    assert_eq!((code, messages.as_str()), (Some(0), ""));
}

/// What a request on an open connection is answered.
fn ask(client: &mut Client) -> String {
    client.send(REQUEST).response().text()
}

fn says(text: &str, number: usize) -> bool {
    text.starts_with(&format!("{number} "))
}

/// Waits until every one of these connections is served by configuration `number`; before that,
/// nothing but the one before it may answer.
fn all_say(clients: &mut [Client], number: usize) {
    let end = Instant::now() + DEADLINE;
    for client in clients {
        loop {
            let text = ask(client);
            if says(&text, number) {
                break;
            }
            assert!(says(&text, number - 1), "{text}");
            assert!(Instant::now() < end, "still {text}");
        }
    }
}

/// The worker processes that answered.
fn workers_in(contents: &BTreeSet<String>) -> BTreeSet<Pid> {
    let pid = |text: &String| text.split(' ').nth(1)?.parse().ok().map(Pid::from_raw);
    contents.iter().filter_map(pid).collect()
}

#[test]
fn reloads_under_load_lose_nothing() {
    const RELOADS: usize = 8;
    let origin = echo();
    let mut server = start(2, &origin);
    let mut sockets: Vec<_> = (0..4).map(|_| WebSocket::open(server.client(), "/chat")).collect();
    let mut kept: Vec<_> = (0..6).map(|_| server.client()).collect();
    for client in &mut kept {
        assert!(says(&ask(client), 0));
    }
    let workers = server.all_workers(2);
    let load = Load::start(server.address(), 20);
    for number in 1..=RELOADS {
        server.configure_main(&numbered(2, number));
        if number % 2 == 0 {
            reload(&server);
            // All workers have switched before the command returns.
            for client in &mut kept {
                let text = ask(client);
                assert!(says(&text, number), "{text}");
            }
        } else {
            server.signal(Signal::SIGHUP);
            all_say(&mut kept, number);
        }
        for socket in &mut sockets {
            let frame = Frame::text(&format!("after reload {number}"));
            socket.send(&frame);
            assert_eq!(socket.receive(), frame);
        }
    }
    let tally = load.stop();
    assert_eq!(tally.failures, []);
    assert_eq!(tally.connections, 20);
    assert_eq!(server.workers(), workers);
    assert!(workers_in(&tally.contents).iter().all(|pid| workers.contains(pid)));
    println!("{RELOADS} reloads, {} requests, none failed", tally.answered);
}

#[test]
fn connections_to_upstreams_stay() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut server = start(1, &origin);
    for number in 1..=5 {
        assert_eq!(server.get("/up").text(), "ok");
        server.configure_main(&numbered(1, number));
        reload(&server);
    }
    assert_eq!(server.get("/up").text(), "ok");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_broken_configuration_is_told_and_not_used() {
    let origin = echo();
    let mut server = start(1, &origin);
    let mut kept = server.client();
    let before = ask(&mut kept);
    for (wrong, sentence) in [
        ("nonsense on;", "unknown directive \"nonsense\""),
        ("http { include missing.conf; }", "missing.conf\" failed (2: No such file or directory)"),
        ("error_log /nowhere/error.log;", "/nowhere/error.log\" failed (2: No such file"),
    ] {
        server.configure_main(&format!("{wrong}\n{}", numbered(1, 1)));
        let (code, messages) = server.command(&["-s", "reload"]);
        assert_eq!(code, Some(1), "{messages}");
        assert!(messages.contains("[emerg]") && messages.contains(sentence), "{messages}");
        assert_eq!(ask(&mut kept), before);
        assert_eq!(server.get("/").text(), before);
    }
    server.configure_main(&format!("nonsense on;\n{}", numbered(1, 1)));
    let (_, messages) = server.command(&["-s", "reload"]);
    let place = format!("{}:1:", server.path("nginx.conf").display());
    assert!(messages.contains(&place), "{messages}");
    server.configure_main(&numbered(1, 1));
    reload(&server);
    assert!(says(&ask(&mut kept), 1));
    server_log_allows(server, &["nonsense", "missing.conf", "/nowhere/"]);
}

/// Ends the server; its log may have these emergencies and no others.
fn server_log_allows(mut server: Server, allowed: &[&'static str]) {
    for text in allowed {
        server.allow(text);
    }
    assert!(server.quit().success());
}

#[test]
fn a_hangup_with_a_broken_configuration_is_logged() {
    let origin = echo();
    let mut server = start(1, &origin);
    let before = server.get("/").text();
    server.configure_main(&format!("nonsense on;\n{}", numbered(1, 1)));
    server.signal(Signal::SIGHUP);
    let log = server.wait_for("error.log", |log| log.contains("unknown directive \"nonsense\""));
    assert!(log.contains("[emerg]") && log.contains("nginx.conf:1"), "{log}");
    assert_eq!(server.get("/").text(), before);
    server_log_allows(server, &["nonsense"]);
}

/// Descriptors of the master and, where they may be known, of the workers.
fn descriptors(server: &Server) -> Vec<usize> {
    let mut all = vec![server.pid()];
    if geteuid().is_root() {
        all.extend(server.workers());
    }
    // The control connection that has just been answered may not be closed yet.
    let count = |pid: Pid| {
        let open = system::descriptors(pid);
        open.values().filter(|target| !target.starts_with("socket:")).count()
    };
    all.into_iter().map(count).collect()
}

#[test]
fn a_hundred_bad_reloads_leak_nothing() {
    let origin = echo();
    let mut server = start(1, &origin);
    let before = server.get("/").text();
    let (open, connections) = (descriptors(&server), system::sockets(server.pid()));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let in_use = format!("server {{ listen {};", taken.local_addr().expect("an address"));
    let good = numbered(1, 1);
    for text in [
        format!("nonsense on; {good}"),
        format!("error_log other.log; error_log /nowhere/x; {good}"),
        good.replace("server {", "server { access_log new.log; listen %%listen_new%%; nonsense;"),
        good.replace("server {", &in_use),
    ] {
        server.configure_main(&text);
        for _ in 0..25 {
            let (status, outcome) = server.control("PATCH", "/1/control/config");
            assert_eq!(status, 422, "{outcome}");
        }
    }
    assert_eq!(descriptors(&server), open);
    system::sockets_settle(server.pid(), connections);
    assert_eq!(server.get("/").text(), before);
    server_log_allows(server, &["nonsense", "/nowhere/x", "failed (98: "]);
}

#[test]
fn good_reloads_leak_nothing() {
    let origin = echo();
    let mut server = start(2, &origin);
    // The first reload may open what is then kept.
    server.configure_main(&numbered(2, 1));
    reload(&server);
    let (open, connections) = (descriptors(&server), system::sockets(server.pid()));
    for number in 2..=20 {
        server.configure_main(&numbered(2, number));
        assert_eq!(server.control("PATCH", "/1/control/config").0, 200);
    }
    assert_eq!(descriptors(&server), open);
    system::sockets_settle(server.pid(), connections);
}

#[test]
fn addresses_come_and_go() {
    let mut server = Server::http("server { listen %%listen%%; return 200 old; }");
    let old = server.address();
    let mut kept = server.client();
    assert_eq!(ask(&mut kept), "old");
    let path = server.path("s.sock").display().to_string();
    server.configure(&format!(
        "server {{ listen %%listen_new%%; listen unix:{path}; return 200 new; }}"
    ));
    reload(&server);
    let new = server.address_of("listen_new");
    let get = |client: &mut Client| client.send("GET / HTTP/1.0\r\n\r\n").response().text();
    assert_eq!(get(&mut Client::connect(new)), "new");
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    // The address is gone, a connection made to it is not.
    refused_soon(old);
    kept.send(REQUEST);
    let answer = kept.response();
    assert_eq!(answer.status, 200, "{answer:?}");
    server.configure("server { listen %%listen%%; return 200 again; }");
    reload(&server);
    assert_eq!(server.get("/").text(), "again");
    refused_soon(new);
    assert!(!std::path::Path::new(&path).exists());
}

fn refused_soon(address: std::net::SocketAddr) {
    let end = Instant::now() + DEADLINE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < end, "{address} still listens");
    }
}

/// Changes the number of workers back and forth under load.
fn workers_replaced(listen: &str) {
    let origin = echo();
    let with = |workers, number| numbered(workers, number).replace("%%listen%%", listen);
    let setup = Setup::main(&with(1, 0)).set("origin", origin.address());
    let mut server = setup.error_level("notice").start();
    let mut old = server.all_workers(1);
    let load = Load::start(server.address(), 12);
    let mut socket = WebSocket::open(server.client(), "/chat");
    for (number, workers) in [2, 1, 3].into_iter().enumerate() {
        server.configure_main(&with(workers, number + 1));
        reload(&server);
        for pid in old {
            // The one with the websocket stays until that ends.
            let line = format!("worker process {pid} exited with code 0");
            if number > 0 {
                server.wait_for("error.log", |log| log.contains(&line));
            }
        }
        let first = server.read("error.log");
        let told = first.lines().filter(|line| line.contains("start worker process ")).rev();
        let pids = told.take(workers).filter_map(|line| line.rsplit(' ').next()?.parse().ok());
        old = pids.map(Pid::from_raw).collect();
        socket.send(&Frame::text("still there"));
        assert_eq!(socket.receive(), Frame::text("still there"));
    }
    let tally = load.stop();
    assert_eq!(tally.failures, []);
    assert!(workers_in(&tally.contents).len() > 3, "{:?}", tally.contents);
    socket.send(&Frame::close());
    assert_eq!(socket.receive(), Frame::close());
    assert_eq!(socket.0.end(), End::Closed);
    println!("{} requests on {} connections, none failed", tally.answered, tally.connections);
}

#[test]
fn another_number_of_workers_loses_nothing() {
    workers_replaced("%%listen%%");
}

#[test]
fn another_number_of_workers_loses_nothing_with_sockets_of_their_own() {
    workers_replaced("%%listen%% reuseport");
}

/// Idle connections of a worker that is replaced are served once more.
#[test]
fn an_idle_connection_outlives_its_worker() {
    let origin = echo();
    let mut server = start(1, &origin);
    let mut idle = server.client();
    assert!(says(&ask(&mut idle), 0));
    server.configure_main(&numbered(2, 1));
    reload(&server);
    let answer = idle.send(REQUEST).response();
    assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")));
    assert_eq!(idle.end(), End::Closed);
}

/// A worker that could not start is not started again, but a reload gives it another chance.
#[test]
fn workers_that_could_not_start_may_after_a_reload() {
    let server = Setup::main(
        "working_directory %%dir%%/later; events {}
        http { %%http%% server { listen %%listen%%; return 200 ok; } }",
    )
    .allow("/later\") failed (2: ")
    .allow("exited with fatal code 2 and cannot be respawned")
    .start();
    server.wait_for("error.log", |log| log.contains("cannot be respawned"));
    std::fs::create_dir(server.path("later")).expect("a directory");
    reload(&server);
    assert_eq!(server.get("/").text(), "ok");
}

/// An old worker that keeps an idle connection does not keep the server from stopping.
#[test]
fn a_stop_does_not_wait_for_replaced_workers() {
    let origin = echo();
    let mut server = start(1, &origin);
    let mut idle = server.client();
    assert!(says(&ask(&mut idle), 0));
    server.configure_main(&numbered(2, 1));
    reload(&server);
    let begun = Instant::now();
    assert!(server.quit().success());
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    assert_eq!(idle.end(), End::Closed);
}
