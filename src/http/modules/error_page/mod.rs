//! Owns what becomes of an error: `error_page`, else the default page.
//!
//! Must not choose the error; phases and filters end with `Stop::Status` and it arrives here.

mod directive;
mod pages;

use crate::http::internal;
use crate::http::method::Method;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::vars::Variable;

pub use directive::{Draft, ROWS};
pub use pages::default_page;

/// One `error_page` for one status.
#[derive(Debug)]
struct Page {
    status: u16,
    /// `=code`; 0 is `=`: the status of whatever answers instead.
    overwrite: Option<u16>,
    target: Template,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    pages: Vec<Page>,
    /// An error while an error page is answered is looked up again.
    recursive: bool,
    msie_padding: bool,
    msie_refresh: bool,
}

impl Conf {
    /// Whether an `error_page` names this status: answers that carry it may be intercepted.
    pub fn has(&self, status: u16) -> bool {
        self.pages.iter().any(|page| page.status == status)
    }
}

pub static VARIABLES: &[Variable] = &[];

/// Answers with a status: an `error_page` takes over, else the default page.
pub fn answer(req: &mut Request, status: u16) -> Phase {
    // Nobody waits for an answer to these, or nobody shall get one.
    if matches!(status, 408 | 444 | 499) {
        req.reply.status = status;
        return Err(Stop::Close);
    }
    req.error_status = status;
    // After these it is not certain where the next request begins, or that one should be read.
    if matches!(status, 400 | 413 | 414 | 495 | 496 | 497 | 500 | 501) {
        req.keepalive = false;
    }
    req.reply.content_type = None;
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).error_page;
    if !req.error_page && !conf.pages.is_empty() {
        req.error_page = !conf.recursive;
        if let Some(page) = conf.pages.iter().find(|page| page.status == status) {
            return Err(instead(req, page));
        }
    }
    if matches!(status, 301 | 302) && refreshed(req, conf) {
        return Err(Stop::Reply);
    }
    default_page(req, status);
    Err(Stop::Reply)
}

/// First of the header filters: whatever answers for an error page carries the error's status.
pub fn keep_status(req: &mut Request) {
    if req.error_status != 0 {
        req.reply.status = req.error_status;
        req.reply.reason = None;
    }
}

/// Goes where an `error_page` leads.
fn instead(req: &mut Request, page: &Page) -> Stop {
    if let Some(status) = page.overwrite {
        req.error_status = status;
    }
    let target = page.target.value(req).into_owned();
    match target.first() {
        Some(b'/') => {
            if req.method != Method::Head {
                req.method = Method::Get;
            }
            let (uri, args) = internal::split_args(&target);
            internal::to_uri(req, uri, args)
        }
        Some(b'@') => internal::to_named(req, &target),
        _ => elsewhere(req, target, page.overwrite),
    }
}

/// Sends the client to another address, with 302 unless `=code` names a status that redirects.
fn elsewhere(req: &mut Request, address: Vec<u8>, overwrite: Option<u16>) -> Stop {
    let redirects = |status: &u16| matches!(status, 301 | 302 | 303 | 307 | 308);
    let status = overwrite.filter(redirects).unwrap_or(302);
    req.error_status = status;
    req.reply.location = Some(address);
    let snapshot = req.snapshot.clone();
    if !refreshed(req, &snapshot.conf(req.location).error_page) {
        default_page(req, status);
    }
    Stop::Reply
}

/// `msie_refresh`: whether the redirect went out as a page that refreshes itself.
fn refreshed(req: &mut Request, conf: &Conf) -> bool {
    conf.msie_refresh && pages::is_msie(req) && pages::refresh(req)
}
