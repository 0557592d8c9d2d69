//! The words of the command line, as nginx takes them: options may be grouped (`-tq`), a value may
//! be attached (`-sreload`) or follow. Pure: nothing is looked at or done.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

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
}

/// What the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
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
}

/// Why the command line cannot be taken, in nginx's words.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    Invalid(String),
    Missing(char, &'static str),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Invalid(what) => write!(f, "invalid option: \"{what}\""),
            Wrong::Missing(option, what) => write!(f, "option \"-{option}\" requires {what}"),
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
            parsed.word(options, &mut words)?;
        }
        Ok(parsed)
    }

    fn word(
        &mut self,
        mut options: &[u8],
        words: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Wrong> {
        while let Some((option, rest)) = options.split_first() {
            if let Some(what) = value_of(*option) {
                let attached = (!rest.is_empty()).then(|| OsStr::from_bytes(rest).to_owned());
                let missing = || Wrong::Missing(char::from(*option), what);
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
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: {prefix}/)
  -e filename   : set error log file (default: stderr)
  -c filename   : set configuration file (default: {conf_file})
  -g directives : set global directives out of configuration file
  -l address    : set control API socket, as unix:path (default: the pid file's name with .ctl)

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
        assert_eq!(complaint(&["--help"]), "invalid option: \"-\"");
        assert_eq!(complaint(&["-s", "upgrade"]), "invalid option: \"-s upgrade\"");
        assert_eq!(complaint(&["-s"]), "option \"-s\" requires parameter");
        assert_eq!(complaint(&["-g"]), "option \"-g\" requires parameter");
        assert_eq!(complaint(&["-p"]), "option \"-p\" requires directory name");
        assert_eq!(complaint(&["-e"]), "option \"-e\" requires file name");
        assert_eq!(complaint(&["-c"]), "option \"-c\" requires file name");
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
    }
}
