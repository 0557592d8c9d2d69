//! Owns `proxy_pass`: which upstream is asked, what it is asked, and what of its answer goes on.
//!
//! Must not know sockets; `origin` carries the exchange.

mod bind;
mod conf;
mod cookies;
pub mod health;
mod pass;
mod redirect;
mod reply;
mod request;
mod retry;
mod rows;
mod store;
mod target;
mod variables;

pub use conf::{Conf, Draft};
pub use health::define;
pub use pass::run;
pub use reply::trailers;
pub use rows::ROWS;
pub use variables::VARIABLES;
