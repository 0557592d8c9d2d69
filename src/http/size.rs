//! Owns numbers of bytes that may depend on the request.

use super::finish::Finish;
use super::request::Request;
use super::template::Template;
use crate::conf::{Directive, Error, Word, values};

/// Bytes, known now or for each request.
#[derive(Debug)]
pub enum Size {
    Known(u64),
    Asked(Template),
}

impl Size {
    /// Compiles it; nothing written is 0.
    pub fn new(word: Option<&Word>, cx: &mut Finish) -> Self {
        let Some(word) = word else { return Self::Known(0) };
        match values::parse_size(&word.text) {
            Some(size) => Self::Known(size),
            None => Self::Asked(cx.template(word)),
        }
    }

    /// nginx takes a value that is no size for 0, and says so.
    pub fn value(&self, req: &Request) -> u64 {
        let template = match self {
            Self::Known(size) => return *size,
            Self::Asked(template) => template,
        };
        let text = template.value(req);
        values::parse_size(&text).unwrap_or_else(|| {
            req.log_error(format_args!("invalid size \"{}\"", String::from_utf8_lossy(&text)));
            0
        })
    }

    /// Takes a directive's word, which may have variables.
    pub fn read(slot: &mut Option<Word>, dir: &Directive) -> Result<(), Error> {
        values::once(slot, dir)?;
        let word = dir.arg(0);
        if !word.text.contains(&b'$') && values::parse_size(&word.text).is_none() {
            return Err(values::verdict(dir, "invalid value"));
        }
        *slot = Some(word.clone());
        Ok(())
    }
}
