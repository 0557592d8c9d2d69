//! Owns what the operating system says of a process tree: its members, CPU time and memory.
//! Must not start or stop anything.

use nix::sys::time::TimeValLike;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A process and all that descend from it, as they are now.
pub fn tree(root: Pid) -> io::Result<Vec<Pid>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end between the listing and the reading.
        if let Some(parent) = parent(pid) {
            parents.push((pid, parent));
        }
    }
    let mut members = vec![root];
    let mut next = 0;
    while let Some(&at) = members.get(next) {
        let children = parents.iter().filter(|(_, parent)| *parent == at.as_raw());
        members.extend(children.map(|(pid, _)| Pid::from_raw(*pid)));
        next += 1;
    }
    Ok(members)
}

/// The fourth field of `/proc/PID/stat`; the second, a name in parentheses, may hold anything.
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// User and system time of all threads, ended ones too. The scheduler's own account, in
/// nanoseconds; `/proc/PID/stat` shows the same rounded to ticks.
pub fn cpu(pids: &[Pid]) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for pid in pids {
        sum += Duration::from(clock_getcpuclockid(*pid)?.now()?);
    }
    Ok(sum)
}

/// User and system time from `getrusage`.
pub fn usage(who: nix::sys::resource::UsageWho) -> io::Result<Duration> {
    let usage = nix::sys::resource::getrusage(who)?;
    let sum = usage.user_time() + usage.system_time();
    Ok(Duration::from_micros(sum.num_microseconds().unsigned_abs()))
}

/// Resident memory of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    pub kib: u32,
    /// False when a process let nobody but root see its Pss, so that its Rss was taken.
    pub is_pss: bool,
}

/// Adds up Pss, which counts a page shared by n processes as 1/n in each.
pub fn resident(pids: &[Pid]) -> io::Result<Resident> {
    let mut sum = Resident { kib: 0, is_pss: true };
    for pid in pids {
        let file = |name| PathBuf::from(format!("/proc/{pid}/{name}"));
        sum.kib += match field(file("smaps_rollup"), "Pss:") {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                sum.is_pss = false;
                field(file("status"), "VmRSS:")?
            }
            kib => kib?,
        };
    }
    Ok(sum)
}

/// A number of KiB from a file of `Name:   123 kB` lines.
fn field(path: PathBuf, name: &str) -> io::Result<u32> {
    let text = std::fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no {name} in the account of a process")))
}
