//! The program under test in the foreground, as a child of the test.

use std::ops::{Deref, DerefMut};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::inotify::Inotify;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::process::{Process, readable};
use super::setup::Setup;
use super::site::{ERROR_LOG, PID_FILE, Site};
use super::{DEADLINE, system};

/// The running program. At the end of the test it is stopped, and the test
/// fails on an alert in its log, a wrong exit or a process it left behind.
pub struct Server {
    site: Site,
    process: Process,
    stopped: bool,
    crashed: bool,
}

impl Deref for Server {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.site
    }
}

impl Server {
    /// As `Setup::http(inside).start()`.
    pub fn http(inside: &str) -> Server {
        Setup::http(inside).start()
    }

    /// Waits until a process that was just started is ready; `changes` are those of its directory.
    pub(super) fn started(site: Site, process: Process, changes: &Inotify) -> Server {
        let server = Server { site, process, stopped: false, crashed: false };
        server.wait_until_ready(changes);
        server
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
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

    /// Kills the master alone and waits for its end, which then is no complaint.
    pub fn crash(&mut self) {
        self.crashed = true;
        self.signal(Signal::SIGKILL);
        self.wait(DEADLINE).expect("an end");
    }

    /// It has ended otherwise than well, which then is no complaint.
    pub fn ended_badly(&mut self) {
        self.crashed = true;
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
        found.extend(self.site.alerts());
        found
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let complaints = self.complaints();
        self.process.kill_all();
        if thread::panicking() {
            self.site.show_log();
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
