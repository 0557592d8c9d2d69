//! What a new master starts with: sockets, and a predecessor that says `Hello` or, as nginx, nothing.
//!
//! Must not start, bind or decide anything.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;

use crate::handover::{self, Attached, FromSuccessor, Hello, ToSuccessor};
use crate::log::{Level, os_error};
use crate::net::inherit::Severity;
use crate::net::{Address, inherit};
use crate::sys::channel::{Channel, Received};
use crate::sys::fds::take_fd;
use crate::sys::process::Pid;
use crate::version;
use crate::zone::Counters;

/// A predecessor that waits for an answer.
pub struct Elder {
    pub channel: Channel<FromSuccessor, ToSuccessor>,
    pub hello: Hello,
    /// What came with `Hello`.
    pub fds: Vec<(Attached, OwnedFd)>,
}

impl Elder {
    /// Tells it that nothing will come of this.
    pub fn fail(&mut self, text: &str) {
        // If it is gone there is nobody to be told.
        let _ = self.channel.send(&FromSuccessor::Failed { text: text.to_owned() }, &[]);
    }

    /// Takes the zones of keyed records out of what came. They go by the slots of the counters: where
    /// these begin anew, so do they.
    pub fn zones(&mut self) -> Vec<OwnedFd> {
        let counters = self.fds.iter().find(|(kind, _)| *kind == Attached::Counters);
        let shared = counters.is_some_and(|(_, fd)| Counters::attach(fd.as_fd()).is_ok());
        let all = std::iter::from_fn(|| handover::take(&mut self.fds, Attached::Zone)).collect();
        if shared { all } else { Vec::new() }
    }
}

/// What was left to this process.
pub struct Inheritance {
    pub sockets: Vec<(Address, Rc<OwnedFd>)>,
    /// The master that this one was started by and is to replace.
    pub parent: Pid,
    /// It speaks; nginx does not.
    pub elder: Option<Elder>,
    /// What is to be said about all this in the error log, once that is open.
    pub notes: Vec<(Level, String)>,
}

impl Inheritance {
    /// Takes what the environment names; nothing if this process was started like any other. An error
    /// means that the predecessor cannot be understood.
    pub fn take() -> Result<Option<Inheritance>, String> {
        let (sockets, channel) = (variable(inherit::VARIABLE), variable(handover::VARIABLE));
        if sockets.is_none() && channel.is_none() {
            return Ok(None);
        }
        let elder = channel.as_deref().map(meet).transpose()?;
        let mut notes = Vec::new();
        let sockets = sockets.map(|value| adopt(&value, &mut notes)).unwrap_or_default();
        Ok(Some(Inheritance { sockets, parent: Pid::parent(), elder, notes }))
    }
}

impl Inheritance {
    /// Whether there is anything in it.
    pub fn is_real(&self) -> bool {
        self.elder.is_some() || !self.sockets.is_empty()
    }
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn adopt(value: &OsStr, notes: &mut Vec<(Level, String)>) -> Vec<(Address, Rc<OwnedFd>)> {
    let text = value.to_string_lossy();
    notes.push((Level::Notice, format!("using inherited sockets from \"{text}\"")));
    let inherited = inherit::take(value);
    for (severity, complaint) in inherited.complaints {
        let level = match severity {
            Severity::Emerg => Level::Emerg,
            Severity::Crit => Level::Crit,
        };
        notes.push((level, complaint));
    }
    inherited.sockets.into_iter().map(|(address, fd)| (address, Rc::new(fd))).collect()
}

/// Hears the predecessor out and makes sure that it can be understood.
fn meet(number: &OsStr) -> Result<Elder, String> {
    let wrong =
        |error: io::Error| format!("handover: no word from the old master{}", os_error(&error));
    let number: Option<RawFd> = number.to_str().and_then(|text| text.parse().ok());
    let number = number.ok_or("handover: the number of its socket is no number")?;
    let mut channel = take_fd(number).and_then(Channel::new).map_err(wrong)?;
    match channel.receive().map_err(wrong)? {
        Received::Message(ToSuccessor::Hello(hello), fds) => {
            let fds = handover::sort(&hello.fds, fds);
            let mut elder = Elder { channel, hello: *hello, fds };
            if let Err(text) = handover::agree(&elder.hello, version::PROXYD) {
                elder.fail(&text);
                return Err(text);
            }
            Ok(elder)
        }
        _ => Err("handover: the old master is gone".to_owned()),
    }
}
