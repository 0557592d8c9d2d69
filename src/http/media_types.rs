//! Owns the lists of media types that say which answers a filter takes (`gzip_types` and its kin).
//!
//! Must not know a filter.

use super::reply::Reply;
use crate::conf::{Directive, Env};
use std::sync::{Arc, LazyLock};

/// A list of media types; cheap to clone.
#[derive(Debug, Clone)]
pub struct MediaTypes {
    /// In lower case; `None` is every type, and none at all (`*`).
    names: Option<Arc<[Box<[u8]>]>>,
}

impl MediaTypes {
    /// These types.
    pub fn of(names: &[&str]) -> Self {
        Self { names: Some(names.iter().map(|name| name.as_bytes().into()).collect()) }
    }

    /// `text/html`, which is the default of most lists and in all of them.
    pub fn html() -> Self {
        static HTML: LazyLock<MediaTypes> = LazyLock::new(|| MediaTypes::of(&["text/html"]));
        HTML.clone()
    }

    /// Reads a directive: its types go to those of an earlier one and to `text/html`; `*` is every type.
    pub fn read(slot: &mut Option<Self>, dir: &Directive, env: &mut Env<'_>) {
        let mut types = slot.take().unwrap_or_else(Self::html);
        for word in &dir.args {
            if word.text == b"*" {
                types.names = None;
            }
            let Some(names) = &types.names else { break };
            let name = word.text.to_ascii_lowercase().into_boxed_slice();
            if names.contains(&name) {
                env.warn(word.error(format_args!("duplicate MIME type \"{}\"", word.lossy())));
            } else {
                types.names = Some(names.iter().cloned().chain([name]).collect());
            }
        }
        *slot = Some(types);
    }

    /// Whether an answer is of one of these types, whatever the parameters of its own.
    pub fn match_reply(&self, reply: &Reply) -> bool {
        let Some(names) = &self.names else { return true };
        let Some(full) = &reply.content_type else { return false };
        let name = full.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
        names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{Bundle, parse_text};
    use std::path::Path;

    /// Reads directives one after the other; the list and the number of warnings.
    fn read(text: &str) -> (MediaTypes, usize) {
        let mut world = Bundle::of(&[]);
        let mut env = Env::new(&mut world, Path::new("/"), Path::new("/"));
        let mut slot = None;
        for directive in parse_text(&mut env, "test", text.as_bytes()) {
            MediaTypes::read(&mut slot, &directive, &mut env);
        }
        (slot.unwrap(), env.warnings.len())
    }

    fn matches(types: &MediaTypes, content_type: &str) -> bool {
        types.match_reply(&Reply::text(200, content_type.as_bytes(), &b""[..]))
    }

    #[test]
    fn lists_add_up() {
        let (types, warnings) = read("x text/plain Text/CSS; x text/html text/x;");
        assert_eq!(warnings, 1);
        for name in ["text/html", "text/plain", "TEXT/css;charset=utf-8", "text/x ; a=b"] {
            assert!(matches(&types, name), "{name}");
        }
        assert!(!matches(&types, "text/xml") && !matches(&types, ""));
        assert!(!types.match_reply(&Reply::empty(200)));
    }

    #[test]
    fn a_star_is_all_there_is() {
        let (types, _) = read("x text/plain * text/css; x text/x;");
        assert!(matches(&types, "image/png") && types.match_reply(&Reply::empty(200)));
    }
}
