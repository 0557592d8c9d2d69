//! What each signal means to the master, and reaping of children. Log lines as nginx's.

use super::event::{End, Event};
use super::{Master, spawn::Launch};
use crate::log::Level;
use crate::signals::{Heard, Received};
use crate::sys::process::{Exit, Pid, Signal, kill, wait_any};

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
        let Heard::Named(signal) = received.signal else {
            self.log().write(Level::Notice, None, format_args!("{received}"));
            return self.switch_by_signal(received);
        };
        let (mut note, event) = meaning(signal, self.daemon);
        let changes = signal == Signal::SIGUSR2 && self.may_change_binary();
        if changes {
            note = ", changing binary";
        }
        self.log().write(Level::Notice, None, format_args!("{received}{note}"));
        self.pass_on(signal);
        if let Some(event) = event {
            self.supervise_signal(signal);
            self.take(event);
        }
        match signal {
            Signal::SIGCHLD => self.reap(),
            Signal::SIGUSR2 if changes => {
                self.log().write(Level::Notice, None, format_args!("changing binary"));
                self.change_binary();
            }
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
            let (level, end) = match exit {
                Exit::Code(code) => (Level::Notice, End::Code(code)),
                Exit::Signal { number, .. } => (Level::Alert, End::Signal(number)),
            };
            let (name, event) = self.identify(pid, end);
            self.log().write(level, None, format_args!("{name} {pid} {exit}"));
            match event {
                Some(Event::Gone(id, end)) => self.gone(id, end),
                Some(Event::UndoneGone(id)) => {
                    self.bury_undone(id);
                    self.sweep_counters();
                    self.take(Event::UndoneGone(id));
                }
                Some(event) => self.successor_ended(pid, exit, event),
                None => {}
            }
        }
    }

    /// What a process that has ended was, and what follows.
    fn identify(&self, pid: Pid, end: End) -> (&'static str, Option<Event>) {
        let is_child =
            |child: &super::Child| child.pid == pid && matches!(self.launch, Launch::Exec(_));
        if let Some((id, _)) = self.children.iter().find(|(_, child)| is_child(child)) {
            return ("worker process", Some(Event::Gone(*id, end)));
        }
        if self.upgrading.successor.as_ref().is_some_and(|successor| successor.pid == pid) {
            return ("new binary process", Some(Event::SuccessorGone(end)));
        }
        match self.undone.iter().find(|(_, undone)| undone.pid == pid) {
            Some((id, _)) => ("new binary process", Some(Event::UndoneGone(*id))),
            None => ("unknown process", None),
        }
    }

    fn successor_ended(&mut self, pid: Pid, exit: Exit, event: Event) {
        let successor = self.upgrading.successor.as_ref();
        let early = successor.is_some_and(|gone| gone.wire.is_some() && gone.ready.workers == 0);
        let when = if early { " before ready" } else { "" };
        let mut text = format!("new binary process {pid} {exit}{when}");
        let last_words = successor.map(|gone| {
            gone.hear_the_rest();
            gone.last_words.borrow().clone()
        });
        if let Some(words) = last_words.filter(|words| !words.is_empty()) {
            text = format!("{text}; last words: \"{words}\"");
        }
        self.upgrading.end = text;
        self.stand_in();
        if !self.daemon && self.state.has_handed_over() {
            // If nothing follows, this is how the server has ended.
            self.code = exit.shell_code();
        }
        self.sweep_counters();
        self.take(event);
    }

    /// In the foreground whoever supervises this process goes on to signal it after another has taken
    /// over.
    fn pass_on(&self, signal: Signal) {
        let passed = [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGHUP,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
        ];
        if !self.daemon
            && self.state.has_handed_over()
            && passed.contains(&signal)
            && let Some(successor) = &self.upgrading.successor
        {
            let _ = kill(successor.pid, signal);
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
