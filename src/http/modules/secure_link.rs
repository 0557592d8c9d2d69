//! Owns `secure_link`: whether a link has been made by somebody who knows a secret, and still holds.
//!
//! Must not refuse anything; the configuration does, by `$secure_link`.

use crate::base64::{Alphabet, decode};
use crate::conf::values::parse_number;
use crate::conf::{Args, Row, Word, values};
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::vars::Variable;
use crate::log::clock;
use crate::password;
use md5::{Digest, Md5};

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    link: Option<Word>,
    md5: Option<Word>,
    secret: Option<Word>,
}

/// In force.
#[derive(Debug)]
pub enum Conf {
    Off,
    /// The digest, perhaps with a time, and what it must be of.
    Expression {
        link: Template,
        md5: Template,
    },
    /// `/prefix/digest/link`.
    Secret(Vec<u8>),
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        if self.secret.is_some() {
            return;
        }
        super::inherit!(self, outer; link, md5);
        if self.link.is_none() && self.md5.is_none() {
            self.secret.clone_from(&outer.secret);
        }
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        match (&self.secret, &self.link, &self.md5) {
            (Some(secret), None, None) => Conf::Secret(secret.text.clone()),
            (Some(secret), ..) => {
                cx.report(secret.error(
                    "\"secure_link_secret\" cannot be mixed with \"secure_link\" and \
                     \"secure_link_md5\"",
                ));
                Conf::Off
            }
            (None, Some(link), Some(md5)) => {
                Conf::Expression { link: cx.template(link), md5: cx.template(md5) }
            }
            _ => Conf::Off,
        }
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "secure_link",
        HSL,
        Args::Exactly(1),
        "Where a link has its digest (base64 for URLs) and, after a comma, the time at which it ends.",
        |scope, dir, _| values::word(&mut scope.drafts.secure_link.link, dir),
    ),
    row(
        "secure_link_md5",
        HSL,
        Args::Exactly(1),
        "What the digest of a link must be the MD5 of; some part of it should be secret.",
        |scope, dir, _| values::word(&mut scope.drafts.secure_link.md5, dir),
    ),
    row(
        "secure_link_secret",
        crate::conf::Contexts::LOCATION,
        Args::Exactly(1),
        "The word that makes links `/prefix/digest/link` right, whose digest is the MD5 of link and word.",
        |scope, dir, _| values::word(&mut scope.drafts.secure_link.secret, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[
    Variable {
        name: "secure_link",
        doc: "`1` for a link that is right, `0` for one whose time is over, else empty; with \
              `secure_link_secret` the link itself.",
        get: |req, _, out| match &*req.conf().secure_link {
            Conf::Off => false,
            Conf::Expression { link, md5 } => expression(req, link, md5, out).is_some(),
            Conf::Secret(secret) => plain(req, secret, out).is_some(),
        },
    },
    Variable {
        name: "secure_link_expires",
        doc: "The time at which the link ends, if it has one.",
        get: |req, _, out| {
            let Conf::Expression { link, .. } = &*req.conf().secure_link else { return false };
            let link = link.value(req);
            let time = split(&link).1.filter(|time| ends(time).is_some());
            crate::http::vars::push(time, out)
        },
    },
];

/// The digest, and what follows a comma.
fn split(link: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b',', link) {
        Some(at) => (&link[..at], Some(&link[at + 1..])),
        None => (link, None),
    }
}

fn ends(time: &[u8]) -> Option<i64> {
    i64::try_from(parse_number(time)?).ok().filter(|time| *time > 0)
}

fn expression(req: &Request, link: &Template, md5: &Template, out: &mut Vec<u8>) -> Option<()> {
    let link = link.value(req);
    let (digest, time) = split(&link);
    let end = match time {
        Some(time) => Some(ends(time)?),
        None => None,
    };
    let given = decode(digest, Alphabet::Url).filter(|given| given.len() == 16)?;
    let right = Md5::digest(md5.value(req));
    password::same(&given, &right).then_some(())?;
    out.push(if end.is_some_and(|end| end < clock::seconds()) { b'0' } else { b'1' });
    Some(())
}

/// The link as it stands in the request, arguments and all.
fn plain(req: &Request, secret: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut parts = req.head.target().get(1..)?.splitn(3, |byte| *byte == b'/');
    let (_, digest, link) = (parts.next()?, parts.next()?, parts.next()?);
    let given = unhex(digest).filter(|_| !link.is_empty())?;
    let right = Md5::new().chain_update(link).chain_update(secret).finalize();
    password::same(&given, &right).then_some(())?;
    out.extend_from_slice(link);
    Some(())
}

/// 32 hexadecimal digits.
fn unhex(text: &[u8]) -> Option<[u8; 16]> {
    let digits = text.iter().all(u8::is_ascii_hexdigit) && text.len() == 32;
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Site, errors};

    fn value(server: &str, target: &str) -> Option<String> {
        let site = Site::new("", &format!("listen 1; {server}"));
        let mut req = site.request();
        req.args = target.split_once('?').map_or(Vec::new(), |(_, args)| args.into());
        let mut out = Vec::new();
        (VARIABLES[0].get)(&req, b"", &mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_digest_is_of_the_expression_and_may_end() {
        let conf = "secure_link $arg_l; secure_link_md5 secret;";
        // The MD5 of "secret".
        let digest = "Xr4ilOzQ4PCOq3aQ0qbuaQ";
        let ask = |link: &str| value(conf, &format!("/?l={link}"));
        assert_eq!(ask(digest).unwrap(), "1");
        assert_eq!(ask(&format!("{digest}==")).unwrap(), "1");
        assert_eq!(ask(&format!("{digest},4000000000")).unwrap(), "1");
        assert_eq!(ask(&format!("{digest},1")).unwrap(), "0");
        for bad in [
            format!("{digest},0"),
            format!("{digest},"),
            format!("{digest},x"),
            format!("{digest}AA"),
            digest[1..].into(),
            String::new(),
        ] {
            assert_eq!(ask(&bad), None, "{bad}");
        }
        assert_eq!(value("secure_link $arg_l;", "/?l=x"), None);
    }

    #[test]
    fn digits_in_any_case() {
        assert_eq!(unhex(b"00000000000000000000000000000aFf").unwrap()[14..], [0x0a, 0xff]);
        assert_eq!(unhex(b"+0000000000000000000000000000aff"), None);
        assert_eq!(unhex(b"00"), None);
    }

    #[test]
    fn the_two_ways_do_not_mix() {
        let both = "listen 1; location / { secure_link_secret a; secure_link_md5 b; }";
        let message =
            "\"secure_link_secret\" cannot be mixed with \"secure_link\" and \"secure_link_md5\"";
        assert_eq!(errors("", both), [message]);
        // One of the outer level gives way.
        assert!(
            errors(
                "secure_link a; secure_link_md5 b;",
                "listen 1; location / { secure_link_secret a; }"
            )
            .is_empty()
        );
    }
}
