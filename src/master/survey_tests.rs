//! What is made of the workers' answers.

use super::*;
use crate::control::maintenance::Share;
use crate::ipc::{Found, Sum};

fn request(switch: &str, age_ms: u64) -> UnderWay {
    UnderWay {
        switch: switch.into(),
        upstream: "app".into(),
        server: "127.0.0.1:1".into(),
        class: "write".into(),
        method: "POST".into(),
        path: format!("/{age_ms}"),
        age_ms,
    }
}

fn account(ages: &[u64], writes: u64) -> Account {
    let counts = [0, writes, 0, 0];
    Account {
        under_way: ages
            .iter()
            .map(|age| request("shop", *age))
            .chain([request("api", 9)])
            .collect(),
        sums: vec![Sum { switch: "shop".into(), upstream: "app".into(), counts }],
        servers: Vec::new(),
    }
}

fn report(workers: &[(u32, u64)]) -> Inflight {
    let share = |(worker, write): &(u32, u64)| Share {
        worker: *worker,
        master: 1,
        generation: None,
        version: None,
        counts: Counts { write: *write, unknown: 1, ..Counts::default() },
    };
    Inflight {
        switch: "shop".into(),
        state: "closed".into(),
        total: Counts::default(),
        workers: workers.iter().map(share).collect(),
        upstreams: Vec::new(),
        requests: Vec::new(),
        not_listed: 0,
    }
}

#[test]
fn the_oldest_come_first_and_the_rest_is_counted() {
    // Worker 12 is another master's, and worker 11 has more than it lists.
    let mut report = report(&[(10, 2), (11, 5), (12, 7)]);
    let accounts = Accounts::from([(10, account(&[30, 10], 2)), (11, account(&[20], 5))]);
    list(&mut report, &accounts);
    let shown: Vec<_> = report.requests.iter().map(|one| (one.age_ms, one.worker)).collect();
    assert_eq!(shown, [(30, 10), (20, 11), (10, 10)]);
    assert_eq!(report.upstreams.len(), 1);
    assert_eq!((report.upstreams[0].counts.write, report.not_listed), (7, 7 + 4));
}

#[test]
fn each_server_is_as_bad_as_the_worst_worker_finds_it() {
    let found = |state: &str, fails| Found {
        shared: false,
        upstream: "app".into(),
        server: "app1".into(),
        address: "127.0.0.1:1".into(),
        backup: false,
        state: state.into(),
        active: 2,
        fails,
    };
    let with = |state, fails| Account { servers: vec![found(state, fails)], ..Account::default() };
    let accounts =
        Accounts::from([(1, with("up", 0)), (2, with("failing", 3)), (3, with("up", 1))]);
    let all = upstreams(&accounts);
    let server = &all[0].servers[0];
    assert_eq!((server.state.as_str(), server.workers, server.of), ("failing", 1, 3));
    assert_eq!((server.active, server.fails), (6, 4));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_not_waited_for() {
    let (sender, answers) = unbounded_channel();
    sender.send((7, Account::default())).unwrap();
    let begun = tokio::time::Instant::now();
    let found = Survey { asked: 2, answers }.answers().await;
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [7]);
    assert_eq!(begun.elapsed(), PATIENCE);
}
