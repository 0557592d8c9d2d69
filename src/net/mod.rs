//! Sockets: addresses as nginx writes them, listening sockets, byte streams, and what
//! a proxy says before the first byte. Knows no HTTP.

pub mod address;
pub mod carried;
pub mod inherit;
pub mod listener;
pub mod pipe;
pub mod proxy_protocol;
pub mod socket;
pub mod stream;
pub mod tls;

pub use address::{Address, Endpoint};
pub use carried::Carried;
pub use listener::{ListenSpec, Listener};
pub use pipe::Pipe;
pub use socket::{Idle, Peer, Socket};
pub use stream::Stream;
pub use tls::{Hello, Tls};
