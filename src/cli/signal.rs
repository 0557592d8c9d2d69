//! `-s`: finds the running master and has it do something: by a signal, or over the control API where
//! the outcome is to be known.

use std::path::Path;
use std::process::ExitCode;

use super::arguments::{Arguments, Request};
use super::contact::Contact;
use super::screen::Screen;
use super::{Home, ctl, load, status, tell, upgrade};
use crate::conf::Disk;
use crate::config::Options;
use crate::control::client;
use crate::control::maintenance::{Change, Wish};
use crate::log::{ErrorLog, Level, os_error};
use crate::sys::process::{Pid, Signal, kill};

/// Sends the request; the exit code says whether it was obeyed, as far as one can know.
pub fn send(
    request: Request,
    arguments: &Arguments,
    options: &Options,
    home: Home,
    log: &ErrorLog,
) -> ExitCode {
    log.write(Level::Notice, None, format_args!("signal process started"));
    let Some(contact) = Contact::find(options, log) else { return ExitCode::FAILURE };
    let signal = match request {
        Request::Stop => Some(Signal::SIGTERM),
        Request::Quit => Some(Signal::SIGQUIT),
        Request::Reopen => Some(Signal::SIGUSR1),
        Request::Reload => None,
        Request::Upgrade | Request::Rollback | Request::Status => {
            let (mut out, mut errors) = (std::io::stdout(), std::io::stderr());
            let json = arguments.terms.json;
            let mut screen = Screen { json, out: &mut out, errors: &mut errors };
            return talk(request, &contact, arguments, home, log, &mut screen).into();
        }
        Request::MaintenanceOn => return switch(Wish::Closed, &contact, arguments, log),
        Request::MaintenanceOff => return switch(Wish::Open, &contact, arguments, log),
    };
    let Some(pid) = contact.process(log) else { return ExitCode::FAILURE };
    match signal {
        Some(signal) => code(kill_or_tell(pid, signal, log)),
        None => reload(&contact.control, pid, options, log),
    }
}

fn code(success: bool) -> ExitCode {
    if success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

/// The switch that every server has. Not by a signal, which a server of another kind would die of.
fn switch(wish: Wish, contact: &Contact, arguments: &Arguments, log: &ErrorLog) -> ExitCode {
    let (mut out, mut errors) = (std::io::stdout(), std::io::stderr());
    let json = arguments.terms.json;
    let mut screen = Screen { json, out: &mut out, errors: &mut errors };
    let change = Change { state: Some(wish), ..Change::default() };
    let told = ctl::maintenance::change(contact, None, &change, &mut screen);
    ctl::finish(contact, log, told).into()
}

/// What goes over the control API alone; the answer is the exit code.
pub fn talk(
    request: Request,
    contact: &Contact,
    arguments: &Arguments,
    home: Home,
    log: &ErrorLog,
    screen: &mut Screen<'_>,
) -> u8 {
    let conversation = async {
        match request {
            Request::Upgrade => upgrade::upgrade(contact, arguments, home, log, screen).await,
            Request::Rollback => upgrade::rollback(contact, &arguments.terms, screen).await,
            _ => status::show(contact, screen).await.map(|()| 0),
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(conversation),
        Err(error) => Err(format!("epoll_create1() failed{}", os_error(&error))),
    };
    outcome.unwrap_or_else(|text| {
        log.write(Level::Error, None, format_args!("{text}"));
        1
    })
}
