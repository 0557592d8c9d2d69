//! Owns the directives of the cookie.
//!
//! Must not give one.

use super::{Conf, Expires, State};
use crate::conf::values::{self, parse_sec};
use crate::conf::{Args, Directive, Env, Error, Row, Word};
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    state: Option<State>,
    service: Option<u32>,
    name: Option<String>,
    domain: Option<String>,
    path: Option<String>,
    p3p: Option<String>,
    expires: Option<Expires>,
    /// Bits of `FLAGS`.
    flags: Option<u32>,
    /// 0 for `off`.
    mark: Option<u8>,
}

const OFF: u32 = 1;
const FLAGS: [(&str, u32); 6] = [
    ("off", OFF),
    ("secure", 2),
    ("httponly", 4),
    ("samesite=strict", 8),
    ("samesite=lax", 16),
    ("samesite=none", 32),
];

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        super::super::inherit!(self, outer; state, service, name, domain, path, p3p, expires, flags, mark);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let text =
            |slot: &Option<String>, default: &str| slot.clone().unwrap_or(default.to_owned());
        let mut attributes = Vec::new();
        match self.domain.as_deref() {
            None | Some("none" | "") => {}
            Some(domain) => attributes.extend_from_slice(format!("; domain={domain}").as_bytes()),
        }
        attributes.extend_from_slice(format!("; path={}", text(&self.path, "/")).as_bytes());
        let flags = self.flags.unwrap_or(OFF);
        for (name, _) in FLAGS.iter().filter(|(_, bit)| *bit != OFF && flags & bit != 0) {
            attributes.extend_from_slice(format!("; {name}").as_bytes());
        }
        Conf {
            state: self.state.unwrap_or(State::Off),
            service: self.service,
            name: text(&self.name, "uid").into_bytes(),
            expires: self.expires.unwrap_or(Expires::WithSession),
            attributes,
            p3p: self.p3p.clone().filter(|p3p| p3p != "none").unwrap_or_default().into_bytes(),
            mark: self.mark.filter(|mark| *mark != 0),
            reset: cx.names.resolve("uid_reset"),
        }
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "userid",
        HSL,
        Args::Exactly(1),
        "Whether clients are given a cookie with a number of their own: `on`, `v1` (in the older form), \
         `log` (only looks at what they have), `off` (default).",
        |scope, dir, _| {
            let choices =
                [("off", State::Off), ("log", State::Log), ("v1", State::V1), ("on", State::On)];
            values::choice(&mut scope.drafts.userid.state, dir, &choices)
        },
    ),
    row(
        "userid_service",
        HSL,
        Args::Exactly(1),
        "The number that stands for this server in those it gives; its address by default.",
        |scope, dir, _| values::number(&mut scope.drafts.userid.service, dir),
    ),
    row(
        "userid_name",
        HSL,
        Args::Exactly(1),
        "Name of the cookie; `uid` by default.",
        |scope, dir, _| values::string(&mut scope.drafts.userid.name, dir),
    ),
    row(
        "userid_domain",
        HSL,
        Args::Exactly(1),
        "The domain that the cookie is for; `none` by default.",
        |scope, dir, _| values::string(&mut scope.drafts.userid.domain, dir),
    ),
    row(
        "userid_path",
        HSL,
        Args::Exactly(1),
        "The path that the cookie is for; `/` by default.",
        |scope, dir, _| values::string(&mut scope.drafts.userid.path, dir),
    ),
    row(
        "userid_expires",
        HSL,
        Args::Exactly(1),
        "How long the cookie is kept: a time, `max`, or `off` (default) for as long as the browser is open.",
        expires,
    ),
    row(
        "userid_flags",
        HSL,
        Args::AtLeast(1),
        "Attributes of the cookie: `secure`, `httponly`, `samesite=strict`, `samesite=lax`, \
         `samesite=none`; `off` by default.",
        |scope, dir, env| {
            values::mask(scope.drafts.userid.flags.get_or_insert(0), dir, &FLAGS, env)
        },
    ),
    row(
        "userid_p3p",
        HSL,
        Args::Exactly(1),
        "Value of the `P3P` field that goes with the cookie; `none` by default.",
        |scope, dir, _| values::string(&mut scope.drafts.userid.p3p, dir),
    ),
    row(
        "userid_mark",
        HSL,
        Args::Exactly(1),
        "A letter, digit or `=` in the cookie: who has one without it is given it anew; `off` by default.",
        mark,
    ),
];

fn expires(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let slot = &mut scope.drafts.userid.expires;
    values::once(slot, dir)?;
    let word: &Word = dir.arg(0);
    *slot = Some(match &word.text[..] {
        b"max" => Expires::Max,
        b"off" => Expires::WithSession,
        text => match parse_sec(text) {
            Some(time) if time.is_zero() => Expires::WithSession,
            Some(time) => Expires::After(time),
            None => return Err(values::verdict(dir, "invalid value")),
        },
    });
    Ok(())
}

fn mark(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let slot = &mut scope.drafts.userid.mark;
    values::once(slot, dir)?;
    *slot = Some(match &dir.arg(0).text[..] {
        b"off" => 0,
        [mark] if mark.is_ascii_alphanumeric() || *mark == b'=' => *mark,
        _ => {
            let verdict = "value must be \"off\" or a single letter, digit or \"=\"";
            return Err(values::verdict(dir, verdict));
        }
    });
    Ok(())
}
