//! Owns the access log: `log_format`, `access_log`, and the line written for each request.
//!
//! Must not open log files of a constant name (the master does) nor keep buffers (`live` does).

mod format;
mod path;
mod written;

pub use format::Format;

use super::inherit;
use crate::conf::{Args, Contexts, Row, Word, values};
use crate::http::draft::{HSL, HSLI, Scope, row};
use crate::http::finish::Finish;
use crate::http::request::Request;
use crate::http::snapshot::Snapshot;
use crate::http::template::Template;
use crate::http::vars::Variable;
use crate::log::Buffering;
use path::NamedByRequest;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use written::{FormatWritten, KeptWritten, LogWritten};

/// The log of a server that names none, relative to the prefix.
const DEFAULT: &str = "logs/access.log";

/// The format that needs no definition.
const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
                        $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

/// A line buffer larger than this is not kept for the next request.
const KEPT_LINE: usize = 64 * 1024;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    off: bool,
    subrequests: Option<bool>,
    /// Shared with the blocks that inherit them, so that each is compiled once.
    logs: Vec<Arc<LogWritten>>,
    kept: Option<KeptWritten>,
    /// `http` only.
    formats: Vec<FormatWritten>,
}

/// In force: one line is written to each.
#[derive(Debug)]
pub struct Conf {
    logs: Vec<Arc<Log>>,
    /// `log_subrequest`.
    subrequests: bool,
    /// An index into `snapshot.kept_logs`.
    kept: Option<usize>,
}

/// One `access_log`.
#[derive(Debug)]
struct Log {
    target: Target,
    format: Arc<Format>,
    /// `if=`: no line unless it is true.
    filter: Option<Template>,
}

#[derive(Debug)]
enum Target {
    /// An index into `needs.log_files`.
    File { index: usize, buffering: Option<Buffering> },
    /// A name with variables.
    Named(NamedByRequest),
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; subrequests, kept);
        if !self.off && self.logs.is_empty() {
            self.off = outer.off;
            self.logs.clone_from(&outer.logs);
        }
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let logs = if self.off {
            Vec::new()
        } else if self.logs.is_empty() {
            default_log(cx).into_iter().collect()
        } else {
            self.logs.iter().filter_map(|written| written.compiled()).collect()
        };
        let kept = self.kept.and_then(KeptWritten::keeping).map(|kept| cx.kept_logs(kept));
        Conf { logs, subrequests: self.subrequests.unwrap_or(false), kept }
    }
}

fn default_log(cx: &mut Finish) -> Option<Arc<Log>> {
    let format = cx.formats.get("combined")?.clone();
    let index = cx.log_file(&cx.env.full_path(DEFAULT));
    let target = Target::File { index, buffering: None };
    Some(Arc::new(Log { target, format, filter: None }))
}

/// Compiles all formats, then all logs in the order written. Before any block is finished: a log may
/// name a format that is defined after it.
pub fn define(http: &Scope, cx: &mut Finish) {
    let text = COMBINED.as_bytes().to_vec();
    let combined = Word { text, span: http.span, quoted: true };
    let combined = FormatWritten::plain("combined", combined);
    for written in std::iter::once(&combined).chain(&http.drafts.access_log.formats) {
        let format = Format::compile(written, cx);
        cx.formats.insert(written.name.clone(), Arc::new(format));
    }
    compile_logs(http, &mut HashMap::new(), cx);
}

fn compile_logs(scope: &Scope, buffers: &mut HashMap<usize, Buffering>, cx: &mut Finish) {
    for log in &scope.drafts.access_log.logs {
        log.compile(buffers, cx);
    }
    for server in &scope.servers {
        compile_logs(server, buffers, cx);
    }
    for location in &scope.locations {
        compile_logs(&location.scope, buffers, cx);
    }
}

/// How each log file is buffered, by its index; `None` for files that are no access logs in force.
/// One `buffer=` holds for all who write to the same file, so that their lines keep their order.
pub fn buffering(snapshot: &Snapshot) -> Vec<Option<Option<Buffering>>> {
    let mut files = vec![None; snapshot.needs.log_files.len()];
    for log in snapshot.locations.iter().flat_map(|location| &location.conf.access_log.logs) {
        if let Target::File { index, buffering } = &log.target
            && let Some(file) = files.get_mut(*index)
        {
            let known = file.get_or_insert(None);
            *known = known.or(*buffering);
        }
    }
    files
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "log_format",
        Contexts::HTTP,
        Args::AtLeast(2),
        "Defines a format of access log lines; `escape=default`, `json` or `none` may precede the text.",
        |scope, dir, _| written::log_format(&mut scope.drafts.access_log, dir),
    ),
    row(
        "access_log",
        HSLI.or(Contexts::LIMIT_EXCEPT),
        Args::AtLeast(1),
        "File or `syslog:` server and format of the access log, with `buffer=`, `flush=`, `gzip=` and `if=`; or `off`.",
        |scope, dir, _| written::access_log(&mut scope.drafts.access_log, dir),
    ),
    row(
        "log_subrequest",
        HSL,
        Args::Flag,
        "Writes lines for subrequests too (default off).",
        |scope, dir, _| values::flag(&mut scope.drafts.access_log.subrequests, dir),
    ),
    row(
        "open_log_file_cache",
        HSL,
        Args::Between(1, 4),
        "Keeps log files whose names have variables open: `max=`, `inactive=` (default 10s), `min_uses=` \
         (default 1), `valid=` (default 60s); or `off` (default).",
        |scope, dir, _| written::open_log_file_cache(&mut scope.drafts.access_log, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[];

thread_local! {
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Whether a subrequest has a line too where it has ended.
pub fn wants_subrequests(req: &Request) -> bool {
    req.conf().access_log.subrequests
}

/// Log phase: one line for each log in force. A second call for the same request does nothing.
pub fn run(req: &Request) {
    let logs = &req.conf().access_log.logs;
    if req.logged.replace(true) || logs.is_empty() {
        return;
    }
    let mut line = LINE.take();
    for log in logs {
        log.write(req, &mut line);
    }
    if line.capacity() <= KEPT_LINE {
        LINE.set(line);
    }
}

impl Log {
    fn write(&self, req: &Request, line: &mut Vec<u8>) {
        if self.filter.as_ref().is_some_and(|filter| !filter.is_true(req)) {
            return;
        }
        line.clear();
        self.format.append(req, line);
        line.push(b'\n');
        match &self.target {
            Target::File { index, .. } => req.live.write_access(*index, line, req.errors()),
            Target::Named(name) => name.write(req, line),
        }
    }
}

#[cfg(test)]
mod tests;
