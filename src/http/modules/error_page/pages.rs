//! Owns the default pages, in nginx's words, and the kindnesses to old browsers.
//!
//! Must not decide whether a default page is sent.

use crate::http::body::Body;
use crate::http::h1::head::Version;
use crate::http::headers::Name;
use crate::http::request::Request;
use crate::http::uri::{Set, escape};

/// Six of these make a page longer than the 512 bytes below which a browser shows its own.
const PADDING: &str = "<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n";

/// What a page says: title, heading, and a line more for the statuses that only nginx has.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    title: &'static str,
    heading: &'static str,
    more: Option<&'static str>,
}

/// `None`: the answer has no body.
fn words(status: u16) -> Option<Words> {
    let title = match status {
        301 => "301 Moved Permanently",
        302 => "302 Found",
        303 => "303 See Other",
        307 => "307 Temporary Redirect",
        308 => "308 Permanent Redirect",
        400 => "400 Bad Request",
        401 => "401 Authorization Required",
        402 => "402 Payment Required",
        403 => "403 Forbidden",
        404 | 498 => "404 Not Found",
        405 => "405 Not Allowed",
        406 => "406 Not Acceptable",
        407 => "407 Proxy Authentication Required",
        408 => "408 Request Time-out",
        409 => "409 Conflict",
        410 => "410 Gone",
        411 => "411 Length Required",
        412 => "412 Precondition Failed",
        413 => "413 Request Entity Too Large",
        414 => "414 Request-URI Too Large",
        415 => "415 Unsupported Media Type",
        416 => "416 Requested Range Not Satisfiable",
        421 => "421 Misdirected Request",
        429 => "429 Too Many Requests",
        494..=497 => return special(status),
        500 => "500 Internal Server Error",
        501 => "501 Not Implemented",
        502 => "502 Bad Gateway",
        503 => "503 Service Temporarily Unavailable",
        504 => "504 Gateway Time-out",
        505 => "505 HTTP Version Not Supported",
        507 => "507 Insufficient Storage",
        _ => return None,
    };
    Some(Words { title, heading: title, more: None })
}

/// The statuses that clients see as 400.
fn special(status: u16) -> Option<Words> {
    let (title, more) = match status {
        494 => ("400 Request Header Or Cookie Too Large", "Request Header Or Cookie Too Large"),
        495 => ("400 The SSL certificate error", "The SSL certificate error"),
        496 => ("400 No required SSL certificate was sent", "No required SSL certificate was sent"),
        497 => (
            "400 The plain HTTP request was sent to HTTPS port",
            "The plain HTTP request was sent to HTTPS port",
        ),
        _ => return None,
    };
    Some(Words { title, heading: "400 Bad Request", more: Some(more) })
}

/// A whole page; `foot` is the server's name.
fn html(words: &Words, foot: &str, padded: bool) -> String {
    let Words { title, heading, more } = words;
    let more = more.map_or_else(String::new, |more| format!("<center>{more}</center>\r\n"));
    let padding = if padded { PADDING.repeat(6) } else { String::new() };
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
         <center><h1>{heading}</h1></center>\r\n{more}\
         <hr><center>{foot}</center>\r\n</body>\r\n</html>\r\n{padding}"
    )
}

/// Makes the reply nginx's own page for a status. Fields set before (`WWW-Authenticate`,
/// `Location`) stay; those that describe another body go.
pub fn default_page(req: &mut Request, status: u16) {
    let snapshot = req.snapshot.clone();
    let conf = snapshot.conf(req.location);
    let page = words(status).map(|words| {
        let padded = conf.error_page.msie_padding
            && status >= 400
            && req.head.version >= Version::Http10
            && (is_msie(req) || is_chrome(req));
        html(&words, conf.identity.server, padded)
    });
    let status = if matches!(status, 494..=497) { 400 } else { status };
    replace_body(req, status, page);
}

/// A page that leads to `Location` by itself, for browsers that misread redirects. False when
/// there is nowhere to lead to.
pub fn refresh(req: &mut Request) -> bool {
    let Some(location) = req.reply.location.take() else { return false };
    let address = escape(&location, Set::Refresh);
    let address = String::from_utf8_lossy(&address);
    let page = format!(
        "<html><head><meta http-equiv=\"Refresh\" content=\"0; URL={address}\"></head>\
         <body></body></html>\r\n"
    );
    replace_body(req, 200, Some(page));
    true
}

fn replace_body(req: &mut Request, status: u16, page: Option<String>) {
    req.error_status = status;
    let reply = &mut req.reply;
    reply.status = status;
    reply.reason = None;
    reply.content_type = page.as_ref().map(|_| b"text/html".to_vec());
    reply.content_length = match &page {
        Some(page) => Some(page.len() as u64),
        None => (!matches!(status, 204 | 304)).then_some(0),
    };
    reply.body = page.map_or(Body::Empty, |page| Body::Bytes(page.into_bytes().into()));
    reply.last_modified = None;
    reply.allow_ranges = false;
    reply.truncated = false;
    for name in [Name::ContentLength, Name::AcceptRanges, Name::LastModified, Name::ETag] {
        reply.headers.remove(name);
    }
}

fn user_agent(req: &Request) -> &[u8] {
    req.head.headers.get(Name::UserAgent).unwrap_or_default()
}

fn has(text: &[u8], part: &str) -> bool {
    memchr::memmem::find(text, part.as_bytes()).is_some()
}

/// Internet Explorer: `MSIE ` with a version after it, and not an Opera in disguise.
pub fn is_msie(req: &Request) -> bool {
    says_msie(user_agent(req))
}

fn says_msie(agent: &[u8]) -> bool {
    let versioned = memchr::memmem::find(agent, b"MSIE ").is_some_and(|at| at + 7 < agent.len());
    versioned && !has(agent, "Opera")
}

fn is_chrome(req: &Request) -> bool {
    says_chrome(user_agent(req))
}

/// Chrome, unless it names itself something else first.
fn says_chrome(agent: &[u8]) -> bool {
    has(agent, "Chrome/") && !has(agent, "Opera") && !has(agent, "Gecko/") && !says_msie(agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_nginx_s_to_the_byte() {
        let page = html(&words(404).unwrap(), "nginx/1.31.5", false);
        let want = "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n\
                    <center><h1>404 Not Found</h1></center>\r\n\
                    <hr><center>nginx/1.31.5</center>\r\n</body>\r\n</html>\r\n";
        assert_eq!(page, want);
        assert_eq!(html(&words(404).unwrap(), "nginx/1.31.5", true).len(), want.len() + 6 * 67);
    }

    #[test]
    fn private_statuses_explain_themselves() {
        let page = html(&words(494).unwrap(), "x", false);
        assert!(page.contains("<title>400 Request Header Or Cookie Too Large</title>"));
        assert!(page.contains("<h1>400 Bad Request</h1></center>\r\n<center>Request Header"));
        assert_eq!(words(499), None);
        assert_eq!(words(304), None);
        assert_eq!(words(418), None);
        assert_eq!(words(498), words(404));
    }

    #[test]
    fn browsers_are_known_by_nginx_s_marks() {
        assert!(says_msie(b"Mozilla/4.0 (compatible; MSIE 6.0; Windows)"));
        assert!(!says_msie(b"MSIE 6"));
        assert!(!says_msie(b"Mozilla/4.0 (compatible; MSIE 6.0; Windows) Opera 8"));
        assert!(says_chrome(b"Mozilla/5.0 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"));
        assert!(!says_chrome(b"Mozilla/5.0 Gecko/20100101 Firefox/115 Chrome/1"));
        assert!(!says_chrome(b"curl/8.0"));
    }
}
