//! Owns the answer's head as HTTP/2 has it: nginx's fields in nginx's order, all names in lower case.
//!
//! Must not decide anything about the answer.

use crate::http::date;
use crate::http::headers::{Field, Headers, Name};
use crate::http::request::Request;
use crate::log::clock;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

/// What frame and status take beside the fields, roughly: for `$bytes_sent`.
const REST: usize = 12;

/// The head of the reply, and about how many bytes it takes. `None`: its status is none.
pub fn head(req: &Request) -> Option<(Response<()>, usize)> {
    let reply = &req.reply;
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(reply.status).ok()?;
    let mut fields = Fields { map: head.headers_mut(), bytes: REST };
    if !reply.headers.contains(Name::Server) {
        fields.add(header::SERVER, req.conf().identity.server.as_bytes());
    }
    if !reply.headers.contains(Name::Date) {
        clock::now(|now| fields.add(header::DATE, now.http_date().as_bytes()));
    }
    let described = reply.status != 204;
    if let Some(content_type) = reply.content_type.as_ref().filter(|_| described) {
        fields.add(header::CONTENT_TYPE, content_type);
    }
    if let Some(length) = reply.content_length.filter(|_| described) {
        fields.value(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(modified) = reply.last_modified
        && matches!(reply.status, 200 | 206 | 304)
        && !reply.headers.contains(Name::LastModified)
    {
        fields.add(header::LAST_MODIFIED, date::format(modified).as_bytes());
    }
    if let Some(location) = &reply.location {
        fields.add(header::LOCATION, location);
    }
    if reply.varies && req.conf().compress.vary {
        fields.add(header::VARY, b"Accept-Encoding");
    }
    reply.headers.iter().for_each(|field| fields.field(field));
    let bytes = fields.bytes;
    Some((head, bytes))
}

/// Trailers as HTTP/2 has them; `None` when there are none.
pub fn trailers(trailers: &Headers) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(trailers.len());
    let mut fields = Fields { map: &mut map, bytes: 0 };
    trailers.iter().for_each(|field| fields.field(field));
    (!map.is_empty()).then_some(map)
}

struct Fields<'a> {
    map: &'a mut HeaderMap,
    bytes: usize,
}

impl Fields<'_> {
    /// Any field. What only concerns a connection is not for HTTP/2 (RFC 9113, section 8.2.2), and what
    /// cannot be a field at all is left out.
    fn field(&mut self, field: Field<'_>) {
        let hop = matches!(
            field.id,
            Name::Connection | Name::KeepAlive | Name::TransferEncoding | Name::Upgrade
        );
        if let Ok(name) = HeaderName::from_bytes(field.name)
            && !hop
        {
            self.add(name, field.value);
        }
    }

    fn add(&mut self, name: HeaderName, value: &[u8]) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            self.value(name, value);
        }
    }

    fn value(&mut self, name: HeaderName, value: HeaderValue) {
        self.bytes += name.as_str().len() + value.len() + 2;
        // More fields than the map can hold are not worth a panic.
        let _ = self.map.try_append(name, value);
    }
}
