//! `proxyd ctl barrier`: waits for the proof that nothing is under way, and says what is missing.

use std::time::{Duration, Instant};

use super::{DEFAULT, DONE, TIMED_OUT, UNKNOWN, inflight};
use crate::cli::contact::Contact;
use crate::cli::screen::Screen;
use crate::control::client::{self, Failed};
use crate::control::maintenance::{Barrier, Counts, Proof};
use crate::log::counted;

/// How often a master may hand over to another one while it is asked.
const TRIES: usize = 5;

/// Waits and shows.
pub(super) async fn wait(
    contact: &Contact,
    name: Option<&str>,
    terms: &Barrier,
    screen: &mut Screen<'_>,
) -> Result<u8, Failed> {
    wait_for_all(contact, &[name.unwrap_or(DEFAULT).to_owned()], terms, screen).await
}

/// The same of several switches, for as long together.
pub(super) async fn wait_for_all(
    contact: &Contact,
    names: &[String],
    terms: &Barrier,
    screen: &mut Screen<'_>,
) -> Result<u8, Failed> {
    let end = Instant::now() + Duration::from_millis(terms.timeout_ms);
    let mut worst = DONE;
    for name in names {
        let proof = ask(contact, name, terms, end).await?;
        if screen.json {
            screen.print_json(&proof);
        } else {
            show(name, &proof, screen);
        }
        worst = match (worst, code(&proof)) {
            (TIMED_OUT, _) | (_, TIMED_OUT) => TIMED_OUT,
            (worst, code) => worst.max(code),
        };
    }
    Ok(worst)
}

/// Asks until there is an answer: one master may hand over to another meanwhile.
async fn ask(
    contact: &Contact,
    name: &str,
    terms: &Barrier,
    end: Instant,
) -> Result<Proof, Failed> {
    let mut tries = 0;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let terms = Barrier { timeout_ms, ..terms.clone() };
        tries += 1;
        match client::barrier(&contact.control, name, &terms).await {
            Err(Failed::Gone) if tries < TRIES => {}
            answer => return answer,
        }
    }
}

fn code(proof: &Proof) -> u8 {
    match proof {
        Proof { timed_out: true, .. } => TIMED_OUT,
        Proof { clean: true, .. } => DONE,
        _ => UNKNOWN,
    }
}

fn show(name: &str, proof: &Proof, screen: &mut Screen<'_>) {
    let text = text(name, proof);
    if code(proof) == DONE {
        screen.print(&text);
    } else {
        let _ = screen.errors.write_all(text.as_bytes());
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn text(name: &str, proof: &Proof) -> String {
    let after = format!("after {:.3} s", proof.waited_ms as f64 / 1000.0);
    let when = |number: u64, text: String| if number == 0 { String::new() } else { text };
    let requests = |number| counted(number, "request");
    let unknown = format!("; what became of {} is unknown", requests(proof.unknown));
    let unknown = when(proof.unknown, unknown);
    let were = if proof.cut == 1 { "was" } else { "were" };
    let cut = when(proof.cut, format!("; {} {were} cut off", requests(proof.cut)));
    let idle = counted(proof.idle_closed, "idle upstream connection");
    let idle = when(proof.idle_closed, format!("; {idle} closed"));
    let kept = counted(proof.idle_kept_by, "worker");
    let kept = when(proof.idle_kept_by, format!("; {kept} may still keep idle ones"));
    if !proof.timed_out {
        return format!(
            "proxyd: barrier \"{name}\": nothing is under way {after}{idle}{kept}{cut}{unknown}\n"
        );
    }
    let Counts { read, write, stream, bypass, .. } = proof.inflight;
    let left = format!("read {read}, write {write}, stream {stream}, bypass {bypass}");
    format!(
        "proxyd: barrier \"{name}\": timed out {after}, still closed; under way: {left}{cut}{unknown}\n{}{}",
        inflight::workers(&proof.workers),
        inflight::requests(&proof.requests, proof.not_listed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(clean: bool, timed_out: bool, unknown: u64) -> Proof {
        let inflight = Counts { write: 1, unknown, ..Counts::default() };
        Proof { clean, timed_out, waited_ms: 1234, inflight, unknown, ..Proof::default() }
    }

    #[test]
    fn what_is_missing_is_said() {
        let said = |proof| text("shop", &proof);
        let head = "proxyd: barrier \"shop\":";
        let empty = format!("{head} nothing is under way after 1.234 s");
        assert_eq!(said(proof(true, false, 0)), format!("{empty}\n"));
        let one = format!("{empty}; what became of 1 request is unknown\n");
        assert_eq!(said(proof(false, false, 1)), one);
        let moved = Proof { idle_closed: 2, idle_kept_by: 1, ..proof(true, false, 0) };
        let idle = "2 idle upstream connections closed; 1 worker may still keep idle ones";
        assert_eq!(said(moved), format!("{empty}; {idle}\n"));
        let late = format!(
            "{head} timed out after 1.234 s, still closed; under way: read 0, write 1, stream 0, \
             bypass 0; what became of 2 requests is unknown\nGENERATION"
        );
        assert!(said(proof(false, true, 2)).starts_with(&late), "{}", said(proof(false, true, 2)));
    }

    #[test]
    fn codes_tell_them_apart() {
        assert_eq!(code(&proof(true, false, 0)), 0);
        assert_eq!(code(&proof(false, true, 0)), 3);
        assert_eq!(code(&proof(false, true, 2)), 3);
        assert_eq!(code(&proof(false, false, 2)), 5);
    }
}
