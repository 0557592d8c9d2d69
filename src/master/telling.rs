//! The words about an upgrade, for whoever asked, the supervisor and the error log.

use std::time::Duration;

use super::Master;
use super::event::Milestone;
use crate::control::upgrade::Progress;
use crate::log::{Level, counted};
use crate::version;

/// Of the successor, for what is told after it has gone.
#[derive(Default, Clone)]
pub(super) struct Told {
    pub pid: i32,
    version: String,
    workers: usize,
    building: (usize, usize),
    pub took: Duration,
}

impl Master {
    pub(super) fn remember(&mut self) {
        let Some(successor) = &self.upgrading.successor else { return };
        let told = &mut self.upgrading.told;
        told.version.clone_from(&successor.version);
        told.building = successor.building;
        told.workers = successor.ready.workers;
    }

    /// Tells whoever asked, the supervisor and the log how far it is.
    pub(super) fn tell_milestone(&mut self, milestone: &Milestone) {
        if *milestone == Milestone::Done && self.upgrading.plan.is_none() {
            // A successor that was sent away has nothing to tell.
            return;
        }
        self.remember();
        let (state, text, code) = self.words_for(milestone);
        let level = if matches!(code, Some(1 | 2)) { Level::Error } else { Level::Notice };
        self.log().write(level, None, format_args!("{text}"));
        let progress = Progress { state: state.to_owned(), text, code };
        let ended = matches!(state, "refused" | "undone" | "done" | "rehearsed");
        self.upgrading.watchers.retain(|(watcher, wait)| {
            let heard = watcher.send(progress.clone()).is_ok();
            heard && !ended && (code.is_none() || *wait)
        });
        self.supervise_upgrade(milestone, &progress.text);
        if ended {
            self.upgrading.plan = None;
        }
    }

    fn words_for(&self, milestone: &Milestone) -> (&'static str, String, Option<u8>) {
        let old = version::PROXYD;
        let Told { pid, version, workers, building, took } = &self.upgrading.told;
        let plan = self.upgrading.plan.as_ref();
        let what = plan.map_or("upgrade", |plan| plan.direction.name());
        let new = if version.is_empty() { "?" } else { version };
        let head = format!("{what} {old} -> {new}: ");
        let ended = &self.upgrading.end;
        let or_end = |why: &String| if why.is_empty() { ended.clone() } else { why.clone() };
        let (state, rest, code) = match milestone {
            Milestone::Started => ("started", format!("new master {pid} started"), None),
            Milestone::Ready => {
                let (took, workers) = (took.as_millis(), counted(*workers as u64, "worker"));
                ("ready", format!("new master {pid}, {workers} ready in {took} ms"), None)
            }
            Milestone::Overlap => ("overlap", self.overlap_words(), None),
            Milestone::Committed => {
                let left = self.counters.of_master(std::process::id()).active;
                let left = counted(left, "connection");
                ("committed", format!("committed; {old} draining {left}"), Some(0))
            }
            Milestone::Rehearsed => {
                let rest = format!("rehearsal went well; {old} has never stopped");
                ("rehearsed", rest, Some(0))
            }
            Milestone::Refused(why) => ("refused", or_end(why), Some(1)),
            Milestone::Late(after) => {
                let (ready, of) = building;
                let after = after.as_secs_f64();
                let rest = format!("not ready after {after} s ({ready} of {of} workers); killed");
                ("refused", rest, Some(1))
            }
            Milestone::Undone(why) if why == "on request" => {
                ("undone", "rolled back on request".to_owned(), Some(2))
            }
            Milestone::Undone(why) => {
                let rest = format!("rolled back: {}; {old} never stopped", or_end(why));
                ("undone", rest, Some(2))
            }
            Milestone::Done if self.upgrading.cut > 0 => {
                let cut = counted(self.upgrading.cut, "connection");
                ("done", format!("done; {old} has gone, {cut} cut"), None)
            }
            Milestone::Done => ("done", format!("done; {old} has gone"), None),
        };
        (state, head + &rest, code)
    }

    fn overlap_words(&self) -> String {
        if self.upgrading.plan.as_ref().is_some_and(|plan| plan.manual) {
            return "both accepting until one of the masters is told to quit".to_owned();
        }
        let watch = self.state.watch().unwrap_or_default().as_secs_f64();
        format!("both accepting, watching for {watch} s")
    }
}
