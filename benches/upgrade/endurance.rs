//! Measures what is left of many upgrades, some of which fail.

use crate::configuration::Purpose;
use crate::fault::faults;
use crate::load::{Load, Volume};
use crate::options::Subject;
use crate::server::{Server, state, until};
use crate::tally::Tally;
use crate::{Outcome, process};
use nix::unistd::Pid;
use std::fs;

pub const UPGRADES: usize = 200;
pub const VOLUME: Volume = Volume { clients: 20, rate: 100 };

/// What the system says of a master.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    pub descriptors: usize,
    /// KiB.
    pub resident: u64,
    pub zombies: usize,
    /// Of the server altogether.
    pub processes: usize,
}

pub struct Endurance {
    pub start: Health,
    /// After one good upgrade and one of each kind of bad.
    pub warm: Health,
    pub end: Health,
    pub failing: usize,
    pub seen: Tally,
}

pub fn measure(subject: &Subject) -> Outcome<Endurance> {
    let mut server = Server::start(subject, Purpose { leave: true, others: 0 })?;
    let load = Load::start(server.address, VOLUME)?;
    let start = health(&server)?;
    let processes = start.processes;
    let mut warm = start;
    let kinds = faults(subject.kind);
    let mut failing = 0;
    for number in 0..UPGRADES {
        if number == kinds.len() + 1 {
            warm = settled(&server, processes)?;
        }
        match number % (kinds.len() + 1) {
            0 => {
                let change = server.upgrade(&mut |generation| load.first_answer(generation))?;
                server.explain(change.wait_for_end())?;
            }
            which => {
                server.fail(kinds[which - 1])?;
                failing += 1;
            }
        }
    }
    let end = settled(&server, processes)?;
    Ok(Endurance { start, warm, end, failing, seen: load.take()? })
}

/// When there are no more processes than at the start, or no longer going to be.
fn settled(server: &Server, processes: usize) -> Outcome<Health> {
    let _ = until("old processes to go", || Ok(server.processes()?.len() <= processes));
    health(server)
}

fn health(server: &Server) -> Outcome<Health> {
    let master = server.master()?;
    let zombie = |pid: &Pid| state(*pid) == Some('Z');
    Ok(Health {
        descriptors: fs::read_dir(format!("/proc/{master}/fd"))?.count(),
        resident: resident(master)?,
        zombies: process::tree(master)?.iter().filter(|pid| zombie(pid)).count(),
        processes: server.processes()?.len(),
    })
}

fn resident(pid: Pid) -> Outcome<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
    Ok(number.ok_or("a process without resident memory")?)
}
