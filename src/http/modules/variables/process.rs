//! Owns the variables that are the same for all requests of a moment: the process and the time.

use super::{print, put};
use crate::http::request::Request;
use crate::log::clock;
use crate::version;
use std::sync::LazyLock;

/// In lower case, as nginx has it; empty when the system does not tell.
static HOSTNAME: LazyLock<Vec<u8>> = LazyLock::new(|| {
    use std::os::unix::ffi::OsStringExt;
    let name = nix::unistd::gethostname().map(OsStringExt::into_vec);
    name.unwrap_or_default().to_ascii_lowercase()
});

pub(super) fn nginx_version(_: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    put(out, version::NGINX.as_bytes())
}

pub(super) fn hostname(_: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    put(out, &HOSTNAME)
}

pub(super) fn pid(_: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    print(out, format_args!("{}", std::process::id()))
}

pub(super) fn msec(_: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    clock::now(|now| print(out, format_args!("{}.{:03}", now.seconds(), now.millis())))
}

pub(super) fn time_iso8601(_: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    clock::now(|now| put(out, now.time_iso8601().as_bytes()))
}

pub(super) fn time_local(_: &Request, _: &[u8], out: &mut Vec<u8>) -> bool {
    clock::now(|now| put(out, now.time_local().as_bytes()))
}
