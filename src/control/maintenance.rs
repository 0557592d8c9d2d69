//! What passes over the control API about the switches of maintenance mode: orders, states, what is
//! under way, and proofs that nothing is. Data only; what it leads to is the master's.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Body of `POST /1/proxyd/maintenance/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// Has to be there.
    pub state: Option<Wish>,
    pub reason: String,
    /// Seconds after which it is expected to be over.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Open it then.
    pub auto_off: bool,
    /// Let nobody in, whatever the configuration allows.
    pub no_bypass: bool,
    /// Addresses and networks to let in besides those of the configuration.
    pub allow: Vec<String>,
    /// All switches, not only the one that is named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Those that requests for this host meet, instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// Body of `POST /1/proxyd/token/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenOrder {
    /// Who it is for; has to be there.
    pub who: String,
    /// Seconds that it is valid; two hours if missing.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub switch: String,
    pub who: String,
    /// When it ends, in seconds of the epoch.
    pub until: u64,
    pub token: String,
    /// Where it is exchanged for a cookie.
    pub path: String,
}

/// Body of `POST /1/proxyd/revoke/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Revocation {
    /// The tokens of all switches.
    pub all: bool,
}

/// What a switch is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    Open,
    Closed,
}

/// Who asks, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
    pub pid: i32,
    /// As the client calls itself; empty if it does not say.
    pub program: String,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It makes no sense.
    Malformed(String),
    /// There is no such switch.
    Unknown(String),
    /// As things are it cannot be.
    State(String),
    /// It was tried in vain.
    Failed(String),
}

impl Refusal {
    /// Its words.
    pub fn text(&self) -> &str {
        let (Refusal::Malformed(text)
        | Refusal::Unknown(text)
        | Refusal::State(text)
        | Refusal::Failed(text)) = self;
        text
    }
}

/// One switch, in the answers to `GET /1/proxyd/maintenance` and to changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    pub name: String,
    /// What clients meet: `open` or `closed`.
    pub state: String,
    /// What has been ordered, whatever flag files say.
    pub ordered: String,
    /// A file of `maintenance_flag_file` that is there and keeps it closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag_file: Option<PathBuf>,
    /// When it was ordered, in seconds of the epoch; nothing if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// The end that was announced, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// How many seconds that end has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrun: Option<u64>,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub auto_off: bool,
    #[serde(default)]
    pub no_bypass: bool,
    #[serde(default)]
    pub allow: Vec<String>,
    /// Counts closings.
    #[serde(default)]
    pub epoch: u64,
    /// How often its tokens were revoked.
    #[serde(default)]
    pub revoked: u64,
    /// Whether the configuration names it; `default` always counts as named.
    #[serde(default)]
    pub configured: bool,
    #[serde(default)]
    pub inflight: Counts,
}

/// Requests between being let in and the end of their exchange with a server behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub read: u64,
    pub write: u64,
    /// Upgraded connections.
    pub stream: u64,
    /// Let in although it was closed.
    pub bypass: u64,
    /// Over, but nobody knows whether they were carried out.
    pub unknown: u64,
}

impl Counts {
    /// All that are not over.
    pub fn under_way(&self) -> u64 {
        self.read + self.write + self.stream + self.bypass
    }
}

/// What is under way through one switch, in the answer to `GET /1/proxyd/inflight`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inflight {
    pub switch: String,
    pub state: String,
    pub total: Counts,
    /// The workers that have a part in it.
    pub workers: Vec<Share>,
    /// What is asked of each group of servers behind.
    #[serde(default)]
    pub upstreams: Vec<UpstreamShare>,
    /// The requests themselves, the oldest first.
    #[serde(default)]
    pub requests: Vec<Listed>,
    /// How many more there are: of workers that belong to other masters or have not answered, and
    /// those that are too many to be listed.
    #[serde(default)]
    pub not_listed: u64,
}

/// What is under way with one group of servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamShare {
    /// Its name; empty is for requests that have not come to one yet.
    pub upstream: String,
    #[serde(flatten)]
    pub counts: Counts,
}

/// One request that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub upstream: String,
    /// The address of the server that it asks.
    pub server: String,
    /// `read`, `write`, `stream` or `bypass`.
    pub class: String,
    pub method: String,
    /// The beginning of its path.
    pub path: String,
    pub age_ms: u64,
    pub worker: u32,
}

/// What one worker has of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub worker: u32,
    pub master: u32,
    /// Of the master, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(flatten)]
    pub counts: Counts,
}

/// Body of `POST /1/proxyd/barrier/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Barrier {
    /// How long to wait.
    pub timeout_ms: u64,
    /// Wait also for requests that were let in although it is closed.
    pub include_bypass: bool,
    /// Cut off what is left after that time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kill: bool,
    /// Cut off streams, if they are left after that time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kill_streams: bool,
}

impl Default for Barrier {
    fn default() -> Barrier {
        Barrier { timeout_ms: 60_000, include_bypass: false, kill: false, kill_streams: false }
    }
}

/// The answer to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Nothing is under way, nothing will start, and everything had an outcome.
    pub clean: bool,
    /// Something was still under way at the end.
    pub timed_out: bool,
    pub waited_ms: u64,
    pub inflight: Counts,
    pub unknown: u64,
    /// How many were cut off.
    #[serde(default)]
    pub cut: u64,
    /// How many idle connections to servers behind were closed after that.
    #[serde(default)]
    pub idle_closed: u64,
    /// How many workers have not said that they keep none.
    #[serde(default)]
    pub idle_kept_by: u64,
    /// Who still had something under way, and what; as in [`Inflight`].
    #[serde(default)]
    pub workers: Vec<Share>,
    #[serde(default)]
    pub requests: Vec<Listed>,
    #[serde(default)]
    pub not_listed: u64,
}
