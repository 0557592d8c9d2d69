//! Owns what of a request decides its server within a group: the key of `hash`, the session of `sticky`.
//!
//! Must not choose; `crate::upstream` does, by what it is told here.

use super::date;
use super::request::Request;
use super::template::Template;
use super::vars::Var;
use crate::log::clock;
use crate::upstream::{PeerRef, Selection};

/// Of one group; groups that go by nothing have none.
#[derive(Debug, Default)]
pub struct Affinity {
    /// `hash`.
    pub key: Option<Template>,
    pub sticky: Option<Sticky>,
}

/// `sticky cookie` and `sticky route`.
#[derive(Debug)]
pub struct Sticky {
    /// The first that is not empty names the server.
    pub lookup: Vec<Var>,
    /// Tells the client which server it has got.
    pub cookie: Option<Cookie>,
}

/// What clients are told.
#[derive(Debug)]
pub struct Cookie {
    pub name: Vec<u8>,
    /// Seconds; `u32::MAX` stands for `max`.
    pub expires: Option<u32>,
    pub domain: Option<Template>,
    pub http_only: bool,
    pub secure: bool,
    pub same_site: Option<Template>,
    pub path: Option<Vec<u8>>,
}

/// As nginx writes the largest time.
const MAX: &str = "; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000";

impl Affinity {
    /// Tells the search what it goes by.
    pub fn apply(&self, req: &Request, selection: &mut Selection) {
        if let Some(key) = &self.key {
            selection.key(key.value(req).into_owned());
        }
        for var in self.sticky.iter().flat_map(|sticky| &sticky.lookup) {
            let mut id = Vec::new();
            if var.append(req, &mut id) && !id.is_empty() {
                selection.prefer(id);
                return;
            }
        }
    }

    /// The value of the Set-Cookie field that ties the client to this server.
    pub fn cookie(&self, req: &Request, peer: &PeerRef) -> Option<Vec<u8>> {
        let cookie = self.sticky.as_ref()?.cookie.as_ref()?;
        Some(cookie.value(req, peer.id()))
    }
}

impl Cookie {
    fn value(&self, req: &Request, id: &str) -> Vec<u8> {
        let mut out = [&self.name, &b"="[..], id.as_bytes()].concat();
        out.extend_from_slice(self.lifetime().as_bytes());
        let mut add = |name: &str, value: &[u8]| {
            if !value.is_empty() {
                out.extend_from_slice(b"; ");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(value);
            }
        };
        if let Some(domain) = &self.domain {
            add("domain=", &domain.value(req));
        }
        if self.http_only {
            add("", b"httponly");
        }
        if self.secure {
            add("", b"secure");
        }
        if let Some(same_site) = &self.same_site {
            let value = same_site.value(req);
            // What a browser would not understand must not make the cookie laxer.
            add(
                "samesite=",
                if value.is_empty() || is_same_site(&value) { &value } else { b"strict" },
            );
        }
        add("path=", self.path.as_deref().unwrap_or_default());
        out
    }

    fn lifetime(&self) -> String {
        match self.expires {
            None => String::new(),
            Some(u32::MAX) => MAX.to_owned(),
            Some(seconds) => {
                let end = cookie_time(clock::seconds() + i64::from(seconds));
                format!("; expires={end}; max-age={seconds}")
            }
        }
    }
}

/// The values of `SameSite`.
pub fn is_same_site(value: &[u8]) -> bool {
    [&b"strict"[..], b"lax", b"none"].iter().any(|known| known.eq_ignore_ascii_case(value))
}

/// `Thu, 18-Nov-10 11:27:35 GMT`; from 2038 on with all digits of the year, as nginx writes it.
fn cookie_time(seconds: i64) -> String {
    let date = date::format(seconds);
    let parts: Vec<&str> = date.split(' ').collect();
    let [weekday, day, month, year, time, zone] = parts[..] else { return date };
    let year = if year > "2037" { year } else { year.get(2..).unwrap_or(year) };
    format!("{weekday} {day}-{month}-{year} {time} {zone}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_have_their_own_dates() {
        assert_eq!(cookie_time(784_111_777), "Sun, 06-Nov-94 08:49:37 GMT");
        assert_eq!(cookie_time(2_145_916_800), "Fri, 01-Jan-2038 00:00:00 GMT");
    }
}
