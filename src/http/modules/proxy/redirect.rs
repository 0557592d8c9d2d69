//! Owns `proxy_redirect`: Location and Refresh of an answer, told in the client's terms.

use super::target::PassDraft;
use crate::conf::Word;
use crate::http::finish::Finish;
use crate::http::regex::Regex;
use crate::http::request::{Captures, Request};
use crate::http::template::Template;

/// One line as written.
#[derive(Debug, Clone)]
pub enum RuleDraft {
    Default,
    Plain(Word, Word),
    Regex { pattern: Word, caseless: bool, to: Word },
}

/// All lines of a block; `None` inside is `off`.
#[derive(Debug, Clone, Default)]
pub struct RedirectsDraft(pub Option<Vec<RuleDraft>>);

/// What a value must be for a rule to change it.
#[derive(Debug)]
pub(super) enum From {
    /// It begins so; the rest stays.
    Prefix(Template),
    /// It is this domain, with or without a dot before it, which stays.
    Domain(Template),
    Regex(Regex),
}

/// The rules in force, tried in order.
#[derive(Debug, Default)]
pub struct Redirects(Vec<(From, Template)>);

impl Redirects {
    /// Compiles the lines; without any, the default one where `proxy_pass` allows it.
    pub fn new(draft: Option<&RedirectsDraft>, pass: Option<&PassDraft>, cx: &mut Finish) -> Self {
        let default = [RuleDraft::Default];
        let rules = match draft {
            None => &default[..],
            Some(RedirectsDraft(rules)) => rules.as_deref().unwrap_or_default(),
        };
        Self(rules.iter().filter_map(|rule| compile(rule, pass, cx)).collect())
    }

    /// The value of a Location field, if a rule changes it.
    pub fn location(&self, req: &Request, value: &[u8]) -> Option<Vec<u8>> {
        self.0.iter().find_map(|(from, to)| apply(req, from, to, value))
    }

    /// The value of a Refresh field, if a rule changes its URL.
    pub fn refresh(&self, req: &Request, value: &[u8]) -> Option<Vec<u8>> {
        let lower = value.to_ascii_lowercase();
        let at = memchr::memmem::find(&lower, b"url=")? + 4;
        let url = self.location(req, &value[at..])?;
        Some([&value[..at], &url].concat())
    }
}

/// `proxy_pass http://b/two/` in `location /one/`: `http://b/two/x` becomes `/one/x`.
fn compile(
    rule: &RuleDraft,
    pass: Option<&PassDraft>,
    cx: &mut Finish,
) -> Option<(From, Template)> {
    match rule {
        RuleDraft::Default => {
            let pass = pass.filter(|pass| !pass.word.text.contains(&b'$'))?;
            let from = Template::literal(&pass.word.text);
            Some((From::Prefix(from), Template::literal(pass.location())))
        }
        RuleDraft::Plain(from, to) => Some((From::Prefix(cx.template(from)), cx.template(to))),
        RuleDraft::Regex { pattern, caseless, to } => {
            let text = pattern.str().map_err(|error| cx.report(error)).ok()?;
            let text = text.trim_start_matches('~').trim_start_matches('*').to_owned();
            Some((From::Regex(cx.regex(pattern, &text, *caseless)?), cx.template(to)))
        }
    }
}

/// What the rule makes of the value, if it is for it.
pub(super) fn apply(req: &Request, from: &From, to: &Template, value: &[u8]) -> Option<Vec<u8>> {
    match from {
        From::Prefix(prefix) => {
            let prefix = prefix.value(req);
            let rest = value.strip_prefix(&*prefix)?;
            let mut out = Vec::with_capacity(value.len());
            to.append(req, &mut out);
            out.extend_from_slice(rest);
            Some(out)
        }
        From::Domain(domain) => {
            let bare = value.strip_prefix(b".").unwrap_or(value);
            if !bare.eq_ignore_ascii_case(&domain.value(req)) {
                return None;
            }
            let mut out = value[..value.len() - bare.len()].to_vec();
            to.append(req, &mut out);
            Some(out)
        }
        From::Regex(regex) => {
            let mut captures = Captures::default();
            if !regex.apply(value, &mut captures, &req.slots) {
                return None;
            }
            let mut out = Vec::with_capacity(value.len());
            to.append_with(req, &captures, &mut out);
            Some(out)
        }
    }
}
