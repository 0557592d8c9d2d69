//! What was written in the main context and in `events {}`, and the way from there to a [`Process`].
//!
//! Must not look at the machine: what there is to know about it arrives as [`Machine`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Options;
use super::process::{Affinity, LogTarget, Process, User};
use crate::conf::{Env, Error, Span};
use crate::http;
use crate::log::Level;

/// Where the master's process id goes unless `pid` says otherwise.
pub const DEFAULT_PID: &str = "/run/proxyd.pid";

/// What the configuration has to know about the machine it is read on.
#[derive(Clone, Copy)]
pub struct Machine {
    /// CPUs this process may use: what `worker_processes auto` means.
    pub cpus: usize,
    /// Whether the process may become another user.
    pub superuser: bool,
    /// A user's id and primary group, by name.
    pub user: fn(&str) -> Option<(u32, u32)>,
    /// A group's id, by name.
    pub group: fn(&str) -> Option<u32>,
}

/// What was written in the main context and in `events {}`.
pub struct Draft {
    pub(super) machine: Machine,
    pub(super) user: Option<User>,
    /// `user` was written, even if in vain.
    pub(super) user_written: bool,
    pub(super) workers: Option<usize>,
    pub(super) worker_connections: Option<usize>,
    pub(super) rlimit_nofile: Option<u64>,
    pub(super) rlimit_core: Option<u64>,
    pub(super) shutdown_timeout: Option<Duration>,
    pub(super) affinity: Option<Affinity>,
    pub(super) affinity_span: Span,
    pub(super) priority: Option<i32>,
    pub(super) daemon: Option<bool>,
    pub(super) master_process: Option<bool>,
    pub(super) pid: Option<PathBuf>,
    pub(super) control: Option<PathBuf>,
    pub(super) runtime_state: Option<PathBuf>,
    pub(super) working_directory: Option<PathBuf>,
    pub(super) environment: Vec<OsString>,
    pub(super) error_log: Vec<LogTarget>,
    pub(super) upgrade_watch: Option<Duration>,
    pub(super) upgrade_timeout: Option<Duration>,
    pub(super) upgrade_rollback_window: Option<Duration>,
    pub(super) max_draining: Option<usize>,
    pub(super) events: bool,
    pub(super) event_method: Option<()>,
    /// What `http {}` was read into.
    pub(super) http: Option<http::Draft>,
}

impl Draft {
    /// Nothing written yet.
    pub fn new(machine: Machine) -> Self {
        Draft {
            machine,
            user: None,
            user_written: false,
            workers: None,
            worker_connections: None,
            rlimit_nofile: None,
            rlimit_core: None,
            shutdown_timeout: None,
            affinity: None,
            affinity_span: Span::NOWHERE,
            priority: None,
            daemon: None,
            master_process: None,
            pid: None,
            control: None,
            runtime_state: None,
            working_directory: None,
            environment: Vec::new(),
            error_log: Vec::new(),
            upgrade_watch: None,
            upgrade_timeout: None,
            upgrade_rollback_window: None,
            max_draining: None,
            events: false,
            event_method: None,
            http: None,
        }
    }

    /// Fills in defaults and checks what no single directive can know.
    pub fn finish(self, options: &Options, env: &mut Env<'_>) -> Process {
        if !self.events {
            let error = Error::new("no \"events\" section in configuration", Span::NOWHERE);
            env.report(error.with_help("add: events {}"));
        }
        let workers = self.workers.unwrap_or(1);
        let user = self.user.clone().or_else(|| self.default_user(env));
        self.check_masks(workers, env);
        let pid = options.prefix.join(self.pid.unwrap_or_else(|| DEFAULT_PID.into()));
        let control = options.control.clone().or(self.control);
        let control = control.unwrap_or_else(|| appended(&pid, ".ctl"));
        let runtime_state = self.runtime_state.unwrap_or_else(|| appended(&pid, ".state"));
        let mut error_log = self.error_log;
        if error_log.is_empty() {
            error_log.push(LogTarget { file: options.error_log.clone(), level: Level::Error });
        }
        Process {
            user,
            workers,
            worker_connections: self.worker_connections.unwrap_or(512),
            rlimit_nofile: self.rlimit_nofile,
            rlimit_core: self.rlimit_core,
            shutdown_timeout: self.shutdown_timeout.filter(|time| !time.is_zero()),
            affinity: self.affinity.unwrap_or(Affinity::Free),
            priority: self.priority.unwrap_or(0),
            daemon: self.daemon.unwrap_or(true),
            master_process: self.master_process.unwrap_or(true),
            pid,
            control,
            runtime_state,
            working_directory: self.working_directory,
            environment: self.environment,
            error_log,
            upgrade_watch: self.upgrade_watch.unwrap_or(Duration::from_secs(10)),
            upgrade_timeout: self.upgrade_timeout.unwrap_or(Duration::from_secs(30)),
            upgrade_rollback_window: self.upgrade_rollback_window.unwrap_or(Duration::from_mins(1)),
            max_draining: self.max_draining.unwrap_or(8),
        }
    }

    /// Whom workers run as when nobody has said it; a superuser has to run them as somebody.
    fn default_user(&self, env: &mut Env<'_>) -> Option<User> {
        const NOBODY: &str = "nobody";
        if !self.machine.superuser || self.user_written {
            return None;
        }
        let Some((uid, primary)) = (self.machine.user)(NOBODY) else {
            env.report(Error::new("getpwnam(\"nobody\") failed", Span::NOWHERE));
            return None;
        };
        let gid = (self.machine.group)(NOBODY).unwrap_or(primary);
        let text = "no \"user\" directive, worker processes run as \"nobody\"";
        env.warn(Error::new(text, Span::NOWHERE).with_help("add: user NAME;"));
        Some(User { name: NOBODY.to_owned(), uid, gid })
    }

    fn check_masks(&self, workers: usize, env: &mut Env<'_>) {
        if let Some(Affinity::Masks(masks)) = &self.affinity
            && masks.len() > 1
            && masks.len() != workers
        {
            let text = "the number of \"worker_processes\" is not equal to the number of \
                        \"worker_cpu_affinity\" masks, using last mask for remaining worker processes";
            env.warn(Error::new(text, self.affinity_span));
        }
    }
}

/// `path` with something after its last character.
fn appended(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
