//! A worker: becomes what its `Spec` says, serves, swaps configurations when told, drains, leaves.
//! The only place where the HTTP service and the channel to the master meet.
//!
//! Must not read configuration, keys or logs from the file system: all of it comes by the channel.

mod account;
mod become_worker;
mod build;
mod serve;

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::pin::Pin;
use std::process::ExitCode;

use crate::config::handover::ROLE_VARIABLE;
use crate::ipc::{AsyncWorkerEnd, Channel, FromWorker, Received, Spec, ToWorker, WorkerEnd};
use crate::log::Level;
use crate::signals::{self, Signals};
use crate::sys::fds::take_fd;
use crate::sys::process::set_title;
use serve::Worker;

/// The master knows that starting it again is no cure.
const FATAL: u8 = 2;

/// The channel's descriptor, when this process was started as a worker.
pub fn role() -> Option<RawFd> {
    std::env::var(ROLE_VARIABLE).ok()?.parse().ok()
}

/// A worker process, from its first instruction to its exit code.
pub fn main(channel: RawFd) -> ExitCode {
    // Titles are for people; a worker without one serves as well.
    let _ = set_title("proxyd: worker process");
    let parent = std::os::unix::process::parent_id();
    let begun = signals::block().and_then(|()| WorkerEnd::new(take_fd(channel)?));
    let spec = begun.and_then(|mut end| Ok((introduce(&mut end)?, end)));
    match spec {
        Ok((Some((spec, fds)), end)) => match become_worker::become_worker(&spec.settings) {
            Ok(notes) => run(end, *spec, fds, &notes, parent),
            Err(text) => refuse(end, spec.bundle.generation, text),
        },
        // The master has gone before it said anything.
        Ok((None, _)) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proxyd: [emerg] worker process: {error}");
            ExitCode::from(FATAL)
        }
    }
}

type Introduction = Option<(Box<Spec>, Vec<OwnedFd>)>;

/// Says that it is there and waits to hear what to be.
fn introduce(end: &mut WorkerEnd) -> io::Result<Introduction> {
    end.send(&FromWorker::Started, &[])?;
    match end.receive()? {
        Received::Message(ToWorker::Spec(spec), fds) => Ok(Some((Box::new(spec), fds))),
        Received::Message(..) => Err(io::Error::other("the first message is no specification")),
        Received::Closed => Ok(None),
    }
}

fn refuse(mut end: WorkerEnd, generation: u64, text: String) -> ExitCode {
    // The exit code says it too, should the master be gone.
    let _ = end.send(&FromWorker::Refused { generation, text }, &[]);
    ExitCode::from(FATAL)
}

fn run(end: WorkerEnd, spec: Spec, fds: Vec<OwnedFd>, notes: &[String], parent: u32) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        return refuse(end, spec.bundle.generation, "could not start an event loop".to_owned());
    };
    let life = async {
        let signals = Signals::new()?;
        Ok::<_, io::Error>(live(end.into_async()?, spec, fds, Some(signals), notes, parent).await)
    };
    let code = tokio::task::LocalSet::new().block_on(&runtime, life).unwrap_or(FATAL);
    // Work that blocks, such as a name being looked up, is not waited for.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// The same within the master's own process (`master_process off`): signals are the master's, and
/// nothing about the process changes. The result is the exit code.
pub fn here(channel: OwnedFd) -> Pin<Box<dyn Future<Output = i32>>> {
    Box::pin(async move {
        let end: io::Result<AsyncWorkerEnd> = Channel::new(channel).and_then(Channel::into_async);
        let Ok(mut end) = end else { return i32::from(FATAL) };
        match end.receive().await {
            Ok(Received::Message(ToWorker::Spec(spec), fds)) => {
                i32::from(live(end, spec, fds, None, &[], std::process::id()).await)
            }
            _ => i32::from(FATAL),
        }
    })
}

async fn live(
    mut end: AsyncWorkerEnd,
    spec: Spec,
    fds: Vec<OwnedFd>,
    signals: Option<Signals>,
    notes: &[String],
    parent: u32,
) -> u8 {
    let generation = spec.bundle.generation;
    match Worker::new(spec, fds, parent) {
        Ok(mut worker) => {
            for note in notes {
                worker.log(Level::Alert, note);
            }
            let outcome = worker.serve(&mut end, signals).await;
            worker.service.live().flush_logs(true);
            worker.log(Level::Notice, "exiting");
            let _ = end.send(&FromWorker::Drained { cut: outcome }, &[]);
            let _ = end.flush().await;
            worker.log(Level::Notice, "exit");
            0
        }
        Err(text) => {
            let _ = end.send(&FromWorker::Refused { generation, text }, &[]);
            let _ = end.flush().await;
            FATAL
        }
    }
}
