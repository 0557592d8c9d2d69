//! Every log file a process has open, by path, so that one name is opened
//! once and all of them can be reopened together.
//!
//! The master opens and reopens; a worker adopts the descriptors it is given.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::access::{AccessWriter, Buffering};
use super::error::ErrorLog;
use super::file::{LogFile, STDERR};
use super::syslog::is_syslog;

/// The registry.
#[derive(Debug, Default)]
pub struct Files {
    open: BTreeMap<PathBuf, Arc<LogFile>>,
    writers: Vec<Weak<AccessWriter>>,
}

impl Files {
    /// An empty registry.
    pub fn new() -> Files {
        Files::default()
    }

    /// The file at `path`, opened if it is not open yet.
    pub fn open(&mut self, path: &Path) -> io::Result<Arc<LogFile>> {
        if let Some(file) = self.open.get(path) {
            return Ok(Arc::clone(file));
        }
        if is_syslog(path) {
            // There is no descriptor to renew or to hand over.
            return LogFile::open(path).map(Arc::new);
        }
        let file = Arc::new(LogFile::open(path)?);
        self.open.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    /// Takes a descriptor of `path`: a new file, or the one already known with
    /// its descriptor swapped. Lines still buffered go into the old one first.
    pub fn adopt(&mut self, path: &Path, fd: OwnedFd, errors: &ErrorLog) -> Arc<LogFile> {
        if let Some(file) = self.open.get(path).map(Arc::clone) {
            self.flush_file(&file, errors);
            file.replace(fd);
            return file;
        }
        let file = Arc::new(LogFile::from_fd(path, fd));
        self.open.insert(path.to_owned(), Arc::clone(&file));
        file
    }

    /// The file at `path`, if it is open.
    pub fn get(&self, path: &Path) -> Option<&Arc<LogFile>> {
        self.open.get(path)
    }

    /// The log of that name for a process that opens no files: one that was adopted, or what is none.
    pub fn log(&self, path: &Path) -> Option<Arc<LogFile>> {
        if is_syslog(path) || path == Path::new(STDERR) {
            return LogFile::open(path).ok().map(Arc::new);
        }
        self.get(path).map(Arc::clone)
    }

    /// Every open file, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Arc<LogFile>)> {
        self.open.iter().map(|(path, file)| (path.as_path(), file))
    }

    /// The access log in `file`. All who ask for the same file and buffering
    /// share one writer, hence one buffer and the order of lines.
    pub fn writer(&mut self, file: &Arc<LogFile>, how: Option<Buffering>) -> Arc<AccessWriter> {
        let same = |writer: &Arc<AccessWriter>| {
            Arc::ptr_eq(writer.file(), file) && writer.buffering() == how
        };
        if let Some(writer) = self.live_writers().find(same) {
            return writer;
        }
        let writer = Arc::new(AccessWriter::new(Arc::clone(file), how));
        self.writers.push(Arc::downgrade(&writer));
        writer
    }

    /// Writes every buffer.
    pub fn flush(&self, errors: &ErrorLog) {
        self.live_writers().for_each(|writer| writer.flush(errors));
    }

    /// Writes the buffers due by `now`.
    pub fn flush_due(&self, now: Instant, errors: &ErrorLog) {
        self.live_writers()
            .filter(|writer| writer.deadline().is_some_and(|deadline| deadline <= now))
            .for_each(|writer| writer.flush(errors));
    }

    /// When the next buffer is due.
    pub fn next_flush(&self) -> Option<Instant> {
        self.live_writers().filter_map(|writer| writer.deadline()).min()
    }

    /// Opens every path again, owned by `owner` (a uid); answers what failed.
    /// A file that could not be reopened goes on with its old descriptor.
    pub fn reopen(&self, owner: Option<u32>, errors: &ErrorLog) -> Vec<(PathBuf, io::Error)> {
        self.flush(errors);
        let reopened = self.open.iter().filter_map(|(path, file)| {
            let error = file.reopen(owner).err()?;
            Some((path.clone(), error))
        });
        reopened.collect()
    }

    /// Forgets, and so closes, the files nobody else holds any more.
    pub fn prune(&mut self) {
        self.writers.retain(|writer| writer.strong_count() > 0);
        self.open.retain(|_, file| Arc::strong_count(file) > 1);
    }

    fn live_writers(&self) -> impl Iterator<Item = Arc<AccessWriter>> + '_ {
        self.writers.iter().filter_map(Weak::upgrade)
    }

    fn flush_file(&self, file: &Arc<LogFile>, errors: &ErrorLog) {
        self.live_writers()
            .filter(|writer| Arc::ptr_eq(writer.file(), file))
            .for_each(|writer| writer.flush(errors));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BUFFERED: Option<Buffering> =
        Some(Buffering { size: 1000, flush: Some(Duration::from_secs(1)), gzip: None });

    fn nowhere() -> ErrorLog {
        ErrorLog::new(vec![])
    }

    #[test]
    fn one_path_is_one_file_and_one_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut files = Files::new();
        let first = files.open(&path).unwrap();
        assert!(Arc::ptr_eq(&first, &files.open(&path).unwrap()));
        let writer = files.writer(&first, BUFFERED);
        assert!(Arc::ptr_eq(&writer, &files.writer(&first, BUFFERED)));
        assert!(!Arc::ptr_eq(&writer, &files.writer(&first, None)));
        assert_eq!(files.iter().count(), 1);
    }

    #[test]
    fn reopening_puts_buffered_lines_into_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        let mut files = Files::new();
        let file = files.open(&path).unwrap();
        let writer = files.writer(&file, BUFFERED);
        writer.write(b"before\n", &nowhere());
        std::fs::rename(&path, &moved).unwrap();
        assert!(files.reopen(None, &nowhere()).is_empty());
        writer.write(b"after\n", &nowhere());
        files.flush(&nowhere());
        assert_eq!(std::fs::read(&moved).unwrap(), b"before\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"after\n");
    }

    #[test]
    fn a_worker_adopts_and_swaps_by_path() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        let master = LogFile::open(&path).unwrap();
        let mut worker = Files::new();
        let file = worker.adopt(&path, master.duplicate().unwrap(), &nowhere());
        let writer = worker.writer(&file, BUFFERED);
        writer.write(b"before\n", &nowhere());
        std::fs::rename(&path, &moved).unwrap();
        master.reopen(None).unwrap();
        worker.adopt(&path, master.duplicate().unwrap(), &nowhere());
        writer.write(b"after\n", &nowhere());
        worker.flush(&nowhere());
        assert_eq!(std::fs::read(&moved).unwrap(), b"before\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"after\n");
    }

    #[test]
    fn only_due_buffers_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut files = Files::new();
        let file = files.open(&path).unwrap();
        let writer = files.writer(&file, BUFFERED);
        assert_eq!(files.next_flush(), None);
        writer.write(b"a\n", &nowhere());
        let due = files.next_flush().unwrap();
        files.flush_due(due.checked_sub(Duration::from_millis(1)).unwrap(), &nowhere());
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        files.flush_due(due, &nowhere());
        assert_eq!(std::fs::read(&path).unwrap(), b"a\n");
    }

    #[test]
    fn prune_closes_what_no_configuration_uses() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::new();
        let kept = files.open(&dir.path().join("kept")).unwrap();
        files.open(&dir.path().join("dropped")).unwrap();
        let writer = files.writer(&kept, None);
        drop(kept);
        files.prune();
        let paths: Vec<_> = files.iter().map(|(path, _)| path.file_name().unwrap()).collect();
        assert_eq!(paths, ["kept"]);
        drop(writer);
        files.prune();
        assert_eq!(files.iter().count(), 0);
    }

    #[test]
    fn a_path_that_cannot_be_reopened_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("d");
        std::fs::create_dir(&inner).unwrap();
        let mut files = Files::new();
        let _file = files.open(&inner.join("a.log")).unwrap();
        std::fs::remove_dir_all(&inner).unwrap();
        let failed = files.reopen(None, &nowhere());
        assert_eq!(failed[0].0, inner.join("a.log"));
        assert_eq!(failed[0].1.kind(), io::ErrorKind::NotFound);
    }
}
