//! Owns `charset`: what the head says of an answer's charset, and a body in another than it is there in.
//!
//! Must not guess a charset.

mod recode;
mod table;

use super::inherit;
use crate::conf::{Args, Contexts, Row, Word, values};
use crate::http::draft::{HSL, HSLI, Scope, block, row};
use crate::http::filter::Coded;
use crate::http::finish::Finish;
use crate::http::media_types::MediaTypes;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::vars::Variable;
use recode::Recoder;
use std::sync::{Arc, LazyLock};
use table::{Map, Way, same};

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    charset: Option<Word>,
    source: Option<Word>,
    override_charset: Option<bool>,
    types: Option<MediaTypes>,
    /// `http` only.
    maps: Arc<Vec<Arc<Map>>>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// `None`: nothing is said of charsets.
    charset: Option<Template>,
    source: Option<Template>,
    override_charset: bool,
    types: MediaTypes,
    maps: Arc<Vec<Arc<Map>>>,
}

impl Conf {
    /// Whether pages are to be UTF-8.
    pub fn is_utf8(&self, req: &Request) -> bool {
        self.charset.as_ref().is_some_and(|name| name.value(req).eq_ignore_ascii_case(b"utf-8"))
    }

    /// Whether the configuration names this charset.
    fn knows(&self, name: &[u8]) -> bool {
        let said = [&self.charset, &self.source].into_iter().flatten();
        self.maps.iter().any(|map| map.knows(name))
            || said.filter_map(Template::as_literal).any(|said| same(said, name))
    }
}

/// The types that have a charset, unless `charset_types` says otherwise.
fn usual_types() -> MediaTypes {
    static TYPES: LazyLock<MediaTypes> = LazyLock::new(|| {
        MediaTypes::of(&[
            "text/html",
            "text/xml",
            "text/plain",
            "text/vnd.wap.wml",
            "application/javascript",
            "application/rss+xml",
        ])
    });
    TYPES.clone()
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; charset, source, override_charset, types);
        self.maps.clone_from(&outer.maps);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let charset = self.charset.as_ref().filter(|word| word.text != b"off");
        self.check(charset, cx);
        Conf {
            charset: charset.map(|word| compile(word, cx)),
            source: self.source.as_ref().map(|word| compile(word, cx)),
            override_charset: self.override_charset.unwrap_or(false),
            types: self.types.clone().unwrap_or_else(usual_types),
            maps: self.maps.clone(),
        }
    }

    /// Two charsets that are known now must have a map between them.
    fn check(&self, charset: Option<&Word>, cx: &mut Finish) {
        let (Some(to), Some(from)) = (charset, &self.source) else { return };
        let known = !is_variable(to) && !is_variable(from);
        if known
            && !same(&to.text, &from.text)
            && between(&self.maps, &from.text, &to.text).is_none()
        {
            cx.report(to.error(no_map(&from.text, &to.text)));
        }
    }
}

fn is_variable(word: &Word) -> bool {
    word.text.starts_with(b"$")
}

/// Only a word that begins with a dollar sign is a variable.
fn compile(word: &Word, cx: &mut Finish) -> Template {
    if is_variable(word) { cx.template(word) } else { Template::literal(&word.text) }
}

/// The map between two charsets.
fn between<'a>(maps: &'a [Arc<Map>], from: &[u8], to: &[u8]) -> Option<&'a Arc<Map>> {
    maps.iter().find(|map| map.way(from, to).is_some())
}

fn no_map(from: &[u8], to: &[u8]) -> String {
    let (from, to) = (String::from_utf8_lossy(from), String::from_utf8_lossy(to));
    format!("no \"charset_map\" between the charsets \"{from}\" and \"{to}\"")
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "charset",
        HSLI,
        Args::Exactly(1),
        "Adds a charset to `Content-Type`, and recodes the body to it if it is there in another; `off` is the \
         default.",
        |s, dir, _| values::word(&mut s.drafts.charset.charset, dir),
    ),
    row(
        "source_charset",
        HSLI,
        Args::Exactly(1),
        "Charset that bodies are there in, unless the answer says so itself.",
        |s, dir, _| values::word(&mut s.drafts.charset.source, dir),
    ),
    row(
        "override_charset",
        HSLI,
        Args::Flag,
        "Recodes answers of upstream servers that name a charset, too (default off).",
        |s, dir, _| values::flag(&mut s.drafts.charset.override_charset, dir),
    ),
    row(
        "charset_types",
        HSL,
        Args::AtLeast(1),
        "Media types that have a charset besides `text/html`; `*` is every type.",
        |s, dir, env| {
            MediaTypes::read(&mut s.drafts.charset.types, dir, env);
            Ok(())
        },
    ),
    block(
        "charset_map",
        Contexts::HTTP,
        Args::Exactly(2),
        "Bytes of one charset and what they are in another, hexadecimal: `C0 FE;`, or `C0 D18E;` for `utf-8`.",
        |s, dir, env| {
            let maps = &mut s.drafts.charset.maps;
            let map = Map::read(dir, maps, env)?;
            Arc::make_mut(maps).push(Arc::new(map));
            Ok(())
        },
    ),
];

pub static VARIABLES: &[Variable] = &[];

/// Header filter.
pub fn run(req: &mut Request) {
    if req.reply.content_type.is_none() {
        return;
    }
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).charset;
    let Some(to) = target(req, conf) else { return };
    let own = charset_of(&req.reply).map(<[u8]>::to_vec);
    let from = own.or_else(|| conf.source.as_ref().map(|name| name.value(req).into_owned()));
    let Some(from) = from.filter(|from| !same(from, &to)) else {
        announce(&mut req.reply, &to);
        return;
    };
    if req.reply.is_encoded() {
        return;
    }
    let Some(map) = between(&conf.maps, &from, &to) else {
        req.log_error(format_args!("{}", no_map(&from, &to)));
        return;
    };
    let reply = &mut req.reply;
    if !matches!(map.way(&from, &to), Some(Way::Bytes(_))) {
        reply.clear_length();
    }
    announce(reply, &to);
    let recoder = Recoder::new(map.clone(), from, to);
    reply.body.filter(Box::new(Coded::new(recoder, reply.unbuffered)));
}

/// The charset that the answer is to have; `None` if it stays as it is.
fn target(req: &Request, conf: &Conf) -> Option<Vec<u8>> {
    let reply = &req.reply;
    if let Some(name) = reply.override_charset.as_ref().filter(|name| !name.is_empty()) {
        let known = conf.knows(name);
        if !known {
            let name = String::from_utf8_lossy(name);
            req.log_error(format_args!("unknown charset \"{name}\" to override"));
        }
        return known.then(|| name.clone());
    }
    let charset = conf.charset.as_ref()?;
    let concerned = match charset_of(reply) {
        Some(_) => conf.override_charset,
        None => conf.types.match_reply(reply),
    };
    concerned.then(|| charset.value(req).into_owned()).filter(|name| !name.is_empty())
}

/// The media type without `charset`, and the charset, without quotes.
fn split(content_type: &[u8]) -> (&[u8], Option<&[u8]>) {
    for at in memchr::memchr_iter(b';', content_type) {
        let rest = content_type[at + 1..].trim_ascii_start();
        if let Some((name, value)) = rest.split_at_checked(8)
            && name.eq_ignore_ascii_case(b"charset=")
        {
            let value = value.strip_prefix(b"\"").unwrap_or(value);
            return (&content_type[..at], Some(value.strip_suffix(b"\"").unwrap_or(value)));
        }
    }
    (content_type, None)
}

/// The charset that an answer names.
fn charset_of(reply: &Reply) -> Option<&[u8]> {
    let charset = reply.content_type.as_deref().and_then(|full| split(full).1);
    charset.filter(|charset| !charset.is_empty())
}

/// Names the charset. A redirect gets none: old browsers took it for that of the next page.
fn announce(reply: &mut Reply, charset: &[u8]) {
    let Some(full) = &reply.content_type else { return };
    let mut named = split(full).0.to_vec();
    if !matches!(reply.status, 301 | 302) {
        named.extend_from_slice(b"; charset=");
        named.extend_from_slice(charset);
    }
    reply.content_type = Some(named);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::errors;

    #[test]
    fn a_charset_is_told_from_other_parameters() {
        let split = |full: &'static str| {
            let (name, charset) = split(full.as_bytes());
            (String::from_utf8_lossy(name), charset.map(String::from_utf8_lossy))
        };
        assert_eq!(split("text/html"), ("text/html".into(), None));
        assert_eq!(split("text/html; Charset=x"), ("text/html".into(), Some("x".into())));
        assert_eq!(split("a/b; c=d;charset=\"x\""), ("a/b; c=d".into(), Some("x".into())));
        assert_eq!(split("a/b; charset"), ("a/b; charset".into(), None));
    }

    #[test]
    fn maps_are_checked() {
        let map =
            |names: &str, lines: &str| errors(&format!("charset_map {names} {{ {lines} }}"), "");
        assert_eq!(map("a b", "80 81; fF 0;"), [""; 0]);
        assert_eq!(map("a utf-8", "80 d0b6; 81 E282AC;"), [""; 0]);
        assert_eq!(map("a A", ""), ["\"charset_map\" between the same charsets \"a\" and \"A\""]);
        assert_eq!(
            map("UTF-8 a", ""),
            ["\"charset_map\" with \"utf-8\" charset should be given in the second column"]
        );
        assert_eq!(map("a b", "100 1;"), ["invalid value \"100\""]);
        assert_eq!(map("a b", "1 +1;"), ["invalid value \"+1\""]);
        assert_eq!(map("a b", "1;"), ["invalid parameters number"]);
        for value in ["d0b", "d0", "41", "d0b6d0b6", "f09f9880", "x0b6"] {
            let expected = format!("invalid value \"{value}\"");
            assert_eq!(map("a utf-8", &format!("80 {value};")), [expected]);
        }
        let twice = errors("charset_map a b { } charset_map B A { }", "");
        assert_eq!(twice, ["duplicate \"charset_map\" between \"B\" and \"A\""]);
    }

    #[test]
    fn charsets_that_are_known_need_a_map() {
        let maps = "charset_map a b { } charset a;";
        assert_eq!(errors(maps, "source_charset B; charset $arg_x;"), [""; 0]);
        assert_eq!(errors(maps, "source_charset B; location /x { charset b; }"), [""; 0]);
        assert_eq!(
            errors(maps, "source_charset c;"),
            ["no \"charset_map\" between the charsets \"c\" and \"a\""]
        );
    }
}
