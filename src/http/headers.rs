//! Header fields of one message: spelling and order kept, known names resolved to small ids once.
//! Owns no parsing and no policy; a value here is any bytes, checked by whoever read or made it.

use super::spare::Spare;
use std::ops::Range;

/// Declares `Name`, its canonical spellings, and their number.
macro_rules! names {
    ($($id:ident = $text:literal,)+) => {
        /// A header name that proxyd or nginx treats specially; `Other` is every other name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Name {
            Other,
            $($id,)+
        }

        /// Ids and spellings, in the order of their ids, without `Other`.
        pub const NAMES: &[(Name, &str)] = &[$((Name::$id, $text),)+];
    };
}

names! {
    Accept = "Accept",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    AcceptRanges = "Accept-Ranges",
    Age = "Age",
    Allow = "Allow",
    AltSvc = "Alt-Svc",
    Authorization = "Authorization",
    CacheControl = "Cache-Control",
    Connection = "Connection",
    ContentDisposition = "Content-Disposition",
    ContentEncoding = "Content-Encoding",
    ContentLanguage = "Content-Language",
    ContentLength = "Content-Length",
    ContentLocation = "Content-Location",
    ContentRange = "Content-Range",
    ContentType = "Content-Type",
    Cookie = "Cookie",
    Date = "Date",
    Depth = "Depth",
    Destination = "Destination",
    EarlyData = "Early-Data",
    ETag = "ETag",
    Expect = "Expect",
    Expires = "Expires",
    Forwarded = "Forwarded",
    Host = "Host",
    Http2Settings = "HTTP2-Settings",
    IfMatch = "If-Match",
    IfModifiedSince = "If-Modified-Since",
    IfNoneMatch = "If-None-Match",
    IfRange = "If-Range",
    IfUnmodifiedSince = "If-Unmodified-Since",
    KeepAlive = "Keep-Alive",
    LastModified = "Last-Modified",
    Link = "Link",
    Location = "Location",
    Origin = "Origin",
    Overwrite = "Overwrite",
    Pragma = "Pragma",
    Priority = "Priority",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthorization = "Proxy-Authorization",
    ProxyConnection = "Proxy-Connection",
    Range = "Range",
    Referer = "Referer",
    Refresh = "Refresh",
    RetryAfter = "Retry-After",
    SecWebSocketKey = "Sec-WebSocket-Key",
    SecWebSocketVersion = "Sec-WebSocket-Version",
    Server = "Server",
    SetCookie = "Set-Cookie",
    Status = "Status",
    StrictTransportSecurity = "Strict-Transport-Security",
    Te = "TE",
    Trailer = "Trailer",
    TransferEncoding = "Transfer-Encoding",
    Upgrade = "Upgrade",
    UserAgent = "User-Agent",
    Vary = "Vary",
    Via = "Via",
    WwwAuthenticate = "WWW-Authenticate",
    XAccelBuffering = "X-Accel-Buffering",
    XAccelCharset = "X-Accel-Charset",
    XAccelExpires = "X-Accel-Expires",
    XAccelLimitRate = "X-Accel-Limit-Rate",
    XAccelRedirect = "X-Accel-Redirect",
    XForwardedFor = "X-Forwarded-For",
    XForwardedHost = "X-Forwarded-Host",
    XForwardedProto = "X-Forwarded-Proto",
    XPad = "X-Pad",
    XRealIp = "X-Real-IP",
    XRequestId = "X-Request-ID",
}

/// Slots of the name table: a power of two with room for a hash without collisions.
const SLOTS: usize = 256;

/// Folds case and mixes length, first, middle and last byte. The factors were searched for so that
/// no two of `NAMES` meet; `TABLE` would not compile otherwise.
const fn slot(name: &[u8]) -> usize {
    let len = name.len();
    if len == 0 {
        return 0;
    }
    let first = (name[0] | 0x20) as usize;
    let middle = (name[len / 2] | 0x20) as usize;
    let last = (name[len - 1] | 0x20) as usize;
    (len * 27 + first * 43 + last * 41 + middle) % SLOTS
}

/// Which name, if any, lives in each slot.
const TABLE: [Name; SLOTS] = {
    let mut table = [Name::Other; SLOTS];
    let mut at = 0;
    while at < NAMES.len() {
        let (id, text) = NAMES[at];
        let slot = slot(text.as_bytes());
        assert!(table[slot] as u8 == 0, "two header names share a slot");
        table[slot] = id;
        at += 1;
    }
    assert!(NAMES.len() < 128, "the set of present names is a u128");
    table
};

impl Name {
    /// The id of `name`, in any case; `Other` when it is none of ours.
    pub fn of(name: &[u8]) -> Self {
        let id = TABLE.get(slot(name)).copied().unwrap_or(Self::Other);
        if same_name(name, id.as_str().as_bytes()) { id } else { Self::Other }
    }

    /// The canonical spelling (`ETag`, `WWW-Authenticate`); empty for `Other`.
    pub fn as_str(self) -> &'static str {
        match (self as usize).checked_sub(1).and_then(|at| NAMES.get(at)) {
            Some((_, text)) => text,
            None => "",
        }
    }

    /// This name's bit in a set of names.
    pub const fn bit(self) -> u128 {
        1 << self as u8
    }
}

/// One field as it will be written: `name` in its own spelling, `value` without outer spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub id: Name,
    pub name: &'a [u8],
    pub value: &'a [u8],
}

/// Where one field lies in the buffer. Offsets are 32 bits: a head is limited long before that.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name_at: u32,
    name_len: u32,
    value_at: u32,
    value_len: u32,
    id: Name,
}

/// The fields of a message in their order: one byte buffer and one flat list over it. Removing or
/// replacing a field leaves its old bytes in the buffer until `clear`.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// A bit for each known name that occurs.
    present: u128,
}

/// Room for the fields of most messages, and for their bytes.
const FIELDS: usize = 24;
const BYTES: usize = 1024;

thread_local! {
    /// The memory of messages that are gone.
    static SPARE: Spare<(Vec<u8>, Vec<Entry>)> = const { Spare::new() };
}

impl Drop for Headers {
    /// Leaves its memory to another message, unless it has none or uncommonly much.
    fn drop(&mut self) {
        if self.entries.capacity() == 0 || self.bytes.capacity() > 16 * BYTES {
            return;
        }
        self.clear();
        let memory = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.entries));
        // A thread that ends has no more use for it.
        let _ = SPARE.try_with(|spare| spare.keep(memory));
    }
}

impl Headers {
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), entries: Vec::new(), present: 0 }
    }

    /// Gets memory for the first field.
    #[inline(never)]
    fn make_room(&mut self) {
        let spare = SPARE.try_with(Spare::take).ok().flatten();
        let room = || (Vec::with_capacity(BYTES), Vec::with_capacity(FIELDS));
        let (mut bytes, entries) = spare.unwrap_or_else(room);
        bytes.append(&mut self.bytes);
        (self.bytes, self.entries) = (bytes, entries);
    }

    /// Forgets all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.present = 0;
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a field at the end, in the given spelling.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_as(Name::of(name), name, value);
    }

    /// Adds a known field at the end, in the canonical spelling.
    pub fn push_known(&mut self, id: Name, value: &[u8]) {
        self.push_as(id, id.as_str().as_bytes(), value);
    }

    /// Adds a copy of a field of another message.
    pub fn push_field(&mut self, field: Field<'_>) {
        self.push_as(field.id, field.name, field.value);
    }

    fn push_as(&mut self, id: Name, name: &[u8], value: &[u8]) {
        if self.entries.capacity() == 0 {
            self.make_room();
        }
        let name_at = self.bytes.len();
        // The separator is stored too, so that `write_to` copies a field in one piece.
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        let value_at = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.insert(id, name_at..name_at + name.len(), value_at..value_at + value.len());
    }

    /// Notes a field whose bytes are, or with `adopt` will be, in the buffer at these places.
    pub(crate) fn insert(&mut self, id: Name, name: Range<usize>, value: Range<usize>) {
        if self.entries.capacity() == 0 {
            self.make_room();
        }
        if id != Name::Other {
            self.present |= id.bit();
        }
        self.entries.push(Entry {
            name_at: narrow(name.start),
            name_len: narrow(name.len()),
            value_at: narrow(value.start),
            value_len: narrow(value.len()),
            id,
        });
    }

    /// Takes the text that the entries noted by `insert` lie in.
    pub(crate) fn adopt(&mut self, text: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(text);
    }

    /// Where name and value of the first field of this name were said to be.
    pub(crate) fn place_of(&self, id: Name) -> Option<(Range<usize>, Range<usize>)> {
        let entry = self.entries.iter().find(|entry| entry.id == id)?;
        let range = |at: u32, len: u32| at as usize..at as usize + len as usize;
        Some((range(entry.name_at, entry.name_len), range(entry.value_at, entry.value_len)))
    }

    fn field(&self, entry: &Entry) -> Field<'_> {
        Field {
            id: entry.id,
            name: slice(&self.bytes, entry.name_at, entry.name_len),
            value: slice(&self.bytes, entry.value_at, entry.value_len),
        }
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Field<'_>> + ExactSizeIterator + Clone {
        self.entries.iter().map(|entry| self.field(entry))
    }

    /// Whether a field of this name is there; constant time.
    pub fn contains(&self, id: Name) -> bool {
        self.present & id.bit() != 0
    }

    /// The value of the first field of this name.
    pub fn get(&self, id: Name) -> Option<&[u8]> {
        self.get_all(id).next()
    }

    /// The values of every field of this name, in order. Nothing for `Other`.
    pub fn get_all(&self, id: Name) -> impl Iterator<Item = &[u8]> + Clone {
        let entries = if self.contains(id) { self.entries.as_slice() } else { &[] };
        entries
            .iter()
            .filter(move |entry| entry.id == id)
            .map(|entry| slice(&self.bytes, entry.value_at, entry.value_len))
    }

    /// The value of the first field of this name, known or not, in any case.
    pub fn get_str(&self, name: &[u8]) -> Option<&[u8]> {
        let id = Name::of(name);
        if id != Name::Other {
            return self.get(id);
        }
        self.iter().find(|field| field.is(id, name)).map(|field| field.value)
    }

    /// Removes every field of this name. Nothing for `Other`.
    pub fn remove(&mut self, id: Name) {
        if self.contains(id) {
            self.entries.retain(|entry| entry.id != id);
            self.present &= !id.bit();
        }
    }

    /// Removes every field of this name, known or not, in any case.
    pub fn remove_str(&mut self, name: &[u8]) {
        let id = Name::of(name);
        if id == Name::Other {
            self.retain(|field| !field.is(id, name));
        } else {
            self.remove(id);
        }
    }

    /// Makes `value` the only value of this name: in the place and spelling of the first field
    /// that has it, else at the end. Nothing for `Other`.
    pub fn set(&mut self, id: Name, value: &[u8]) {
        if id != Name::Other {
            self.set_str(id.as_str().as_bytes(), value);
        }
    }

    /// `set` for any name; a new field takes the spelling given here.
    pub fn set_str(&mut self, name: &[u8], value: &[u8]) {
        let id = Name::of(name);
        let Some(first) = self.iter().position(|field| field.is(id, name)) else {
            self.push_as(id, name, value);
            return;
        };
        let mut at = 0;
        let bytes = &self.bytes;
        self.entries.retain(|entry| {
            at += 1;
            at - 1 <= first
                || entry.id != id
                || !slice(bytes, entry.name_at, entry.name_len).eq_ignore_ascii_case(name)
        });
        let value_at = narrow(self.bytes.len());
        self.bytes.extend_from_slice(value);
        if let Some(entry) = self.entries.get_mut(first) {
            entry.value_at = value_at;
            entry.value_len = narrow(value.len());
        }
    }

    /// Keeps the fields that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let bytes = &self.bytes;
        let mut present = 0;
        self.entries.retain(|entry| {
            let kept = keep(Field {
                id: entry.id,
                name: slice(bytes, entry.name_at, entry.name_len),
                value: slice(bytes, entry.value_at, entry.value_len),
            });
            if kept {
                present |= entry.id.bit();
            }
            kept
        });
        self.present = present & !Name::Other.bit();
    }

    /// Writes every field as `Name: value` and CR LF; the empty line after them is the caller's.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        for entry in &self.entries {
            self.write_entry(entry, out);
        }
    }

    fn write_entry(&self, entry: &Entry, out: &mut Vec<u8>) {
        let whole = entry.name_len + 2 + entry.value_len;
        let field = slice(&self.bytes, entry.name_at, whole);
        let apart = entry.name_len as usize;
        // Nearly every field lies in the buffer just as it is to be written.
        if entry.value_at == entry.name_at + entry.name_len + 2
            && field.get(apart..apart + 2) == Some(b": ")
        {
            out.extend_from_slice(field);
        } else {
            out.extend_from_slice(slice(&self.bytes, entry.name_at, entry.name_len));
            out.extend_from_slice(b": ");
            out.extend_from_slice(slice(&self.bytes, entry.value_at, entry.value_len));
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl Field<'_> {
    /// Whether the field has this name; `id` is what `Name::of(name)` gave.
    pub fn is(&self, id: Name, name: &[u8]) -> bool {
        self.id == id && (id != Name::Other || self.name.eq_ignore_ascii_case(name))
    }

    /// Writes `Name: value` and CR LF.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(self.value);
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether `name` is `known` in some case, several bytes at a time. `known` has only letters,
/// digits and `-`.
fn same_name(name: &[u8], known: &[u8]) -> bool {
    if name.len() != known.len() {
        return false;
    }
    // The last bytes are compared as a group of their own, which may overlap the one before.
    if let (Some(end), Some(known_end)) = (name.last_chunk::<8>(), known.last_chunk::<8>()) {
        let mut pairs = name.as_chunks().0.iter().zip(known.as_chunks().0);
        return same_eight(*end, *known_end) && pairs.all(|(a, b)| same_eight(*a, *b));
    }
    if let (Some(end), Some(known_end)) = (name.last_chunk::<4>(), known.last_chunk::<4>()) {
        let mut pairs = name.as_chunks().0.iter().zip(known.as_chunks().0);
        return same_four(*end, *known_end) && pairs.all(|(a, b)| same_four(*a, *b));
    }
    name.eq_ignore_ascii_case(known)
}

fn same_four(name: [u8; 4], known: [u8; 4]) -> bool {
    const BIT_5: u32 = 0x2020_2020;
    let name = u32::from_le_bytes(name);
    let differing = name ^ u32::from_le_bytes(known);
    differing & !BIT_5 == 0 && (name | (name >> 1)) & BIT_5 == BIT_5
}

/// Letters differ from their other case in bit 5 alone. So do `-` and digits from control
/// characters, which are told by having neither bit 5 nor bit 6.
fn same_eight(name: [u8; 8], known: [u8; 8]) -> bool {
    const BIT_5: u64 = 0x2020_2020_2020_2020;
    let name = u64::from_le_bytes(name);
    let differing = name ^ u64::from_le_bytes(known);
    differing & !BIT_5 == 0 && (name | (name >> 1)) & BIT_5 == BIT_5
}

/// A length in the buffer. Buffers of 4 GiB do not occur; one would yield empty fields.
fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn slice(bytes: &[u8], at: u32, len: u32) -> &[u8] {
    let at = at as usize;
    bytes.get(at..at + len as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(headers: &Headers) -> String {
        let mut out = Vec::new();
        headers.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn sample() -> Headers {
        let mut headers = Headers::new();
        headers.push(b"etag", b"\"a\"");
        headers.push(b"X-One", b"1");
        headers.push_known(Name::SetCookie, b"a=1");
        headers.push(b"set-cookie", b"b=2");
        headers.push(b"x-one", b"");
        headers
    }

    #[test]
    fn every_name_is_found_in_any_case() {
        for (id, text) in NAMES {
            assert_eq!(Name::of(text.as_bytes()), *id);
            assert_eq!(Name::of(text.to_ascii_uppercase().as_bytes()), *id);
            assert_eq!(id.as_str(), *text);
        }
        for text in ["", "x", "Hos", "Hosts", "H\u{f6}st", "Content_Length", "Host "] {
            assert_eq!(Name::of(text.as_bytes()), Name::Other, "{text}");
        }
        assert_eq!(Name::Other.as_str(), "");
    }

    #[test]
    fn no_other_byte_passes_for_one_of_a_name() {
        for (id, text) in NAMES {
            for at in 0..text.len() {
                for byte in 0..=255_u8 {
                    let mut name = text.as_bytes().to_vec();
                    name[at] = byte;
                    let same = name.eq_ignore_ascii_case(text.as_bytes());
                    assert_eq!(Name::of(&name) == *id, same, "{name:?}");
                }
            }
        }
    }

    #[test]
    fn spelling_and_order_are_kept() {
        let expected =
            "etag: \"a\"\r\nX-One: 1\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nx-one: \r\n";
        assert_eq!(text(&sample()), expected);
    }

    #[test]
    fn values_are_found() {
        let headers = sample();
        assert_eq!(headers.get(Name::ETag), Some(&b"\"a\""[..]));
        assert_eq!(headers.get_all(Name::SetCookie).collect::<Vec<_>>(), [b"a=1", b"b=2"]);
        assert_eq!(headers.get_str(b"X-ONE"), Some(&b"1"[..]));
        assert_eq!(headers.get_str(b"ETAG"), headers.get(Name::ETag));
        assert_eq!(headers.get(Name::Host), None);
        assert_eq!(headers.get(Name::Other), None);
        assert_eq!(headers.get_str(b"x-two"), None);
    }

    #[test]
    fn fields_are_replaced_in_place() {
        let mut headers = sample();
        headers.set(Name::SetCookie, b"c=3");
        headers.set_str(b"X-ONE", b"one");
        headers.set(Name::Host, b"h");
        assert_eq!(text(&headers), "etag: \"a\"\r\nX-One: one\r\nSet-Cookie: c=3\r\nHost: h\r\n");
        headers.set(Name::Other, b"x");
        assert_eq!(headers.len(), 4);
    }

    #[test]
    fn fields_are_removed() {
        let mut headers = sample();
        headers.remove(Name::SetCookie);
        headers.remove_str(b"X-one");
        headers.remove(Name::Other);
        assert!(!headers.contains(Name::SetCookie));
        assert_eq!(text(&headers), "etag: \"a\"\r\n");
        headers.retain(|field| field.id != Name::ETag);
        assert!(headers.is_empty() && !headers.contains(Name::ETag));
        headers.push_known(Name::ETag, b"w");
        assert!(headers.contains(Name::ETag));
        headers.clear();
        assert!(headers.is_empty() && !headers.contains(Name::ETag));
    }
}
