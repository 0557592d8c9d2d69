//! The two version numbers the program states: its own, and that of the nginx it behaves like.

/// The nginx release whose behaviour, defaults and messages are followed.
pub const NGINX: &str = "1.31.5";

/// This program's own release.
pub const PROXYD: &str = env!("CARGO_PKG_VERSION");

/// What `-v`, the first notice in the error log and the control API say.
pub fn banner() -> String {
    format!("nginx/{NGINX} (proxyd/{PROXYD})")
}
