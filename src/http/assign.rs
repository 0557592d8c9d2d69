//! Owns what the configuration may give a value to: variables of its own, and the few of nginx's that
//! may be changed.
//!
//! Must not know which directive does it.

use super::finish::Finish;
use super::request::Request;
use super::vars;
use crate::conf::{Error, Word};

/// A variable that is given a value.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    Slot(usize),
    /// `$args`.
    Args,
    /// `$limit_rate`.
    LimitRate,
}

impl Target {
    /// The variable of this name, which stands without its `$`.
    pub fn new(name: &Word, cx: &mut Finish) -> Self {
        match name.text.to_ascii_lowercase().as_slice() {
            b"args" => Self::Args,
            b"limit_rate" => Self::LimitRate,
            _ => Self::Slot(cx.names.define(&name.lossy())),
        }
    }

    /// Gives it a value.
    pub fn assign(self, req: &mut Request, value: Vec<u8>) {
        match self {
            Self::Slot(slot) => req.slots.set(slot, Some(value)),
            Self::Args => {
                req.args = value;
                req.uri_unchanged = false;
            }
            Self::LimitRate => req.set_limit_rate(&value),
        }
    }
}

/// The name in lower case, if it is to be defined; of nginx's own variables only two may be changed,
/// the others are refused as defined twice.
pub fn own_name(name: &Word) -> Result<Option<String>, Error> {
    let text = name.str()?.to_ascii_lowercase();
    match text.as_str() {
        "args" | "limit_rate" => Ok(None),
        _ if vars::rows().any(|row| row.name == text && !text.ends_with('_')) => {
            Err(name.error(format_args!("the duplicate \"{text}\" variable")))
        }
        _ => Ok(Some(text)),
    }
}
