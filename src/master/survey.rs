//! Asking the workers for what only they know: what exactly is under way, and how the servers behind
//! do. Those of other masters are not reached, and are told as not listed.
//!
//! Must not keep the loop waiting: whoever wants the answers waits in a task of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::Master;
use super::event::Id;
use crate::control::maintenance::{Counts, Inflight, Listed, UpstreamShare};
use crate::control::upgrade::{ServerStatus, UpstreamStatus};
use crate::ipc::{Account, ToWorker, UnderWay};

/// A worker answers as soon as its loop comes round. One that does not is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many requests are shown, the oldest ones first.
const SHOWN: usize = 1000;

/// Answers, with the process that gave them.
pub(super) type Accounts = BTreeMap<u32, Account>;

/// The questions that are open.
#[derive(Default)]
pub(super) struct Surveys {
    last: u64,
    open: Vec<(u64, UnboundedSender<(u32, Account)>)>,
}

/// One question to all workers.
pub(super) struct Survey {
    asked: usize,
    answers: UnboundedReceiver<(u32, Account)>,
}

impl Master {
    /// Asks all workers of this master.
    pub(super) fn survey(&mut self) -> Survey {
        let (sender, answers) = unbounded_channel();
        let surveys = &mut self.surveys;
        surveys.last += 1;
        let number = surveys.last;
        surveys.open.retain(|(_, asking)| !asking.is_closed());
        surveys.open.push((number, sender));
        for child in self.children.values() {
            child.send(ToWorker::Report { number }, Vec::new());
        }
        Survey { asked: self.children.len(), answers }
    }

    /// A worker has answered.
    pub(super) fn hear_account(&self, id: Id, number: u64, account: Account) {
        let Some(child) = self.children.get(&id) else { return };
        let pid = u32::try_from(child.pid.as_raw()).unwrap_or_default();
        if let Some((_, asking)) = self.surveys.open.iter().find(|(open, _)| *open == number) {
            let _ = asking.send((pid, account));
        }
    }

    /// Something has been called out to all workers: those of this master need not look for it first.
    pub(super) fn hurry(&self) {
        for child in self.children.values() {
            child.send(ToWorker::Obey, Vec::new());
        }
    }
}

impl Survey {
    /// All answers that come in time.
    pub(super) async fn answers(mut self) -> Accounts {
        let mut all = Accounts::new();
        let gather = async {
            while all.len() < self.asked {
                let Some((pid, account)) = self.answers.recv().await else { return };
                all.insert(pid, account);
            }
        };
        let _ = timeout(PATIENCE, gather).await;
        all
    }
}

/// Adds to what is counted what workers have told of it.
pub(super) fn list(report: &mut Inflight, accounts: &Accounts) {
    let name = report.switch.as_str();
    let mut upstreams: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut told = 0;
    for (pid, account) in accounts {
        for sum in account.sums.iter().filter(|sum| sum.switch == name) {
            let [read, write, stream, bypass] = sum.counts;
            let counts = upstreams.entry(&sum.upstream).or_default();
            counts.read += read;
            counts.write += write;
            counts.stream += stream;
            counts.bypass += bypass;
            told += read + write + stream + bypass;
        }
        let own = account.under_way.iter().filter(|one| one.switch == name);
        report.requests.extend(own.map(|one| listed(*pid, one)));
    }
    report.requests.sort_by_key(|request| std::cmp::Reverse(request.age_ms));
    report.requests.truncate(SHOWN);
    let share = |(upstream, counts): (&str, Counts)| UpstreamShare {
        upstream: upstream.to_owned(),
        counts,
    };
    report.upstreams = upstreams.into_iter().map(share).collect();
    // Workers count and list at the same moment, and those that have not answered have not listed.
    let silent = report.workers.iter().filter(|share| !accounts.contains_key(&share.worker));
    let silent: u64 = silent.map(|share| share.counts.under_way()).sum();
    report.not_listed = silent + told - report.requests.len() as u64;
}

fn listed(worker: u32, one: &UnderWay) -> Listed {
    let UnderWay { upstream, server, class, method, path, age_ms, .. } = one.clone();
    Listed { upstream, server, class, method, path, age_ms, worker }
}

/// How the servers behind do, as all workers together find them.
pub(super) fn upstreams(accounts: &Accounts) -> Vec<UpstreamStatus> {
    let mut all: Vec<UpstreamStatus> = Vec::new();
    for found in accounts.values().flat_map(|account| &account.servers) {
        let at = all.iter().position(|known| known.upstream == found.upstream);
        let at = at.unwrap_or_else(|| {
            all.push(UpstreamStatus { upstream: found.upstream.clone(), servers: Vec::new() });
            all.len() - 1
        });
        let servers = &mut all[at].servers;
        let same = |known: &&mut ServerStatus| {
            (&known.server, &known.address) == (&found.server, &found.address)
        };
        if let Some(known) = servers.iter_mut().find(same) {
            known.add(&found.state, found.active, found.fails, found.shared);
        } else {
            let mut server = ServerStatus {
                server: found.server.clone(),
                address: found.address.clone(),
                backup: found.backup,
                ..ServerStatus::default()
            };
            server.add(&found.state, found.active, found.fails, found.shared);
            servers.push(server);
        }
    }
    all
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
