//! Owns `limit_conn`: how many requests with the same key may be under way at one time.
//!
//! Must not keep what was counted: that is in zones, for all workers.

use super::inherit;
use crate::conf::values::{self, choice, flag, parse_number};
use crate::conf::{Args, Contexts, Directive, Error, Row, Word};
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::vars::{Variable, push};
use crate::http::zones::{LEVELS, ZoneWritten};
use crate::log::Level;
use crate::zone::keyed::{Full, Kind, Lease};

/// nginx's bounds of a key and of a limit.
const LONGEST_KEY: usize = 255;
const MOST: u64 = 65_535;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    /// `http` only.
    zones: Vec<ZoneWritten>,
    limits: Vec<(Word, u64)>,
    level: Option<Level>,
    status: Option<u16>,
    dry_run: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// An index into `snapshot.zones`, and how many a key may have there.
    limits: Vec<(usize, u64)>,
    level: Level,
    status: u16,
    dry_run: bool,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        if self.limits.is_empty() {
            self.limits.clone_from(&outer.limits);
        }
        inherit!(self, outer; level, status, dry_run);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let mut zone = |name: &Word| cx.zone(Kind::Connections, &name.text, name);
        let limits = self.limits.iter().filter_map(|(name, most)| Some((zone(name)?, *most)));
        Conf {
            limits: limits.collect(),
            level: self.level.unwrap_or(Level::Error),
            status: self.status.unwrap_or(503),
            dry_run: self.dry_run.unwrap_or(false),
        }
    }
}

/// Makes the zones known, before any `limit_conn` is finished.
pub fn define(http: &Scope, cx: &mut Finish) {
    for zone in &http.drafts.limit_conn.zones {
        zone.declare(Kind::Connections, 0, cx);
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "limit_conn_zone",
        Contexts::HTTP,
        Args::Exactly(2),
        "A zone in shared memory in which the requests under way of each key are counted: \
         `limit_conn_zone KEY zone=NAME:SIZE`.",
        |http, dir, _| {
            let zone = ZoneWritten::read(dir, |word| {
                Err(word.error(format!("invalid parameter \"{}\"", word.lossy())))
            })?;
            http.drafts.limit_conn.zones.push(zone);
            Ok(())
        },
    ),
    row(
        "limit_conn",
        HSL,
        Args::Exactly(2),
        "How many requests of one key may be under way: `limit_conn ZONE NUMBER`; several may stand side by \
         side.",
        |scope, dir, _| add(&mut scope.drafts.limit_conn.limits, dir),
    ),
    row(
        "limit_conn_log_level",
        HSL,
        Args::Exactly(1),
        "At what level it is logged that a request is refused (default error).",
        |scope, dir, _| choice(&mut scope.drafts.limit_conn.level, dir, LEVELS),
    ),
    row(
        "limit_conn_status",
        HSL,
        Args::Exactly(1),
        "The status of what is refused, 400 to 599 (default 503).",
        |scope, dir, _| values::between(&mut scope.drafts.limit_conn.status, dir, 400..=599),
    ),
    row(
        "limit_conn_dry_run",
        HSL,
        Args::Exactly(1),
        "`on` counts and logs, but lets all requests in.",
        |scope, dir, _| flag(&mut scope.drafts.limit_conn.dry_run, dir),
    ),
];

fn add(limits: &mut Vec<(Word, u64)>, dir: &Directive) -> Result<(), Error> {
    let (name, number) = (dir.arg(0), dir.arg(1));
    if limits.iter().any(|(known, _)| known.text == name.text) {
        return Err(values::verdict(dir, "is duplicate"));
    }
    let most = parse_number(&number.text).filter(|most| *most > 0).ok_or_else(|| {
        number.error(format!("invalid number of connections \"{}\"", number.lossy()))
    })?;
    if most > MOST {
        return Err(number.error("connection limit must be less 65536"));
    }
    limits.push((name.clone(), most));
    Ok(())
}

pub static VARIABLES: &[Variable] = &[Variable {
    name: "limit_conn_status",
    doc: "What `limit_conn` has said: PASSED, REJECTED or REJECTED_DRY_RUN.",
    get: |req, _, out| push(req.limited.connections.map(str::as_bytes), out),
}];

/// Counts a request for as long as it lasts, or refuses it.
pub fn run(req: &mut Request) -> Phase {
    if req.conf().limit_conn.limits.is_empty() || req.limited.connections.is_some() {
        return Ok(());
    }
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).limit_conn;
    for (at, most) in &conf.limits {
        let (shared, zone) = (&snapshot.zones[*at], &req.live.zones[*at]);
        let Some(key) = shared.key_of(req, LONGEST_KEY) else { continue };
        req.limited.connections = Some("PASSED");
        let full = match Lease::take(zone, zone.key(&key), *most) {
            Ok(lease) => {
                req.limited.leases.push(lease);
                continue;
            }
            Err(full) => full,
        };
        let (name, tell) = (shared.name(), zone.may_tell());
        match full {
            Full::Key => {
                let dry = if conf.dry_run { ", dry run," } else { "" };
                req.log(conf.level, format_args!("limiting connections{dry} by zone \"{name}\""));
            }
            Full::Zone if tell => {
                let text = "is full: requests of further keys are refused";
                req.log(Level::Alert, format_args!("limit_conn_zone \"{name}\" {text}"));
            }
            Full::Busy if tell => {
                let text = "is held by a process that has stopped: nothing is limited";
                req.log(Level::Alert, format_args!("limit_conn_zone \"{name}\" {text}"));
            }
            Full::Zone | Full::Busy => {}
        }
        if full != Full::Busy {
            return conf.refuse(req);
        }
    }
    Ok(())
}

impl Conf {
    /// What the request was counted for until now is given back.
    fn refuse(&self, req: &mut Request) -> Phase {
        req.limited.leases.clear();
        if self.dry_run {
            req.limited.connections = Some("REJECTED_DRY_RUN");
            return Ok(());
        }
        req.limited.connections = Some("REJECTED");
        Err(Stop::Status(self.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Site, errors};

    const ZONES: &str = "limit_conn_zone $arg_a zone=a:32k; limit_conn_zone $arg_b zone=b:32k;";

    fn ask(site: &Site, args: &str) -> (Request, Phase) {
        let mut req = site.request();
        req.args = args.as_bytes().to_vec();
        let phase = run(&mut req);
        (req, phase)
    }

    #[test]
    fn a_request_counts_as_long_as_it_lasts() {
        let site = Site::new(ZONES, "listen 1; limit_conn a 2;");
        let (first, phase) = ask(&site, "a=1");
        assert_eq!((phase, first.limited.connections), (Ok(()), Some("PASSED")));
        let (_second, phase) = ask(&site, "a=1");
        assert_eq!(phase, Ok(()));
        let (third, phase) = ask(&site, "a=1");
        assert_eq!((phase, third.limited.connections), (Err(Stop::Status(503)), Some("REJECTED")));
        assert_eq!(ask(&site, "a=2").1, Ok(()));
        let (other, phase) = ask(&site, "");
        assert_eq!((phase, other.limited.connections), (Ok(()), None));
        drop(first);
        assert_eq!(ask(&site, "a=1").1, Ok(()));
        let log = site.text("error.log");
        assert!(log.contains("limiting connections by zone \"a\", client: "), "{log}");
    }

    #[test]
    fn one_that_is_refused_is_counted_nowhere() {
        let site = Site::new(ZONES, "listen 1; limit_conn a 1; limit_conn b 1;");
        let (_first, phase) = ask(&site, "b=1");
        assert_eq!(phase, Ok(()));
        let (_second, phase) = ask(&site, "a=1&b=1");
        assert_eq!(phase, Err(Stop::Status(503)));
        assert_eq!(ask(&site, "a=1&b=2").1, Ok(()));
    }

    #[test]
    fn a_dry_run_only_says_it() {
        let site = Site::new(ZONES, "listen 1; limit_conn a 1; limit_conn_dry_run on;");
        let _first = ask(&site, "a=1");
        let (second, phase) = ask(&site, "a=1");
        assert_eq!((phase, second.limited.connections), (Ok(()), Some("REJECTED_DRY_RUN")));
        assert!(site.text("error.log").contains("limiting connections, dry run, by zone \"a\""));
    }

    #[test]
    fn a_key_may_not_be_long() {
        let site = Site::new(ZONES, "listen 1; limit_conn a 1;");
        let long = "x".repeat(256);
        let (req, phase) = ask(&site, &format!("a={long}"));
        assert_eq!((phase, req.limited.connections), (Ok(()), None));
        let text = format!("the value of the \"$arg_a\" key is more than 255 bytes: \"{long}\"");
        assert!(site.text("error.log").contains(&text));
    }

    #[test]
    fn mistakes_are_named_as_in_nginx() {
        let cases = [
            ("limit_conn_zone $uri zone=a:1m zone=b:1m;", "", "invalid number of arguments"),
            ("limit_conn_zone $uri size=1m;", "", "invalid parameter \"size=1m\""),
            ("limit_conn_zone $uri zone=:1m;", "", "must have \"zone\" parameter"),
            ("", "limit_conn a 0;", "invalid number of connections \"0\""),
            ("", "limit_conn a 65536;", "connection limit must be less 65536"),
            ("", "limit_conn a 1; limit_conn a 2;", "\"limit_conn\" directive is duplicate"),
            ("", "limit_conn a 1;", "zero size shared memory zone \"a\""),
        ];
        for (http, server, expected) in cases {
            let found = errors(http, server);
            assert!(found[0].contains(expected), "{found:?}");
        }
    }
}
