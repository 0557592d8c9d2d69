//! Owns what `limit_conn` counts: for each key a record for each worker that has some, so that a
//! worker's share can be given back when it dies.
//!
//! Must not know what a connection is.

use std::rc::Rc;

use super::{At, Key, Keyed, Records};

/// Why one more cannot be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The key has as many as it may have.
    Key,
    /// There is no room for another key.
    Zone,
    /// Somebody has stopped while it had the records.
    Busy,
}

/// One that is counted, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    zone: Rc<Keyed>,
    key: Key,
}

impl Lease {
    /// Counts one more for a key, of which all workers together may have `limit`, at least 1.
    pub fn take(zone: &Rc<Keyed>, key: Key, limit: u64) -> Result<Lease, Full> {
        let slot = zone.me.slot().ok_or(Full::Busy)?;
        let mut records = zone.lock().ok_or(Full::Busy)?;
        let sum: u64 = records.all(key).map(|at| u64::from(share(&records, at).1)).sum();
        if sum >= limit {
            return Err(Full::Key);
        }
        match own(&records, key, slot) {
            Some(at) => {
                let count = share(&records, at).1;
                records.set_tag(at, tag(slot, count.saturating_add(1)));
            }
            None => drop(records.insert(key, tag(slot, 1), &[]).ok_or(Full::Zone)?),
        }
        Ok(Lease { zone: Rc::clone(zone), key })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // What cannot be given back now is given back with the next one.
        let mut owed = self.zone.owed.borrow_mut();
        owed.push(self.key);
        let (Some(mut records), Some(slot)) = (self.zone.lock(), self.zone.me.slot()) else {
            return;
        };
        for key in owed.drain(..) {
            give_back(&mut records, key, slot);
        }
    }
}

fn give_back(records: &mut Records<'_>, key: Key, slot: u16) {
    let Some(at) = own(records, key, slot) else { return };
    match share(records, at).1 {
        0 | 1 => records.remove(at),
        count => records.set_tag(at, tag(slot, count - 1)),
    }
}

/// Gives back what a worker had counted. The others go on meanwhile: none of them adds to its share.
pub(super) fn bury(zone: &Keyed, slot: u16) {
    zone.sweep(|records, at| {
        if share(records, at).0 == slot {
            records.remove(at);
        }
    });
}

fn own(records: &Records<'_>, key: Key, slot: u16) -> Option<At> {
    records.all(key).find(|at| share(records, *at).0 == slot)
}

/// Whose it is, and how many.
fn share(records: &Records<'_>, at: At) -> (u16, u16) {
    let [a, b, c, d] = records.tag(at).to_be_bytes();
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

fn tag(slot: u16, count: u16) -> u32 {
    u32::from(slot) << 16 | u32::from(count)
}
