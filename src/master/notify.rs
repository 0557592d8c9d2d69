//! What a supervisor such as systemd is told (`sd_notify`): that the server is ready, that it is
//! changing, that it stops, and a line on how it stands.
//!
//! Must not decide when something is said, nor fail: where nobody listens, nothing is lost.

use std::env;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Where the supervisor listens: a path, or `@` and a name without a file.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// How long a supervisor may be too busy to take a line; the server has other things to do.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whoever started this server and wants to know how it is.
#[derive(Debug)]
pub struct Supervisor {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Supervisor {
    /// The one that the environment names, if it names one.
    pub fn from_env() -> Option<Supervisor> {
        Supervisor::at(&env::var_os(VARIABLE)?).ok()
    }

    /// The one that listens there.
    pub(super) fn at(name: &OsStr) -> io::Result<Supervisor> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(ErrorKind::InvalidInput.into()),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Supervisor { socket, address })
    }

    /// Tells it. If it has gone, or does not take it in time, it stays ignorant.
    pub fn send(&self, lines: &str) {
        let _ = self.socket.send_to_addr(lines.as_bytes(), &self.address);
    }
}

/// The server serves, or serves again after [`reloading`].
pub fn ready(text: &str) -> String {
    format!("READY=1\n{}", status(text))
}

/// A change has begun; [`ready`] ends it, however it went.
pub fn reloading(text: &str) -> String {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    format!("RELOADING=1\nMONOTONIC_USEC={}\n{}", now.as_micros(), status(text))
}

/// How things stand, for people.
pub fn status(text: &str) -> String {
    // A line feed would begin another word to the supervisor.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("STATUS={text}")
}

/// The server is on its way out.
pub fn stopping() -> String {
    "STOPPING=1".to_owned()
}

/// What is under way takes so much longer from now on; to be repeated before it is over.
pub fn extend(by: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", by.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn heard(ear: &UnixDatagram) -> String {
        ear.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 200];
        let length = ear.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_socket_with_a_path_hears() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::at(path.as_os_str()).unwrap();
        supervisor.send(&ready("generation 1"));
        supervisor.send(&stopping());
        assert_eq!(heard(&ear), "READY=1\nSTATUS=generation 1");
        assert_eq!(heard(&ear), "STOPPING=1");
    }

    #[test]
    fn a_socket_without_a_file_hears() {
        let name = format!("proxyd-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let ear = UnixDatagram::bind_addr(&address).unwrap();
        let supervisor = Supervisor::at(OsStr::new(&format!("@{name}"))).unwrap();
        supervisor.send(&status("2 draining"));
        assert_eq!(heard(&ear), "STATUS=2 draining");
    }

    #[test]
    fn what_is_no_address_is_nobody() {
        for name in ["", "@", "relative", "vsock:2:1234"] {
            assert!(Supervisor::at(OsStr::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn nobody_listening_is_no_trouble() {
        let supervisor = Supervisor::at(OsStr::new("/nonexistent/notify")).unwrap();
        supervisor.send(&stopping());
    }

    #[test]
    fn a_deaf_supervisor_does_not_hold_the_server_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let _ear = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::at(path.as_os_str()).unwrap();
        supervisor.socket.set_nonblocking(true).unwrap();
        while supervisor.socket.send_to_addr(b"x", &supervisor.address).is_ok() {}
        supervisor.socket.set_nonblocking(false).unwrap();
        let start = Instant::now();
        supervisor.send(&stopping());
        assert!(start.elapsed() >= PATIENCE);
    }

    #[test]
    fn words_are_the_supervisors() {
        assert_eq!(extend(Duration::from_millis(1500)), "EXTEND_TIMEOUT_USEC=1500000");
        assert_eq!(status("one\nMAINPID=1\ttwo"), "STATUS=one MAINPID=1 two");
        let text = reloading("upgrading to 1.3.0");
        let text = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let (time, text) = text.split_once('\n').unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
        assert_eq!(text, "STATUS=upgrading to 1.3.0");
    }
}
