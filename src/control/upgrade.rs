//! What passes over the control API about upgrades: the order, the lines of progress, and the state of
//! the server. Data only; what it leads to is the master's.

use std::collections::BTreeMap;
use std::ops::Not;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::maintenance::Switch;

/// Body of `POST /1/proxyd/upgrade` and of `POST /1/proxyd/rollback`, where `executable`, `arguments`
/// and `canary` mean nothing. What is not asked for is not sent, so that a newer client can speak to an
/// older server that does not know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Absolute path of the executable; a rollback has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<PathBuf>,
    /// Words for the new master after its name; `None` is those the running one was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Vec<String>>,
    /// Go as far as it can be undone unseen, and undo it.
    #[serde(skip_serializing_if = "Not::not")]
    pub dry_run: bool,
    /// Start with this many workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<usize>,
    /// The answer goes on until the old side has gone.
    #[serde(skip_serializing_if = "Not::not")]
    pub wait: bool,
    /// Milliseconds, instead of `upgrade_watch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<u64>,
}

/// One line of the answer to both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// `prepared`, `started`, `ready`, `overlap`, `committed`, `draining`, `done`, `refused`, `undone`.
    pub state: String,
    /// For people, without program name and level.
    pub text: String,
    /// Set in the line that decides: 0 the requested version serves, 1 nothing was changed, 2 it was
    /// started and undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
}

/// The answer to `GET /1/proxyd/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub generation: u64,
    /// Path of the running executable; ends in ` (deleted)` when its file is gone.
    pub executable: String,
    /// Words the master was started with, without its name.
    pub arguments: Vec<String>,
    pub prefix: PathBuf,
    pub configuration: PathBuf,
    /// What is under way: `reload`, `upgrade` or `rollback`.
    pub change: Option<String>,
    /// The version a rollback would go to.
    pub rollback: Option<String>,
    pub generations: Vec<GenerationStatus>,
    /// The last reload of this master, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Reload>,
    /// As in the answer to `GET /1/proxyd/maintenance`.
    #[serde(default)]
    pub switches: Vec<Switch>,
    /// The groups of servers behind, as the workers of this master find them.
    #[serde(default)]
    pub upstreams: Vec<UpstreamStatus>,
    /// How many HTTP/2 connections were ended for what their clients did too often, by what it was.
    #[serde(default)]
    pub floods: BTreeMap<String, u64>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    pub upstream: String,
    pub servers: Vec<ServerStatus>,
}

/// One address of a server. Each worker keeps its own account, so that they may
/// differ, unless the group has a zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerStatus {
    /// As the configuration has it.
    pub server: String,
    /// Empty as long as its name could not be resolved.
    pub address: String,
    pub backup: bool,
    /// That of most concern: `down`, `unresolved`, `unhealthy`, `checking`, `failing`, `full` or `up`.
    pub state: String,
    /// How many workers find it so, and how many there are.
    pub workers: u32,
    pub of: u32,
    /// Requests that it is being asked.
    pub active: u64,
    /// Failures that count at the moment.
    pub fails: u64,
}

impl ServerStatus {
    /// Adds how one more worker finds it; `shared` counts are the same in all.
    pub fn add(&mut self, state: &str, active: u32, fails: u32, shared: bool) {
        let concern = |state: &str| STATES.iter().position(|s| *s == state);
        if self.of == 0 || concern(state) > concern(&self.state) {
            state.clone_into(&mut self.state);
            self.workers = 0;
        }
        self.workers += u32::from(self.state == state);
        self.of += 1;
        let (active, fails) = (u64::from(active), u64::from(fails));
        if shared {
            (self.active, self.fails) = (self.active.max(active), self.fails.max(fails));
        } else {
            self.active += active;
            self.fails += fails;
        }
    }
}

/// States of a server, the worst last.
const STATES: [&str; 7] = ["up", "full", "failing", "checking", "unhealthy", "unresolved", "down"];

/// How a reload went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// Seconds since then.
    pub age: u64,
    pub done: bool,
    /// What was wrong or odd, a line each.
    pub logs: Vec<String>,
}

/// One generation that has processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationStatus {
    pub generation: u64,
    pub version: String,
    /// `serving`, `starting`, `draining`, or `standby`: nothing is left to do, but it would take over
    /// again if the one that serves died.
    pub state: String,
    pub master: u32,
    pub workers: Vec<u32>,
    /// Seconds since its start.
    pub age: u64,
    pub connections: u64,
}
