//! Starting a worker process and talking to it: a process of this same executable with nothing but
//! its channel, and a task that carries messages both ways.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::event::Id;
use super::generation::borrowed;
use super::relay::ToRelay;
use super::wire::Heard;
use crate::config::handover::ROLE_VARIABLE;
use crate::handover::{FromSuccessor, ToSuccessor};
use crate::ipc::{self, AsyncMasterEnd, Channel, FromWorker, MasterEnd, Received, ToWorker};
use crate::sys::exec::{self, Program};
use crate::sys::process::Pid;

/// What a worker is called before it can say so itself; also makes room for longer titles.
const TITLE: &str = "proxyd: worker process is shutting down";

/// A worker's whole life within this process; its result is the exit code.
pub type Life = Pin<Box<dyn Future<Output = i32>>>;

/// How workers come to be.
pub enum Launch {
    /// As processes of this executable.
    Exec(Program),
    /// Within this process (`master_process off`).
    Here(fn(OwnedFd) -> Life),
}

/// News about a worker or another master.
#[derive(Debug)]
pub enum News {
    /// It said something.
    Said(Id, FromWorker),
    /// A worker within this process has ended.
    Ended(Id, i32),
    /// The master that this process started said something, or its end is closed.
    Successor(Pid, Option<FromSuccessor>),
    /// The master that started this one said something, or its end is closed.
    Predecessor(Heard<ToSuccessor>),
    /// A master that had retired is gone.
    RetiredGone(u32),
    /// A successor of a successor said something to the first master of all.
    Relay(ToRelay),
}

/// A message on its way, with the descriptors that go along.
type Outgoing = (ToWorker, Vec<Rc<OwnedFd>>);

/// A worker that was started.
pub struct Child {
    /// The process; our own when the worker lives within it.
    pub pid: Pid,
    /// Which of the configured workers it is.
    pub slot: usize,
    /// Its slot in the counters.
    pub counters: usize,
    pub begun: Instant,
    out: UnboundedSender<Outgoing>,
}

impl Child {
    /// Queues a message. If the worker is gone nobody reads it; its end is noticed elsewhere.
    pub fn send(&self, message: ToWorker, fds: Vec<Rc<OwnedFd>>) {
        let _ = self.out.send((message, fds));
    }
}

impl Launch {
    /// Starts worker `id`; what it says goes to `news`. Its standard error is ours unless another one
    /// is given.
    pub fn start(
        &self,
        id: Id,
        slot: usize,
        counters: usize,
        environment: Vec<CString>,
        stderr: Option<BorrowedFd<'_>>,
        news: &UnboundedSender<News>,
    ) -> io::Result<Child> {
        let (near, far) = ipc::pair()?;
        let channel: AsyncMasterEnd = MasterEnd::into_async(Channel::new(near)?)?;
        let pid = match self {
            Launch::Exec(program) => execute(program, &far, environment, stderr)?,
            Launch::Here(life) => {
                let (life, news) = (life(far), news.clone());
                tokio::task::spawn_local(async move {
                    let _ = news.send(News::Ended(id, life.await));
                });
                Pid::this()
            }
        };
        let (out, outbox) = unbounded_channel();
        tokio::task::spawn_local(talk(id, channel, outbox, news.clone()));
        Ok(Child { pid, slot, counters, begun: Instant::now(), out })
    }
}

fn execute(
    program: &Program,
    channel: &OwnedFd,
    mut env: Vec<CString>,
    stderr: Option<BorrowedFd<'_>>,
) -> io::Result<Pid> {
    env.push(CString::new(format!("{ROLE_VARIABLE}={}", ipc::WORKER_FD))?);
    let mut inherit = vec![(channel.as_fd(), ipc::WORKER_FD)];
    inherit.extend(stderr.map(|fd| (fd, 2)));
    exec::spawn(program, &[CString::new(TITLE)?], &env, &inherit)
}

/// Carries messages until the worker is gone or the master has let go of it.
async fn talk(
    id: Id,
    mut channel: AsyncMasterEnd,
    mut outbox: UnboundedReceiver<Outgoing>,
    news: UnboundedSender<News>,
) {
    loop {
        tokio::select! {
            outgoing = outbox.recv() => {
                let Some((message, fds)) = outgoing else { return };
                if channel.send(&message, &borrowed(&fds)).is_err() {
                    return;
                }
            }
            received = channel.receive() => match received {
                Ok(Received::Message(message, _)) => drop(news.send(News::Said(id, message))),
                Ok(Received::Closed) | Err(_) => return,
            },
        }
    }
}
