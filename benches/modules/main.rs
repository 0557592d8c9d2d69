//! nginx and proxyd side by side where a module or the size of a configuration is what costs:
//! `cargo bench --bench modules`. Words after `--` choose parts: `limits`, `gzip`, `sites`.
//! Owns the order of the run; `docs/performance.md` says what is measured.

mod gzip;
mod limits;
#[path = "../compare/process.rs"]
#[allow(dead_code, reason = "made for another comparison as well")]
mod process;
mod server;
mod sites;

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Something that is measured of one program, printed as a row of a table.
struct Part {
    /// Word on the command line.
    name: &'static str,
    /// First line of the table.
    title: fn() -> Outcome<String>,
    /// Names of the columns.
    columns: &'static [&'static str],
    /// One number for each column.
    measure: fn(&PathBuf) -> Outcome<Vec<f64>>,
}

const PARTS: [&Part; 3] = [&limits::PART, &gzip::PART, &sites::PART];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` starts benchmarks too, without this.
    if !words.iter().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    let chosen = |part: &&&Part| {
        let mut names = words.iter().filter(|word| !word.starts_with("--")).peekable();
        names.peek().is_none() || names.any(|name| name == part.name)
    };
    match PARTS.iter().filter(chosen).try_for_each(|part| compare(part)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("modules: {e}");
            ExitCode::FAILURE
        }
    }
}

/// A number from the environment.
fn number(name: &str, default: u32) -> Outcome<u32> {
    std::env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

/// `NGINX` names nginx's program, or several with `:` between them; `PROXYD` has a default too.
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

/// Rounds in which the programs take turns; prints the medians, and ratios to the first program.
fn compare(part: &Part) -> Outcome<()> {
    let (programs, rounds) = (programs(), number("ROUNDS", 3)?);
    let mut figures: Vec<Vec<Vec<f64>>> = vec![Vec::new(); programs.len()];
    for round in 0..rounds {
        eprintln!("{}: round {} of {rounds}", part.name, round + 1);
        for ((name, program), all) in programs.iter().zip(&mut figures) {
            all.push((part.measure)(program).map_err(|error| format!("{name}: {error}"))?);
        }
    }
    println!(
        "| {}, {rounds} rounds | {} |",
        (part.title)()?,
        part.columns.join(" | × | ") + " | ×"
    );
    println!("|---|{}", "---:|".repeat(2 * part.columns.len()));
    let medians: Vec<Vec<f64>> = figures.iter().map(|rounds| median(rounds)).collect();
    for ((name, _), row) in programs.iter().zip(&medians) {
        let first = medians.first().into_iter().flatten();
        let cells = row.iter().zip(first).map(|(n, base)| format!(" {n:.2} | {:.2} |", n / base));
        println!("| {name} |{}", cells.collect::<String>());
    }
    println!();
    Ok(())
}

/// Of each column.
fn median(rounds: &[Vec<f64>]) -> Vec<f64> {
    let columns = rounds.first().map_or(0, Vec::len);
    let column = |at: usize| {
        let mut values: Vec<f64> = rounds.iter().filter_map(|row| row.get(at)).copied().collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    (0..columns).map(column).collect()
}
