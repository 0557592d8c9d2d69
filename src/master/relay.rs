//! What the first master in the foreground becomes when another has taken over and its own workers
//! are gone: the one process that whoever started the server knows. It passes signals down to the
//! current master and words up to the supervisor, buries the orphans, and ends as the server ends.
//!
//! Must not know configuration, workers or logs, nor answer: it is as old as the container it runs
//! in, and those it serves are newer.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::notify::Supervisor;
use crate::ipc::{AsyncChannel, Message, Received};
use crate::signals::{Heard, Signal, Signals};
use crate::sys::process::{self, Pid};

/// How long a word that was said before a signal was sent may take to arrive.
const MOMENT: Duration = Duration::from_millis(1);

/// How long a successor may take to notice that the current master has died, and to name itself.
/// Waited for only while there is somebody who could be it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The exit code when nobody knows how the last master ended.
const LOST: u8 = 1;

/// From any master. Later versions may say more; what is unknown is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToRelay {
    /// Signals go to this process from now on, and its end is the end of the server.
    Current {
        /// The master that has taken over.
        pid: i32,
    },
    /// For the supervisor.
    Notify {
        /// As built by [`notify`](super::notify).
        lines: String,
    },
}

/// Nothing: the relay does not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromRelay {}

impl Message for ToRelay {
    fn fd_count(&self) -> usize {
        0
    }
}

impl Message for FromRelay {
    fn fd_count(&self) -> usize {
        0
    }
}

/// The relay's end.
pub type RelayEnd = AsyncChannel<FromRelay, ToRelay>;
/// The end that goes from master to master; each of them writes to the same socket.
pub type MastersEnd = AsyncChannel<ToRelay, FromRelay>;

/// A master that has nothing left to do but to stand for another.
pub struct Relay {
    /// Who serves.
    pub current: Pid,
    /// None when every process that could speak has gone.
    pub channel: Option<RelayEnd>,
    /// Who is told how the server is.
    pub supervisor: Option<Supervisor>,
    /// Everything that is sent to this process.
    pub signals: Signals,
}

impl Relay {
    /// Goes on until the current master has ended and nobody has taken its place. The exit code is
    /// that of the last one, 128 + n for signal n.
    pub async fn run(mut self) -> u8 {
        let _ = process::adopt_orphans();
        let mut signal = None;
        loop {
            // In this order: a signal goes to whoever was named before it, and not to the dead.
            self.listen(MOMENT).await;
            if let Some(code) = self.ended().await {
                return code;
            }
            if let Some(signal) = signal {
                forward(self.current, signal);
            }
            signal = match self.news().await {
                Ok(news) => news,
                Err(_) => return LOST,
            };
        }
    }

    /// Waits until there is something to look after: a signal to forward, a death, or a new name.
    async fn news(&mut self) -> io::Result<Option<Heard>> {
        let current = self.current;
        while self.current == current {
            tokio::select! {
                said = said(&mut self.channel) => self.hear(said),
                received = self.signals.next() => {
                    let signal = received?.signal;
                    return Ok((signal != Signal::SIGCHLD.into()).then_some(signal));
                }
            }
        }
        Ok(None)
    }

    /// Hears what is said until another master is named, but only for so long.
    async fn listen(&mut self, patience: Duration) -> bool {
        let (current, deadline) = (self.current, Instant::now() + patience);
        while self.current == current && self.channel.is_some() {
            match timeout_at(deadline, said(&mut self.channel)).await {
                Ok(said) => self.hear(said),
                Err(_) => break,
            }
        }
        self.current != current
    }

    fn hear(&mut self, said: io::Result<Received<ToRelay>>) {
        match said {
            Ok(Received::Message(ToRelay::Current { pid }, _)) if pid > 0 => {
                self.current = Pid::from_raw(pid);
            }
            Ok(Received::Message(ToRelay::Current { .. }, _)) => {}
            Ok(Received::Message(ToRelay::Notify { lines }, _)) => {
                if let Some(supervisor) = &self.supervisor {
                    supervisor.send(&lines);
                }
            }
            // A word of a later version, or none at all.
            Err(error)
                if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {}
            Ok(Received::Closed) | Err(_) => self.channel = None,
        }
    }

    /// Buries the dead. If the current master is among them and nobody takes its place: its exit code.
    async fn ended(&mut self) -> Option<u8> {
        let ended = process::wait_any();
        loop {
            let end = ended.iter().find(|(pid, _)| *pid == self.current);
            let code = match end {
                Some((_, exit)) => exit.shell_code(),
                None if process::exists(self.current) => return None,
                // It was the child of another process, which has not told that it ended.
                None => LOST,
            };
            if !self.listen(PATIENCE).await {
                return Some(code);
            }
        }
    }
}

/// The next word. Cancel-safe.
async fn said(channel: &mut Option<RelayEnd>) -> io::Result<Received<ToRelay>> {
    match channel {
        Some(channel) => channel.receive().await,
        None => pending().await,
    }
}

/// Passes a signal to a master; one that has just ended needs none.
pub fn forward(master: Pid, signal: Heard) {
    let _ = signal.send(master);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::Channel;
    use crate::signals;
    use crate::sys::channel::pair;
    use crate::sys::exec::{Program, spawn};
    use crate::sys::process::fork_parent_waits;
    use crate::sys::tests::{alone, is_alone};
    use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
    use nix::unistd::pipe;
    use std::ffi::{CString, OsStr};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;
    use tokio::io::{AsyncBufReadExt, BufReader, Lines};
    use tokio::net::unix::pipe::Receiver;

    /// The exit code of a scene that went as it should.
    const PLAYED: i32 = 77;

    /// Plays a scene in a process of one thread, as a relay is: its signals and its children are
    /// nobody else's.
    fn play(test: &str, scene: impl AsyncFnOnce()) {
        if !is_alone() {
            let output = alone(&format!("master::relay::tests::{test}"));
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(PLAYED), "{text}");
            return;
        }
        // The test harness has a thread more, which stays behind in the parent.
        let _launch = fork_parent_waits().unwrap();
        signals::block().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let scene = async { tokio::time::timeout(Duration::from_mins(1), scene()).await };
        let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(scene).expect("it ends")));
        std::process::exit(if played.is_ok() { PLAYED } else { 1 });
    }

    /// A master played by a shell: says which signals it hears, and ends when it is let go.
    struct Player {
        pid: Pid,
        lines: Lines<BufReader<Receiver>>,
        hold: Option<OwnedFd>,
    }

    /// Descriptor 3 ends when the player is let go.
    const PART: &str = "
        for s in TERM QUIT INT HUP USR1 USR2 WINCH; do trap \"echo $s\" $s; done
        cat <&3 >/dev/null &
        echo ready
        while kill -0 $! 2>/dev/null; do wait $!; done
        ";

    impl Player {
        /// Acts its part and ends with this code.
        async fn new(code: u8) -> Player {
            Player::with(&format!("{PART} exit {code}")).await
        }

        async fn with(script: &str) -> Player {
            let (let_go, hold) = pipe().unwrap();
            let (lines, stdout) = pipe().unwrap();
            let program = Program::open(Path::new("/bin/sh")).unwrap();
            let argv = ["sh", "-c", script].map(|word| CString::new(word).unwrap());
            let environment = [CString::new("PATH=/usr/bin:/bin").unwrap()];
            let inherit = [(stdout.as_fd(), 1), (let_go.as_fd(), 3)];
            let pid = spawn(&program, &argv, &environment, &inherit).unwrap();
            drop(stdout);
            let lines = BufReader::new(Receiver::from_owned_fd(lines).unwrap()).lines();
            let mut player = Player { pid, lines, hold: Some(hold) };
            player.says("ready").await;
            player
        }

        async fn says(&mut self, line: &str) {
            assert_eq!(self.lines.next_line().await.unwrap().as_deref(), Some(line));
        }

        /// Lets it go, and waits until it has gone; somebody may have buried it by then.
        async fn ends(&mut self) {
            self.hold = None;
            assert_eq!(self.lines.next_line().await.unwrap(), None);
            let _ = waitid(Id::Pid(self.pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        }
    }

    /// A relay for that master, and the end that masters write to.
    fn relay(master: &Player) -> (Relay, MastersEnd) {
        let (near, far) = pair().unwrap();
        let channel = Some(Channel::new(near).unwrap().into_async().unwrap());
        let signals = Signals::new().unwrap();
        let relay = Relay { current: master.pid, channel, supervisor: None, signals };
        (relay, Channel::new(far).unwrap().into_async().unwrap())
    }

    fn name(far: &mut MastersEnd, master: &Player) {
        far.send(&ToRelay::Current { pid: master.pid.as_raw() }, &[]).unwrap();
    }

    /// Until somebody has buried it.
    async fn buried(pid: Pid) {
        while process::exists(pid) {
            tokio::task::yield_now().await;
        }
    }

    fn send(signal: Signal) {
        process::kill(Pid::this(), signal).unwrap();
    }

    #[test]
    fn signals_are_forwarded() {
        play("signals_are_forwarded", async || {
            let mut master = Player::new(7).await;
            let (relay, far) = relay(&master);
            let scene = async {
                for name in ["TERM", "QUIT", "INT", "HUP", "USR1", "USR2", "WINCH"] {
                    send(format!("SIG{name}").parse().unwrap());
                    master.says(name).await;
                }
                drop(far);
                master.ends().await;
            };
            assert_eq!(tokio::join!(relay.run(), scene).0, 7);
        });
    }

    #[test]
    fn a_signal_goes_to_whoever_was_named_before_it() {
        play("a_signal_goes_to_whoever_was_named_before_it", async || {
            let (mut first, mut second) = (Player::new(1).await, Player::new(2).await);
            let (relay, mut far) = relay(&first);
            let scene = async {
                for _ in 0..10 {
                    for master in [&mut second, &mut first] {
                        name(&mut far, master);
                        send(Signal::SIGHUP);
                        master.says("HUP").await;
                    }
                }
                drop(far);
                first.ends().await;
            };
            assert_eq!(tokio::join!(relay.run(), scene).0, 1);
        });
    }

    #[test]
    fn a_signals_number_is_told_as_a_shell_does() {
        play("a_signals_number_is_told_as_a_shell_does", async || {
            let master = Player::new(0).await;
            let (relay, _) = relay(&master);
            process::kill(master.pid, Signal::SIGKILL).unwrap();
            assert_eq!(relay.run().await, 137);
        });
    }

    #[test]
    fn a_successor_named_before_the_end_is_followed() {
        play("a_successor_named_before_the_end_is_followed", async || {
            let (mut first, mut second) = (Player::new(1).await, Player::new(2).await);
            let (relay, mut far) = relay(&first);
            name(&mut far, &second);
            first.ends().await;
            send(Signal::SIGHUP);
            let scene = async {
                second.says("HUP").await;
                drop(far);
                second.ends().await;
            };
            assert_eq!(tokio::join!(relay.run(), scene).0, 2);
        });
    }

    #[test]
    fn a_successor_may_name_itself_after_the_end() {
        play("a_successor_may_name_itself_after_the_end", async || {
            let (mut first, mut second) = (Player::new(1).await, Player::new(2).await);
            let (relay, mut far) = relay(&first);
            let scene = async {
                first.ends().await;
                buried(first.pid).await;
                send(Signal::SIGTERM);
                name(&mut far, &second);
                second.says("TERM").await;
                drop(far);
                second.ends().await;
            };
            assert_eq!(tokio::join!(relay.run(), scene).0, 2);
        });
    }

    #[test]
    fn both_may_have_ended_before_anybody_looks() {
        play("both_may_have_ended_before_anybody_looks", async || {
            let (mut first, mut second) = (Player::new(1).await, Player::new(2).await);
            let (relay, mut far) = relay(&first);
            first.ends().await;
            second.ends().await;
            let scene = async {
                buried(second.pid).await;
                name(&mut far, &second);
                drop(far);
            };
            assert_eq!(tokio::join!(relay.run(), scene).0, 2);
        });
    }

    #[test]
    fn the_end_of_a_retired_master_is_nothing() {
        play("the_end_of_a_retired_master_is_nothing", async || {
            let (mut first, mut second) = (Player::new(1).await, Player::new(2).await);
            let (relay, mut far) = relay(&first);
            let scene = async {
                name(&mut far, &second);
                send(Signal::SIGUSR1);
                second.says("USR1").await;
                first.ends().await;
                buried(first.pid).await;
                send(Signal::SIGUSR2);
                second.says("USR2").await;
                drop(far);
                second.ends().await;
            };
            assert_eq!(tokio::join!(relay.run(), scene).0, 2);
        });
    }

    #[test]
    fn an_end_that_another_process_saw_is_noticed() {
        play("an_end_that_another_process_saw_is_noticed", async || {
            let mut master = Player::new(3).await;
            let (relay, far) = relay(&master);
            master.ends().await;
            waitpid(master.pid, None).unwrap();
            drop(far);
            assert_eq!(relay.run().await, LOST);
        });
    }

    #[test]
    fn orphans_are_buried() {
        play("orphans_are_buried", async || {
            let parent = "sh -c 'cat <&3 >/dev/null & echo $$ $!; wait'";
            let mut master =
                Player::with(&format!("echo ready; {parent} & read l <&3; exit 4")).await;
            let line = master.lines.next_line().await.unwrap().unwrap();
            let mut pids = line.split(' ').map(|pid| Pid::from_raw(pid.parse().unwrap()));
            let (parent, orphan) = (pids.next().unwrap(), pids.next().unwrap());
            let (relay, far) = relay(&master);
            let scene = async {
                process::kill(parent, Signal::SIGKILL).unwrap();
                let status = format!("/proc/{orphan}/status");
                let ours = format!("PPid:\t{}\n", Pid::this());
                while !std::fs::read_to_string(&status).unwrap().contains(&ours) {
                    tokio::task::yield_now().await;
                }
                process::kill(orphan, Signal::SIGKILL).unwrap();
                buried(orphan).await;
                assert!(process::exists(master.pid));
                drop(far);
                master.ends().await;
            };
            assert_eq!(tokio::join!(relay.run(), scene).0, 4);
        });
    }

    #[test]
    fn words_reach_the_supervisor() {
        play("words_reach_the_supervisor", async || {
            let name = format!("proxyd-relay-{}", Pid::this());
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            let ear = UnixDatagram::bind_addr(&address).unwrap();
            let mut master = Player::new(0).await;
            let (mut relay, mut far) = relay(&master);
            relay.supervisor = Some(Supervisor::at(OsStr::new(&format!("@{name}"))).unwrap());
            let lines = super::super::notify::ready("generation 2");
            far.send(&ToRelay::Notify { lines: lines.clone() }, &[]).unwrap();
            drop(far);
            master.ends().await;
            assert_eq!(relay.run().await, 0);
            let mut buffer = [0; 100];
            ear.set_nonblocking(true).unwrap();
            let length = ear.recv(&mut buffer).unwrap();
            assert_eq!(String::from_utf8_lossy(&buffer[..length]), lines);
        });
    }

    #[test]
    fn words_of_later_versions_are_passed_over() {
        /// What a relay of this version does not know.
        #[derive(Serialize, Deserialize)]
        enum Later {
            Sing { loudly: bool },
            Current { pid: i32, since: u64 },
        }
        impl Message for Later {
            fn fd_count(&self) -> usize {
                0
            }
        }
        play("words_of_later_versions_are_passed_over", async || {
            let (mut first, mut second) = (Player::new(1).await, Player::new(2).await);
            let (mut relay, _) = relay(&first);
            let (near, far) = pair().unwrap();
            relay.channel = Some(Channel::new(near).unwrap().into_async().unwrap());
            let mut far: Channel<Later, FromRelay> = Channel::new(far).unwrap();
            far.send(&Later::Sing { loudly: true }, &[]).unwrap();
            far.send(&Later::Current { pid: -1, since: 1 }, &[]).unwrap();
            far.send(&Later::Current { pid: second.pid.as_raw(), since: 1 }, &[]).unwrap();
            drop(far);
            first.ends().await;
            second.ends().await;
            assert_eq!(relay.run().await, 2);
        });
    }
}
