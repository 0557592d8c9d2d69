//! What a new master is started with: what the command line says now, and for the rest what the running
//! one was told.
//!
//! Must not ask the running master, nor look at what the names lead to.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::arguments::Arguments;
use super::{Home, options};
use crate::config::Options;
use crate::control::upgrade::Status;

/// The start of a new master.
#[derive(Debug, PartialEq, Eq)]
pub struct Successor {
    /// For judging its configuration.
    pub options: Options,
    /// Its words after its name; `None` is those of the running master.
    pub words: Option<Vec<String>>,
}

/// Puts both together. Every name comes out absolute: it has to mean the same to another process.
pub fn successor(own: &Arguments, status: &Status, home: Home) -> Result<Successor, String> {
    let words = status.arguments.iter().map(OsString::from);
    let running = Arguments::parse(words).map_err(|wrong| {
        format!("the running master was started in a way this version does not know: {wrong}")
    })?;
    let merged = merged(own, running, status, home);
    let words = if is_plain(own) { None } else { Some(words_of(&merged)?) };
    Ok(Successor { options: options(&merged, home), words })
}

/// Whether nothing is said that concerns a master.
fn is_plain(own: &Arguments) -> bool {
    own.prefix.is_none()
        && own.conf.is_none()
        && own.globals.is_none()
        && own.error_log.is_none()
        && own.control.is_none()
}

fn merged(own: &Arguments, running: Arguments, status: &Status, home: Home) -> Arguments {
    let given = own.prefix.as_ref().map(|name| std::path::absolute(name).unwrap_or(name.clone()));
    let moved = given.is_some() && running.conf.is_none();
    // What the running one was told may be relative to a directory that only it knows.
    let prefix = given.unwrap_or_else(|| status.prefix.clone());
    let conf = match &own.conf {
        Some(name) => prefix.join(name),
        None if moved => prefix.join(home.conf_file),
        None => status.configuration.clone(),
    };
    let log = |name: &PathBuf| match name.as_path() {
        name if name == Path::new("stderr") => name.to_owned(),
        name => prefix.join(name),
    };
    Arguments {
        conf: Some(conf),
        globals: own.globals.clone().or(running.globals),
        error_log: own.error_log.as_ref().or(running.error_log.as_ref()).map(log),
        control: own.control.as_ref().or(running.control.as_ref()).map(|name| prefix.join(name)),
        prefix: Some(prefix),
        ..Arguments::default()
    }
}

/// The command line that says all this.
fn words_of(arguments: &Arguments) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut put = |option: &str, value: Option<Vec<u8>>| {
        let Some(value) = value else { return Ok::<_, String>(()) };
        let text = String::from_utf8(value).map_err(|error| {
            let shown = String::from_utf8_lossy(error.as_bytes()).into_owned();
            format!("the value of \"{option}\" is not UTF-8: \"{shown}\"")
        })?;
        words.extend([option.to_owned(), text]);
        Ok(())
    };
    let bytes =
        |path: &Option<PathBuf>| path.as_ref().map(|path| path.as_os_str().as_bytes().to_vec());
    put("-p", bytes(&arguments.prefix))?;
    put("-c", bytes(&arguments.conf))?;
    put("-g", arguments.globals.clone())?;
    put("-e", bytes(&arguments.error_log))?;
    put("-l", bytes(&arguments.control).map(|path| [b"unix:", path.as_slice()].concat()))?;
    Ok(words)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    const HOME: Home = Home { prefix: "/etc/p", conf_file: "p.conf" };

    fn status(arguments: &[&str], prefix: &str, configuration: &str) -> Status {
        Status {
            version: "1".into(),
            pid: 1,
            generation: 1,
            executable: "/x".into(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            prefix: prefix.into(),
            configuration: configuration.into(),
            change: None,
            rollback: None,
            generations: Vec::new(),
            reload: None,
            switches: Vec::new(),
            upstreams: Vec::new(),
            floods: std::collections::BTreeMap::new(),
        }
    }

    fn own(words: &[&str]) -> Arguments {
        Arguments::parse(words.iter().map(OsString::from)).unwrap()
    }

    fn joined(successor: &Successor) -> String {
        successor.words.as_ref().unwrap().join(" ")
    }

    #[test]
    fn without_a_word_everything_is_as_it_was() {
        let running = ["-p", "/srv", "-c", "/srv/a", "-g", "daemon off;", "-e", "stderr"];
        let status = status(&running, "/srv", "/srv/a");
        let found = successor(&own(&["-s", "upgrade", "--wait"]), &status, HOME).unwrap();
        let options = Options {
            prefix: "/srv".into(),
            conf_file: "/srv/a".into(),
            globals: Some(b"daemon off;".to_vec()),
            error_log: None,
            control: None,
        };
        assert_eq!(found, Successor { options, words: None });
    }

    #[test]
    fn defaults_are_the_running_masters() {
        let status = status(&[], "/etc/nginx", "/etc/nginx/nginx.conf");
        let found = successor(&own(&[]), &status, HOME).unwrap();
        assert_eq!(found.options.prefix, Path::new("/etc/nginx"));
        assert_eq!(found.options.conf_file, Path::new("/etc/nginx/nginx.conf"));
    }

    #[test]
    fn what_is_said_now_goes_before() {
        let running = ["-p", "/srv", "-c", "/srv/a", "-g", "daemon off;"];
        let status = status(&running, "/srv", "/srv/a");
        let found = successor(&own(&["-c", "b", "-l", "unix:c"]), &status, HOME).unwrap();
        assert_eq!(joined(&found), "-p /srv -c /srv/b -g daemon off; -l unix:/srv/c");
        let found = successor(&own(&["-p", "/new", "-e", "log"]), &status, HOME).unwrap();
        assert_eq!(joined(&found), "-p /new -c /srv/a -g daemon off; -e /new/log");
        let found = successor(&own(&["-g", "user x;", "-e", "stderr"]), &status, HOME).unwrap();
        assert_eq!(joined(&found), "-p /srv -c /srv/a -g user x; -e stderr");
        assert_eq!(
            (found.options.globals, found.options.error_log),
            (Some(b"user x;".into()), None)
        );
    }

    #[test]
    fn names_of_the_running_master_start_from_its_prefix() {
        let status =
            status(&["-p", "srv", "-c", "a", "-e", "log", "-lunix:c"], "/x/srv", "/x/srv/a");
        let found = successor(&own(&["-g", "user x;"]), &status, HOME).unwrap();
        let words = "-p /x/srv -c /x/srv/a -g user x; -e /x/srv/log -l unix:/x/srv/c";
        assert_eq!(joined(&found), words);
        assert_eq!(found.options.control, Some("/x/srv/c".into()));
    }

    #[test]
    fn another_prefix_has_its_own_configuration() {
        let found = successor(&own(&["-p", "/new"]), &status(&[], "/srv", "/srv/p.conf"), HOME);
        assert_eq!(joined(&found.unwrap()), "-p /new -c /new/p.conf");
        let here = std::env::current_dir().unwrap();
        let found = successor(&own(&["-p", "new"]), &status(&[], "/srv", "/srv/p.conf"), HOME);
        assert_eq!(found.unwrap().options.prefix, here.join("new"));
    }

    #[test]
    fn what_cannot_be_passed_on_is_refused() {
        let name = OsStr::from_bytes(b"/\xff").to_owned();
        let own = Arguments { conf: Some(name.into()), ..Arguments::default() };
        let error = successor(&own, &status(&[], "/srv", "/c"), HOME).unwrap_err();
        assert_eq!(error, "the value of \"-c\" is not UTF-8: \"/\u{fffd}\"");
        let error = successor(&Arguments::default(), &status(&["--new"], "/", "/c"), HOME);
        assert!(error.unwrap_err().ends_with("invalid option: \"--new\""));
    }
}
