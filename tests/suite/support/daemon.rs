//! The program under test as a daemon: several masters may live at a time, and none is our child.

use std::collections::BTreeMap;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::{Process, readable};
use super::site::{PID_FILE, Site};
use super::{DEADLINE, system};

/// All processes that a daemon and its successors are. At the end of the test they are stopped, and
/// the test fails on an alert in the log and on processes or pid files left behind.
pub struct Daemon {
    site: Site,
    /// Leaders of the sessions in which all these processes are; the last is of the last start.
    sessions: Vec<Pid>,
    killed: bool,
}

impl Deref for Daemon {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl DerefMut for Daemon {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.site
    }
}

impl Daemon {
    pub(super) fn started(site: Site) -> Daemon {
        let mut daemon = Daemon { site, sessions: Vec::new(), killed: false };
        daemon.start();
        daemon
    }

    /// Starts it once more, after all have ended.
    pub fn start(&mut self) {
        let before = self.pid_in(PID_FILE);
        let mut process = Process::spawn(&mut self.server_command(), self.directory());
        let status = process.wait(DEADLINE).expect("the first process ends");
        assert!(status.success(), "{status}: {}", process.messages(DEADLINE));
        // What a killed master has left there is not meant.
        self.wait_for(PID_FILE, |_| self.pid_in(PID_FILE).is_some_and(|pid| Some(pid) != before));
        self.sessions.push(self.master());
    }

    /// Every living process of all its generations, with its title.
    pub fn processes(&self) -> BTreeMap<Pid, String> {
        let all = self.sessions.iter().flat_map(|leader| system::session(*leader));
        all.map(|pid| (pid, system::title(pid))).collect()
    }

    /// The masters among them.
    pub fn masters(&self) -> Vec<Pid> {
        let is_master = |title: &String| title.contains(": master process ");
        self.processes().into_iter().filter(|(_, title)| is_master(title)).map(|p| p.0).collect()
    }

    /// Waits until this is the only master.
    pub fn alone(&self, master: Pid) {
        system::until(&format!("{master} is alone"), || self.masters() == [master]);
    }

    /// Kills a process; then pid files may be left behind.
    pub fn kill(&mut self, pid: Pid) {
        self.killed = true;
        kill(pid, Signal::SIGKILL).expect("a signal");
    }

    /// A process was killed by other means.
    pub fn was_killed(&mut self) {
        self.killed = true;
    }

    /// Stops all masters and waits until every process has ended.
    pub fn stop(&self) {
        let end = Instant::now() + DEADLINE;
        let (mut seen, mut told) = (Vec::new(), Vec::new());
        while !self.processes().is_empty() && Instant::now() < end {
            let masters = self.masters();
            for pid in &masters {
                // What is not yet another program looks like a master for a moment.
                if seen.contains(pid) && !told.contains(pid) {
                    let _ = kill(*pid, Signal::SIGTERM);
                    told.push(*pid);
                }
            }
            seen = masters;
            readable(&[], Duration::from_millis(10));
        }
    }

    /// What speaks against the run, once it is over.
    fn complaints(&self) -> Vec<String> {
        let left = self.processes();
        let left = left.into_iter().map(|(pid, title)| format!("left behind: {pid} {title}"));
        let mut found: Vec<String> = left.collect();
        if !self.killed {
            found.extend(self.pid_files().map(|name| format!("left behind: {name}")));
        }
        found.extend(self.site.alerts());
        found
    }

    /// Whatever is still there of pid files, control sockets, and what helps to write them.
    fn pid_files(&self) -> impl Iterator<Item = String> {
        let entries = fs::read_dir(self.directory()).expect("the directory").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains(PID_FILE))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
        let complaints = self.complaints();
        for pid in self.processes().into_keys() {
            let _ = kill(pid, Signal::SIGKILL);
            system::gone(pid);
        }
        if thread::panicking() {
            self.site.show_log();
            eprintln!("{}", complaints.join("\n"));
        } else {
            assert!(complaints.is_empty(), "{}", complaints.join("\n"));
        }
    }
}
