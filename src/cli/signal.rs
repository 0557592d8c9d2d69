//! `-s`: finds the running master by its pid file and tells it what to do. A reload is asked for over
//! the control API, because only so is the outcome known.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::arguments::Request;
use super::{load, tell};
use crate::conf::Disk;
use crate::config::{self, Options};
use crate::control::client;
use crate::log::{ErrorLog, Level, os_error};
use crate::master::pidfile;
use crate::sys::process::{Pid, Signal, kill};

/// Sends the request; the exit code says whether it was obeyed, as far as one can know.
pub fn send(request: Request, options: &Options, log: &ErrorLog) -> ExitCode {
    log.write(Level::Notice, None, format_args!("signal process started"));
    let Some((pid_file, control)) = places(options, log) else { return ExitCode::FAILURE };
    let Some(pid) = running(&pid_file, log) else { return ExitCode::FAILURE };
    let signal = match request {
        Request::Stop => Signal::SIGTERM,
        Request::Quit => Signal::SIGQUIT,
        Request::Reopen => Signal::SIGUSR1,
        Request::Reload => return reload(&control, pid, options, log),
    };
    code(kill_or_tell(pid, signal, log))
}

fn code(success: bool) -> ExitCode {
    if success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where the pid file and the control socket are. What else is wrong with the configuration is no
/// reason not to stop the server.
fn places(options: &Options, log: &ErrorLog) -> Option<(PathBuf, PathBuf)> {
    match config::places(&mut Disk, options) {
        Ok(places) => Some(places),
        Err(report) => {
            tell(&report, log);
            None
        }
    }
}

/// The process the pid file names.
fn running(path: &Path, log: &ErrorLog) -> Option<Pid> {
    let error = |text: &dyn Display| log.write(Level::Error, None, format_args!("{text}"));
    let shown = path.display();
    match pidfile::read(path) {
        Ok(Ok(pid)) => i32::try_from(pid).ok().map(Pid::from_raw),
        Ok(Err(text)) => {
            error(&format_args!("invalid PID number \"{text}\" in \"{shown}\""));
            None
        }
        Err(cause) => {
            error(&format_args!("open() \"{shown}\" failed{}", os_error(&cause)));
            None
        }
    }
}

fn kill_or_tell(pid: Pid, signal: Signal, log: &ErrorLog) -> bool {
    let result = kill(pid, signal);
    if let Err(error) = &result {
        let (number, cause) = (signal as i32, os_error(error));
        log.write(Level::Alert, None, format_args!("kill({pid}, {number}) failed{cause}"));
    }
    result.is_ok()
}

fn reload(control: &Path, pid: Pid, options: &Options, log: &ErrorLog) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = runtime.and_then(|runtime| runtime.block_on(client::reload(control)));
    match answer {
        Ok(reloaded) => {
            eprint!("{}", reloaded.text);
            code(reloaded.done)
        }
        // No control socket: an older server, or nginx itself. It will not tell what it thinks of
        // the configuration, so it is judged here first.
        Err(_) => match load(&mut Disk, options) {
            Ok(_) => code(kill_or_tell(pid, Signal::SIGHUP, log)),
            Err(report) => {
                tell(&report, log);
                ExitCode::FAILURE
            }
        },
    }
}
