//! Starting the server: everything that can fail happens before anything is visible, then the
//! process goes into the background if it is to, and becomes the master.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use super::{built_in_log, tell};
use crate::config::{Line, Options, Process, Report};
use crate::log::{ErrorLog, Files, Level, os_error, trace};
use crate::master::generation::Generation;
use crate::master::spawn::Launch;
use crate::master::{self, Setup, pidfile};
use crate::sys::exec::Program;
use crate::sys::process::{detach_stdio, fork_parent_waits, get_nofile, set_title};
use crate::{control, signals, version, worker};

/// Runs the server; returns when it has stopped.
pub fn start(options: Options, words: &[OsString]) -> ExitCode {
    let log = built_in_log(&options);
    match prepare(options, words, &log).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            tell(&report, &log);
            ExitCode::FAILURE
        }
    }
}

fn prepare(options: Options, words: &[OsString], log: &ErrorLog) -> Result<Setup, Report> {
    // Held from here on, so that workers are what this process is, whatever happens to the file.
    let program = Program::current().map_err(|error| failed("open() /proc/self/exe", &error))?;
    let mut files = Files::new();
    let mut generation = Generation::build(1, &options, &mut files, None, log)?;
    tell(&generation.report, log);
    generation.tune(&generation.error_log);
    generation.check_limits(&generation.error_log);
    let process = &generation.process;
    let (daemon, alone) = (process.daemon, !process.master_process);
    let launch = if alone { Launch::Here(worker::here) } else { Launch::Exec(program) };
    let begun = bind_control(process, &generation.error_log)
        .and_then(|control| begin(&generation, daemon, words).map(|()| control));
    match begun {
        Ok(control) => Ok(Setup { options, generation, files, launch, control, daemon }),
        Err(report) => {
            generation.close_listeners(log);
            Err(report)
        }
    }
}

/// The server could do without a control socket, unless it shows that the server runs already.
fn bind_control(process: &Process, log: &ErrorLog) -> Result<Option<UnixListener>, Report> {
    match control::bind(&process.control) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => {
            let what = format!("control: bind() to unix:{}", process.control.display());
            if error.kind() == ErrorKind::AddrInUse {
                return Err(failed(&what, &error));
            }
            let cause = os_error(&error);
            log.write(Level::Warn, None, format_args!("{what} failed{cause}, ignored"));
            Ok(None)
        }
    }
}

/// Goes into the background, writes the pid file, and lets whoever started the server know.
/// If that fails the control socket, which nobody would answer, goes as well.
fn begin(generation: &Generation, daemon: bool, words: &[OsString]) -> Result<(), Report> {
    say_who_we_are(&generation.error_log);
    let launched = if daemon {
        let launch = fork_parent_waits().map_err(|error| failed("fork()", &error))?;
        detach_stdio().map_err(|error| failed("open() \"/dev/null\"", &error))?;
        Some(launch)
    } else {
        None
    };
    signals::block().map_err(|error| failed("sigprocmask()", &error))?;
    let path = &generation.process.pid;
    pidfile::write(path, std::process::id()).map_err(|error| {
        let _ = std::fs::remove_file(&generation.process.control);
        failed(&format!("open() \"{}\"", path.display()), &error)
    })?;
    let mut title = String::from("proxyd: master process");
    for word in words {
        title.push(' ');
        title.push_str(&word.to_string_lossy());
    }
    let _ = set_title(&title);
    if let Some(launch) = launched {
        // If nobody waits for the word any more, nobody needs it.
        let _ = launch.report(0);
    }
    Ok(())
}

/// nginx's notices at start.
fn say_who_we_are(log: &ErrorLog) {
    let notice = |text: String| log.write(Level::Notice, None, format_args!("{text}"));
    notice("using the \"epoll\" event method".to_owned());
    notice(version::banner());
    if let Ok(name) = nix::sys::utsname::uname() {
        let (system, release) = (name.sysname(), name.release());
        notice(format!("OS: {} {}", system.to_string_lossy(), release.to_string_lossy()));
    }
    if let Ok((soft, hard)) = get_nofile() {
        notice(format!("getrlimit(RLIMIT_NOFILE): {soft}:{hard}"));
    }
}

fn run(setup: Setup) -> Result<(), Report> {
    trace::send_to(setup.generation.error_log.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("epoll_create1()", &error))?;
    let result = tokio::task::LocalSet::new().block_on(&runtime, master::run(setup));
    runtime.shutdown_background();
    result.map_err(|error| failed("event loop", &error))
}

fn failed(what: &str, error: &std::io::Error) -> Report {
    let text = format!("{what} failed{}", os_error(error));
    Report { text: format!("proxyd: [emerg] {text}\n"), lines: vec![Line { fatal: true, text }] }
}
