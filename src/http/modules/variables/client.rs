//! Owns the variables of a client's connection.

use super::{print, put, seconds};
use crate::http::request::Request;
use crate::http::vars::push;
use crate::net::Address;
use std::net::IpAddr;

pub(super) fn address(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    print(out, format_args!("{}", req.peer()))
}

pub(super) fn binary_address(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    match req.peer().ip() {
        Some(IpAddr::V4(ip)) => put(out, &ip.octets()),
        Some(IpAddr::V6(ip)) => put(out, &ip.octets()),
        None => put(out, b"unix:"),
    }
}

pub(super) fn port(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    number_if_any(req.peer().port(), out)
}

pub(super) fn server_address(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    match req.client.local() {
        Address::Inet(address) => print(out, format_args!("{}", address.ip())),
        unix @ Address::Unix(_) => print(out, format_args!("{unix}")),
    }
}

pub(super) fn server_port(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    number_if_any(req.client.local().port(), out)
}

pub(super) fn number(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    print(out, format_args!("{}", req.client.number))
}

pub(super) fn requests(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    print(out, format_args!("{}", req.client.requests.get()))
}

pub(super) fn time(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    seconds(out, req.client.accepted.elapsed())
}

pub(super) fn announced_address(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    push(req.client.announced.get().map(|header| header.source.as_bytes()), out)
}

pub(super) fn announced_port(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    let header = req.client.announced.get();
    header.is_some_and(|header| number_if_any(Some(header.source_port), out))
}

pub(super) fn announced_server(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    push(req.client.announced.get().map(|header| header.destination.as_bytes()), out)
}

pub(super) fn announced_server_port(req: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    let header = req.client.announced.get();
    header.is_some_and(|header| number_if_any(Some(header.destination_port), out))
}

pub(super) fn announced_tlv(req: &Request, name: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(header) = req.client.announced.get() else { return false };
    match header.tlv(&String::from_utf8_lossy(name)) {
        Ok(value) => push(value.as_deref(), out),
        Err(why) => {
            req.log_error(format_args!("{why}"));
            false
        }
    }
}

/// Ports are empty, not missing, on unix sockets.
fn number_if_any(port: Option<u16>, out: &mut Vec<u8>) -> bool {
    match port {
        Some(port) if port > 0 => print(out, format_args!("{port}")),
        _ => true,
    }
}
