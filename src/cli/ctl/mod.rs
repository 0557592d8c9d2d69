//! `proxyd ctl`: what a running server can be asked and told over the control API, a verb a file.
//!
//! Must not touch the server but over that API, nor decide what a wish comes to.

mod arguments;
mod barrier;
mod inflight;
pub(super) mod maintenance;
mod tokens;

use std::ffi::OsString;
use std::process::ExitCode;

use super::arguments::Request;
use super::contact::Contact;
use super::screen::Screen;
use super::{Home, built_in_log, dispatch, options};
use crate::control::client::Failed;
use crate::log::{ErrorLog, Level, os_error};
use arguments::{Command, Control};

/// Done, or proven.
pub(super) const DONE: u8 = 0;
/// Nothing was done.
pub(super) const FAILED: u8 = 1;
/// As things are it cannot be done.
const REFUSED: u8 = 2;
/// Something is still under way.
const TIMED_OUT: u8 = 3;
/// Done, and of something nobody knows what became of it.
const UNKNOWN: u8 = 5;

/// What stands beside `ctl`, if that is the first word that is no option.
pub(super) fn words(words: &[OsString]) -> Option<Vec<OsString>> {
    let mut rest = words.get(1..)?.to_vec();
    let at = arguments::first(&rest).filter(|at| rest[*at] == "ctl")?;
    rest.remove(at);
    Some(rest)
}

/// Runs such a command; `words` are all there are.
pub(super) fn run(rest: Vec<OsString>, words: &[OsString]) -> ExitCode {
    let home = Home::of(words.first());
    let control = match Control::parse(rest) {
        Ok(control) => control,
        Err(wrong) => {
            eprintln!("proxyd: {wrong}");
            return FAILED.into();
        }
    };
    match &control.command {
        Command::Help => {
            eprint!("{}", arguments::HELP);
            ExitCode::SUCCESS
        }
        // Whatever is asked for by -s as well is the same thing.
        Command::Plain => dispatch(&control.base, words),
        _ => {
            let options = options(&control.base, home);
            let log = built_in_log(&options);
            let contact = Contact::named(&options).or_else(|| Contact::find(&options, &log));
            let Some(contact) = contact else { return FAILED.into() };
            let (mut out, mut errors) = (std::io::stdout(), std::io::stderr());
            let mut screen = Screen { json: control.json, out: &mut out, errors: &mut errors };
            talk(&control, &contact, &log, &mut screen).into()
        }
    }
}

/// Asks and shows; the answer is the exit code.
fn talk(control: &Control, contact: &Contact, log: &ErrorLog, screen: &mut Screen<'_>) -> u8 {
    finish(contact, log, async {
        let name = control.name.as_deref();
        match &control.command {
            Command::Close(terms, proof) => {
                maintenance::close(contact, name, terms, proof.as_ref(), screen).await
            }
            Command::Open(terms) => maintenance::change(contact, name, terms, screen).await,
            Command::Token(order) => tokens::make(contact, name, order, screen).await,
            Command::Revoke(order) => tokens::revoke(contact, name, order, screen).await,
            Command::Switches => maintenance::show(contact, name, screen).await,
            Command::Inflight => inflight::show(contact, name, screen).await,
            Command::Barrier(terms) => barrier::wait(contact, name, terms, screen).await,
            Command::Help | Command::Plain => Ok(DONE),
        }
    })
}

/// Runs a conversation to its end and says why it came to nothing, if it did.
pub(super) fn finish(
    contact: &Contact,
    log: &ErrorLog,
    conversation: impl Future<Output = Result<u8, Failed>>,
) -> u8 {
    let say = |text: &str| log.write(Level::Error, None, format_args!("{text}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(conversation),
        Err(error) => {
            say(&format!("epoll_create1() failed{}", os_error(&error)));
            return FAILED;
        }
    };
    outcome.unwrap_or_else(|failed| {
        say(&contact.why(&failed, Request::Status));
        if matches!(failed, Failed::State(_)) { REFUSED } else { FAILED }
    })
}

/// What a switch without a name is.
const DEFAULT: &str = "default";

#[cfg(test)]
mod tests;
