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

use options::Options;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;
use subject::{Kind, Subject, leashed, on_core};
use table::{Memory, Sample};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Path, bytes of body, title of the table.
const ANSWERS: [(&str, usize, &str); 2] =
    [("/small", origin::SMALL, "675 bytes"), ("/large", origin::LARGE, "100 KB")];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        // Started by this program itself.
        ["origin"] => origin::run().map_err(Into::into),
        ["relay", listen, origin] => relay(listen, origin),
        ["leash", program, ref arguments @ ..] => Err(subject::leash(program, arguments).into()),
        // `cargo test --all-targets` starts benchmarks too, without this.
        _ if words.contains(&"--bench") => compare(),
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

/// The whole run.
fn compare() -> Outcome<()> {
    let options = Options::from_environment()?;
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
        "{}: {} rounds of {:?} for each size of answers, {} connections, {:?}, about {:?}",
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
        Ok(Self { options, origin, address, samples: Vec::new(), memory: Vec::new() })
    }

    /// Each proxy once with each work, alone and freshly started; who comes first changes.
    fn round(&mut self, round: usize) -> Outcome<()> {
        let mut subjects = self.options.subjects.clone();
        let first = round % subjects.len();
        subjects.rotate_left(first);
        for (path, body, _) in ANSWERS {
            for subject in &subjects {
                let sample = self.load(subject, path, body)?;
                self.samples.push(sample);
            }
        }
        for subject in &subjects {
            let memory = self.idle(subject)?;
            self.memory.push(memory);
        }
        Ok(())
    }

    fn load(&self, subject: &Subject, path: &'static str, body: usize) -> Outcome<Sample> {
        let options = self.options;
        let running = subject.start(options.cores.proxy, self.address)?;
        let (proxy, connections) = (running.address, options.connections);
        let mut work = load::Work { proxy, path, body, connections, duration: options::WARM_UP };
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
            path,
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
        for (path, _, title) in ANSWERS {
            let samples: Vec<Sample> =
                self.samples.iter().filter(|s| s.path == path).copied().collect();
            println!("{}", table::load(title, &names, &samples));
        }
        println!("{}", table::memory(self.options.idle, &names, &self.memory));
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        let _ = self.origin.kill();
        let _ = self.origin.wait();
    }
}
