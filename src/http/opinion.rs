//! Owns what a module of the access phase may say of a request; `modules::access` adds it up.

use super::phase::Stop;

/// What a module of the access phase says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opinion {
    /// Nothing: it was not asked to judge.
    None,
    Allow,
    /// Answer with this status.
    Refuse(u16),
    /// The request ends, whatever others would say.
    Stop(Stop),
}
