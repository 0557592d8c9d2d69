//! The finished configuration of the processes themselves: what the main context and `events {}` come
//! to. Must not act on any of it.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use crate::log::Level;

/// Whom workers run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// For the supplementary groups.
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// One `error_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTarget {
    /// `None` is standard error.
    pub file: Option<PathBuf>,
    pub level: Level,
}

/// Which CPUs each worker is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Affinity {
    /// Any.
    Free,
    /// One set a worker; the last one for all others.
    Masks(Vec<Vec<usize>>),
    /// One CPU of this set a worker, in turn.
    Auto(Vec<usize>),
}

impl Affinity {
    /// The CPUs of worker number `worker`, from 0; `None` when it is not bound.
    pub fn of(&self, worker: usize) -> Option<Vec<usize>> {
        match self {
            Affinity::Free => None,
            Affinity::Masks(masks) => masks.get(worker).or(masks.last()).cloned(),
            Affinity::Auto(cpus) => {
                let turn = worker.checked_rem(cpus.len())?;
                cpus.get(turn).map(|cpu| vec![*cpu])
            }
        }
    }
}

/// The finished configuration of the processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// `None` when the process cannot change its user.
    pub user: Option<User>,
    pub workers: usize,
    /// Connections a worker holds at once, those to upstreams included.
    pub worker_connections: usize,
    /// Open files a worker may have; `None` leaves the inherited limit.
    pub rlimit_nofile: Option<u64>,
    /// Largest core file of a worker, in bytes; `None` leaves the inherited limit.
    pub rlimit_core: Option<u64>,
    /// How long a worker may drain; `None` is for ever.
    pub shutdown_timeout: Option<Duration>,
    pub affinity: Affinity,
    /// Nice value of the workers.
    pub priority: i32,
    pub daemon: bool,
    pub master_process: bool,
    pub pid: PathBuf,
    /// Socket of the control API.
    pub control: PathBuf,
    /// Keeps what was switched at run time.
    pub runtime_state: PathBuf,
    /// Where workers go, for core files.
    pub working_directory: Option<PathBuf>,
    /// `env`, as written: `NAME` is passed on, `NAME=VALUE` is set.
    pub environment: Vec<OsString>,
    /// Never empty.
    pub error_log: Vec<LogTarget>,
    /// How long two versions are compared before the old one retires; zero does not compare.
    pub upgrade_watch: Duration,
    /// How long a new master may take until its workers are ready.
    pub upgrade_timeout: Duration,
    /// How long the retired master is there to take over again if the new one dies.
    pub upgrade_rollback_window: Duration,
    /// Generations that may drain at once.
    pub max_draining: usize,
}

impl Process {
    /// Whether going from `self` to `new` needs new workers: a process cannot change these things
    /// about itself once it has given its privileges up.
    pub fn needs_new_workers(&self, new: &Process) -> bool {
        self.user != new.user
            || self.workers != new.workers
            || self.rlimit_nofile != new.rlimit_nofile
            || self.rlimit_core != new.rlimit_core
            || self.affinity != new.affinity
            || self.priority != new.priority
            || self.working_directory != new.working_directory
            || self.environment != new.environment
    }

    /// The environment of a worker, made from that of the master: as in nginx only `TZ` and what
    /// `env` names pass.
    pub fn worker_environment(
        &self,
        inherited: impl Iterator<Item = (OsString, OsString)>,
    ) -> Vec<CString> {
        let assigned = |name: &OsStr| {
            let mut written = self.environment.iter().map(|word| split_assignment(word));
            written.find(|(left, _)| *left == name).map(|(_, right)| right)
        };
        let mut all: Vec<OsString> = Vec::new();
        for (name, value) in inherited {
            let passes = assigned(&name).map_or(name == "TZ", |set| set.is_none());
            if passes {
                all.push(join_assignment(&name, &value));
            }
        }
        let set = |word: &&OsString| split_assignment(word).1.is_some();
        all.extend(self.environment.iter().filter(set).cloned());
        all.into_iter().filter_map(|word| CString::new(word.into_vec()).ok()).collect()
    }
}

fn split_assignment(word: &OsStr) -> (&OsStr, Option<&OsStr>) {
    let bytes = word.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (OsStr::from_bytes(&bytes[..at]), Some(OsStr::from_bytes(&bytes[at + 1..]))),
        None => (word, None),
    }
}

fn join_assignment(name: &OsStr, value: &OsStr) -> OsString {
    let mut word = name.to_owned();
    word.push("=");
    word.push(value);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Process {
        Process {
            user: None,
            workers: 2,
            worker_connections: 512,
            rlimit_nofile: None,
            rlimit_core: None,
            shutdown_timeout: None,
            affinity: Affinity::Free,
            priority: 0,
            daemon: true,
            master_process: true,
            pid: "/p".into(),
            control: "/c".into(),
            runtime_state: "/s".into(),
            working_directory: None,
            environment: Vec::new(),
            error_log: Vec::new(),
            upgrade_watch: Duration::ZERO,
            upgrade_timeout: Duration::ZERO,
            upgrade_rollback_window: Duration::ZERO,
            max_draining: 1,
        }
    }

    fn environment(env: &[&str], inherited: &[(&str, &str)]) -> Vec<String> {
        let process = Process { environment: env.iter().map(OsString::from).collect(), ..plain() };
        let inherited = inherited.iter().map(|(name, value)| (name.into(), value.into()));
        let words = process.worker_environment(inherited);
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn workers_keep_the_time_zone_and_what_is_named() {
        let inherited = [("TZ", "UTC"), ("PATH", "/bin"), ("A", "1"), ("B", "2")];
        assert_eq!(environment(&[], &inherited), ["TZ=UTC"]);
        assert_eq!(environment(&["A", "C=3", "D"], &inherited), ["TZ=UTC", "A=1", "C=3"]);
        assert_eq!(environment(&["TZ=CET", "B=x=y"], &inherited), ["TZ=CET", "B=x=y"]);
    }

    #[test]
    fn affinity_goes_round() {
        let masks = Affinity::Masks(vec![vec![0], vec![1, 2]]);
        assert_eq!(
            [0, 1, 5].map(|n| masks.of(n)),
            [Some(vec![0]), Some(vec![1, 2]), Some(vec![1, 2])]
        );
        let auto = Affinity::Auto(vec![1, 3]);
        assert_eq!([0, 1, 2].map(|n| auto.of(n)), [Some(vec![1]), Some(vec![3]), Some(vec![1])]);
        assert_eq!(Affinity::Auto(Vec::new()).of(0), None);
        assert_eq!(Affinity::Free.of(0), None);
    }

    #[test]
    fn only_what_a_process_cannot_change_needs_new_workers() {
        let old = plain();
        let same = Process { worker_connections: 9, pid: "/q".into(), ..plain() };
        assert!(!old.needs_new_workers(&same));
        let user = Some(User { name: "a".into(), uid: 1, gid: 1 });
        for new in [
            Process { user, ..plain() },
            Process { workers: 3, ..plain() },
            Process { rlimit_nofile: Some(1), ..plain() },
            Process { rlimit_core: Some(1), ..plain() },
            Process { priority: 1, ..plain() },
            Process { affinity: Affinity::Auto(vec![0]), ..plain() },
            Process { working_directory: Some("/".into()), ..plain() },
            Process { environment: vec!["A".into()], ..plain() },
        ] {
            assert!(old.needs_new_workers(&new), "{new:?}");
        }
    }
}
