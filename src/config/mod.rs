//! Reading a whole configuration: one function, [`load`], used alike by `-t`, by the master at start
//! and reload (which records what it asks of the outside) and by workers (which replay the record).
//!
//! Must not bind, open or start anything.

mod directives;
mod draft;
pub mod handover;
pub mod process;
mod survey;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::conf::{self, Contexts, Directive, Env, Severity, Table, World};
use crate::http;

pub use crate::http::snapshot::NeededSwitch;
pub use draft::{DEFAULT_PID, Draft, Machine};
pub use process::{Affinity, LogTarget, Process, User};
pub use survey::{Judged, Verdict, survey};

/// What the command line says about the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// What relative names start from; ends anywhere, with or without a slash.
    pub prefix: PathBuf,
    /// The main configuration file, already joined to the prefix.
    pub conf_file: PathBuf,
    /// Directives of `-g`.
    pub globals: Option<Vec<u8>>,
    /// Where messages go when there is no `error_log`; `None` is standard error.
    pub error_log: Option<PathBuf>,
    /// `-l`: socket of the control API, before what the file says.
    pub control: Option<PathBuf>,
}

/// A configuration that can be used.
pub struct Loaded {
    pub process: Process,
    pub http: Arc<http::Snapshot>,
    /// Every file read, in the order of opening.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// What is odd about it.
    pub report: Report,
    /// Directives without effect, each with the place of its first use.
    pub no_effect: Vec<(String, String)>,
}

/// Which switches of maintenance mode a host's requests meet, and tokens that let one pass.
#[derive(Debug, Clone)]
pub struct Doors(Arc<http::Snapshot>);

impl Doors {
    /// Those of a configuration.
    pub fn of(loaded: &Loaded) -> Doors {
        Doors(Arc::clone(&loaded.http))
    }

    /// The names of the switches; none if no server has such a name.
    pub fn switches_of(&self, host: &str) -> Vec<String> {
        self.0.switches_of(host)
    }

    /// A token for somebody; the error is a sentence.
    pub fn token(&self, switch: &str, who: &str, until: u64, epoch: u64) -> Result<String, String> {
        self.0.bypass_token(switch, who, until, epoch)
    }
}

/// What was found in a configuration.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// For people: sentence, place, source line and remedy of each.
    pub text: String,
    /// nginx's one-line form of each, for the log.
    pub lines: Vec<Line>,
}

impl Report {
    /// One fatal sentence that is about no place in a file.
    pub fn sentence(text: impl Into<String>) -> Report {
        let text = text.into();
        Report {
            text: format!("proxyd: [emerg] {text}\n"),
            lines: vec![Line { fatal: true, text }],
        }
    }
}

/// One line of a [`Report`], without time and process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// False for a warning.
    pub fatal: bool,
    pub text: String,
}

static TABLE: LazyLock<Table<Draft>> = LazyLock::new(|| Table::new(&[directives::DIRECTIVES]));

/// The table of the main context and `events`, for the documentation.
pub fn table() -> &'static Table<Draft> {
    &TABLE
}

/// Reads, checks and finishes a configuration. All errors are found in one run.
pub fn load(world: &mut dyn World, options: &Options, machine: Machine) -> Result<Loaded, Report> {
    let conf_dir = options.conf_file.parent().unwrap_or(Path::new("/"));
    let mut env = Env::new(world, &options.prefix, conf_dir);
    env.superuser = machine.superuser;
    let directives = parse(&mut env, options);
    let mut draft = Draft::new(machine);
    // Syntax errors leave a tree with holes; judging its meaning would add errors that are none.
    if env.errors.is_empty() {
        read_block(&mut draft, Contexts::MAIN, &directives, &mut env);
        return finish(draft, options, env);
    }
    Err(report(&env))
}

fn finish(mut draft: Draft, options: &Options, mut env: Env<'_>) -> Result<Loaded, Report> {
    let http_draft = draft.http.take().unwrap_or_default();
    let process = draft.finish(options, &mut env);
    let snapshot = http_draft.finish(&mut env);
    let report = report(&env);
    let Some(http) = snapshot.filter(|_| env.errors.is_empty()) else { return Err(report) };
    let place = |span| env.sources.place(span);
    let no_effect = env.no_effect.iter().map(|(name, span)| (name.clone(), place(*span))).collect();
    let files = env.sources.files().map(|(path, text)| (path.to_owned(), text.to_vec())).collect();
    Ok(Loaded { process, http, files, report, no_effect })
}

/// Where a server with this configuration has its pid file and its control socket. Nothing else has
/// to be right with it, so that a server whose configuration was broken since can be stopped.
pub fn places(world: &mut dyn World, options: &Options) -> Result<(PathBuf, PathBuf), Report> {
    let conf_dir = options.conf_file.parent().unwrap_or(Path::new("/"));
    let mut env = Env::new(world, &options.prefix, conf_dir);
    let directives = parse(&mut env, options);
    let own: Vec<_> = directives
        .into_iter()
        .filter(|directive| matches!(&*directive.name_str(), "pid" | "control"))
        .collect();
    // With a syntax error in the way the directive may be among what could not be read.
    if own.is_empty() && !env.errors.is_empty() {
        return Err(report(&env));
    }
    let nobody = Machine { cpus: 1, superuser: false, user: |_| None, group: |_| None };
    let mut draft = Draft::new(nobody);
    read_block(&mut draft, Contexts::MAIN, &own, &mut env);
    let process = draft.finish(options, &mut env);
    Ok((process.pid, process.control))
}

/// The directives of `-g`, then those of the file.
fn parse(env: &mut Env<'_>, options: &Options) -> Vec<Directive> {
    let mut directives = Vec::new();
    if let Some(text) = &options.globals {
        directives = conf::parse_text(env, "command line", text);
    }
    // nginx gives up on the command line before it opens the file.
    if env.errors.is_empty() {
        directives.extend(conf::parse(env, &options.conf_file));
    }
    directives
}

/// Applies the table of this module to the directives of one of its contexts.
fn read_block(draft: &mut Draft, context: Contexts, directives: &[Directive], env: &mut Env<'_>) {
    TABLE.apply(draft, context, directives, env, &http::knows);
}

fn report(env: &Env<'_>) -> Report {
    let mut lines = Vec::new();
    for error in env.warnings.iter().chain(&env.errors) {
        let fatal = error.level == Severity::Emerg;
        lines.push(Line { fatal, text: conf::diagnostics::one_line(&env.sources, error) });
    }
    let text = if lines.is_empty() { String::new() } else { conf::render(env) };
    Report { text, lines }
}

#[cfg(test)]
mod tests;
