//! The kernel: descriptors, execution, shared memory, identity, process attributes; and what is to be
//! had from C libraries only. All the `unsafe` of the program is here; nothing here knows what a proxy
//! is.
#![allow(unsafe_code)]

pub mod channel;
pub mod crypt;
mod daemon;
pub mod exec;
pub mod fds;
pub mod identity;
pub mod libcrypto;
pub mod memory;
pub mod process;
pub mod signals;
mod title;

use std::fmt;
use std::io;

/// Displays an error as nginx writes it between parentheses: `98: Address already in use`.
pub struct Cause<'a>(pub &'a io::Error);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match self.0.raw_os_error() {
            Some(code) => {
                let suffix = format!(" (os error {code})");
                write!(f, "{code}: {}", text.strip_suffix(&suffix).unwrap_or(&text))
            }
            None => f.write_str(&text),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::process::{Command, Output};

    /// Set for a test that runs in a process of its own.
    const ALONE: &str = "PROXYD_TEST_ALONE";

    /// Whether this test may change the process or reap any child.
    pub(crate) fn is_alone() -> bool {
        std::env::var_os(ALONE).is_some()
    }

    /// Runs one test in a process of its own.
    pub(crate) fn alone(test: &str) -> Output {
        Command::new(std::env::current_exe().unwrap())
            .env(ALONE, "1")
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .output()
            .unwrap()
    }

    /// As [`alone`], and the test must pass there.
    pub(crate) fn passes_alone(test: &str) {
        let output = alone(test);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("1 passed"), "no such test: {test}");
    }

    #[test]
    fn causes_read_as_in_nginx() {
        let error = io::Error::from_raw_os_error(libc::EADDRINUSE);
        assert_eq!(Cause(&error).to_string(), "98: Address already in use");
        assert_eq!(Cause(&io::Error::other("odd")).to_string(), "odd");
    }
}
