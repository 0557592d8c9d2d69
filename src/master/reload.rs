//! The deeds of a reload: loading the candidate, handing it out, putting it in place or dropping it,
//! and telling those who asked. The order is decided in `change`.

use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::event::{Event, Id, Plan};
use super::generation::{Base, Generation};
use super::{Master, pidfile};
use crate::config::{Line, Report};
use crate::control::{self, routes::ReloadOutcome};
use crate::ipc::ToWorker;
use crate::log::{ErrorLog, Level, os_error, trace};
use crate::sys::process::stderr_to;

impl Master {
    /// Reads the configuration again and opens what is new.
    pub(super) fn load(&mut self) -> Event {
        self.waiting.append(&mut self.next);
        let log = self.log().clone();
        let number = self.state.candidate();
        let current = Base::Running(&self.current);
        match Generation::build(number, &self.options, &mut self.files, current, &log) {
            Ok(next) => {
                write_lines(&next.report, &log);
                let replace = self.current.process.needs_new_workers(&next.process);
                let plan = Plan { workers: next.process.workers, replace };
                self.candidate = Some(next);
                Event::Loaded(plan)
            }
            Err(report) => {
                write_lines(&report, &log);
                self.rejected = report;
                self.files.prune();
                Event::NotLoaded
            }
        }
    }

    pub(super) fn prepare(&self, id: Id) {
        let (Some(child), Some(candidate)) = (self.children.get(&id), &self.candidate) else {
            return;
        };
        match candidate.parcel(child.slot) {
            Ok((bundle, fds)) => child.send(ToWorker::Prepare(bundle), fds),
            // The worker will not answer, and the deadline undoes the reload.
            Err(error) => {
                let cause = os_error(&error);
                let text = "could not hand the configuration over";
                self.log().write(Level::Alert, None, format_args!("{text}{cause}"));
            }
        }
    }

    /// From here on the candidate is what the server is.
    pub(super) fn adopt(&mut self) {
        let Some(next) = self.candidate.take() else { return };
        self.state.most_draining = next.process.max_draining;
        next.tune(&next.error_log);
        next.check_limits(&next.error_log);
        let old = std::mem::replace(&mut self.current, next);
        old.unlink_sockets_not_in(Some(&self.current), &self.current.error_log);
        self.move_pid_file(&old.process.pid);
        self.move_control(&old.process.control);
        self.move_state_file(&old.process.runtime_state);
        self.tell_orphans();
        drop(old);
        self.files.prune();
        trace::send_to(self.current.error_log.clone());
        self.redirect_stderr();
    }

    pub(super) fn discard(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            candidate.undo(&self.current.error_log);
            self.files.prune();
        }
    }

    fn move_pid_file(&self, old: &Path) {
        let new = &self.current.process.pid;
        if new == old {
            return;
        }
        let written = pidfile::write(new, std::process::id());
        if let Err(error) = written.and_then(|()| pidfile::remove(old, std::process::id())) {
            let (path, cause) = (new.display(), os_error(&error));
            self.log().write(Level::Emerg, None, format_args!("open() \"{path}\" failed{cause}"));
        }
    }

    fn move_control(&mut self, old: &Path) {
        let new = self.current.process.control.clone();
        if new == old {
            return;
        }
        if self.serve_control_at(&new, control::bind(&new)) {
            let _ = std::fs::remove_file(old);
        }
    }

    /// In the background standard error is the first error log.
    pub(super) fn redirect_stderr(&self) {
        if !self.daemon {
            return;
        }
        let first = self.log().targets().iter().find(|target| target.file.path().is_some());
        if let Some(target) = first
            && let Some(Err(error)) = target.file.with_fd(stderr_to)
        {
            let cause = os_error(&error);
            self.log().write(Level::Alert, None, format_args!("dup2(STDERR) failed{cause}"));
        }
    }

    pub(super) fn answer(&mut self, result: Result<(), String>) {
        let outcome = match result {
            Ok(()) => outcome(true, &self.current.report),
            Err(why) if why.is_empty() => outcome(false, &std::mem::take(&mut self.rejected)),
            Err(why) => {
                let text = format!("the new configuration is not used: {why}");
                self.log().write(Level::Error, None, format_args!("{text}"));
                failed(&text)
            }
        };
        tell(&mut self.waiting, &outcome);
        self.last_reload = Some((Instant::now(), outcome));
        self.supervise_reloaded();
    }

    pub(super) fn refuse(&mut self, why: &str) {
        let outcome = failed(why);
        tell(&mut self.waiting, &outcome);
        tell(&mut self.next, &outcome);
    }

    /// Opens every log file again and hands the new descriptors to the workers, who need not own the
    /// files for that: unlike nginx's they stay with the master's user.
    pub(super) fn reopen_logs(&mut self) {
        let log = self.log().clone();
        for (path, error) in self.files.reopen(None, &log) {
            let (path, cause) = (path.display(), os_error(&error));
            log.write(Level::Emerg, None, format_args!("open() \"{path}\" failed{cause}"));
        }
        self.redirect_stderr();
        let (mut paths, mut fds) = (Vec::new(), Vec::new());
        for (path, file) in self.files.iter() {
            match file.duplicate() {
                Ok(fd) => {
                    paths.push(path.to_owned());
                    fds.push(Rc::new(fd));
                }
                Err(error) => {
                    let cause = os_error(&error);
                    log.write(Level::Alert, None, format_args!("dup() failed{cause}"));
                }
            }
        }
        for child in self.children.values() {
            child.send(ToWorker::Reopen { logs: paths.clone() }, fds.clone());
        }
        self.reopen_others();
    }
}

/// Writes what was found in a configuration into the log.
pub(super) fn write_lines(report: &Report, log: &ErrorLog) {
    for Line { fatal, text } in &report.lines {
        let level = if *fatal { Level::Emerg } else { Level::Warn };
        log.write(level, None, format_args!("{text}"));
    }
}

fn outcome(done: bool, report: &Report) -> ReloadOutcome {
    let line = |line: &Line| {
        let level = if line.fatal { Level::Emerg } else { Level::Warn };
        format!("[{level}] {}", line.text)
    };
    let logs = report.lines.iter().map(line).collect();
    ReloadOutcome { done, logs, report: report.text.clone() }
}

pub(super) fn failed(text: &str) -> ReloadOutcome {
    let report = format!("proxyd: [error] {text}\n");
    ReloadOutcome { done: false, logs: vec![format!("[error] {text}")], report }
}

fn tell(waiting: &mut Vec<oneshot::Sender<ReloadOutcome>>, outcome: &ReloadOutcome) {
    for reply in waiting.drain(..) {
        // Who does not wait any more is not told.
        let _ = reply.send(outcome.clone());
    }
}
