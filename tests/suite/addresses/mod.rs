//! Who a client is when it comes through proxies: `realip`, the PROXY protocol, and what relies on them.

mod announced;
mod believed;
mod maintenance;

use crate::support::{Response, Site};

/// Fetches a path with further bytes before the request line, and fields that end in line ends.
fn ask(server: &Site, before: impl AsRef<[u8]>, path: &str, fields: &str) -> Response {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n");
    server.request([before.as_ref(), request.as_bytes()].concat())
}

/// A header of version 2 for a TCP connection over IPv4, with further values as they are.
fn binary(source: [u8; 4], tlvs: &[u8]) -> Vec<u8> {
    let ends = [&source[..], &[192, 0, 2, 254], &[0, 123], &[22, 46]].concat();
    let size = u16::try_from(ends.len() + tlvs.len()).expect("a small header").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &size[..], &ends, tlvs].concat()
}
