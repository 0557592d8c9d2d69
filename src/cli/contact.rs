//! Where a running master is, and what to say when it cannot be talked to.
//!
//! Must not talk to it.

use std::fmt::Display;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::arguments::Request;
use super::tell;
use crate::conf::Disk;
use crate::config::{self, Options};
use crate::control::client::Failed;
use crate::log::{ErrorLog, Level, os_error};
use crate::master::pidfile;
use crate::sys::process::Pid;

/// Where a running master leaves its process id and listens.
pub struct Contact {
    pub pid_file: PathBuf,
    pub control: PathBuf,
}

impl Contact {
    /// As the command line says, for who only wants to talk: whoever names the socket needs no
    /// configuration. The pid file is that which the socket has its usual name from.
    pub fn named(options: &Options) -> Option<Contact> {
        let control = options.control.clone()?;
        let is_usual = control.extension().is_some_and(|end| end == "ctl");
        let pid_file = if is_usual { control.with_extension("") } else { control.clone() };
        Some(Contact { pid_file, control })
    }

    /// As the configuration says. What else is wrong with it is no reason not to stop the server.
    pub fn find(options: &Options, log: &ErrorLog) -> Option<Contact> {
        match config::places(&mut Disk, options) {
            Ok((pid_file, control)) => Some(Contact { pid_file, control }),
            Err(report) => {
                tell(&report, log);
                None
            }
        }
    }

    /// The process the pid file names; why there is none goes to the log.
    pub fn process(&self, log: &ErrorLog) -> Option<Pid> {
        let error = |text: &dyn Display| log.write(Level::Error, None, format_args!("{text}"));
        let shown = self.pid_file.display();
        match pidfile::read(&self.pid_file) {
            Ok(Ok(pid)) => i32::try_from(pid).ok().map(Pid::from_raw),
            Ok(Err(text)) => {
                error(&format_args!("invalid PID number \"{text}\" in \"{shown}\""));
                None
            }
            Err(cause) => {
                error(&format_args!("open() \"{shown}\" failed{}", os_error(&cause)));
                None
            }
        }
    }

    /// Why a request came to nothing, and what could be done instead.
    pub fn why(&self, failed: &Failed, request: Request) -> String {
        match failed {
            Failed::Connect(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.not_permitted()
            }
            Failed::Connect(error) => self.not_there(error, request),
            Failed::Unknown => {
                let server = match self.alive() {
                    Some(pid) => format!("the running server (process {pid})"),
                    None => "the running server".to_owned(),
                };
                format!(
                    "{server} does not know how, it is another or older program{}",
                    self.way(request)
                )
            }
            Failed::Refused(why) | Failed::State(why) => why.clone(),
            Failed::Gone => "master went away".to_owned(),
        }
    }

    fn not_permitted(&self) -> String {
        let uid = nix::unistd::getuid();
        let owner = fs::metadata(&self.control).or_else(|_| fs::metadata(&self.pid_file));
        match owner {
            Ok(found) => format!("not permitted: uid {uid} (master runs as {})", found.uid()),
            Err(_) => format!("not permitted: uid {uid}"),
        }
    }

    /// Nobody listens. A process may be there all the same: nginx has no such socket by itself.
    fn not_there(&self, error: &io::Error, request: Request) -> String {
        let path = self.control.display();
        let cause = format!("connect() to unix:{path} failed{}", os_error(error));
        match self.alive() {
            Some(pid) => {
                let way = self.way(request);
                format!("the running server (process {pid}) has no control socket ({cause}){way}")
            }
            None => format!("no running master ({cause})"),
        }
    }

    /// The process of the pid file, if there is one.
    fn alive(&self) -> Option<Pid> {
        let pid = pidfile::read(&self.pid_file).ok()?.ok()?;
        let pid = Pid::from_raw(i32::try_from(pid).ok()?);
        let found = nix::sys::signal::kill(pid, None);
        matches!(found, Ok(()) | Err(nix::Error::EPERM)).then_some(pid)
    }

    /// The way that is left to upgrade a server with which there is no talking.
    fn way(&self, request: Request) -> String {
        match self.alive() {
            Some(pid) if request == Request::Upgrade => format!(
                "; put this executable in its place and: kill -USR2 {pid}, \
                 then, when the new one serves: kill -QUIT {pid}"
            ),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(dir: &tempfile::TempDir, pid: Option<u32>) -> Contact {
        let pid_file = dir.path().join("pid");
        if let Some(pid) = pid {
            fs::write(&pid_file, format!("{pid}\n")).unwrap();
        }
        Contact { pid_file, control: dir.path().join("ctl") }
    }

    fn absent() -> Failed {
        Failed::Connect(io::Error::from_raw_os_error(2))
    }

    #[test]
    fn without_a_process_there_is_no_master() {
        let dir = tempfile::tempdir().unwrap();
        let contact = contact(&dir, None);
        let path = contact.control.display();
        let cause = format!("connect() to unix:{path} failed (2: No such file or directory)");
        let text = contact.why(&absent(), Request::Upgrade);
        assert_eq!(text, format!("no running master ({cause})"));
    }

    #[test]
    fn a_server_that_does_not_listen_has_its_own_way() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::process::id();
        let contact = contact(&dir, Some(own));
        let way = format!(
            "; put this executable in its place and: kill -USR2 {own}, \
             then, when the new one serves: kill -QUIT {own}"
        );
        let absent = absent();
        let unknown = Failed::Unknown;
        for failed in [&absent, &unknown] {
            let text = contact.why(failed, Request::Upgrade);
            assert!(text.starts_with(&format!("the running server (process {own}) ")), "{text}");
            assert!(text.ends_with(&way), "{text}");
            assert!(!contact.why(failed, Request::Status).contains("USR2"));
        }
    }

    #[test]
    fn who_may_is_said_to_whoever_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let contact = contact(&dir, Some(1));
        let failed = Failed::Connect(io::Error::from_raw_os_error(13));
        let uid = nix::unistd::getuid();
        let text = contact.why(&failed, Request::Rollback);
        assert_eq!(text, format!("not permitted: uid {uid} (master runs as {uid})"));
        fs::remove_file(&contact.pid_file).unwrap();
        assert_eq!(contact.why(&failed, Request::Rollback), format!("not permitted: uid {uid}"));
    }

    #[test]
    fn the_servers_own_words_are_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let contact = contact(&dir, None);
        assert_eq!(contact.why(&Failed::Refused("no".into()), Request::Upgrade), "no");
        assert_eq!(contact.why(&Failed::Gone, Request::Status), "master went away");
    }
}
