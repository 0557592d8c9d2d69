//! Owns the words of `server_name`.
//!
//! Must not decide which server wins a name; `endpoints` does, address by address.

use crate::conf::{Directive, Env, Error, Span, Word};
use crate::http::draft::Scope;
use crate::http::finish::Finish;
use crate::http::route::ServerName;

/// A name as written, in lower case unless it is a pattern; `$hostname` replaced.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub word: Word,
}

/// Adds the names of one `server_name` line.
pub(super) fn read(names: &mut Vec<Written>, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    for word in &dir.args {
        let text = &word.text[..];
        let bad_star = text.first() == Some(&b'*') && (text.len() < 3 || text[1] != b'.');
        if bad_star || text == b"." {
            return Err(word.error(format_args!("server name \"{}\" is invalid", word.lossy())));
        }
        if text.contains(&b'/') {
            let shown = word.lossy();
            env.warn(word.error(format_args!("server name \"{shown}\" has suspicious symbols")));
        }
        if text == b"~" {
            return Err(word.error("empty regex in server name \"~\""));
        }
        let mut word = word.clone();
        if text.eq_ignore_ascii_case(b"$hostname") {
            word.text = nix::unistd::gethostname().unwrap_or_default().into_encoded_bytes();
        }
        if text.first() != Some(&b'~') {
            word.text.make_ascii_lowercase();
        }
        names.push(Written { word });
    }
    Ok(())
}

/// `$server_name`: the first name of the block, a leading dot taken off.
pub fn first_name(server: &Scope) -> Vec<u8> {
    let Some(first) = server.drafts.server.names.first() else { return Vec::new() };
    let text = &first.word.text;
    text.strip_prefix(b".").unwrap_or(text).to_vec()
}

/// All names of the block, as written.
pub fn written_names(server: &Scope) -> Vec<Word> {
    server.drafts.server.names.iter().map(|name| name.word.clone()).collect()
}

/// A name that can be looked up.
pub(super) struct Compiled {
    pub shown: String,
    pub span: Span,
    /// `None` for a wildcard that is none: an error only where names are looked at.
    pub name: Option<ServerName>,
}

/// A server's names. One without `server_name` answers to the empty name.
pub(super) fn compile(server: &Scope, cx: &mut Finish) -> Vec<Compiled> {
    let names = &server.drafts.server.names;
    if names.is_empty() {
        let name = Some(ServerName::Exact(Vec::new()));
        return vec![Compiled { shown: String::new(), span: server.span, name }];
    }
    names.iter().filter_map(|name| compile_one(&name.word, cx)).collect()
}

fn compile_one(word: &Word, cx: &mut Finish) -> Option<Compiled> {
    let shown = word.lossy().into_owned();
    let Some(pattern) = shown.strip_prefix('~') else {
        let name = ServerName::parse(&word.text);
        return Some(Compiled { shown, span: word.span, name });
    };
    // The host is in lower case: a pattern with capitals could never match it.
    let caseless = pattern.bytes().any(|b| b.is_ascii_uppercase());
    let name = Some(ServerName::Regex(cx.regex(word, pattern, caseless)?));
    Some(Compiled { shown, span: word.span, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> String {
        let shown = |kind, name: Vec<u8>| format!("{kind} {}", String::from_utf8_lossy(&name));
        match ServerName::parse(text.as_bytes()) {
            None => "invalid".into(),
            Some(ServerName::Exact(n)) => shown("exact", n),
            Some(ServerName::Head(n)) => shown("head", n),
            Some(ServerName::Dot(n)) => shown("dot", n),
            Some(ServerName::Tail(n)) => shown("tail", n),
            Some(ServerName::Regex(_)) => "regex".into(),
        }
    }

    #[test]
    fn kinds_of_names() {
        for (text, expected) in [
            ("a.example", "exact a.example"),
            ("", "exact "),
            ("*.example", "head example"),
            (".example", "dot example"),
            ("www.example.*", "tail www.example"),
            ("a*.example", "invalid"),
            ("*.example.*", "invalid"),
            (".example.*", "invalid"),
            ("a..b", "invalid"),
            ("www.*.com", "invalid"),
            ("_", "exact _"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }
}
