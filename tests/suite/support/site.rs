//! A place where a server runs: its directory, its addresses, its log, and what can be asked of
//! whoever serves there at the moment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::DEADLINE;
use super::client::Client;
use super::control::{self, Lines};
use super::process::{Process, readable};
use super::program_name;
use super::response::Response;
use super::setup::{Setup, in_http, turn_link};

pub const PID_FILE: &str = "server.pid";
/// Where the pid of a replaced master is while it lives.
pub const OLD_PID_FILE: &str = "server.pid.oldbin";
pub const CONTROL: &str = "server.pid.ctl";
pub const ERROR_LOG: &str = "error.log";

/// A program that asks the server for a change, and shows what comes of it.
pub struct Change(Process);

/// What such a program has said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub errors: String,
}

impl Change {
    /// Waits for its end.
    pub fn end(mut self) -> Said {
        let status = self.0.wait(DEADLINE).expect("the program ends by itself");
        let (out, errors) = (self.0.output(DEADLINE), self.0.messages(DEADLINE));
        Said { code: status.code(), out, errors }
    }

    pub fn signal(&self, signal: Signal) {
        self.0.signal(signal);
    }
}

/// A configured directory, with or without a server.
pub struct Site {
    setup: Setup,
}

impl Site {
    pub(super) fn new(setup: Setup) -> Site {
        Site { setup }
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

    pub fn directory(&self) -> &Path {
        self.setup.directory.path()
    }

    /// A path in the server's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
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
        let events = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE;
        changes.add_watch(self.directory(), events).expect("a watch");
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

    /// Waits until the error log has a line with this text, and returns that line.
    pub fn logged(&self, text: &str) -> String {
        let log = self.wait_for(ERROR_LOG, |log| log.contains(text));
        log.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned()
    }

    /// The process a pid file names; none while there is no such file.
    pub fn pid_in(&self, name: &str) -> Option<Pid> {
        let text = self.read(name);
        // Where there is no room for another file, shorter numbers are followed by more line feeds.
        let number = text.strip_suffix('\n')?.trim_end_matches('\n').parse();
        Some(Pid::from_raw(number.unwrap_or_else(|_| panic!("{name} holds {text:?}"))))
    }

    /// The master that serves, by its pid file.
    pub fn master(&self) -> Pid {
        self.pid_in(PID_FILE).expect("a pid file")
    }

    /// Waits until the pid files name two masters: the new one, the old one.
    pub fn both_masters(&self) -> (Pid, Pid) {
        self.wait_for(OLD_PID_FILE, |_| {
            let pids = (self.pid_in(PID_FILE), self.pid_in(OLD_PID_FILE));
            matches!(pids, (Some(new), Some(old)) if new != old)
        });
        (self.master(), self.pid_in(OLD_PID_FILE).expect("an old pid file"))
    }

    /// Waits until this master is the only one the pid files name.
    pub fn only_master(&self, pid: Pid) {
        self.wait_for(OLD_PID_FILE, |old| old.is_empty() && self.pid_in(PID_FILE) == Some(pid));
    }

    /// Runs the program a second time on the same directory, as `-s` does; its
    /// exit code and messages.
    pub fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.ended(self.setup.command().args(arguments))
    }

    /// Has another program ask for a change, such as `-s upgrade`, and tells all that it says.
    pub fn change(&self, program: &Path, arguments: &[&str]) -> Said {
        self.start_change(program, arguments).end()
    }

    /// The same without waiting for its end.
    pub fn start_change(&self, program: &Path, arguments: &[&str]) -> Change {
        let mut command = self.setup.command_of(program);
        Change(Process::spawn_heard(command.args(arguments), self.directory()))
    }

    /// What starts the server, with what it was first started with.
    pub(super) fn server_command(&self) -> Command {
        let mut command = self.setup.command();
        command.args(self.setup.arguments());
        command
    }

    /// Runs any program in the directory; its exit code and messages.
    pub fn ended(&self, command: &mut Command) -> (Option<i32>, String) {
        let mut process = Process::spawn(command, self.directory());
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

    /// Turns the link the server was started through to another program.
    pub fn install(&self, program: &Path) {
        turn_link(&self.path(program_name()), program);
    }

    /// One request to the control API, on a connection of its own: status and content.
    pub fn control(&self, method: &str, path: &str) -> (u16, String) {
        let (status, lines) = self.ask_control(method, path, "");
        (status, lines.rest())
    }

    /// One request with a content, whose answer comes line by line.
    pub fn ask_control(&self, method: &str, path: &str, content: &str) -> (u16, Lines) {
        control::ask(&self.path(CONTROL), method, path, content)
    }

    /// As `Setup::allow`, for what the test has done meanwhile.
    pub fn allow(&mut self, text: &'static str) {
        self.setup.allowed.push(text);
    }

    /// The lines of the log that no good run has.
    pub(super) fn alerts(&self) -> Vec<String> {
        let log = self.error_log();
        let bad = |line: &&str| line.contains("[alert]") || line.contains("[emerg]");
        let allowed = |line: &&str| self.setup.allowed.iter().any(|text| line.contains(text));
        let alerts = log.lines().filter(bad).filter(|line| !allowed(line));
        alerts.map(str::to_owned).collect()
    }

    /// Shows a failed test's log.
    pub(super) fn show_log(&self) {
        eprintln!("error.log of the failed test:");
        for line in self.error_log().lines() {
            eprintln!("{}", line.chars().take(400).collect::<String>());
        }
    }
}
