//! What keys, verifiers and tickets learn of the one connection that they are asked for: rustls tells
//! them neither which it is, nor afterwards what they have answered.
//!
//! Must not outlive a step of a handshake: notes belong to whoever has it done.

use std::cell::Cell;

use rustls::SignatureScheme;

/// Where a session comes from, however often it is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub number: [u8; 32],
    /// Seconds since 1970.
    pub began: u64,
}

/// What is known of a handshake so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct Notes {
    /// What the server's key was to sign with.
    pub signed: Option<SignatureScheme>,
    /// What the client has signed with.
    pub client_signed: Option<SignatureScheme>,
    /// The session that is resumed, or may be some day.
    pub session: Option<Origin>,
}

thread_local! {
    static PRESENT: Cell<Notes> = Cell::default();
}

impl Notes {
    /// Does a step, all of which is for one connection, and adds what comes out.
    pub fn of<T>(&mut self, step: impl FnOnce() -> T) -> T {
        PRESENT.set(*self);
        let outcome = step();
        *self = PRESENT.take();
        outcome
    }

    /// Of the step that is being done.
    pub(super) fn present() -> Notes {
        PRESENT.get()
    }

    /// Changes them.
    pub(super) fn note(change: impl FnOnce(&mut Notes)) {
        let mut notes = PRESENT.get();
        change(&mut notes);
        PRESENT.set(notes);
    }
}
