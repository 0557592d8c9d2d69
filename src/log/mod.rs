//! The logs: error log, access logs, their files and the clock strings in them.
//!
//! Owns how a line reaches a file and how files are reopened. Must not know
//! directives, variables or HTTP: callers bring finished sentences and lines.

pub mod access;
pub mod clock;
pub mod count;
pub mod error;
pub mod escape;
pub mod file;
pub mod files;
pub mod kept;
pub mod level;
pub mod syslog;
pub mod trace;

pub use access::{AccessWriter, Buffering};
pub use count::counted;
pub use error::{ErrorLog, Target, os_error};
pub use escape::Escape;
pub use file::{LogFile, STDERR};
pub use files::Files;
pub use level::Level;
