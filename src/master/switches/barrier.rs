//! Waiting until nothing is under way through a closed switch. The counts of all workers of all
//! generations are in one memory, so nobody has to be asked, and the loop is not kept waiting.
//!
//! Must not close or open anything.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::report::{Masters, counts, shares};
use super::{Master, sweep};
use crate::control::Ask;
use crate::control::maintenance::{Barrier, Counts, Inflight, Proof, Refusal};
use crate::master::zones::Zone;
use crate::zone::gates::{Gates, Reach, State};
use crate::zone::{Counters, Switch};

/// From one look to the next: at first, and at last.
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(20);
/// How often it is looked for processes that have ended unseen.
const SWEEP: Duration = Duration::from_millis(200);
/// Those that are cut off end as soon as their workers come to it; a farewell takes up to two seconds.
const CUTTING: Duration = Duration::from_secs(5);
/// Workers look for calls ten times a second; one that has not by then is stuck.
const RENEWING: Duration = Duration::from_secs(2);
/// Nobody waits longer than a day.
const LONGEST: Duration = Duration::from_hours(24);

/// One wait.
struct Watch {
    gates: Gates,
    /// For the burials that come with looking.
    zones: Vec<Zone>,
    counters: Counters,
    masters: Masters,
    name: String,
    switch: Switch,
    /// Of the closing that is to be proven.
    epoch: u64,
    terms: Barrier,
    begun: Instant,
    /// To ask the loop.
    asks: mpsc::Sender<Ask>,
}

/// What came of the call to part with connections: how many idle ones were closed, and how many
/// workers have not said that they have none any more.
#[derive(Default)]
struct Renewal {
    closed: u64,
    kept_by: u64,
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
            zones: self.current.zones().to_vec(),
            counters: self.counters.clone(),
            masters: self.masters(),
            name,
            switch,
            epoch: order.epoch,
            terms,
            begun: Instant::now(),
            asks: self.asks.clone(),
        })
    }
}

impl Watch {
    async fn wait(self) -> Result<Proof, Refusal> {
        let patience = Duration::from_millis(self.terms.timeout_ms).min(LONGEST);
        let meant = |found| self.meant(found);
        let mut found = self.wait_for(self.begun + patience, meant).await?;
        let mut cut = 0;
        if let Some(reach) = self.reach().filter(|_| meant(found) > 0) {
            let reached =
                |found: Counts| if reach == Reach::Streams { found.stream } else { meant(found) };
            let before = reached(found);
            self.gates.cut(self.switch, reach);
            self.hurry().await;
            found = self.wait_for(Instant::now() + CUTTING, reached).await?;
            cut = before.saturating_sub(reached(found));
        }
        let clear = meant(found) == 0;
        let renewal = if clear { self.renew().await } else { Renewal::default() };
        let left = if clear { None } else { self.left().await };
        let proof = self.proof(found, clear, cut, left);
        Ok(Proof { idle_closed: renewal.closed, idle_kept_by: renewal.kept_by, ..proof })
    }

    /// Has all workers part with their connections to servers behind, and waits until they have: what
    /// is moved elsewhere now must not be found where it was.
    async fn renew(&self) -> Renewal {
        let (before, end) = (self.gates.parted(), Instant::now() + RENEWING);
        let call = self.gates.renew();
        self.hurry().await;
        let mut pause = SOON;
        loop {
            let kept_by = self.gates.renewing(call) as u64;
            if kept_by == 0 || Instant::now() >= end {
                let closed = self.gates.parted().saturating_sub(before);
                return Renewal { closed, kept_by };
            }
            sleep(pause).await;
            pause = (pause * 2).min(LATER);
        }
    }

    /// Workers of this master obey at once, those of others when they look next.
    async fn hurry(&self) {
        // A loop that is gone answers nobody any more.
        let _ = self.asks.send(Ask::Hurry).await;
    }

    /// What is to be cut off if it does not end in time.
    fn reach(&self) -> Option<Reach> {
        let Barrier { kill, kill_streams, include_bypass, .. } = self.terms;
        match (kill, kill_streams) {
            (true, _) if include_bypass => Some(Reach::All),
            (true, _) => Some(Reach::Barred),
            (false, true) => Some(Reach::Streams),
            (false, false) => None,
        }
    }

    /// Waits until nothing is left of what `left` counts, or the time is over; what is counted then.
    async fn wait_for(
        &self,
        end: Instant,
        left: impl Fn(Counts) -> u64,
    ) -> Result<Counts, Refusal> {
        let (mut pause, mut swept) = (SOON, None);
        loop {
            // In this order: what is counted after the closing was seen is all there is.
            let now = Instant::now();
            let found = counts(self.gates.inflight(self.switch));
            self.is_still_closed()?;
            if left(found) == 0 || now >= end {
                return Ok(found);
            }
            if swept.is_none_or(|at| now >= at + SWEEP) {
                // Workers whose master is dead as well are buried by nobody else.
                sweep(&self.counters, &self.gates, &self.zones);
                swept = Some(now);
            }
            sleep(pause.min(end - now)).await;
            pause = (pause * 2).min(LATER);
        }
    }

    /// How many of those that are counted are waited for.
    fn meant(&self, found: Counts) -> u64 {
        let bypass = if self.terms.include_bypass { 0 } else { found.bypass };
        found.under_way() - bypass
    }

    /// What is still under way, as far as it can be listed.
    async fn left(&self) -> Option<Inflight> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Inflight(Some(self.name.clone()), reply)).await.ok()?;
        answer.await.ok()?.ok()?.pop()
    }

    /// What has been open meanwhile proves nothing, even if it is closed again.
    fn is_still_closed(&self) -> Result<(), Refusal> {
        let order = self.gates.order(self.switch);
        if order.state == State::Closed && order.epoch == self.epoch {
            return Ok(());
        }
        Err(Refusal::State(format!("\"{}\" was opened meanwhile", self.name)))
    }

    fn proof(&self, inflight: Counts, clear: bool, cut: u64, left: Option<Inflight>) -> Proof {
        let (requests, not_listed) = match left {
            Some(left) => (left.requests, left.not_listed),
            None => (Vec::new(), if clear { 0 } else { inflight.under_way() }),
        };
        let workers = if clear {
            Vec::new()
        } else {
            shares(&self.gates, &self.counters, self.switch, &self.masters)
        };
        Proof {
            clean: clear && inflight.unknown == 0 && cut == 0,
            timed_out: !clear,
            waited_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            inflight,
            unknown: inflight.unknown,
            cut,
            workers,
            requests,
            not_listed,
            ..Proof::default()
        }
    }
}
