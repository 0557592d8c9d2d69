//! Lines to a syslog server: who it is, the head of a message (RFC 3164), and a socket that is never
//! waited for.
//!
//! Must not look names up: whoever reads a configuration does.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::clock;
use super::level::Level;

/// What a log begins with that is no file.
pub const PREFIX: &str = "syslog:";

const PORT: u16 = 514;
const LONGEST_TAG: usize = 32;
/// nginx's, which the rules of syslog servers go by.
const TAG: &str = "nginx";
const LOCAL7: usize = 23;
const INFO: usize = 6;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv",
    "ftp", "ntp", "audit", "alert", "cron", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

const SEVERITIES: [&str; 8] =
    ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];

/// Whether a log of this name is a syslog server.
pub fn is_syslog(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// The name of a log as it is written in a configuration: that of a syslog server, else a file
/// relative to the prefix.
pub fn log_name(
    text: &[u8],
    prefix: &Path,
    resolve: impl FnMut(&str) -> Option<IpAddr>,
) -> Result<PathBuf, String> {
    match text.strip_prefix(PREFIX.as_bytes()) {
        Some(text) => Ok(Settings::parse(&String::from_utf8_lossy(text), resolve)?.path()),
        None => Ok(prefix.join(OsStr::from_bytes(text))),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Server {
    Inet(SocketAddr),
    Unix(PathBuf),
}

/// A syslog server, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    server: Server,
    facility: usize,
    severity: usize,
    tag: String,
    no_hostname: bool,
}

impl Settings {
    /// Reads what follows `syslog:`; the error is nginx's sentence. `resolve` answers the first
    /// address of a name.
    pub fn parse(
        text: &str,
        mut resolve: impl FnMut(&str) -> Option<IpAddr>,
    ) -> Result<Settings, String> {
        let (mut server, mut facility, mut severity) = (None, None, None);
        let (mut tag, mut no_hostname) = (None, false);
        for parameter in text.split(',') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "server" => once(&mut server, name, || address(value, &mut resolve))?,
                "facility" => once(&mut facility, name, || place(&FACILITIES, name, value))?,
                "severity" => once(&mut severity, name, || place(&SEVERITIES, name, value))?,
                "tag" => once(&mut tag, name, || check_tag(value))?,
                _ if parameter == "nohostname" => no_hostname = true,
                _ => return Err(format!("unknown syslog parameter \"{parameter}\"")),
            }
        }
        Ok(Settings {
            server: server.ok_or("no syslog server specified")?,
            facility: facility.unwrap_or(LOCAL7),
            severity: severity.unwrap_or(INFO),
            tag: tag.unwrap_or_else(|| TAG.to_owned()),
            no_hostname,
        })
    }

    /// The name it has among the logs: the same words in one order, with the address in place of a name.
    pub fn path(&self) -> PathBuf {
        format!("{PREFIX}{self}").into()
    }

    /// Priority, time, host and tag.
    fn head(&self, severity: usize, hostname: &str) -> String {
        let priority = self.facility * 8 + severity;
        let time = clock::now(|times| times.syslog().to_owned());
        let tag = &self.tag;
        if self.no_hostname {
            return format!("<{priority}>{time} {tag}: ");
        }
        format!("<{priority}>{time} {hostname} {tag}: ")
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Server::Inet(address) => write!(f, "server={address}")?,
            Server::Unix(path) => write!(f, "server=unix:{}", path.display())?,
        }
        let word = |words: &[&'static str], at: usize| words.get(at).copied().unwrap_or_default();
        let (facility, severity) =
            (word(&FACILITIES, self.facility), word(&SEVERITIES, self.severity));
        write!(f, ",facility={facility},severity={severity},tag={}", self.tag)?;
        if self.no_hostname { f.write_str(",nohostname") } else { Ok(()) }
    }
}

fn once<T>(
    slot: &mut Option<T>,
    name: &str,
    read: impl FnOnce() -> Result<T, String>,
) -> Result<(), String> {
    if slot.is_some() {
        return Err(format!("duplicate syslog \"{name}\""));
    }
    *slot = Some(read()?);
    Ok(())
}

fn place(words: &[&str], name: &str, value: &str) -> Result<usize, String> {
    let found = words.iter().position(|word| *word == value);
    found.ok_or_else(|| format!("unknown syslog {name} \"{value}\""))
}

fn check_tag(tag: &str) -> Result<String, String> {
    if tag.len() > LONGEST_TAG {
        return Err("syslog tag length exceeds 32".to_owned());
    }
    if !tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let text = "syslog \"tag\" only allows alphanumeric characters and underscore";
        return Err(text.to_owned());
    }
    Ok(tag.to_owned())
}

fn address(text: &str, resolve: &mut impl FnMut(&str) -> Option<IpAddr>) -> Result<Server, String> {
    let wrong = |what: &str| format!("{what} in syslog server \"{text}\"");
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.is_empty() {
            Err(wrong("no path in the unix domain socket"))
        } else {
            Ok(Server::Unix(path.into()))
        };
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err(wrong("no host"));
    }
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port != 0));
    let port = port.ok_or_else(|| wrong("invalid port"))?;
    let found = host.parse().ok().or_else(|| resolve(host));
    let found = found.ok_or_else(|| wrong("host not found"))?;
    Ok(Server::Inet(SocketAddr::new(found, port)))
}

#[derive(Debug)]
enum Socket {
    Inet(UdpSocket),
    Unix(UnixDatagram),
}

impl Socket {
    fn open(server: &Server) -> io::Result<Socket> {
        match server {
            Server::Inet(address) => {
                let any: IpAddr = match address {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let socket = UdpSocket::bind((any, 0))?;
                socket.set_nonblocking(true)?;
                socket.connect(address)?;
                Ok(Socket::Inet(socket))
            }
            Server::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                socket.connect(path)?;
                Ok(Socket::Unix(socket))
            }
        }
    }

    fn send(&self, message: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Inet(socket) => socket.send(message),
            Socket::Unix(socket) => socket.send(message),
        }
    }
}

/// A syslog server that lines go to.
#[derive(Debug)]
pub struct Syslog {
    settings: Settings,
    hostname: String,
    /// `None` until there is something to send, and after a failure.
    socket: Mutex<Option<Socket>>,
}

impl Syslog {
    /// By the name that [`Settings::path`] has given it.
    pub fn open(path: &Path) -> io::Result<Syslog> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let text = path.to_str().and_then(|text| text.strip_prefix(PREFIX));
        let text = text.ok_or_else(|| invalid("not a syslog server".to_owned()))?;
        let settings = Settings::parse(text, |_| None).map_err(invalid)?;
        let hostname = nix::unistd::gethostname().unwrap_or_default();
        let hostname = hostname.to_string_lossy().to_ascii_lowercase();
        Ok(Syslog { settings, hostname, socket: Mutex::new(None) })
    }

    /// The server, for messages.
    pub fn name(&self) -> String {
        match &self.settings.server {
            Server::Inet(address) => address.to_string(),
            Server::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Sends one line, with the severity of a level or the one that is configured. What the system does
    /// not take at once is lost. After a failure the next line has a new socket.
    pub fn send(&self, level: Option<Level>, line: &[u8]) -> io::Result<()> {
        let severity = level.map_or(self.settings.severity, severity);
        let mut message = self.settings.head(severity, &self.hostname).into_bytes();
        message.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match socket.take() {
            Some(opened) => opened,
            None => Socket::open(&self.settings.server)?,
        };
        match opened.send(&message) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            sent => {
                *socket = Some(opened);
                sent.map(drop)
            }
        }
    }
}

/// Syslog counts down to what is serious.
fn severity(level: Level) -> usize {
    SEVERITIES.iter().position(|word| *word == level.as_str()).unwrap_or(INFO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, |name| (name == "logs").then_some(Ipv4Addr::LOCALHOST.into()))
    }

    #[test]
    fn a_server_is_known_by_its_settings() {
        let all = "tag=x_1,severity=alert,server=logs:5,facility=user,nohostname";
        let settings = parse(all).unwrap();
        let path = "syslog:server=127.0.0.1:5,facility=user,severity=alert,tag=x_1,nohostname";
        assert_eq!(settings.path(), Path::new(path));
        assert_eq!(Syslog::open(Path::new(path)).unwrap().settings, settings);
        for (text, server) in [
            ("server=logs", "127.0.0.1:514"),
            ("server=[::1]", "[::1]:514"),
            ("server=[::1]:7", "[::1]:7"),
            ("server=unix:/dev/log", "unix:/dev/log"),
        ] {
            let path = format!("syslog:server={server},facility=local7,severity=info,tag=nginx");
            assert_eq!(parse(text).unwrap().path(), Path::new(&path));
        }
    }

    #[test]
    fn mistakes_are_named_as_in_nginx() {
        let long = format!("server=logs,tag={}", "x".repeat(33));
        let cases = [
            ("tag=x", "no syslog server specified"),
            ("server=logs,server=logs", "duplicate syslog \"server\""),
            ("server=logs,facility=x", "unknown syslog facility \"x\""),
            ("server=logs,severity=err", "unknown syslog severity \"err\""),
            (
                "server=logs,tag=a-b",
                "syslog \"tag\" only allows alphanumeric characters and underscore",
            ),
            (&long, "syslog tag length exceeds 32"),
            ("server=logs,x", "unknown syslog parameter \"x\""),
            ("server=none", "host not found in syslog server \"none\""),
            ("server=logs:0", "invalid port in syslog server \"logs:0\""),
            ("server=:5", "no host in syslog server \":5\""),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_message_has_its_head() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let text = format!("server=unix:{},tag=t", path.display());
        let log = Syslog::open(&parse(&text).unwrap().path()).unwrap();
        let mut buffer = [0; 500];
        let mut next = || {
            let length = server.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        log.send(None, b"one\n").unwrap();
        let message = next();
        assert!(message.starts_with("<190>") && message.ends_with(" t: one"), "{message}");
        log.send(Some(Level::Error), b"two").unwrap();
        assert!(next().starts_with("<187>"));
        let host = nix::unistd::gethostname().unwrap().to_string_lossy().to_ascii_lowercase();
        assert!(message.contains(&format!(" {host} t: ")), "{message}");
    }

    #[test]
    fn a_server_that_comes_back_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let text = format!("server=unix:{}", path.display());
        let log = Syslog::open(&parse(&text).unwrap().path()).unwrap();
        assert!(log.send(None, b"lost").is_err());
        let server = UnixDatagram::bind(&path).unwrap();
        log.send(None, b"one").unwrap();
        drop(server);
        assert!(log.send(None, b"lost").is_err());
        std::fs::remove_file(&path).unwrap();
        let server = UnixDatagram::bind(&path).unwrap();
        // As much as fits; the rest is lost at once.
        while log.send(None, b"more").is_ok() {}
        assert!(server.recv(&mut [0; 500]).is_ok());
        assert!(log.send(None, b"again").is_ok());
    }
}
