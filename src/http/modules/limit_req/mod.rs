//! Owns `limit_req`: how often requests with the same key may come.
//!
//! Must not keep what was counted: that is in zones, for all workers.

mod excess;
mod rows;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use crate::http::io::Deadline;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::vars::{Variable, push};
use crate::http::zones::SharedZone;
use crate::log::Level;
use crate::zone::Keyed;
use crate::zone::keyed::{self, Key};
use excess::{Over, Rate};

pub use rows::{Draft, ROWS, define};

/// nginx's bound of a key.
const LONGEST_KEY: usize = 65_535;

/// In force.
#[derive(Debug)]
pub struct Conf {
    limits: Vec<Limit>,
    /// Of what is refused; what is delayed is worth one level less.
    level: Level,
    status: u16,
    dry_run: bool,
}

/// One `limit_req`.
#[derive(Debug)]
struct Limit {
    /// An index into `snapshot.zones`.
    zone: usize,
    how: Rate,
}

pub static VARIABLES: &[Variable] = &[Variable {
    name: "limit_req_status",
    doc: "What `limit_req` has said: PASSED, DELAYED, REJECTED, DELAYED_DRY_RUN or REJECTED_DRY_RUN.",
    get: |req, _, out| push(req.limited.requests.map(str::as_bytes), out),
}];

/// Lets a request in, now or after a while, or not.
pub async fn run(req: &mut Request) -> Phase {
    if req.conf().limit_req.limits.is_empty() || req.limited.requests.is_some() {
        return Ok(());
    }
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).limit_req;
    match conf.judge(req) {
        Judgement::NotAsked => Ok(()),
        Judgement::Over(excess, zone) => conf.refuse(req, excess, &snapshot.zones[zone].name()),
        Judgement::Under(excess, limit) => {
            let delay = limit.how.delay(excess);
            if delay == 0 {
                req.limited.requests = Some("PASSED");
                return Ok(());
            }
            conf.delay(req, delay, excess, &snapshot.zones[limit.zone].name()).await
        }
    }
}

/// What all limits together say.
enum Judgement<'a> {
    /// None of them has a key for this request.
    NotAsked,
    /// This excess is too large for this zone.
    Over(u64, usize),
    /// The limit that makes it wait longest, with its excess.
    Under(u64, &'a Limit),
}

impl Conf {
    /// nginx's order: each limit is looked at, and only when the last one lets the request in it is
    /// counted in all of them.
    fn judge(&self, req: &Request) -> Judgement<'_> {
        let now = keyed::now();
        let mut passed: Vec<(&Limit, Key)> = Vec::new();
        let mut longest = None;
        for (nth, limit) in self.limits.iter().enumerate() {
            let (shared, zone) = (&req.snapshot.zones[limit.zone], &req.live.zones[limit.zone]);
            let Some(key) = key(req, shared, zone) else { continue };
            let Some(mut records) = lock(req, shared, zone) else { continue };
            if nth + 1 < self.limits.len() {
                match limit.how.look(&mut records, key, now) {
                    Ok(_) => passed.push((limit, key)),
                    Err(Over(excess)) => return Judgement::Over(excess, limit.zone),
                }
                continue;
            }
            match limit.how.count(&mut records, key, now) {
                Ok(counted) => {
                    drop(records);
                    tell_if(counted.evicted, req, shared, zone);
                    longest = Some((counted.excess, limit));
                }
                Err(Over(excess)) => return Judgement::Over(excess, limit.zone),
            }
        }
        account(req, &passed, longest, now)
    }

    fn refuse(&self, req: &mut Request, excess: u64, zone: &str) -> Phase {
        let dry = if self.dry_run { ", dry run" } else { "" };
        let (whole, thousandths) = (excess / 1000, excess % 1000);
        req.log(
            self.level,
            format_args!(
                "limiting requests{dry}, excess: {whole}.{thousandths:03} by zone \"{zone}\""
            ),
        );
        if self.dry_run {
            req.limited.requests = Some("REJECTED_DRY_RUN");
            return Ok(());
        }
        req.limited.requests = Some("REJECTED");
        Err(Stop::Status(self.status))
    }

    async fn delay(&self, req: &mut Request, delay: u64, excess: u64, zone: &str) -> Phase {
        let dry = if self.dry_run { ", dry run" } else { "" };
        let level = Level::ALL.into_iter().rev().find(|level| *level < self.level);
        let level = level.unwrap_or(Level::Info).max(Level::Info);
        let (whole, thousandths) = (excess / 1000, excess % 1000);
        req.log(
            level,
            format_args!(
                "delaying request{dry}, excess: {whole}.{thousandths:03}, by zone \"{zone}\""
            ),
        );
        if self.dry_run {
            req.limited.requests = Some("DELAYED_DRY_RUN");
            return Ok(());
        }
        req.limited.requests = Some("DELAYED");
        wait(req, Duration::from_millis(delay)).await
    }
}

/// Counts the request in the limits that were only looked at.
fn account<'a>(
    req: &Request,
    passed: &[(&'a Limit, Key)],
    counted: Option<(u64, &'a Limit)>,
    now: u64,
) -> Judgement<'a> {
    let mut longest = counted;
    for (limit, key) in passed.iter().rev() {
        let (shared, zone) = (&req.snapshot.zones[limit.zone], &req.live.zones[limit.zone]);
        let Some(mut records) = lock(req, shared, zone) else { continue };
        let counted = limit.how.account(&mut records, *key, now);
        drop(records);
        tell_if(counted.evicted, req, shared, zone);
        let waits = |(excess, limit): (u64, &Limit)| limit.how.delay(excess);
        if longest.is_none_or(|so_far| limit.how.delay(counted.excess) > waits(so_far)) {
            longest = Some((counted.excess, limit));
        }
    }
    longest.map_or(Judgement::NotAsked, |(excess, limit)| Judgement::Under(excess, limit))
}

/// What stands for the request in a zone; `None` when it is not limited there.
fn key(req: &Request, shared: &SharedZone, zone: &Keyed) -> Option<Key> {
    let key = shared.key_of(req, LONGEST_KEY)?;
    Some(zone.key(&key))
}

/// A zone that cannot be had limits nothing.
fn lock<'a>(req: &Request, shared: &SharedZone, zone: &'a Keyed) -> Option<keyed::Records<'a>> {
    let records = zone.lock();
    if records.is_none() && zone.may_tell() {
        let name = shared.name();
        req.log(Level::Alert, format_args!(
            "limit_req zone \"{name}\" is held by a process that has stopped: nothing is limited"
        ));
    }
    records
}

fn tell_if(evicted: bool, req: &Request, shared: &SharedZone, zone: &Keyed) {
    if evicted && zone.may_tell() {
        let (name, room) = (shared.name(), zone.capacity());
        req.log(
            Level::Warn,
            format_args!(
                "limit_req zone \"{name}\" is full: the oldest of {room} keys are forgotten"
            ),
        );
    }
}

/// Waits, unless the client goes away meanwhile.
async fn wait(req: &mut Request, delay: Duration) -> Phase {
    let client = req.client.clone();
    let mut deadline = Deadline::after(delay);
    let gone = poll_fn(|cx| {
        if client.poll_gone(cx) {
            return Poll::Ready(true);
        }
        deadline.poll(cx).map(|_| false)
    });
    if !gone.await {
        return Ok(());
    }
    req.log(Level::Info, format_args!("client prematurely closed connection"));
    req.reply.status = 499;
    req.keepalive = false;
    Err(Stop::Close)
}
