//! Owns the one way a phase ends early. A phase returns `Result<(), Stop>` and `?` is the engine.

/// Why the phases after this one do not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Answer with this status: `error_page` may take over, else nginx's default page.
    Status(u16),
    /// The reply stands ready in the request.
    Reply,
    /// The switch of this location is closed: maintenance mode answers.
    Closed,
    /// Close the connection without an answer (`return 444`, a client that is gone).
    Close,
    /// An internal redirect to the URI now in the request: begin again with the server's own level.
    Redirect,
    /// `rewrite` has changed the URI inside a location: select the location again.
    Rewritten,
    /// Go on in this named location.
    Named(usize),
}

/// What a phase returns.
pub type Phase = Result<(), Stop>;
