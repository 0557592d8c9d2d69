//! Writes access log lines: at once, or gathered in a buffer.
//!
//! Owns the buffer of one `access_log` file and when it has to be written.
//! Has no timer: the worker asks `deadline` and calls `flush`.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Status};

use super::clock;
use super::error::{ErrorLog, os_error};
use super::file::LogFile;
use super::level::Level;
use super::syslog::is_syslog;

/// Trouble with one file is reported at most once in this many seconds.
const REPORT_EVERY: i64 = 60;

/// The `buffer=` and `flush=` parameters of `access_log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buffering {
    /// Bytes gathered before they are written.
    pub size: usize,
    /// The longest a line waits; `None` is as long as it takes.
    pub flush: Option<Duration>,
    /// `gzip=`: what is written at one time is compressed at this level, as a gzip member of its own.
    pub gzip: Option<u8>,
}

/// One access log. What is still buffered is written when it is dropped.
#[derive(Debug)]
pub struct AccessWriter {
    file: Arc<LogFile>,
    buffering: Option<Buffering>,
    pending: Mutex<Pending>,
    reported_at: AtomicI64,
}

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<u8>,
    deadline: Option<Instant>,
}

impl AccessWriter {
    /// A writer into `file`; without `buffering` each line is one write.
    pub fn new(file: Arc<LogFile>, buffering: Option<Buffering>) -> AccessWriter {
        AccessWriter {
            file,
            buffering,
            pending: Mutex::default(),
            reported_at: AtomicI64::new(i64::MIN),
        }
    }

    /// The file behind it.
    pub fn file(&self) -> &Arc<LogFile> {
        &self.file
    }

    /// How it buffers.
    pub fn buffering(&self) -> Option<Buffering> {
        self.buffering
    }

    /// Appends a line, which ends in a line feed. Trouble goes to `errors`.
    pub fn write(&self, line: &[u8], errors: &ErrorLog) {
        let Some(buffering) = self.buffering else {
            self.send(line, errors);
            return;
        };
        let mut pending = self.pending();
        if pending.lines.len() + line.len() > buffering.size {
            self.send_pending(&mut pending, errors);
        }
        if line.len() > buffering.size {
            self.send(line, errors);
            return;
        }
        if pending.lines.is_empty() {
            pending.deadline = buffering.flush.map(|wait| Instant::now() + wait);
        }
        pending.lines.extend_from_slice(line);
    }

    /// Writes what is buffered.
    pub fn flush(&self, errors: &ErrorLog) {
        self.send_pending(&mut self.pending(), errors);
    }

    /// When the buffer has to be written; `None` while nothing is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.pending().deadline
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_pending(&self, pending: &mut Pending, errors: &ErrorLog) {
        pending.deadline = None;
        if !pending.lines.is_empty() {
            self.send(&pending.lines, errors);
            pending.lines.clear();
        }
    }

    fn send(&self, bytes: &[u8], errors: &ErrorLog) {
        match self.file.write(&self.coded(bytes)) {
            Ok(()) => self.report_recovery(errors),
            Err(error) => self.report(&error, errors),
        }
    }

    fn coded<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let level = self.buffering.and_then(|how| how.gzip);
        let coded = level.and_then(|level| gzip(bytes, level));
        coded.map_or(Cow::Borrowed(bytes), Cow::Owned)
    }

    fn report(&self, error: &io::Error, errors: &ErrorLog) {
        let now = clock::seconds();
        if now.saturating_sub(self.reported_at.load(Relaxed)) < REPORT_EVERY {
            return;
        }
        self.reported_at.store(now, Relaxed);
        let (name, cause) = (self.file.name(), os_error(error));
        let call = if is_syslog(Path::new(&name)) { "send()" } else { "write()" };
        errors.write(Level::Alert, None, format_args!("{call} to \"{name}\" failed{cause}"));
    }

    fn report_recovery(&self, errors: &ErrorLog) {
        let lost = self.file.take_lost();
        if lost > 0 {
            self.reported_at.store(i64::MIN, Relaxed);
            let name = self.file.name();
            errors.write(
                Level::Error,
                None,
                format_args!("\"{name}\" can be written again, writes lost: {lost}"),
            );
        }
    }
}

impl Drop for AccessWriter {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.pending().lines);
        if !lines.is_empty() {
            // No log is at hand any more; the file counts the loss.
            let _ = self.file.write(&self.coded(&lines));
        }
    }
}

/// A gzip member; members in a row are one file. `None` only if the library fails.
fn gzip(bytes: &[u8], level: u8) -> Option<Vec<u8>> {
    /// The largest window, and a gzip header and trailer.
    const WINDOW: i32 = 15 + 16;
    let config =
        DeflateConfig { level: level.into(), window_bits: WINDOW, ..DeflateConfig::default() };
    let mut stream = Deflate::new_with_config(config);
    // What cannot be compressed grows by less than that.
    let mut out = vec![0; bytes.len() + bytes.len() / 8 + 128];
    let status = stream.compress(bytes, &mut out, DeflateFlush::Finish).ok()?;
    out.truncate(usize::try_from(stream.total_out()).ok()?);
    (status == Status::StreamEnd).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zlib_rs::{Inflate, InflateFlush};

    struct Scene {
        dir: tempfile::TempDir,
        errors: ErrorLog,
    }

    fn scene() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let file = Arc::new(LogFile::open(dir.path().join("error.log")).unwrap());
        Scene { dir, errors: ErrorLog::single(file, Level::Debug) }
    }

    impl Scene {
        fn writer(&self, buffering: Option<Buffering>) -> AccessWriter {
            let file = LogFile::open(self.dir.path().join("a.log")).unwrap();
            AccessWriter::new(Arc::new(file), buffering)
        }

        fn text(&self, name: &str) -> String {
            std::fs::read_to_string(self.dir.path().join(name)).unwrap()
        }
    }

    #[test]
    fn unbuffered_lines_are_there_at_once() {
        let scene = scene();
        let log = scene.writer(None);
        log.write(b"one\n", &scene.errors);
        assert_eq!(scene.text("a.log"), "one\n");
        assert_eq!(log.deadline(), None);
    }

    #[test]
    fn a_buffer_is_written_when_the_next_line_does_not_fit() {
        let scene = scene();
        let log = scene.writer(Some(Buffering { size: 10, flush: None, gzip: None }));
        log.write(b"1234\n", &scene.errors);
        log.write(b"5678\n", &scene.errors);
        assert_eq!(scene.text("a.log"), "");
        log.write(b"9\n", &scene.errors);
        assert_eq!(scene.text("a.log"), "1234\n5678\n");
        log.write(b"longer than it\n", &scene.errors);
        assert_eq!(scene.text("a.log"), "1234\n5678\n9\nlonger than it\n");
        assert_eq!(log.deadline(), None);
    }

    #[test]
    fn flush_has_a_deadline_from_the_first_line_on() {
        let scene = scene();
        let wait = Duration::from_secs(5);
        let log = scene.writer(Some(Buffering { size: 100, flush: Some(wait), gzip: None }));
        let before = Instant::now();
        log.write(b"a\n", &scene.errors);
        let deadline = log.deadline().unwrap();
        log.write(b"b\n", &scene.errors);
        assert_eq!(log.deadline(), Some(deadline));
        assert!(deadline >= before + wait && deadline <= Instant::now() + wait);
        log.flush(&scene.errors);
        assert_eq!(scene.text("a.log"), "a\nb\n");
        assert_eq!(log.deadline(), None);
    }

    #[test]
    fn compressed_members_follow_one_another() {
        let scene = scene();
        let log = scene.writer(Some(Buffering { size: 20, flush: None, gzip: Some(1) }));
        log.write(b"one two three\n", &scene.errors);
        log.write(b"four\n", &scene.errors);
        log.write(b"five\n", &scene.errors);
        log.write(b"a line that is longer than the buffer\n", &scene.errors);
        drop(log);
        let file = std::fs::read(scene.dir.path().join("a.log")).unwrap();
        let mut rest = file.as_slice();
        let mut text = Vec::new();
        let mut members = 0;
        while !rest.is_empty() {
            let mut stream = Inflate::new(true, 15 + 16);
            let mut out = vec![0; 1000];
            stream.decompress(rest, &mut out, InflateFlush::Finish).unwrap();
            text.extend_from_slice(&out[..usize::try_from(stream.total_out()).unwrap()]);
            rest = &rest[usize::try_from(stream.total_in()).unwrap()..];
            members += 1;
        }
        let lines = "one two three\nfour\nfive\na line that is longer than the buffer\n";
        assert_eq!((String::from_utf8(text).unwrap().as_str(), members), (lines, 3));
    }

    #[test]
    fn dropping_writes_the_rest() {
        let scene = scene();
        let log = scene.writer(Some(Buffering { size: 100, flush: None, gzip: None }));
        log.write(b"a\n", &scene.errors);
        drop(log);
        assert_eq!(scene.text("a.log"), "a\n");
    }

    #[test]
    fn a_full_disk_is_reported_once_and_its_end_too() {
        let scene = scene();
        let file = Arc::new(LogFile::open("/dev/full").unwrap());
        let log = AccessWriter::new(Arc::clone(&file), None);
        log.write(b"a\n", &scene.errors);
        log.write(b"b\n", &scene.errors);
        let fresh = std::fs::File::create(scene.dir.path().join("a.log")).unwrap();
        file.replace(fresh.into());
        log.write(b"c\n", &scene.errors);
        let told = scene.text("error.log");
        assert_eq!(told.lines().count(), 2, "{told}");
        assert!(told.contains("write() to \"/dev/full\" failed (28: No space left on device)"));
        assert!(told.contains("can be written again, writes lost: 2"));
        assert_eq!(scene.text("a.log"), "c\n");
    }
}
