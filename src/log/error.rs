//! The error log: who wants a line of which level, and the shape of a line.
//!
//! Knows nothing of requests: the caller brings the whole sentence, from
//! `connect() failed …` to `host: "…"`.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::Arc;

use super::clock;
use super::file::LogFile;
use super::level::Level;

/// A line, its line feed included, is cut at this length, as in nginx.
pub const MAX_LINE: usize = 2048;

/// One `error_log` directive: a file and the least level it takes.
#[derive(Clone, Debug)]
pub struct Target {
    pub file: Arc<LogFile>,
    pub level: Level,
}

/// The error log of one place in the configuration; cloning it is cheap.
#[derive(Clone, Debug)]
pub struct ErrorLog {
    targets: Arc<[Target]>,
    lowest: Level,
    console: Option<&'static str>,
}

impl ErrorLog {
    /// A log that writes every line to each target which wants its level.
    /// Without targets it takes nothing.
    pub fn new(targets: impl Into<Arc<[Target]>>) -> ErrorLog {
        let targets = targets.into();
        let lowest = targets.iter().map(|target| target.level).min();
        ErrorLog { lowest: lowest.unwrap_or(Level::Emerg), targets, console: None }
    }

    /// A log with a single file.
    pub fn single(file: Arc<LogFile>, level: Level) -> ErrorLog {
        ErrorLog::new(vec![Target { file, level }])
    }

    /// Also prints lines of `warn` and above to standard error as
    /// `program: [level] message`: the way of start-up, before the process is
    /// alone. A target that is standard error already gets no second copy.
    #[must_use]
    pub fn with_console(mut self, program: &'static str) -> ErrorLog {
        self.console = Some(program);
        self
    }

    /// The targets, in the order of the configuration.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The least level anybody takes.
    pub fn lowest(&self) -> Level {
        self.lowest
    }

    /// Whether a line of this level would go anywhere: ask before building one
    /// that costs something to build.
    pub fn enabled(&self, level: Level) -> bool {
        let wanted = !self.targets.is_empty() && level >= self.lowest;
        wanted || (self.console.is_some() && level >= Level::Warn)
    }

    /// Writes one line; `connection` is the serial number behind the `*`.
    pub fn write(&self, level: Level, connection: Option<u64>, message: fmt::Arguments<'_>) {
        if self.enabled(level) {
            let mut line = Line::start(level, connection);
            line.print(message);
            self.send(level, &mut line);
        }
    }

    /// As `write`, for a message that quotes what a client sent byte for byte.
    pub fn write_bytes(&self, level: Level, connection: Option<u64>, message: &[u8]) {
        if self.enabled(level) {
            let mut line = Line::start(level, connection);
            line.push(message);
            self.send(level, &mut line);
        }
    }

    fn send(&self, level: Level, line: &mut Line) {
        let bytes = line.finish();
        let mut on_console = false;
        for target in self.targets.iter().filter(|target| level >= target.level) {
            on_console |= target.file.is_stderr();
            // A log that cannot be written has nowhere to say so; the loss is
            // counted and told by the first line that gets through.
            if target.file.write_at(Some(level), bytes).is_ok() {
                tell_losses(&target.file);
            }
        }
        if let Some(program) = self.console
            && level >= Level::Warn
            && !on_console
        {
            let mut text = format!("{program}: [{level}] ").into_bytes();
            text.extend_from_slice(line.message());
            // Nobody may be left to read it; that is no reason to stop.
            let _ = io::stderr().write_all(&text);
        }
    }
}

fn tell_losses(file: &LogFile) {
    let lost = file.take_lost();
    if lost > 0 {
        let mut line = Line::start(Level::Error, None);
        line.print(format_args!("this log could not be written for a while, lines lost: {lost}"));
        let _ = file.write(line.finish());
    }
}

/// The way nginx ends a message about a failed call: ` (13: Permission denied)`.
pub fn os_error(error: &io::Error) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        let text = error.to_string();
        match error.raw_os_error() {
            Some(number) => {
                let suffix = format!(" (os error {number})");
                let words = text.strip_suffix(&suffix).unwrap_or(&text);
                write!(f, " ({number}: {words})")
            }
            None => write!(f, " ({text})"),
        }
    })
}

/// A line under construction, without allocation; what does not fit is cut.
struct Line {
    bytes: [u8; MAX_LINE],
    len: usize,
    message_at: usize,
}

impl Line {
    fn start(level: Level, connection: Option<u64>) -> Line {
        let mut line = Line { bytes: [0; MAX_LINE], len: 0, message_at: 0 };
        clock::now(|times| line.push(times.error_log().as_bytes()));
        let (pid, tid) = (std::process::id(), nix::unistd::gettid());
        line.print(format_args!(" [{level}] {pid}#{tid}: "));
        if let Some(number) = connection {
            line.print(format_args!("*{number} "));
        }
        line.message_at = line.len;
        line
    }

    fn print(&mut self, text: fmt::Arguments<'_>) {
        // Text that is too long is cut, which is all that can fail.
        let _ = fmt::Write::write_fmt(self, text);
    }

    fn push(&mut self, bytes: &[u8]) -> usize {
        // One byte is kept for the line feed.
        let room = (MAX_LINE - 1).saturating_sub(self.len);
        let taken = bytes.len().min(room);
        let end = self.len + taken;
        if let (Some(place), Some(source)) = (self.bytes.get_mut(self.len..end), bytes.get(..taken))
        {
            place.copy_from_slice(source);
            self.len = end;
        }
        taken
    }

    fn finish(&mut self) -> &[u8] {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = b'\n';
            self.len += 1;
        }
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    fn message(&self) -> &[u8] {
        self.bytes.get(self.message_at..self.len).unwrap_or_default()
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.push(text.as_bytes()) == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_in(dir: &tempfile::TempDir, name: &str, level: Level) -> Target {
        let file = Arc::new(LogFile::open(dir.path().join(name)).unwrap());
        Target { file, level }
    }

    fn text_of(dir: &tempfile::TempDir, name: &str) -> String {
        std::fs::read_to_string(dir.path().join(name)).unwrap()
    }

    #[test]
    fn a_line_has_nginx_shape() {
        let dir = tempfile::tempdir().unwrap();
        let log = ErrorLog::new(vec![log_in(&dir, "e", Level::Error)]);
        log.write(Level::Error, Some(7), format_args!("it {}", "broke"));
        log.write(Level::Crit, None, format_args!("gone"));
        log.write(Level::Warn, None, format_args!("not wanted"));
        let text = text_of(&dir, "e");
        let shape = r"(?x)^\d{4}/\d\d/\d\d\ \d\d:\d\d:\d\d\ \[error\]\ \d+\#\d+:\ \*7\ it\ broke\n
                      [^\n]{19}\ \[crit\]\ \d+\#\d+:\ gone\n$";
        assert!(regex::Regex::new(shape).unwrap().is_match(&text), "{text}");
    }

    #[test]
    fn each_target_takes_its_levels() {
        let dir = tempfile::tempdir().unwrap();
        let log =
            ErrorLog::new(vec![log_in(&dir, "a", Level::Error), log_in(&dir, "b", Level::Info)]);
        assert!(log.enabled(Level::Info) && !log.enabled(Level::Debug));
        log.write(Level::Info, None, format_args!("small"));
        log.write(Level::Alert, None, format_args!("big"));
        assert_eq!(text_of(&dir, "a").lines().count(), 1);
        assert_eq!(text_of(&dir, "b").lines().count(), 2);
        assert!(!ErrorLog::new(vec![]).enabled(Level::Emerg));
    }

    #[test]
    fn a_long_line_is_cut_and_bytes_pass_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let log = ErrorLog::new(vec![log_in(&dir, "e", Level::Debug)]);
        log.write(Level::Error, None, format_args!("{}", "x".repeat(5000)));
        log.write_bytes(Level::Error, None, b"GET /\xd1");
        let bytes = std::fs::read(dir.path().join("e")).unwrap();
        let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(lines.iter().map(|line| line.len()).max(), Some(MAX_LINE));
        assert!(lines[1].ends_with(b": GET /\xd1\n"));
    }

    #[test]
    fn losses_are_told_by_the_next_line_that_gets_through() {
        let dir = tempfile::tempdir().unwrap();
        let file = Arc::new(LogFile::open("/dev/full").unwrap());
        let log = ErrorLog::single(Arc::clone(&file), Level::Debug);
        log.write(Level::Error, None, format_args!("lost"));
        let fresh = std::fs::File::create(dir.path().join("e")).unwrap();
        file.replace(fresh.into());
        log.write(Level::Error, None, format_args!("kept"));
        let text = text_of(&dir, "e");
        assert!(text.contains(": kept\n"), "{text}");
        assert!(text.ends_with("for a while, lines lost: 1\n"));
    }

    #[test]
    fn failed_calls_end_as_in_nginx() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(os_error(&refused).to_string(), " (111: Connection refused)");
        let own = io::Error::other("odd");
        assert_eq!(os_error(&own).to_string(), " (odd)");
    }
}
