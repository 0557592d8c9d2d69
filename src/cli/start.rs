//! Starting the server: everything that can fail happens before anything is visible, then the
//! process goes into the background if it is to, and becomes the master.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;

use super::{built_in_log, tell};
use crate::config::{Options, Process, Report};
use crate::handover::{Attached, take};
use crate::log::{ErrorLog, Files, Level, os_error, trace};
use crate::master::generation::{Base, Generation};
use crate::master::inheritance::{Elder, Inheritance};
use crate::master::spawn::Launch;
use crate::master::{self, Setup, pidfile, switches};
use crate::sys::exec::Program;
use crate::sys::process::{detach_stdio, fork_parent_waits, get_nofile, set_title};
use crate::{control, signals, version, worker};

/// Runs the server; returns when it has stopped.
pub fn start(options: Options, words: &[OsString]) -> ExitCode {
    let log = built_in_log(&options);
    let mut inheritance = match Inheritance::take() {
        Ok(inheritance) => inheritance,
        Err(text) => {
            log.write(Level::Emerg, None, format_args!("{text}"));
            return ExitCode::FAILURE;
        }
    };
    match prepare(options, words, &mut inheritance, &log).and_then(run) {
        Ok(code) => ExitCode::from(code),
        Err(report) => {
            tell(&report, &log);
            if let Some(elder) = inheritance.as_mut().and_then(|found| found.elder.as_mut()) {
                elder.fail(&first_line(&report));
            }
            ExitCode::FAILURE
        }
    }
}

/// What the old master is told, which has a line for it.
fn first_line(report: &Report) -> String {
    let line = report.lines.iter().find(|line| line.fatal).or(report.lines.first());
    line.map(|line| line.text.clone()).unwrap_or_default()
}

fn prepare(
    options: Options,
    words: &[OsString],
    inheritance: &mut Option<Inheritance>,
    log: &ErrorLog,
) -> Result<Setup, Report> {
    // Held from here on, so that workers are what this process is, whatever happens to the file.
    let program = Program::current().map_err(|error| failed("open() /proc/self/exe", &error))?;
    let mut files = Files::new();
    let inherits = inheritance.as_ref().is_some_and(Inheritance::is_real);
    let (mut generation, options, is_rollback) = build(options, inheritance, &mut files, log)?;
    for (level, note) in inheritance.iter().flat_map(|found| &found.notes) {
        generation.error_log.write(*level, None, format_args!("{note}"));
    }
    if !inherits {
        // A variable of that name that means something else to somebody else.
        *inheritance = None;
    }
    tell(&generation.report, log);
    generation.tune(&generation.error_log);
    generation.check_limits(&generation.error_log);
    let elder = inheritance.as_ref().and_then(|found| found.elder.as_ref());
    let heir = elder.is_some();
    let (settings, alone) = (&generation.process, !generation.process.master_process);
    let daemon = match (&inheritance, elder) {
        (_, Some(elder)) => !elder.hello.foreground,
        (Some(_), None) => true,
        (None, None) => settings.daemon,
    };
    let forks = daemon && inheritance.is_none();
    let launch = if alone { Launch::Here(worker::here) } else { Launch::Exec(program) };
    let state = check_state(&generation, inheritance.as_ref());
    let control = match state {
        Ok(()) if !heir => bind_control(settings, &generation.error_log),
        checked => checked.map(|()| None),
    };
    let begun =
        control.and_then(|control| begin(&generation, forks, heir, words).map(|()| control));
    let words = named(words);
    match begun {
        Ok(control) => Ok(Setup {
            options,
            generation,
            files,
            launch,
            control,
            daemon,
            words,
            inheritance: inheritance.take(),
            is_rollback,
        }),
        Err(report) => {
            if inheritance.is_some() {
                generation.leave_listeners(log);
            }
            generation.close_listeners(log);
            Err(report)
        }
    }
}

/// The generation this process begins with, the options it was read with, and whether it was held
/// by the old master rather than read.
fn build(
    options: Options,
    inheritance: &mut Option<Inheritance>,
    files: &mut Files,
    log: &ErrorLog,
) -> Result<(Generation, Options, bool), Report> {
    let Some(Inheritance { sockets, elder, .. }) = inheritance else {
        let generation = Generation::build(1, &options, files, Base::Nothing, log)?;
        return Ok((generation, options, false));
    };
    let zones = elder.as_mut().map(Elder::zones).unwrap_or_default();
    let base = Base::Inherited { sockets, zones: &zones, patient: elder.is_none() };
    let number = elder.as_ref().map_or(1, |elder| elder.hello.generation + 1);
    let held = elder.as_mut().and_then(|elder| take(&mut elder.fds, Attached::Configuration));
    let built = match held {
        Some(config) => {
            let (generation, options) = Generation::build_from(number, config, files, base, log)?;
            (generation, options, true)
        }
        None => (Generation::build(number, &options, files, base, log)?, options, false),
    };
    // What is not wanted is not held: nobody would accept from it.
    sockets.clear();
    Ok(built)
}

/// The words of the command line with the program by its full name: the search through `PATH`, and
/// the current directory, belong to whoever gave the command. A last link is kept as it is, because
/// it may lead to another version later.
fn named(words: &[OsString]) -> Vec<OsString> {
    let mut words = words.to_vec();
    if let Some(first) = words.first_mut() {
        let path = Path::new(&*first);
        let found = if path.components().count() > 1 || first.as_bytes().contains(&b'/') {
            std::path::absolute(path).ok()
        } else {
            let directories = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&directories)
                .map(|dir| dir.join(path))
                .find(|path| path.is_file())
        };
        if let Some(found) = found.and_then(|found| std::path::absolute(found).ok()) {
            *first = found.into_os_string();
        }
    }
    words
}

/// A server that does not know what is closed must not open its doors.
fn check_state(generation: &Generation, inherited: Option<&Inheritance>) -> Result<(), Report> {
    match switches::check(&generation.process.runtime_state, inherited) {
        Ok(None) => Ok(()),
        Ok(Some(odd)) => {
            generation.error_log.write(Level::Warn, None, format_args!("{odd}"));
            Ok(())
        }
        Err(text) => Err(Report::sentence(text)),
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
fn begin(
    generation: &Generation,
    forks: bool,
    heir: bool,
    words: &[OsString],
) -> Result<(), Report> {
    say_who_we_are(&generation.error_log);
    let launched = if forks {
        let launch = fork_parent_waits().map_err(|error| failed("fork()", &error))?;
        detach_stdio().map_err(|error| failed("open() \"/dev/null\"", &error))?;
        Some(launch)
    } else {
        None
    };
    signals::block().map_err(|error| failed("sigprocmask()", &error))?;
    let path = &generation.process.pid;
    // One that takes over writes it when it is told to accept.
    if !heir {
        pidfile::write(path, std::process::id()).map_err(|error| {
            let _ = std::fs::remove_file(&generation.process.control);
            failed(&format!("open() \"{}\"", path.display()), &error)
        })?;
        pidfile::bury(&pidfile::oldbin(path));
    }
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

fn run(setup: Setup) -> Result<u8, Report> {
    trace::send_to(setup.generation.error_log.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("epoll_create1()", &error))?;
    let result = tokio::task::LocalSet::new().block_on(&runtime, master::run(setup));
    runtime.shutdown_background();
    result.map_err(|error| failed("event loop", &error))
}

fn failed(what: &str, error: &std::io::Error) -> Report {
    Report::sentence(format!("{what} failed{}", os_error(error)))
}
