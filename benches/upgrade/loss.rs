//! Measures what upgrades cost clients.

use crate::configuration::Purpose;
use crate::load::{Load, Volume};
use crate::options::Subject;
use crate::server::Server;
use crate::tally::Tally;
use crate::{Outcome, change::Change};
use std::thread::sleep;
use std::time::Duration;

pub const VOLUME: Volume = Volume { clients: 200, rate: 600 };
pub const ROUNDS: u32 = 4;
/// In each round.
pub const UPGRADES: u32 = 5;

const WARM_UP: Duration = Duration::from_secs(1);
/// Load without an upgrade, to compare with; as often as there are upgrades.
const CALM: Duration = Duration::from_millis(800);
/// Between two upgrades.
const BETWEEN: Duration = Duration::from_millis(300);

#[derive(Default)]
pub struct Loss {
    pub calm: Tally,
    pub upgrades: Tally,
    /// The longest time between two accepts in each calm while, and in that of each upgrade.
    pub calm_gaps: Vec<Duration>,
    pub gaps: Vec<Duration>,
    /// From the request to the first answer of the new one, under load.
    pub first: Vec<Duration>,
    /// From the request until nothing of the old one is left.
    pub end: Vec<Duration>,
}

/// One round of one server, freshly started.
pub fn round(subject: &Subject, loss: &mut Loss) -> Outcome<()> {
    let mut server = Server::start(subject, Purpose::default())?;
    let load = Load::start(server.address, VOLUME)?;
    sleep(WARM_UP);
    load.take()?;
    for _ in 0..UPGRADES {
        sleep(CALM);
        let seen = load.take()?;
        loss.calm_gaps.push(seen.gap);
        loss.calm.add(seen);
    }
    for _ in 0..UPGRADES {
        let change = server.upgrade(&mut |generation| load.first_answer(generation))?;
        server.explain(loss.note(&change))?;
        sleep(BETWEEN);
        let seen = load.take()?;
        loss.gaps.push(seen.gap);
        loss.upgrades.add(seen);
    }
    Ok(())
}

impl Loss {
    fn note(&mut self, change: &Change) -> Outcome<()> {
        self.first.push(change.until_first());
        self.end.push(change.wait_for_end()? - change.requested);
        Ok(())
    }
}
