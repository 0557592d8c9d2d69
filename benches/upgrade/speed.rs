//! Measures how long upgrades take without other clients, and how long idle connections keep the
//! old processes.

use crate::configuration::Purpose;
use crate::options::Subject;
use crate::server::Server;
use crate::{Outcome, probe};
use std::io::Read;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

pub const UPGRADES: u32 = 10;
/// Server blocks besides the one that answers.
pub const OTHERS: [u32; 2] = [0, 100];
pub const IDLE: usize = 50;
/// haproxy's master takes no notice of a signal that comes too soon after the last.
const BETWEEN: Duration = Duration::from_millis(300);

#[derive(Default)]
pub struct Speed {
    /// Until the first answer of the new one; for each number of server blocks.
    pub first: [Vec<Duration>; 2],
    /// Until the old one was told to go; the command ends then.
    pub done: [Vec<Duration>; 2],
    /// Until nothing of the old one was left, with idle clients.
    pub end: Duration,
    /// Of the idle clients, how many saw a reset.
    pub resets: usize,
}

pub fn measure(subject: &Subject) -> Outcome<Speed> {
    let mut speed = Speed::default();
    for (at, others) in OTHERS.into_iter().enumerate() {
        let mut server = Server::start(subject, Purpose { others, ..Purpose::default() })?;
        let address = server.address;
        for _ in 0..UPGRADES {
            let mut witness = |generation| probe::first_answer(address, generation);
            let change = server.upgrade(&mut witness)?;
            speed.first[at].push(change.until_first());
            speed.done[at].push(change.done - change.requested);
            server.explain(change.wait_for_end())?;
            sleep(BETWEEN);
        }
    }
    idle(subject, &mut speed)?;
    Ok(speed)
}

/// Clients that have had an answer and want nothing more.
fn idle(subject: &Subject, speed: &mut Speed) -> Outcome<()> {
    let mut server = Server::start(subject, Purpose::default())?;
    let address = server.address;
    let clients: Outcome<Vec<TcpStream>> = (0..IDLE).map(|_| probe::idle(address)).collect();
    let clients = clients?;
    let mut witness = |generation| probe::first_answer(address, generation);
    let change = server.upgrade(&mut witness)?;
    let end = server.explain(change.wait_for_end())?;
    speed.end = end - change.requested;
    for mut client in clients {
        // The end, and no content before it.
        let ended = client.read(&mut [0]);
        speed.resets += usize::from(!matches!(ended, Ok(0)));
    }
    Ok(())
}
