//! The process of a new master: started with the listening sockets and one socket to speak over, its
//! standard error listened to until it serves.
//!
//! Must not decide what becomes of it.

use std::cell::RefCell;
use std::ffi::{CString, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc::UnboundedSender;

use super::pidfile::Kept;
use super::spawn::News;
use super::wire::Wire;
use crate::config::handover::ROLE_VARIABLE;
use crate::handover::{self, FromSuccessor, Ready, ToSuccessor};
use crate::net::inherit;
use crate::sys::channel::{Channel, pair};
use crate::sys::exec::{self, Program};
use crate::sys::process::Pid;

/// What a service manager says about sockets is about this process, not about its successor.
const OURS_ALONE: [&str; 6] = [
    inherit::VARIABLE,
    handover::VARIABLE,
    ROLE_VARIABLE,
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// A new master, from its start until it is the server or gone.
pub(super) struct Successor {
    pub pid: Pid,
    /// None to a program that knows nothing of handing over.
    pub wire: Option<Wire<ToSuccessor, FromSuccessor>>,
    pub version: String,
    pub ready: Ready,
    pub begun: Instant,
    /// How many of its workers were ready when it last said so, and of how many.
    pub building: (usize, usize),
    /// The last line on its standard error.
    pub last_words: Rc<RefCell<String>>,
    /// The other end of its standard error, to be read once more when it has ended.
    errors: OwnedFd,
    /// Our own pid file, while the new one's is in its place.
    pub kept: Option<Kept>,
}

/// What is started.
pub(super) struct Start<'a> {
    pub program: &'a Program,
    /// The words it is started with, its name first.
    pub words: &'a [OsString],
    pub sockets: Vec<Rc<OwnedFd>>,
    pub foreign: bool,
}

impl Successor {
    /// Starts the process. Its words go to `news`.
    pub(super) fn start(start: &Start<'_>, news: &UnboundedSender<News>) -> io::Result<Successor> {
        let (near, far) = pair()?;
        let (errors, stderr) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Only our end must not block: the new master is not to lose what it says.
        crate::sys::fds::set_nonblocking(stderr.as_fd(), false)?;
        let first = if start.foreign { handover::FD } else { handover::FD + 1 };
        let numbers = first..;
        let mut inherit: Vec<(BorrowedFd<'_>, RawFd)> =
            start.sockets.iter().map(|socket| socket.as_fd()).zip(numbers).collect();
        let named = inherit::encode(inherit.iter().map(|(_, number)| *number));
        if !start.foreign {
            inherit.push((far.as_fd(), handover::FD));
            inherit.push((stderr.as_fd(), 2));
        }
        let words = c_strings(start.words.iter().cloned())?;
        let pid =
            exec::spawn(start.program, &words, &environment(&named, start.foreign)?, &inherit)?;
        let last_words = Rc::new(RefCell::new(String::new()));
        let rest = errors.try_clone()?;
        let wire = if start.foreign {
            None
        } else {
            tokio::task::spawn_local(listen(
                pipe::Receiver::from_owned_fd(errors)?,
                Rc::clone(&last_words),
            ));
            let news = news.clone();
            let channel = Channel::new(near)?.into_async()?;
            Some(Wire::open(channel, move |heard| {
                // The loop is gone only when the process is about to be.
                let _ = news.send(News::Successor(pid, heard.map(|(word, _)| word)));
            }))
        };
        Ok(Successor {
            pid,
            wire,
            version: String::new(),
            ready: Ready::default(),
            begun: Instant::now(),
            building: (0, 0),
            last_words,
            errors: rest,
            kept: None,
        })
    }

    /// Reads what it wrote before it ended and nobody has read yet.
    pub(super) fn hear_the_rest(&self) {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = nix::unistd::read(&self.errors, &mut buffer) {
            pass_on(&buffer[..read], &self.last_words);
        }
    }

    pub(super) fn send(&self, message: &ToSuccessor, fds: &[BorrowedFd<'_>]) {
        if let Some(wire) = &self.wire {
            wire.send(message, fds);
        }
    }
}

fn c_strings(words: impl Iterator<Item = OsString>) -> io::Result<Vec<CString>> {
    words.map(|word| Ok(CString::new(word.into_vec())?)).collect()
}

/// Our own environment, as it was when we were started, and what the new master is to inherit.
fn environment(sockets: &str, foreign: bool) -> io::Result<Vec<CString>> {
    let ours = std::env::vars_os().filter(|(name, _)| !OURS_ALONE.iter().any(|ours| name == ours));
    let mut words: Vec<OsString> = ours
        .map(|(mut word, value)| {
            word.push("=");
            word.push(value);
            word
        })
        .collect();
    words.push(format!("{}={sockets}", inherit::VARIABLE).into());
    if !foreign {
        words.push(format!("{}={}", handover::VARIABLE, handover::FD).into());
    }
    c_strings(words.into_iter())
}

/// Passes on what the new master writes to its standard error, and remembers the last line of it.
async fn listen(mut errors: pipe::Receiver, last_words: Rc<RefCell<String>>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = errors.read(&mut buffer).await {
        pass_on(&buffer[..read], &last_words);
    }
}

fn pass_on(heard: &[u8], last_words: &RefCell<String>) {
    let _ = io::stderr().write_all(heard);
    let text = String::from_utf8_lossy(heard);
    if let Some(line) = text.lines().rfind(|line| !line.trim().is_empty()) {
        line.trim().clone_into(&mut last_words.borrow_mut());
    }
}
