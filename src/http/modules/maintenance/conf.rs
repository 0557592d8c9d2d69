//! Owns what the directives of maintenance mode say, how it is inherited, and what it comes to.
//!
//! Must not answer anything.

use super::assets::{Assets, WrittenAssets};
use super::bypass::{Bypass, WrittenBypass};
use super::cors::Cors;
use super::page::Page;
use crate::conf::world::reason;
use crate::conf::{Error, Span, Word};
use crate::http::finish::Finish;
use crate::http::modules::inherit;
use crate::http::template::Template;
use crate::zone::gates::{self, MAX_SWITCHES};
use ipnet::IpNet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

/// The page that is sent when there is no other.
static BUILT_IN: LazyLock<Arc<Page>> = LazyLock::new(|| {
    let text = include_bytes!("../../../../static/maintain.html");
    Arc::new(Page::new(text, b"maintain.html"))
});

/// `maintenance`.
#[derive(Debug, Clone)]
pub(super) enum Joined {
    Switch(Word),
    Off,
}

/// A file as written. All levels that inherit it read it once.
#[derive(Debug)]
pub(super) struct File<T> {
    word: Word,
    read: OnceLock<Option<Arc<T>>>,
}

/// `maintenance_json`.
#[derive(Debug, Clone)]
pub(super) enum WrittenJson {
    Default,
    File(Arc<File<Vec<u8>>>),
    Off,
}

/// `maintenance_redirect`; `None` is `off`.
pub(super) type WrittenRedirect = Option<(Word, u16)>;

/// `maintenance_bypass_cookie`.
#[derive(Debug, Clone)]
pub(super) enum WrittenCookie {
    Off,
    Bypass(Arc<WrittenBypass>),
}

/// `maintenance_retry_after`.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryAfter {
    pub time: Duration,
    /// Hundredths of the time by which it may be longer.
    pub jitter: u8,
}

/// `maintenance_websocket`: what becomes of upgraded connections when the switch closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Websocket {
    Keep,
    /// They are closed after this time.
    Close {
        after: Duration,
    },
}

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    pub(super) joined: Option<Joined>,
    /// The switch that a level which is off would be joined to.
    beside: Option<Word>,
    pub(super) page: Option<Arc<File<Page>>>,
    pub(super) assets: Option<Arc<WrittenAssets>>,
    pub(super) json: Option<WrittenJson>,
    pub(super) status: Option<u16>,
    pub(super) retry_after: Option<RetryAfter>,
    pub(super) allow: Option<Vec<IpNet>>,
    pub(super) allow_at: Option<Span>,
    pub(super) redirect: Option<WrittenRedirect>,
    pub(super) bypass: Option<WrittenCookie>,
    pub(super) header: Option<Word>,
    pub(super) flag_file: Option<Word>,
    pub(super) cors: Option<Cors>,
    pub(super) websocket: Option<Websocket>,
}

/// What JSON clients get.
#[derive(Debug)]
pub(super) enum Json {
    /// A problem document (RFC 9457).
    Default,
    File(Arc<Vec<u8>>),
    /// The page.
    Off,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// Number of the switch; of an exempt location, that which counts what it passes on.
    pub switch: usize,
    /// `maintenance off`.
    pub(super) exempt: bool,
    /// There is something to do even while the door is open.
    pub(super) watches_open_door: bool,
    pub(super) page: Arc<Page>,
    pub(super) assets: Option<Arc<Assets>>,
    pub(super) json: Json,
    pub(super) status: u16,
    pub(super) retry_after: RetryAfter,
    pub(super) allow: Vec<IpNet>,
    pub(super) redirect: Option<(Template, u16)>,
    pub(super) bypass: Option<Bypass>,
    pub(super) cors: Cors,
    pub websocket: Websocket,
}

impl Conf {
    /// The number of the switch that can close this level.
    pub fn joined(&self) -> Option<usize> {
        (!self.exempt).then_some(self.switch)
    }

    /// A token for somebody, if this level takes any.
    pub fn token(&self, who: &str, until: u64, epoch: u64) -> Option<String> {
        Some(self.bypass.as_ref()?.token(who, until, epoch))
    }
}

impl Draft {
    /// Addresses that are let in, and where they are written.
    pub fn allowed(&self) -> Option<(Span, &[IpNet])> {
        Some((self.allow_at?, self.allow.as_deref()?))
    }

    /// Whether anything is said of what a closed door does, and this level is not exempt.
    pub fn is_cared_for(&self) -> bool {
        let joined = matches!(self.joined, Some(Joined::Switch(_)));
        let said = self.page.is_some()
            || self.assets.is_some()
            || self.json.is_some()
            || self.status.is_some()
            || self.retry_after.is_some()
            || self.allow.is_some()
            || self.redirect.is_some()
            || self.flag_file.is_some();
        joined || (said && self.joined.is_none())
    }

    pub fn inherit(&mut self, outer: &Self) {
        if let (Some(Joined::Off), None) = (&self.joined, &self.beside) {
            self.beside = match &outer.joined {
                Some(Joined::Switch(name)) => Some(name.clone()),
                _ => outer.beside.clone(),
            };
        }
        inherit!(self, outer;
            joined, beside, page, assets, json, status, retry_after, allow, allow_at, redirect, bypass, header,
            flag_file, cors, websocket,
        );
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let (switch, exempt) = self.switch(cx);
        let redirect = self.redirect.clone().flatten();
        let redirect = redirect.map(|(target, status)| (cx.template(&target), status));
        let bypass = self.bypass(switch, cx);
        let page = self.page.as_ref().and_then(|page| page.page(cx));
        Conf {
            switch,
            exempt,
            watches_open_door: bypass.is_some() || redirect.is_some(),
            page: page.unwrap_or_else(|| BUILT_IN.clone()),
            assets: self.assets.as_ref().and_then(|assets| assets.finish(cx)),
            json: match &self.json {
                None | Some(WrittenJson::Default) => Json::Default,
                Some(WrittenJson::Off) => Json::Off,
                Some(WrittenJson::File(file)) => {
                    file.bytes(cx, <[u8]>::to_vec).map_or(Json::Default, Json::File)
                }
            },
            status: self.status.unwrap_or(503),
            retry_after: self
                .retry_after
                .unwrap_or(RetryAfter { time: Duration::from_mins(2), jitter: 20 }),
            allow: self.allow.clone().unwrap_or_default(),
            redirect,
            bypass,
            cors: self.cors.clone().unwrap_or(Cors::Off),
            websocket: self.websocket.unwrap_or(Websocket::Close { after: Duration::from_secs(5) }),
        }
    }

    /// The number of the switch, and whether the level is exempt from it.
    fn switch(&self, cx: &mut Finish) -> (usize, bool) {
        let (word, exempt) = match &self.joined {
            Some(Joined::Switch(name)) => (Some(name), false),
            Some(Joined::Off) => (self.beside.as_ref(), true),
            None => (None, false),
        };
        let name = word.map_or_else(|| gates::DEFAULT.into(), Word::lossy);
        let flag_file = self.flag_file.as_ref().filter(|_| !exempt);
        let flag_file = flag_file.map(|word| cx.env.full_path(&word.lossy()));
        let at = cx.switch(&name, flag_file);
        if let Some(word) = word.filter(|_| at >= MAX_SWITCHES) {
            cx.report(word.error(format!("more than {MAX_SWITCHES} switches")));
        }
        (at, exempt)
    }

    fn bypass(&self, switch: usize, cx: &mut Finish) -> Option<Bypass> {
        let Some(WrittenCookie::Bypass(written)) = &self.bypass else {
            if let Some(header) = &self.header {
                let message = "\"maintenance_bypass_header\" has no key, \
                               it takes that of \"maintenance_bypass_cookie\"";
                cx.report(header.error(message));
            }
            return None;
        };
        let name = cx.switch_name(switch).to_owned();
        written.finish(self.header.as_ref(), name, cx)
    }
}

impl<T> File<T> {
    pub fn new(word: &Word) -> Arc<Self> {
        Arc::new(Self { word: word.clone(), read: OnceLock::new() })
    }

    pub fn word(&self) -> &Word {
        &self.word
    }

    /// What the file comes to, by its path relative to the prefix; `None` when it cannot be read,
    /// which is reported once.
    fn bytes(&self, cx: &mut Finish, make: impl FnOnce(&[u8]) -> T) -> Option<Arc<T>> {
        let path = cx.env.full_path(&self.word.lossy());
        self.at(&path, cx, |bytes| Ok(make(bytes)))
    }

    /// The same for any path; `make` says what is wrong with the contents.
    pub fn at(
        &self,
        path: &Path,
        cx: &mut Finish,
        make: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Option<Arc<T>> {
        let read = || match cx.env.world.read(path) {
            Ok(bytes) => match make(&bytes) {
                Ok(made) => Some(Arc::new(made)),
                Err(what) => {
                    cx.report(self.word.error(format!("\"{}\" {what}", path.display())));
                    None
                }
            },
            Err(error) => {
                cx.report(cannot("open", path, &error, &self.word));
                None
            }
        };
        self.read.get_or_init(read).clone()
    }
}

impl File<Page> {
    /// A page that is gone is no reason to refuse a reload in the night of a change: the last copy is
    /// kept. It is missed at the next start.
    fn page(&self, cx: &mut Finish) -> Option<Arc<Page>> {
        let name = self.word.text.clone();
        let path = cx.env.full_path(&self.word.lossy());
        let page = |bytes: &[u8]| Some(Arc::new(Page::new(bytes, &name)));
        let read = || {
            let error = match cx.env.world.read(&path) {
                Ok(bytes) => return page(&bytes),
                Err(error) => error,
            };
            let missing = cannot("open", &path, &error, &self.word);
            let kept = cx.env.world.kept(&path).ok();
            let Some(bytes) = kept.filter(|_| error.kind() == ErrorKind::NotFound) else {
                cx.report(missing);
                return None;
            };
            let message = format!("{}, the page of before is kept", missing.message);
            cx.env.warn(self.word.error(message));
            page(&bytes)
        };
        self.read.get_or_init(read).clone()
    }
}

/// nginx's sentence for a failed call.
pub(super) fn cannot(call: &str, path: &Path, error: &std::io::Error, word: &Word) -> Error {
    word.error(format!("{call}() \"{}\" failed ({})", path.display(), reason(error)))
}
