//! Owns what the proxy directives say, and their defaults: nginx 1.31's.

use super::bind::{self, Bind, BindDraft};
use super::cookies::{Cookies, CookiesDraft};
use super::health::{Check, CheckDraft, MatchDrafts};
use super::redirect::{Redirects, RedirectsDraft};
use super::request::{Fields, field_set};
use super::retry;
use super::store::{self, Store, StoreDraft};
use super::target::{Pass, PassDraft};
use crate::conf::Word;
use crate::http::finish::Finish;
use crate::http::modules::inherit;
use crate::http::origin::ReadAhead;
use crate::http::size::Size;
use crate::http::template::Template;
use crate::upstream::SocketOptions;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The version spoken to upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    Http10,
    Http11,
    Http2,
}

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    pub(super) pass: Option<PassDraft>,
    pub(super) set_header: Option<Vec<(Word, Word)>>,
    pub(super) hide_header: Option<Vec<Word>>,
    pub(super) pass_header: Option<Vec<Word>>,
    pub(super) http_version: Option<HttpVersion>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) send_timeout: Option<Duration>,
    pub(super) read_timeout: Option<Duration>,
    pub(super) next_upstream: Option<u32>,
    pub(super) next_tries: Option<u32>,
    pub(super) next_timeout: Option<Duration>,
    pub(super) redirects: Option<RedirectsDraft>,
    pub(super) buffering: Option<bool>,
    pub(super) request_buffering: Option<bool>,
    pub(super) buffer_size: Option<u64>,
    pub(super) buffers: Option<(usize, u64)>,
    pub(super) intercept_errors: Option<bool>,
    pub(super) ignore_abort: Option<bool>,
    pub(super) pass_request_headers: Option<bool>,
    pub(super) pass_request_body: Option<bool>,
    pub(super) method: Option<Word>,
    pub(super) set_body: Option<Word>,
    pub(super) socket_keepalive: Option<bool>,
    pub(super) rcvbuf: Option<u64>,
    pub(super) sndbuf: Option<u64>,
    pub(super) bind: Option<BindDraft>,
    pub(super) cookies: CookiesDraft,
    pub(super) limit_rate: Option<Word>,
    pub(super) ignore_headers: Option<u32>,
    pub(super) temp_path: Option<PathBuf>,
    pub(super) temp_max: Option<u64>,
    pub(super) temp_step: Option<u64>,
    pub(super) store: Option<StoreDraft>,
    pub(super) store_access: Option<u32>,
    pub(super) force_ranges: Option<bool>,
    pub(super) pass_trailers: Option<bool>,
    pub(super) early_hints: Option<Vec<Word>>,
    /// Of this location alone.
    pub(super) checks: Vec<CheckDraft>,
    /// `http` only.
    pub(super) matches: MatchDrafts,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// Set where requests are passed on.
    pub pass: Option<Pass>,
    pub(super) fields: Fields,
    /// Fields of answers that clients do not get, in lower case.
    pub(super) hidden: Vec<Vec<u8>>,
    pub(super) http_version: HttpVersion,
    pub(super) connect_timeout: Duration,
    pub(super) send_timeout: Duration,
    pub(super) read_timeout: Duration,
    pub(super) next_upstream: u32,
    pub(super) next_tries: u32,
    pub(super) next_timeout: Duration,
    pub(super) redirects: Redirects,
    pub(super) buffering: bool,
    pub(super) request_buffering: bool,
    /// Bytes: the longest head of an answer, and what is read at a time without buffering.
    pub(super) buffer_size: usize,
    /// Bytes of an answer held for a slow client.
    pub(super) window: usize,
    pub(super) intercept_errors: bool,
    pub(super) ignore_abort: bool,
    pub(super) pass_request_headers: bool,
    pub(super) pass_request_body: bool,
    pub(super) method: Option<Template>,
    pub(super) set_body: Option<Template>,
    pub(super) socket_keepalive: bool,
    /// Sizes of the socket's buffers; its address is `bind`.
    pub(super) socket: SocketOptions,
    pub(super) bind: Bind,
    /// `None` where cookies pass as they are.
    pub(super) cookies: Option<Cookies>,
    /// Bytes a second read from an upstream; 0 for any.
    pub(super) limit_rate: Size,
    /// Fields of answers that ask something of us and are not listened to.
    pub(super) ignored: u32,
    /// Where an answer goes that the client is too slow for; `None` where the upstream has to wait.
    pub(super) ahead: Option<Arc<ReadAhead>>,
    /// Answers are kept as files as well.
    pub(super) store: Option<Store>,
    /// Ranges of any answer whose length is known.
    pub(super) force_ranges: bool,
    pub(super) pass_trailers: bool,
    /// 103 goes on to the client if one of these is true.
    pub(super) early_hints: Vec<Template>,
    /// Health checks of the group that requests are passed to.
    pub checks: Vec<Check>,
}

/// nginx's default for `proxy_max_temp_file_size`.
const TEMP_MAX: u64 = 1 << 30;

/// nginx's default for all three times.
const MINUTE: Duration = Duration::from_mins(1);

/// Fields of answers hidden unless `proxy_pass_header` names them.
const HIDDEN: [&str; 8] = [
    "date",
    "server",
    "x-pad",
    "x-accel-expires",
    "x-accel-redirect",
    "x-accel-limit-rate",
    "x-accel-buffering",
    "x-accel-charset",
];

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer;
            set_header, hide_header, pass_header, http_version, connect_timeout, send_timeout,
            read_timeout, next_upstream, next_tries, next_timeout, redirects, buffering,
            request_buffering, buffer_size, buffers, intercept_errors, ignore_abort,
            pass_request_headers, pass_request_body, method, set_body, socket_keepalive, rcvbuf,
            sndbuf, bind, limit_rate, ignore_headers, temp_path, temp_max, temp_step, force_ranges, store, store_access,
            pass_trailers, early_hints,
        );
        self.cookies.inherit(&outer.cookies);
    }

    /// Whether requests are passed on from here.
    pub fn passes(&self) -> bool {
        self.pass.is_some()
    }

    /// Whether HTTP/2 is spoken with whom requests are passed to.
    pub fn passes_http2(&self) -> bool {
        self.http_version == Some(HttpVersion::Http2)
    }

    /// Whether it may be over TLS.
    pub fn passes_https(&self) -> bool {
        self.pass.as_ref().is_some_and(PassDraft::may_be_https)
    }

    /// `if` and `limit_except` pass to where their location passes.
    pub fn enter(&mut self, outer: &Self) {
        inherit!(self, outer; pass);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let pass = self.pass.as_ref().and_then(|draft| draft.finish(cx));
        let checks =
            self.checks.iter().filter_map(|check| check.finish(pass.as_ref(), cx)).collect();
        let page = 4 * 1024;
        let (count, size) = self.buffers.unwrap_or((16, 2 * page));
        let bytes = |n| usize::try_from(n).unwrap_or(usize::MAX);
        Conf {
            fields: field_set(self.set_header.as_deref().unwrap_or_default(), cx),
            hidden: self.hidden(),
            http_version: self.http_version.unwrap_or(HttpVersion::Http11),
            connect_timeout: self.connect_timeout.unwrap_or(MINUTE),
            send_timeout: self.send_timeout.unwrap_or(MINUTE),
            read_timeout: self.read_timeout.unwrap_or(MINUTE),
            next_upstream: self.next_upstream.unwrap_or(retry::ERROR | retry::TIMEOUT),
            next_tries: self.next_tries.unwrap_or(0),
            next_timeout: self.next_timeout.unwrap_or_default(),
            redirects: Redirects::new(self.redirects.as_ref(), self.pass.as_ref(), cx),
            buffering: self.buffering.unwrap_or(true),
            request_buffering: self.request_buffering.unwrap_or(true),
            buffer_size: bytes(self.buffer_size.unwrap_or(page)),
            window: count * bytes(size),
            intercept_errors: self.intercept_errors.unwrap_or(false),
            ignore_abort: self.ignore_abort.unwrap_or(false),
            pass_request_headers: self.pass_request_headers.unwrap_or(true),
            pass_request_body: self.pass_request_body.unwrap_or(true),
            method: self.method.as_ref().map(|word| cx.template(word)),
            set_body: self.set_body.as_ref().map(|word| cx.template(word)),
            socket_keepalive: self.socket_keepalive.unwrap_or(false),
            socket: SocketOptions {
                local: None,
                receive: self.rcvbuf.map(bytes),
                send: self.sndbuf.map(bytes),
            },
            bind: bind::finish(self.bind.as_ref(), cx),
            cookies: self.cookies.finish(cx),
            limit_rate: Size::new(self.limit_rate.as_ref(), cx),
            ignored: self.ignore_headers.unwrap_or(0),
            ahead: self.ahead(bytes(size), cx),
            store: store::finish(self.store.as_ref(), self.store_access, self.temp_dir(cx), cx),
            force_ranges: self.force_ranges.unwrap_or(false),
            pass_trailers: self.pass_trailers.unwrap_or(false),
            early_hints: self.early_hints.iter().flatten().map(|word| cx.template(word)).collect(),
            checks,
            pass,
        }
    }

    /// Only where something is passed on is a directory needed.
    fn ahead(&self, buffer: usize, cx: &mut Finish) -> Option<Arc<ReadAhead>> {
        let most = self.temp_max.unwrap_or(TEMP_MAX);
        if most == 0 || !self.passes() || self.buffering == Some(false) {
            return None;
        }
        let dir = self.temp_dir(cx);
        cx.temp_dir(&dir);
        let step = self.temp_step.and_then(|step| usize::try_from(step).ok());
        Some(Arc::new(ReadAhead { dir, most, step: step.unwrap_or(2 * buffer).max(buffer) }))
    }

    /// Where temporary files are.
    fn temp_dir(&self, cx: &Finish) -> PathBuf {
        let path = self.temp_path.clone().unwrap_or_else(|| PathBuf::from("proxy_temp"));
        cx.env.full_path(&path.to_string_lossy())
    }

    /// The default set without what `proxy_pass_header` names, and what `proxy_hide_header` adds.
    fn hidden(&self) -> Vec<Vec<u8>> {
        let lower = |word: &Word| word.text.to_ascii_lowercase();
        let passed: Vec<_> = self.pass_header.iter().flatten().map(lower).collect();
        let defaults = HIDDEN.iter().map(|name| name.as_bytes().to_vec());
        let mut hidden: Vec<_> = defaults.filter(|name| !passed.contains(name)).collect();
        for name in self.hide_header.iter().flatten().map(lower) {
            if !passed.contains(&name) && !hidden.contains(&name) {
                hidden.push(name);
            }
        }
        hidden
    }
}

impl Conf {
    /// Whether clients do not get this field of an answer.
    pub(super) fn hides(&self, name: &[u8]) -> bool {
        // Most fields have no entry of their length: that check comes first.
        self.hidden.iter().any(|h| h.len() == name.len() && h.eq_ignore_ascii_case(name))
    }
}
