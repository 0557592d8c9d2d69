//! A configuration of the test's own, and the ways to start the program under test on it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::unistd::geteuid;

use super::daemon::Daemon;
use super::directory::Directory;
use super::ports::Port;
use super::process::Process;
use super::server::Server;
use super::site::{ERROR_LOG, PID_FILE, Site};
use super::{DEADLINE, binary, is_reference, program_name, system};

/// A configuration and the files it needs, before the program is started.
///
/// `%%name%%` in the text stands for a value given with `set`; a name that
/// starts with `listen` and was not set becomes an address with a free port.
pub struct Setup {
    pub(super) text: String,
    level: &'static str,
    pub(super) directory: Directory,
    pub(super) ports: BTreeMap<String, Port>,
    values: BTreeMap<String, String>,
    pub(super) allowed: Vec<&'static str>,
    daemon: bool,
    user: &'static str,
    arguments: Vec<String>,
    /// What is started; a link to it, by the program's name, if it is in the directory.
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
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
            program: binary(),
            environment: Vec::new(),
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

    /// A path in the server's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Something in the environment of the server.
    #[must_use]
    pub fn environment(mut self, name: &'static str, value: impl Display) -> Setup {
        self.environment.push((name, value.to_string()));
        self
    }

    /// Gives the server's directory a small file system of its own; false where that cannot be had.
    pub fn mount_small(&self) -> bool {
        self.directory.mount_small()
    }

    /// Starts the program through a link in the server's directory, which can be turned to
    /// another program later.
    #[must_use]
    pub fn linked(mut self) -> Setup {
        let link = self.path(program_name());
        if self.program.is_absolute() && self.program != link {
            turn_link(&link, &self.program);
            self.program = link;
        }
        self
    }

    /// Starts another program than the one under test.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Setup {
        self.program = program.into();
        self
    }

    /// Starts the program and returns when its sockets listen.
    pub fn start(self) -> Server {
        self.start_under(&[])
    }

    /// As `start`, by way of another program, whose command line comes first and which becomes it.
    pub fn start_under(mut self, wrapper: &[&str]) -> Server {
        self.write_configuration();
        let started = self.watch();
        let mut command = self.command();
        command.args(&self.arguments);
        let mut command = wrapped(wrapper, command);
        let process = Process::spawn(&mut command, self.directory.path());
        Server::started(Site::new(self), process, &started)
    }

    /// Starts the program as a daemon, through a link in the server's directory as `linked` says,
    /// and returns when its pid file is written.
    pub fn start_daemon(mut self) -> Daemon {
        system::adopt_orphans();
        self.daemon = true;
        self = self.linked();
        self.write_configuration();
        Daemon::started(Site::new(self))
    }

    fn watch(&self) -> Inotify {
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).expect("inotify");
        let events = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
        watch.add_watch(self.directory.path(), events).expect("a watch");
        watch
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

    /// The server's own command line, as far as every use of it is the same.
    pub(super) fn command(&self) -> Command {
        self.command_of(&self.program)
    }

    /// The same of another program.
    pub(super) fn command_of(&self, program: &Path) -> Command {
        let mut prefix = self.directory.path().as_os_str().to_owned();
        prefix.push("/");
        let mut command = Command::new(program);
        command.arg("-p").arg(prefix).args(["-c", "nginx.conf", "-e", ERROR_LOG]);
        command.env_remove("NGINX").env("TZ", "UTC");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What the server itself is started with besides.
    pub(super) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    pub(super) fn write_configuration(&mut self) {
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

pub(super) fn in_http(inside: &str) -> String {
    format!("events {{}}\nhttp {{\n%%http%%\n{inside}\n}}\n")
}

/// Makes `link` lead to `program`, at no time to nothing.
pub(super) fn turn_link(link: &Path, program: &Path) {
    let fresh = link.with_extension("fresh");
    std::os::unix::fs::symlink(program, &fresh).expect("a link");
    fs::rename(&fresh, link).expect("a link in its place");
}

fn wrapped(wrapper: &[&str], command: Command) -> Command {
    let Some((first, rest)) = wrapper.split_first() else { return command };
    let mut whole = Command::new(first);
    whole.args(rest).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => whole.env(name, value),
            None => whole.env_remove(name),
        };
    }
    whole
}
