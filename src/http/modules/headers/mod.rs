//! Owns fields that the configuration adds to answers: `add_header`, `add_trailer`, `expires`.
//!
//! Must not touch what an upstream sent, but for the fields named here.

mod directive;
mod expires;

use crate::http::date;
use crate::http::h1::head::Version;
use crate::http::headers::Name;
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::vars::Variable;
use crate::log::clock;
use expires::Expires;

pub use directive::{Draft, ROWS};

/// A field to add.
#[derive(Debug)]
struct Added {
    name: Vec<u8>,
    /// What an unknown name counts as: the fields that nginx treats specially are told by this.
    id: Name,
    value: Template,
    /// Whatever the status.
    always: bool,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    headers: Vec<Added>,
    trailers: Vec<Added>,
    expires: Option<Expires>,
}

pub static VARIABLES: &[Variable] = &[];

/// The statuses that fields are added to without `always`.
fn is_safe(status: u16) -> bool {
    matches!(status, 200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308)
}

/// Header filter: `expires`, then `add_header`.
pub fn run(req: &mut Request) {
    let conf = &req.conf().headers;
    if conf.headers.is_empty() && conf.expires.is_none() {
        return;
    }
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).headers;
    let safe = is_safe(req.reply.status);
    if let Some(expires) = &conf.expires
        && safe
    {
        let modified = req.reply.last_modified;
        if let Some((date, cache)) = expires.fields(req, modified, clock::seconds()) {
            req.reply.headers.set(Name::Expires, date.as_bytes());
            req.reply.headers.set(Name::CacheControl, cache.as_bytes());
        }
    }
    for added in conf.headers.iter().filter(|added| safe || added.always) {
        let value = one_line(&added.value, req);
        add(req, added, &value);
    }
}

/// A variable such as `$uri` may bring a line end into the value; it must not end the field.
fn one_line(template: &Template, req: &Request) -> Vec<u8> {
    let mut value = template.value(req).into_owned();
    for byte in &mut value {
        if matches!(byte, b'\r' | b'\n' | 0) {
            *byte = b' ';
        }
    }
    value
}

fn add(req: &mut Request, added: &Added, value: &[u8]) {
    let reply = &mut req.reply;
    match added.id {
        // These exist once: the value replaces what is there, an empty one removes it.
        Name::LastModified => {
            reply.last_modified = date::parse(value);
            if value.is_empty() {
                reply.headers.remove(Name::LastModified);
            } else {
                reply.headers.set_str(&added.name, value);
            }
        }
        Name::ETag if value.is_empty() => reply.headers.remove(Name::ETag),
        Name::ETag => reply.headers.set_str(&added.name, value),
        _ if value.is_empty() => {}
        _ => reply.headers.push(&added.name, value),
    }
}

fn trailers_for(conf: &Conf, status: u16) -> impl Iterator<Item = &Added> {
    let safe = is_safe(status);
    conf.trailers.iter().filter(move |added| safe || added.always)
}

/// Whether there may be fields behind this answer's body, and it can be chunked to carry them.
pub fn has_trailers(req: &Request) -> bool {
    let conf = req.conf();
    let status = req.reply.status;
    (req.reply.passes_trailers || trailers_for(&conf.headers, status).next().is_some())
        && conf.connection.chunked
        && req.head.version >= Version::Http11
        && !req.header_only()
        && status >= 200
}

/// Header filter, the last to look at the length: an answer that is to have trailers is chunked.
pub fn expect_trailers(req: &mut Request) {
    if has_trailers(req) {
        req.reply.content_length = None;
        req.reply.headers.remove(Name::ContentLength);
    }
}

/// At the end of a chunked body: appends `add_trailer`'s fields to `reply.trailers`. Called then
/// and not with the head, for values such as `$upstream_response_length`.
pub fn trailers(req: &mut Request) {
    if req.conf().headers.trailers.is_empty() {
        return;
    }
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).headers;
    for added in trailers_for(conf, req.reply.status) {
        let value = one_line(&added.value, req);
        if !value.is_empty() {
            req.reply.trailers.push(&added.name, &value);
        }
    }
}
