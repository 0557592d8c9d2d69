//! The source files as the rules of the house see them: code, comments and paths, textually.
//!
//! Must not judge anything: the rules are in `house.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments and literals blanked out, byte for byte.
    pub code: String,
    /// The text with all but comments blanked out.
    pub comments: String,
}

/// A path in code that starts at `crate`, `self` or `super`, resolved to one from the crate's root.
#[derive(Debug, PartialEq, Eq)]
pub struct Used {
    pub path: Vec<String>,
    pub line: usize,
    /// Inside an inline `mod tests`.
    pub in_tests: bool,
}

impl Source {
    pub fn new(path: &str, text: String) -> Source {
        let mask = classify(text.as_bytes());
        Source {
            path: path.to_owned(),
            code: keep(&text, &mask, Kind::Code),
            comments: keep(&text, &mask, Kind::Comment),
            text,
        }
    }

    /// The number of the line, from 1, that holds this byte.
    pub fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    /// Whether all of the file is compiled for tests only.
    pub fn is_test(&self) -> bool {
        let name = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        name.ends_with("_tests") || name.split('/').any(|part| part == "tests")
    }

    /// Where the module that this file is stands in the crate.
    pub fn module(&self) -> Vec<String> {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let inside = inside.strip_suffix(".rs").unwrap_or(inside);
        let mut parts: Vec<String> = inside.split('/').map(str::to_owned).collect();
        if parts.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
            parts.pop();
        }
        // `state_tests.rs` is `#[path]`ed into `state.rs` as its `tests`.
        if let Some(tested) = parts.last().and_then(|last| last.strip_suffix("_tests")) {
            let tested = tested.to_owned();
            parts.pop();
            parts.extend([tested, "tests".to_owned()]);
        }
        parts
    }

    /// Every path of the code that names something of this crate from its root or relatively.
    pub fn used(&self) -> Vec<Used> {
        let tokens = tokens(&self.code);
        let mut reader = Reader { tokens: &tokens, found: Vec::new() };
        let mut inline: Vec<(&str, usize)> = Vec::new();
        let (mut at, mut depth, mut all) = (0, 0, Vec::new());
        while let Some(token) = tokens.get(at) {
            let next = |ahead: usize| tokens.get(at + ahead).map_or("", |token| token.text);
            match token.text {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    inline.pop_if(|(_, outside)| *outside == depth);
                }
                "mod" if next(2) == "{" => inline.push((next(1), depth)),
                "crate" | "self" | "super" if next(1) == "::" => {
                    let mut module = self.module();
                    module.extend(inline.iter().map(|(name, _)| (*name).to_owned()));
                    at = reader.path(at, module);
                    let line = self.line(token.at);
                    let in_tests = inline.iter().any(|(name, _)| *name == "tests");
                    let found = reader.found.drain(..);
                    all.extend(found.map(|path| Used { path, line, in_tests }));
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        all
    }

    /// Where the code has this identifier.
    pub fn identifier(&self, name: &str) -> Vec<usize> {
        tokens(&self.code).iter().filter(|token| token.text == name).map(|token| token.at).collect()
    }

    /// What follows each use of this identifier as the first step of a path: `http::read`.
    pub fn first_steps(&self, name: &str) -> Vec<(String, usize)> {
        let tokens = tokens(&self.code);
        let starts = |at: usize| {
            tokens[at].text == name
                && at.checked_sub(1).is_none_or(|before| tokens[before].text != "::")
                && tokens.get(at + 1).is_some_and(|token| token.text == "::")
        };
        let step = |at: usize| Some((tokens.get(at + 2)?.text.to_owned(), tokens[at].at));
        (0..tokens.len()).filter(|at| starts(*at)).filter_map(step).collect()
    }
}

/// All Rust files below `directory`, which is relative to `root`.
pub fn below(root: &Path, directory: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for path in files(&root.join(directory)) {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            let name = path.strip_prefix(root).expect("a file below the root");
            sources.push(Source::new(&name.to_string_lossy(), text));
        }
    }
    sources
}

/// All files below a directory, in order; none when it does not exist.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    let inside = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    paths.into_iter().flat_map(inside).collect()
}

struct Reader<'t> {
    tokens: &'t [Token<'t>],
    found: Vec<Vec<String>>,
}

impl Reader<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text)
    }

    /// Reads the path that starts at token `at`, in this module; the first token after it.
    fn path(&mut self, mut at: usize, module: Vec<String>) -> usize {
        let mut prefix = if self.text(at) == "crate" { Vec::new() } else { module };
        while matches!(self.text(at), "crate" | "self" | "super") && self.text(at + 1) == "::" {
            if self.text(at) == "super" {
                prefix.pop();
            }
            at += 2;
        }
        self.tree(at, prefix)
    }

    /// Reads the rest of a path or `use` tree; the first token after it.
    fn tree(&mut self, mut at: usize, mut prefix: Vec<String>) -> usize {
        loop {
            match self.text(at) {
                "{" => return self.group(at + 1, &prefix),
                "*" => {
                    at += 1;
                    break;
                }
                name if is_name(name) => {
                    if name != "self" {
                        prefix.push(name.to_owned());
                    }
                    at += 1;
                }
                _ => break,
            }
            if self.text(at) != "::" {
                break;
            }
            at += 1;
        }
        self.found.push(prefix);
        at
    }

    fn group(&mut self, mut at: usize, prefix: &[String]) -> usize {
        while at < self.tokens.len() && self.text(at) != "}" {
            let before = at;
            at = self.tree(at, prefix.to_vec());
            if self.text(at) == "as" {
                at += 2;
            }
            at += usize::from(at == before || self.text(at) == ",");
        }
        at + 1
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

struct Token<'t> {
    text: &'t str,
    at: usize,
}

/// Identifiers, `::`, and everything else character by character.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = code[at..].chars().next() {
        let rest = &code[at..];
        let named = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            c if named(c) => rest.find(|c| !named(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        if !first.is_whitespace() {
            tokens.push(Token { text: &rest[..length], at });
        }
        at += length;
    }
    tokens
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

fn keep(text: &str, mask: &[Kind], wanted: Kind) -> String {
    let bytes = text.bytes().zip(mask);
    let kept = bytes.map(|(byte, kind)| match byte {
        b'\n' => b'\n',
        byte if *kind == wanted => byte,
        _ => b' ',
    });
    String::from_utf8_lossy(&kept.collect::<Vec<_>>()).into_owned()
}

/// What each byte is part of.
fn classify(text: &[u8]) -> Vec<Kind> {
    let mut mask = vec![Kind::Code; text.len()];
    let mut at = 0;
    while at < text.len() {
        let (kind, length) = piece(&text[at..], at.checked_sub(1).map(|before| text[before]));
        let end = (at + length).min(text.len());
        mask[at..end].fill(kind);
        at = end;
    }
    mask
}

/// The comment, literal or single byte of code that `rest` starts with.
fn piece(rest: &[u8], before: Option<u8>) -> (Kind, usize) {
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => {
            (Kind::Comment, rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()))
        }
        [b'/', b'*', ..] => (Kind::Comment, block_comment(rest)),
        [b'"', ..] => (Kind::Literal, quoted(rest, b'"')),
        [b'\'', b'\\', ..] => (Kind::Literal, quoted(rest, b'\'')),
        [b'\'', ..] => match character(rest) {
            Some(length) => (Kind::Literal, length),
            // A lifetime or a label.
            None => (Kind::Code, 1),
        },
        [b'r', b'"' | b'#', ..] if !in_word => raw(rest, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !in_word => raw(rest, 2),
        _ => (Kind::Code, 1),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], end: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == end => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a character literal without an escape; `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    const LONGEST: usize = 4;
    let close = rest.iter().skip(2).take(LONGEST).position(|byte| *byte == b'\'')? + 2;
    let inside = std::str::from_utf8(&rest[1..close]).ok()?;
    (inside.chars().count() == 1).then_some(close + 1)
}

fn raw(rest: &[u8], prefix: usize) -> (Kind, usize) {
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        // A raw identifier.
        return (Kind::Code, 1);
    }
    let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let body = &rest[prefix + hashes + 1..];
    let end = body.windows(close.len()).position(|window| window == close);
    (Kind::Literal, end.map_or(rest.len(), |end| prefix + hashes + 1 + end + close.len()))
}
