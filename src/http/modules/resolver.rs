//! Owns `resolver` and `resolver_timeout`: who is asked for names that only requests know.
//!
//! Must not ask; a worker's resolvers are in `live`.

use super::inherit;
use crate::conf::{Args, Row, values};
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::resolver::{ResolverDraft, TIMEOUT};
use crate::http::vars::Variable;
use std::time::Duration;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    pub resolver: Option<ResolverDraft>,
    pub timeout: Option<Duration>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// Index into the snapshot's resolvers.
    pub resolver: Option<usize>,
    /// How long a request waits for a name.
    pub timeout: Duration,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; resolver, timeout);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let spec = self.resolver.as_ref().map(|draft| draft.finish(cx));
        Conf {
            resolver: spec.map(|spec| cx.resolver(spec)),
            timeout: self.timeout.unwrap_or(TIMEOUT),
        }
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "resolver",
        HSL,
        Args::AtLeast(1),
        "Name servers that are asked for names known only at run time, in turn, with `valid=`, `ipv4=`, \
         `ipv6=`; `status_zone=` is without effect.",
        |scope, dir, env| {
            let slot = &mut scope.drafts.resolver.resolver;
            values::once(slot, dir)?;
            *slot = Some(ResolverDraft::read(dir, env)?);
            Ok(())
        },
    ),
    row(
        "resolver_timeout",
        HSL,
        Args::Exactly(1),
        "How long a request waits for a name to be resolved (default 30s).",
        |scope, dir, _| values::msec(&mut scope.drafts.resolver.timeout, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[];

#[cfg(test)]
mod tests {
    use crate::http::fixture::{errors, snapshot};

    #[test]
    fn the_same_words_are_one_resolver() {
        let (snapshot, _) = snapshot(
            "resolver 127.0.0.1 [::1]:54 valid=5s ipv6=off;",
            "listen 1; location /a { resolver 127.0.0.1 [::1]:54 valid=5s ipv6=off; } location /b { resolver two; }",
        );
        let [both, two] = &snapshot.resolvers[..] else { panic!("{:?}", snapshot.resolvers) };
        assert_eq!((both.valid, both.ipv4, both.ipv6), (Some(5), true, false));
        let shown: Vec<_> = two.servers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.1:53", "10.0.0.2:53"]);
    }

    #[test]
    fn complaints_are_nginxs() {
        for (text, message) in [
            ("resolver valid=1s;", "no name servers defined"),
            ("resolver 127.0.0.1 valid=x;", "invalid parameter: valid=x"),
            ("resolver 127.0.0.1 ipv4=1;", "invalid parameter: ipv4=1"),
            (
                "resolver 127.0.0.1 ipv4=off ipv6=off;",
                "\"ipv4\" and \"ipv6\" cannot both be \"off\"",
            ),
            ("resolver 127.0.0.1:x;", "invalid port in resolver \"127.0.0.1:x\""),
            ("resolver nowhere;", "host not found in resolver \"nowhere\""),
            ("resolver one; resolver one;", "\"resolver\" directive is duplicate"),
        ] {
            assert_eq!(
                errors(text, "listen 1;").first().map(String::as_str),
                Some(message),
                "{text}"
            );
        }
    }
}
