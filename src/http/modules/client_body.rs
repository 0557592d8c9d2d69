//! Owns the directives on the bodies of requests, and the refusal of those that are too long.
//!
//! Must not read a body; `request_body` does.

use super::inherit;
use crate::conf::{Args, Row, values};
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::request_body::InFile;
use crate::http::vars::Variable;
use std::path::PathBuf;
use std::time::Duration;

/// nginx's default for `client_body_timeout`.
const MINUTE: Duration = Duration::from_mins(1);

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    max_size: Option<u64>,
    buffer_size: Option<u64>,
    timeout: Option<Duration>,
    temp_path: Option<PathBuf>,
    in_file: Option<InFile>,
    single_buffer: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// Bytes; 0 is no limit.
    pub max_size: u64,
    /// Bytes of a body kept in memory; more goes to a file.
    pub buffer_size: usize,
    /// Between two reads of a body.
    pub timeout: Duration,
    /// Directory of the files.
    pub temp_path: PathBuf,
    pub in_file: InFile,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; max_size, buffer_size, timeout, temp_path, in_file, single_buffer);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let temp_path = self.temp_path.clone();
        let temp_path = temp_path.unwrap_or_else(|| PathBuf::from("client_body_temp"));
        let temp_path = cx.env.full_path(&temp_path.to_string_lossy());
        cx.temp_dir(&temp_path);
        Conf {
            max_size: self.max_size.unwrap_or(1024 * 1024),
            buffer_size: usize::try_from(self.buffer_size.unwrap_or(16 * 1024))
                .unwrap_or(usize::MAX),
            timeout: self.timeout.unwrap_or(MINUTE),
            temp_path,
            in_file: self.in_file.unwrap_or(InFile::Off),
        }
    }
}

/// `client_max_body_size`, checked as soon as the location is known: 413 before anything is read.
pub fn check_length(req: &mut Request) -> Phase {
    let limit = req.conf().client_body.max_size;
    req.body.limit = limit;
    let announced = req.body.announced.unwrap_or(0);
    if limit > 0 && announced > limit && !req.body.is_read() && !req.body.refused {
        req.log_error(format_args!("client intended to send too large body: {announced} bytes"));
        req.body.refused = true;
        req.body.wants_continue = false;
        return Err(Stop::Status(413));
    }
    Ok(())
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "client_max_body_size",
        HSL,
        Args::Exactly(1),
        "The longest request body accepted; 0 accepts any (default 1m).",
        |s, dir, _| values::offset(&mut s.drafts.client_body.max_size, dir),
    ),
    row(
        "client_body_buffer_size",
        HSL,
        Args::Exactly(1),
        "Bytes of a request body that may stand in memory; a longer one goes to a file, unless the worker has memory to spare for it (default 16k).",
        |s, dir, _| values::size(&mut s.drafts.client_body.buffer_size, dir),
    ),
    row(
        "client_body_timeout",
        HSL,
        Args::Exactly(1),
        "Time allowed between two reads of a request body (default 60s).",
        |s, dir, _| values::msec(&mut s.drafts.client_body.timeout, dir),
    ),
    row(
        "client_body_temp_path",
        HSL,
        Args::Between(1, 4),
        "Directory for request bodies in files; levels are accepted and not used (default client_body_temp).",
        |s, dir, _| {
            let slot = &mut s.drafts.client_body.temp_path;
            values::once(slot, dir)?;
            *slot = Some(PathBuf::from(dir.arg(0).str()?));
            Ok(())
        },
    ),
    row(
        "client_body_in_file_only",
        HSL,
        Args::Exactly(1),
        "Whether every request body is written to a file: `off` (default), `clean`, `on`.",
        |s, dir, _| {
            let choices = [("off", InFile::Off), ("clean", InFile::Clean), ("on", InFile::On)];
            values::choice(&mut s.drafts.client_body.in_file, dir, &choices)
        },
    ),
    row(
        "client_body_in_single_buffer",
        HSL,
        Args::Flag,
        "Without effect: a body kept in memory is always in one piece.",
        |s, dir, _| values::flag(&mut s.drafts.client_body.single_buffer, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[];
