//! Owns the directives and variables of compression.
//!
//! Must not judge an answer.

use super::precompressed;
use crate::conf::{Args, Directive, Error, Row, values};
use crate::http::draft::{HSL, HSLI, Scope, no_effect, row};
use crate::http::h1::head::Version;
use crate::http::media_types::MediaTypes;
use crate::http::request::Request;
use crate::http::vars::Variable;
use std::io::Write;

/// A number between two others, both included.
fn level(slot: &mut Option<u8>, dir: &Directive, least: u8, most: u8) -> Result<(), Error> {
    values::number(slot, dir)?;
    if slot.is_some_and(|level| (least..=most).contains(&level)) {
        return Ok(());
    }
    Err(dir.arg(0).error(format_args!("value must be between {least} and {most}")))
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "gzip",
        HSLI,
        Args::Flag,
        "Compresses answers with gzip for clients that accept it (default off).",
        |s, dir, _| values::flag(&mut s.drafts.compress.gzip.on, dir),
    ),
    row(
        "gzip_types",
        HSL,
        Args::AtLeast(1),
        "Media types that are compressed besides `text/html`; `*` is every type.",
        |s, dir, env| {
            MediaTypes::read(&mut s.drafts.compress.gzip.types, dir, env);
            Ok(())
        },
    ),
    row(
        "gzip_comp_level",
        HSL,
        Args::Exactly(1),
        "How hard gzip tries, from 1 (default) to 9.",
        |s, dir, _| level(&mut s.drafts.compress.gzip.level, dir, 1, 9),
    ),
    row(
        "gzip_min_length",
        HSL,
        Args::Exactly(1),
        "Length from which an answer is compressed, if it is known (default 20).",
        |s, dir, _| values::size(&mut s.drafts.compress.gzip.min_length, dir),
    ),
    row(
        "gzip_http_version",
        HSL,
        Args::Exactly(1),
        "Least version of a request that gets gzip: `1.0` or `1.1` (default).",
        |s, dir, _| {
            let versions = [("1.0", Version::Http10), ("1.1", Version::Http11)];
            values::choice(&mut s.drafts.compress.permit.http_version, dir, &versions)
        },
    ),
    row(
        "gzip_proxied",
        HSL,
        Args::AtLeast(1),
        "Which answers to requests with `Via` are compressed: `off` (default), `expired`, `no-cache`, \
         `no-store`, `private`, `no_last_modified`, `no_etag`, `auth`, `any`.",
        |s, dir, env| s.drafts.compress.permit.set_proxied(dir, env),
    ),
    row(
        "gzip_disable",
        HSL,
        Args::AtLeast(1),
        "Patterns of `User-Agent` that get no gzip; `msie6` is Internet Explorer 4 to 6.",
        |s, dir, _| {
            s.drafts.compress.permit.set_disable(dir);
            Ok(())
        },
    ),
    row(
        "gzip_vary",
        HSL,
        Args::Flag,
        "Sends `Vary: Accept-Encoding` with answers that may be compressed (default off).",
        |s, dir, _| values::flag(&mut s.drafts.compress.vary, dir),
    ),
    row(
        "gzip_static",
        HSL,
        Args::Exactly(1),
        "Sends the file with `.gz` at its name's end: to clients that accept gzip (`on`), to all (`always`), \
         or not (default `off`).",
        |s, dir, _| precompressed::set(&mut s.drafts.compress.gzip.files, dir),
    ),
    row(
        "gunzip",
        HSL,
        Args::Flag,
        "Decompresses gzip for clients that do not accept it (default off).",
        |s, dir, _| values::flag(&mut s.drafts.compress.gunzip, dir),
    ),
    row(
        "brotli",
        HSLI,
        Args::Flag,
        "Compresses answers with brotli for clients that accept it (default off).",
        |s, dir, _| values::flag(&mut s.drafts.compress.brotli.on, dir),
    ),
    row(
        "brotli_types",
        HSL,
        Args::AtLeast(1),
        "Media types that are compressed with brotli besides `text/html`; `*` is every type.",
        |s, dir, env| {
            MediaTypes::read(&mut s.drafts.compress.brotli.types, dir, env);
            Ok(())
        },
    ),
    row(
        "brotli_comp_level",
        HSL,
        Args::Exactly(1),
        "How hard brotli tries, from 0 to 11 (default 6).",
        |s, dir, _| level(&mut s.drafts.compress.brotli.level, dir, 0, 11),
    ),
    row(
        "brotli_min_length",
        HSL,
        Args::Exactly(1),
        "Length from which an answer is compressed with brotli, if it is known (default 20).",
        |s, dir, _| values::size(&mut s.drafts.compress.brotli.min_length, dir),
    ),
    row(
        "brotli_static",
        HSL,
        Args::Exactly(1),
        "Sends the file with `.br` at its name's end: `on`, `always` or `off` (default), as `gzip_static`.",
        |s, dir, _| precompressed::set(&mut s.drafts.compress.brotli.files, dir),
    ),
    row(
        "zstd",
        HSLI,
        Args::Flag,
        "Compresses answers with zstd for clients that accept it (default off).",
        |s, dir, _| values::flag(&mut s.drafts.compress.zstd.on, dir),
    ),
    row(
        "zstd_types",
        HSL,
        Args::AtLeast(1),
        "Media types that are compressed with zstd besides `text/html`; `*` is every type.",
        |s, dir, env| {
            MediaTypes::read(&mut s.drafts.compress.zstd.types, dir, env);
            Ok(())
        },
    ),
    row(
        "zstd_comp_level",
        HSL,
        Args::Exactly(1),
        "How hard zstd tries, from 1 to 22 (default 1).",
        |s, dir, _| level(&mut s.drafts.compress.zstd.level, dir, 1, 22),
    ),
    row(
        "zstd_min_length",
        HSL,
        Args::Exactly(1),
        "Length from which an answer is compressed with zstd, if it is known (default 20).",
        |s, dir, _| values::size(&mut s.drafts.compress.zstd.min_length, dir),
    ),
    row(
        "zstd_static",
        HSL,
        Args::Exactly(1),
        "Sends the file with `.zst` at its name's end: `on`, `always` or `off` (default), as `gzip_static`.",
        |s, dir, _| precompressed::set(&mut s.drafts.compress.zstd.files, dir),
    ),
    no_effect("gzip_buffers", HSL, BUFFERS),
    no_effect("brotli_buffers", HSL, BUFFERS),
    no_effect("zstd_buffers", HSL, BUFFERS),
    no_effect("brotli_window", HSL, MEMORY),
    no_effect("gunzip_buffers", HSL, BUFFERS),
    no_effect("gzip_window", HSL, MEMORY),
    no_effect("gzip_hash", HSL, MEMORY),
    no_effect("postpone_gzipping", HSL, MEMORY),
    no_effect("gzip_no_buffer", HSL, MEMORY),
];

const BUFFERS: &str =
    "No effect: what is held for a slow client is bounded for every answer alike.";
const MEMORY: &str = "No effect: memory is chosen by the length of the answer.";

pub static VARIABLES: &[Variable] = &[
    Variable {
        name: "gzip_ratio",
        doc: "Length of the answer over what gzip made of it, once it has been sent.",
        get: |req, _, out| ratio(req, "gzip", out),
    },
    Variable {
        name: "brotli_ratio",
        doc: "The same for brotli.",
        get: |req, _, out| ratio(req, "br", out),
    },
    Variable {
        name: "zstd_ratio",
        doc: "The same for zstd.",
        get: |req, _, out| ratio(req, "zstd", out),
    },
];

/// The ratio, rounded to two digits.
fn ratio(req: &Request, coding: &str, out: &mut Vec<u8>) -> bool {
    let Some(counts) = req.reply.body.counts().filter(|counts| counts.coding == coding) else {
        return false;
    };
    let hundredths = (counts.taken * 1000 / counts.made.max(1) + 5) / 10;
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{}.{:02}", hundredths / 100, hundredths % 100);
    true
}
