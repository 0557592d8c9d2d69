//! Owns `proxy_cookie_domain`, `proxy_cookie_path` and `proxy_cookie_flags`: the cookies of an answer,
//! told in the client's terms.

use super::redirect::{From, apply};
use crate::conf::{Directive, Error, Word, values};
use crate::http::finish::Finish;
use crate::http::modules::inherit;
use crate::http::regex::Regex;
use crate::http::request::{Captures, Request};
use crate::http::template::Template;
use std::borrow::Cow;

/// The lines of one directive, or `off`.
#[derive(Debug, Clone)]
pub enum Lines<T> {
    Off,
    Some(Vec<T>),
}

/// As written: pattern and replacement, or pattern and flags.
#[derive(Debug, Clone, Default)]
pub struct CookiesDraft {
    pub domain: Option<Lines<(Word, Word)>>,
    pub path: Option<Lines<(Word, Word)>>,
    pub flags: Option<Lines<(Word, Vec<Word>)>>,
}

/// In force; `None` where nothing is changed.
#[derive(Debug, Default)]
pub struct Cookies {
    domains: Vec<(From, Template)>,
    paths: Vec<(From, Template)>,
    flags: Vec<(Pattern, Vec<Template>)>,
}

/// Which cookies flags are for, by their names.
#[derive(Debug)]
enum Pattern {
    Plain(Template),
    Regex(Regex),
}

/// A word of `proxy_cookie_flags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flag {
    On(&'static str, Option<&'static str>),
    Off(&'static str),
}

/// A part of a cookie between two semicolons.
struct Attribute<'a> {
    key: Cow<'a, [u8]>,
    value: Option<Cow<'a, [u8]>>,
}

impl CookiesDraft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; domain, path, flags);
    }

    pub fn finish(&self, cx: &mut Finish) -> Option<Cookies> {
        let cookies = Cookies {
            domains: lines(self.domain.as_ref(), |(from, to)| domain(from, to, cx)),
            paths: lines(self.path.as_ref(), |(from, to)| path(from, to, cx)),
            flags: lines(self.flags.as_ref(), |(name, flags)| {
                let pattern = match name.text.strip_prefix(b"~") {
                    None => Pattern::Plain(cx.template(name)),
                    Some(_) => Pattern::Regex(regex(name, 1, true, cx)?),
                };
                Some((pattern, flags.iter().map(|flag| cx.template(flag)).collect()))
            }),
        };
        let any =
            !(cookies.domains.is_empty() && cookies.paths.is_empty() && cookies.flags.is_empty());
        any.then_some(cookies)
    }
}

/// Takes a line of one of the directives.
pub fn read<T>(
    slot: &mut Option<Lines<T>>,
    dir: &Directive,
    line: impl FnOnce(&Directive) -> T,
) -> Result<(), Error> {
    if let [word] = &dir.args[..] {
        values::once(slot, dir)?;
        if word.text != b"off" {
            return Err(word.error(format_args!("invalid parameter \"{}\"", word.lossy())));
        }
        *slot = Some(Lines::Off);
        return Ok(());
    }
    match slot.get_or_insert_with(|| Lines::Some(Vec::new())) {
        Lines::Off => Err(values::verdict(dir, "is duplicate")),
        Lines::Some(lines) => {
            lines.push(line(dir));
            Ok(())
        }
    }
}

fn lines<T, U>(written: Option<&Lines<T>>, compile: impl FnMut(&T) -> Option<U>) -> Vec<U> {
    match written {
        Some(Lines::Some(lines)) => lines.iter().filter_map(compile).collect(),
        Some(Lines::Off) | None => Vec::new(),
    }
}

/// A leading dot says nothing that the name without it does not say (RFC 6265, section 5.2.3).
fn domain(from: &Word, to: &Word, cx: &mut Finish) -> Option<(From, Template)> {
    if from.text.starts_with(b"~") {
        return Some((From::Regex(regex(from, 1, true, cx)?), cx.template(to)));
    }
    let bare = |word: &Word| word.text.strip_prefix(b".").unwrap_or(&word.text).to_vec();
    let pattern = cx.template_of(&bare(from), from);
    Some((From::Domain(pattern), cx.template_of(&bare(to), to)))
}

fn path(from: &Word, to: &Word, cx: &mut Finish) -> Option<(From, Template)> {
    let from = match &*from.text {
        [b'~', b'*', ..] => From::Regex(regex(from, 2, true, cx)?),
        [b'~', ..] => From::Regex(regex(from, 1, false, cx)?),
        _ => From::Prefix(cx.template(from)),
    };
    Some((from, cx.template(to)))
}

fn regex(word: &Word, skip: usize, caseless: bool, cx: &mut Finish) -> Option<Regex> {
    let text = word.str().map_err(|error| cx.report(error)).ok()?;
    let text = text.get(skip..)?.to_owned();
    cx.regex(word, &text, caseless)
}

impl Cookies {
    /// The value of a Set-Cookie field, if anything in it changes.
    pub fn rewrite(&self, req: &Request, value: &[u8]) -> Option<Vec<u8>> {
        let mut attributes: Vec<_> = value.split(|b| *b == b';').map(attribute).collect();
        attributes.first()?.value.as_ref()?;
        let mut changed = false;
        for attribute in attributes.iter_mut().skip(1) {
            let rules = match &*attribute.key.to_ascii_lowercase() {
                b"domain" => &self.domains,
                b"path" => &self.paths,
                _ => continue,
            };
            let Some(value) = &attribute.value else { continue };
            let new = rules.iter().find_map(|(from, to)| apply(req, from, to, value));
            if let Some(new) = new {
                attribute.value = Some(Cow::Owned(new));
                changed = true;
            }
        }
        let flags = self.flags_of(req, &attributes.first()?.key);
        for flag in &flags {
            set(&mut attributes, *flag);
        }
        (changed || !flags.is_empty()).then(|| written(&attributes))
    }

    /// The flags of the first line that is for this cookie.
    fn flags_of(&self, req: &Request, name: &[u8]) -> Vec<Flag> {
        let suits = |(pattern, _): &&(Pattern, Vec<Template>)| match pattern {
            Pattern::Plain(pattern) => pattern.value(req).eq_ignore_ascii_case(name),
            Pattern::Regex(regex) => regex.apply(name, &mut Captures::default(), &req.slots),
        };
        let Some((_, words)) = self.flags.iter().find(suits) else { return Vec::new() };
        words.iter().filter_map(|word| flag(&word.value(req))).collect()
    }
}

/// Splits `key = value` and takes the spaces away.
fn attribute(part: &[u8]) -> Attribute<'_> {
    let (key, value) = match memchr::memchr(b'=', part) {
        Some(at) => (&part[..at], Some(&part[at + 1..])),
        None => (part, None),
    };
    let trim = |text: &'_ [u8]| -> (usize, usize) {
        let start = text.iter().position(|b| *b != b' ').unwrap_or(text.len());
        let end = text.iter().rposition(|b| *b != b' ').map_or(start, |at| at + 1);
        (start, end)
    };
    let (start, end) = trim(key);
    let value = value.map(|value| {
        let (start, end) = trim(value);
        Cow::Borrowed(&value[start..end])
    });
    Attribute { key: Cow::Borrowed(&key[start..end]), value }
}

/// What a word of `proxy_cookie_flags` asks for; others are left out, as in nginx.
fn flag(word: &[u8]) -> Option<Flag> {
    Some(match &*word.to_ascii_lowercase() {
        b"secure" => Flag::On("Secure", None),
        b"nosecure" => Flag::Off("Secure"),
        b"httponly" => Flag::On("HttpOnly", None),
        b"nohttponly" => Flag::Off("HttpOnly"),
        b"samesite=strict" => Flag::On("SameSite", Some("Strict")),
        b"samesite=lax" => Flag::On("SameSite", Some("Lax")),
        b"samesite=none" => Flag::On("SameSite", Some("None")),
        b"nosamesite" => Flag::Off("SameSite"),
        _ => return None,
    })
}

fn set(attributes: &mut Vec<Attribute<'_>>, flag: Flag) {
    let is =
        |attribute: &Attribute<'_>, name: &str| attribute.key.eq_ignore_ascii_case(name.as_bytes());
    match flag {
        Flag::Off(name) => {
            let mut first = true;
            attributes.retain(|attribute| std::mem::take(&mut first) || !is(attribute, name));
        }
        Flag::On(name, value) => {
            let known = attributes.iter_mut().skip(1).find(|attribute| is(attribute, name));
            let value = value.map(|value| Cow::Borrowed(value.as_bytes()));
            let Some(attribute) = known else {
                attributes.push(Attribute { key: Cow::Borrowed(name.as_bytes()), value });
                return;
            };
            let same = |old: &[u8], new: &[u8]| old.eq_ignore_ascii_case(new);
            match (&attribute.value, &value) {
                (Some(old), Some(new)) if same(old, new) => {}
                (_, None) => {}
                _ => *attribute = Attribute { key: Cow::Borrowed(name.as_bytes()), value },
            }
        }
    }
}

fn written(attributes: &[Attribute<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, Attribute { key, value }) in attributes.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(key);
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::http::fixture::{Site, errors};

    fn rewritten(lines: &str, value: &str) -> Option<String> {
        let site = Site::new("", &format!("listen 1; {lines}"));
        let req = site.request();
        let cookies = req.conf().proxy.cookies.as_ref()?;
        Some(String::from_utf8(cookies.rewrite(&req, value.as_bytes())?).unwrap())
    }

    #[test]
    fn domains_and_paths_are_told_in_the_clients_terms() {
        for (lines, value, expected) in [
            ("proxy_cookie_domain a.b .c;", "k=v; domain=A.b; x", Some("k=v; domain=c; x")),
            ("proxy_cookie_domain a.b c;", "k=v;Domain=.a.b", Some("k=v; Domain=.c")),
            ("proxy_cookie_domain a.b c;", "k=v; domain=x.a.b", None),
            ("proxy_cookie_domain ~^x\\.(.*)$ $1;", "k=v; domain=X.a.b", Some("k=v; domain=a.b")),
            ("proxy_cookie_path /one/ /;", "k=v; path=/one/two", Some("k=v; path=/two")),
            ("proxy_cookie_path ~*^/ONE(.*) $1;", "k=v; path=/one/two", Some("k=v; path=/two")),
            ("proxy_cookie_path /one/ /;", "k; path=/one/two", None),
            ("proxy_cookie_path off;", "k=v; path=/one/two", None),
        ] {
            assert_eq!(rewritten(lines, value).as_deref(), expected, "{lines} {value}");
        }
    }

    #[test]
    fn flags_are_set_and_taken_away() {
        for (flags, value, expected) in [
            ("secure httponly", "k=v", Some("k=v; Secure; HttpOnly")),
            ("secure", "k=v; secure", Some("k=v; secure")),
            ("nosecure nohttponly", "k=v; Secure; a; HTTPonly", Some("k=v; a")),
            ("samesite=lax", "k=v; SAMESITE=none", Some("k=v; SameSite=Lax")),
            ("samesite=lax", "k=v; samesite=LAX", Some("k=v; samesite=LAX")),
            ("nosamesite", "k=v; samesite=LAX", Some("k=v")),
            ("unheard-of", "k=v", None),
        ] {
            let lines = format!("proxy_cookie_flags ~^K$ {flags};");
            assert_eq!(rewritten(&lines, value).as_deref(), expected, "{flags} {value}");
        }
        assert_eq!(rewritten("proxy_cookie_flags j secure;", "k=v"), None);
    }

    #[test]
    fn off_stands_alone() {
        for (lines, message) in [
            ("proxy_cookie_path on;", "invalid parameter \"on\""),
            (
                "proxy_cookie_path off; proxy_cookie_path a b;",
                "\"proxy_cookie_path\" directive is duplicate",
            ),
            (
                "proxy_cookie_flags a secure; proxy_cookie_flags off;",
                "\"proxy_cookie_flags\" directive is duplicate",
            ),
        ] {
            assert_eq!(errors(lines, "listen 1;"), [message]);
        }
    }
}
