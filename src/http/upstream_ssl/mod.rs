//! Owns TLS towards upstreams, whatever is spoken over it: what a configuration says (`…_ssl_…`), how
//! that becomes a session's settings, and the handshake of one connection.
//!
//! Must not choose servers nor speak HTTP; `modules` name the directives and call this.

mod build;
mod draft;
mod handshake;
mod sessions;

pub use build::Settings;
pub use draft::Draft;
pub(super) use draft::rows;
pub use handshake::{Secure, Trouble};
pub use sessions::Sessions;

use super::certificates::Varying;
use super::template::Template;

/// In force in a location.
#[derive(Debug)]
pub struct Conf {
    /// A number of `Snapshot::upstream_ssl`; none where nothing can be passed on over TLS.
    settings: Option<usize>,
    /// The host that a server is to be; without, the one it is passed on to.
    name: Option<Template>,
    /// Whether servers are told it.
    server_name: bool,
    /// Certificate and key, where only a request tells their names.
    varying: Option<Varying>,
}
