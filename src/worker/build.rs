//! From the bundle to something that can serve: replays the configuration and pairs it with the
//! descriptors that came along.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use nix::sys::stat::fstat;

use crate::config::handover::{self, Header};
use crate::config::{self, LogTarget, Machine, Process};
use crate::http::live::Live;
use crate::http::snapshot::Snapshot;
use crate::ipc::Unpacked;
use crate::log::{ErrorLog, Files, LogFile, Target};
use crate::net::ListenSpec;
use crate::sys::fds::read_memfd;
use crate::sys::memory::give_back;
use crate::zone::keyed::{Holder, Keyed, Spec};
use crate::zone::{Door, Slot};

/// A configuration ready to serve.
pub struct Built {
    pub number: u64,
    pub process: Process,
    pub snapshot: Arc<Snapshot>,
    pub error_log: ErrorLog,
    /// One for each of `snapshot.needs().zones`.
    pub zones: Vec<Rc<Keyed>>,
    /// Until they are accepted from.
    pub listeners: Vec<(ListenSpec, OwnedFd)>,
}

impl Built {
    /// What runs beside the snapshot; of what ran before, that goes on which is still wanted.
    pub fn live(
        &self,
        before: Option<&Live>,
        files: &Files,
        slot: &Slot,
        door: &Door,
    ) -> Result<Live, String> {
        let mut logs = Vec::new();
        for path in &self.snapshot.needs().log_files {
            logs.push(files.log(path).ok_or("a log file was not handed over")?);
        }
        let zones = self.zones.clone();
        let (errors, slot, door) = (self.error_log.clone(), slot.clone(), door.clone());
        Ok(Live::new(&self.snapshot, before, logs, zones, errors, slot, door))
    }
}

/// One socket, whatever descriptor it is known by.
pub type SocketId = (u64, u64);

/// Device and inode.
pub fn socket_id(socket: &OwnedFd) -> nix::Result<SocketId> {
    fstat(socket.as_fd()).map(|found| (found.st_dev, found.st_ino))
}

/// Builds a generation. The master has built the same from the same record, so an error here means
/// that the two have come to differ: its first line tells.
pub fn build(unpacked: Unpacked, files: &mut Files, slot: usize) -> Result<Built, String> {
    let bytes = read_memfd(unpacked.config.as_fd()).map_err(|error| error.to_string())?;
    let (header, mut world) = handover::decode(&bytes).map_err(|error| error.to_string())?;
    let loaded = config::load(&mut world, &header.options, machine(&header));
    let loaded = loaded.map_err(|report| {
        let first = report.lines.iter().find(|line| line.fatal);
        first.map_or_else(|| "configuration cannot be used".to_owned(), |line| line.text.clone())
    })?;
    let nowhere = ErrorLog::new(Vec::new());
    for (path, fd) in unpacked.logs {
        files.adopt(&path, fd, &nowhere);
    }
    let me = Holder::worker(slot, std::process::id());
    let attach = |(fd, spec): (&OwnedFd, &Spec)| Keyed::attach(fd.as_fd(), spec, me).map(Rc::new);
    let zones = unpacked.zones.iter().zip(&loaded.http.needs().zones).map(attach);
    let zones = zones.collect::<io::Result<Vec<_>>>().map_err(|error| error.to_string())?;
    if zones.len() < loaded.http.needs().zones.len() {
        return Err("a zone was not handed over".to_owned());
    }
    // Far more was read than is kept.
    give_back();
    Ok(Built {
        zones,
        number: unpacked.generation,
        error_log: error_log(&loaded.process, files)?,
        process: loaded.process,
        snapshot: loaded.http,
        listeners: unpacked.listeners,
    })
}

/// The machine as the master saw it. Whom to become comes with the settings, resolved: what the
/// names mean to this process does not matter.
fn machine(header: &Header) -> Machine {
    let (user, group) = (|_: &str| Some((0, 0)), |_: &str| Some(0));
    Machine { cpus: header.cpus, superuser: header.superuser, user, group }
}

fn error_log(process: &Process, files: &Files) -> Result<ErrorLog, String> {
    let mut targets = Vec::new();
    for LogTarget { file, level } in &process.error_log {
        let file = match file {
            Some(path) => files.log(path),
            None => LogFile::stderr().map(Arc::new).ok(),
        };
        let file = file.ok_or_else(|| "an error log was not handed over".to_owned())?;
        targets.push(Target { file, level: *level });
    }
    Ok(ErrorLog::new(targets))
}
