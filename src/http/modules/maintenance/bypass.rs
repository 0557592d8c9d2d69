//! Owns who is let in through a closed door: addresses that are listed, and tokens that are signed.
//!
//! Must not answer those who are not.

use super::conf::File;
use super::rows::{invalid, unmapped, value};
use crate::conf::values::parse_sec;
use crate::conf::{Directive, Error, Word};
use crate::http::cidr;
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::method::Method;
use crate::http::passage::Action;
use crate::http::phase::{Phase, Stop};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::log::clock;
use crate::token::{Bearer, Key};
use ipnet::IpNet;
use std::sync::Arc;
use std::time::Duration;

/// Where a token is shown to get the cookie.
const VISIT: &[u8] = b"/.proxyd/bypass/";

/// `maintenance_bypass_cookie` as written.
#[derive(Debug)]
pub(super) struct WrittenBypass {
    cookie: Word,
    key: Arc<File<Key>>,
    ttl: Duration,
    secure: bool,
}

/// How tokens are shown and checked.
#[derive(Debug)]
pub(super) struct Bypass {
    cookie: Vec<u8>,
    header: Option<Vec<u8>>,
    key: Arc<Key>,
    /// The switch that tokens are for.
    switch: String,
    ttl: u64,
    secure: bool,
}

impl WrittenBypass {
    pub fn read(dir: &Directive) -> Result<Arc<Self>, Error> {
        let cookie = dir.arg(0);
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if cookie.text.is_empty() || !cookie.text.iter().all(plain) {
            return Err(invalid(cookie));
        }
        let (mut key, mut ttl, mut secure) = (None, Duration::from_hours(12), false);
        for word in &dir.args[1..] {
            if let Some(name) = value(word, "key_file").filter(|name| !name.is_empty()) {
                key = Some(Word { text: name.to_vec(), ..word.clone() });
            } else if let Some(time) = value(word, "ttl") {
                ttl = parse_sec(time).ok_or_else(|| invalid(word))?;
            } else if &word.text[..] == b"secure" {
                secure = true;
            } else {
                return Err(invalid(word));
            }
        }
        let key =
            key.ok_or_else(|| dir.error("no \"key_file\" in \"maintenance_bypass_cookie\""))?;
        Ok(Arc::new(Self { cookie: cookie.clone(), key: File::new(&key), ttl, secure }))
    }

    /// Reads the key, relative to the directory of the configuration.
    pub fn finish(&self, header: Option<&Word>, switch: String, cx: &mut Finish) -> Option<Bypass> {
        let path = cx.env.conf_path(&self.key.word().lossy());
        let key = self.key.at(&path, cx, |bytes| Key::new(bytes).map_err(str::to_owned))?;
        Some(Bypass {
            cookie: self.cookie.text.clone(),
            header: header.map(|word| word.text.clone()),
            key,
            switch,
            ttl: self.ttl.as_secs(),
            secure: self.secure,
        })
    }
}

fn now() -> u64 {
    u64::try_from(clock::seconds()).unwrap_or(0)
}

/// Whether the client's address is among those let in, by the configuration or since.
pub(super) fn is_listed(req: &Request, since: &[IpNet]) -> bool {
    let Some(address) = req.peer().ip().map(cidr::unmapped) else { return false };
    let listed = &req.conf().maintenance.allow;
    listed.iter().any(|net| net.contains(&address))
        || since.iter().any(|net| unmapped(*net).contains(&address))
}

/// Whether the client has shown a token that is valid here and now.
pub(super) fn is_signed(req: &Request) -> bool {
    let Some(bypass) = &req.conf().maintenance.bypass else { return false };
    if req.guest.tokens.is_empty() {
        return false;
    }
    let epoch = epoch(req);
    req.guest.tokens.iter().any(|token| bypass.bearer(token, epoch).is_some())
}

/// How often the tokens of the location's switch have been revoked.
fn epoch(req: &Request) -> u64 {
    req.live.gate.order(req.conf().maintenance.switch).revoked
}

/// Takes tokens out of the head of the request: neither an upstream nor a log has any business with
/// them.
pub(super) fn take(req: &mut Request) {
    let snapshot = req.snapshot.clone();
    let Some(bypass) = &snapshot.conf(req.location).maintenance.bypass else { return };
    let headers = &mut req.head.headers;
    if let Some(name) = &bypass.header
        && let Some(token) = headers.get_str(name).map(<[u8]>::to_vec)
    {
        req.guest.tokens.push(token);
        headers.remove_str(name);
    }
    let mut rest = Vec::new();
    let mut found = false;
    for pair in headers.get_all(Name::Cookie).flat_map(|value| value.split(|byte| *byte == b';')) {
        let pair = pair.trim_ascii();
        match pair.strip_prefix(&bypass.cookie[..]).and_then(|value| value.strip_prefix(b"=")) {
            Some(token) => {
                found = true;
                req.guest.tokens.push(token.to_vec());
            }
            None if pair.is_empty() => {}
            None => rest.push(pair.to_vec()),
        }
    }
    if found && rest.is_empty() {
        headers.remove(Name::Cookie);
    } else if found {
        headers.set(Name::Cookie, &rest.join(&b"; "[..]));
    }
}

/// Answers who comes with a token in the path: the cookie, and the way to the site. Whatever else is
/// asked for there, no upstream gets to see it.
pub(super) fn visit(req: &mut Request) -> Phase {
    let snapshot = req.snapshot.clone();
    let Some(bypass) = &snapshot.conf(req.location).maintenance.bypass else { return Ok(()) };
    let Some(token) = req.uri.strip_prefix(VISIT).map(<[u8]>::to_vec) else { return Ok(()) };
    req.head.mask_target(VISIT);
    req.uri.truncate(VISIT.len());
    let reads = matches!(req.head.method, Method::Get | Method::Head);
    let epoch = epoch(req);
    let Some(bearer) = bypass.bearer(&token, epoch).filter(|_| reads) else {
        let closed = req.live.gate.is_closed(req.conf().maintenance.switch);
        return Err(if closed { Stop::Closed } else { Stop::Status(404) });
    };
    req.guest.action = Action::Asset;
    req.reply = Reply::text(303, b"text/plain", b"");
    req.reply.location = Some(b"/".to_vec());
    req.reply.headers.push_known(Name::CacheControl, b"no-store");
    req.reply.headers.push_known(Name::SetCookie, bypass.cookie(&bearer, epoch).as_bytes());
    Err(Stop::Reply)
}

impl Bypass {
    /// A token for somebody.
    pub fn token(&self, who: &str, until: u64, epoch: u64) -> String {
        self.key.sign(&self.switch, epoch, who, until)
    }

    /// Whose a token is, if it is valid now.
    fn bearer(&self, token: &[u8], epoch: u64) -> Option<Bearer> {
        self.key.verify(&self.switch, epoch, token, now())
    }

    /// The value of `Set-Cookie`: a token for the same person that ends no later than the one shown.
    fn cookie(&self, bearer: &Bearer, epoch: u64) -> String {
        let now = now();
        let until = bearer.until.min(now.saturating_add(self.ttl));
        let token = self.token(&bearer.who, until, epoch);
        let name = String::from_utf8_lossy(&self.cookie);
        let age = until.saturating_sub(now);
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{name}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")
    }
}
