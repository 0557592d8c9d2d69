//! What the tests stand on: the server under test, its clients and backends.
//!
//! Nothing in here sleeps. Every wait is for an event and ends, as a failure,
//! at `DEADLINE`. Tests share nothing, so they run in parallel.

mod browser;
mod client;
mod control;
mod daemon;
mod directory;
mod dns;
pub mod h2;
mod held;
pub mod impostor;
mod load;
mod origin;
mod ports;
mod process;
mod response;
mod server;
mod setup;
mod site;
pub mod system;
pub mod tls;
pub mod traffic;
pub mod version;
mod websocket;

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

pub use browser::{Browser, Viewer};
pub use client::{Client, End};
pub use daemon::Daemon;
pub use directory::Directory;
pub use dns::NameServer;
pub use held::Held;
pub use load::Load;
pub use origin::{Origin, Peer};
pub use ports::Port;
pub use response::Response;
pub use server::Server;
pub use setup::Setup;
pub use site::{Said, Site};
pub use websocket::{Frame, WebSocket, accept_websocket, echo, still_there, websockets};

/// The longest a test waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What a backend answers when it does not matter.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The program under test: `PROXYD_BIN`, or the one cargo has just built.
/// Setting the variable to an nginx checks the tests themselves.
pub fn binary() -> PathBuf {
    let name: PathBuf = env::var_os("PROXYD_BIN")
        .or_else(|| option_env!("CARGO_BIN_EXE_proxyd").map(Into::into))
        .expect("no program to test: set PROXYD_BIN")
        .into();
    // Servers are started in directories of their own.
    name.canonicalize().expect("the program under test")
}

/// Whether the program under test is nginx itself.
pub fn is_reference() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let output =
            Command::new(binary()).arg("-V").output().expect("the program under test runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        !text.lines().next().unwrap_or_default().contains("proxyd")
    })
}

/// The name the program signs its messages with.
pub fn program_name() -> &'static str {
    if is_reference() { "nginx" } else { "proxyd" }
}
