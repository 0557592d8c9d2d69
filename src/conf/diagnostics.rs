//! What is wrong with a configuration, and how it is shown: nginx's sentence, the place, the remedy.
//! Must not decide what is wrong.

use std::collections::BTreeSet;
use std::fmt::{Display, Write};

use super::{Env, Position, Sources, Span};

/// nginx's levels for configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Emerg,
    Warn,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone)]
pub struct Error {
    pub level: Severity,
    /// nginx's sentence, without the place.
    pub message: String,
    pub span: Span,
    /// The remedy, shown beside the place.
    pub help: Option<String>,
}

impl Error {
    /// An [`Severity::Emerg`] at `span`.
    pub fn new(message: impl Display, span: Span) -> Self {
        Error { level: Severity::Emerg, message: message.to_string(), span, help: None }
    }

    /// The same error with a remedy.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Error { help: Some(help.into()), ..self }
    }
}

/// Everything found, warnings too, in the order a reader meets it. What a file included many times
/// has wrong is shown once.
pub fn render(env: &Env<'_>) -> String {
    let mut found: Vec<&Error> = env.errors.iter().chain(&env.warnings).collect();
    found.sort_by_cached_key(|error| env.sources.reading_order(error.span));
    let mut seen = BTreeSet::new();
    found.retain(|error| {
        let path = env.sources.path(error.span.file);
        seen.insert((path, path.map(|_| error.span.start), &*error.message))
    });
    found.into_iter().map(|error| show(&env.sources, error)).collect()
}

/// nginx's one-line form for the error log: the sentence and `in FILE:LINE`, without the level.
pub fn one_line(sources: &Sources, error: &Error) -> String {
    let message = printable(&error.message);
    match sources.place(error.span) {
        place if place.is_empty() => message,
        place => format!("{message} in {place}"),
    }
}

fn show(sources: &Sources, error: &Error) -> String {
    let level = match error.level {
        Severity::Emerg => "emerg",
        Severity::Warn => "warn",
    };
    let mut out = format!("proxyd: [{level}] {}", one_line(sources, error));
    let position = sources.position(error.span);
    let gutter = position.map_or(1, |at| at.line.to_string().len());
    if let Some(at) = position {
        let _ = write!(out, ":{}", at.column);
    }
    out.push('\n');
    let help = error.help.as_deref().map(printable);
    match position.and_then(|at| excerpt(sources, error.span, at)) {
        Some(excerpt) => {
            let (line, text) = (excerpt.line, excerpt.text);
            let pointer = format!("{} {}", excerpt.pointer, help.unwrap_or_default());
            let blank = "";
            let pointer = pointer.trim_end();
            let _ =
                writeln!(out, "{blank:gutter$} |\n{line} | {text}\n{blank:gutter$} | {pointer}");
        }
        None => out.extend(help.map(|help| format!("{:gutter$} = {help}\n", ""))),
    }
    let mut file = error.span.file;
    while let Some(from) = sources.included_from(file) {
        let _ = writeln!(out, "{:gutter$} = included from {}", "", sources.place(from));
        file = from.file;
    }
    out
}

/// A line of the configuration with what points at the place.
struct Excerpt {
    line: usize,
    text: String,
    pointer: String,
}

/// The line of `span`; of a long one the part around it. `None` when there is nothing to see.
fn excerpt(sources: &Sources, span: Span, at: Position) -> Option<Excerpt> {
    const WIDTH: usize = 160;
    let (bytes, start) = sources.line(span);
    let text = without_secret(&String::from_utf8_lossy(bytes));
    if text.trim().is_empty() {
        return None;
    }
    let marked = bytes.get((span.start as usize).checked_sub(start)?..)?;
    let length = (span.end.saturating_sub(span.start) as usize).min(marked.len());
    let marked = String::from_utf8_lossy(marked.get(..length)?)
        .trim_end()
        .chars()
        .count()
        .clamp(1, WIDTH / 2);
    let column = at.column - 1;
    let marked = marked.min(text.chars().count().saturating_sub(column)).max(1);
    let from = if column + marked < WIDTH { 0 } else { column.saturating_sub(WIDTH / 4) };
    let visible = text.trim_end().chars().skip(from).take(WIDTH);
    let text: String =
        visible.map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
    // Tabs stay tabs, so that the pointer is below its word whatever their width.
    let before = text.chars().chain(std::iter::repeat(' ')).take(column - from);
    let mut pointer: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    pointer.extend(std::iter::repeat_n('^', marked));
    Some(Excerpt { line: at.line, text, pointer })
}

/// The line without what may be a private key: from the first `data:` that a certificate or key may follow.
fn without_secret(line: &str) -> String {
    let is_key =
        ["_certificate", "-----BEGIN", "PrivateKey"].iter().any(|sign| line.contains(sign));
    match line.split_once("data:") {
        Some((before, _)) if is_key => format!("{before}data:..."),
        _ => line.to_owned(),
    }
}

/// Text from a configuration must not drive the terminal it is shown on.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Bundle, Directive, parse, parse_text};
    use super::*;
    use std::path::Path;

    fn shown(files: &[(&str, &str)], complain: impl Fn(&[Directive], &mut Env<'_>)) -> String {
        let mut world = Bundle::of(files);
        let mut env = Env::new(&mut world, Path::new("/p"), Path::new("/c"));
        let tree = parse(&mut env, Path::new("/c/main.conf"));
        complain(&tree, &mut env);
        render(&env)
    }

    #[test]
    fn keys_are_not_shown() {
        let line = "ssl_certificate_key \"data:SECRET\"; b c;\n";
        let shown = shown(&[("/c/main.conf", line)], |tree, env| {
            for directive in tree {
                env.report(directive.arg(0).error("it is wrong"));
            }
        });
        assert!(shown.contains("1 | ssl_certificate_key \"data:...\n"), "{shown}");
        assert!(!shown.contains("SECRET"), "{shown}");
    }

    #[test]
    fn sentence_place_line_pointer_and_remedy() {
        let shown = shown(
            &[("/c/main.conf", "a;\nserver {\n\tprox_pass\thttp://app;\n}\n")],
            |tree, env| {
                let inner = tree[1].block.as_ref().unwrap();
                env.report(
                    inner[0]
                        .error("unknown directive \"prox_pass\"")
                        .with_help("did you mean \"proxy_pass\"?"),
                );
                env.warn(inner[0].arg(0).error("odd"));
            },
        );
        let expected = "proxyd: [emerg] unknown directive \"prox_pass\" in /c/main.conf:3:2\n  |\n\
            3 | \tprox_pass\thttp://app;\n  | \t^^^^^^^^^ did you mean \"proxy_pass\"?\n\
            proxyd: [warn] odd in /c/main.conf:3:12\n  |\n\
            3 | \tprox_pass\thttp://app;\n  | \t         \t^^^^^^^^^^\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn errors_stand_in_reading_order_each_once() {
        let files =
            [("/c/main.conf", "one;\ninclude x;\ntwo;\ninclude x;\nthree;"), ("/c/x", "inner;\n")];
        let shown = shown(&files, |tree, env| {
            for directive in tree.iter().rev() {
                env.report(directive.error(format_args!("bad {}", directive.name_str())));
            }
        });
        let order: Vec<_> =
            shown.lines().filter_map(|line| line.strip_prefix("proxyd: [emerg] bad ")).collect();
        let expected = [
            "one in /c/main.conf:1:1",
            "inner in /c/x:1:1",
            "two in /c/main.conf:3:1",
            "three in /c/main.conf:5:1",
        ];
        assert_eq!(order, expected);
        assert_eq!(shown.matches("\n  = included from /c/main.conf:").count(), 1, "{shown}");
    }

    #[test]
    fn text_of_the_command_line_and_of_nowhere() {
        let mut world = Bundle::of(&[]);
        let mut env = Env::new(&mut world, Path::new("/p"), Path::new("/c"));
        parse_text(&mut env, "command line", b"daemon off");
        parse(&mut env, Path::new("/c/none.conf"));
        let lines: Vec<_> = env.errors.iter().map(|error| one_line(&env.sources, error)).collect();
        assert_eq!(lines[0], "unexpected end of parameter, expecting \";\" in command line");
        assert!(lines[1].starts_with("open() \"/c/none.conf\" failed"), "{}", lines[1]);
        assert!(render(&env).contains("in command line\n"));
    }

    #[test]
    fn long_lines_are_cut_and_control_characters_tamed() {
        let text = format!("{}\x1b[31m bad\x07word {};", "x".repeat(500), "y".repeat(500));
        let shown = shown(&[("/c/main.conf", &text)], |tree, env| {
            env.report(tree[0].arg(0).error("invalid value \"bad\x07word\""));
        });
        assert!(shown.contains("\"bad\\u{7}word\""));
        assert!(!shown.contains(['\x07', '\x1b']));
        assert!(shown.lines().all(|line| line.chars().count() < 200), "{shown}");
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(
            lines[2].find("bad"),
            lines[3].find('^').map(|at| at + '\u{fffd}'.len_utf8() - 1)
        );
    }
}
