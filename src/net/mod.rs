//! Sockets: addresses as nginx writes them, listening sockets, byte streams. Knows no HTTP.

pub mod address;
pub mod inherit;
pub mod listener;
pub mod stream;

pub use address::{Address, Endpoint};
pub use listener::{ListenSpec, Listener};
pub use stream::{Idle, Peer, Stream};
