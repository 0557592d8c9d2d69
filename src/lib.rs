//! proxyd: an edge reverse proxy that reads nginx.conf.
//!
//! The walls between these rooms are in `docs/architecture.md`; `tests/house.rs` enforces them.

pub mod conf;
pub mod ipc;
pub mod log;
pub mod net;
pub mod sys;
pub mod upstream;
pub mod zone;
