//! Owns the words of a `server` line inside `upstream`.
//!
//! Must not look names up before the whole configuration has been read.

use super::block::UpstreamDraft;
use crate::conf::values::{parse_number, parse_sec};
use crate::conf::{Directive, Env, Error, Word};
use crate::http::finish::Finish;
use crate::http::groups::{addresses, host_port};
use crate::net::address::Endpoint;
use crate::upstream::{Balance, ServerSpec};

/// A `server` line as written.
#[derive(Debug, Clone)]
pub(super) struct WrittenServer {
    pub word: Word,
    endpoint: Endpoint,
    /// Without its addresses.
    pub spec: ServerSpec,
}

impl WrittenServer {
    /// Looks its name up.
    pub fn finish(&self, cx: &mut Finish) -> ServerSpec {
        // A literal address stays what it is.
        let resolve = self.spec.resolve && host_port(&self.endpoint).is_some();
        let mut now = || addresses(&self.endpoint, &self.word, &self.spec.name, cx);
        ServerSpec {
            addresses: if resolve { Vec::new() } else { now() },
            resolve,
            host_port: host_port(&self.endpoint),
            ..self.spec.clone()
        }
    }
}

/// As long as the hash of an address that stands for it otherwise.
const LONGEST_ROUTE: usize = 32;

/// `server address [parameters]`.
pub(super) fn read(draft: &mut UpstreamDraft, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let word = dir.arg(0);
    let name = word.str()?;
    let mut spec = ServerSpec::new(name, Vec::new());
    for word in dir.args.iter().skip(1) {
        // As in nginx only a method that has been chosen above this line counts.
        parameter(&mut spec, word, draft.balance)?;
    }
    let wrong = |what: &str| Err(word.error(format_args!("service upstream \"{name}\" {what}")));
    if spec.service.is_some() && !spec.resolve {
        return wrong("requires \"resolve\" parameter");
    }
    let endpoint = Endpoint::parse_server(name, 80)
        .map_err(|bad| word.error(format_args!("{bad} in upstream \"{name}\"")))?;
    if spec.service.is_some() && endpoint.port_given {
        return wrong("may not have port");
    }
    if spec.service.is_some() && host_port(&endpoint).is_none() {
        return wrong("requires domain name");
    }
    draft.servers.push(WrittenServer { word: word.clone(), endpoint, spec });
    Ok(())
}

fn parameter(spec: &mut ServerSpec, word: &Word, balance: Option<Balance>) -> Result<(), Error> {
    let text = word.str()?;
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let invalid = || word.error(format_args!("invalid parameter \"{text}\""));
    let number = |value: &str| {
        let number = parse_number(value.as_bytes()).and_then(|n| u32::try_from(n).ok());
        number.ok_or_else(invalid)
    };
    match (name, value) {
        ("weight", Some(value)) => {
            spec.weight = number(value)?;
            if spec.weight == 0 {
                return Err(invalid());
            }
        }
        ("max_conns", Some(value)) => spec.max_conns = number(value)?,
        ("max_fails", Some(value)) => spec.max_fails = number(value)?,
        ("fail_timeout", Some(value)) => {
            spec.fail_timeout = parse_sec(value.as_bytes()).ok_or_else(invalid)?;
        }
        ("backup", None) if balance.is_some_and(|balance| !balance.has_backup()) => {
            return Err(
                word.error(format_args!("balancing method does not support parameter \"{text}\""))
            );
        }
        ("backup", None) => spec.backup = true,
        ("down", None) => spec.down = true,
        ("drain", None) => spec.drain = true,
        ("resolve", None) => spec.resolve = true,
        ("route", Some("")) => return Err(word.error("route is empty")),
        ("route", Some(route)) if route.len() > LONGEST_ROUTE => {
            return Err(word.error(format_args!("route is longer than {LONGEST_ROUTE}")));
        }
        ("route", Some(route)) => spec.route = Some(route.to_owned()),
        ("service", Some("")) => return Err(word.error("service is empty")),
        ("service", Some(service)) => spec.service = Some(service.to_owned()),
        ("slow_start", Some(_)) if balance.is_some_and(|balance| !balance.can_start_slowly()) => {
            return Err(
                word.error(format_args!("balancing method does not support parameter \"{text}\""))
            );
        }
        ("slow_start", Some(value)) => {
            spec.slow_start = parse_sec(value.as_bytes()).ok_or_else(invalid)?;
        }
        _ => return Err(invalid()),
    }
    Ok(())
}
