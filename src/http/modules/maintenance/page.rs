//! Owns the page of a closed door: its text, and what is put into it for each client.
//!
//! Must not know why the door is closed; it is told.

use super::assets;
use super::wants::weight;
use crate::http::headers::Name;
use crate::http::request::Request;
use crate::http::uri::escape_html;
use jiff::Timestamp;
use std::io::Write;

/// What a client is told.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    /// Empty when nothing was said.
    pub reason: &'a str,
    /// The announced end, in seconds of the epoch.
    pub until: Option<u64>,
    /// Seconds.
    pub retry_after: u64,
}

/// A page, taken apart where something is to be put in.
#[derive(Debug)]
pub(super) struct Page {
    pieces: Vec<Piece>,
    languages: Vec<Vec<u8>>,
    pub content_type: &'static [u8],
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    /// The value of `lang` of the whole document.
    Language,
    Reason,
    Until,
    RetryAfter,
}

const OPEN: &[u8] = b"<!--#";
const CLOSE: &[u8] = b"-->";

impl Page {
    /// Takes a page apart; its type is that of its name.
    pub fn new(text: &[u8], name: &[u8]) -> Self {
        let content_type = match assets::content_type(name) {
            Some(b"text/html") | None if std::str::from_utf8(text).is_ok() => {
                b"text/html; charset=utf-8"
            }
            found => found.unwrap_or(b"text/html"),
        };
        let mut page = Self { pieces: Vec::new(), languages: Vec::new(), content_type };
        page.take_apart(text);
        page.find_language();
        page
    }

    fn take_apart(&mut self, text: &[u8]) {
        let mut rest = text;
        let mut plain = Vec::new();
        while let Some(at) = memchr::memmem::find(rest, OPEN) {
            let inside = &rest[at + OPEN.len()..];
            let Some(end) = memchr::memmem::find(inside, CLOSE) else { break };
            plain.extend_from_slice(&rest[..at]);
            let piece = match inside[..end].trim_ascii() {
                b"reason" => Some(Piece::Reason),
                b"until" => Some(Piece::Until),
                b"retry_after" => Some(Piece::RetryAfter),
                words => {
                    if let Some(list) = words.strip_prefix(b"languages ") {
                        self.languages = words_of(list);
                    } else {
                        // Somebody else's.
                        plain.extend_from_slice(&rest[at..at + OPEN.len() + end + CLOSE.len()]);
                    }
                    None
                }
            };
            if let Some(piece) = piece {
                self.pieces.push(Piece::Text(std::mem::take(&mut plain)));
                self.pieces.push(piece);
            }
            rest = &inside[end + CLOSE.len()..];
        }
        plain.extend_from_slice(rest);
        self.pieces.push(Piece::Text(plain));
    }

    /// A page in several languages shows that of its `html` element.
    fn find_language(&mut self) {
        let Some(Piece::Text(first)) = self.pieces.first() else { return };
        if self.languages.is_empty() {
            return;
        }
        let Some(element) = memchr::memmem::find(first, b"<html") else { return };
        let Some(end) = memchr::memchr(b'>', &first[element..]) else { return };
        let inside = &first[element..element + end];
        let Some(at) = memchr::memmem::find(inside, b"lang=\"") else { return };
        let start = element + at + b"lang=\"".len();
        let Some(length) = memchr::memchr(b'"', &first[start..]) else { return };
        let (before, after) = (first[..start].to_vec(), first[start + length..].to_vec());
        self.pieces.splice(0..1, [Piece::Text(before), Piece::Language, Piece::Text(after)]);
    }

    /// Whether it differs by `Accept-Language`.
    pub fn has_languages(&self) -> bool {
        !self.languages.is_empty()
    }

    /// The page for one client.
    pub fn render(&self, req: &Request, said: &Said<'_>) -> Vec<u8> {
        let text = |piece: &Piece| if let Piece::Text(text) = piece { text.len() } else { 128 };
        let mut out = Vec::with_capacity(self.pieces.iter().map(text).sum());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Language => out.extend_from_slice(self.language(req)),
                Piece::Reason => out.extend_from_slice(&escape_html(said.reason.as_bytes())),
                Piece::Until => put_time(said.until, &mut out),
                // Writing into a Vec cannot fail.
                Piece::RetryAfter => drop(write!(out, "{}", said.retry_after)),
            }
        }
        out
    }

    /// The language of the page that the client likes best: the first one when it likes none.
    fn language(&self, req: &Request) -> &[u8] {
        let values = req.head.headers.get_all(Name::AcceptLanguage);
        let mut best: Option<(u16, &[u8])> = None;
        for range in values.flat_map(|value| value.split(|byte| *byte == b',')) {
            let weight = weight(range);
            let Some(language) = self.find(range).filter(|_| weight > 0) else { continue };
            if best.is_none_or(|(known, _)| weight > known) {
                best = Some((weight, language));
            }
        }
        let first = self.languages.first().map(Vec::as_slice);
        best.map(|(_, language)| language).or(first).unwrap_or_default()
    }

    /// The language of the page that a language range means: `zh-CN` is `zh`.
    fn find(&self, range: &[u8]) -> Option<&[u8]> {
        let end = memchr::memchr(b';', range).unwrap_or(range.len());
        let range = range[..end].trim_ascii().to_ascii_lowercase();
        let fits = |language: &&Vec<u8>| {
            let language = language.to_ascii_lowercase();
            range.strip_prefix(&language[..]).is_some_and(|r| r.is_empty() || r.starts_with(b"-"))
        };
        self.languages.iter().find(fits).map(Vec::as_slice)
    }
}

fn words_of(list: &[u8]) -> Vec<Vec<u8>> {
    let words = list.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.map(<[u8]>::to_vec).collect()
}

/// A time for people, with the same for machines: `<time datetime="…">…</time>`; nothing for none.
fn put_time(at: Option<u64>, out: &mut Vec<u8>) {
    let moment = at.and_then(|at| i64::try_from(at).ok()).map(Timestamp::from_second);
    if let Some(Ok(moment)) = moment {
        let shown = moment.strftime("%Y-%m-%d %H:%M UTC");
        drop(write!(out, "<time datetime=\"{moment}\">{shown}</time>"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::Site;

    fn render(page: &str, languages: &str, said: &Said<'_>) -> String {
        let site = Site::new("", "listen 1;");
        let mut req = site.request();
        if !languages.is_empty() {
            req.head.headers.push(b"Accept-Language", languages.as_bytes());
        }
        let page = Page::new(page.as_bytes(), b"page.html");
        String::from_utf8(page.render(&req, said)).unwrap()
    }

    #[test]
    fn marks_are_replaced_and_all_else_stays() {
        let said = Said { reason: "a <b> & c", until: Some(1_900_000_000), retry_after: 60 };
        let text = "<p><!--#reason--></p><!--# until --><!-- x --><!--#other--> <!--#retry_after";
        assert_eq!(
            render(text, "", &said),
            "<p>a &lt;b&gt; &amp; c</p>\
             <time datetime=\"2030-03-17T17:46:40Z\">2030-03-17 17:46 UTC</time>\
             <!-- x --><!--#other--> <!--#retry_after"
        );
        assert_eq!(render("<!--#retry_after-->", "", &said), "60");
        assert_eq!(render("(<!--#until--><!--#reason-->)", "", &Said::default()), "()");
        assert_eq!(render("", "", &said), "");
    }

    #[test]
    fn the_language_is_the_clients_if_the_page_has_it() {
        let page = "<!doctype html><html class=\"x\" lang=\"en\"><!--#languages en zh pt-BR--><p lang=\"x\">";
        let shown = |accepted: &str| {
            let text = render(page, accepted, &Said::default());
            let rest = text.strip_prefix("<!doctype html><html class=\"x\" lang=\"").unwrap();
            rest.strip_suffix("\"><p lang=\"x\">").unwrap().to_owned()
        };
        for (accepted, language) in [
            ("", "en"),
            ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
            ("de, zh;q=0.2", "zh"),
            ("de, fr", "en"),
            ("en;q=0.5, ZH-hant", "zh"),
            ("zh;q=0, en", "en"),
            ("zhx", "en"),
            ("pt", "en"),
            ("pt-br", "pt-BR"),
        ] {
            assert_eq!(shown(accepted), language, "{accepted}");
        }
        let without = "<html lang=\"en\">";
        assert_eq!(render(without, "zh", &Said::default()), without);
    }

    #[test]
    fn types_follow_the_name() {
        let kind = |text: &[u8], name: &str| Page::new(text, name.as_bytes()).content_type;
        assert_eq!(kind(b"x", "/a/b.html"), b"text/html; charset=utf-8");
        assert_eq!(kind(b"x", "page"), b"text/html; charset=utf-8");
        assert_eq!(kind(b"\xff", "page.html"), b"text/html");
        assert_eq!(kind(b"{}", "page.json"), b"application/json");
    }
}
