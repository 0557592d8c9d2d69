//! One log file: append a line, swap the descriptor, count what was lost.
//!
//! Every line is one `write(2)` in append mode, so lines of several processes
//! do not mix. Nothing here buffers; see `access` for that.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;

use super::clock;
use super::level::Level;
use super::syslog::{PREFIX, Syslog, is_syslog};

/// Read and write for the owner, as nginx repairs a log it reopens.
const OWNER_READ_WRITE: u32 = 0o600;

/// The name that stands for standard error where log files are listed by path. Files have absolute
/// paths, so that no file can be meant.
pub const STDERR: &str = "stderr";

/// An open log file, standard error, or a syslog server.
#[derive(Debug)]
pub struct LogFile {
    path: Option<PathBuf>,
    sink: Sink,
    lost: AtomicU64,
    /// The second in which the disk was found full; it is left alone until the next.
    full_at: AtomicI64,
}

#[derive(Debug)]
enum Sink {
    File(ArcSwap<File>),
    Syslog(Syslog),
}

impl LogFile {
    /// Opens `path` for appending, mode 0644 if it has to be created; `STDERR` is standard error,
    /// and what begins with `syslog:` a syslog server.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<LogFile> {
        let path = path.into();
        if path == Path::new(STDERR) {
            return LogFile::stderr();
        }
        if is_syslog(&path) {
            return Ok(LogFile::new(None, Sink::Syslog(Syslog::open(&path)?)));
        }
        let file = append_to(&path)?;
        Ok(LogFile::new(Some(path), Sink::from(file)))
    }

    /// Takes a descriptor somebody else opened; `path` is its name.
    pub fn from_fd(path: impl Into<PathBuf>, fd: OwnedFd) -> LogFile {
        LogFile::new(Some(path.into()), Sink::from(File::from(fd)))
    }

    /// Standard error, on a descriptor of its own.
    pub fn stderr() -> io::Result<LogFile> {
        let fd = io::stderr().as_fd().try_clone_to_owned()?;
        Ok(LogFile::new(None, Sink::from(File::from(fd))))
    }

    fn new(path: Option<PathBuf>, sink: Sink) -> LogFile {
        LogFile { path, sink, lost: AtomicU64::new(0), full_at: AtomicI64::new(i64::MIN) }
    }

    /// Where it is; `None` for what is no file.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Whether it is standard error.
    pub fn is_stderr(&self) -> bool {
        self.path.is_none() && matches!(self.sink, Sink::File(_))
    }

    /// The name for messages.
    pub fn name(&self) -> String {
        match (&self.path, &self.sink) {
            (Some(path), _) => path.display().to_string(),
            (None, Sink::Syslog(syslog)) => format!("{PREFIX}{}", syslog.name()),
            (None, Sink::File(_)) => "stderr".to_owned(),
        }
    }

    /// Swaps the descriptor; a write under way finishes on the old one.
    pub fn replace(&self, fd: OwnedFd) {
        self.swap(File::from(fd));
    }

    fn swap(&self, file: File) {
        if let Sink::File(old) = &self.sink {
            old.store(file.into());
        }
        self.full_at.store(i64::MIN, Relaxed);
    }

    /// Opens the path again, making `owner` (a uid) own the file as nginx does
    /// on `USR1`. On an error the old descriptor stays. Does nothing for what is no file.
    pub fn reopen(&self, owner: Option<u32>) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let file = append_to(path)?;
        if let Some(owner) = owner {
            give_to(&file, owner)?;
        }
        self.swap(file);
        Ok(())
    }

    /// A copy of the descriptor, to hand to a worker.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        match &self.sink {
            Sink::File(file) => file.load().as_fd().try_clone_to_owned(),
            Sink::Syslog(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Lends the present descriptor to `with`; `None` when it has none.
    pub fn with_fd<R>(&self, with: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        match &self.sink {
            Sink::File(file) => Some(with(file.load().as_fd())),
            Sink::Syslog(_) => None,
        }
    }

    /// Appends `bytes` in one write. What could not be written is lost and
    /// counted; a full disk is not tried again within the same second, because
    /// some file systems block for long in that state.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.write_at(None, bytes)
    }

    /// The same for a line of a level, which a syslog server is told.
    pub fn write_at(&self, level: Option<Level>, bytes: &[u8]) -> io::Result<()> {
        let full_at = self.full_at.load(Relaxed);
        if full_at != i64::MIN && full_at == clock::seconds() {
            self.lost.fetch_add(1, Relaxed);
            return Err(io::ErrorKind::StorageFull.into());
        }
        let outcome = match &self.sink {
            Sink::File(file) => write_once(&file.load(), bytes),
            Sink::Syslog(syslog) => syslog.send(level, bytes),
        };
        match &outcome {
            Ok(()) if full_at != i64::MIN => self.full_at.store(i64::MIN, Relaxed),
            Ok(()) => {}
            Err(error) => self.count_loss(error),
        }
        outcome
    }

    fn count_loss(&self, error: &io::Error) {
        self.lost.fetch_add(1, Relaxed);
        if error.kind() == io::ErrorKind::StorageFull {
            self.full_at.store(clock::seconds(), Relaxed);
        }
    }

    /// How many writes were lost since this was last asked.
    pub fn take_lost(&self) -> u64 {
        match self.lost.load(Relaxed) {
            0 => 0,
            _ => self.lost.swap(0, Relaxed),
        }
    }
}

impl From<File> for Sink {
    fn from(file: File) -> Sink {
        Sink::File(ArcSwap::from_pointee(file))
    }
}

/// The process's own streams are not opened by name: the name of a pipe or socket cannot be opened.
fn append_to(path: &Path) -> io::Result<File> {
    match path.to_str() {
        Some("/dev/stdout") => return io::stdout().as_fd().try_clone_to_owned().map(File::from),
        Some("/dev/stderr") => return io::stderr().as_fd().try_clone_to_owned().map(File::from),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o644).open(path)
}

fn give_to(file: &File, owner: u32) -> io::Result<()> {
    let found = file.metadata()?;
    if found.uid() != owner {
        fchown(file, Some(owner), None)?;
    }
    let mode = found.mode();
    if mode & OWNER_READ_WRITE != OWNER_READ_WRITE {
        let repaired = PermissionsExt::from_mode(mode | OWNER_READ_WRITE);
        file.set_permissions(repaired)?;
    }
    Ok(())
}

fn write_once(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    loop {
        match file.write(bytes) {
            Ok(written) if written == bytes.len() => return Ok(()),
            Ok(written) => return Err(incomplete(written, bytes.len())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn incomplete(written: usize, of: usize) -> io::Error {
    let text = format!("write() was incomplete: {written} of {of}");
    io::Error::new(io::ErrorKind::WriteZero, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_and_reopens_after_a_rename() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let log = LogFile::open(&path).unwrap();
        log.write(b"one\n").unwrap();
        let moved = dir.path().join("a.log.1");
        std::fs::rename(&path, &moved).unwrap();
        log.write(b"two\n").unwrap();
        log.reopen(Some(nix::unistd::geteuid().as_raw())).unwrap();
        log.write(b"three\n").unwrap();
        assert_eq!(std::fs::read(&moved).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
        assert_eq!(log.path(), Some(path.as_path()));
    }

    #[test]
    fn a_failed_reopen_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("d");
        std::fs::create_dir(&inner).unwrap();
        let path = inner.join("a.log");
        let log = LogFile::open(&path).unwrap();
        let moved = dir.path().join("moved");
        std::fs::rename(&inner, &moved).unwrap();
        assert_eq!(log.reopen(None).unwrap_err().kind(), io::ErrorKind::NotFound);
        log.write(b"kept\n").unwrap();
        assert_eq!(std::fs::read(moved.join("a.log")).unwrap(), b"kept\n");
    }

    #[test]
    fn a_full_disk_costs_lines_that_are_counted() {
        let log = LogFile::open("/dev/full").unwrap();
        assert_eq!(log.write(b"x\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(log.write(b"y\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(log.take_lost(), 2);
        assert_eq!(log.take_lost(), 0);
    }

    #[test]
    fn a_worker_writes_through_a_descriptor_it_was_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let master = LogFile::open(&path).unwrap();
        let worker = LogFile::from_fd(&path, master.duplicate().unwrap());
        master.write(b"m\n").unwrap();
        worker.write(b"w\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"m\nw\n");
    }
}
