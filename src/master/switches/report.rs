//! What there is to say about the switches.

use tokio::sync::oneshot;

use super::{Master, now};
use crate::control::maintenance::{Counts, Inflight, Refusal, Share, Switch};
use crate::master::survey::list;
use crate::version;
use crate::zone::counters::MAX_SLOTS;
use crate::zone::gates::{self, Gates, Order, State};
use crate::zone::{self, Counters};

/// Who the masters are: process, generation, version.
pub(super) type Masters = Vec<(u32, u64, String)>;

impl Master {
    /// All switches.
    pub(in crate::master) fn all_switches(&self) -> Vec<Switch> {
        self.switches_named(&self.switch_names())
    }

    pub(in crate::master) fn switches_named(&self, names: &[String]) -> Vec<Switch> {
        let gates = &self.switches.gates;
        let about = |name: &String| {
            let switch = gates.switch(name)?;
            Some(self.about(name, &gates.order(switch), counts(gates.inflight(switch))))
        };
        names.iter().filter_map(about).collect()
    }

    fn about(&self, name: &str, order: &Order, inflight: Counts) -> Switch {
        let flag_file = self.flag_file(name).map(ToOwned::to_owned);
        let closed = order.state == State::Closed;
        Switch {
            name: name.to_owned(),
            state: word(closed || flag_file.is_some()),
            ordered: word(closed),
            flag_file,
            since: Some(order.since).filter(|since| *since != 0),
            until: order.until,
            overrun: order.until.and_then(|end| now().checked_sub(end)).filter(|_| closed),
            reason: order.reason.clone(),
            auto_off: order.auto_off,
            no_bypass: order.no_bypass,
            allow: order.allow.iter().map(ToString::to_string).collect(),
            epoch: order.epoch,
            revoked: order.revoked,
            configured: self.is_configured(name),
            inflight,
        }
    }

    /// Answers what is under way, as soon as the workers have listed it.
    pub(super) fn tell_inflight(
        &mut self,
        name: Option<&str>,
        reply: oneshot::Sender<Result<Vec<Inflight>, Refusal>>,
    ) {
        let mut found = match self.inflight(name) {
            Ok(found) => found,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let survey = self.survey();
        tokio::task::spawn_local(async move {
            let accounts = survey.answers().await;
            for report in &mut found {
                list(report, &accounts);
            }
            let _ = reply.send(Ok(found));
        });
    }

    /// What is counted as under way through the switch of this name, or through each.
    pub(in crate::master) fn inflight(&self, name: Option<&str>) -> Result<Vec<Inflight>, Refusal> {
        let names = match name {
            Some(name) => vec![self.known(name)?],
            None => self.switch_names(),
        };
        self.sweep_counters();
        let (gates, masters) = (&self.switches.gates, self.masters());
        let report = |about: Switch| {
            let switch = gates.switch(&about.name)?;
            let workers = shares(gates, &self.counters, switch, &masters);
            Some(Inflight {
                switch: about.name,
                state: about.state,
                total: about.inflight,
                workers,
                upstreams: Vec::new(),
                requests: Vec::new(),
                not_listed: 0,
            })
        };
        Ok(self.switches_named(&names).into_iter().filter_map(report).collect())
    }

    /// All masters that may have workers.
    pub(super) fn masters(&self) -> Masters {
        let number = self.current.number;
        let mut all = vec![(std::process::id(), number, version::PROXYD.to_owned())];
        for link in &self.links {
            let master = &link.master;
            all.push((master.pid, master.generation, master.version.clone()));
        }
        if let Some(successor) = &self.upgrading.successor {
            let pid = u32::try_from(successor.pid.as_raw()).unwrap_or_default();
            all.push((pid, number + 1, successor.version.clone()));
        }
        all
    }
}

fn word(closed: bool) -> String {
    if closed { "closed" } else { "open" }.to_owned()
}

pub(super) fn counts(found: gates::Inflight) -> Counts {
    let gates::Inflight { read, write, stream, bypass, unknown } = found;
    Counts { read, write, stream, bypass, unknown }
}

/// What each worker has under way. Unknown outcomes stay where they were counted, and may be those
/// of an earlier worker.
pub(super) fn shares(
    gates: &Gates,
    counters: &Counters,
    switch: zone::Switch,
    masters: &Masters,
) -> Vec<Share> {
    let share = |slot| {
        let counts = counts(gates.inflight_of(switch, slot));
        if counts == Counts::default() {
            return None;
        }
        let (worker, master) = counters.owners(slot);
        let known = masters.iter().find(|(pid, ..)| *pid == master);
        let (generation, version) =
            known.map(|(_, number, version)| (*number, version.clone())).unzip();
        Some(Share { worker, master, generation, version, counts })
    };
    (0..MAX_SLOTS).filter_map(share).collect()
}
