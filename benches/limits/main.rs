//! `limit_req` with a million keys in nginx and proxyd, side by side: `cargo bench --bench limits`.
//! `NGINX` names nginx's program, or several with `:` between them; `PROXYD`, `KEYS` and `ROUNDS` have
//! defaults. Every answer is counted; `docs/performance.md` says what is measured.

#[path = "../compare/process.rs"]
#[allow(dead_code, reason = "made for another comparison as well")]
mod process;

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Requests sent at once.
const BATCH: usize = 100;

/// Refused after `limit_req` has let it in: nothing is read from disk, and both have a short page.
const CONFIGURATION: &str =
    "worker_processes 1; daemon off; pid server.pid; error_log error.log crit;
events {}
http {
    access_log off;
    keepalive_requests 1000000000;
    limit_req_zone $arg_k zone=one:512m rate=1r/m;
    server {
        listen LISTEN;
        location /plain { deny all; }
        location /limited { limit_req zone=one burst=1000000 nodelay; deny all; }
    }
}
";

fn main() -> ExitCode {
    // `cargo test --all-targets` starts benchmarks too, without this.
    if !std::env::args().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    match compare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("limits: {e}");
            ExitCode::FAILURE
        }
    }
}

fn number(name: &str, default: u32) -> Outcome<u32> {
    std::env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

fn programs() -> Vec<(String, PathBuf)> {
    let nginx = std::env::var_os("NGINX").unwrap_or_else(|| "nginx".into());
    let mut all: Vec<PathBuf> = std::env::split_paths(&nginx).collect();
    let own = std::env::var_os("PROXYD").unwrap_or_else(|| env!("CARGO_BIN_EXE_proxyd").into());
    all.push(own.into());
    all.into_iter().map(|program| (version(&program), program)).collect()
}

/// What it calls itself.
fn version(program: &PathBuf) -> String {
    let said = Command::new(program).arg("-v").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    let said = said.unwrap_or_default();
    said.trim().trim_start_matches("nginx version: ").to_owned()
}

fn compare() -> Outcome<()> {
    let (keys, rounds) = (number("KEYS", 1_000_000)?, number("ROUNDS", 3)?);
    let programs = programs();
    let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); programs.len()];
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for (at, (name, program)) in programs.iter().enumerate() {
            let found = measure(program, keys).map_err(|error| format!("{name}: {error}"))?;
            figures[at].push(found);
        }
    }
    println!(
        "| limit_req, {keys} keys, {rounds} rounds | without, CPU µs/request | a new key | × | a known key | × | \
         MiB for the keys | × |\n|---|---:|---:|---:|---:|---:|---:|---:|"
    );
    let first = Figures::median(&figures[0]);
    for ((name, _), all) in programs.iter().zip(&figures) {
        let Figures { plain, new, known, memory } = Figures::median(all);
        println!(
            "| {name} | {plain:.2} | {new:.2} | {:.2} | {known:.2} | {:.2} | {memory:.0} | {:.2} |",
            new / first.new,
            known / first.known,
            memory / first.memory,
        );
    }
    Ok(())
}

/// CPU microseconds a request, and MiB.
#[derive(Clone, Copy)]
struct Figures {
    plain: f64,
    new: f64,
    known: f64,
    memory: f64,
}

impl Figures {
    fn median(all: &[Figures]) -> Figures {
        let of = |pick: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = all.iter().map(pick).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Figures {
            plain: of(|f| f.plain),
            new: of(|f| f.new),
            known: of(|f| f.known),
            memory: of(|f| f.memory),
        }
    }
}

fn measure(program: &PathBuf, keys: u32) -> Outcome<Figures> {
    let server = Server::start(program)?;
    let mut client = server.connect()?;
    ask(&mut client, "limited", 0..1000, |at| at + 3_000_000_000)?;
    let plain = server.cost(keys, || ask(&mut client, "plain", 0..keys, |at| at))?;
    let before = server.resident()?;
    let new = server.cost(keys, || ask(&mut client, "limited", 0..keys, |at| at))?;
    let memory = server.resident()? - before;
    // Each of them once more, in an order that no cache foresees.
    let mix = |at: u32| u32::try_from(u64::from(at) * 514_229 % u64::from(keys)).unwrap_or(0);
    let known = server.cost(keys, || ask(&mut client, "limited", 0..keys, mix))?;
    Ok(Figures { plain, new, known, memory })
}

/// One worker under measurement; stopped when dropped.
struct Server {
    child: Child,
    pids: Vec<Pid>,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(program: &PathBuf) -> Outcome<Server> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("logs"))?;
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let conf = dir.path().join("server.conf");
        std::fs::write(&conf, CONFIGURATION.replace("LISTEN", &address.to_string()))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(dir.path()).arg("-c").arg(conf).args(["-e", "error.log"]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Server { child, pids: Vec::new(), address, _dir: dir };
        let deadline = Instant::now() + Duration::from_secs(10);
        while server.connect().is_err() {
            if Instant::now() > deadline {
                return Err("does not serve".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        server.pids = process::tree(Pid::from_raw(i32::try_from(server.child.id())?))?;
        Ok(server)
    }

    fn connect(&self) -> Outcome<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// CPU microseconds for each of so many requests.
    fn cost(&self, requests: u32, work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
        let before = process::cpu(&self.pids)?;
        work()?;
        let spent = process::cpu(&self.pids)?.saturating_sub(before);
        Ok(spent.as_secs_f64() * 1e6 / f64::from(requests))
    }

    fn resident(&self) -> Outcome<f64> {
        Ok(f64::from(process::resident(&self.pids)?.kib) / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Asks for each key of a range, many at once; each has to be answered with 403.
fn ask(
    client: &mut TcpStream,
    path: &str,
    mut range: std::ops::Range<u32>,
    key: impl Fn(u32) -> u32,
) -> Outcome<()> {
    let mut buffer = vec![0; 1 << 20];
    let (needle, mut text) = (memchr::memmem::Finder::new(b"HTTP/1.1 403 "), Vec::new());
    while !range.is_empty() {
        text.clear();
        let batch: Vec<u32> = range.by_ref().take(BATCH).collect();
        for at in &batch {
            write!(text, "GET /{path}?k={:010} HTTP/1.1\r\nHost: a\r\n\r\n", key(*at))?;
        }
        client.write_all(&text)?;
        let (mut filled, mut seen) = (0, 0);
        // The last answer is whole when its page has ended.
        while seen < batch.len() || !buffer[..filled].ends_with(b"</html>\r\n") {
            let read = client.read(&mut buffer[filled..])?;
            if read == 0 {
                return Err("the connection ended".into());
            }
            filled += read;
            seen = needle.find_iter(&buffer[..filled]).count();
        }
        if seen != batch.len() {
            return Err(format!("{seen} answers to {} requests", batch.len()).into());
        }
    }
    Ok(())
}
