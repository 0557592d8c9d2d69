//! Owns the tables that are printed, in Markdown: a column for each server, the targets beside them.

use std::fmt::Write as _;
use std::time::Duration;

/// Rows of one table.
pub struct Table {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<String>, &'static str)>,
}

impl Table {
    pub fn new(title: String, columns: Vec<&'static str>) -> Self {
        Self { title, columns, rows: Vec::new() }
    }

    /// A cell for each column; the target is proxyd's.
    pub fn row(&mut self, name: &str, cells: Vec<String>, target: &'static str) {
        self.rows.push((name.to_owned(), cells, target));
    }

    pub fn print(&self) {
        let mut out = format!("| {} | {} | target |\n", self.title, self.columns.join(" | "));
        let _ = writeln!(out, "|---|{}---:|", "---:|".repeat(self.columns.len()));
        for (name, cells, target) in &self.rows {
            let _ = writeln!(out, "| {name} | {} | {target} |", cells.join(" | "));
        }
        println!("{out}");
    }
}

pub fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

/// `median / longest`.
pub fn middle_and_longest(times: &[Duration]) -> String {
    shares(times, &[500, 1000])
}

pub fn middle(times: &[Duration]) -> Duration {
    share(times, 500)
}

pub fn longest(times: &[Duration]) -> Duration {
    share(times, 1000)
}

/// Times that so many thousandths are not longer than.
pub fn shares(times: &[Duration], thousandths: &[usize]) -> String {
    let cells: Vec<String> = thousandths.iter().map(|each| ms(share(times, *each))).collect();
    cells.join(" / ")
}

fn share(times: &[Duration], thousandths: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() * thousandths / 1000).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}
