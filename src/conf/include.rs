//! Files within files: which ones an `include` names, and how many there may be.
//! Must not know any directive but `include`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lexer::Lexer;
use super::parser::Parser;
use super::world::{has_wildcard, reason};
use super::{Directive, Error, Span};

/// Files within files.
const MAX_INCLUDES: usize = 64;
/// Openings of one configuration, against files that include one another over and over.
const MAX_FILES: usize = 1_000_000;

impl Parser<'_, '_> {
    /// One file; `from` is the place of the `include` that names it.
    pub(super) fn file(&mut self, path: &Path, from: Option<Span>) -> Vec<Directive> {
        let at = from.unwrap_or(Span::NOWHERE);
        let text = match self.read(path) {
            Ok(text) => text,
            Err(message) => {
                self.env.report(Error::new(message, at));
                return Vec::new();
            }
        };
        let Some(id) = self.env.sources.add(path, Arc::clone(&text), from) else {
            self.env.report(Error::new(format_args!("\"{}\" is too large", path.display()), at));
            return Vec::new();
        };
        self.opened += 1;
        self.reading.push(path.to_owned());
        let directives = self.directives(&mut Lexer::new(id, &text, false), None);
        self.reading.pop();
        directives
    }

    /// The bytes of a file, or nginx's sentence on why there are none.
    fn read(&mut self, path: &Path) -> Result<Arc<[u8]>, String> {
        if let Some(text) = self.env.sources.text_of(path) {
            return Ok(text);
        }
        self.env.world.read(path).map(Arc::from).map_err(|error| {
            // A directory can be opened; it is reading it that fails.
            let call =
                if error.kind() == std::io::ErrorKind::IsADirectory { "pread" } else { "open" };
            format!("{call}() \"{}\" failed ({})", path.display(), reason(&error))
        })
    }

    /// Keeps a directive, or what the files have that an `include` names.
    pub(super) fn add(&mut self, directive: Directive, list: &mut Vec<Directive>) {
        if directive.name.text != b"include" {
            list.push(directive);
            return;
        }
        match self.included(&directive) {
            Ok(files) => {
                for path in files {
                    list.extend(self.include(&path, &directive));
                }
            }
            Err(error) => self.env.report(error),
        }
    }

    /// The files an `include` names.
    fn included(&mut self, directive: &Directive) -> Result<Vec<PathBuf>, Error> {
        if directive.block.is_some() {
            return Err(directive.error("directive \"include\" is not terminated by \";\""));
        }
        let [name] = directive.args.as_slice() else {
            return Err(directive.error("invalid number of arguments in \"include\" directive"));
        };
        let path = self.env.conf_path(name.str()?);
        match path.to_str().filter(|path| has_wildcard(path)) {
            None => Ok(vec![path]),
            Some(pattern) => self.env.world.glob(pattern).map_err(|error| {
                name.error(format_args!("glob() \"{pattern}\" failed ({})", reason(&error)))
            }),
        }
    }

    fn include(&mut self, path: &Path, directive: &Directive) -> Vec<Directive> {
        if self.recursive {
            return Vec::new();
        }
        let name = path.display();
        let message = if self.reading.iter().any(|open| open == path) {
            format!("file \"{name}\" includes itself")
        } else if self.reading.len() >= MAX_INCLUDES {
            format!("files are included deeper than {MAX_INCLUDES}")
        } else if self.opened >= MAX_FILES {
            format!("more than {MAX_FILES} files are included")
        } else {
            return self.file(path, Some(directive.arg(0).span));
        };
        self.recursive = true;
        self.env.report(directive.arg(0).error(message));
        Vec::new()
    }
}
