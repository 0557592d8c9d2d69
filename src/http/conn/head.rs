//! Owns the answer's head on the wire: nginx's status line, fields in nginx's order.
//!
//! Must not decide anything about the answer but how it is framed.

use crate::http::date;
use crate::http::h1::head::Version;
use crate::http::headers::Name;
use crate::http::modules::connection::Conf;
use crate::http::reply;
use crate::http::request::Request;
use crate::log::clock;

/// How the body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As it is: its length is known, or the connection's end is its end.
    Plain,
    Chunked,
}

/// Decides the framing. An unknown length to a client without chunked coding ends the connection.
pub fn framing(req: &mut Request, conf: &Conf) -> Framing {
    if ends_with_connection(req, conf) {
        req.keepalive = false;
        return Framing::Plain;
    }
    if is_delimited(req) { Framing::Plain } else { Framing::Chunked }
}

/// Whether the end of the connection is the end of the body.
pub fn ends_with_connection(req: &Request, conf: &Conf) -> bool {
    let chunked = req.head.version == Version::Http11 && conf.chunked && !req.reply.bare;
    !is_delimited(req) && !chunked
}

/// Whether the head tells where the answer ends.
fn is_delimited(req: &Request) -> bool {
    req.header_only() || req.reply.content_length.is_some() || req.reply.status == 101
}

/// Appends the head. HTTP/0.9 has none.
pub fn write(req: &Request, conf: &Conf, framing: Framing, out: &mut Vec<u8>) {
    if req.head.version == Version::Http09 {
        return;
    }
    let reply = &req.reply;
    status_line(req, out);
    if !reply.headers.contains(Name::Server) {
        field(out, b"Server", req.conf().identity.server.as_bytes());
    }
    if !reply.headers.contains(Name::Date) {
        clock::now(|now| field(out, b"Date", now.http_date().as_bytes()));
    }
    // A 204 has no content to describe. nginx drops these as late as here: an error page that was
    // answered with 204 carries the error's status and keeps them.
    let described = reply.status != 204;
    if let Some(content_type) = reply.content_type.as_ref().filter(|_| described) {
        field(out, b"Content-Type", content_type);
    }
    if let Some(length) = reply.content_length.filter(|_| described) {
        field(out, b"Content-Length", itoa(length, &mut [0; 20]));
    }
    if let Some(modified) = reply.last_modified
        && matches!(reply.status, 200 | 206 | 304)
        && !reply.headers.contains(Name::LastModified)
    {
        field(out, b"Last-Modified", date::format(modified).as_bytes());
    }
    if let Some(location) = &reply.location {
        field(out, b"Location", location);
    }
    connection(req, conf, framing, out);
    if reply.varies && req.conf().compress.vary {
        field(out, b"Vary", b"Accept-Encoding");
    }
    reply.headers.write_to(out);
    out.extend_from_slice(b"\r\n");
}

fn status_line(req: &Request, out: &mut Vec<u8>) {
    let reply = &req.reply;
    out.extend_from_slice(b"HTTP/1.1 ");
    if let Some(line) = &reply.reason {
        out.extend_from_slice(line);
    } else {
        let digits = [reply.status / 100, reply.status / 10 % 10, reply.status % 10];
        out.extend(digits.map(|d| b'0' + u8::try_from(d).unwrap_or(0)));
        out.push(b' ');
        out.extend_from_slice(reply::reason(reply.status).unwrap_or_default().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn connection(req: &Request, conf: &Conf, framing: Framing, out: &mut Vec<u8>) {
    if framing == Framing::Chunked {
        field(out, b"Transfer-Encoding", b"chunked");
    }
    if req.reply.status == 101 {
        field(out, b"Connection", b"upgrade");
    } else if req.keepalive {
        field(out, b"Connection", b"keep-alive");
        if let Some(seconds) = conf.keepalive_header {
            out.extend_from_slice(b"Keep-Alive: timeout=");
            out.extend_from_slice(itoa(seconds, &mut [0; 20]));
            out.extend_from_slice(b"\r\n");
        }
    } else {
        field(out, b"Connection", b"close");
    }
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Decimal digits, without the formatting machinery: this runs for every answer.
fn itoa(mut n: u64, buf: &mut [u8; 20]) -> &[u8] {
    let mut at = buf.len();
    loop {
        at -= 1;
        buf[at] = b'0' + u8::try_from(n % 10).unwrap_or(0);
        n /= 10;
        if n == 0 {
            return &buf[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::itoa;

    #[test]
    fn digits_are_those_of_display() {
        for n in [0, 7, 10, 1234, u64::MAX] {
            assert_eq!(itoa(n, &mut [0; 20]), n.to_string().as_bytes());
        }
    }
}
