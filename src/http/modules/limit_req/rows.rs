//! Owns what is written of `limit_req`, and the way from there to what is in force.
//!
//! Must not count anything.

use super::excess::Rate;
use super::{Conf, Limit};
use crate::conf::values::{self, choice, flag, parse_number};
use crate::conf::{Args, Contexts, Directive, Error, Row, Word};
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::modules::inherit;
use crate::http::zones::{LEVELS, ZoneWritten, without_zone};
use crate::log::Level;
use crate::zone::keyed::Kind;

/// nginx's numbers are signed words.
const MOST: u64 = i64::MAX as u64;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    /// `http` only, each with thousandths of a request a second.
    zones: Vec<(ZoneWritten, u64)>,
    limits: Vec<LimitWritten>,
    level: Option<Level>,
    status: Option<u16>,
    dry_run: Option<bool>,
}

#[derive(Debug, Clone)]
struct LimitWritten {
    zone: Vec<u8>,
    whole: Word,
    /// In whole requests.
    burst: u64,
    delay: u64,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        if self.limits.is_empty() {
            self.limits.clone_from(&outer.limits);
        }
        inherit!(self, outer; level, status, dry_run);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let mut limits = Vec::with_capacity(self.limits.len());
        for written in &self.limits {
            if let Some(zone) = cx.zone(Kind::Requests, &written.zone, &written.whole) {
                let rate = cx.zones.get(zone).map_or(1, |zone| zone.rate);
                let thousandths = |whole: u64| whole.saturating_mul(1000).min(MOST);
                let (burst, delay) = (thousandths(written.burst), thousandths(written.delay));
                limits.push(Limit { zone, how: Rate { each_second: rate, burst, delay } });
            }
        }
        Conf {
            limits,
            level: self.level.unwrap_or(Level::Error),
            status: self.status.unwrap_or(503),
            dry_run: self.dry_run.unwrap_or(false),
        }
    }
}

/// Makes the zones known, before any `limit_req` is finished.
pub fn define(http: &Scope, cx: &mut Finish) {
    for (zone, rate) in &http.drafts.limit_req.zones {
        zone.declare(Kind::Requests, *rate, cx);
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "limit_req_zone",
        Contexts::HTTP,
        Args::Exactly(3),
        "A zone in shared memory in which the requests of each key are counted: \
         `limit_req_zone KEY zone=NAME:SIZE rate=RATE`, with a rate such as `10r/s` or `30r/m`.",
        |http, dir, _| {
            let mut rate = 1000;
            let zone = ZoneWritten::read(dir, |word| {
                rate = read_rate(word)?;
                Ok(())
            })?;
            http.drafts.limit_req.zones.push((zone, rate));
            Ok(())
        },
    ),
    row(
        "limit_req",
        HSL,
        Args::Between(1, 3),
        "Limits how often requests of one key may come: `zone=NAME [burst=NUMBER] [nodelay|delay=NUMBER]`; \
         several may stand side by side.",
        |scope, dir, _| {
            let limit = read_limit(dir)?;
            let limits = &mut scope.drafts.limit_req.limits;
            if limits.iter().any(|known| known.zone == limit.zone) {
                return Err(values::verdict(dir, "is duplicate"));
            }
            limits.push(limit);
            Ok(())
        },
    ),
    row(
        "limit_req_log_level",
        HSL,
        Args::Exactly(1),
        "At what level it is logged that a request is refused (default error); that one is delayed is logged \
         one level below.",
        |scope, dir, _| choice(&mut scope.drafts.limit_req.level, dir, LEVELS),
    ),
    row(
        "limit_req_status",
        HSL,
        Args::Exactly(1),
        "The status of what is refused, 400 to 599 (default 503).",
        |scope, dir, _| values::between(&mut scope.drafts.limit_req.status, dir, 400..=599),
    ),
    row(
        "limit_req_dry_run",
        HSL,
        Args::Exactly(1),
        "`on` counts and logs, but lets all requests in at once.",
        |scope, dir, _| flag(&mut scope.drafts.limit_req.dry_run, dir),
    ),
];

/// Thousandths of a request a second; nginx cuts what is less.
fn read_rate(word: &Word) -> Result<u64, Error> {
    let Some(text) = word.text.strip_prefix(b"rate=") else {
        return Err(word.error(format!("invalid parameter \"{}\"", word.lossy())));
    };
    let (number, scale) = match text.strip_suffix(b"r/m") {
        Some(number) => (number, 60),
        None => (text.strip_suffix(b"r/s").unwrap_or(text), 1),
    };
    let rate = parse_number(number).filter(|rate| *rate > 0);
    let rate = rate.and_then(|rate| rate.checked_mul(1000)).map(|rate| rate / scale);
    rate.ok_or_else(|| {
        let error = word.error(format!("invalid rate \"{}\"", word.lossy()));
        error.with_help("a rate such as rate=10r/s or rate=30r/m")
    })
}

fn read_limit(dir: &Directive) -> Result<LimitWritten, Error> {
    let (mut zone, mut burst, mut delay) = (None, 0, 0);
    for word in &dir.args {
        let number = |text: &[u8], what: &str| {
            let number = parse_number(text).filter(|number| *number > 0);
            number.ok_or_else(|| word.error(format!("invalid {what} value \"{}\"", word.lossy())))
        };
        if let Some(name) = word.text.strip_prefix(b"zone=") {
            zone = Some((name.to_vec(), word.clone()));
        } else if let Some(text) = word.text.strip_prefix(b"burst=") {
            burst = number(text, "burst")?;
        } else if let Some(text) = word.text.strip_prefix(b"delay=") {
            delay = number(text, "delay")?;
        } else if word.text == b"nodelay" {
            delay = MOST;
        } else {
            return Err(word.error(format!("invalid parameter \"{}\"", word.lossy())));
        }
    }
    let (zone, whole) = zone.ok_or_else(|| without_zone(dir))?;
    Ok(LimitWritten { zone, whole, burst, delay })
}
