//! Owns server-side includes: pages whose commands are carried out while they are sent.
//!
//! Must not touch an answer of another type than `ssi_types` says.

mod command;
mod filter;
mod page;
mod parse;

use super::inherit;
use crate::conf::{Args, Row, values};
use crate::http::draft::{HSL, HSLI, Scope, no_effect, row};
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::media_types::MediaTypes;
use crate::http::request::Request;
use crate::http::subrequest;
use crate::http::vars::Variable;
use filter::Ssi;

pub use page::Page;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    on: Option<bool>,
    silent_errors: Option<bool>,
    last_modified: Option<bool>,
    types: Option<MediaTypes>,
    value_length: Option<u64>,
    min_file_chunk: Option<u64>,
    output_buffer: Option<u64>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    on: bool,
    silent_errors: bool,
    last_modified: bool,
    types: MediaTypes,
    value_length: usize,
    /// Bytes of an answer that may become a variable's value.
    output_buffer: usize,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer;
            on, silent_errors, last_modified, types, value_length, min_file_chunk, output_buffer);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        let bytes = |n| usize::try_from(n).unwrap_or(usize::MAX);
        Conf {
            on: self.on.unwrap_or(false),
            silent_errors: self.silent_errors.unwrap_or(false),
            last_modified: self.last_modified.unwrap_or(false),
            types: self.types.clone().unwrap_or_else(MediaTypes::html),
            value_length: bytes(self.value_length.unwrap_or(255)),
            output_buffer: bytes(self.output_buffer.unwrap_or(4096)),
        }
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "ssi",
        HSLI,
        Args::Flag,
        "Carries out the commands in pages (default off).",
        |s, dir, _| values::flag(&mut s.drafts.ssi.on, dir),
    ),
    row(
        "ssi_silent_errors",
        HSL,
        Args::Flag,
        "Puts nothing in the place of a command that fails, instead of an error text (default off).",
        |s, dir, _| values::flag(&mut s.drafts.ssi.silent_errors, dir),
    ),
    row(
        "ssi_types",
        HSL,
        Args::AtLeast(1),
        "Media types of the pages whose commands are carried out, besides `text/html`; `*` is all.",
        |s, dir, env| {
            MediaTypes::read(&mut s.drafts.ssi.types, dir, env);
            Ok(())
        },
    ),
    row(
        "ssi_value_length",
        HSL,
        Args::Exactly(1),
        "The longest value of a command's parameter (default 255 bytes).",
        |s, dir, _| values::size(&mut s.drafts.ssi.value_length, dir),
    ),
    row(
        "ssi_last_modified",
        HSL,
        Args::Flag,
        "Keeps `Last-Modified` of a page, and its `ETag` as a weak one (default off).",
        |s, dir, _| values::flag(&mut s.drafts.ssi.last_modified, dir),
    ),
    row(
        "ssi_min_file_chunk",
        HSL,
        Args::Exactly(1),
        "Without effect: pages are read into memory in any case.",
        |s, dir, _| values::size(&mut s.drafts.ssi.min_file_chunk, dir),
    ),
    no_effect(
        "ssi_ignore_recycled_buffers",
        HSL,
        "Without effect: buffers are used again as soon as they are empty.",
    ),
    row(
        "subrequest_output_buffer_size",
        HSL,
        Args::Exactly(1),
        "The longest answer that `include set=` takes as a value (default 4k).",
        |s, dir, _| values::size(&mut s.drafts.ssi.output_buffer, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[
    Variable {
        name: "date_local",
        doc: "Local time; in a page in the form of `config timefmt`.",
        get: |_, _, out| {
            out.extend(page::date(page::TIME_FORMAT, false));
            true
        },
    },
    Variable {
        name: "date_gmt",
        doc: "The time in GMT; in a page in the form of `config timefmt`.",
        get: |_, _, out| {
            out.extend(page::date(page::TIME_FORMAT, true));
            true
        },
    },
];

/// Header filter.
pub fn run(req: &mut Request) {
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).ssi;
    if !conf.on || req.reply.content_length == Some(0) || !conf.types.match_reply(&req.reply) {
        return;
    }
    let page = req.sub.as_ref().and_then(|sub| sub.page.clone()).unwrap_or_default();
    let filter = Ssi::new(page, subrequest::double(req), conf);
    let is_main = req.is_main();
    let reply = &mut req.reply;
    if is_main {
        reply.clear_length();
        reply.clear_ranges();
        reply.head_waits = true;
        if conf.last_modified {
            reply.weaken_etag();
        } else {
            reply.last_modified = None;
            reply.headers.remove(Name::LastModified);
            reply.headers.remove(Name::ETag);
        }
    }
    reply.body.filter(Box::new(filter));
}
