//! Owns who gets gzip: `gzip_http_version`, `gzip_disable`, and `gzip_proxied` for what comes through
//! another proxy.
//!
//! Must not look at what is answered but for what forbids caches to keep it.

use super::accept::accepts;
use super::{Conf, inherit};
use crate::conf::{Directive, Env, Error, Pattern, Word, values};
use crate::http::date;
use crate::http::finish::Finish;
use crate::http::h1::head::Version;
use crate::http::headers::{Headers, Name};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::log::clock;

const OFF: u32 = 1;
const EXPIRED: u32 = 1 << 1;
const NO_CACHE: u32 = 1 << 2;
const NO_STORE: u32 = 1 << 3;
const PRIVATE: u32 = 1 << 4;
const NO_LAST_MODIFIED: u32 = 1 << 5;
const NO_ETAG: u32 = 1 << 6;
const AUTH: u32 = 1 << 7;
const ANY: u32 = 1 << 8;

const PROXIED: &[(&str, u32)] = &[
    ("off", OFF),
    ("expired", EXPIRED),
    ("no-cache", NO_CACHE),
    ("no-store", NO_STORE),
    ("private", PRIVATE),
    ("no_last_modified", NO_LAST_MODIFIED),
    ("no_etag", NO_ETAG),
    ("auth", AUTH),
    ("any", ANY),
];

/// As written.
#[derive(Debug, Default, Clone)]
pub(super) struct Written {
    pub http_version: Option<Version>,
    /// Bits of `PROXIED`.
    proxied: Option<u32>,
    /// Patterns of `gzip_disable`, and whether `msie6` was among them.
    disable: Option<Vec<Word>>,
    msie6: Option<bool>,
}

impl Written {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; http_version, proxied, disable, msie6);
    }

    pub fn finish(&self, cx: &mut Finish) -> Permit {
        let words = self.disable.iter().flatten();
        let patterns = words.filter_map(|word| {
            let compiled =
                word.str().and_then(|text| Pattern::new(text, true).map_err(|why| word.error(why)));
            compiled.map_err(|error| cx.report(error)).ok()
        });
        Permit {
            disable: patterns.collect(),
            http_version: self.http_version.unwrap_or(Version::Http11),
            proxied: self.proxied.unwrap_or(OFF),
            msie6: self.msie6.unwrap_or(false),
        }
    }

    /// `gzip_proxied`.
    pub fn set_proxied(&mut self, dir: &Directive, env: &mut Env<'_>) -> Result<(), Error> {
        values::mask(self.proxied.get_or_insert_default(), dir, PROXIED, env)
    }

    /// `gzip_disable`.
    pub fn set_disable(&mut self, dir: &Directive) {
        let patterns = self.disable.get_or_insert_default();
        for word in &dir.args {
            if word.text == b"msie6" {
                self.msie6 = Some(true);
            } else {
                patterns.push(word.clone());
            }
        }
    }
}

/// In force.
#[derive(Debug)]
pub(super) struct Permit {
    disable: Box<[Pattern]>,
    http_version: Version,
    proxied: u32,
    msie6: bool,
}

/// Whether the client may be sent gzip.
pub(super) fn takes_gzip(req: &Request, conf: &Conf) -> bool {
    let asked = &req.head.headers;
    let permit = &conf.permit;
    asked.get(Name::AcceptEncoding).is_some_and(|value| accepts(value, "gzip"))
        && req.head.version >= permit.http_version
        && (!asked.contains(Name::Via) || permit.through_proxy(asked, &req.reply))
        && !asked.get(Name::UserAgent).is_some_and(|agent| permit.is_disabled(agent))
}

impl Permit {
    fn is_disabled(&self, agent: &[u8]) -> bool {
        (self.msie6 && is_msie6(agent)) || self.disable.iter().any(|p| p.is_match(agent))
    }

    /// `gzip_proxied`: what no proxy will keep may be compressed for one client.
    fn through_proxy(&self, asked: &Headers, reply: &Reply) -> bool {
        let any_of = |bits| self.proxied & bits != 0;
        if any_of(OFF) {
            return false;
        }
        if any_of(ANY) || (any_of(AUTH) && asked.contains(Name::Authorization)) {
            return true;
        }
        let headers = &reply.headers;
        if let Some(expires) = headers.get(Name::Expires) {
            return any_of(EXPIRED) && is_over(expires, headers.get(Name::Date));
        }
        if headers.contains(Name::CacheControl) {
            let says = |word: &str| headers.get_all(Name::CacheControl).any(|v| lists(v, word));
            return (any_of(NO_CACHE) && says("no-cache"))
                || (any_of(NO_STORE) && says("no-store"))
                || (any_of(PRIVATE) && says("private"));
        }
        let dated = reply.last_modified.is_some() || headers.contains(Name::LastModified);
        let may_be_kept = (any_of(NO_LAST_MODIFIED) && dated)
            || (any_of(NO_ETAG) && headers.contains(Name::ETag));
        !may_be_kept
    }
}

/// Whether a time lies before the answer's date.
fn is_over(expires: &[u8], date: Option<&[u8]>) -> bool {
    let date = date.map_or_else(|| Some(clock::seconds()), date::parse);
    date::parse(expires).zip(date).is_some_and(|(expires, date)| expires < date)
}

/// Whether a comma separated list has a word without a value.
fn lists(value: &[u8], word: &str) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

/// Internet Explorer 4, 5, and 6 before Windows XP's second service pack.
fn is_msie6(agent: &[u8]) -> bool {
    let find = |text: &[u8], part: &[u8]| memchr::memmem::find(text, part);
    let Some(rest) = find(agent, b"MSIE ").and_then(|at| agent.get(at + 5..)) else { return false };
    if find(agent, b"Opera").is_some() {
        return false;
    }
    match rest {
        [b'4' | b'5', b'.', _, ..] => true,
        [b'6', b'.', _, rest @ ..] => find(rest, b"SV1").is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Site, errors};

    /// Whether a request with these fields gets gzip for an answer with those.
    fn takes(conf: &str, asked: &[(&str, &str)], answered: &[(&str, &str)]) -> bool {
        let site = Site::new(conf, "listen 1;");
        let mut req = site.request();
        req.head.version = Version::Http11;
        req.head.headers.push(b"Accept-Encoding", b"gzip");
        for (name, value) in asked {
            req.head.headers.push(name.as_bytes(), value.as_bytes());
        }
        for (name, value) in answered {
            req.reply.headers.push(name.as_bytes(), value.as_bytes());
        }
        takes_gzip(&req, &req.conf().compress)
    }

    #[test]
    fn what_goes_through_a_proxy_must_not_be_kept() {
        let via = &[("Via", "1.1 x")][..];
        assert!(takes("", &[], &[]) && !takes("", via, &[]));
        assert!(takes("gzip_proxied any;", via, &[]));
        assert!(!takes("gzip_proxied off any;", via, &[]));
        let authorized = [via, &[("Authorization", "x")]].concat();
        assert!(takes("gzip_proxied auth;", &authorized, &[("Expires", "0")]));
        let past = ("Expires", "Thu, 01 Jan 1970 00:00:01 GMT");
        let never = ("Expires", "Fri, 01 Jan 2100 00:00:01 GMT");
        assert!(takes("gzip_proxied expired;", via, &[past]));
        assert!(!takes("gzip_proxied expired;", via, &[never]));
        assert!(!takes("gzip_proxied no-cache;", via, &[past]));
        assert!(!takes("gzip_proxied expired;", via, &[past, ("Date", past.1)]));
        let control = ("Cache-Control", "x=1, Private , no-store");
        assert!(takes("gzip_proxied private;", via, &[control]));
        assert!(!takes("gzip_proxied no-cache;", via, &[control]));
        assert!(takes("gzip_proxied no_etag no_last_modified;", via, &[]));
        assert!(!takes("gzip_proxied no_etag;", via, &[("ETag", "\"x\"")]));
        assert!(!takes("gzip_proxied no_last_modified;", via, &[("Last-Modified", past.1)]));
    }

    #[test]
    fn browsers_can_be_left_out() {
        let agent = |name| [("User-Agent", name)];
        let old = "Mozilla/4.0 (compatible; MSIE 6.0; Windows)";
        assert!(takes("", &agent(old), &[]));
        assert!(!takes("gzip_disable msie6;", &agent(old), &[]));
        assert!(takes("gzip_disable msie6;", &agent("MSIE 6.0; Windows; SV1"), &[]));
        assert!(takes("gzip_disable msie6;", &agent("MSIE 7.0; Windows"), &[]));
        assert!(!takes("gzip_disable ^curl x$;", &agent("CURL/8"), &[]));
        assert!(takes("gzip_disable ^curl x$;", &agent("wget"), &[]));
        assert_eq!(errors("gzip_disable (;", "").len(), 1);
    }
}
