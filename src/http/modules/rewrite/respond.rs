//! Owns `return`: an answer out of the configuration.
//!
//! Must not write default pages; a status alone goes the way of every error.

use crate::http::body::Body;
use crate::http::phase::Stop;
use crate::http::request::Request;
use crate::http::template::Template;

/// A `return`, compiled.
#[derive(Debug)]
pub(super) enum Return {
    /// `return code`: the default page, or `error_page`.
    Status(u16),
    /// A status that redirects, with its address.
    Redirect(u16, Template),
    /// Any other status, with its body.
    Text(u16, Template),
}

impl Return {
    pub fn new(status: u16, text: Option<Template>) -> Self {
        let empty = text.as_ref().is_none_or(|text| text.as_literal() == Some(b""));
        let text = text.unwrap_or_default();
        match status {
            400.. if empty => Self::Status(status),
            301 | 302 | 303 | 307 | 308 => Self::Redirect(status, text),
            _ => Self::Text(status, text),
        }
    }

    /// Makes the answer.
    pub fn run(&self, req: &mut Request) -> Stop {
        match self {
            Self::Status(status) => Stop::Status(*status),
            Self::Redirect(status, address) => {
                req.reply.location = Some(address.value(req).into_owned());
                Stop::Status(*status)
            }
            Self::Text(status, text) => {
                let body = text.value(req).into_owned();
                answer(req, *status, body);
                Stop::Reply
            }
        }
    }
}

/// A body held in memory, of the type that the location gives to the URI.
fn answer(req: &mut Request, status: u16, body: Vec<u8>) {
    let content_type = req.conf().files.content_type(&req.uri);
    let reply = &mut req.reply;
    reply.status = status;
    reply.reason = None;
    reply.content_type = reply.content_type.take().or(content_type);
    reply.content_length = Some(body.len() as u64);
    reply.body = Body::Bytes(body.into());
}
