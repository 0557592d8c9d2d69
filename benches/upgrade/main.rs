//! Upgrades of nginx, haproxy and proxyd side by side: `cargo bench --bench upgrade`. Owns the order
//! of the run. Words after `--` choose parts: `loss`, `speed`, `endurance`.
//!
//! Under the eyes of clients that check every answer, nginx is upgraded by USR2, WINCH and QUIT,
//! haproxy reloads itself, and proxyd is upgraded by `-s upgrade` to another version and back.

mod change;
mod client;
mod configuration;
mod endurance;
mod fault;
mod leash;
mod load;
mod loss;
mod machine;
mod options;
mod probe;
// What the other benchmark asks as well is not needed here.
#[allow(dead_code)]
#[path = "../compare/process.rs"]
mod process;
mod report;
mod server;
mod speed;
mod table;
mod tally;

use options::{Options, Subject};
use report::Column;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        // Started by this program itself.
        ["leash", dir] => leash::run(Path::new(dir)).map(|()| Vec::new()).map_err(Into::into),
        // `cargo test --all-targets` starts benchmarks too, without this.
        _ if words.contains(&"--bench") => run(),
        _ => Ok(Vec::new()),
    };
    match outcome {
        Ok(missed) if missed.is_empty() => ExitCode::SUCCESS,
        Ok(missed) => {
            eprintln!("proxyd misses its targets:\n{}", missed.join("\n"));
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("upgrade: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The whole run; what proxyd missed.
fn run() -> Outcome<Vec<String>> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    // Servers in the background become its children, and so can be found and waited for.
    nix::sys::prctl::set_child_subreaper(true)?;
    let options = Options::new()?;
    for sentence in options.missing.iter().chain(&machine::unrest()) {
        eprintln!("{sentence}");
    }
    println!("{}\n", machine::describe(&options)?);
    Ok([losses(&options), speeds(&options), endurances(&options)].concat())
}

/// The servers take turns, and another one begins each round.
fn losses(options: &Options) -> Vec<String> {
    if !options.wants("loss") {
        return Vec::new();
    }
    let start = |subject: &Subject| (subject.clone(), Some(loss::Loss::default()));
    let mut columns: Vec<Column<loss::Loss>> = options.subjects.iter().map(start).collect();
    let count = columns.len();
    for round in 0..loss::ROUNDS as usize {
        for at in 0..count {
            let (subject, measured) = &mut columns[(at + round) % count];
            eprintln!("round {} of {}: {}", round + 1, loss::ROUNDS, subject.name);
            if let Some(loss) = measured
                && let Err(e) = loss::round(subject, loss)
            {
                eprintln!("{}: {e}", subject.name);
                *measured = None;
            }
        }
    }
    report::loss(&columns);
    report::misses(&columns, report::loss_missed)
}

fn speeds(options: &Options) -> Vec<String> {
    if !options.wants("speed") {
        return Vec::new();
    }
    let columns = each(options, speed::measure);
    report::speed(&columns);
    report::misses(&columns, report::speed_missed)
}

fn endurances(options: &Options) -> Vec<String> {
    if !options.wants("endurance") {
        return Vec::new();
    }
    let columns = each(options, endurance::measure);
    report::endurance(&columns);
    report::misses(&columns, report::endurance_missed)
}

/// Measures one after the other.
fn each<T>(options: &Options, measure: impl Fn(&Subject) -> Outcome<T>) -> Vec<Column<T>> {
    let one = |subject: Subject| {
        eprintln!("{}", subject.name);
        let measured = measure(&subject);
        let measured = measured.map_err(|e| eprintln!("{}: {e}", subject.name)).ok();
        (subject, measured)
    };
    options.unwatched().into_iter().map(one).collect()
}
