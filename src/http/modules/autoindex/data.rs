//! Owns the list as data: JSON, a script that calls a function with it, XML.
//!
//! Must not choose or sort what is in it.

use crate::http::date;
use crate::http::listing::{Entry, Kind};
use crate::http::uri::escape_html;
use crate::log::Escape;
use jiff::Timestamp;
use std::io::Write;

fn kind(entry: &Entry) -> &'static str {
    match entry.kind {
        Kind::Directory => "directory",
        Kind::File => "file",
        Kind::Other => "other",
    }
}

/// An array of objects.
pub(super) fn json(entries: &[Entry]) -> Vec<u8> {
    let mut out = b"[".to_vec();
    for (at, entry) in entries.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",\r\n{ \"name\":\"" } else { b"\r\n{ \"name\":\"" });
        Escape::Json.append(Some(&entry.name), &mut out);
        let (kind, modified) = (kind(entry), date::format(entry.modified));
        // Writing into a Vec cannot fail.
        let _ = write!(out, "\", \"type\":\"{kind}\", \"mtime\":\"{modified}\"");
        if entry.kind == Kind::File {
            let _ = write!(out, ", \"size\":{}", entry.size);
        }
        out.extend_from_slice(b" }");
    }
    out.extend_from_slice(b"\r\n]");
    out
}

/// The same as the argument of a function.
pub(super) fn jsonp(entries: &[Entry], callback: &[u8]) -> Vec<u8> {
    [b"/* callback */\r\n", callback, b"(", &json(entries), b");"].concat()
}

/// An element for each entry.
pub(super) fn xml(entries: &[Entry]) -> Vec<u8> {
    let mut out = b"<?xml version=\"1.0\"?>\r\n<list>\r\n".to_vec();
    for entry in entries {
        let kind = kind(entry);
        let modified = Timestamp::from_second(entry.modified).unwrap_or_default();
        // Writing into a Vec cannot fail.
        let _ = write!(out, "<{kind} mtime=\"{modified}\"");
        if entry.kind == Kind::File {
            let _ = write!(out, " size=\"{}\"", entry.size);
        }
        out.push(b'>');
        out.extend_from_slice(&escape_html(&entry.name));
        let _ = write!(out, "</{kind}>\r\n");
    }
    out.extend_from_slice(b"</list>\r\n");
    out
}
