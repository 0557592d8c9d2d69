//! The words of the command line, as nginx takes them: options may be grouped (`-tq`), a value may
//! be attached (`-sreload`) or follow. What nginx does not have are long words (`--wait`), with requests
//! that nginx does not have. Pure: nothing is looked at or done.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use crate::conf::values::parse_msec;

/// What `-s` may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Leave at once.
    Stop,
    /// Leave when the work is done.
    Quit,
    /// Open the log files again.
    Reopen,
    /// Take the configuration as it is now.
    Reload,
    /// Hand over to the executable that asks.
    Upgrade,
    /// Hand back to the one before.
    Rollback,
    /// Say how things are.
    Status,
    /// Let no more requests in.
    MaintenanceOn,
    /// Let them in again.
    MaintenanceOff,
}

/// What may be said about an upgrade or a rollback, and some of it about a status.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Terms {
    /// `--wait`: until the old version has gone.
    pub wait: bool,
    /// `--detach`: only until it is under way.
    pub detach: bool,
    /// `--json`
    pub json: bool,
    /// `--dry-run`
    pub dry_run: bool,
    /// `--canary`: this many workers.
    pub canary: Option<usize>,
    /// `--watch`: instead of `upgrade_watch`.
    pub watch: Option<Duration>,
}

impl Terms {
    /// The first of them that makes no sense with the request, or with another one.
    fn misplaced(&self, request: Option<Request>) -> Option<&'static str> {
        let change = matches!(request, Some(Request::Upgrade | Request::Rollback));
        let rules = [
            (
                "--json",
                self.json,
                change
                    || matches!(
                        request,
                        Some(Request::Status | Request::MaintenanceOn | Request::MaintenanceOff)
                    ),
            ),
            ("--wait", self.wait, change),
            ("--dry-run", self.dry_run, change),
            ("--watch", self.watch.is_some(), change),
            ("--canary", self.canary.is_some(), request == Some(Request::Upgrade)),
            ("--detach", self.detach, change && !self.wait),
        ];
        rules.into_iter().find(|(_, given, fits)| *given && !fits).map(|(name, ..)| name)
    }
}

/// What the command line says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Arguments {
    pub version: bool,
    pub help: bool,
    pub configure: bool,
    pub test: bool,
    pub dump: bool,
    pub quiet: bool,
    pub signal: Option<Request>,
    pub prefix: Option<PathBuf>,
    pub error_log: Option<PathBuf>,
    pub conf: Option<PathBuf>,
    pub globals: Option<Vec<u8>>,
    /// `-l`, in nginx the address of the control API; here a unix socket only.
    pub control: Option<PathBuf>,
    pub terms: Terms,
}

/// Why the command line cannot be taken, in nginx's words.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    Invalid(String),
    Missing(String, &'static str),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Invalid(what) => write!(f, "invalid option: \"{what}\""),
            Wrong::Missing(option, what) => write!(f, "option \"{option}\" requires {what}"),
        }
    }
}

impl Arguments {
    /// Takes the words after the program's name.
    pub fn parse(words: impl Iterator<Item = OsString>) -> Result<Arguments, Wrong> {
        let mut parsed = Arguments::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(options) = word.as_bytes().strip_prefix(b"-") else {
                return Err(Wrong::Invalid(word.to_string_lossy().into_owned()));
            };
            match options.strip_prefix(b"-") {
                Some(name) if !name.is_empty() => parsed.long(&word, name, &mut words)?,
                _ => parsed.word(options, &mut words)?,
            }
        }
        match parsed.terms.misplaced(parsed.signal) {
            Some(name) => Err(Wrong::Invalid(name.to_owned())),
            None => Ok(parsed),
        }
    }

    fn long(
        &mut self,
        word: &OsStr,
        name: &[u8],
        words: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Wrong> {
        let shown = || word.to_string_lossy();
        let mut value = || {
            let missing = || Wrong::Missing(shown().into_owned(), "parameter");
            words.next().ok_or_else(missing)
        };
        let wrong =
            |value: &OsStr| Wrong::Invalid(format!("{} {}", shown(), value.to_string_lossy()));
        let terms = &mut self.terms;
        match name {
            b"wait" => terms.wait = true,
            b"detach" => terms.detach = true,
            b"json" => terms.json = true,
            b"dry-run" => terms.dry_run = true,
            b"canary" => {
                let value = value()?;
                let number = value.to_str().and_then(|text| text.parse().ok());
                terms.canary = Some(number.filter(|n| *n > 0).ok_or_else(|| wrong(&value))?);
            }
            b"watch" => {
                let value = value()?;
                terms.watch = Some(parse_msec(value.as_bytes()).ok_or_else(|| wrong(&value))?);
            }
            _ => return Err(Wrong::Invalid(shown().into_owned())),
        }
        Ok(())
    }

    fn word(
        &mut self,
        mut options: &[u8],
        words: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Wrong> {
        while let Some((option, rest)) = options.split_first() {
            if let Some(what) = value_of(*option) {
                let attached = (!rest.is_empty()).then(|| OsStr::from_bytes(rest).to_owned());
                let missing = || Wrong::Missing(format!("-{}", char::from(*option)), what);
                let value = attached.or_else(|| words.next()).ok_or_else(missing)?;
                return self.valued(*option, value);
            }
            self.flag(*option)?;
            options = rest;
        }
        Ok(())
    }

    fn flag(&mut self, option: u8) -> Result<(), Wrong> {
        match option {
            b'?' | b'h' => (self.version, self.help) = (true, true),
            b'v' => self.version = true,
            b'V' => (self.version, self.configure) = (true, true),
            b't' => self.test = true,
            b'T' => (self.test, self.dump) = (true, true),
            b'q' => self.quiet = true,
            other => return Err(Wrong::Invalid(char::from(other).to_string())),
        }
        Ok(())
    }

    fn valued(&mut self, option: u8, value: OsString) -> Result<(), Wrong> {
        match option {
            b'p' => self.prefix = Some(value.into()),
            b'e' => self.error_log = Some(value.into()),
            b'c' => self.conf = Some(value.into()),
            b'g' => self.globals = Some(value.into_vec()),
            b'l' => match value.as_bytes().strip_prefix(b"unix:") {
                Some(path) => self.control = Some(OsStr::from_bytes(path).into()),
                None => return Err(Wrong::Invalid(format!("-l {}", value.to_string_lossy()))),
            },
            _ => self.signal = Some(request(&value)?),
        }
        Ok(())
    }
}

/// What the value of an option is called in nginx's complaint; `None` for an option without one.
fn value_of(option: u8) -> Option<&'static str> {
    match option {
        b'p' => Some("directory name"),
        b'e' | b'c' => Some("file name"),
        b'g' | b's' => Some("parameter"),
        b'l' => Some("address"),
        _ => None,
    }
}

fn request(value: &OsStr) -> Result<Request, Wrong> {
    match value.as_bytes() {
        b"stop" => Ok(Request::Stop),
        b"quit" => Ok(Request::Quit),
        b"reopen" => Ok(Request::Reopen),
        b"reload" => Ok(Request::Reload),
        b"upgrade" => Ok(Request::Upgrade),
        b"rollback" => Ok(Request::Rollback),
        b"status" => Ok(Request::Status),
        b"maintenance-on" => Ok(Request::MaintenanceOn),
        b"maintenance-off" => Ok(Request::MaintenanceOff),
        _ => Err(Wrong::Invalid(format!("-s {}", value.to_string_lossy()))),
    }
}

/// The text of `-h`.
pub fn help(prefix: &str, conf_file: &str) -> String {
    format!(
        "Usage: proxyd [-?hvVtTq] [-s signal] [-p prefix]
              [-e filename] [-c filename] [-g directives] [-l address]

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and configure options then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload,
                  upgrade (to this executable), rollback (to the one before), status,
                  maintenance-on, maintenance-off (see also: proxyd ctl help)
  -p prefix     : set prefix path (default: {prefix}/)
  -e filename   : set error log file (default: stderr)
  -c filename   : set configuration file (default: {conf_file})
  -g directives : set global directives out of configuration file
  -l address    : set control API socket, as unix:path (default: the pid file's name with .ctl)

See also: proxyd ctl help, proxyd compat --help

With -s upgrade and -s rollback:
  --wait        : return when the version that is replaced has finished and gone
  --detach      : return when it is under way, without the outcome
  --watch time  : compare both versions for this time instead of upgrade_watch
  --canary n    : start with this number of worker processes (upgrade only)
  --dry-run     : see whether the new version gets ready, and leave everything as it is
  --json        : print JSON, a line for each step (also with -s status)

"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, String> {
        let words = words.iter().map(OsString::from);
        Arguments::parse(words).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn options_may_be_grouped() {
        let parsed = parse(&["-tq", "-T"]).unwrap();
        assert!(parsed.test && parsed.dump && parsed.quiet && !parsed.version);
        let parsed = parse(&["-vV?h"]).unwrap();
        assert!(parsed.version && parsed.configure && parsed.help);
    }

    #[test]
    fn a_value_is_attached_or_follows() {
        assert_eq!(parse(&["-sreload"]).unwrap().signal, Some(Request::Reload));
        assert_eq!(parse(&["-s", "quit"]).unwrap().signal, Some(Request::Quit));
        let parsed = parse(&["-tc/a/b", "-p", "x", "-e", "stderr", "-gdaemon off;"]).unwrap();
        assert!(parsed.test);
        assert_eq!(parsed.conf, Some("/a/b".into()));
        assert_eq!(parsed.prefix, Some("x".into()));
        assert_eq!(parsed.error_log, Some("stderr".into()));
        assert_eq!(parsed.globals, Some(b"daemon off;".to_vec()));
        assert_eq!(parse(&["-lunix:/x"]).unwrap().control, Some("/x".into()));
    }

    #[test]
    fn complaints_are_nginxs() {
        let complaint = |words: &[&str]| parse(words).unwrap_err();
        assert_eq!(complaint(&["foo"]), "invalid option: \"foo\"");
        assert_eq!(complaint(&["-tx"]), "invalid option: \"x\"");
        assert_eq!(complaint(&["-t-"]), "invalid option: \"-\"");
        assert_eq!(complaint(&["-s", "dance"]), "invalid option: \"-s dance\"");
        assert_eq!(complaint(&["-s"]), "option \"-s\" requires parameter");
        assert_eq!(complaint(&["-g"]), "option \"-g\" requires parameter");
        assert_eq!(complaint(&["-p"]), "option \"-p\" requires directory name");
        assert_eq!(complaint(&["-e"]), "option \"-e\" requires file name");
        assert_eq!(complaint(&["-c"]), "option \"-c\" requires file name");
    }

    #[test]
    fn a_change_has_its_terms() {
        let parsed =
            parse(&["-s", "upgrade", "--wait", "--canary", "2", "--watch", "1m30s"]).unwrap();
        assert_eq!(parsed.signal, Some(Request::Upgrade));
        let watch = Some(Duration::from_secs(90));
        assert_eq!(parsed.terms, Terms { wait: true, canary: Some(2), watch, ..Terms::default() });
        let parsed = parse(&["--json", "--detach", "--dry-run", "-tsrollback", "-c", "x"]).unwrap();
        assert_eq!((parsed.signal, parsed.test), (Some(Request::Rollback), true));
        let terms = Terms { json: true, detach: true, dry_run: true, ..Terms::default() };
        assert_eq!(parsed.terms, terms);
        let parsed = parse(&["-s", "status", "--json"]).unwrap();
        assert_eq!((parsed.signal, parsed.terms.json), (Some(Request::Status), true));
        let parsed = parse(&["-s", "upgrade", "--watch", "0"]).unwrap();
        assert_eq!(parsed.terms.watch, Some(Duration::ZERO));
    }

    #[test]
    fn terms_that_make_no_sense_are_refused() {
        for (words, complaint) in [
            ("--wait", "invalid option: \"--wait\""),
            ("-s reload --wait", "invalid option: \"--wait\""),
            ("-s stop --json", "invalid option: \"--json\""),
            ("-s status --watch 1", "invalid option: \"--watch\""),
            ("-s status --dry-run", "invalid option: \"--dry-run\""),
            ("-s rollback --canary 1", "invalid option: \"--canary\""),
            ("-s upgrade --wait --detach", "invalid option: \"--detach\""),
            ("-s upgrade --canary", "option \"--canary\" requires parameter"),
            ("-s upgrade --canary 0", "invalid option: \"--canary 0\""),
            ("-s upgrade --canary 25%", "invalid option: \"--canary 25%\""),
            ("-s upgrade --watch", "option \"--watch\" requires parameter"),
            ("-s upgrade --watch 5x", "invalid option: \"--watch 5x\""),
            ("-s upgrade --dryrun", "invalid option: \"--dryrun\""),
            ("--help", "invalid option: \"--help\""),
        ] {
            let words: Vec<_> = words.split(' ').collect();
            assert_eq!(parse(&words), Err(complaint.to_owned()), "{words:?}");
        }
    }

    #[test]
    fn a_lone_dash_is_nothing_as_in_nginx() {
        assert_eq!(parse(&["-"]), Ok(Arguments::default()));
    }

    #[test]
    fn every_option_is_in_the_help() {
        let text = help("/p", "c");
        for option in (0..=u8::MAX).filter(|byte| value_of(*byte).is_some()) {
            assert!(text.contains(&format!("  -{} ", char::from(option))));
        }
        for term in ["wait", "detach", "watch time", "canary n", "dry-run", "json"] {
            assert!(text.contains(&format!("\n  --{term} ")), "{term}");
        }
    }
}
