//! Waiting until nothing is under way through a closed switch. The counts of all workers of all
//! generations are in one memory, so nobody has to be asked, and the loop is not kept waiting.
//!
//! Must not close or open anything.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::report::{Masters, counts, shares};
use super::{Master, sweep};
use crate::control::maintenance::{Barrier, Counts, Proof, Refusal};
use crate::zone::gates::{Gates, State};
use crate::zone::{Counters, Switch};

/// From one look to the next: at first, and at last.
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(20);
/// How often it is looked for processes that have ended unseen.
const SWEEP: Duration = Duration::from_millis(200);
/// Nobody waits longer than a day.
const LONGEST: Duration = Duration::from_hours(24);

/// One wait.
struct Watch {
    gates: Gates,
    counters: Counters,
    masters: Masters,
    name: String,
    switch: Switch,
    /// Of the closing that is to be proven.
    epoch: u64,
    terms: Barrier,
    begun: Instant,
}

impl Master {
    /// Waits beside the loop, until there is an answer or nobody wants it any more.
    pub(in crate::master) fn wait_until_clear(
        &self,
        name: &str,
        terms: Barrier,
        mut reply: oneshot::Sender<Result<Proof, Refusal>>,
    ) {
        let watch = match self.watch_switch(name, terms) {
            Ok(watch) => watch,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let Ok(place) = Arc::clone(&self.switches.waits).try_acquire_owned() else {
            let why = "too many wait for a proof already".to_owned();
            return drop(reply.send(Err(Refusal::Failed(why))));
        };
        tokio::task::spawn_local(async move {
            let _place = place;
            let answer = tokio::select! {
                answer = watch.wait() => answer,
                () = reply.closed() => return,
            };
            let _ = reply.send(answer);
        });
    }

    fn watch_switch(&self, name: &str, terms: Barrier) -> Result<Watch, Refusal> {
        let name = self.known(name)?;
        let gates = self.switches.gates.clone();
        let full = || Refusal::Failed("there are too many switches".to_owned());
        let switch = gates.switch(&name).ok_or_else(full)?;
        let order = gates.order(switch);
        if order.state == State::Open {
            let why = match self.flag_file(&name) {
                // When each worker looks at the file is its own affair.
                Some(_) => "is closed by a flag file only, which proves nothing",
                None => "is open, so that there is nothing to prove",
            };
            return Err(Refusal::State(format!("\"{name}\" {why}: close it first")));
        }
        Ok(Watch {
            gates,
            counters: self.counters.clone(),
            masters: self.masters(),
            name,
            switch,
            epoch: order.epoch,
            terms,
            begun: Instant::now(),
        })
    }
}

impl Watch {
    async fn wait(self) -> Result<Proof, Refusal> {
        let patience = Duration::from_millis(self.terms.timeout_ms).min(LONGEST);
        let (end, mut pause, mut swept) = (self.begun + patience, SOON, None);
        loop {
            // In this order: what is counted after the closing was seen is all there is.
            let now = Instant::now();
            let found = counts(self.gates.inflight(self.switch));
            self.is_still_closed()?;
            let clear = self.is_clear(found);
            if clear || now >= end {
                return Ok(self.proof(found, !clear));
            }
            if swept.is_none_or(|at| now >= at + SWEEP) {
                // Workers whose master is dead as well are buried by nobody else.
                sweep(&self.counters, &self.gates);
                swept = Some(now);
            }
            sleep(pause.min(end - now)).await;
            pause = (pause * 2).min(LATER);
        }
    }

    fn is_clear(&self, found: Counts) -> bool {
        let bypass = if self.terms.include_bypass { found.bypass } else { 0 };
        found.read == 0 && found.write == 0 && found.stream == 0 && bypass == 0
    }

    /// What has been open meanwhile proves nothing, even if it is closed again.
    fn is_still_closed(&self) -> Result<(), Refusal> {
        let order = self.gates.order(self.switch);
        if order.state == State::Closed && order.epoch == self.epoch {
            return Ok(());
        }
        Err(Refusal::State(format!("\"{}\" was opened meanwhile", self.name)))
    }

    fn proof(&self, inflight: Counts, timed_out: bool) -> Proof {
        let workers = if timed_out {
            shares(&self.gates, &self.counters, self.switch, &self.masters)
        } else {
            Vec::new()
        };
        Proof {
            clean: !timed_out && inflight.unknown == 0,
            timed_out,
            waited_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            inflight,
            unknown: inflight.unknown,
            workers,
        }
    }
}
