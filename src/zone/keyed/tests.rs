//! What a zone promises: the oldest goes first, nothing is lost or doubled, and whoever dies leaves it
//! as it was before or after the step it was at.

use std::os::fd::AsFd;
use std::panic::AssertUnwindSafe;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use proptest::prelude::*;

use super::journal::death;
use super::*;
use crate::sys::tests::is_alone;

fn spec(kind: Kind, size: u64) -> Spec {
    Spec { kind, name: b"one".to_vec(), size, key: b"$remote_addr".to_vec() }
}

fn me() -> Holder {
    Holder::worker(1, std::process::id())
}

/// A worker that is not there any more.
fn dead(slot: usize) -> Holder {
    Holder::worker(slot, i32::MAX.unsigned_abs())
}

fn name(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// The smallest size with room for so many.
fn room_for(kind: Kind, records: usize) -> u64 {
    let fits = |words: &usize| Shape::new(*words, kind.values()).records == records;
    (1..10_000).find(fits).expect("some size") as u64 * 8 + super::super::HEADER_WORDS as u64 * 8
}

/// All keys' values from the oldest on, as the zone has them; checks that both its orders agree.
fn contents(zone: &Keyed) -> Vec<(u64, u64)> {
    let records = zone.lock().unwrap();
    let all: Vec<At> =
        std::iter::successors(records.oldest(), |at| records.newer(*at)).take(100).collect();
    assert_eq!(all.len() as u64, records.used());
    assert_eq!(all.last().copied(), records.newest());
    let values = all.iter().map(|at| (records.value(*at, 0), records.value(*at, 1)));
    values.collect()
}

#[derive(Clone, Debug)]
enum Deed {
    Use(u32),
    Change(u32, u64),
    Remove(u32),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let key = 0..12_u32;
    let deed = prop_oneof![
        3 => key.clone().prop_map(Deed::Use),
        1 => (key.clone(), any::<u64>()).prop_map(|(key, value)| Deed::Change(key, value)),
        1 => key.prop_map(Deed::Remove),
    ];
    proptest::collection::vec(deed, 1..60)
}

/// What a zone with room for eight has after a deed, from the oldest on.
fn expect(before: &[(u64, u64)], deed: &Deed) -> Vec<(u64, u64)> {
    let mut all = before.to_vec();
    let place = |all: &[(u64, u64)], key: u32| all.iter().position(|(k, _)| *k == u64::from(key));
    match *deed {
        Deed::Use(key) => {
            let found = place(&all, key).map(|at| all.remove(at));
            if found.is_none() && all.len() == 8 {
                all.remove(0);
            }
            all.push(found.unwrap_or((key.into(), 0)));
        }
        Deed::Change(key, value) => {
            if let Some(at) = place(&all, key) {
                all[at].1 = value;
            }
        }
        Deed::Remove(key) => {
            if let Some(at) = place(&all, key) {
                all.remove(at);
            }
        }
    }
    all
}

fn perform(zone: &Keyed, deed: &Deed) {
    let mut records = zone.lock().unwrap();
    let key = |number: u32| zone.key(&name(number));
    match *deed {
        Deed::Use(number) => match records.find(key(number)) {
            Some(at) => records.touch(at),
            None if records.used() == 8 => {
                let oldest = records.oldest().unwrap();
                records.remove(oldest);
                records.insert(key(number), 0, &[number.into(), 0]).unwrap();
            }
            None => drop(records.insert(key(number), 0, &[number.into(), 0]).unwrap()),
        },
        Deed::Change(number, value) => {
            if let Some(at) = records.find(key(number)) {
                records.set_values(at, &[number.into(), value]);
            }
        }
        Deed::Remove(number) => {
            if let Some(at) = records.find(key(number)) {
                records.remove(at);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Each deed is tried with a death at each of its words; whoever looks next finds all of it or
    /// nothing (or, where it takes two steps, the first).
    #[test]
    fn a_death_at_any_word_changes_nothing(deeds in deeds()) {
        let spec = spec(Kind::Requests, room_for(Kind::Requests, 8));
        let (fd, zone) = Keyed::create(&spec, me()).unwrap();
        let mortal = Keyed::attach(fd.as_fd(), &spec, dead(5)).unwrap();
        for deed in &deeds {
            let before = contents(&zone);
            let after = expect(&before, deed);
            let mut nth = 0;
            while death::at(nth, AssertUnwindSafe(|| perform(&mortal, deed))) {
                let found = contents(&zone);
                prop_assert!(found == before || found == after || found == before[1..]);
                if found != before {
                    break;
                }
                nth += 1;
            }
            perform(&zone, deed);
            prop_assert_eq!(contents(&zone).len(), after.len());
            if nth == 0 || contents(&zone) == after {
                prop_assert_eq!(contents(&zone), after);
            }
        }
    }

    #[test]
    fn the_order_of_use_is_kept(deeds in deeds()) {
        let spec = spec(Kind::Requests, room_for(Kind::Requests, 8));
        let (_fd, zone) = Keyed::create(&spec, me()).unwrap();
        let mut model = Vec::new();
        for deed in &deeds {
            perform(&zone, deed);
            model = expect(&model, deed);
            prop_assert_eq!(contents(&zone), model.clone());
        }
    }
}

#[test]
fn all_the_memory_is_used_and_no_more() {
    for kind in [Kind::Requests, Kind::Connections] {
        let (_fd, zone) = Keyed::create(&spec(kind, 64 << 10), me()).unwrap();
        let mut records = zone.lock().unwrap();
        let mut count = 0;
        while records.insert(zone.key(&name(count)), 1, &[1, 2]).is_some() {
            count += 1;
        }
        assert_eq!(count as usize, zone.capacity());
        println!("{kind:?}: {count} records in 64k");
        assert!((0..count).all(|number| records.find(zone.key(&name(number))).is_some()));
        assert!(records.find(zone.key(&name(count))).is_none());
    }
}

#[test]
fn others_recognize_it_by_all_it_is() {
    let spec = spec(Kind::Requests, 64 << 10);
    let (fd, zone) = Keyed::create(&spec, me()).unwrap();
    zone.lock().unwrap().insert(zone.key(b"k"), 0, &[7, 8]).unwrap();
    let same = Keyed::recognize(fd.as_fd(), &spec, dead(0)).unwrap();
    assert_eq!(contents(&same), [(7, 8)]);
    assert!(same.lock().unwrap().find(same.key(b"k")).is_some());
    let others = [
        Spec { kind: Kind::Connections, ..spec.clone() },
        Spec { name: b"two".to_vec(), ..spec.clone() },
        Spec { size: 128 << 10, ..spec.clone() },
        Spec { key: b"$uri".to_vec(), ..spec.clone() },
    ];
    assert!(others.iter().all(|other| Keyed::recognize(fd.as_fd(), other, me()).is_none()));
}

#[test]
fn shares_of_the_dead_are_given_back() {
    let spec = spec(Kind::Connections, 64 << 10);
    let (fd, zone) = Keyed::create(&spec, me()).unwrap();
    let other = Rc::new(Keyed::attach(fd.as_fd(), &spec, dead(5)).unwrap());
    let zone = Rc::new(zone);
    let key = zone.key(b"k");
    let first = Lease::take(&zone, key, 3).unwrap();
    let theirs: Vec<Lease> = (0..2).map(|_| Lease::take(&other, key, 3).unwrap()).collect();
    assert_eq!(Lease::take(&zone, key, 3).unwrap_err(), Full::Key);
    assert_eq!(Lease::take(&other, key, 3).unwrap_err(), Full::Key);
    zone.bury(4);
    assert_eq!(Lease::take(&zone, key, 3).unwrap_err(), Full::Key);
    std::mem::forget(theirs);
    zone.bury(5);
    let more: Vec<Lease> = (0..2).map(|_| Lease::take(&zone, key, 3).unwrap()).collect();
    assert_eq!(Lease::take(&zone, key, 3).unwrap_err(), Full::Key);
    drop((first, more));
    assert_eq!(zone.lock().unwrap().used(), 0);
}

#[test]
fn a_zone_full_of_keys_takes_no_more() {
    let spec = spec(Kind::Connections, room_for(Kind::Connections, 2));
    let zone = Rc::new(Keyed::create(&spec, me()).unwrap().1);
    let two = [Lease::take(&zone, zone.key(b"a"), 1), Lease::take(&zone, zone.key(b"b"), 1)];
    assert!(two.iter().all(Result::is_ok));
    assert_eq!(Lease::take(&zone, zone.key(b"c"), 1).unwrap_err(), Full::Zone);
    drop(two);
    assert!(Lease::take(&zone, zone.key(b"c"), 1).is_ok());
}

/// A process of ours, which ends with the test.
struct Hammer(Child);

impl Hammer {
    /// One that changes the zone behind a descriptor all the time.
    fn start(slot: usize, zone: &OwnedFd) -> Hammer {
        let child = Command::new(std::env::current_exe().unwrap())
            .env("PROXYD_TEST_ALONE", "1")
            .env(SLOT, slot.to_string())
            .args(["zone::keyed::tests::changes_a_zone_for_ever", "--exact", "--test-threads=1"])
            .stdin(Stdio::from(zone.try_clone().unwrap()))
            .stdout(Stdio::null())
            .spawn();
        Hammer(child.unwrap())
    }
}

impl Drop for Hammer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SLOT: &str = "PROXYD_TEST_SLOT";

/// Processes that do nothing but change one zone are killed at whatever they are doing, many times.
#[test]
fn killed_processes_leave_it_whole() {
    let spec = spec(Kind::Requests, 64 << 10);
    let (fd, zone) = Keyed::create(&spec, me()).unwrap();
    let done = || zone.lock().unwrap().evicted();
    let mut children: Vec<_> = (0..3).map(|slot| (slot, Hammer::start(slot, &fd))).collect();
    for round in 0..40 {
        let (slot, mut hammer) = children.remove(0);
        // Each has had its turn before one is killed.
        let before = done();
        while done() < before + 200 {
            std::hint::spin_loop();
        }
        hammer.0.kill().unwrap();
        // Not reaped yet, as when a master is busy.
        let mut records = zone.lock().unwrap();
        let all = std::iter::successors(records.oldest(), |at| records.newer(*at));
        assert_eq!(all.count() as u64, records.used(), "round {round}");
        records.count_evicted();
        drop(records);
        drop(hammer);
        zone.bury(slot);
        children.push((slot, Hammer::start(slot, &fd)));
    }
    println!("{} steps were undone", zone.repaired());
}

#[test]
fn changes_a_zone_for_ever() {
    let Some(slot) = std::env::var(SLOT).ok().filter(|_| is_alone()) else { return };
    let holder = Holder::worker(slot.parse().unwrap(), std::process::id());
    let stdin = std::io::stdin();
    let zone = Keyed::attach(stdin.as_fd(), &spec(Kind::Requests, 64 << 10), holder).unwrap();
    for number in 0_u32.. {
        let key = zone.key(&name(number.wrapping_mul(0x9e37_79b1) % 5000));
        let mut records = zone.lock().unwrap();
        if let Some(at) = records.find(key) {
            records.touch(at);
            records.set_values(at, &[number.into(), number.into()]);
            continue;
        }
        if records.used() == zone.capacity() as u64 {
            let oldest = records.oldest().unwrap();
            records.remove(oldest);
            records.count_evicted();
        }
        records.insert(key, 0, &[number.into(), number.into()]).unwrap();
    }
}
