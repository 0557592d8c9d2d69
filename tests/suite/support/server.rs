//! The program under test, running on a configuration of the test's own.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, geteuid};

use super::client::Client;
use super::directory::Directory;
use super::ports::Port;
use super::process::{Process, readable};
use super::response::Response;
use super::{DEADLINE, binary, is_reference, system};

const PID_FILE: &str = "server.pid";
const CONTROL: &str = "server.pid.ctl";
const ERROR_LOG: &str = "error.log";

/// A configuration and the files it needs, before the program is started.
///
/// `%%name%%` in the text stands for a value given with `set`; a name that
/// starts with `listen` and was not set becomes an address with a free port.
pub struct Setup {
    text: String,
    level: &'static str,
    directory: Directory,
    ports: BTreeMap<String, Port>,
    values: BTreeMap<String, String>,
    allowed: Vec<&'static str>,
    daemon: bool,
    user: &'static str,
    arguments: Vec<String>,
}

/// What a run that ends by itself, such as `-t`, did.
pub struct Outcome {
    pub code: Option<i32>,
    /// Standard error, with the test's directory written as `DIR`.
    pub messages: String,
    pub directory: Directory,
}

impl Setup {
    /// Starts from the inside of the `http` block.
    pub fn http(inside: &str) -> Setup {
        Setup::main(&in_http(inside))
    }

    /// Starts from a whole configuration. `daemon`, `pid`, `error_log` and, for
    /// root, `user` are put in front of it, on one line.
    pub fn main(text: &str) -> Setup {
        let directory = Directory::new();
        directory.write("html/index.html", b"index\n");
        directory.write("logs/.keep", b"");
        let mut setup = Setup {
            text: text.to_owned(),
            level: "debug",
            directory,
            ports: BTreeMap::new(),
            values: BTreeMap::new(),
            allowed: Vec::new(),
            daemon: false,
            user: "root",
            arguments: Vec::new(),
        };
        let identity = if is_reference() { "" } else { "server_identity nginx;" };
        let http = format!(
            "{identity} root html; access_log access.log; default_type text/plain; \
             client_body_temp_path body_temp; proxy_temp_path proxy_temp;"
        );
        setup.values.insert("http".to_owned(), http);
        let path = setup.directory.path().display().to_string();
        setup.values.insert("dir".to_owned(), path);
        setup
    }

    /// Gives `%%name%%` a value.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Display) -> Setup {
        self.values.insert(name.to_owned(), value.to_string());
        self
    }

    /// Puts a file into the server's directory; pages belong in `html/`.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Setup {
        self.directory.write(name, content.as_ref());
        self
    }

    /// The level of the error log; `debug` unless said otherwise.
    #[must_use]
    pub fn error_level(mut self, level: &'static str) -> Setup {
        self.level = level;
        self
    }

    /// An `[alert]` or `[emerg]` line with this text in it is expected.
    #[must_use]
    pub fn allow(mut self, text: &'static str) -> Setup {
        self.allowed.push(text);
        self
    }

    /// Lets the program go into the background; for `run`.
    #[must_use]
    pub fn daemon(mut self) -> Setup {
        self.daemon = true;
        self
    }

    /// Whom the workers of a server started by root become; root unless said otherwise.
    #[must_use]
    pub fn user(mut self, user: &'static str) -> Setup {
        self.user = user;
        self
    }

    /// A further argument of the server's own command line.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Setup {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts the program and returns when its sockets listen.
    pub fn start(mut self) -> Server {
        self.write_configuration();
        let started =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).expect("inotify");
        let events = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
        started.add_watch(self.directory.path(), events).expect("a watch");
        let mut command = self.command();
        command.args(&self.arguments);
        let process = Process::spawn(&mut command, self.directory.path());
        let server = Server { setup: self, process, stopped: false, crashed: false };
        server.wait_until_ready(&started);
        server
    }

    /// Runs the program with further arguments until it ends by itself.
    pub fn run(mut self, arguments: &[&str]) -> Outcome {
        self.write_configuration();
        let mut process = Process::spawn(self.command().args(arguments), self.directory.path());
        let status = process.wait(DEADLINE);
        let path = self.directory.path().display().to_string();
        let messages = process.messages(DEADLINE).replace(&path, "DIR");
        Outcome {
            code: status.expect("the program ends by itself").code(),
            messages,
            directory: self.directory,
        }
    }

    /// Runs `-t`.
    pub fn check(self) -> Outcome {
        self.run(&["-t"])
    }

    fn command(&self) -> Command {
        let mut prefix = self.directory.path().as_os_str().to_owned();
        prefix.push("/");
        let mut command = Command::new(binary());
        command.arg("-p").arg(prefix).args(["-c", "nginx.conf", "-e", ERROR_LOG]);
        command.env_remove("NGINX").env("TZ", "UTC");
        command
    }

    fn write_configuration(&mut self) {
        let mut text = self.text.clone();
        while let Some((before, rest)) = text.split_once("%%") {
            let (name, after) = rest.split_once("%%").expect("a closing %%");
            let value = self.value(name);
            text = format!("{before}{value}{after}");
        }
        let user = self.user;
        let user = if geteuid().is_root() { format!("user {user}; ") } else { String::new() };
        let daemon = if self.daemon { "on" } else { "off" };
        let dir = self.directory.path().display();
        let level = self.level;
        let own = format!(
            "daemon {daemon}; pid {dir}/{PID_FILE}; error_log {dir}/{ERROR_LOG} {level}; {user}"
        );
        // A file that is cut short and written again may wait for the disk: ext4 flushes it then.
        let _ = fs::remove_file(self.directory.path().join("nginx.conf"));
        self.directory.write("nginx.conf", format!("{own}{text}").as_bytes());
    }

    fn value(&mut self, name: &str) -> String {
        if let Some(value) = self.values.get(name) {
            return value.clone();
        }
        assert!(name.starts_with("listen"), "no value for %%{name}%%");
        let port = Port::free();
        let address = port.address().to_string();
        self.ports.insert(name.to_owned(), port);
        self.values.insert(name.to_owned(), address.clone());
        address
    }
}

fn in_http(inside: &str) -> String {
    format!("events {{}}\nhttp {{\n%%http%%\n{inside}\n}}\n")
}

/// The running program. At the end of the test it is stopped, and the test
/// fails on an alert in its log, a wrong exit or a process it left behind.
pub struct Server {
    setup: Setup,
    process: Process,
    stopped: bool,
    crashed: bool,
}

impl Server {
    /// As `Setup::http(inside).start()`.
    pub fn http(inside: &str) -> Server {
        Setup::http(inside).start()
    }

    /// The address behind `%%name%%`.
    pub fn address_of(&self, name: &str) -> SocketAddr {
        self.setup.ports.get(name).expect("a port of that name").address()
    }

    /// The address behind `%%listen%%`.
    pub fn address(&self) -> SocketAddr {
        self.address_of("listen")
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// Fetches a path on a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        self.request(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    /// Sends bytes on a connection of its own and reads one answer.
    pub fn request(&self, bytes: impl AsRef<[u8]>) -> Response {
        self.client().send(bytes).response()
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// A path in the server's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.setup.directory.path().join(name)
    }

    /// The text of a file in the server's directory; empty if there is none.
    pub fn read(&self, name: &str) -> String {
        self.setup.directory.read(name)
    }

    pub fn error_log(&self) -> String {
        self.read(ERROR_LOG)
    }

    /// Waits until `done` accepts the text of a file in the directory, looking
    /// again whenever a file there changes.
    pub fn wait_for(&self, name: &str, done: impl Fn(&str) -> bool) -> String {
        let changes =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).expect("inotify");
        let events =
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        changes.add_watch(self.setup.directory.path(), events).expect("a watch");
        let end = Instant::now() + DEADLINE;
        loop {
            let text = self.read(name);
            if done(&text) {
                return text;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(readable(&[&changes], left)[0], "{name} still holds only:\n{text}");
            let _ = changes.read_events();
        }
    }

    /// Runs the program a second time on the same directory, as `-s` does; its
    /// exit code and messages.
    pub fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.setup.command();
        let mut process = Process::spawn(command.args(arguments), self.setup.directory.path());
        let status = process.wait(DEADLINE).expect("the program ends by itself");
        (status.code(), process.messages(DEADLINE))
    }

    /// Replaces the configuration; `inside` is the inside of `http`.
    pub fn configure(&mut self, inside: &str) {
        self.configure_main(&in_http(inside));
    }

    /// Replaces the whole configuration.
    pub fn configure_main(&mut self, text: &str) {
        text.clone_into(&mut self.setup.text);
        self.setup.write_configuration();
    }

    /// One request to the control API, on a connection of its own: status and content.
    pub fn control(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.path(CONTROL)).expect("a control socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, content) = answer.split_once("\r\n\r\n").expect("a head");
        (Response::from_head(head.as_bytes()).status, content.to_owned())
    }

    /// The living children of the master, sorted.
    pub fn workers(&self) -> Vec<Pid> {
        system::children(self.pid())
    }

    /// The same, once there are so many.
    pub fn all_workers(&self, number: usize) -> Vec<Pid> {
        self.wait_for(ERROR_LOG, |log| log.matches("start worker process ").count() >= number);
        let workers = self.workers();
        assert_eq!(workers.len(), number);
        workers
    }

    /// As `Setup::allow`, for what the test has done meanwhile.
    pub fn allow(&mut self, text: &'static str) {
        self.setup.allowed.push(text);
    }

    /// Kills the master alone and waits for its end, which then is no complaint.
    pub fn crash(&mut self) {
        self.crashed = true;
        self.signal(Signal::SIGKILL);
        self.wait(DEADLINE).expect("an end");
    }

    /// Waits for the end of the program, as after a signal.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let status = self.process.wait(limit);
        self.stopped |= status.is_some();
        status
    }

    /// Lets it finish gracefully (`QUIT`) and waits; then its logs are complete.
    pub fn quit(&mut self) -> ExitStatus {
        self.signal(Signal::SIGQUIT);
        let status = self.wait(DEADLINE);
        status.unwrap_or_else(|| panic!("no end after QUIT:\n{}", self.error_log()))
    }

    fn wait_until_ready(&self, changes: &Inotify) {
        let end = Instant::now() + DEADLINE;
        let pid_file = self.path(PID_FILE);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let events = readable(&[changes, self.process.gone()], left);
            // Taken before the look: what happens after it will wake us again.
            let _ = changes.read_events();
            if std::fs::read_to_string(&pid_file).is_ok_and(|text| text.ends_with('\n')) {
                return;
            }
            assert!(events != [false, false], "not ready in time:\n{}", self.error_log());
            let messages = || self.process.messages(Duration::from_secs(1));
            assert!(!events[1], "ended at start:\n{}", messages());
        }
    }

    /// What speaks against the run, once it is over.
    fn complaints(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.stopped {
            self.process.signal(Signal::SIGTERM);
        }
        match self.process.wait(DEADLINE) {
            None => found.push("it did not stop on TERM".to_owned()),
            Some(status) if !status.success() && !self.crashed => {
                found.push(format!("it ended with {status}"));
            }
            Some(_) => {}
        }
        let left = self.process.left_behind();
        if !left.is_empty() {
            found.push(format!("left behind: {}", left.join(", ")));
        }
        let log = self.error_log();
        let bad = |line: &&str| line.contains("[alert]") || line.contains("[emerg]");
        let allowed = |line: &&str| self.setup.allowed.iter().any(|text| line.contains(text));
        let alerts = log.lines().filter(bad).filter(|line| !allowed(line));
        found.extend(alerts.map(str::to_owned));
        found
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let complaints = self.complaints();
        self.process.kill_all();
        if thread::panicking() {
            eprintln!("error.log of the failed test:");
            for line in self.error_log().lines() {
                eprintln!("{}", line.chars().take(400).collect::<String>());
            }
            eprintln!("{}", complaints.join("\n"));
        } else {
            assert!(complaints.is_empty(), "{}", complaints.join("\n"));
        }
    }
}

#[test]
#[should_panic(expected = "exited on signal 9")]
fn an_alert_fails_the_test() {
    let server = Server::http("server { listen %%listen%%; return 200 $pid; }");
    let worker = server.get("/").text().parse().expect("a process id");
    nix::sys::signal::kill(Pid::from_raw(worker), Signal::SIGKILL).expect("a signal");
    server.wait_for(ERROR_LOG, |log| log.contains("[alert]"));
}
