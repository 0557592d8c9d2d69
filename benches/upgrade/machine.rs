//! Owns the words about where figures come from: the machine, how quiet it is, the versions.

use crate::Outcome;
use crate::options::{Options, version};
use std::fs;

/// One line for the reader of the tables.
pub fn describe(options: &Options) -> Outcome<String> {
    let mut words = vec![processor(), format!("Linux {}", read("/proc/sys/kernel/osrelease"))];
    for subject in options.unwatched() {
        for program in &subject.programs {
            words.push(version(program)?);
        }
    }
    words.dedup();
    Ok(words.join("; "))
}

/// A warning when others want the processors: all that is measured here is short.
pub fn unrest() -> Option<String> {
    let text = read("/proc/loadavg");
    let load: f64 = text.split(' ').next()?.parse().ok()?;
    let warning =
        format!("the load average is {load}: on a busy machine the figures are not to be trusted");
    (load > 0.5).then_some(warning)
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map(|rest| rest.trim_start_matches([' ', '\t', ':']));
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    format!("{count} × {}", model.unwrap_or("unknown processor"))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
