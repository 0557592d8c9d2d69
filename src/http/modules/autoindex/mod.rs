//! Owns `autoindex`: the list of a directory's entries as a page or as data.
//!
//! Must not read directories; `listing` does.

mod data;
mod page;

use super::inherit;
use crate::conf::{Args, Row, values};
use crate::http::body::Body;
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::listing;
use crate::http::method::Method;
use crate::http::pairs;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::vars::Variable;
use crate::log::Level;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    on: Option<bool>,
    format: Option<Format>,
    localtime: Option<bool>,
    exact_size: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    on: bool,
    format: Format,
    style: page::Style,
}

/// What is made of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Html,
    Json,
    Jsonp,
    Xml,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; on, format, localtime, exact_size);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        let style = page::Style {
            localtime: self.localtime.unwrap_or(false),
            exact_size: self.exact_size.unwrap_or(true),
            utf8: false,
        };
        Conf { on: self.on.unwrap_or(false), format: self.format.unwrap_or(Format::Html), style }
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "autoindex",
        HSL,
        Args::Flag,
        "Whether a directory without an index file is answered with the list of what is in it.",
        |scope, dir, _| values::flag(&mut scope.drafts.autoindex.on, dir),
    ),
    row(
        "autoindex_format",
        HSL,
        Args::Exactly(1),
        "The form of the list: `html` (default), `json`, `jsonp` or `xml`.",
        |scope, dir, _| {
            let choices = [
                ("html", Format::Html),
                ("json", Format::Json),
                ("jsonp", Format::Jsonp),
                ("xml", Format::Xml),
            ];
            values::choice(&mut scope.drafts.autoindex.format, dir, &choices)
        },
    ),
    row(
        "autoindex_localtime",
        HSL,
        Args::Flag,
        "Whether the times on the page are local ones; UTC by default.",
        |scope, dir, _| values::flag(&mut scope.drafts.autoindex.localtime, dir),
    ),
    row(
        "autoindex_exact_size",
        HSL,
        Args::Flag,
        "Whether sizes on the page are exact (default) or rounded to K, M and G.",
        |scope, dir, _| values::flag(&mut scope.drafts.autoindex.exact_size, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[];

/// Content phase for a URI that ends in a slash, if there was no index file.
pub fn run(req: &mut Request) -> Phase {
    let wanted = matches!(req.method, Method::Get | Method::Head);
    if !req.conf().autoindex.on || !req.uri.ends_with(b"/") || !wanted {
        return Ok(());
    }
    let Conf { format, style, .. } = *req.conf().autoindex;
    let style = page::Style { utf8: req.conf().charset.is_utf8(req), ..style };
    let callback = if format == Format::Jsonp { callback(req)? } else { Vec::new() };
    let mut entries = listing::read(req)?;
    entries.sort_by(|a, b| {
        let files = |entry: &listing::Entry| entry.kind != listing::Kind::Directory;
        files(a).cmp(&files(b)).then_with(|| a.name.cmp(&b.name))
    });
    let (content_type, list) = match format {
        Format::Html => ("text/html", page::write(&req.uri, &entries, style)),
        Format::Xml => ("text/xml; charset=utf-8", data::xml(&entries)),
        Format::Jsonp if !callback.is_empty() => {
            ("application/javascript", data::jsonp(&entries, &callback))
        }
        Format::Json | Format::Jsonp => ("application/json", data::json(&entries)),
    };
    let reply = &mut req.reply;
    reply.status = 200;
    reply.reason = None;
    reply.content_type = Some(content_type.into());
    // As in nginx, the head goes out before the length is known.
    reply.content_length = None;
    reply.body = Body::Bytes(list.into());
    Err(Stop::Reply)
}

/// The function that a script is to call; empty when none is asked for.
fn callback(req: &Request) -> Result<Vec<u8>, Stop> {
    let Some(given) = pairs::argument(&req.args, b"callback") else { return Ok(Vec::new()) };
    let what = if given.len() > 128 {
        "too long"
    } else if given.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')) {
        return Ok(given.to_vec());
    } else {
        "invalid"
    };
    let shown = String::from_utf8_lossy(given);
    req.log(Level::Info, format_args!("client sent {what} callback name: \"{shown}\""));
    Err(Stop::Status(400))
}

#[cfg(test)]
mod tests;
