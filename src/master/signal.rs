//! What each signal means to the master, and reaping of children. Log lines as nginx's.

use super::event::{End, Event};
use super::{Master, spawn::Launch};
use crate::log::Level;
use crate::signals::Received;
use crate::sys::process::{Exit, Signal, wait_any};

/// What nginx adds to the line about a signal, and what follows from it.
fn meaning(signal: Signal, daemon: bool) -> (&'static str, Option<Event>) {
    match signal {
        Signal::SIGTERM | Signal::SIGINT => (", exiting", Some(Event::Terminate)),
        Signal::SIGQUIT => (", shutting down", Some(Event::Quit)),
        Signal::SIGHUP => (", reconfiguring", Some(Event::Reload)),
        Signal::SIGUSR1 => (", reopening logs", Some(Event::Reopen)),
        Signal::SIGUSR2 => (", ignoring", None),
        // In the foreground a resized terminal would otherwise stop the server.
        Signal::SIGWINCH if daemon => (", stop accepting connections", Some(Event::StopAccepting)),
        _ => ("", None),
    }
}

impl Master {
    pub(super) fn signal(&mut self, received: Received) {
        let (note, event) = meaning(received.signal, self.daemon);
        self.log().write(Level::Notice, None, format_args!("{received}{note}"));
        if let Some(event) = event {
            self.take(event);
        }
        match received.signal {
            Signal::SIGCHLD => self.reap(),
            Signal::SIGUSR2 => self.log().write(
                Level::Crit,
                None,
                format_args!(
                    "the changing binary signal is ignored: you should shutdown or terminate \
                     before either old or new binary's process"
                ),
            ),
            _ => {}
        }
    }

    fn reap(&mut self) {
        for (pid, exit) in wait_any() {
            let is_child =
                |child: &super::Child| child.pid == pid && matches!(self.launch, Launch::Exec(_));
            let found = self.children.iter().find(|(_, child)| is_child(child)).map(|(id, _)| *id);
            let name = if found.is_some() { "worker process" } else { "unknown process" };
            let (level, end) = match exit {
                Exit::Code(code) => (Level::Notice, End::Code(code)),
                Exit::Signal { number, .. } => (Level::Alert, End::Signal(number)),
            };
            self.log().write(level, None, format_args!("{name} {pid} {exit}"));
            if let Some(id) = found {
                self.gone(id, end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn winch_counts_for_daemons_only() {
        assert_eq!(meaning(Signal::SIGWINCH, false), ("", None));
        let stop = (", stop accepting connections", Some(Event::StopAccepting));
        assert_eq!(meaning(Signal::SIGWINCH, true), stop);
    }

    #[test]
    fn signals_mean_what_they_mean_to_nginx() {
        assert_eq!(meaning(Signal::SIGINT, true).1, Some(Event::Terminate));
        assert_eq!(meaning(Signal::SIGTERM, true), (", exiting", Some(Event::Terminate)));
        assert_eq!(meaning(Signal::SIGQUIT, true), (", shutting down", Some(Event::Quit)));
        assert_eq!(meaning(Signal::SIGHUP, true), (", reconfiguring", Some(Event::Reload)));
        assert_eq!(meaning(Signal::SIGUSR1, true), (", reopening logs", Some(Event::Reopen)));
        assert_eq!(meaning(Signal::SIGUSR2, true), (", ignoring", None));
        assert_eq!(meaning(Signal::SIGCHLD, true), ("", None));
    }
}
