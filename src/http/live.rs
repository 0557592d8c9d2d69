//! Owns what a worker runs beside a snapshot: upstream groups with their pools, open logs, counters.
//!
//! Must not hold configuration; it is made from a snapshot and lives as long as requests use it.

use super::background::Background;
use super::calls::Calls;
use super::certificates::kept;
use super::gate::Gate;
use super::modules::access_log;
use super::snapshot::Snapshot;
use super::stapling::Stapling;
use super::tickets::TicketKeys;
use super::upstream_ssl::Sessions;
use crate::dns::Resolver;
use crate::log::kept::Kept;
use crate::log::{AccessWriter, ErrorLog, LogFile, Target};
use crate::upstream::{Group, GroupSpec};
use crate::zone::{Door, Keyed, Slot};
use rustls::ServerConfig;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// How servers speak TLS; none for those that cannot.
type Configs = Vec<Option<Arc<ServerConfig>>>;

/// What a worker gives to the requests of one snapshot.
pub struct Live {
    /// One for each of `snapshot.groups`.
    pub groups: Vec<Rc<Group>>,
    /// One for each of `snapshot.resolvers`.
    pub resolvers: Vec<Rc<Resolver>>,
    /// One for each of `snapshot.needs.log_files`.
    pub log_files: Vec<Arc<LogFile>>,
    /// One for each of `log_files` that is an access log.
    access_logs: Vec<Option<Arc<AccessWriter>>>,
    /// Told when `next_flush` may have changed from `None`.
    pub flush_wanted: Notify,
    /// One for each of `snapshot.error_logs`.
    error_logs: Vec<ErrorLog>,
    /// One for each of `snapshot.kept_logs`.
    kept_logs: Vec<RefCell<Kept>>,
    /// One for each of `snapshot.kept_certificates`.
    pub kept_certificates: Vec<RefCell<kept::Kept>>,
    /// What the process logs to: connections before any request, and sets that are empty.
    pub main_log: ErrorLog,
    /// One for each of `snapshot.zones`.
    pub zones: Vec<Rc<Keyed>>,
    /// This worker's counters.
    pub counters: Slot,
    /// Subrequests that outlast their requests; the same for all configurations.
    pub background: Rc<Background>,
    /// One for each of `snapshot.tls`.
    pub tls: Configs,
    /// What is said of their certificates, one for each of `snapshot.tls`.
    pub stapling: Vec<Rc<Stapling>>,
    /// One for each of `snapshot.upstream_ssl`.
    pub upstream_ssl: Vec<Option<Rc<Sessions>>>,
    /// What their tickets are sealed with.
    pub tickets: TicketKeys,
    /// What masters call out to this worker; the same for all configurations.
    pub calls: Rc<Calls>,
    /// The switches of maintenance mode, as this worker sees them.
    pub gate: Gate,
    started: Cell<bool>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}

impl Live {
    /// Groups and resolvers that ask for the same as before are kept, with their health, idle
    /// connections and answers.
    pub fn new(
        snapshot: &Snapshot,
        before: Option<&Live>,
        log_files: Vec<Arc<LogFile>>,
        zones: Vec<Rc<Keyed>>,
        main_log: ErrorLog,
        counters: Slot,
        door: Door,
    ) -> Self {
        let resolvers = snapshot.resolvers.iter().map(|spec| {
            let old = before.and_then(|live| live.resolvers.iter().find(|old| old.spec() == spec));
            old.cloned().unwrap_or_else(|| Resolver::new(spec.clone()))
        });
        let resolvers: Vec<_> = resolvers.collect();
        let groups = snapshot.groups.iter().map(|spec| {
            let old = |suits: &dyn Fn(&GroupSpec) -> bool| {
                before.and_then(|live| live.groups.iter().find(|group| suits(group.spec())))
            };
            if let Some(same) = old(&|known| known == spec) {
                return same.clone();
            }
            let asked = spec.resolver.as_ref().map(|(asked, _)| asked);
            let resolver = resolvers.iter().find(|known| Some(known.spec()) == asked);
            let namesake = old(&|known| known.name == spec.name);
            let zone = spec.zone.as_ref().and_then(|(name, _)| {
                let mut all = snapshot.zones.iter().zip(&zones);
                Some(all.find(|(known, _)| known.spec.name == *name)?.1.clone())
            });
            Group::after(spec.clone(), namesake.map(AsRef::as_ref), resolver.cloned(), zone)
        });
        let groups: Vec<_> = groups.collect();
        let error_logs = snapshot.error_logs.iter().map(|set| {
            let target = |(level, file): &(_, usize)| {
                Some(Target { file: log_files.get(*file)?.clone(), level: *level })
            };
            ErrorLog::new(set.iter().filter_map(target).collect::<Vec<_>>())
        });
        let kept_certificates =
            snapshot.kept_certificates.iter().map(|how| kept::Kept::new(*how).into());
        let roster = before.map(|live| live.gate.roster.clone()).unwrap_or_default();
        let background = before.map(|live| live.background.clone()).unwrap_or_default();
        let calls = before.map(|live| live.calls.clone());
        let calls = calls.unwrap_or_else(|| Calls::new(door.clone(), roster.clone(), &main_log));
        calls.follow(&groups, &main_log);
        let tickets = snapshot.ticket_zone.and_then(|at| zones.get(at).cloned());
        let (tickets, tls, stapling) = secured(snapshot, tickets);
        let sessions = before.map(|live| &live.upstream_ssl[..]).unwrap_or_default();
        let sessions = snapshot.upstream_ssl.iter().map(|one| Sessions::new(one, sessions));
        Self {
            upstream_ssl: sessions.collect(),
            background,
            tls,
            stapling,
            tickets,
            groups,
            resolvers: resolvers.clone(),
            access_logs: access_logs(snapshot, before, &log_files),
            flush_wanted: Notify::new(),
            error_logs: error_logs.collect(),
            kept_logs: snapshot.kept_logs.iter().map(|how| Kept::new(*how).into()).collect(),
            kept_certificates: kept_certificates.collect(),
            log_files,
            zones,
            calls,
            gate: Gate::new(snapshot, door, roster, &main_log),
            main_log,
            counters,
            started: Cell::new(false),
        }
    }

    /// Has the groups begin what goes on beside requests; false if they had. Must run in a `LocalSet`.
    pub fn start(&self) -> bool {
        for group in &self.groups {
            group.start();
        }
        !self.started.replace(true)
    }

    /// A set of error logs; `None` is the process's own.
    pub fn error_log(&self, set: Option<usize>) -> &ErrorLog {
        set.and_then(|at| self.error_logs.get(at)).unwrap_or(&self.main_log)
    }

    /// Appends a line to the access log with this index; trouble goes to `errors`.
    pub fn write_access(&self, index: usize, line: &[u8], errors: &ErrorLog) {
        let Some(Some(writer)) = self.access_logs.get(index) else { return };
        let timed = writer.buffering().is_some_and(|how| how.flush.is_some());
        let idle = timed && writer.deadline().is_none();
        writer.write(line, errors);
        if idle {
            self.flush_wanted.notify_one();
        }
    }

    /// A log whose name has variables, from those that one `open_log_file_cache` keeps open.
    pub fn open_log(&self, at: usize, path: &Path) -> io::Result<Arc<LogFile>> {
        let kept = self.kept_logs.get(at).ok_or(io::ErrorKind::NotFound)?;
        kept.borrow_mut().open(path, Instant::now())
    }

    /// Writes the access log buffers that are due, or all of them: before log files are replaced,
    /// when the worker begins to drain, and when it exits.
    pub fn flush_logs(&self, all: bool) {
        let now = Instant::now();
        for writer in self.access_logs.iter().flatten() {
            if all || writer.deadline().is_some_and(|deadline| deadline <= now) {
                writer.flush(&self.main_log);
            }
        }
        if all {
            self.kept_logs.iter().for_each(|kept| kept.borrow_mut().clear());
        }
    }

    /// When the next access log buffer is due; `None` while none is.
    pub fn next_flush(&self) -> Option<Instant> {
        self.access_logs.iter().flatten().filter_map(|writer| writer.deadline()).min()
    }
}

/// The keys of tickets, how servers speak TLS, and what is said of their certificates.
fn secured(
    snapshot: &Snapshot,
    zone: Option<Rc<Keyed>>,
) -> (TicketKeys, Configs, Vec<Rc<Stapling>>) {
    let keys = TicketKeys::new(&snapshot.tls, zone);
    let servers = snapshot.tls.iter().map(|server| {
        let stapling = Stapling::new(server.certificates.len());
        let config = server.armed(&keys.ring, &stapling.staples).map(Arc::new);
        (config, stapling)
    });
    let (configs, stapling) = servers.unzip();
    (keys, configs, stapling)
}

/// A writer for each file that is an access log. One that goes on as it was is taken over with what
/// it has buffered, so that lines keep their order over a reload.
fn access_logs(
    snapshot: &Snapshot,
    before: Option<&Live>,
    files: &[Arc<LogFile>],
) -> Vec<Option<Arc<AccessWriter>>> {
    let writer = |(file, how): (&Arc<LogFile>, Option<_>)| {
        let how = how?;
        let same = |writer: &&Arc<AccessWriter>| {
            Arc::ptr_eq(writer.file(), file) && writer.buffering() == how
        };
        let old = before.and_then(|live| live.access_logs.iter().flatten().find(same));
        Some(old.cloned().unwrap_or_else(|| Arc::new(AccessWriter::new(file.clone(), how))))
    };
    files.iter().zip(access_log::buffering(snapshot)).map(writer).collect()
}
