//! What the processes are: daemon, titles, users, descriptors, environment, signals, control.

use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::support::{
    Client, DEADLINE, Directory, End, Frame, Origin, Port, Server, Setup, WebSocket,
    accept_websocket, program_name, system,
};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const TELLING: &str = "server { listen %%listen%%; return 200 $pid; }";

/// A daemon, which is nobody's child; killed if the test does not stop it.
struct Daemon {
    pid: Pid,
    directory: Directory,
    port: Port,
    stopped: bool,
}

impl Daemon {
    /// Starts it; its first process must end well, and only when clients can connect.
    fn start(inside: &str) -> Daemon {
        system::adopt_orphans();
        let port = Port::free();
        let setup = Setup::http(inside).set("listen", port.address()).error_level("notice");
        let outcome = setup.daemon().run(&[]);
        assert_eq!((outcome.code, outcome.messages.as_str()), (Some(0), ""));
        let directory = outcome.directory;
        let pid = directory.read("server.pid").trim().parse().map(Pid::from_raw);
        Daemon { pid: pid.expect("a pid file"), directory, port, stopped: false }
    }

    fn client(&self) -> Client {
        Client::connect(self.port.address())
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("a signal");
    }

    fn stop(&mut self, signal: Signal) {
        self.signal(signal);
        system::end_of(self.pid);
        self.stopped = true;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.stopped {
            for pid in system::children(self.pid).into_iter().chain([self.pid]) {
                let _ = kill(pid, Signal::SIGKILL);
            }
            eprintln!("{}", self.directory.read("error.log"));
        }
    }
}

#[test]
fn a_daemon_is_ready_when_its_parent_ends() {
    let mut daemon = Daemon::start(TELLING);
    let worker: i32 = daemon.client().send(REQUEST).response().text().parse().expect("a pid");
    assert_eq!(system::children(daemon.pid), [Pid::from_raw(worker)]);
    let leader = nix::unistd::getsid(Some(daemon.pid)).expect("a session");
    assert_eq!(leader, daemon.pid);
    let open = system::descriptors(daemon.pid);
    let of = |number: i32| open.get(&number).map(String::as_str).unwrap_or_default();
    assert_eq!((of(0), of(1)), ("/dev/null", "/dev/null"));
    assert!(of(2).ends_with("/error.log"), "{open:?}");
    daemon.stop(Signal::SIGQUIT);
    assert_eq!(daemon.directory.read("server.pid"), "");
    let log = daemon.directory.read("error.log");
    assert!(!log.contains("[alert]") && !log.contains("[emerg]"), "{log}");
}

#[test]
fn a_daemon_that_cannot_start_says_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let outcome = Setup::http(TELLING).set("listen", address).daemon().run(&[]);
    assert_eq!(outcome.code, Some(1));
    let text = format!("bind() to {address} failed (98: ");
    assert!(outcome.messages.contains(&text), "{}", outcome.messages);
    assert_eq!(outcome.directory.read("server.pid"), "");
}

/// Workers go, the address stays; a reload brings new workers.
#[test]
fn a_resized_window_sends_the_workers_of_a_daemon_away() {
    let mut daemon = Daemon::start(TELLING);
    let old: i32 = daemon.client().send(REQUEST).response().text().parse().expect("a pid");
    daemon.signal(Signal::SIGWINCH);
    // It waits in the queue: nobody accepts, and nobody refuses.
    let mut waiting = None;
    while !system::children(daemon.pid).is_empty() {
        waiting = None;
        std::thread::yield_now();
    }
    let waiting = waiting.insert(daemon.client());
    waiting.send(REQUEST);
    daemon.signal(Signal::SIGHUP);
    let new: i32 = waiting.response().text().parse().expect("a pid");
    assert_ne!(new, old);
    let log = daemon.directory.read("error.log");
    assert!(log.contains("(SIGWINCH) received from "), "{log}");
    assert!(log.contains(&format!("worker process {old} exited with code 0")), "{log}");
    daemon.stop(Signal::SIGTERM);
}

#[test]
fn titles_tell_who_is_who() {
    let name = program_name();
    let mut server = Server::http(TELLING);
    assert_eq!(server.get("/").status, 200);
    let title = system::title(server.pid());
    let dir = server.path("").display().to_string();
    assert!(title.starts_with(&format!("{name}: master process ")), "{title}");
    assert!(title.contains(&format!(" -p {dir} -c nginx.conf -e error.log")), "{title}");
    let worker = server.all_workers(1)[0];
    assert_eq!(system::title(worker), format!("{name}: worker process"));
    let mut slow = server.client();
    slow.send("GET / HTTP/1.1\r\n");
    // Accepted for certain once a later connection is answered.
    assert_eq!(server.get("/").status, 200);
    server.signal(Signal::SIGQUIT);
    server.wait_for("error.log", |log| log.contains("gracefully shutting down"));
    let end = std::time::Instant::now() + DEADLINE;
    while system::title(worker) != format!("{name}: worker process is shutting down") {
        assert!(std::time::Instant::now() < end, "{}", system::title(worker));
    }
    slow.send("Host: localhost\r\n\r\n");
    assert_eq!(slow.response().status, 200);
    assert!(server.wait(DEADLINE).expect("an end").success());
}

#[test]
fn workers_gain_no_privileges() {
    let server = Server::http(TELLING);
    assert_eq!(server.get("/").status, 200);
    assert_eq!(system::status(server.all_workers(1)[0], "NoNewPrivs"), "1");
    assert_eq!(system::status(server.pid(), "NoNewPrivs"), "0");
}

#[test]
fn workers_become_the_user() {
    if !geteuid().is_root() {
        return;
    }
    let server = Setup::http(TELLING).user("nobody nogroup").start();
    assert_eq!(server.get("/").status, 200);
    let worker = server.all_workers(1)[0];
    let nobody = nix::unistd::User::from_name("nobody").expect("a user").expect("nobody");
    let group = nix::unistd::Group::from_name("nogroup").expect("a group").expect("nogroup");
    let four = |id: u32| [id; 4].map(|id| id.to_string()).join("\t");
    assert_eq!(system::status(worker, "Uid"), four(nobody.uid.as_raw()));
    assert_eq!(system::status(worker, "Gid"), four(group.gid.as_raw()));
    assert_eq!(system::status(worker, "Groups"), group.gid.to_string());
    for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(system::status(worker, set), "0000000000000000", "{set}");
    }
    // Neither dumped nor traced: what /proc shows of it is root's.
    assert_eq!(system::owner(worker), 0);
    assert_eq!(system::status(server.pid(), "Uid"), four(0));
}

/// Standard streams, the channel, a listening socket, two logs, the event loop. What the loop needs
/// has no names; what else is open must be known here.
#[test]
fn workers_have_only_their_own_descriptors() {
    if !geteuid().is_root() {
        return;
    }
    let server = Server::http(TELLING);
    assert_eq!(server.get("/").status, 200);
    let worker = server.all_workers(1)[0];
    // The channel and the address listened on.
    system::sockets_settle(worker, 2);
    let open = system::descriptors(worker);
    let count = |part: &str| open.values().filter(|target| target.contains(part)).count();
    assert_eq!(count("/error.log"), 1, "{open:?}");
    assert_eq!(count("/access.log"), 1, "{open:?}");
    assert_eq!(count("server.pid"), 0, "{open:?}");
    assert_eq!(count("proxyd-config"), 0, "{open:?}");
    let known =
        ["/error.log", "/access.log", "socket:", "/dev/null", "pipe:", "anon_inode:", "/memfd:"];
    let unknown = |target: &&String| !known.iter().any(|part| target.contains(part));
    let unknown: Vec<_> = open.values().filter(unknown).collect();
    assert!(unknown.is_empty(), "{open:?}");
    assert!(count("/memfd:") <= 1, "{open:?}");
}

#[test]
fn the_environment_of_workers_is_chosen() {
    // The title covers what /proc would show of it, so it is seen by what it does.
    let server = Setup::main(
        "env TZ=XXX-5; env ABSENT; events {}
        http { %%http%% server { listen %%listen%%; return 200 $time_iso8601; } }",
    )
    .start();
    let time = server.get("/").text();
    assert!(time.ends_with("+05:00"), "{time}");
}

#[test]
fn one_process_alone() {
    let mut server = Setup::main(
        "master_process off; events {}
        http { %%http%% server { listen %%listen%%; return 200 \"one $pid\"; } }",
    )
    .start();
    let own = server.pid();
    let mut kept = server.client();
    assert_eq!(kept.send(REQUEST).response().text(), format!("one {own}"));
    assert_eq!(server.workers(), []);
    server.configure_main(
        "master_process off; events {}
        http { %%http%% server { listen %%listen%%; return 200 \"two $pid\"; } }",
    );
    let (code, messages) = server.command(&["-s", "reload"]);
    assert_eq!(code, Some(0), "{messages}");
    assert_eq!(kept.send(REQUEST).response().text(), format!("two {own}"));
    assert!(server.quit().success());
    assert_eq!(kept.end(), End::Closed);
}

#[test]
fn a_websocket_is_cut_when_the_time_for_leaving_is_over() {
    let origin = Origin::new(|peer| {
        accept_websocket(peer);
    });
    let mut server = Setup::main(
        "worker_shutdown_timeout 300ms; events {}
        http { %%http%% server { listen %%listen%%; location / { proxy_pass http://%%origin%%;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } } }",
    )
    .set("origin", origin.address())
    .start();
    let mut socket = WebSocket::open(server.client(), "/");
    let begun = std::time::Instant::now();
    server.signal(Signal::SIGQUIT);
    server.wait_for("error.log", |log| log.contains("gracefully shutting down"));
    socket.send(&Frame::text("still"));
    assert_eq!(socket.receive(), Frame::text("still"));
    socket.0.end();
    let lived = begun.elapsed().as_secs_f64();
    assert!((0.3..2.0).contains(&lived), "{lived}");
    assert!(server.wait(DEADLINE).expect("an end").success());
}

#[test]
fn directives_on_the_command_line_reach_the_workers() {
    let server = Setup::http(TELLING)
        .argument("-g")
        .argument("worker_processes 3; worker_rlimit_nofile 200;")
        .start();
    assert_eq!(server.get("/").status, 200);
    let workers = server.all_workers(3);
    // A reload keeps them, and ends when all workers serve.
    assert_eq!(server.control("PATCH", "/1/control/config").0, 200);
    assert_eq!(server.workers(), workers);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", workers[0])).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    assert_eq!(line.split_whitespace().nth(3), Some("200"), "{line}");
}

#[test]
fn the_control_api_answers_on_its_socket() {
    let mut server = Server::http(TELLING);
    let mode = std::fs::metadata(server.path("server.pid.ctl")).expect("a socket").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let worker = server.get("/").text();
    let (status, text) = server.control("GET", "/1/control/processes");
    assert_eq!(status, 200);
    let expected = format!("[{{\"name\":\"worker process\",\"pid\":{worker},\"exiting\":false}}]");
    assert_eq!(text, expected);
    let (status, text) = server.control("GET", "/1/control/config");
    assert_eq!(status, 200);
    let file = server.path("nginx.conf").display().to_string();
    assert!(text.starts_with(&format!("[{{\"name\":\"{file}\",\"content\":\"")), "{text}");
    assert!(text.contains("return 200 $pid;"), "{text}");
    server.configure("server { listen %%listen%%; return 200 new; }");
    let (status, text) = server.control("PATCH", "/1/control/config");
    assert_eq!((status, text.as_str()), (200, "{\"logs\":[]}"));
    assert_eq!(server.get("/").text(), "new");
    server.configure("server { listen %%listen%%; nonsense; }");
    let (status, text) = server.control("PATCH", "/1/control/config");
    assert_eq!(status, 422);
    let line = "[emerg] unknown directive \\\"nonsense\\\" in ";
    assert!(text.starts_with("{\"logs\":[\"") && text.contains(line), "{text}");
    assert_eq!(server.get("/").text(), "new");
    for (method, path, status) in
        [("GET", "/", 200), ("DELETE", "/1/control/config", 405), ("GET", "/1/nothing", 404)]
    {
        assert_eq!(server.control(method, path).0, status, "{method} {path}");
    }
    server.allow("unknown directive");
    assert!(server.quit().success());
    assert!(!server.path("server.pid.ctl").exists());
}

#[test]
fn a_second_server_in_the_same_place_is_refused() {
    let server = Server::http(TELLING);
    let (code, messages) = server.command(&[]);
    assert_eq!(code, Some(1), "{messages}");
    assert!(messages.contains("(98: Address already in use)"), "{messages}");
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.read("server.pid").trim(), server.pid().to_string());
    let mut server = server;
    server.allow("bind() to ");
    server.allow("still could not bind()");
    assert_eq!(server.control("GET", "/1/control/processes").0, 200);
}
