//! Owns the commands of a page: what each one does.
//!
//! Must not read the page nor send anything.

use super::filter::{Encoding, Ssi};
use super::parse::{Command, Outcome};
use crate::http::include::Include;
use crate::http::subrequest;
use crate::http::uri::{self, Set};

/// A command, its parameters, and those of them that must be there.
struct Known {
    name: &'static [u8],
    params: &'static [&'static str],
    needed: &'static [&'static str],
    /// The latest state of an `if` in which it may stand; 0 for anywhere.
    conditional: u8,
}

const fn known(
    name: &'static str,
    params: &'static [&'static str],
    needed: &'static [&'static str],
    conditional: u8,
) -> Known {
    Known { name: name.as_bytes(), params, needed, conditional }
}

const COMMANDS: &[Known] = &[
    known("include", &["virtual", "file", "wait", "set", "stub"], &[], 0),
    known("echo", &["var", "default", "encoding"], &["var"], 0),
    known("config", &["errmsg", "timefmt"], &[], 0),
    known("set", &["var", "value"], &["var", "value"], 0),
    known("if", &["expr"], &["expr"], 0),
    known("elif", &["expr"], &["expr"], 1),
    known("else", &[], &[], 1),
    known("endif", &[], &[], 2),
    known("block", &["name"], &["name"], 0),
    known("endblock", &[], &[], 0),
];

/// A command that fails, and nginx's sentence on it.
type Done = Result<(), String>;

impl Command {
    fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.params.iter().find(|(key, _)| key == name.as_bytes());
        found.map(|(_, value)| &value[..])
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// As it stood in the page.
    fn written(&self) -> Vec<u8> {
        let mut text = [b"<!--#", &self.name[..]].concat();
        for (key, value) in &self.params {
            text.extend([&b" "[..], key, b"=\"", value, b"\""].concat());
        }
        text.extend_from_slice(b" -->");
        text
    }

    /// Whether its parameters are those of the command.
    fn check(&self, known: &Known) -> Done {
        let name = self.shown();
        for (at, (key, _)) in self.params.iter().enumerate() {
            let shown = String::from_utf8_lossy(key);
            if !known.params.iter().any(|param| param.as_bytes() == key) {
                return Err(format!(
                    "invalid parameter name: \"{shown}\" in \"{name}\" SSI command"
                ));
            }
            if self.params.iter().take(at).any(|(before, _)| before == key) {
                return Err(format!("duplicate \"{shown}\" parameter in \"{name}\" SSI command"));
            }
        }
        match known.needed.iter().find(|param| self.get(param).is_none()) {
            Some(param) => {
                Err(format!("mandatory \"{param}\" parameter is absent in \"{name}\" SSI command"))
            }
            None => Ok(()),
        }
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

impl Ssi {
    /// Carries out what stands in the page, or says in its place that it cannot.
    pub(super) fn carry_out(&mut self, outcome: Outcome) {
        if let Err(why) = outcome.and_then(|command| self.command(&command)) {
            self.view.of.log_error(format_args!("{why}"));
            if !self.silent {
                self.show(self.error_text.clone());
            }
        }
    }

    fn command(&mut self, command: &Command) -> Done {
        let Some(known) = COMMANDS.iter().find(|known| known.name == command.name) else {
            let invalid = format!("invalid SSI command: \"{}\"", command.shown());
            return if self.branch.output { Err(invalid) } else { Ok(()) };
        };
        if !self.branch.output && known.name != b"endblock" {
            if self.branch.block {
                self.view.page.add_to_block(&command.written());
                return Ok(());
            }
            if known.conditional == 0 {
                return Ok(());
            }
        }
        let state = self.branch.conditional;
        if known.conditional > 0 && (state == 0 || state > known.conditional) {
            return Err(format!("invalid context of SSI command: \"{}\"", command.shown()));
        }
        command.check(known)?;
        let param = |name: &str| command.get(name).unwrap_or_default();
        match known.name {
            b"include" => return self.include_command(command),
            b"echo" => self.echo(command),
            b"config" => self.config(command),
            b"set" => {
                let value = self.view.expand(param("value"))?;
                self.view.page.set(param("var"), value);
            }
            b"if" if state > 0 => {
                return Err("the \"if\" command inside the \"if\" command".to_owned());
            }
            b"if" | b"elif" => return self.condition(param("expr")),
            b"else" => {
                self.branch.output = !self.branch.chosen;
                self.branch.conditional = 2;
            }
            b"endif" => {
                (self.branch.output, self.branch.chosen) = (true, false);
                self.branch.conditional = 0;
            }
            b"block" => {
                self.view.page.begin_block(param("name").to_vec());
                (self.branch.output, self.branch.block) = (false, true);
            }
            _ => (self.branch.output, self.branch.block) = (true, false),
        }
        Ok(())
    }

    fn config(&mut self, command: &Command) {
        if let Some(format) = command.get("timefmt") {
            self.view.time_format = format.to_vec();
        }
        if let Some(text) = command.get("errmsg") {
            self.error_text = text.to_vec();
        }
    }

    fn echo(&mut self, command: &Command) {
        let found = self.view.variable(command.get("var").unwrap_or_default());
        let value = found.unwrap_or_else(|| command.get("default").unwrap_or(b"(none)").to_vec());
        if value.is_empty() {
            return;
        }
        match command.get("encoding") {
            None => {}
            Some(b"none") => self.encoding = Encoding::None,
            Some(b"url") => self.encoding = Encoding::Url,
            Some(b"entity") => self.encoding = Encoding::Entity,
            Some(other) => {
                let other = lossy(other);
                self.view.of.log_error(format_args!(
                    "unknown encoding \"{other}\" in the \"echo\" command"
                ));
            }
        }
        self.show(match self.encoding {
            Encoding::None => value,
            Encoding::Url => uri::escape(&value, Set::Html).into_owned(),
            Encoding::Entity => uri::escape_html(&value).into_owned(),
        });
    }

    /// `if` and `elif`.
    fn condition(&mut self, expression: &[u8]) -> Done {
        if self.branch.chosen {
            self.branch.output = false;
            return Ok(());
        }
        let holds = self.holds(expression)?;
        self.branch.output = holds;
        self.branch.chosen = holds;
        self.branch.conditional = 1;
        Ok(())
    }

    /// `text`, `text = text`, `text != text`, `text = /regex/`, `text != /regex/`.
    fn holds(&self, expression: &[u8]) -> Result<bool, String> {
        let invalid = || format!("invalid expression in \"{}\"", lossy(expression));
        let is_left = |byte: &&u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'$' | b'{' | b'}' | b'_' | b'"' | b'\'')
        };
        let (left, rest) = expression.split_at(expression.iter().take_while(is_left).count());
        let left = self.view.expand(&left.to_ascii_lowercase())?;
        let rest = without_spaces(rest);
        if rest.is_empty() {
            return Ok(!left.is_empty());
        }
        let (negative, right) = match (rest.strip_prefix(b"="), rest.strip_prefix(b"!=")) {
            (Some(right), _) => (false, without_spaces(right)),
            (_, Some(right)) => (true, without_spaces(right)),
            _ => return Err(invalid()),
        };
        let pattern = right.strip_prefix(b"/").filter(|rest| !rest.is_empty());
        let same = if let Some(pattern) = pattern {
            let pattern = pattern.strip_suffix(b"/").ok_or_else(invalid)?;
            self.view.page.matches(&self.view.expand(pattern)?, &left)?
        } else {
            let escaped = right.starts_with(b"\\/") && right.len() > 2;
            left == self.view.expand(right.get(usize::from(escaped)..).unwrap_or_default())?
        };
        Ok(same != negative)
    }

    fn include_command(&mut self, command: &Command) -> Done {
        let target = match (command.get("virtual"), command.get("file")) {
            (Some(uri), Some(file)) => {
                let (uri, file) = (lossy(uri), lossy(file));
                return Err(format!(
                    "inclusion may be either virtual=\"{uri}\" or file=\"{file}\""
                ));
            }
            (None, None) => return Err("no parameter in \"include\" SSI command".to_owned()),
            (Some(uri), None) | (None, Some(uri)) => uri,
        };
        let waits = waits(command)?;
        let (set, stub) = (command.get("set"), command.get("stub"));
        if set.is_some() && stub.is_some() {
            return Err("\"set\" and \"stub\" cannot be used together in \"include\" SSI command"
                .to_owned());
        }
        let target = self.view.expand_uri(target)?;
        let unsafe_uri = || format!("unsafe URI \"{}\" was detected", lossy(&target));
        let (path, args) = uri::safe_parts(&target).map_err(|_| unsafe_uri())?;
        let stub = match stub {
            None => None,
            Some(name) => Some(self.view.page.block(name).ok_or_else(|| {
                format!("\"stub\"=\"{}\" for \"include\" not found", lossy(name))
            })?),
        };
        let Some(mut sub) = subrequest::new(&self.view.of, &path, args) else {
            if !self.silent {
                self.show(self.error_text.clone());
            }
            return Ok(());
        };
        if let Some(about) = &mut sub.sub {
            about.page = Some(self.view.page.clone());
            about.has_stub = stub.is_some();
        }
        let mut include = Include::new(sub);
        if let Some(stub) = stub {
            include.or_else(stub, self.view.of.reply.content_type.clone());
        }
        self.include(include, set.map(<[u8]>::to_vec));
        self.blocked = waits || set.is_some();
        Ok(())
    }
}

/// Whether what follows an `include` waits for it.
fn waits(command: &Command) -> Result<bool, String> {
    let Some(value) = command.get("wait") else { return Ok(command.get("file").is_some()) };
    if let Some(file) = command.get("file") {
        return Err(format!("\"wait\" cannot be used with file=\"{}\"", lossy(file)));
    }
    match value.to_ascii_lowercase().as_slice() {
        b"yes" => Ok(true),
        b"no" => Ok(false),
        _ => Err(format!("invalid value \"{}\" in the \"wait\" parameter", lossy(value))),
    }
}

fn without_spaces(text: &[u8]) -> &[u8] {
    text.get(text.iter().take_while(|byte| **byte == b' ').count()..).unwrap_or_default()
}
