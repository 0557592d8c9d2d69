//! Owns one exchange with an upstream server: the request sent, the head of the answer, its body.
//!
//! Must not choose the server, retry, or touch the client's answer: `modules::proxy` does.

/// The parts of an upstream's URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Index into the snapshot's groups.
    pub group: usize,
    /// Whether TLS is spoken with it.
    pub tls: bool,
    /// Host and port as the Host field has them: the port only where it is not the scheme's.
    pub host: Vec<u8>,
    pub port: Vec<u8>,
    /// From the first slash on; empty when there is none.
    pub uri: Vec<u8>,
}

mod ahead;
mod answer;
mod exchange;
pub mod h2;
mod sender;

pub use ahead::ReadAhead;
pub use answer::{Answer, Plan, Tunnel};
pub use exchange::{Ask, Exchange, Failure, Reply};
pub use sender::{Outgoing, Source};
