//! Owns the guess at what a client that is turned away can make use of.
//!
//! Must not answer.

use crate::http::headers::Name;
use crate::http::method::Method;
use crate::http::request::Request;

/// What kind of answer a client understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Page,
    Json,
    Grpc,
}

pub(super) fn of(req: &Request) -> Wants {
    let body = content_type(req);
    if body.starts_with(b"application/grpc") {
        Wants::Grpc
    } else if is_json(&body) || is_script(req) || accepts(req).prefers_json() {
        Wants::Json
    } else {
        Wants::Page
    }
}

/// Whether a person is opening a page: only then a redirect leads them to one.
pub(super) fn is_navigation(req: &Request) -> bool {
    let headers = &req.head.headers;
    let mode = headers.get_str(b"sec-fetch-mode");
    matches!(req.head.method, Method::Get | Method::Head)
        && of(req) == Wants::Page
        && !headers.contains(Name::Upgrade)
        // Browsers name it when they open a page only with other methods (Fetch, section 3.2).
        && !headers.contains(Name::Origin)
        && mode.is_none_or(|mode| mode == b"navigate")
        && accepts(req).takes_pages()
}

fn content_type(req: &Request) -> Vec<u8> {
    let value = req.head.headers.get(Name::ContentType).unwrap_or_default();
    media_type(value)
}

/// A media type without its parameters, in lower case.
fn media_type(value: &[u8]) -> Vec<u8> {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    value[..end].trim_ascii().to_ascii_lowercase()
}

fn is_json(name: &[u8]) -> bool {
    name == b"application/json" || name.ends_with(b"+json")
}

/// The field that scripts add to tell themselves from pages.
fn is_script(req: &Request) -> bool {
    req.head.headers.get_str(b"x-requested-with").is_some()
}

/// What `Accept` says of the two kinds: weight in thousandths and place of the best of each.
#[derive(Debug, Default, PartialEq, Eq)]
struct Accepts {
    json: Option<(u16, usize)>,
    page: Option<(u16, usize)>,
    /// `*/*` is among it, or there is no such field.
    anything: bool,
}

impl Accepts {
    fn prefers_json(&self) -> bool {
        match (self.json, self.page) {
            (Some(_), None) => true,
            (Some((json, before)), Some((page, after))) => {
                json > page || (json == page && before < after)
            }
            (None, _) => false,
        }
    }

    fn takes_pages(&self) -> bool {
        self.page.is_some() || self.anything
    }
}

fn accepts(req: &Request) -> Accepts {
    let mut accepts = Accepts::default();
    let values = req.head.headers.get_all(Name::Accept);
    let ranges = values.flat_map(|value| value.split(|byte| *byte == b','));
    let mut some = false;
    for (at, range) in ranges.enumerate() {
        some = true;
        let weight = weight(range);
        if weight == 0 {
            continue;
        }
        let better = |known: Option<(u16, usize)>| known.is_none_or(|(best, _)| weight > best);
        match &media_type(range)[..] {
            b"text/html" | b"application/xhtml+xml" if better(accepts.page) => {
                accepts.page = Some((weight, at));
            }
            b"*/*" => accepts.anything = true,
            name if is_json(name) && better(accepts.json) => accepts.json = Some((weight, at)),
            _ => {}
        }
    }
    accepts.anything |= !some;
    accepts
}

/// `q` in thousandths (RFC 9110, section 12.4.2); what cannot be read weighs all.
pub(super) fn weight(range: &[u8]) -> u16 {
    let mut parameters = range.split(|byte| *byte == b';').skip(1).map(<[u8]>::trim_ascii);
    let q = |text: &[u8]| text.strip_prefix(b"q=").or(text.strip_prefix(b"Q=")).map(<[u8]>::to_vec);
    let Some(q) = parameters.find_map(q) else { return 1000 };
    let number = std::str::from_utf8(&q).ok().and_then(|text| text.parse::<f32>().ok());
    let thousandths = number.map_or(1000.0, |number| (number * 1000.0).clamp(0.0, 1000.0));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    let weight = thousandths as u16;
    weight
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::Site;

    fn request(method: Method, fields: &[(&str, &str)]) -> Request {
        let site = Site::new("", "listen 1;");
        let mut req = site.request();
        req.head.method = method;
        for (name, value) in fields {
            req.head.headers.push(name.as_bytes(), value.as_bytes());
        }
        req
    }

    #[test]
    fn json_goes_to_who_names_it_before_pages() {
        for (accept, expected) in [
            ("application/json", Wants::Json),
            ("application/json, text/plain, */*", Wants::Json),
            ("application/problem+json;q=0.9, text/html;q=0.8", Wants::Json),
            ("application/json, text/html", Wants::Json),
            ("text/html, application/json", Wants::Page),
            ("text/html,application/xhtml+xml,application/json;q=0.9", Wants::Page),
            ("text/html,*/*;q=0.8", Wants::Page),
            ("application/json;q=0, */*", Wants::Page),
            ("*/*", Wants::Page),
            ("", Wants::Page),
        ] {
            assert_eq!(of(&request(Method::Get, &[("Accept", accept)])), expected, "{accept}");
        }
        assert_eq!(of(&request(Method::Get, &[])), Wants::Page);
    }

    #[test]
    fn a_body_and_a_script_give_themselves_away() {
        for (name, value, expected) in [
            ("Content-Type", "application/json; charset=utf-8", Wants::Json),
            ("Content-Type", "Application/VND.api+JSON", Wants::Json),
            ("Content-Type", "application/x-www-form-urlencoded", Wants::Page),
            ("Content-Type", "application/grpc", Wants::Grpc),
            ("Content-Type", "application/grpc-web+proto", Wants::Grpc),
            ("X-Requested-With", "XMLHttpRequest", Wants::Json),
        ] {
            assert_eq!(of(&request(Method::Post, &[(name, value)])), expected, "{value}");
        }
    }

    #[test]
    fn only_pages_being_opened_are_navigations() {
        let asks = |method, fields: &[(&str, &str)]| is_navigation(&request(method, fields));
        assert!(asks(Method::Get, &[]));
        assert!(asks(Method::Head, &[("Accept", "*/*")]));
        assert!(asks(Method::Get, &[("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")]));
        assert!(!asks(Method::Post, &[("Accept", "text/html")]));
        assert!(!asks(Method::Options, &[]));
        assert!(!asks(Method::Get, &[("Accept", "application/json")]));
        assert!(!asks(Method::Get, &[("Accept", "text/event-stream")]));
        assert!(!asks(Method::Get, &[("Accept", "*/*"), ("Sec-Fetch-Mode", "cors")]));
        assert!(!asks(Method::Get, &[("Accept", "*/*"), ("Sec-Fetch-Mode", "no-cors")]));
        assert!(!asks(Method::Get, &[("X-Requested-With", "fetch")]));
        assert!(!asks(Method::Get, &[("Upgrade", "websocket")]));
        assert!(!asks(Method::Get, &[("Origin", "https://app.example.com")]));
        assert!(!asks(Method::Get, &[("Content-Type", "application/grpc")]));
    }

    #[test]
    fn weights() {
        for (range, expected) in [
            ("a/b", 1000),
            ("a/b;q=0.5", 500),
            ("a/b; level=1; Q=0.25", 250),
            ("a/b;q=0", 0),
            ("a/b;q=7", 1000),
            ("a/b;q=-1", 0),
            ("a/b;q=x", 1000),
            ("a/b;q=NaN", 0),
        ] {
            assert_eq!(weight(range.as_bytes()), expected, "{range}");
        }
    }
}
