//! Owns internal redirects: what changes in a request before the pipeline takes it up again.
//!
//! Must not select a location by URI nor run any phase.

use super::phase::Stop;
use super::request::Request;
use super::route;

/// Path and arguments of a URI that was written or computed; without `?` there are no arguments.
pub fn split_args(uri: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'?', uri) {
        Some(at) => (&uri[..at], &uri[at + 1..]),
        None => (uri, b""),
    }
}

/// Goes on with another URI; its arguments replace those of the request.
pub fn to_uri(req: &mut Request, uri: &[u8], args: &[u8]) -> Stop {
    req.set_uri(uri.to_vec(), Some(args.to_vec()));
    Stop::Redirect
}

/// Goes on in the location `@name` of the request's server. URI and arguments stay.
pub fn to_named(req: &mut Request, name: &[u8]) -> Stop {
    if let Some(at) = route::find_named(&req.snapshot, req.server, name) {
        return Stop::Named(at);
    }
    // It counts all the same, or an error page that names it would be tried for ever.
    match req.redirects_left {
        0 => req.error_page = true,
        _ => req.redirects_left -= 1,
    }
    let name = String::from_utf8_lossy(name);
    req.log_error(format_args!("could not find named location \"{name}\""));
    Stop::Status(500)
}

#[cfg(test)]
mod tests {
    use super::split_args;

    #[test]
    fn the_first_question_mark_divides() {
        assert_eq!(split_args(b"/a?b?c"), (&b"/a"[..], &b"b?c"[..]));
        assert_eq!(split_args(b"/a"), (&b"/a"[..], &b""[..]));
        assert_eq!(split_args(b"?"), (&b""[..], &b""[..]));
    }
}
