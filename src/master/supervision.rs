//! Telling a supervisor how the server is, and standing for it in the foreground: the process that
//! was started stays, whoever serves.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Master;
use super::event::Milestone;
use super::notify::{self, Supervisor};
use super::relay::{FromRelay, Relay, RelayEnd, ToRelay};
use super::spawn::News;
use super::wire::Wire;
use crate::ipc::{self, Channel};
use crate::log::{Level, counted};
use crate::signals::{Signal, Signals};
use crate::sys::process::{self, Pid};
use crate::version;

/// What the first master in the foreground has that no other has.
pub(super) struct Supervision {
    /// Whether whoever started the server knows this process.
    first: bool,
    supervisor: Option<Supervisor>,
    /// Successors speak to this process over it.
    wire: Option<Wire<FromRelay, ToRelay>>,
    /// Whether it was told that the server serves.
    announced: bool,
    /// When it is to be told again that stopping takes its time.
    extend_at: Option<Instant>,
}

/// How often that is, and for how long it holds.
const EXTEND_EVERY: Duration = Duration::from_secs(10);
const EXTEND_BY: Duration = Duration::from_secs(30);

impl Supervision {
    pub(super) fn new(first: bool) -> Supervision {
        let supervisor = if first { Supervisor::from_env() } else { None };
        Supervision { first, supervisor, wire: None, announced: false, extend_at: None }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.extend_at
    }
}

impl Master {
    /// What is under way is finished however long that takes, which the supervisor has to know.
    pub(super) fn extend_stop(&mut self) {
        self.supervision.extend_at = Some(Instant::now() + EXTEND_EVERY);
        self.notify(&notify::extend(EXTEND_BY));
    }

    fn notify(&self, lines: &str) {
        if let Some(supervisor) = &self.supervision.supervisor {
            supervisor.send(lines);
        } else if let Some(relay) = self.relay.as_ref().filter(|_| !self.supervision.first) {
            tell_relay(relay, &ToRelay::Notify { lines: lines.to_owned() });
        }
    }

    fn serving_words(&self) -> String {
        let workers = self.state.workers().filter(|(_, leaving)| !leaving).count();
        let workers = counted(workers as u64, "worker");
        format!("{}: generation {}, {workers}", version::PROXYD, self.current.number)
    }

    /// The server serves, for the first time.
    pub(super) fn supervise_start(&mut self) {
        if !self.supervision.announced && !self.state.is_heir() {
            self.supervision.announced = true;
            self.notify(&notify::ready(&self.serving_words()));
        }
    }

    /// Not one that is not the server yet, or not any more: what it is told concerns itself.
    fn speaks_for_the_server(&self) -> bool {
        self.state.is_serving() && !self.state.is_heir()
    }

    pub(super) fn supervise_signal(&mut self, signal: Signal) {
        match signal {
            Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT if self.speaks_for_the_server() => {
                self.notify(&notify::stopping());
                self.extend_stop();
            }
            Signal::SIGHUP if self.speaks_for_the_server() => {
                self.notify(&notify::reloading("reconfiguring"));
            }
            _ => {}
        }
    }

    /// A reload has come to its end, good or bad.
    pub(super) fn supervise_reloaded(&self) {
        self.notify(&notify::ready(&self.serving_words()));
    }

    pub(super) fn supervise_upgrade(&self, milestone: &Milestone, text: &str) {
        match milestone {
            Milestone::Started => self.notify(&notify::reloading(text)),
            Milestone::Ready | Milestone::Overlap => self.notify(&notify::status(text)),
            Milestone::Done => {}
            _ => self.notify(&notify::ready(text)),
        }
    }

    /// Makes the socket over which successors speak to this process, where it has to stay.
    pub(super) fn open_relay(&mut self) -> io::Result<()> {
        if !self.supervision.first || self.relay.is_some() {
            return Ok(());
        }
        // Those that are started by a successor become children of this process when it goes.
        process::adopt_orphans()?;
        let (near, far) = ipc::pair()?;
        let news = self.news.clone();
        let channel: RelayEnd = Channel::new(near)?.into_async()?;
        self.supervision.wire = Some(Wire::open(channel, move |heard| {
            if let Some((word, _)) = heard {
                let _ = news.send(News::Relay(word));
            }
        }));
        self.relay = Some(Rc::new(far));
        Ok(())
    }

    /// The successor has ended, and this master may be what is left of the server: the process in the
    /// foreground, which cannot see that, goes by this one.
    pub(super) fn stand_in(&self) {
        if let Some(relay) = self.relay.as_ref().filter(|_| !self.supervision.first)
            && self.state.has_handed_over()
        {
            tell_relay(relay, &ToRelay::Current { pid: Pid::this().as_raw() });
        }
    }

    pub(super) fn hear_for_relay(&mut self, word: ToRelay) {
        match word {
            ToRelay::Notify { lines } => self.notify(&lines),
            // The successor of our successor: it is the one to watch now.
            ToRelay::Current { pid } => {
                if let Some(successor) = &mut self.upgrading.successor {
                    successor.pid = Pid::from_raw(pid);
                }
            }
        }
    }

    /// What this process becomes, or its exit code if it has nothing left to be.
    pub(super) fn into_relay(mut self, signals: Signals) -> Result<Relay, u8> {
        let current = self.upgrading.successor.as_ref().map(|successor| successor.pid);
        let Some(current) =
            current.filter(|_| self.supervision.first && self.state.has_handed_over())
        else {
            return Err(self.code);
        };
        // Our own copy of their end has to go, or theirs would never be the last.
        self.relay = None;
        let fd = self.supervision.wire.take().and_then(|wire| wire.duplicate().ok());
        let channel = fd.and_then(|fd| Channel::new(fd).and_then(Channel::into_async).ok());
        if channel.is_none() {
            let text = "no socket to the current master";
            self.log().write(Level::Alert, None, format_args!("{text}"));
        }
        Ok(Relay { current, channel, supervisor: self.supervision.supervisor.take(), signals })
    }
}

/// Says something to the process that stays in the foreground.
pub(super) fn tell_relay(relay: &OwnedFd, word: &ToRelay) {
    let channel = relay.as_fd().try_clone_to_owned().and_then(Channel::<ToRelay, FromRelay>::new);
    if let Ok(mut channel) = channel {
        let _ = channel.send(word, &[]);
    }
}
