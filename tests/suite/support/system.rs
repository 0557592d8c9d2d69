//! What the kernel says about a process, and the end of one that is no child of ours.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getsid};

use super::DEADLINE;
use super::process::readable;

fn place(pid: Pid, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// State letter and parent: `/proc/PID/stat` is `pid (name) state ppid …`.
fn state(pid: Pid) -> Option<(char, Pid)> {
    let stat = fs::read_to_string(place(pid, "stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, Pid::from_raw(fields.next()?.parse().ok()?)))
}

fn all() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    names.map(Pid::from_raw)
}

fn having_parent(parent: Pid, zombies: bool) -> Vec<Pid> {
    let fits = |pid: &Pid| {
        state(*pid).is_some_and(|(state, of)| of == parent && (state == 'Z') == zombies)
    };
    let mut found: Vec<Pid> = all().filter(fits).collect();
    found.sort();
    found
}

/// Its living children, sorted.
pub fn children(parent: Pid) -> Vec<Pid> {
    having_parent(parent, false)
}

/// Its children that have ended and were not waited for.
pub fn zombies(parent: Pid) -> Vec<Pid> {
    having_parent(parent, true)
}

/// Its open descriptors: number and what is behind it. Of workers, which cannot be dumped, only
/// root may know them.
pub fn descriptors(pid: Pid) -> BTreeMap<i32, String> {
    let entries = fs::read_dir(place(pid, "fd")).expect("the descriptors of a process");
    let read = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        // It may be closed meanwhile.
        let target = fs::read_link(entry.path()).ok()?;
        Some((number, target.display().to_string()))
    };
    entries.flatten().filter_map(read).collect()
}

/// How many of its descriptors are sockets; several may be of the same.
pub fn sockets(pid: Pid) -> usize {
    descriptors(pid).values().filter(|target| target.starts_with("socket:")).count()
}

/// Waits until it has no more sockets than that: one that was answered on may close a little later.
pub fn sockets_settle(pid: Pid, expected: usize) {
    let end = Instant::now() + DEADLINE;
    while sockets(pid) > expected {
        assert!(Instant::now() < end, "over {expected} sockets: {:?}", descriptors(pid));
        thread::yield_now();
    }
}

/// A moment, for those who look again and again.
pub fn pause() {
    readable(&[], Duration::from_millis(1));
}

/// Waits for what no event tells of, by looking again and again.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        pause();
    }
}

/// Whether it runs; one that ended and was not waited for does not. Ours are waited for.
pub fn alive(pid: Pid) -> bool {
    match state(pid) {
        Some(('Z', parent)) if parent == Pid::this() => {
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            false
        }
        Some((state, _)) => !matches!(state, 'Z' | 'X'),
        None => false,
    }
}

/// Waits until a process has ended, whoever its parent is.
pub fn gone(pid: Pid) {
    until(&format!("the end of {pid} ({})", title(pid)), || !alive(pid));
}

/// Processes that are stopped (`SIGSTOP`) until this is dropped.
pub struct Paused(Vec<Pid>);

impl Paused {
    /// Returns when all of them are.
    pub fn new(pids: impl IntoIterator<Item = Pid>) -> Paused {
        let pids: Vec<Pid> = pids.into_iter().collect();
        for pid in &pids {
            kill(*pid, Signal::SIGSTOP).expect("a signal");
        }
        for pid in &pids {
            until(&format!("{pid} stops"), || state(*pid).is_none_or(|(state, _)| state == 'T'));
        }
        Paused(pids)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        for pid in &self.0 {
            // It may have been killed meanwhile.
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }
}

/// Whose child it is.
pub fn parent(pid: Pid) -> Pid {
    state(pid).expect("a process").1
}

/// Its workers that serve: those that are shutting down have another title.
pub fn workers(master: Pid) -> Vec<Pid> {
    let mut found = children(master);
    found.retain(|pid| title(*pid).ends_with(": worker process"));
    found
}

/// The same, once there are so many.
pub fn workers_of(master: Pid, number: usize) -> Vec<Pid> {
    until(&format!("{master} has {number} workers"), || workers(master).len() == number);
    workers(master)
}

/// Every living process of a session.
pub fn session(leader: Pid) -> Vec<Pid> {
    let here = |pid: &Pid| getsid(Some(*pid)) == Ok(leader) && alive(*pid);
    all().filter(here).collect()
}

/// The file it executes; ends in ` (deleted)` when that is gone. Of workers, only root may know it.
pub fn executable(pid: Pid) -> String {
    let target = fs::read_link(place(pid, "exe")).expect("the executable of a process");
    target.display().to_string()
}

/// What a process holds, to be the same before and after something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// How many descriptors of each kind; sockets and such without their numbers.
    descriptors: BTreeMap<String, usize>,
    zombies: Vec<Pid>,
    /// Blocked, ignored and caught signals.
    signals: [String; 3],
}

/// Its footprint now.
pub fn footprint(pid: Pid) -> Footprint {
    let mut kinds = BTreeMap::new();
    for target in descriptors(pid).into_values() {
        let kind = target.split(":[").next().unwrap_or_default().to_owned();
        *kinds.entry(kind).or_insert(0) += 1;
    }
    let signals = ["SigBlk", "SigIgn", "SigCgt"].map(|field| status(pid, field));
    Footprint { descriptors: kinds, zombies: zombies(pid), signals }
}

/// Its footprint when it has been the same for a while: starting leaves some of it open for a moment.
pub fn settled(pid: Pid) -> Footprint {
    let (mut last, mut since) = (footprint(pid), Instant::now());
    until(&format!("{pid} has settled"), || {
        let now = footprint(pid);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(50)
    });
    last
}

/// Waits until a footprint is as it was: what was just answered or has just ended may take a moment.
pub fn settles(pid: Pid, before: &Footprint) {
    let end = Instant::now() + DEADLINE;
    while footprint(pid) != *before {
        assert!(Instant::now() < end, "before: {before:?}\nafter: {:?}", footprint(pid));
        pause();
    }
}

/// A field of `/proc/PID/status`, without its name.
pub fn status(pid: Pid, field: &str) -> String {
    let text = fs::read_to_string(place(pid, "status")).expect("the status of a process");
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
    value.unwrap_or_else(|| panic!("no {field} in:\n{text}")).trim().to_owned()
}

/// The title: its arguments, as `ps` shows them.
pub fn title(pid: Pid) -> String {
    let bytes = fs::read(place(pid, "cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ")
}

/// Whose its files in `/proc` are: root's when it cannot be dumped.
pub fn owner(pid: Pid) -> u32 {
    fs::metadata(place(pid, "environ")).expect("a process").uid()
}

/// CPU time of its first thread, to the nanosecond.
pub fn cpu_time(pid: Pid) -> Duration {
    let text = fs::read_to_string(place(pid, "schedstat")).expect("a process");
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(first.expect("nanoseconds"))
}

/// From now on orphans of this process's children become its children, so that `end_of` can wait
/// for them.
pub fn adopt_orphans() {
    prctl::set_child_subreaper(true).expect("adoption");
}

/// Waits until an adopted orphan has ended.
pub fn end_of(pid: Pid) -> WaitStatus {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(waitpid(pid, None)));
    let ended = receiver.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("{pid} still runs"));
    ended.unwrap_or_else(|error| panic!("{pid} is no child of ours: {error}"))
}
