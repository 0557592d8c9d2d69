//! proxyd: an edge reverse proxy that reads nginx.conf.
//!
//! The walls between these rooms are in `docs/architecture.md`; `tests/house.rs` enforces them.

pub mod base64;
pub mod cli;
pub mod conf;
pub mod config;
pub mod control;
pub mod dns;
pub mod handover;
pub mod http;
pub mod ipc;
pub mod log;
pub mod master;
pub mod net;
pub mod password;
pub mod signals;
pub mod sys;
pub mod tls;
pub mod token;
pub mod upstream;
pub mod version;
pub mod worker;
pub mod zone;
