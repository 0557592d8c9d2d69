//! Owns the words of `resolver`, in whichever block they stand.
//!
//! Must not ask name servers; `crate::dns` does, by these specifications.

use super::finish::Finish;
use crate::conf::values::parse_sec;
use crate::conf::{Directive, Env, Error, Word};
use crate::dns::ResolverSpec;
use crate::net::Address;
use crate::net::address::Endpoint;
use std::time::Duration;

/// nginx's default for `resolver_timeout`.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// As written.
#[derive(Debug, Clone)]
pub struct ResolverDraft {
    servers: Vec<(Word, Endpoint)>,
    valid: Option<u64>,
    ipv4: bool,
    ipv6: bool,
}

impl ResolverDraft {
    /// `resolver address ... [valid=time] [ipv4=on|off] [ipv6=on|off] [status_zone=zone]`.
    pub fn read(dir: &Directive, env: &mut Env) -> Result<Self, Error> {
        let mut draft = Self { servers: Vec::new(), valid: None, ipv4: true, ipv6: true };
        for word in &dir.args {
            draft.parameter(word, env)?;
        }
        if !draft.ipv4 && !draft.ipv6 {
            return Err(dir.error("\"ipv4\" and \"ipv6\" cannot both be \"off\""));
        }
        if draft.servers.is_empty() {
            return Err(dir.error("no name servers defined"));
        }
        Ok(draft)
    }

    fn parameter(&mut self, word: &Word, env: &mut Env) -> Result<(), Error> {
        let text = word.str()?;
        let invalid = || word.error(format_args!("invalid parameter: {text}"));
        let on = |value| match value {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(invalid()),
        };
        match text.split_once('=') {
            Some(("valid", value)) => {
                let valid = parse_sec(value.as_bytes()).ok_or_else(invalid)?.as_secs();
                self.valid = Some(valid).filter(|seconds| *seconds > 0);
            }
            Some(("ipv4", value)) => self.ipv4 = on(value)?,
            Some(("ipv6", value)) => self.ipv6 = on(value)?,
            Some(("status_zone", _)) => {
                env.no_effect.entry("resolver status_zone=".to_owned()).or_insert(word.span);
            }
            _ => {
                let endpoint = Endpoint::parse_server(text, 53)
                    .map_err(|bad| word.error(format_args!("{bad} in resolver \"{text}\"")))?;
                self.servers.push((word.clone(), endpoint));
            }
        }
        Ok(())
    }

    /// Looks the name servers' own names up.
    pub fn finish(&self, cx: &mut Finish) -> ResolverSpec {
        let mut servers = Vec::new();
        for (word, endpoint) in &self.servers {
            match endpoint.resolve(&mut |name| cx.env.world.resolve(name)) {
                Ok(found) => servers.extend(found.iter().filter_map(inet)),
                Err(bad) => {
                    let shown = word.lossy();
                    cx.report(word.error(format_args!("{bad} in resolver \"{shown}\"")));
                }
            }
        }
        ResolverSpec { servers, valid: self.valid, ipv4: self.ipv4, ipv6: self.ipv6 }
    }
}

fn inet(address: &Address) -> Option<std::net::SocketAddr> {
    match address {
        Address::Inet(inet) => Some(*inet),
        Address::Unix(_) => None,
    }
}
