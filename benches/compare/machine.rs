//! Owns the words about where figures come from: the machine, how quiet it is, the versions.
//! Must not measure proxies.

use crate::options::Options;
use crate::subject::Kind;
use std::path::Path;
use std::process::Command;

/// One line for the reader of the tables.
pub fn describe(options: &Options) -> String {
    let mut words = vec![processor(), format!("Linux {}", read("/proc/sys/kernel/osrelease"))];
    for subject in &options.subjects {
        match subject.kind {
            Kind::Nginx | Kind::Haproxy | Kind::Proxyd => words.push(version(&subject.program)),
            Kind::NginxBuffers | Kind::Relay => {}
        }
    }
    words.push(options.wrk.as_deref().map_or_else(|| "own clients".to_owned(), version));
    words.join("; ")
}

/// A warning when others want the same cores: their load moves every figure.
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
    model.unwrap_or("unknown processor").to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The first line of `-v`, which all of them know; cut before what is no version.
fn version(program: &Path) -> String {
    let Ok(output) = Command::new(program).arg("-v").output() else {
        return program.display().to_string();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(" https://").next().unwrap_or_default();
    line.split(" Copyright").next().unwrap_or_default().to_owned()
}
