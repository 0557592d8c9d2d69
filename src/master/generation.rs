//! One generation: a configuration together with everything opened for it. Built whole before it is
//! used, and then never changed, so that a worker started from it tomorrow is like one of today.
//!
//! Must not touch the sockets of the generation before it until it is adopted.

use std::fmt::Display;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use super::event;
use super::zones::{self, Zone};
use crate::conf::{Bundle as Recorded, Disk, Recording, Since};
use crate::config::handover::{self, Header};
use crate::config::{
    self, Doors, Loaded, LogTarget, Machine, NeededSwitch, Options, Process, Report,
};
use crate::ipc::{Bundle, Settings};
use crate::log::{ErrorLog, Files, Level, LogFile, Target, os_error};
use crate::net::listener::{SocketError, bind, tune};
use crate::net::{Address, ListenSpec};
use crate::sys::fds::{memfd_sealed, read_memfd};
use crate::sys::identity::{self, Identity};
use crate::sys::memory::give_back;
use crate::sys::process;

/// nginx's patience with an address in use at start, for a predecessor that is just leaving.
const BIND_TRIES: usize = 5;
const BIND_PAUSE: Duration = Duration::from_millis(500);

/// What the configuration may know of this machine.
pub fn machine() -> Machine {
    Machine {
        cpus: process::cpu_count(),
        superuser: identity::is_root(),
        user: |name| identity::lookup_user(name).ok().flatten().map(|user| (user.uid, user.gid)),
        group: |name| identity::lookup_group(name).ok().flatten(),
    }
}

/// A listening address. With `reuseport` it has a socket for each worker; they stay open as long as
/// the address is configured, because closing one resets the connections in its queue.
#[derive(Debug)]
struct Listening {
    spec: ListenSpec,
    sockets: Vec<Rc<OwnedFd>>,
    /// Bound for this generation, not taken over.
    fresh: bool,
}

/// A configuration and what was opened for it.
#[derive(Debug)]
pub struct Generation {
    pub number: event::Generation,
    pub process: Process,
    pub error_log: ErrorLog,
    /// Every file of the configuration as it was read.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// What is odd about it.
    pub report: Report,
    /// The switches of maintenance mode that it names.
    pub switches: Vec<NeededSwitch>,
    /// Where those are met, and what lets one pass.
    pub doors: Doors,
    identity: Option<Identity>,
    listeners: Vec<Listening>,
    logs: Vec<Arc<LogFile>>,
    zones: Vec<Zone>,
    config: Rc<OwnedFd>,
}

/// A message's names and the descriptors that go with it.
pub type Parcel = (Bundle, Vec<Rc<OwnedFd>>);

impl Generation {
    /// Reads the configuration and opens all it needs. Sockets are taken from `old` where the
    /// address is the same; without `old` an address in use is tried again for a while.
    pub fn build(
        number: event::Generation,
        options: &Options,
        files: &mut Files,
        base: Base<'_>,
        log: &ErrorLog,
    ) -> Result<Generation, Report> {
        let mut world = Recording::new(Since { now: Disk, before: base.recorded() });
        let machine = machine();
        let loaded = config::load(&mut world, options, machine)?;
        let Machine { cpus, superuser, .. } = machine;
        let header = Header { options: options.clone(), cpus, superuser };
        let contents = handover::encode(&header, &world.into_bundle());
        let config = contents.and_then(|bytes| memfd_sealed("proxyd-config", &bytes));
        let config = config.map_err(|error| failure("memfd_create() failed", &error))?;
        let generation = Opening { number, files, base, log }.open(loaded, config);
        give_back();
        generation
    }

    /// The same from a configuration that this program has recorded before; answers also the options
    /// that it was read with.
    pub fn build_from(
        number: event::Generation,
        config: OwnedFd,
        files: &mut Files,
        base: Base<'_>,
        log: &ErrorLog,
    ) -> Result<(Generation, Options), Report> {
        let bytes = read_memfd(config.as_fd());
        let record = bytes.and_then(|bytes| handover::decode(&bytes));
        let (Header { options, cpus, superuser }, mut world) =
            record.map_err(|error| failure("reading the configuration held failed", &error))?;
        let loaded = config::load(&mut world, &options, Machine { cpus, superuser, ..machine() })?;
        let generation = Opening { number, files, base, log }.open(loaded, config)?;
        give_back();
        Ok((generation, options))
    }

    /// Its listening sockets, as a new master is given them.
    pub fn sockets(&self) -> impl Iterator<Item = &Rc<OwnedFd>> {
        self.listeners.iter().flat_map(|listening| &listening.sockets)
    }

    /// Its zones of keyed records.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// The addresses it listens on.
    pub fn addresses(&self) -> Vec<String> {
        self.listeners.iter().map(|listening| listening.spec.address.to_string()).collect()
    }

    /// The recorded configuration.
    pub fn config(&self) -> Rc<OwnedFd> {
        Rc::clone(&self.config)
    }

    /// Stops listening on addresses that are not among these, and removes the files of those sockets.
    pub fn keep_listening(&mut self, kept: &[String], log: &ErrorLog) {
        for listening in &mut self.listeners {
            let address = &listening.spec.address;
            if !kept.contains(&address.to_string()) && !listening.sockets.is_empty() {
                listening.sockets.clear();
                if let Address::Unix(path) = address {
                    unlink(path, log);
                }
            }
        }
    }

    /// Listens again where [`keep_listening`](Self::keep_listening) has stopped.
    pub fn listen_again(&mut self, log: &ErrorLog) {
        let workers = self.process.workers;
        for listening in self.listeners.iter_mut().filter(|gone| gone.sockets.is_empty()) {
            if let Err(error) = bind_all(listening, workers) {
                log.write(Level::Emerg, None, format_args!("{error}"));
            }
        }
    }

    /// Closes the listening sockets that are somebody else's as well. Only the files of those that
    /// were made here go.
    pub fn leave_listeners(&mut self, log: &ErrorLog) {
        for listening in self.listeners.drain(..) {
            if let (Address::Unix(path), true) = (&listening.spec.address, listening.fresh) {
                unlink(path, log);
            }
        }
    }

    /// Closes the listening sockets of a server that has ended in another process, which may have left
    /// their files.
    pub fn bury_listeners(&mut self) {
        for listening in self.listeners.drain(..) {
            if let Address::Unix(path) = &listening.spec.address {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Closes the listening sockets and leaves all files to whoever serves them now.
    pub fn forget_listeners(&mut self) {
        self.listeners.clear();
    }

    /// The sockets, logs, zones and configuration for worker number `worker`.
    pub fn parcel(&self, worker: usize) -> io::Result<Parcel> {
        let mut fds = vec![Rc::clone(&self.config)];
        let mut listeners = Vec::new();
        for listening in &self.listeners {
            for (index, socket) in listening.sockets.iter().enumerate() {
                let shared = listening.sockets.len() == 1;
                if shared || index % self.process.workers == worker {
                    listeners.push(listening.spec.clone());
                    fds.push(Rc::clone(socket));
                }
            }
        }
        let mut logs = Vec::new();
        for log in &self.logs {
            logs.extend(log.path().map(Path::to_owned));
            fds.push(Rc::new(log.duplicate()?));
        }
        fds.extend(self.zones.iter().map(|zone| Rc::clone(&zone.fd)));
        let zones = self.zones.len();
        Ok((Bundle { generation: self.number, listeners, logs, zones }, fds))
    }

    /// What worker number `worker` has to make of itself.
    pub fn settings(&self, worker: usize) -> Settings {
        let process = &self.process;
        Settings {
            identity: self.identity.clone(),
            nofile: process.rlimit_nofile,
            core: process.rlimit_core,
            priority: process.priority,
            affinity: process.affinity.of(worker).unwrap_or_default(),
            directory: process.working_directory.clone(),
        }
    }

    /// Applies the socket options of this generation to sockets that may be older.
    pub fn tune(&self, log: &ErrorLog) {
        for listening in &self.listeners {
            for socket in &listening.sockets {
                for error in tune(socket.as_fd(), &listening.spec) {
                    log.write(Level::Alert, None, format_args!("{error}, ignored"));
                }
            }
        }
    }

    /// Unlinks the unix sockets of this generation that `other` does not have.
    pub fn unlink_sockets_not_in(&self, other: Option<&Generation>, log: &ErrorLog) {
        for listening in &self.listeners {
            let kept = other.is_some_and(|other| other.has(&listening.spec.address));
            if let (Address::Unix(path), false) = (&listening.spec.address, kept) {
                unlink(path, log);
            }
        }
    }

    /// Unlinks the unix sockets that were bound for this generation, which will not be used.
    pub fn undo(self, log: &ErrorLog) {
        for listening in self.listeners.iter().filter(|listening| listening.fresh) {
            if let Address::Unix(path) = &listening.spec.address {
                unlink(path, log);
            }
        }
    }

    /// Closes the listening sockets in this process and removes their files.
    pub fn close_listeners(&mut self, log: &ErrorLog) {
        self.unlink_sockets_not_in(None, log);
        self.listeners.clear();
    }

    fn has(&self, address: &Address) -> bool {
        self.listeners.iter().any(|listening| listening.spec.address == *address)
    }

    fn sockets_at(&self, address: &Address) -> Vec<Rc<OwnedFd>> {
        let found = self.listeners.iter().find(|listening| listening.spec.address == *address);
        found.map(|listening| listening.sockets.clone()).unwrap_or_default()
    }

    /// Warns when the process could not hold the connections it is allowed to have.
    pub fn check_limits(&self, log: &ErrorLog) {
        let limit = self.process.rlimit_nofile.or(process::get_nofile().ok().map(|(soft, _)| soft));
        let connections = self.process.worker_connections;
        if let Some(limit) = limit.filter(|limit| (connections as u64) > *limit) {
            let text = "worker_connections exceed open file resource limit:";
            log.write(Level::Warn, None, format_args!("{connections} {text} {limit}"));
        }
    }
}

fn unlink(path: &Path, log: &ErrorLog) {
    if let Err(error) = std::fs::remove_file(path) {
        let (path, cause) = (path.display(), os_error(&error));
        log.write(Level::Emerg, None, format_args!("unlink() {path} failed{cause}"));
    }
}

/// What there is already when a generation is built.
#[derive(Clone, Copy)]
pub enum Base<'a> {
    /// Nothing: an address in use is tried again for a while.
    Nothing,
    /// Sockets that a master in another process listens on; it goes on if this comes to nothing.
    Inherited {
        sockets: &'a [(Address, Rc<OwnedFd>)],
        /// Its zones of keyed records, whatever they are.
        zones: &'a [OwnedFd],
        /// Whether an address in use is tried again.
        patient: bool,
    },
    /// The generation in use.
    Running(&'a Generation),
}

impl Base<'_> {
    fn sockets_at(&self, address: &Address) -> Vec<Rc<OwnedFd>> {
        match self {
            Base::Nothing => Vec::new(),
            Base::Inherited { sockets, .. } => {
                let same = sockets.iter().filter(|(found, _)| found == address);
                same.map(|(_, socket)| Rc::clone(socket)).collect()
            }
            Base::Running(generation) => generation.sockets_at(address),
        }
    }

    /// What the configuration in use was read from, if it is known.
    fn recorded(&self) -> Recorded {
        let Base::Running(generation) = self else { return Recorded::default() };
        let bytes = read_memfd(generation.config.as_fd()).ok();
        let decoded = bytes.and_then(|bytes| handover::decode(&bytes).ok());
        decoded.map(|(_, recorded)| recorded).unwrap_or_default()
    }

    fn bind_tries(&self) -> usize {
        match self {
            Base::Nothing | Base::Inherited { patient: true, .. } => BIND_TRIES,
            Base::Inherited { patient: false, .. } | Base::Running(_) => 1,
        }
    }
}

/// Binds what is missing at one address.
fn bind_all(listening: &mut Listening, workers: usize) -> Result<(), SocketError> {
    let wanted = if listening.spec.reuseport { workers } else { 1 };
    while listening.sockets.len() < wanted {
        if let Some(first) = listening.sockets.first() {
            // A socket bound without the option would refuse all others.
            let _ = SockRef::from(&**first).set_reuse_port(true);
        }
        listening.sockets.push(Rc::new(bind(&listening.spec)?));
    }
    Ok(())
}

/// A generation being opened.
struct Opening<'a> {
    number: event::Generation,
    files: &'a mut Files,
    base: Base<'a>,
    log: &'a ErrorLog,
}

impl Opening<'_> {
    fn open(mut self, loaded: Loaded, config: OwnedFd) -> Result<Generation, Report> {
        let doors = Doors::of(&loaded);
        let mut process = loaded.process;
        if let Base::Running(old) = self.base {
            // Decided once, when the process started.
            process.daemon = old.process.daemon;
            process.master_process = old.process.master_process;
        }
        if !process.master_process {
            process.workers = 1;
        }
        let identity = process.user.as_ref().map(|user| {
            let found = identity::User { name: user.name.clone(), uid: user.uid, gid: user.gid };
            let failed = |error| failure(format_args!("initgroups({}) failed", user.name), &error);
            Identity::resolve(&found, Some(user.gid)).map_err(failed)
        });
        let identity = identity.transpose()?;
        let needs = loaded.http.needs();
        let error_log = self.error_log(&process.error_log)?;
        let mut logs: Vec<_> = error_log.targets().iter().map(|t| Arc::clone(&t.file)).collect();
        for path in &needs.log_files {
            logs.push(self.log_file(path)?);
        }
        // Standard error is inherited, not handed over, and one file may have several users.
        logs.retain(|log| log.path().is_some());
        logs.sort_by(|a, b| a.path().cmp(&b.path()));
        logs.dedup_by(|a, b| a.path() == b.path());
        for path in &needs.temp_dirs {
            temporary(path, process.user.as_ref().map(|user| user.uid))?;
        }
        let zones = zones::open(&needs.zones, self.base, &error_log).map_err(Report::sentence)?;
        let listeners = self.listeners(&needs.listen, process.workers)?;
        Ok(Generation {
            number: self.number,
            process,
            error_log,
            files: loaded.files,
            report: loaded.report,
            switches: needs.switches.clone(),
            doors,
            identity,
            listeners,
            logs,
            zones,
            config: Rc::new(config),
        })
    }

    fn error_log(&mut self, wanted: &[LogTarget]) -> Result<ErrorLog, Report> {
        let mut targets = Vec::new();
        for LogTarget { file, level } in wanted {
            let file = match file {
                Some(path) => self.log_file(path)?,
                None => {
                    Arc::new(LogFile::stderr().map_err(|error| failure("dup() failed", &error))?)
                }
            };
            targets.push(Target { file, level: *level });
        }
        Ok(ErrorLog::new(targets))
    }

    fn log_file(&mut self, path: &Path) -> Result<Arc<LogFile>, Report> {
        let failed = |error| failure(format_args!("open() \"{}\" failed", path.display()), &error);
        self.files.open(path).map_err(failed)
    }

    fn listeners(&self, wanted: &[ListenSpec], workers: usize) -> Result<Vec<Listening>, Report> {
        let mut listeners: Vec<Listening> = Vec::new();
        for spec in wanted {
            let sockets = self.base.sockets_at(&spec.address);
            let fresh = sockets.is_empty();
            listeners.push(Listening { spec: spec.clone(), sockets, fresh });
        }
        let result = self.bind_missing(&mut listeners, workers);
        if result.is_err() {
            // What was bound goes with the failure, and so must the names it has left behind.
            for new in listeners.iter().filter(|new| new.fresh && !new.sockets.is_empty()) {
                if let Address::Unix(path) = &new.spec.address {
                    unlink(path, self.log);
                }
            }
        }
        result.map(|()| listeners)
    }

    /// Binds what is not there yet.
    fn bind_missing(&self, listeners: &mut [Listening], workers: usize) -> Result<(), Report> {
        let tries = self.base.bind_tries();
        let mut in_use = None;
        for _ in 0..tries {
            in_use = self.bind_once(listeners, workers)?;
            if in_use.is_none() {
                return Ok(());
            }
            if tries > 1 {
                self.log.write(
                    Level::Notice,
                    None,
                    format_args!("try again to bind() after 500ms"),
                );
                // Nothing runs yet that could be kept waiting, and nobody tells when an address is free.
                std::thread::sleep(BIND_PAUSE);
            }
        }
        match in_use {
            Some(_) if tries > 1 => Err(Report::sentence("still could not bind()")),
            Some(report) => Err(report),
            None => Ok(()),
        }
    }

    /// One round; answers the last address in use.
    fn bind_once(
        &self,
        listeners: &mut [Listening],
        workers: usize,
    ) -> Result<Option<Report>, Report> {
        let mut in_use = None;
        for listening in listeners {
            match bind_all(listening, workers) {
                Ok(()) => {}
                Err(error) if error.is_in_use() => {
                    if self.base.bind_tries() > 1 {
                        self.log.write(Level::Emerg, None, format_args!("{error}"));
                    }
                    in_use = Some(Report::sentence(error.to_string()));
                }
                Err(error) => return Err(Report::sentence(error.to_string())),
            }
        }
        Ok(in_use)
    }
}

/// A failure that has no place in the configuration.
fn failure(what: impl Display, error: &io::Error) -> Report {
    Report::sentence(format!("{what}{}", os_error(error)))
}

/// The descriptors of a parcel as a channel wants them.
pub fn borrowed(fds: &[Rc<OwnedFd>]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(|fd| fd.as_fd()).collect()
}

/// A directory that workers keep temporary files in: made when it is missing, and theirs.
fn temporary(path: &Path, owner: Option<u32>) -> Result<(), Report> {
    let failed = |call: &str, error: &std::io::Error| {
        failure(format_args!("{call} \"{}\" failed", path.display()), error)
    };
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("mkdir()", &error)),
    }
    if let Some(uid) = owner.filter(|_| nix::unistd::geteuid().is_root()) {
        chown(path, Some(uid), None).map_err(|error| failed("chown()", &error))?;
    }
    Ok(())
}
