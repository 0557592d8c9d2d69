//! The words after `proxyd ctl`: a verb, the name of a switch, long options of its own, and the short
//! ones that say which server is meant. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::cli::arguments::{Arguments, Wrong};
use crate::conf::values::{parse_msec, parse_sec};
use crate::control::maintenance::{Barrier, Change, Revocation, TokenOrder, Wish};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    /// As `-s` has it; all of it is in the arguments.
    Plain,
    /// Close a switch, and perhaps wait until nothing is under way.
    Close(Change, Option<Barrier>),
    Open(Change),
    Token(TokenOrder),
    Revoke(Revocation),
    Switches,
    Inflight,
    Barrier(Barrier),
}

/// A whole command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Control {
    pub command: Command,
    /// The switch that is meant, where one was named.
    pub name: Option<String>,
    pub json: bool,
    /// Which server is meant.
    pub base: Arguments,
}

/// What was said, before it is known whether it fits the verb.
#[derive(Default)]
struct Said {
    words: Vec<String>,
    long: Vec<&'static str>,
    change: Change,
    who: Option<String>,
    terms: Barrier,
    patience: Option<Duration>,
    base: Vec<OsString>,
}

/// The options with two dashes, and the verbs that they belong to.
const LONG: [(&str, &[&str]); 13] = [
    ("--all", &["on", "off", "revoke"]),
    ("--host", &["on", "off"]),
    ("--who", &["token"]),
    ("--reason", &["on", "off"]),
    ("--for", &["on", "token"]),
    ("--auto-off", &["on"]),
    ("--no-bypass", &["on"]),
    ("--allow", &["on"]),
    ("--barrier", &["on"]),
    ("--timeout", &["barrier"]),
    ("--include-bypass", &["on", "barrier"]),
    ("--kill", &["on", "barrier"]),
    ("--kill=streams", &["on", "barrier"]),
];

impl Control {
    /// Takes the words beside `ctl`.
    pub(super) fn parse(mut all: Vec<OsString>) -> Result<Control, Wrong> {
        if let Some(at) = first(&all).filter(|at| is_plain(&all[*at])) {
            let verb = all.remove(at);
            all.splice(0..0, ["-s".into(), verb]);
            let base = Arguments::parse(all.into_iter())?;
            return Ok(Control {
                command: Command::Plain,
                name: None,
                json: base.terms.json,
                base,
            });
        }
        let mut said = Said::default();
        let mut all = all.into_iter();
        while let Some(word) = all.next() {
            said.take(word, &mut all)?;
        }
        said.finish()
    }
}

/// The place of the first word that is no option, nor what belongs to one.
pub(super) fn first(words: &[OsString]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match word.as_bytes() {
            b"-p" | b"-c" | b"-g" | b"-e" | b"-l" | b"-s" => at += 2,
            [b'-', ..] => at += 1,
            _ => return Some(at),
        }
    }
    None
}

fn is_plain(word: &OsStr) -> bool {
    matches!(word.as_bytes(), b"status" | b"upgrade" | b"rollback" | b"reload")
}

impl Said {
    fn take(
        &mut self,
        word: OsString,
        more: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Wrong> {
        let bytes = word.as_bytes();
        if bytes.starts_with(b"--") {
            return self.long(&word.to_string_lossy(), more);
        }
        if !bytes.starts_with(b"-") {
            let text = word.into_string().map_err(|word| invalid(&word.to_string_lossy()))?;
            self.words.push(text);
            return Ok(());
        }
        match bytes {
            // Their value is the next word.
            b"-p" | b"-c" | b"-g" | b"-e" | b"-l" => {
                self.base.push(word);
                self.base.extend(more.next());
            }
            [_, b'p' | b'c' | b'g' | b'e' | b'l', ..] => self.base.push(word),
            b"-h" | b"-?" => self.words = vec!["help".to_owned()],
            _ => return Err(invalid(&word.to_string_lossy())),
        }
        Ok(())
    }

    fn long(&mut self, word: &str, more: &mut impl Iterator<Item = OsString>) -> Result<(), Wrong> {
        let mut value = || {
            let missing = || Wrong::Missing(word.to_owned(), "parameter");
            let value = more.next().ok_or_else(missing)?;
            value.into_string().map_err(|value| invalid(&value.to_string_lossy()))
        };
        match word {
            "--json" => {}
            "--all" => self.change.all = true,
            "--auto-off" => self.change.auto_off = true,
            "--no-bypass" => self.change.no_bypass = true,
            "--include-bypass" => self.terms.include_bypass = true,
            "--kill" => self.terms.kill = true,
            "--kill=streams" => self.terms.kill_streams = true,
            "--reason" => self.change.reason = value()?,
            "--host" => self.change.host = Some(value()?),
            "--who" => self.who = Some(value()?),
            "--allow" => self.change.allow.push(value()?),
            "--for" => {
                let time = value()?;
                let parsed = parse_sec(time.as_bytes()).ok_or_else(|| wrong(word, &time))?;
                self.change.seconds = Some(parsed.as_secs());
            }
            "--barrier" | "--timeout" => {
                let time = value()?;
                let parsed = parse_msec(time.as_bytes()).ok_or_else(|| wrong(word, &time))?;
                self.patience = Some(parsed);
                self.terms.timeout_ms = u64::try_from(parsed.as_millis()).unwrap_or(u64::MAX);
            }
            _ => return Err(invalid(word)),
        }
        let known = LONG.iter().find(|(name, _)| *name == word);
        self.long.push(known.map_or("--json", |(name, _)| *name));
        Ok(())
    }

    fn finish(self) -> Result<Control, Wrong> {
        let Said { words, long, mut change, who, terms, patience, base } = self;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (verb, rest) = verb_of(&words)?;
        if let Some(odd) = rest.get(1) {
            return Err(invalid(odd));
        }
        let name = rest.first();
        for word in &long {
            let verbs = LONG.iter().find(|(name, _)| name == word).map(|(_, verbs)| *verbs);
            if verbs.is_some_and(|verbs| !verbs.contains(&verb)) {
                return Err(invalid(word));
            }
        }
        let of_waiting = ["--include-bypass", "--kill", "--kill=streams"];
        let of_waiting = of_waiting.into_iter().find(|word| long.contains(word));
        if let Some(word) = of_waiting.filter(|_| verb == "on" && patience.is_none()) {
            return Err(invalid(word));
        }
        if change.all && (name.is_some() || change.host.is_some()) {
            return Err(invalid("--all"));
        }
        if change.host.is_some() && name.is_some() {
            return Err(invalid("--host"));
        }
        let command = match verb {
            "on" => {
                change.state = Some(Wish::Closed);
                Command::Close(change, patience.map(|_| terms))
            }
            "off" => {
                change.state = Some(Wish::Open);
                Command::Open(change)
            }
            "token" => {
                let missing = || Wrong::Missing("token".to_owned(), "--who name");
                let who = who.ok_or_else(missing)?;
                Command::Token(TokenOrder { who, seconds: change.seconds })
            }
            "revoke" => Command::Revoke(Revocation { all: change.all }),
            "status" => Command::Switches,
            "inflight" => Command::Inflight,
            "barrier" => Command::Barrier(terms),
            _ => Command::Help,
        };
        let base = Arguments::parse(base.into_iter())?;
        let json = long.contains(&"--json");
        Ok(Control { command, name: name.map(|name| (*name).to_owned()), json, base })
    }
}

/// The verb, and what stands behind it.
fn verb_of<'a, 'w>(words: &'a [&'w str]) -> Result<(&'w str, &'a [&'w str]), Wrong> {
    match words {
        [] | ["help"] => Ok(("help", &[])),
        ["maintenance", verb @ ("on" | "off" | "status" | "token" | "revoke"), rest @ ..]
        | [verb @ ("inflight" | "barrier"), rest @ ..] => Ok((verb, rest)),
        ["maintenance"] => Err(Wrong::Missing("maintenance".to_owned(), "on, off or status")),
        ["maintenance", odd, ..] | [odd, ..] => Err(invalid(odd)),
    }
}

fn invalid(what: &str) -> Wrong {
    Wrong::Invalid(what.to_owned())
}

fn wrong(word: &str, value: &str) -> Wrong {
    Wrong::Invalid(format!("{word} {value}"))
}

/// The text of `proxyd ctl help`.
pub(super) const HELP: &str = "\
Usage: proxyd ctl command [options]

Commands:
  maintenance on [name]      : let no more requests in (name: default)
      --reason text          : shown to clients and written to the error log
      --for time             : how long it is expected to last; opens nothing
      --auto-off             : open it then
      --no-bypass            : let nobody in, whatever the configuration allows
      --allow address        : let this address or network in as well; may be repeated
      --barrier time         : wait for so long until nothing is under way
      --include-bypass       : not even what was let in nevertheless
      --kill, --kill=streams : cut off what is left then, or no more than streams
      --all                  : every switch
      --host name            : the switches that requests for this host meet
  maintenance off [name]     : let requests in again (--all, --host, --reason)
  maintenance token [name]   : make a token that lets somebody in
      --who name             : who it is for
      --for time             : how long it is valid (2h)
  maintenance revoke [name]  : make all tokens void that there are (--all)
  maintenance status [name]  : how the switches are
  inflight [name]            : what is under way
  barrier [name]             : wait until nothing is under way through a closed switch
      --timeout time         : for so long (60s)
      --include-bypass, --kill, --kill=streams
  status, upgrade, rollback, reload : as with -s

With every command: --json, and -p, -c, -g, -l, which say what server is meant.

Exit code: 0 done or proven, 1 nothing was done, 2 it cannot be as things are, 3 something is still
under way, 5 done, and nobody knows what became of some requests.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Control, String> {
        let words = words.split(' ').filter(|word| !word.is_empty()).map(OsString::from);
        Control::parse(words.collect()).map_err(|wrong| wrong.to_string())
    }

    fn command(words: &str) -> Command {
        parse(words).unwrap().command
    }

    #[test]
    fn switches_are_closed_on_terms() {
        let parsed = parse(
            "maintenance on shop --reason moving --for 30m --auto-off --no-bypass --json \
             --allow 10.0.0.0/8 --allow ::1 --barrier 1500ms --include-bypass --kill -c x",
        )
        .unwrap();
        let change = Change {
            state: Some(Wish::Closed),
            reason: "moving".into(),
            seconds: Some(1800),
            auto_off: true,
            no_bypass: true,
            allow: vec!["10.0.0.0/8".into(), "::1".into()],
            ..Change::default()
        };
        let terms =
            Barrier { timeout_ms: 1500, include_bypass: true, kill: true, kill_streams: false };
        assert_eq!(parsed.command, Command::Close(change, Some(terms)));
        assert_eq!((parsed.name.as_deref(), parsed.json), (Some("shop"), true));
        assert_eq!(parsed.base.conf.as_deref(), Some("x".as_ref()));
        let plain = Change { state: Some(Wish::Closed), ..Change::default() };
        assert_eq!(command("maintenance on"), Command::Close(plain, None));
    }

    #[test]
    fn the_other_verbs() {
        let open = Change { state: Some(Wish::Open), all: true, ..Change::default() };
        assert_eq!(command("maintenance off --all"), Command::Open(open));
        let order = TokenOrder { who: "alice".into(), seconds: Some(60) };
        assert_eq!(command("maintenance token --who alice --for 1m"), Command::Token(order));
        assert_eq!(command("maintenance revoke --all"), Command::Revoke(Revocation { all: true }));
        assert_eq!(command("maintenance status"), Command::Switches);
        assert_eq!(parse("inflight a").unwrap().name.as_deref(), Some("a"));
        assert_eq!(command("barrier"), Command::Barrier(Barrier::default()));
        let terms = Barrier { timeout_ms: 0, ..Barrier::default() };
        assert_eq!(command("-lunix:/x barrier a --timeout 0"), Command::Barrier(terms));
        let terms = Barrier { kill_streams: true, ..Barrier::default() };
        assert_eq!(command("barrier --kill=streams"), Command::Barrier(terms));
        for help in ["", "help", "-h", "barrier -?"] {
            assert_eq!(command(help), Command::Help, "{help}");
        }
    }

    #[test]
    fn what_dash_s_has_is_the_same_here() {
        let parsed = parse("upgrade --wait --json -c x").unwrap();
        let words = ["-s", "upgrade", "--wait", "--json", "-c", "x"].map(OsString::from);
        assert_eq!(parsed.base, Arguments::parse(words.into_iter()).unwrap());
        assert_eq!((parsed.command, parsed.json), (Command::Plain, true));
        assert!(parse("-p /x status").unwrap().base.prefix.is_some());
        assert_eq!(command("-p status maintenance status"), Command::Switches);
        assert_eq!(parse("reload --json").unwrap_err(), "invalid option: \"--json\"");
    }

    #[test]
    fn nonsense_is_named() {
        for (words, complaint) in [
            ("dance", "invalid option: \"dance\""),
            ("maintenance", "option \"maintenance\" requires on, off or status"),
            ("maintenance up", "invalid option: \"up\""),
            ("maintenance on a b", "invalid option: \"b\""),
            ("maintenance off --for 1m", "invalid option: \"--for\""),
            ("maintenance status --all", "invalid option: \"--all\""),
            ("maintenance on a --all", "invalid option: \"--all\""),
            ("maintenance on --timeout 1", "invalid option: \"--timeout\""),
            ("maintenance on --include-bypass", "invalid option: \"--include-bypass\""),
            ("maintenance on a --host h", "invalid option: \"--host\""),
            ("maintenance on --all --host h", "invalid option: \"--all\""),
            ("maintenance token", "option \"token\" requires --who name"),
            ("maintenance off --who a", "invalid option: \"--who\""),
            ("barrier --kill=writes", "invalid option: \"--kill=writes\""),
            ("maintenance on --kill=streams", "invalid option: \"--kill=streams\""),
            ("maintenance on --kill", "invalid option: \"--kill\""),
            ("maintenance on --for", "option \"--for\" requires parameter"),
            ("maintenance on --for 5x", "invalid option: \"--for 5x\""),
            ("barrier --timeout x", "invalid option: \"--timeout x\""),
            ("barrier --barrier 1", "invalid option: \"--barrier\""),
            ("inflight a b", "invalid option: \"b\""),
            ("barrier --frob", "invalid option: \"--frob\""),
            ("barrier -t", "invalid option: \"-t\""),
            ("barrier -p", "option \"-p\" requires directory name"),
        ] {
            assert_eq!(parse(words).unwrap_err(), complaint, "{words}");
        }
    }

    #[test]
    fn every_option_is_in_the_help() {
        for (option, _) in LONG {
            assert!(HELP.contains(&format!(" {option}")), "{option}");
        }
    }
}
