//! Switches as several processes see them, and the proof under fire.

use super::*;
use ipnet::IpNet;
use proptest::prelude::*;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize};

fn closed(reason: &str) -> Order {
    Order { state: State::Closed, reason: reason.to_owned(), ..Order::default() }
}

#[test]
fn names_are_found_by_everybody() {
    let (fd, ours) = Gates::create().unwrap();
    let theirs = Gates::attach(fd.as_fd()).unwrap();
    let shop = ours.switch("shop").unwrap();
    assert_eq!(theirs.switch("shop"), Some(shop));
    assert_eq!(theirs.switch(DEFAULT), Some(ours.default_switch()));
    assert_ne!(theirs.switch("api"), Some(shop));
    assert_eq!(ours.names(), ["default", "shop", "api"]);
    assert_eq!(ours.name(shop), "shop");
    assert_eq!(ours.switch(""), None);
    let long = "x".repeat(MAX_NAME);
    assert_eq!(ours.name(ours.switch(&long).unwrap()), long);
    assert_eq!(ours.switch(&"x".repeat(MAX_NAME + 1)), None);
}

#[test]
fn there_is_an_end() {
    let (_fd, gates) = Gates::create().unwrap();
    for number in 1..MAX_SWITCHES {
        assert!(gates.switch(&format!("switch{number}")).is_some());
    }
    assert_eq!(gates.switch("one more"), None);
    assert!(gates.switch("switch63").is_some());
    assert!(gates.door(MAX_SLOTS - 1).is_some());
    assert!(gates.door(MAX_SLOTS).is_none());
    gates.bury(MAX_SLOTS);
    assert_eq!(gates.inflight_of(gates.default_switch(), MAX_SLOTS), Inflight::default());
}

#[test]
fn a_name_that_was_left_half_written_is_completed() {
    let (_fd, gates) = Gates::create().unwrap();
    let record = gates.record(Switch(1));
    record[HASH].store(hash(b"a name of two words"), Ordering::Relaxed);
    assert_eq!(gates.names(), ["default"]);
    assert_eq!(gates.switch("a name of two words"), Some(Switch(1)));
    assert_eq!(gates.names(), ["default", "a name of two words"]);
    // Another name of the same hash goes on to the next record.
    let record = gates.record(Switch(2));
    record[HASH].store(hash(b"other"), Ordering::Relaxed);
    record[NAME].store(u64::from_le_bytes(*b"\x05third\0\0"), Ordering::Relaxed);
    assert_eq!(gates.switch("other"), Some(Switch(3)));
}

#[test]
fn many_who_take_names_at_once_agree() {
    let (fd, ours) = Gates::create().unwrap();
    let names: Vec<String> = (0..40).map(|number| format!("switch {number}")).collect();
    let start = std::sync::Barrier::new(4);
    let take = |turn: usize| {
        let gates = Gates::attach(fd.as_fd()).unwrap();
        start.wait();
        for at in 0..names.len() {
            let name = &names[(at + turn * 10) % names.len()];
            assert_eq!(gates.name(gates.switch(name).unwrap()), *name);
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|turn| drop(scope.spawn(move || take(turn)))));
    let mut found = ours.names();
    assert_eq!(found.len(), names.len() + 1);
    found.sort();
    found.dedup();
    assert_eq!(found.len(), names.len() + 1);
}

#[test]
fn a_closed_door_counts_nobody() {
    let (_fd, gates) = Gates::create().unwrap();
    let (shop, door) = (gates.switch("shop").unwrap(), gates.door(7).unwrap());
    assert_eq!(door.enter(shop, Class::Write), Ok(()));
    gates.set(shop, &closed("stocktaking"));
    assert_eq!(door.enter(shop, Class::Read), Err(State::Closed));
    assert_eq!(door.state(gates.default_switch()), State::Open, "switches are independent");
    door.enter_anyway(shop, Class::Bypass);
    let under_way = Inflight { write: 1, bypass: 1, ..Inflight::default() };
    assert_eq!(gates.inflight(shop), under_way);
    assert_eq!(gates.inflight_of(shop, 7), under_way);
    assert_eq!(gates.inflight_of(shop, 6), Inflight::default());
    door.reclass(shop, Class::Write, Class::Stream);
    door.leave(shop, Class::Bypass);
    assert_eq!(gates.inflight(shop), Inflight { stream: 1, ..Inflight::default() });
    door.unknown(shop);
    door.leave(shop, Class::Stream);
    assert_eq!(gates.inflight(shop), Inflight { unknown: 1, ..Inflight::default() });
    gates.set(shop, &Order::default());
    assert_eq!(door.enter(shop, Class::Read), Ok(()));
}

#[test]
fn without_a_bypass_nobody_passes_a_closed_door() {
    let (_fd, gates) = Gates::create().unwrap();
    let (switch, door) = (gates.default_switch(), gates.door(0).unwrap());
    gates.set(switch, &closed("now"));
    assert_eq!(door.enter_closed(switch), Ok(()));
    gates.set(switch, &Order { no_bypass: true, ..closed("now") });
    assert_eq!(door.enter_closed(switch), Err(State::Closed));
    assert_eq!(gates.inflight(switch), Inflight { bypass: 1, ..Inflight::default() });
    gates.set(switch, &Order { no_bypass: true, ..Order::default() });
    assert_eq!(door.enter_closed(switch), Ok(()), "it has been opened meanwhile");
}

#[test]
fn what_a_dead_worker_had_under_way_is_unknown() {
    let (_fd, gates) = Gates::create().unwrap();
    let (switch, door) = (gates.default_switch(), gates.door(1).unwrap());
    for class in [Class::Read, Class::Read, Class::Write, Class::Stream, Class::Bypass] {
        door.enter_anyway(switch, class);
    }
    gates.door(2).unwrap().enter_anyway(switch, Class::Read);
    for _ in 0..2 {
        gates.bury(1);
        assert_eq!(gates.inflight(switch), Inflight { read: 1, unknown: 5, ..Inflight::default() });
    }
    gates.forget_unknown_but(switch, 0);
    assert_eq!(gates.inflight(switch), Inflight { read: 1, ..Inflight::default() });
}

#[test]
fn a_state_of_a_later_version_is_not_open() {
    let (_fd, gates) = Gates::create().unwrap();
    let (switch, door) = (gates.default_switch(), gates.door(0).unwrap());
    gates.record(switch)[STATE].store(3, Ordering::SeqCst);
    assert_eq!(door.enter(switch, Class::Read), Err(State::Closed));
}

#[test]
fn switches_of_another_layout_are_refused() {
    let (fd, _) = Zone::create("gates", LAYOUT + 1, WORDS).unwrap();
    assert!(Gates::attach(fd.as_fd()).unwrap_err().to_string().starts_with("layout "));
}

/// Who closes and sees nobody counted has proved it: nobody is inside, and nobody comes in.
#[test]
fn closed_and_nobody_counted_is_a_proof() {
    const WORKERS: usize = 4;
    let (fd, gates) = Gates::create().unwrap();
    let switch = gates.switch("shop").unwrap();
    let inside: [AtomicBool; WORKERS] = Default::default();
    let over = AtomicBool::new(false);
    let work = |slot: usize| {
        let theirs = Gates::attach(fd.as_fd()).unwrap();
        let door = theirs.door(slot).unwrap();
        let mut turned_away = 0;
        while !over.load(Ordering::Relaxed) {
            if door.enter(switch, Class::Write).is_ok() {
                inside[slot].store(true, Ordering::Relaxed);
                door.reclass(switch, Class::Write, Class::Stream);
                inside[slot].store(false, Ordering::Relaxed);
                door.leave(switch, Class::Stream);
            } else {
                turned_away += 1;
                std::thread::yield_now();
            }
        }
        turned_away
    };
    let turned_away: u32 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|slot| scope.spawn(move || work(slot))).collect();
        for epoch in 0..300 {
            gates.set(switch, &Order { epoch, ..closed("now") });
            while gates.inflight(switch) != Inflight::default() {
                std::thread::yield_now();
            }
            for _ in 0..5 {
                assert!(!inside.iter().any(|inside| inside.load(Ordering::Relaxed)));
                assert_eq!(gates.inflight(switch).stream, 0);
            }
            gates.set(switch, &Order::default());
            std::thread::yield_now();
        }
        over.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert!(turned_away > 0, "somebody has met a closed door");
    assert_eq!(gates.inflight(switch), Inflight::default());
}

/// Waits until both have come so far; they go on at the same time, or nearly.
fn meet(turn: &AtomicUsize, at: usize) {
    turn.fetch_add(1, Ordering::SeqCst);
    let mut spins = 0_u64;
    while turn.load(Ordering::SeqCst) < at {
        spins += 1;
        // On one processor the other one has to have its turn.
        if spins.is_multiple_of(1000) {
            std::thread::yield_now();
        }
        std::hint::spin_loop();
    }
}

/// One enters while another closes and looks, as nearly at once as can be had: who enters waits longer
/// after each success and less after each failure, so that it comes to be about as likely as not.
/// Whoever got in has been seen.
#[test]
fn who_enters_while_the_door_closes_is_seen_or_turned_away() {
    const ROUNDS: usize = 100_000;
    let (fd, gates) = Gates::create().unwrap();
    let switch = gates.default_switch();
    let (turn, entered) = (AtomicUsize::new(0), AtomicBool::new(false));
    let delay = AtomicUsize::new(0);
    let enter = || {
        let door = Gates::attach(fd.as_fd()).unwrap().door(0).unwrap();
        for round in 0..ROUNDS {
            meet(&turn, 4 * round + 2);
            for _ in 0..delay.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            let outcome = door.enter(switch, Class::Write);
            entered.store(outcome.is_ok(), Ordering::SeqCst);
            meet(&turn, 4 * round + 4);
            if outcome.is_ok() {
                door.leave(switch, Class::Write);
            }
        }
    };
    let (mut seen, mut unseen, mut turned_away) = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(enter);
        for round in 0..ROUNDS {
            gates.set(switch, &Order::default());
            meet(&turn, 4 * round + 2);
            gates.set(switch, &closed("now"));
            let counted = gates.inflight_of(switch, 0).write;
            meet(&turn, 4 * round + 4);
            let entered = entered.load(Ordering::SeqCst);
            unseen += usize::from(entered && counted == 0);
            seen += usize::from(entered);
            turned_away += usize::from(!entered);
            let now = delay.load(Ordering::Relaxed);
            let next = if entered { now + 1 } else { now.saturating_sub(1) };
            delay.store(next, Ordering::Relaxed);
        }
    });
    assert_eq!(unseen, 0, "somebody was inside, and nobody knew");
    assert!(seen > 0 && turned_away > 0, "{seen} entered, {turned_away} did not");
}

/// An order whose parts can be told to belong together.
fn numbered(number: u64) -> Order {
    let net = |at: u64| format!("10.0.{}.{at}/32", number % 256).parse().unwrap();
    Order {
        state: if number.is_multiple_of(2) { State::Open } else { State::Closed },
        epoch: number,
        since: number,
        until: Some(number + 1),
        auto_off: number.is_multiple_of(3),
        no_bypass: number.is_multiple_of(5),
        reason: number.to_string().repeat(10),
        allow: (0..number % 17).map(net).collect(),
        revoked: number,
    }
}

#[test]
fn an_order_is_read_whole_while_others_are_given() {
    let (fd, gates) = Gates::create().unwrap();
    let switch = gates.default_switch();
    gates.set(switch, &numbered(1));
    let over = AtomicBool::new(false);
    let read = || {
        let theirs = Gates::attach(fd.as_fd()).unwrap();
        let mut last = 0;
        while !over.load(Ordering::Relaxed) {
            let (order, version) = theirs.order_and_version(switch);
            assert_eq!(order, numbered(order.epoch));
            assert_eq!(order.epoch, version, "the version is that of the order");
            assert!(order.epoch >= last, "orders do not come back");
            last = order.epoch;
        }
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(read)).collect();
        for number in 2..20_000 {
            gates.set(switch, &numbered(number));
        }
        over.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// Who finds the door closed finds why.
#[test]
fn a_reason_is_there_before_the_door_closes() {
    let (fd, gates) = Gates::create().unwrap();
    let switch = gates.default_switch();
    let over = AtomicBool::new(false);
    let look = || {
        let theirs = Gates::attach(fd.as_fd()).unwrap();
        let door = theirs.door(0).unwrap();
        while !over.load(Ordering::Relaxed) {
            let before = theirs.version(switch);
            let closed = door.state(switch) == State::Closed;
            let (order, after) = theirs.order_and_version(switch);
            if closed && before == after {
                assert_eq!(order.reason, "because");
            }
        }
    };
    std::thread::scope(|scope| {
        let looker = scope.spawn(look);
        for _ in 0..20_000 {
            gates.set(switch, &closed("because"));
            gates.set(switch, &Order::default());
        }
        over.store(true, Ordering::Relaxed);
        looker.join().unwrap();
    });
}

fn nets() -> impl Strategy<Value = Vec<IpNet>> {
    let net = |(address, length): (std::net::IpAddr, u8)| {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, length.min(longest)).unwrap().trunc()
    };
    proptest::collection::vec((any::<std::net::IpAddr>(), 0..=128_u8).prop_map(net), 0..20)
}

proptest! {
    #[test]
    fn orders_come_back_as_they_were_given(
        shut in any::<bool>(), epoch in 0..1_u64 << 48, since in any::<u64>(),
        until in proptest::option::of(1..u64::MAX), auto_off in any::<bool>(),
        no_bypass in any::<bool>(), reason in ".{0,300}", allow in nets(), revoked in any::<u64>(),
    ) {
        let (_fd, gates) = Gates::create().unwrap();
        let state = if shut { State::Closed } else { State::Open };
        let order = Order { state, epoch, since, until, auto_off, no_bypass, reason, allow, revoked };
        gates.set(gates.default_switch(), &order);
        let mut expected = order;
        expected.reason.truncate(expected.reason.floor_char_boundary(MAX_REASON));
        expected.allow.truncate(MAX_ALLOWED);
        prop_assert_eq!(gates.order(gates.default_switch()), expected);
    }
}
