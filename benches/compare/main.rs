//! nginx, haproxy, proxyd and a bare TCP relay side by side: `cargo bench --bench compare`.
//! Owns the order of the run. All load is on loopback; `docs/performance.md` says what is measured.

mod listening;
mod load;
mod machine;
mod options;
mod origin;
mod process;
mod relay;
mod subject;
mod table;
mod workload;

use options::Options;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;
use subject::{Kind, Subject, leashed, on_core};
use table::{Memory, Sample};
use workload::Workload;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        // Started by this program itself.
        ["origin"] => origin::run().map_err(Into::into),
        ["relay", listen, origin] => relay(listen, origin),
        ["leash", program, ref arguments @ ..] => Err(subject::leash(program, arguments).into()),
        // `cargo test --all-targets` starts benchmarks too, without this.
        _ if words.contains(&"--bench") => compare(&words),
        _ => Ok(()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("compare: {e}");
            ExitCode::FAILURE
        }
    }
}

fn relay(listen: &str, origin: &str) -> Outcome<()> {
    Ok(relay::run(listen.parse()?, origin.parse()?)?)
}

/// Connections over which latencies are measured.
const LATENCY_CONNECTIONS: usize = 256;

/// The whole run.
fn compare(words: &[&str]) -> Outcome<()> {
    let options = Options::new(words)?;
    prepare(&options)?;
    let mut bench = Bench::new(&options)?;
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        bench.round(usize::try_from(round)?)?;
    }
    bench.print();
    Ok(())
}

/// Room for idle connections, a core for the clients, and a word on what will happen.
fn prepare(options: &Options) -> Outcome<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let mut set = nix::sched::CpuSet::new();
    set.set(options.cores.clients)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?;
    for sentence in options.missing.iter().chain(&machine::unrest()) {
        eprintln!("{sentence}");
    }
    let names: Vec<&str> = options.subjects.iter().map(|s| s.name).collect();
    eprintln!(
        "{}: {} rounds of {:?} for each kind of load, {} connections, {:?}, about {:?}",
        names.join(", "),
        options.rounds,
        options.duration,
        options.connections,
        options.cores,
        options.planned(),
    );
    Ok(())
}

/// The origin, and what has been measured so far.
struct Bench<'a> {
    options: &'a Options,
    origin: Child,
    address: SocketAddr,
    samples: Vec<Sample>,
    /// At half of the rate that nginx can do.
    paced: Vec<Sample>,
    memory: Vec<Memory>,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options) -> Outcome<Self> {
        let mut command = leashed(&std::env::current_exe()?)?;
        command.arg("origin").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut origin = on_core(options.cores.origin, || command.spawn())?;
        let mut line = String::new();
        if let Some(stdout) = origin.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim().parse()?;
        Ok(Self {
            options,
            origin,
            address,
            samples: Vec::new(),
            paced: Vec::new(),
            memory: Vec::new(),
        })
    }

    /// Each proxy once with each work, alone and freshly started; who comes first changes.
    fn round(&mut self, round: usize) -> Outcome<()> {
        let mut subjects = self.options.subjects.clone();
        let first = round % subjects.len();
        subjects.rotate_left(first);
        for load in self.options.loads.iter().copied() {
            for subject in subjects.iter().filter(|subject| load.suits(subject.kind)) {
                let sample = self.load(subject, load)?;
                self.samples.push(sample);
            }
        }
        if self.options.latency {
            self.latency(&subjects)?;
        }
        for subject in subjects.iter().filter(|_| self.options.idle > 0) {
            let memory = self.idle(subject)?;
            self.memory.push(memory);
        }
        Ok(())
    }

    /// Half of what the first nginx can do, asked of each at equal distances.
    fn latency(&mut self, subjects: &[Subject]) -> Outcome<()> {
        let Some(measure) = subjects.iter().find(|subject| subject.kind == Kind::Nginx) else {
            return Err("the rate for the latencies is nginx's, and it is not there".into());
        };
        let most = self.run(measure, Workload::small(), LATENCY_CONNECTIONS, None)?;
        for subject in subjects {
            let rate = Some(most.requests_a_second / 2.0);
            let sample = self.run(subject, Workload::small(), LATENCY_CONNECTIONS, rate)?;
            self.paced.push(sample);
        }
        Ok(())
    }

    fn load(&self, subject: &Subject, load: Workload) -> Outcome<Sample> {
        let connections = self.options.connections.min(load.connections);
        self.run(subject, load, connections, None)
    }

    fn run(
        &self,
        subject: &Subject,
        load: Workload,
        connections: usize,
        rate: Option<f64>,
    ) -> Outcome<Sample> {
        let options = self.options;
        let running = subject.start(options.cores.proxy, self.address)?;
        let (proxy, duration) = (running.address, options::WARM_UP);
        let mut work = load::Work { proxy, load, connections, duration, rate };
        load::own(&work)?;
        work.duration = options.duration;
        let origin = [nix::unistd::Pid::from_raw(i32::try_from(self.origin.id())?)];
        let before = (process::cpu(&running.pids)?, process::cpu(&origin)?);
        let seen = match &options.wrk {
            Some(wrk) => load::wrk(wrk, &work)?,
            None => load::own(&work)?,
        };
        let cpu = process::cpu(&running.pids)?.saturating_sub(before.0);
        let origin = process::cpu(&origin)?.saturating_sub(before.1);
        running.check()?;
        let requests = f64::from(seen.requests);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / requests;
        Ok(Sample {
            kind: subject.kind,
            load: load.name,
            requests_a_second: requests / seen.elapsed.as_secs_f64(),
            cpu: each(cpu),
            p99: seen.p99.as_secs_f64() * 1e3,
            busy: cpu.as_secs_f64() / seen.elapsed.as_secs_f64(),
            origin: each(origin),
            clients: each(seen.cpu),
        })
    }

    fn idle(&self, subject: &Subject) -> Outcome<Memory> {
        let running = subject.start(self.options.cores.proxy, self.address)?;
        // What is set up once is not the connections' fault.
        drop(load::idle(&load::Work::small(running.address, 16))?);
        let settle = || std::thread::sleep(Duration::from_millis(100));
        settle();
        let before = process::resident(&running.pids)?;
        let connections = load::idle(&load::Work::small(running.address, self.options.idle))?;
        settle();
        let after = process::resident(&running.pids)?;
        running.check()?;
        let count = f64::from(u32::try_from(connections.len())?);
        Ok(Memory {
            kind: subject.kind,
            base: f64::from(before.kib),
            each: (f64::from(after.kib) - f64::from(before.kib)) / count,
            is_pss: before.is_pss && after.is_pss,
        })
    }

    fn print(&self) {
        println!("{}\n", machine::describe(self.options));
        let names: Vec<(Kind, &str)> =
            self.options.subjects.iter().map(|s| (s.kind, s.name)).collect();
        for load in &self.options.loads {
            let samples: Vec<Sample> =
                self.samples.iter().filter(|s| s.load == load.name).copied().collect();
            println!("{}", table::load(load.title, &names, &samples));
        }
        if !self.paced.is_empty() {
            let title = format!("half of nginx's most, {LATENCY_CONNECTIONS} connections");
            println!("{}", table::load(&title, &names, &self.paced));
        }
        if !self.memory.is_empty() {
            println!("{}", table::memory(self.options.idle, &names, &self.memory));
        }
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        let _ = self.origin.kill();
        let _ = self.origin.wait();
    }
}
