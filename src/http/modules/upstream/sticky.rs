//! Owns the words of `sticky`: how a client keeps its server.

use crate::conf::values::{self, parse_sec};
use crate::conf::{Directive, Error, Word};
use crate::http::affinity::{Cookie, Sticky, is_same_site};
use crate::http::finish::Finish;

/// As written.
#[derive(Debug, Clone)]
pub enum StickyDraft {
    Cookie(Box<CookieDraft>),
    /// Variables, with their `$`.
    Route(Vec<Word>),
}

/// `sticky cookie name [parameters]`.
#[derive(Debug, Clone)]
pub struct CookieDraft {
    name: Word,
    expires: Option<u32>,
    domain: Option<Word>,
    path: Option<Vec<u8>>,
    same_site: Option<Word>,
    http_only: bool,
    secure: bool,
}

impl StickyDraft {
    pub fn read(dir: &Directive) -> Result<Self, Error> {
        let kind = dir.arg(0);
        let rest = dir.args.get(1..).unwrap_or_default();
        match &*kind.text {
            b"cookie" => CookieDraft::read(dir, rest).map(|draft| Self::Cookie(Box::new(draft))),
            b"route" => {
                if let Some(word) = rest.iter().find(|word| !word.text.starts_with(b"$")) {
                    let shown = word.lossy();
                    return Err(word.error(format_args!("invalid variable name \"{shown}\"")));
                }
                Ok(Self::Route(rest.to_vec()))
            }
            b"learn" => Err(dir.error("\"sticky learn\" is not supported yet")),
            _ => Err(kind.error(format_args!("unknown parameter \"{}\"", kind.lossy()))),
        }
    }

    pub fn finish(&self, cx: &mut Finish) -> Sticky {
        match self {
            Self::Route(words) => {
                let var = |word: &Word| cx.variable(word.lossy().trim_start_matches('$'), word);
                Sticky { lookup: words.iter().map(var).collect(), cookie: None }
            }
            Self::Cookie(draft) => {
                let name = format!("cookie_{}", draft.name.lossy());
                let cookie = Cookie {
                    name: draft.name.text.clone(),
                    expires: draft.expires,
                    domain: draft.domain.as_ref().map(|word| cx.template(word)),
                    http_only: draft.http_only,
                    secure: draft.secure,
                    same_site: draft.same_site.as_ref().map(|word| cx.template(word)),
                    path: draft.path.clone(),
                };
                Sticky { lookup: vec![cx.variable(&name, &draft.name)], cookie: Some(cookie) }
            }
        }
    }
}

impl CookieDraft {
    fn read(dir: &Directive, words: &[Word]) -> Result<Self, Error> {
        let name = words.first().filter(|word| !word.text.is_empty());
        let Some(name) = name else { return Err(values::verdict(dir, "empty cookie name")) };
        let mut draft = Self {
            name: name.clone(),
            expires: None,
            domain: None,
            path: None,
            same_site: None,
            http_only: false,
            secure: false,
        };
        for word in words.iter().skip(1) {
            draft.parameter(dir, word)?;
        }
        Ok(draft)
    }

    fn parameter(&mut self, dir: &Directive, word: &Word) -> Result<(), Error> {
        let at = memchr::memchr(b'=', &word.text);
        let (name, value) = match at {
            Some(at) => (&word.text[..at], &word.text[at + 1..]),
            None => (&word.text[..], &b""[..]),
        };
        let shown = String::from_utf8_lossy(name);
        let fail = |what: &str| Err(values::verdict(dir, what));
        let given = Word { text: value.to_vec(), ..word.clone() };
        let again = match (name, at.is_some()) {
            (b"domain", true) => self.domain.replace(given).is_some(),
            (b"path", true) => self.path.replace(value.to_vec()).is_some(),
            (b"expires", true) => {
                let seconds = match value {
                    b"max" => Some(u32::MAX),
                    _ => parse_sec(value).and_then(|time| u32::try_from(time.as_secs()).ok()),
                };
                if seconds.is_none() {
                    return fail("invalid \"expires\" parameter value");
                }
                std::mem::replace(&mut self.expires, seconds).is_some()
            }
            (b"samesite", true) => {
                if !value.contains(&b'$') && !is_same_site(value) {
                    return fail("invalid \"samesite\" parameter value");
                }
                self.same_site.replace(given).is_some()
            }
            (b"httponly", false) => std::mem::replace(&mut self.http_only, true),
            (b"secure", false) => std::mem::replace(&mut self.secure, true),
            _ => return Err(word.error(format_args!("unknown parameter \"{}\"", word.lossy()))),
        };
        if again {
            return fail(&format!("parameter \"{shown}\" is duplicate"));
        }
        if value.is_empty() && at.is_some() {
            return fail(&format!("no value for \"{shown}\""));
        }
        Ok(())
    }
}
