//! Owns the words of `sticky`: how a client keeps its server.

use crate::conf::values::{self, parse_msec, parse_sec, parse_size};
use crate::conf::{Directive, Error, Word};
use crate::http::affinity::{Cookie, Learn, Sticky, is_same_site};
use crate::http::finish::Finish;
use crate::http::template::Template;
use crate::http::vars::Var;
use crate::http::zones::SharedZone;
use crate::zone::keyed::{Kind, Spec};
use std::time::Duration;

/// As written.
#[derive(Debug, Clone)]
pub enum StickyDraft {
    Cookie(Box<CookieDraft>),
    /// Variables, with their `$`.
    Route(Vec<Word>),
    Learn(Box<LearnDraft>),
}

/// `sticky learn create=$variable lookup=$variable zone=name:size [parameters]`.
#[derive(Debug, Clone, Default)]
pub struct LearnDraft {
    create: Vec<Word>,
    lookup: Vec<Word>,
    zone: Option<(Word, Vec<u8>, u64)>,
    timeout: Option<Duration>,
    from_head: bool,
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
            b"learn" => LearnDraft::read(dir, rest).map(|draft| Self::Learn(Box::new(draft))),
            _ => Err(kind.error(format_args!("unknown parameter \"{}\"", kind.lossy()))),
        }
    }

    pub fn finish(&self, upstream: &Word, cx: &mut Finish) -> Sticky {
        match self {
            Self::Learn(draft) => draft.finish(upstream, cx),
            Self::Route(words) => {
                Sticky { lookup: variables(words, cx), cookie: None, learn: None }
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
                let lookup = vec![cx.variable(&name, &draft.name)];
                Sticky { lookup, cookie: Some(cookie), learn: None }
            }
        }
    }
}

fn variables(words: &[Word], cx: &mut Finish) -> Vec<Var> {
    let var = |word: &Word| cx.variable(word.lossy().trim_start_matches('$'), word);
    words.iter().map(var).collect()
}

impl LearnDraft {
    fn read(dir: &Directive, words: &[Word]) -> Result<Self, Error> {
        let mut draft = Self::default();
        for word in words {
            draft.parameter(dir, word)?;
        }
        let missing = |what: &str| {
            Err(values::verdict(dir, &format!("\"{what}\" parameter is not specified")))
        };
        match () {
            () if draft.lookup.is_empty() => missing("lookup"),
            () if draft.create.is_empty() => missing("create"),
            () if draft.zone.is_none() => missing("zone"),
            () => Ok(draft),
        }
    }

    fn parameter(&mut self, dir: &Directive, word: &Word) -> Result<(), Error> {
        let fail = |what: &str| Err(values::verdict(dir, what));
        let at = memchr::memchr(b'=', &word.text).unwrap_or(word.text.len());
        let (name, value) = word.text.split_at(at);
        let value = value.get(1..).unwrap_or_default();
        let given = Word { text: value.to_vec(), ..word.clone() };
        match name {
            b"create" | b"lookup" if !value.starts_with(b"$") => {
                let name = String::from_utf8_lossy(name);
                return fail(&format!("missing variable in the \"{name}\" parameter"));
            }
            b"create" => self.create.push(given),
            b"lookup" => self.lookup.push(given),
            b"timeout" if self.timeout.is_some() => return fail("duplicate timeout"),
            b"timeout" => match parse_msec(value).filter(|time| !time.is_zero()) {
                Some(time) => self.timeout = Some(time),
                None => return fail("invalid timeout"),
            },
            b"zone" if self.zone.is_some() => return fail("duplicate zone"),
            b"zone" => match value.split(|byte| *byte == b':').collect::<Vec<_>>()[..] {
                [b"", _] => return fail("zone name is not specified"),
                [name, size] => match parse_size(size) {
                    None => return fail("invalid zone size"),
                    Some(size) if size < LEAST => return fail("zone is too small"),
                    Some(size) => self.zone = Some((word.clone(), name.to_vec(), size)),
                },
                _ => return fail("zone size is not specified"),
            },
            b"header" if at == word.text.len() => self.from_head = true,
            _ => return Err(word.error(format_args!("unknown parameter \"{}\"", word.lossy()))),
        }
        Ok(())
    }

    fn finish(&self, upstream: &Word, cx: &mut Finish) -> Sticky {
        let timeout = self.timeout.unwrap_or(REMEMBERED);
        let learn = Learn {
            zone: cx.zones.len(),
            timeout: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            create: variables(&self.create, cx),
            from_head: self.from_head,
        };
        if let Some((word, name, size)) = &self.zone {
            if let Some(known) = cx.zones.iter().find(|zone| zone.spec.name == *name) {
                let (shown, by) = (
                    known.name().into_owned(),
                    String::from_utf8_lossy(&known.spec.key).into_owned(),
                );
                cx.report(word.error(if known.spec.kind == Kind::Sessions {
                    format!("sticky zone \"{shown}\" is already used in upstream \"{by}\"")
                } else {
                    format!(
                        "the shared memory zone \"{shown}\" is already declared for a different use"
                    )
                }));
            }
            let (kind, key) = (Kind::Sessions, upstream.text.clone());
            let spec = Spec { kind, name: name.clone(), size: *size, key };
            cx.zones.push(SharedZone { spec, key: Template::default(), rate: 0 });
        }
        Sticky { lookup: variables(&self.lookup, cx), cookie: None, learn: Some(learn) }
    }
}

/// What nginx's memory needs to begin with: eight pages.
const LEAST: u64 = 8 * 4096;

/// nginx's default for `timeout=`.
const REMEMBERED: Duration = Duration::from_mins(10);

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
