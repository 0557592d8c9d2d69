//! What holds for any group and any history.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::{balanced, group, server, weighted};
use crate::upstream::{Balance, Group, Outcome, PeerRef, Selection, ServerSpec};

#[derive(Clone, Debug)]
enum Step {
    Begin,
    /// Select again in one of the requests.
    Select(usize),
    Free(usize, bool),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Begin),
        any::<usize>().prop_map(Step::Select),
        any::<(usize, bool)>().prop_map(|(which, failed)| Step::Free(which, failed)),
        (0_u64..8).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..120)
}

prop_compose! {
    fn any_server()(
        port in 1_u16..9, weight in 1_u32..6, max_fails in 0_u32..4, timeout in 0_u64..6,
        backup in proptest::bool::weighted(0.2), down in proptest::bool::weighted(0.2),
        max_conns in 0_u32..4,
    ) -> ServerSpec {
        let fail_timeout = Duration::from_secs(timeout);
        ServerSpec { weight, max_fails, fail_timeout, backup, down, max_conns, ..server(port) }
    }
}

fn any_balance() -> impl Strategy<Value = Balance> {
    use crate::upstream::LeastTime;
    prop_oneof![
        Just(Balance::RoundRobin),
        Just(Balance::LeastConn),
        Just(Balance::IpHash),
        Just(Balance::Hash),
        Just(Balance::ConsistentHash),
        Just(Balance::Random),
        Just(Balance::RandomTwo),
        any::<(bool, bool)>().prop_map(|(last_byte, inflight)| {
            Balance::LeastTime(LeastTime { last_byte, inflight })
        }),
    ]
}

#[derive(Default)]
struct History {
    requests: Vec<(Selection, Vec<*const crate::upstream::Peer>)>,
    held: Vec<PeerRef>,
}

impl History {
    fn select(&mut self, group: &Group, which: usize, now: Instant) {
        if self.requests.is_empty() {
            return;
        }
        let which = which % self.requests.len();
        let (selection, tried) = &mut self.requests[which];
        if let Ok(peer) = group.select(selection, now) {
            let id = Rc::as_ptr(&peer.peer);
            let lone = group.found.borrow().iter().map(Vec::len).sum::<usize>() == 1;
            assert!(lone || !tried.contains(&id), "a peer was given twice to one request");
            assert!(!peer.peer.down());
            tried.push(id);
            self.held.push(peer);
        }
    }

    fn free(&mut self, group: &Group, which: usize, failed: bool, now: Instant) {
        if self.held.is_empty() {
            return;
        }
        let peer = self.held.swap_remove(which % self.held.len());
        group.free(peer, if failed { Outcome::Failed } else { Outcome::Ok }, now);
    }

    /// Connections counted are connections held, and within the limit.
    fn check(&self, group: &Group) {
        for (peers, spec) in group.found.borrow().iter().zip(&group.spec().servers) {
            for peer in peers {
                let held = self.held.iter().filter(|held| Rc::ptr_eq(&held.peer, peer)).count();
                assert_eq!(peer.conns() as usize, held);
                assert!(spec.max_conns == 0 || peer.conns() <= spec.max_conns);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_history_is_sound(
        servers in proptest::collection::vec(any_server(), 1..7),
        balance in any_balance(),
        steps in steps(),
    ) {
        let group = balanced(balance, servers);
        let mut now = Instant::now();
        let mut history = History::default();
        for step in steps {
            match step {
                Step::Begin => {
                    let mut selection = group.selection(None);
                    selection.key(history.requests.len().to_string().into_bytes());
                    history.requests.push((selection, Vec::new()));
                }
                Step::Select(which) => history.select(&group, which, now),
                Step::Free(which, failed) => history.free(&group, which, failed, now),
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            history.check(&group);
        }
    }

    /// Over one cycle everybody gets exactly its weight, and on the way nobody is ahead of or behind
    /// its share by as many requests as there are peers.
    #[test]
    fn round_robin_is_exact_and_smooth(weights in proptest::collection::vec(1_u32..8, 2..8)) {
        let servers = (1..).zip(&weights).map(|(port, &weight)| weighted(port, weight)).collect();
        let group = group(servers);
        let total: u32 = weights.iter().sum();
        let now = Instant::now();
        let mut counts: BTreeMap<u16, u32> = BTreeMap::new();
        for sent in 1..=total {
            let peer = group.select(&mut group.selection(None), now).unwrap();
            *counts.entry(peer.address().port().unwrap()).or_default() += 1;
            for (port, &weight) in (1..).zip(&weights) {
                let got = f64::from(counts.get(&port).copied().unwrap_or(0));
                let share = f64::from(sent) * f64::from(weight) / f64::from(total);
                prop_assert!((got - share).abs() < f64::from(u32::try_from(weights.len()).unwrap()));
            }
        }
        prop_assert!((1..).zip(&weights).all(|(port, weight)| counts.get(&port) == Some(weight)));
    }

    /// `least_conn` never takes a peer more loaded, for its weight, than another usable one.
    #[test]
    fn least_conn_takes_the_least_loaded(
        weights in proptest::collection::vec(1_u32..5, 2..6),
        frees in proptest::collection::vec(any::<(bool, usize)>(), 0..60),
    ) {
        let servers: Vec<_> = (1..).zip(weights).map(|(port, weight)| weighted(port, weight)).collect();
        let group = balanced(Balance::LeastConn, servers);
        let now = Instant::now();
        let mut held: Vec<PeerRef> = Vec::new();
        for (free, which) in frees {
            if free && !held.is_empty() {
                held.swap_remove(which % held.len());
                continue;
            }
            let before: Vec<_> = group.found.borrow().iter().flatten()
                .map(|peer| (Rc::clone(peer), peer.conns())).collect();
            let chosen = group.select(&mut group.selection(None), now).unwrap();
            let load = i64::from(chosen.peer.conns() - 1);
            for (peer, conns) in before {
                prop_assert!(load * peer.weight() <= i64::from(conns) * chosen.peer.weight());
            }
            held.push(chosen);
        }
    }
}
