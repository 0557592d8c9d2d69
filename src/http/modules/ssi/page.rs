//! Owns what the commands of a page share with those of the pages that it includes: variables, blocks,
//! and what the last regular expression has captured. And texts with variables in them.
//!
//! Must not know commands.

use crate::conf::Pattern;
use crate::http::request::Request;
use crate::log::clock;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// How dates are shown until a page says otherwise.
pub const TIME_FORMAT: &[u8] = b"%A, %d-%b-%Y %H:%M:%S %Z";

/// The longest date.
const LONGEST_DATE: usize = 2048;

/// A main request's page.
#[derive(Debug, Default)]
pub struct Page {
    variables: RefCell<HashMap<Vec<u8>, Vec<u8>>>,
    captures: RefCell<Vec<Vec<u8>>>,
    blocks: RefCell<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl Page {
    /// What the pages have set, or an expression has captured.
    pub fn get(&self, name: &[u8]) -> Option<Vec<u8>> {
        if let [digit @ b'0'..=b'9'] = name
            && let Some(text) = self.captures.borrow().get(usize::from(digit - b'0'))
        {
            return Some(text.clone());
        }
        self.variables.borrow().get(&name.to_ascii_lowercase()).cloned()
    }

    pub fn set(&self, name: &[u8], value: Vec<u8>) {
        self.variables.borrow_mut().insert(name.to_ascii_lowercase(), value);
    }

    /// Matches, and keeps what was captured; the error is the expression's.
    pub fn matches(&self, pattern: &[u8], text: &[u8]) -> Result<bool, String> {
        let pattern = std::str::from_utf8(pattern).map_err(|error| error.to_string())?;
        let pattern = Pattern::new(pattern, false)?;
        let mut groups = Vec::new();
        if !pattern.captures(text, &mut groups) {
            return Ok(false);
        }
        let group = |group: &Option<(usize, usize)>| {
            group.and_then(|(start, end)| text.get(start..end)).unwrap_or_default().to_vec()
        };
        let captured: Vec<_> = groups.iter().map(group).collect();
        for (number, name) in pattern.names() {
            self.set(name.as_bytes(), captured.get(number).cloned().unwrap_or_default());
        }
        *self.captures.borrow_mut() = captured;
        Ok(true)
    }

    /// Begins a block.
    pub fn begin_block(&self, name: Vec<u8>) {
        self.blocks.borrow_mut().push((name, Vec::new()));
    }

    /// Adds to the last block.
    pub fn add_to_block(&self, text: &[u8]) {
        if let Some((_, block)) = self.blocks.borrow_mut().last_mut() {
            block.extend_from_slice(text);
        }
    }

    /// The first block of this name.
    pub fn block(&self, name: &[u8]) -> Option<Vec<u8>> {
        let blocks = self.blocks.borrow();
        blocks.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone())
    }
}

/// One page's view of all that.
#[derive(Debug)]
pub struct View {
    pub page: Rc<Page>,
    /// Whose page it is; variables are this request's.
    pub of: Box<Request>,
    pub time_format: Vec<u8>,
}

impl View {
    /// A variable's value, wherever it comes from.
    pub fn variable(&self, name: &[u8]) -> Option<Vec<u8>> {
        if let Some(value) = self.page.get(name) {
            return Some(value);
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        match name.as_str() {
            "date_local" => return Some(date(&self.time_format, false)),
            "date_gmt" => return Some(date(&self.time_format, true)),
            _ => {}
        }
        let mut out = Vec::new();
        let variable = self.of.snapshot.names.find(&name)?;
        variable.append(&self.of, &mut out).then_some(out)
    }

    /// A text with its variables replaced and its escapes undone; the error is nginx's sentence.
    pub fn expand(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'$' => {
                    let (name, after) = variable_name(rest, text)?;
                    out.extend(self.variable(name).unwrap_or_default());
                    rest = after;
                }
                b'\\' => match rest.split_first() {
                    Some((quoted @ (b'\\' | b'\'' | b'"' | b'$'), after)) => {
                        out.push(*quoted);
                        rest = after;
                    }
                    Some((other, after)) => {
                        out.extend_from_slice(&[b'\\', *other]);
                        rest = after;
                    }
                    None => {}
                },
                _ => out.push(*byte),
            }
        }
        Ok(out)
    }

    /// The same as a URI: one that is relative is found beside the page.
    pub fn expand_uri(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let uri = self.expand(text)?;
        if uri.starts_with(b"/") || text.is_empty() {
            return Ok(uri);
        }
        let beside = memchr::memrchr(b'/', &self.of.uri).map_or(0, |slash| slash + 1);
        Ok([self.of.uri.get(..beside).unwrap_or_default(), &uri].concat())
    }
}

/// The name behind a dollar sign, and what follows it.
fn variable_name<'a>(rest: &'a [u8], text: &[u8]) -> Result<(&'a [u8], &'a [u8]), String> {
    let (bracket, rest) = match rest.strip_prefix(b"{") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    let (name, after) = rest.split_at(rest.iter().take_while(is_name).count());
    let after = match after.strip_prefix(b"}") {
        Some(after) if bracket => after,
        _ if bracket => {
            let name = String::from_utf8_lossy(name);
            return Err(format!("the closing bracket in \"{name}\" variable is missing"));
        }
        _ => after,
    };
    if name.is_empty() {
        let text = String::from_utf8_lossy(text);
        return Err(format!("invalid variable name in \"{text}\""));
    }
    Ok((name, after))
}

/// The time now, in the words of `strftime()`; nothing if they cannot be read.
pub fn date(format: &[u8], utc: bool) -> Vec<u8> {
    let text = std::str::from_utf8(format).ok().and_then(|format| clock::strftime(format, utc));
    text.filter(|text| text.len() < LONGEST_DATE).unwrap_or_default().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::Site;

    fn view(site: &Site) -> View {
        let page = Rc::new(Page::default());
        page.set(b"Own", b"value".to_vec());
        let mut of = Box::new(site.request());
        of.uri = b"/dir/page.html".to_vec();
        View { page, of, time_format: TIME_FORMAT.to_vec() }
    }

    #[test]
    fn texts_are_expanded() {
        let site = Site::new("", "listen 1;");
        let view = view(&site);
        for (text, expected) in [
            ("", ""),
            ("a$own-${OWN}b", "avalue-valueb"),
            ("$none$arg_x.", "."),
            ("\\$own \\\\ \\' \\\" \\n", "$own \\ ' \" \\n"),
            ("$document_uri", "/dir/page.html"),
        ] {
            assert_eq!(String::from_utf8(view.expand(text.as_bytes()).unwrap()).unwrap(), expected);
        }
        for (text, sentence) in [
            ("a$", "invalid variable name in \"a$\""),
            ("$-", "invalid variable name in \"$-\""),
            ("${own", "the closing bracket in \"own\" variable is missing"),
        ] {
            assert_eq!(view.expand(text.as_bytes()).unwrap_err(), sentence);
        }
    }

    #[test]
    fn relative_uris_stand_beside_the_page() {
        let site = Site::new("", "listen 1;");
        let view = view(&site);
        for (text, expected) in [("x?y", "/dir/x?y"), ("/x", "/x"), ("$own", "/dir/value")] {
            assert_eq!(view.expand_uri(text.as_bytes()).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn captures_are_numbered_and_named() {
        let page = Page::default();
        assert_eq!(page.matches(b"(a+)(?<rest>.*)", b"xaab"), Ok(true));
        assert_eq!(page.get(b"1"), Some(b"aa".to_vec()));
        assert_eq!(page.get(b"rest"), Some(b"b".to_vec()));
        assert_eq!(page.get(b"3"), None);
        assert_eq!(page.matches(b"y", b"x"), Ok(false));
        assert!(page.matches(b"(", b"x").is_err());
    }

    #[test]
    fn dates_are_written_as_asked() {
        let year = String::from_utf8(date(b"%Y", true)).unwrap();
        assert!(year.len() == 4 && year.starts_with("20"), "{year}");
        let seconds: i64 = String::from_utf8(date(b"%s", false)).unwrap().parse().unwrap();
        assert!(clock::seconds() - seconds < 5);
        assert!(date(TIME_FORMAT, true).ends_with(b" GMT"));
    }
}
