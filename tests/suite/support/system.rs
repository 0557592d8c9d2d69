//! What the kernel says about a process, and the end of one that is no child of ours.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::DEADLINE;

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

fn having_parent(parent: Pid, zombies: bool) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let fits = |pid: &Pid| {
        state(*pid).is_some_and(|(state, of)| of == parent && (state == 'Z') == zombies)
    };
    let mut found: Vec<Pid> = names.map(Pid::from_raw).filter(fits).collect();
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
