//! Owns `proxy_next_upstream`: which failures are taken to the next server, and when no more.

use super::conf::Conf;
use crate::http::method::Method;
use std::time::Duration;

pub const ERROR: u32 = 1;
pub const TIMEOUT: u32 = 1 << 1;
pub const INVALID_HEADER: u32 = 1 << 2;
pub const HTTP_500: u32 = 1 << 3;
pub const HTTP_502: u32 = 1 << 4;
pub const HTTP_503: u32 = 1 << 5;
pub const HTTP_504: u32 = 1 << 6;
pub const HTTP_403: u32 = 1 << 7;
pub const HTTP_404: u32 = 1 << 8;
pub const HTTP_429: u32 = 1 << 9;
pub const NON_IDEMPOTENT: u32 = 1 << 10;
/// Set by `off`: bits without meaning, so that the directive counts as written.
pub const OFF: u32 = 1 << 31;

/// The directive's words.
pub const WORDS: &[(&str, u32)] = &[
    ("error", ERROR),
    ("timeout", TIMEOUT),
    ("invalid_header", INVALID_HEADER),
    ("non_idempotent", NON_IDEMPOTENT),
    ("http_500", HTTP_500),
    ("http_502", HTTP_502),
    ("http_503", HTTP_503),
    ("http_504", HTTP_504),
    ("http_403", HTTP_403),
    ("http_404", HTTP_404),
    ("http_429", HTTP_429),
    ("updating", 0),
    ("off", OFF),
];

/// The condition that an answer's status stands for.
pub fn of_status(status: u16) -> Option<u32> {
    Some(match status {
        500 => HTTP_500,
        502 => HTTP_502,
        503 => HTTP_503,
        504 => HTTP_504,
        403 => HTTP_403,
        404 => HTTP_404,
        429 => HTTP_429,
        _ => return None,
    })
}

/// What a try has come to, as far as trying again depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Tried {
    pub condition: u32,
    pub method: Method,
    /// Bytes of the request have been sent.
    pub sent: bool,
    /// Some of the body was passed on as it came: it cannot be sent again.
    pub spent: bool,
    /// Since the first try.
    pub elapsed: Duration,
}

/// Whether the next server may be asked. A request that is not idempotent is never sent twice
/// unless the configuration says so.
pub fn allowed(conf: &Conf, tried: &Tried) -> bool {
    let mut wanted = tried.condition;
    if tried.sent && matches!(tried.method, Method::Post | Method::Lock | Method::Patch) {
        wanted |= NON_IDEMPOTENT;
    }
    let in_time = conf.next_timeout.is_zero() || tried.elapsed < conf.next_timeout;
    conf.next_upstream & wanted == wanted && !tried.spent && in_time
}
