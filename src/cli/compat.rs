//! `proxyd compat PATH`: what of a configuration works here, line by line, before anything is switched.
//!
//! Must not start nor ask a server.

use crate::conf::Disk;
use crate::config::{Judged, Options, Verdict, survey};
use crate::master::generation::machine;
use serde::Serialize;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
usage: proxyd compat [--json] PATH

Judges every directive of the configuration PATH, a file or a directory with nginx.conf: supported,
without effect, or unsupported, and why. Nothing is started or changed.

Exit status: 0 nothing is unsupported, 1 something is, 2 the configuration cannot be read.
";

/// Nothing could be judged.
const UNREADABLE: u8 = 2;

/// What stands behind `compat`, if that is the first word.
pub(super) fn words(words: &[OsString]) -> Option<&[OsString]> {
    words.get(1).filter(|word| *word == "compat")?;
    words.get(2..)
}

/// Runs the command.
pub(super) fn run(words: &[OsString]) -> ExitCode {
    let json = words.iter().any(|word| word == "--json");
    let mut paths = words.iter().filter(|word| *word != "--json");
    let (Some(path), None) = (paths.next(), paths.next()) else {
        eprint!("{HELP}");
        return UNREADABLE.into();
    };
    if path == "--help" || path == "-h" {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match survey(&mut Disk, &options(Path::new(path)), machine()) {
        Err(report) => {
            eprint!("{}", report.text);
            UNREADABLE.into()
        }
        Ok(found) => {
            let shown = if json { show_json(&found) } else { show(&found) };
            let failed = shown.is_err() || count(&found, Verdict::Unsupported) > 0;
            u8::from(failed).into()
        }
    }
}

/// Relative names start from where the file is, as they do below `/etc/nginx`.
fn options(path: &Path) -> Options {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let conf_file = if path.is_dir() { path.join("nginx.conf") } else { path };
    let prefix = conf_file.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    Options { prefix, conf_file, globals: None, error_log: None, control: None }
}

fn count(found: &[Judged], verdict: Verdict) -> usize {
    found.iter().filter(|judged| judged.verdict == verdict).count()
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Supported => "supported",
        Verdict::WithoutEffect => "without effect",
        Verdict::Unsupported => "unsupported",
    }
}

fn show(found: &[Judged]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for Judged { file, line, directive, verdict, reason } in found {
        let reason = if reason.is_empty() { String::new() } else { format!(", {reason}") };
        writeln!(out, "{file}:{line} {directive}: {}{reason}", name(*verdict))?;
    }
    let [supported, idle, unsupported] =
        [Verdict::Supported, Verdict::WithoutEffect, Verdict::Unsupported].map(|v| count(found, v));
    let all = found.len();
    writeln!(
        out,
        "{all} directives: {supported} supported, {idle} without effect, {unsupported} unsupported"
    )
}

#[derive(Serialize)]
struct Row<'a> {
    file: &'a str,
    line: usize,
    directive: &'a str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

#[derive(Serialize)]
struct Document<'a> {
    directives: Vec<Row<'a>>,
    supported: usize,
    without_effect: usize,
    unsupported: usize,
}

fn show_json(found: &[Judged]) -> std::io::Result<()> {
    let document = Document {
        directives: found.iter().map(row).collect(),
        supported: count(found, Verdict::Supported),
        without_effect: count(found, Verdict::WithoutEffect),
        unsupported: count(found, Verdict::Unsupported),
    };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &document)?;
    writeln!(out)
}

fn row(judged: &Judged) -> Row<'_> {
    Row {
        file: &judged.file,
        line: judged.line,
        directive: &judged.directive,
        verdict: name(judged.verdict),
        reason: &judged.reason,
    }
}
