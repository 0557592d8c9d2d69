//! Owns what of a request decides its server within a group: the key of `hash`, the session of `sticky`.
//!
//! Must not choose; `crate::upstream` does, by what it is told here.

use super::date;
use super::request::Request;
use super::template::Template;
use super::vars::Var;
use crate::log::clock;
use crate::upstream::{PeerRef, Selection};
use crate::zone::{Keyed, keyed};
use std::rc::Rc;

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
    /// The first names a session, and a zone knows its server.
    pub learn: Option<Learn>,
}

/// `sticky learn`.
#[derive(Debug)]
pub struct Learn {
    /// Index of the zone.
    pub zone: usize,
    /// How long a session that is not used is remembered, in milliseconds.
    pub timeout: u64,
    /// The first that is not empty is the name of a session that begins.
    pub create: Vec<Var>,
    /// `header`: the head of an answer is enough.
    pub from_head: bool,
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
        let Some(sticky) = &self.sticky else { return };
        let Some(found) = first(req, &sticky.lookup) else { return };
        match &sticky.learn {
            None => selection.prefer(found),
            Some(learn) => selection.prefer(learn.server_of(req, &found).unwrap_or_default()),
        }
    }

    /// What an answer from the server with this id teaches, and whether its head is enough for that.
    pub fn lesson(&self, req: &Request, id: String) -> Option<(Lesson, bool)> {
        let sticky = self.sticky.as_ref()?;
        let learn = sticky.learn.as_ref()?;
        let zone = req.live.zones.get(learn.zone)?.clone();
        let created = first(req, &learn.create);
        let begins = created.is_some();
        let session = created.or_else(|| first(req, &sticky.lookup))?;
        let timeout = learn.timeout;
        Some((Lesson { zone, session, id, begins, timeout }, learn.from_head))
    }

    /// Whether answers teach anything.
    pub fn learns(&self) -> bool {
        self.sticky.as_ref().is_some_and(|sticky| sticky.learn.is_some())
    }

    /// The value of the Set-Cookie field that ties the client to this server.
    pub fn cookie(&self, req: &Request, peer: &PeerRef) -> Option<Vec<u8>> {
        let cookie = self.sticky.as_ref()?.cookie.as_ref()?;
        Some(cookie.value(req, peer.id()))
    }
}

/// The value of the first variable that has one.
fn first(req: &Request, vars: &[Var]) -> Option<Vec<u8>> {
    vars.iter().find_map(|var| {
        let mut value = Vec::new();
        (var.append(req, &mut value) && !value.is_empty()).then_some(value)
    })
}

impl Learn {
    /// The server of a session that is not forgotten yet.
    fn server_of(&self, req: &Request, session: &[u8]) -> Option<Vec<u8>> {
        let zone = req.live.zones.get(self.zone)?;
        let records = zone.lock()?;
        let at = records.find(zone.key(session))?;
        if is_old(records.value(at, 0), self.timeout) {
            return None;
        }
        let words = (1..=ID_WORDS).flat_map(|nth| records.value(at, nth).to_ne_bytes());
        Some(words.take_while(|byte| *byte != 0).collect())
    }
}

/// Whether a session that was last used then is forgotten.
fn is_old(used: u64, timeout: u64) -> bool {
    keyed::now().saturating_sub(used) > timeout
}

/// Which server a session has, to be remembered when the answer has ended.
pub struct Lesson {
    zone: Rc<Keyed>,
    session: Vec<u8>,
    id: String,
    /// The session begins; else it is only kept alive.
    begins: bool,
    timeout: u64,
}

impl Lesson {
    /// Remembers it.
    pub fn learn(&self) {
        let Some(mut records) = self.zone.lock() else { return };
        let key = self.zone.key(&self.session);
        let values = values(&self.id);
        if let Some(at) = records.find(key) {
            records.set_values(at, &values);
            records.touch(at);
            return;
        }
        if !self.begins {
            return;
        }
        let old = records.oldest().filter(|at| is_old(records.value(*at, 0), self.timeout));
        if let Some(at) = old {
            records.remove(at);
        }
        if records.is_full()
            && let Some(at) = records.oldest()
        {
            records.remove(at);
            records.count_evicted();
            if self.zone.may_tell() {
                tracing::warn!("a sticky session zone is full, its oldest session is forgotten");
            }
        }
        let _ = records.insert(key, 0, &values);
    }
}

/// Words that the id of a server takes.
const ID_WORDS: usize = 4;

/// What a zone remembers: now, and the server. A shorter id ends with zeros.
fn values(id: &str) -> [u64; 1 + ID_WORDS] {
    let mut out = [keyed::now(), 0, 0, 0, 0];
    for (word, part) in out.iter_mut().skip(1).zip(id.as_bytes().chunks(8)) {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(part) {
            *to = *from;
        }
        *word = u64::from_ne_bytes(bytes);
    }
    out
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
