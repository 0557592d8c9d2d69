//! Owns `modern_browser` and its kin: what the User-Agent field says of a browser's age.
//!
//! Must not decide anything; `$modern_browser`, `$ancient_browser` and `$msie` tell.

use super::inherit;
use crate::conf::values::{self, parse_number};
use crate::conf::{Args, Directive, Error, Row, Word};
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::request::Request;
use crate::http::vars::{Variable, push};

/// A kind of browser: how it is called here, how many bytes of the field cannot be its name, the name.
/// Opera comes first: it may call itself MSIE as well.
const KINDS: [(&[u8], usize, &[u8]); 5] = [
    (b"opera", 0, b"Opera"),
    (b"msie", 25, b"MSIE "),
    (b"gecko", 13, b"rv:"),
    (b"safari", 13, b"Safari/"),
    (b"konqueror", 25, b"Konqueror/"),
];

/// Opera's version follows a space or a slash.
const OPERA: usize = 0;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    /// Places in [`KINDS`] and least versions.
    modern: Option<Vec<(usize, u64)>>,
    unlisted: Option<bool>,
    ancient: Option<Vec<Vec<u8>>>,
    netscape4: Option<bool>,
    modern_value: Option<Word>,
    ancient_value: Option<Word>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    modern: Vec<(usize, u64)>,
    unlisted: bool,
    ancient: Vec<Vec<u8>>,
    netscape4: bool,
    modern_value: Vec<u8>,
    ancient_value: Vec<u8>,
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "modern_browser",
        HSL,
        Args::Between(1, 2),
        "From which version on a browser is modern: `opera`, `msie`, `gecko`, `safari` or `konqueror` with a \
         version; `unlisted` are those of which nothing is said.",
        |s, dir, _| modern(&mut s.drafts.browser, dir),
    ),
    row(
        "ancient_browser",
        HSL,
        Args::AtLeast(1),
        "Texts by which an ancient browser is known; `netscape4` stands for Netscape 1 to 4.",
        |s, dir, _| {
            let draft = &mut s.drafts.browser;
            for word in &dir.args {
                if word.text == b"netscape4" {
                    draft.netscape4 = Some(true);
                } else {
                    draft.ancient.get_or_insert_default().push(word.text.clone());
                }
            }
            Ok(())
        },
    ),
    row(
        "modern_browser_value",
        HSL,
        Args::Exactly(1),
        "What `$modern_browser` is for modern ones (default: `1`).",
        |s, dir, _| values::word(&mut s.drafts.browser.modern_value, dir),
    ),
    row(
        "ancient_browser_value",
        HSL,
        Args::Exactly(1),
        "What `$ancient_browser` is for ancient ones (default: `1`).",
        |s, dir, _| values::word(&mut s.drafts.browser.ancient_value, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[
    Variable {
        name: "modern_browser",
        doc: "The value of `modern_browser_value` for a modern browser.",
        get: |req, _, out| {
            let conf = &req.conf().browser;
            push(conf.is_modern(req).then_some(&conf.modern_value[..]), out)
        },
    },
    Variable {
        name: "ancient_browser",
        doc: "The value of `ancient_browser_value` for an ancient browser.",
        get: |req, _, out| {
            let conf = &req.conf().browser;
            push((!conf.is_modern(req)).then_some(&conf.ancient_value[..]), out)
        },
    },
    Variable {
        name: "msie",
        doc: "`1` for Microsoft's Internet Explorer, whatever its version.",
        get: |req, _, out| push(agent(req).is_some_and(is_msie).then_some(&b"1"[..]), out),
    },
];

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        if self.modern.is_none() && self.unlisted.is_none() {
            self.modern.clone_from(&outer.modern);
            self.unlisted = outer.unlisted;
        }
        if self.ancient.is_none() && self.netscape4.is_none() {
            self.ancient.clone_from(&outer.ancient);
            self.netscape4 = outer.netscape4;
        }
        inherit!(self, outer; modern_value, ancient_value);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        let mut modern = self.modern.clone().unwrap_or_default();
        if !modern.is_empty() && modern.iter().all(|(kind, _)| *kind != OPERA) {
            // One that calls itself something else as well is not taken for that.
            modern.push((OPERA, u64::MAX));
        }
        modern.sort_by_key(|(kind, _)| *kind);
        let value = |word: &Option<Word>| word.as_ref().map_or(b"1".to_vec(), |w| w.text.clone());
        Conf {
            modern,
            unlisted: self.unlisted.unwrap_or(false),
            ancient: self.ancient.clone().unwrap_or_default(),
            netscape4: self.netscape4.unwrap_or(false),
            modern_value: value(&self.modern_value),
            ancient_value: value(&self.ancient_value),
        }
    }
}

fn modern(draft: &mut Draft, dir: &Directive) -> Result<(), Error> {
    let name = dir.arg(0);
    let Some(least) = dir.args.get(1) else {
        if name.text == b"unlisted" {
            draft.unlisted = Some(true);
            return Ok(());
        }
        return Err(dir.error("invalid number of arguments in \"modern_browser\" directive"));
    };
    let number = least.text.split(|byte| *byte == b'.').map(parse_number);
    let valid = number.clone().count() <= 4 && number.clone().all(|part| part.is_some());
    if !valid {
        return Err(least.error(format_args!("invalid browser version \"{}\"", least.lossy())));
    }
    let Some(kind) = KINDS.iter().position(|(known, ..)| *known == name.text) else {
        return Err(name.error(format_args!("unknown browser name \"{}\"", name.lossy())));
    };
    draft.modern.get_or_insert_default().push((kind, version(&least.text)));
    Ok(())
}

/// `1.2.3.4` as a number that can be compared.
fn version(text: &[u8]) -> u64 {
    let end = text.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.');
    let text = &text[..end.unwrap_or(text.len())];
    let parts = text.split(|byte| *byte == b'.').zip([1_000_000, 10_000, 100, 1_u64]);
    parts
        .map(|(part, scale)| parse_number(part).unwrap_or(0).saturating_mul(scale))
        .fold(0, u64::saturating_add)
}

fn agent(req: &Request) -> Option<&[u8]> {
    req.head.headers.get(Name::UserAgent)
}

/// As nginx knows it: `Mozilla/4.0 (compatible; MSIE …` and no Opera.
fn is_msie(agent: &[u8]) -> bool {
    let found = memchr::memmem::find(agent, b"MSIE ");
    found.is_some_and(|at| at + 7 < agent.len()) && memchr::memmem::find(agent, b"Opera").is_none()
}

impl Conf {
    fn is_modern(&self, req: &Request) -> bool {
        let Some(agent) = agent(req) else { return self.unlisted };
        for (kind, least) in &self.modern {
            let (_, skipped, name) = KINDS[*kind];
            let rest = agent.get(skipped..).unwrap_or_default();
            let found = memchr::memmem::find(rest, name).map(|at| at + name.len());
            let after = found.map(|at| at + usize::from(*kind == OPERA));
            if let Some(text) = after.and_then(|at| rest.get(at..)).filter(|text| !text.is_empty())
            {
                return version(text) >= *least;
            }
        }
        if !self.modern.is_empty() && !self.unlisted {
            return false;
        }
        self.unlisted && !self.is_ancient(agent)
    }

    fn is_ancient(&self, agent: &[u8]) -> bool {
        let netscape4 = self.netscape4
            && agent.len() > 13
            && agent.starts_with(b"Mozilla/")
            && agent.get(8).is_some_and(|digit| (b'1'..b'5').contains(digit));
        netscape4 || self.ancient.iter().any(|text| memchr::memmem::find(agent, text).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Site, errors};

    const MSIE6: &str = "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)";
    const OPERA8: &str = "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.0; en) Opera 8.0";
    const GECKO: &str = "Mozilla/5.0 (X11; U; Linux; en-US; rv:1.8.0.5) Gecko/2006 Firefox/1.5";
    const NETSCAPE: &str = "Mozilla/4.72 [en] (X11; U; Linux)";

    /// `m` for modern, `a` for ancient; `e` for Internet Explorer.
    fn said(lines: &str, agent: &str) -> String {
        let site = Site::new("", &format!("listen 1; {lines} add_header X m$modern_browser;"));
        let mut req = site.request();
        if !agent.is_empty() {
            req.head.headers.push(b"User-Agent", agent.as_bytes());
        }
        let mut out = Vec::new();
        for name in ["modern_browser", "ancient_browser", "msie"] {
            let before = out.len();
            let variable = VARIABLES.iter().find(|known| known.name == name).unwrap();
            if (variable.get)(&req, b"", &mut out) {
                out.truncate(before);
                out.push(name.as_bytes()[usize::from(name == "msie") * 3]);
            }
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn browsers_have_their_age() {
        let lines = "modern_browser msie 5.5; modern_browser gecko 1.8; modern_browser unlisted;
            ancient_browser Links Lynx netscape4;";
        for (agent, expected) in [
            (MSIE6, "me"),
            (&MSIE6.replace("6.0", "5.0"), "ae"),
            (GECKO, "m"),
            (&GECKO.replace("1.8.0.5", "1.7.9"), "a"),
            (OPERA8, "a"),
            (NETSCAPE, "a"),
            ("Lynx/2", "a"),
            ("curl/8", "m"),
            ("", "m"),
        ] {
            assert_eq!(said(lines, agent), expected, "{agent}");
        }
        assert_eq!(said("modern_browser opera 8;", OPERA8), "m");
        assert_eq!(said("modern_browser opera 8.1;", OPERA8), "a");
        assert_eq!(said("modern_browser gecko 1;", "curl/8"), "a");
        assert_eq!(said("", "curl/8"), "a");
    }

    #[test]
    fn what_is_not_known_is_said() {
        let error = |line: &str| errors("", &format!("listen 1; {line}")).remove(0);
        assert_eq!(error("modern_browser chrome 1;"), "unknown browser name \"chrome\"");
        assert_eq!(error("modern_browser msie 1.x;"), "invalid browser version \"1.x\"");
        assert_eq!(
            error("modern_browser msie 1.2.3.4.5;"),
            "invalid browser version \"1.2.3.4.5\""
        );
    }
}
