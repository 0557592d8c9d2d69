//! Owns the answer to a request for a file, as nginx's static module gives it.
//!
//! Must not read the file; the connection takes its bytes from `reply.body`.

use crate::http::method::Method;
use crate::http::phase::Stop;
use crate::http::request::Request;
use crate::http::static_file;
use crate::http::uri::{Set, escape_into};
use crate::log::{Level, os_error};
use std::fs::{File, Metadata};
use std::io;

/// Static content. What ends in a slash was not found by the index: 403.
pub fn run(req: &mut Request) -> Stop {
    if !matches!(req.method, Method::Get | Method::Head | Method::Post) {
        return Stop::Status(405);
    }
    let path = match req.conf().files.root.map(req) {
        Ok(mapped) => mapped.path,
        Err(stop) => return stop,
    };
    if req.uri.ends_with(b"/") {
        let path = String::from_utf8_lossy(&path);
        req.log_error(format_args!("directory index of \"{path}\" is forbidden"));
        return Stop::Status(403);
    }
    match static_file::open(&path) {
        Ok((file, about)) => answer(req, &path, file, &about),
        Err((call, err)) => failed(req, &path, call, &err),
    }
}

fn failed(req: &Request, path: &[u8], call: &str, err: &io::Error) -> Stop {
    let (status, level) = static_file::status(err);
    if status != 404 || req.conf().error_log.log_not_found {
        let path = String::from_utf8_lossy(path);
        req.log(level, format_args!("{call} \"{path}\" failed{}", os_error(err)));
    }
    Stop::Status(status)
}

fn answer(req: &mut Request, path: &[u8], file: File, about: &Metadata) -> Stop {
    if about.is_dir() {
        req.reply.location = Some(with_slash(&req.uri, &req.args));
        return Stop::Status(301);
    }
    if !about.is_file() {
        let path = String::from_utf8_lossy(path);
        req.log(Level::Crit, format_args!("\"{path}\" is not a regular file"));
        return Stop::Status(404);
    }
    if req.method == Method::Post {
        return Stop::Status(405);
    }
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).files;
    static_file::put(&mut req.reply, file, about, conf.etag);
    if req.reply.content_type.is_none() {
        req.reply.content_type = conf.content_type(&req.uri);
    }
    Stop::Reply
}

/// Path with a slash and the arguments, as it stands in `Location`.
fn with_slash(uri: &[u8], args: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(uri.len() + args.len() + 16);
    escape_into(&mut out, uri, Set::Uri);
    out.push(b'/');
    if !args.is_empty() {
        out.push(b'?');
        out.extend_from_slice(args);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_escaped_and_keep_arguments() {
        assert_eq!(with_slash(b"/dir sp", b""), b"/dir%20sp/");
        assert_eq!(with_slash(b"/d?", b"a=b%20"), b"/d%3F/?a=b%20");
    }
}
