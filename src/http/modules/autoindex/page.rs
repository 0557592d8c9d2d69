//! Owns the page, byte for byte nginx's.
//!
//! Must not choose or sort what is on it.

use crate::http::listing::{Entry, Kind};
use crate::http::uri::{Set, escape_html, escape_into};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::io::Write;

/// Letters of a name that are shown.
const WIDTH: usize = 50;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How numbers are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub localtime: bool,
    pub exact_size: bool,
    /// Names are cut and filled up by letters instead of bytes, if they are UTF-8.
    pub utf8: bool,
}

/// The list of what is at a path.
pub(super) fn write(path: &[u8], entries: &[Entry], style: Style) -> Vec<u8> {
    let path = escape_html(path);
    let mut out = Vec::with_capacity(256 + entries.len() * 160);
    out.extend_from_slice(b"<html>\r\n<head><title>Index of ");
    out.extend_from_slice(&path);
    out.extend_from_slice(b"</title></head>\r\n<body>\r\n<h1>Index of ");
    out.extend_from_slice(&path);
    out.extend_from_slice(b"</h1><hr><pre><a href=\"../\">../</a>\r\n");
    // What counts is the present offset, as in nginx.
    let offset = if style.localtime { jiff::Zoned::now().offset().seconds().into() } else { 0 };
    for entry in entries {
        link(entry, style.utf8, &mut out);
        out.push(b' ');
        time(entry.modified.saturating_add(offset), &mut out);
        size(entry, style.exact_size, &mut out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"</pre><hr></body>\r\n</html>\r\n");
    out
}

fn link(entry: &Entry, utf8: bool, out: &mut Vec<u8>) {
    let slash = if entry.kind == Kind::Directory { &b"/"[..] } else { b"" };
    out.extend_from_slice(b"<a href=\"");
    escape_into(out, &entry.name, Set::UriComponent);
    out.extend_from_slice(slash);
    out.extend_from_slice(b"\">");
    let text = std::str::from_utf8(&entry.name).ok().filter(|_| utf8);
    let length = text.map_or(entry.name.len(), |text| text.chars().count());
    if length > WIDTH {
        let cut = text.and_then(|text| Some(text.char_indices().nth(WIDTH - 3)?.0));
        let start = entry.name.get(..cut.unwrap_or(WIDTH - 3)).unwrap_or_default();
        out.extend_from_slice(&escape_html(start));
        out.extend_from_slice(b"..&gt;</a>");
        return;
    }
    let slash = if length < WIDTH { slash } else { b"" };
    out.extend_from_slice(&escape_html(&entry.name));
    out.extend_from_slice(slash);
    out.extend_from_slice(b"</a>");
    out.resize(out.len() + WIDTH - length - slash.len(), b' ');
}

/// `28-Sep-1970 12:00 `.
fn time(seconds: i64, out: &mut Vec<u8>) {
    let moment = Timestamp::from_second(seconds).unwrap_or_default();
    let time: DateTime = TimeZone::UTC.to_datetime(moment);
    let month = usize::try_from(time.month()).ok().and_then(|month| MONTHS.get(month - 1));
    let (day, month, year) = (time.day(), month.unwrap_or(&""), time.year());
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{day:02}-{month}-{year} {:02}:{:02} ", time.hour(), time.minute());
}

fn size(entry: &Entry, exact: bool, out: &mut Vec<u8>) {
    let size = entry.size;
    let rounded = |unit: u64| size / unit + u64::from(size % unit > unit / 2 - 1);
    // Writing into a Vec cannot fail.
    let _ = match (entry.kind, exact) {
        (Kind::Directory, true) => write!(out, "{:>19}", "-"),
        (Kind::Directory, false) => write!(out, "{:>7}", "-"),
        (_, true) => write!(out, "{size:>19}"),
        _ if size >= 1 << 30 => write!(out, "{:>6}G", rounded(1 << 30)),
        _ if size >= 1 << 20 => write!(out, "{:>6}M", rounded(1 << 20)),
        _ if size > 9999 => write!(out, "{:>6}K", rounded(1 << 10)),
        _ => write!(out, " {size:>6}"),
    };
}
