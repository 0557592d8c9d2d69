//! The syntax of `nginx.conf`: reads files, expands `include`, gives a tree of directives with their places.
//! Must not know any directive by name (other than `include`) nor anything of HTTP.

mod bundle;
pub mod diagnostics;
pub mod directive;
mod include;
mod lexer;
mod parser;
pub mod pattern;
pub mod source;
pub mod table;
pub mod values;
pub mod world;

pub use bundle::{Bundle, Recording, Since};
pub use diagnostics::{Error, Severity, render};
pub use directive::{Directive, Word};
pub use parser::{parse, parse_text};
pub use pattern::Pattern;
pub use source::{FileId, Position, Sources, Span};
pub use table::{Action, Args, Contexts, Row, Setter, Table};
pub use world::{Disk, World};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is carried through the loading of one configuration.
pub struct Env<'w> {
    /// The only way to the outside.
    pub world: &'w mut dyn World,
    /// Every file read so far.
    pub sources: Sources,
    /// What makes this configuration unusable, in the order found.
    pub errors: Vec<Error>,
    /// What is odd but no obstacle, in the order found.
    pub warnings: Vec<Error>,
    /// Directives accepted for nginx's sake that change nothing, with the first place of each.
    pub no_effect: BTreeMap<String, Span>,
    /// What relative file names in directives start from (nginx's `-p`).
    pub prefix: PathBuf,
    /// The directory of the main configuration file: what `include` and certificates start from.
    pub conf_dir: PathBuf,
    /// Whether the process that opens sockets was started by root: decides some defaults.
    pub superuser: bool,
}

impl<'w> Env<'w> {
    /// Nothing read, nothing found.
    pub fn new(world: &'w mut dyn World, prefix: &Path, conf_dir: &Path) -> Self {
        Env {
            world,
            sources: Sources::default(),
            errors: Vec::new(),
            warnings: Vec::new(),
            no_effect: BTreeMap::new(),
            prefix: prefix.to_owned(),
            conf_dir: conf_dir.to_owned(),
            superuser: false,
        }
    }

    /// `name` relative to the prefix; an absolute name stays.
    pub fn full_path(&self, name: &str) -> PathBuf {
        self.prefix.join(name)
    }

    /// `name` relative to the directory of the main configuration file; an absolute name stays.
    pub fn conf_path(&self, name: &str) -> PathBuf {
        self.conf_dir.join(name)
    }

    /// Keeps `error` as a warning, whatever its level was: `env.warn(word.error("duplicate value"))`.
    pub fn warn(&mut self, error: Error) {
        self.warnings.push(Error { level: Severity::Warn, ..error });
    }

    /// Keeps `error` in the list of its level.
    pub fn report(&mut self, error: Error) {
        match error.level {
            Severity::Emerg => self.errors.push(error),
            Severity::Warn => self.warnings.push(error),
        }
    }
}
