//! Owns the clock of the micro benchmarks: how often an operation is repeated and what is printed.
//! Knows nothing of what is timed.

use std::time::{Duration, Instant};

/// Batches of each benchmark; the fastest is the one least disturbed.
const BATCHES: usize = 25;
/// How long a batch should last.
const BATCH: Duration = Duration::from_millis(4);

/// Prints the columns' names.
pub fn heading() {
    println!("{:<44} {:>12} {:>12} {:>10}", "", "min ns", "median ns", "MB/s");
}

/// The benchmarks whose names contain a word.
pub struct Bench {
    pub filter: String,
}

impl Bench {
    /// Times `operation`, which handles `bytes` bytes (0: no rate is printed).
    pub fn time(&self, name: &str, bytes: u32, mut operation: impl FnMut()) {
        if !name.contains(&self.filter) {
            return;
        }
        let repeats = calibrate(&mut operation);
        let mut batches = [0.0; BATCHES];
        for batch in &mut batches {
            *batch = run(&mut operation, repeats).as_secs_f64() * 1e9 / f64::from(repeats);
        }
        batches.sort_unstable_by(f64::total_cmp);
        let (min, median) = (batches[0], batches[BATCHES / 2]);
        let rate =
            if bytes == 0 { String::new() } else { format!("{:.0}", f64::from(bytes) * 1e3 / min) };
        println!("{name:<44} {min:>12.1} {median:>12.1} {rate:>10}");
    }
}

/// Repeats that fill a batch.
fn calibrate(operation: &mut impl FnMut()) -> u32 {
    let mut repeats = 1;
    while run(operation, repeats) < BATCH {
        repeats *= 2;
    }
    repeats
}

fn run(operation: &mut impl FnMut(), repeats: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..repeats {
        operation();
    }
    start.elapsed()
}
