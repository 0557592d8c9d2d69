//! Owns the recognition of what people write to close a site by rewriting: everything to one path.
//!
//! Must not judge whether that closes anything.

use super::condition;
use super::directive::{Flag, Written};
use crate::conf::{Pattern, Span, Word};

/// What brings every request, or every one of strangers, to one path of this server.
#[derive(Debug, Clone)]
pub struct Closing {
    pub span: Span,
    /// The path, without arguments.
    pub path: Vec<u8>,
    pub how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The location stays what it is.
    Here,
    /// A location is selected for the path.
    Inside,
    /// The client comes back with it.
    Redirect,
}

/// Different enough that an expression which matches them all can be taken for one that matches all.
const SAMPLES: [&[u8]; 4] = [b"/", b"/x", b"/shop/items/1.html", b"/api/v1/orders"];

/// The closings of a program. What stands before them may be the way out: then nothing is found.
pub(super) fn closings(steps: &[Written]) -> Vec<Closing> {
    let mut found = Vec::new();
    for step in steps {
        match step {
            Written::Rewrite(rewrite) if matches_all(&rewrite.pattern) => {
                let how = match rewrite.flag {
                    Flag::Break => How::Here,
                    Flag::None | Flag::Last => How::Inside,
                    Flag::Redirect | Flag::Permanent => How::Redirect,
                };
                found.extend(closing(&rewrite.replacement, how));
            }
            Written::Return { status: 301 | 302 | 303 | 307 | 308, text: Some(text) } => {
                found.extend(closing(text, How::Redirect));
            }
            Written::If { condition, steps, .. } if judges_address(condition) => {
                found.extend(closings(steps));
            }
            Written::Set { .. } => {}
            _ => return found,
        }
    }
    found
}

/// Addresses that a program compares `$remote_addr` with.
pub(super) fn addresses(steps: &[Written]) -> Vec<&Word> {
    let mut found = Vec::new();
    for step in steps {
        if let Written::If { condition, steps, .. } = step {
            if let condition::Written::Equal { value, .. } = condition
                && judges_address(condition)
            {
                found.push(value);
            }
            found.extend(addresses(steps));
        }
    }
    found
}

fn closing(target: &Word, how: How) -> Option<Closing> {
    let text = &target.text;
    if !text.starts_with(b"/") || text.contains(&b'$') {
        return None;
    }
    let end = text.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(text.len());
    Some(Closing { span: target.span, path: text[..end].to_vec(), how })
}

fn matches_all(pattern: &Word) -> bool {
    let compiled = pattern.str().ok().and_then(|text| Pattern::new(text, false).ok());
    compiled.is_some_and(|pattern| SAMPLES.iter().all(|sample| pattern.is_match(sample)))
}

/// Whether a condition is about the client's address: it is the same for every path.
fn judges_address(condition: &condition::Written) -> bool {
    match condition {
        condition::Written::Equal { variable, .. } | condition::Written::Match { variable, .. } => {
            variable.text.eq_ignore_ascii_case(b"$remote_addr")
        }
        _ => false,
    }
}
