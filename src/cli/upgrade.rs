//! `-s upgrade` and `-s rollback`: the running master is asked to hand over to this executable, or back
//! to the one before, and what it says about it is shown.
//!
//! This program is the new version, so it can judge the configuration for itself before the server is
//! disturbed. Must not do anything to the server but ask.

use std::path::PathBuf;

use super::arguments::{Arguments, Request, Terms};
use super::contact::Contact;
use super::screen::Screen;
use super::successor::{Successor, successor};
use super::{Home, load, tell};
use crate::conf::Disk;
use crate::config::Options;
use crate::control::client::{self, Change, Lines};
use crate::control::upgrade::{self as order, Progress, Status};
use crate::log::{ErrorLog, os_error};
use crate::version;

/// The requested version serves.
const DONE: u8 = 0;
/// Nothing was changed.
const UNCHANGED: u8 = 1;

/// Asks and follows. The answer is the exit code; an error is what to say with exit code 1.
pub async fn upgrade(
    contact: &Contact,
    arguments: &Arguments,
    home: Home,
    log: &ErrorLog,
    screen: &mut Screen<'_>,
) -> Result<u8, String> {
    let status = client::status(&contact.control).await;
    let status = status.map_err(|failed| contact.why(&failed, Request::Upgrade))?;
    let executable = executable(std::env::current_exe())?;
    let Successor { options, words } = successor(arguments, &status, home)?;
    if !judge(&options, &status, log, screen) {
        return Ok(UNCHANGED);
    }
    let order = order::Request {
        executable: Some(executable),
        arguments: words,
        canary: arguments.terms.canary,
        ..wishes(&arguments.terms)
    };
    send(contact, Change::Upgrade, &order, &arguments.terms, screen).await
}

/// The way back. What it goes to has served before, so there is nothing to judge.
pub async fn rollback(
    contact: &Contact,
    terms: &Terms,
    screen: &mut Screen<'_>,
) -> Result<u8, String> {
    send(contact, Change::Rollback, &wishes(terms), terms, screen).await
}

/// What can be wished of both.
fn wishes(terms: &Terms) -> order::Request {
    let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).ok();
    order::Request {
        dry_run: terms.dry_run,
        wait: terms.wait,
        watch: terms.watch.and_then(milliseconds),
        ..order::Request::default()
    }
}

/// The file of this program, by a name under which others find it as well.
fn executable(found: std::io::Result<PathBuf>) -> Result<PathBuf, String> {
    let read = |error| format!("readlink() \"/proc/self/exe\" failed{}", os_error(&error));
    let path = found.map_err(read)?;
    match path.to_str() {
        None => Err(format!("the name of this executable is not UTF-8: \"{}\"", path.display())),
        // The kernel's mark.
        Some(name) if name.ends_with(" (deleted)") => {
            Err(format!("the file of this executable is gone: \"{name}\""))
        }
        Some(_) => Ok(path),
    }
}

/// Whether this version can use the configuration; says so as `-t` does.
fn judge(options: &Options, status: &Status, log: &ErrorLog, screen: &mut Screen<'_>) -> bool {
    match load(&mut Disk, options) {
        Ok(loaded) => {
            tell(&loaded.report, log);
            let (old, new) = (&status.version, version::PROXYD);
            let text = format!("upgrade {old} -> {new}: configuration ok");
            screen.show(&Progress { state: "prepared".to_owned(), text, code: None });
            true
        }
        Err(report) => {
            tell(&report, log);
            let file = options.conf_file.display();
            eprintln!("proxyd: configuration file {file} test failed");
            false
        }
    }
}

async fn send(
    contact: &Contact,
    change: Change,
    order: &order::Request,
    terms: &Terms,
    screen: &mut Screen<'_>,
) -> Result<u8, String> {
    let request = match change {
        Change::Upgrade => Request::Upgrade,
        Change::Rollback => Request::Rollback,
    };
    let lines = client::order(&contact.control, change, order).await;
    let lines = lines.map_err(|failed| contact.why(&failed, request))?;
    follow(lines, terms, screen).await
}

/// Shows the steps until it is known how it went, or as long as was wished.
async fn follow(mut lines: Lines, terms: &Terms, screen: &mut Screen<'_>) -> Result<u8, String> {
    let mut decided = None;
    while let Some(progress) = lines.next().await {
        screen.show(&progress);
        decided = progress.code.or(decided);
        let begun = progress.state != "prepared";
        match decided {
            Some(code) if !terms.wait => return Ok(code),
            None if terms.detach && begun => return Ok(DONE),
            _ => {}
        }
    }
    decided.ok_or_else(|| "master went away".to_owned())
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
