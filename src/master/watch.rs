//! Whether a new program does worse than the old one while both serve the same clients. Pure.
//!
//! Both ask the same servers behind, so one of those that fails hurts both alike and proves nothing
//! against the new program; only the difference counts, and only if it is no accident.

use super::event::Sample;

/// Fewer requests than this prove nothing.
pub const ENOUGH: u64 = 50;
/// The share of failures that the new one may have above the old one's.
const TOLERANCE: f64 = 0.05;
/// How many standard deviations away from chance the difference has to be.
const CERTAINTY: f64 = 4.0;

/// Why the new program is to go, or nothing.
pub fn verdict(sample: Sample) -> Option<String> {
    if sample.new_requests < ENOUGH {
        return None;
    }
    let new = share(sample.new_failed, sample.new_requests);
    let old = share(sample.old_failed, sample.old_requests);
    let difference = new - old;
    if difference <= TOLERANCE || difference <= CERTAINTY * deviation(sample) {
        return None;
    }
    let (new, old, of) = (new * 100.0, old * 100.0, sample.new_requests);
    Some(format!("{new:.1} % local errors (of {of}) against {old:.1} % before"))
}

#[expect(clippy::cast_precision_loss, reason = "a share, for comparison")]
fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

/// The standard deviation of the difference of two shares, were they the same in truth.
#[expect(clippy::cast_precision_loss, reason = "a share, for comparison")]
fn deviation(sample: Sample) -> f64 {
    let (old, new) = (sample.old_requests.max(1) as f64, sample.new_requests as f64);
    let common = (sample.old_failed + sample.new_failed) as f64 / (old + new);
    (common * (1.0 - common).max(0.0) * (1.0 / old + 1.0 / new)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(old: (u64, u64), new: (u64, u64)) -> Option<String> {
        let ((old_failed, old_requests), (new_failed, new_requests)) = (old, new);
        verdict(Sample { old_requests, old_failed, new_requests, new_failed })
    }

    #[test]
    fn a_new_program_that_fails_is_found_out() {
        let text = judge((1, 1000), (95, 1204)).unwrap();
        assert_eq!(text, "7.9 % local errors (of 1204) against 0.1 % before");
        assert!(judge((0, 200), (20, 200)).is_some());
        assert!(judge((0, 50), (50, 50)).is_some());
    }

    #[test]
    fn a_dying_server_behind_proves_nothing() {
        assert_eq!(judge((500, 1000), (510, 1000)), None);
        assert_eq!(judge((25, 50), (30, 50)), None, "chance");
        assert_eq!(judge((50, 50), (50, 50)), None);
    }

    #[test]
    fn few_requests_and_small_differences_prove_nothing() {
        assert_eq!(judge((0, 1000), (49, 49)), None);
        assert_eq!(judge((0, 100_000), (4_000, 100_000)), None);
        assert_eq!(judge((0, 0), (0, 0)), None);
        assert_eq!(judge((5, 5), (0, 1000)), None);
    }
}
