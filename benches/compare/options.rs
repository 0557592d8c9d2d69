//! Owns what can be chosen, by environment variables and words, and finding the programs.

use crate::Outcome;
use crate::subject::{Kind, Subject};
use crate::workload::{WORKLOADS, Workload};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// No run may take longer.
const LONGEST: Duration = Duration::from_mins(12);
/// Load before each measurement, so that pools are filled and pages are there.
pub const WARM_UP: Duration = Duration::from_millis(500);
/// Starting, idle connections and stopping, at most as a rule.
const AROUND: Duration = Duration::from_millis(700);

pub struct Options {
    pub subjects: Vec<Subject>,
    /// `None`: our own clients.
    pub wrk: Option<PathBuf>,
    pub rounds: u32,
    pub duration: Duration,
    pub connections: usize,
    /// 0: not asked for.
    pub idle: usize,
    pub loads: Vec<Workload>,
    /// Latencies are asked for.
    pub latency: bool,
    pub cores: Cores,
    /// Sentences about programs that are not there.
    pub missing: Vec<String>,
}

/// Core numbers.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    pub proxy: usize,
    pub clients: usize,
    pub origin: usize,
}

impl Options {
    /// What the environment says, and the words of the command line: names of loads, `latency`, `idle`;
    /// without any, the first two loads and `idle`.
    pub fn new(words: &[&str]) -> Outcome<Self> {
        let words: Vec<&str> = words.iter().copied().filter(|w| !w.starts_with("--")).collect();
        let chosen = |name| words.contains(&name) || words.contains(&"all");
        let loads = WORKLOADS.iter().copied();
        let usual = words.is_empty();
        let idle = if usual || chosen("idle") { number("IDLE", 1000)? } else { 0 };
        let mut options = Self {
            subjects: Vec::new(),
            wrk: None,
            rounds: number("ROUNDS", 6)?,
            duration: Duration::from_secs(u64::from(number("SECONDS", 2)?)),
            connections: usize::try_from(number("CONNECTIONS", 64)?)?,
            idle: usize::try_from(idle)?,
            loads: if usual {
                loads.take(2).collect()
            } else {
                loads.filter(|load| chosen(load.name)).collect()
            },
            latency: chosen("latency"),
            cores: cores()?,
            missing: Vec::new(),
        };
        // Cargo builds it for this benchmark, in the same profile.
        let built = option_env!("CARGO_BIN_EXE_proxyd").unwrap_or("target/release/proxyd");
        options.subject(Kind::Nginx, "nginx", "NGINX", "nginx");
        options.subject(Kind::NginxBuffers, "nginx, proxy_buffers 16 16k", "NGINX", "nginx");
        options.subject(Kind::Haproxy, "haproxy", "HAPROXY", "haproxy");
        options.subject(Kind::Proxyd, "proxyd", "PROXYD", built);
        let program = env::current_exe()?;
        options.subjects.push(Subject { name: "TCP relay", kind: Kind::Relay, program });
        // Not by default: it needs more CPU than our own clients, and when they share a core with
        // the origin the proxies wait for it.
        if let Some(wanted) = env::var_os("WRK") {
            let wrk = find(Path::new(&wanted)).ok_or("WRK is not there (apt install wrk)")?;
            options.wrk = Some(wrk);
        }
        options.check()?;
        Ok(options)
    }

    fn subject(&mut self, kind: Kind, name: &'static str, variable: &str, default: &str) {
        let wanted = program_of(variable, default);
        if let Some(program) = find(&wanted) {
            self.subjects.push(Subject { name, kind, program });
            return;
        }
        let wanted = wanted.display();
        let remedy = if kind == Kind::Proxyd {
            "cargo build --release"
        } else {
            &format!("apt install {default}")
        };
        self.missing.push(format!(
            "{name} is left out, there is no {wanted} ({remedy}, or set {variable})"
        ));
    }

    fn check(&self) -> Outcome<()> {
        if self.rounds == 0 || self.duration.is_zero() || self.connections == 0 {
            return Err("ROUNDS, SECONDS and CONNECTIONS must not be 0".into());
        }
        // Half of a proxy's connections are to the origin, and it has 16384.
        if self.connections > 1000 || self.idle > 15_000 {
            return Err("at most 1000 CONNECTIONS and 15000 IDLE".into());
        }
        let planned = self.planned();
        if planned > LONGEST {
            return Err(format!("that would take {planned:?}, more than {LONGEST:?}").into());
        }
        Ok(())
    }

    /// How long the run will take.
    pub fn planned(&self) -> Duration {
        let runs = self.loads.len() + usize::from(self.latency);
        let runs = u32::try_from(runs).unwrap_or(u32::MAX);
        let one = runs * (WARM_UP + self.duration + AROUND) + 2 * AROUND;
        one * self.rounds * u32::try_from(self.subjects.len()).unwrap_or(u32::MAX)
    }
}

fn number(variable: &str, default: u32) -> Outcome<u32> {
    let Ok(text) = env::var(variable) else { return Ok(default) };
    text.parse().map_err(|_| format!("{variable} is not a number: {text}").into())
}

fn program_of(variable: &str, default: &str) -> PathBuf {
    env::var_os(variable).map_or_else(|| default.into(), PathBuf::from)
}

/// A path as it is, a bare name in `PATH` or where Debian keeps servers.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.canonicalize().ok();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(program)).find(|program| program.is_file())
}

/// The first cores that this process may use; with two, clients and origin share one.
fn cores() -> Outcome<Cores> {
    let text = env::var("CORES").unwrap_or_default();
    let mut cores = text
        .split(',')
        .filter(|c| !c.is_empty())
        .map(str::parse)
        .collect::<Result<Vec<usize>, _>>()?;
    if cores.is_empty() {
        let set = sched_getaffinity(Pid::from_raw(0))?;
        cores = (0..CpuSet::count()).filter(|core| set.is_set(*core) == Ok(true)).collect();
    }
    match cores[..] {
        [proxy, clients, origin, ..] => Ok(Cores { proxy, clients, origin }),
        [proxy, clients] => Ok(Cores { proxy, clients, origin: clients }),
        _ => Err("two cores are needed: one for the proxy, one for clients and origin".into()),
    }
}
