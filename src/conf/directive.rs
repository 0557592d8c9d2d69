//! The tree a configuration is parsed into: words and directives, each with its place.
//! Must not give any of them a meaning.

use std::borrow::Cow;
use std::fmt::Display;

use super::{Error, Span};

/// One word as nginx sees it: quotes taken off, escapes undone.
#[derive(Debug, Clone)]
pub struct Word {
    /// Bytes, for `nginx.conf` need not be UTF-8.
    pub text: Vec<u8>,
    /// Where it was written, quotes included.
    pub span: Span,
    /// It stood in quotes.
    pub quoted: bool,
}

/// What [`Directive::arg`] gives for an argument that was not written.
static MISSING: Word = Word { text: Vec::new(), span: Span::NOWHERE, quoted: false };

impl Word {
    /// The word as text; an error when it is not UTF-8.
    pub fn str(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.text).map_err(|_| {
            self.error(format_args!("invalid value \"{}\", it is not UTF-8", self.lossy()))
        })
    }

    /// The word for people.
    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.text)
    }

    /// An error that points at this word.
    pub fn error(&self, message: impl Display) -> Error {
        Error::new(message, self.span)
    }
}

/// One directive: `name args… ;` or `name args… { block }`.
#[derive(Debug, Clone)]
pub struct Directive {
    pub name: Word,
    /// The words after the name.
    pub args: Vec<Word>,
    /// What stands between the braces, `include` already expanded; `None` when it ended with `;`.
    pub block: Option<Vec<Directive>>,
    /// From the name to the closing `;` or `}`.
    pub span: Span,
}

impl Directive {
    /// An error that points at the name of this directive.
    pub fn error(&self, message: impl Display) -> Error {
        self.name.error(message)
    }

    /// The name for people and for comparison with a known name.
    pub fn name_str(&self) -> Cow<'_, str> {
        self.name.lossy()
    }

    /// The argument number `index` from 0; an empty word that is nowhere if there is none.
    pub fn arg(&self, index: usize) -> &Word {
        self.args.get(index).unwrap_or(&MISSING)
    }
}
