//! Owns the tables that are printed, in Markdown: medians and minima of rounds, ratios to nginx.

use crate::subject::Kind;
use std::fmt::Write as _;

/// What one round measured of one proxy under load.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub kind: Kind,
    /// Name of its kind of load.
    pub load: &'static str,
    pub requests_a_second: f64,
    /// Microseconds.
    pub cpu: f64,
    /// Milliseconds.
    pub p99: f64,
    /// How much of its core the proxy used, 0 to 1.
    pub busy: f64,
    /// Microseconds of CPU a request of the origin and of the clients.
    pub origin: f64,
    pub clients: f64,
}

/// What one round measured of one proxy's memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub kind: Kind,
    /// KiB of the whole tree without connections.
    pub base: f64,
    /// KiB an idle connection.
    pub each: f64,
    pub is_pss: bool,
}

/// A column of numbers over the rounds.
struct Column(Vec<f64>);

impl Column {
    fn of<T>(rows: &[&T], value: impl Fn(&T) -> f64) -> Self {
        let mut values: Vec<f64> = rows.iter().map(|row| value(row)).collect();
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    fn median(&self) -> f64 {
        let upper = self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN);
        let lower = self.0.get(self.0.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
        f64::midpoint(lower, upper)
    }
}

/// A ratio, or a dash where there is nothing to compare with.
fn ratio(value: f64, base: Option<f64>) -> String {
    base.map_or_else(|| "-".to_owned(), |base| format!("{:.2}", value / base))
}

/// The table of one kind of load.
pub fn load(title: &str, names: &[(Kind, &str)], samples: &[Sample]) -> String {
    let rows = |kind| samples.iter().filter(|s| s.kind == kind).collect::<Vec<_>>();
    let base = |value: fn(&Sample) -> f64| {
        let rows = rows(Kind::Nginx);
        (!rows.is_empty()).then(|| Column::of(&rows, value))
    };
    let (base_cpu, base_rate) = (base(|s| s.cpu), base(|s| s.requests_a_second));
    let mut out = format!(
        "| {title} | CPU µs/request: median | min | × nginx: median | min | requests/s | × nginx | p99 ms | core busy |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    for (kind, name) in names {
        let rows = rows(*kind);
        if rows.is_empty() {
            continue;
        }
        let cpu = Column::of(&rows, |s| s.cpu);
        let rate = Column::of(&rows, |s| s.requests_a_second).median();
        let _ = writeln!(
            out,
            "| {name} | {:.1} | {:.1} | {} | {} | {rate:.0} | {} | {:.2} | {:.0} % |",
            cpu.median(),
            cpu.min(),
            ratio(cpu.median(), base_cpu.as_ref().map(Column::median)),
            ratio(cpu.min(), base_cpu.as_ref().map(Column::min)),
            ratio(rate, base_rate.as_ref().map(Column::median)),
            Column::of(&rows, |s| s.p99).median(),
            Column::of(&rows, |s| s.busy).median() * 100.0,
        );
    }
    let all: Vec<&Sample> = samples.iter().collect();
    let origin = Column::of(&all, |s| s.origin).median();
    let clients = Column::of(&all, |s| s.clients).median();
    out + &format!("\nThe origin took {origin:.1} µs a request, the clients {clients:.1} µs.\n")
}

/// The table of idle connections.
pub fn memory(idle: usize, names: &[(Kind, &str)], all: &[Memory]) -> String {
    let mut out = format!(
        "| {idle} idle connections | resident without, MiB | KiB a connection: median | min |\n\
         |---|---:|---:|---:|\n"
    );
    for (kind, name) in names {
        let rows: Vec<&Memory> = all.iter().filter(|m| m.kind == *kind).collect();
        let each = Column::of(&rows, |m| m.each);
        let base = Column::of(&rows, |m| m.base).median() / 1024.0;
        let note = if rows.iter().all(|m| m.is_pss) { "" } else { " (Rss)" };
        let (median, min) = (each.median(), each.min());
        let _ = writeln!(out, "| {name}{note} | {base:.1} | {median:.2} | {min:.2} |");
    }
    out
}
