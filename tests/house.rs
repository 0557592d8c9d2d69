//! The rules of the house, checked on the text of the sources: which room may know which, where
//! `unsafe` may be, how long a file may get, and what the written documents may say.
//!
//! Must not run the program: `tests/suite` does.

#[path = "house/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::{Source, below, files};

/// What each room of `src/` may name, besides itself. `docs/architecture.md` says why.
const WALLS: &[(&str, &[&str])] = &[
    ("version", &[]),
    ("sys", &[]),
    ("tls", &["sys"]),
    ("token", &[]),
    ("base64", &[]),
    ("password", &["base64", "sys"]),
    ("conf", &[]),
    ("log", &[]),
    ("signals", &["sys"]),
    ("net", &["sys"]),
    ("zone", &["sys"]),
    ("ipc", &["net", "sys"]),
    ("handover", &["sys"]),
    ("dns", &[]),
    ("upstream", &["dns", "net", "zone"]),
    (
        "http",
        &[
            "base64", "conf", "dns", "log", "net", "password", "tls", "token", "upstream",
            "version", "zone",
        ],
    ),
    ("config", &["conf", "http", "log"]),
    ("worker", &["config", "http", "ipc", "log", "net", "signals", "sys", "upstream", "zone"]),
    ("control", &["sys", "version"]),
    (
        "master",
        &[
            "conf", "config", "control", "handover", "ipc", "log", "net", "signals", "sys",
            "version", "zone",
        ],
    ),
    (
        "cli",
        &[
            "conf", "config", "control", "handover", "log", "master", "signals", "sys", "version",
            "worker",
        ],
    ),
    ("lib", &[]),
    ("main", &["cli"]),
];

/// What `config` may name of `http`: the two ends of a configuration and the steps between.
const HTTP_FOR_CONFIG: &[&str] =
    &["Draft", "Snapshot", "draft", "snapshot", "read", "knows", "table"];

const LONGEST_FILE: usize = 600;

/// Directories of somebody's own machine, which no text here has any business with.
const PRIVATE: &[&str] = &["/home/", "/Users/", concat!("/wo", "rk/")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let directories = ["src", "tests", "benches", "fuzz/fuzz_targets"];
    directories.iter().flat_map(|directory| below(root(), directory)).collect()
}

fn program() -> Vec<Source> {
    below(root(), "src")
}

/// Fails with every finding, each `FILE:LINE: what is wrong`.
fn none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn found(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", source.path)
}

/// The first part of a file's place below `src/`.
fn room(source: &Source) -> String {
    let inside = source.path.strip_prefix("src/").unwrap_or_default();
    let first = inside.split('/').next().unwrap_or_default();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

#[test]
fn rooms_know_only_what_their_walls_allow() {
    let mut findings = Vec::new();
    for source in program() {
        let room = room(&source);
        let Some((_, allowed)) = WALLS.iter().find(|(name, _)| *name == room) else {
            findings.push(found(&source, 1, "this room is not in WALLS of tests/house.rs"));
            continue;
        };
        for used in source.used() {
            let Some(other) = used.path.first() else { continue };
            let is_room = WALLS.iter().any(|(name, _)| name == other);
            if is_room && *other != room && !allowed.contains(&other.as_str()) {
                let what = format!("`{room}` must not know `{}`", used.path.join("::"));
                findings.push(found(&source, used.line, &what));
            }
        }
    }
    none(&findings);
}

/// A room may only stand on those named before it, so that nothing can go round in a circle.
#[test]
fn walls_point_down() {
    for (at, (room, allowed)) in WALLS.iter().enumerate() {
        for other in *allowed {
            let below = WALLS[..at].iter().any(|(name, _)| name == other);
            assert!(below, "`{room}` stands on `{other}`, which is not below it");
        }
    }
}

#[test]
fn modules_never_import_one_another() {
    const MODULES: &str = "src/http/modules/";
    let named = |source: &Source| {
        let inside = source.path.strip_prefix(MODULES)?;
        let first = inside.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first).to_owned())
    };
    let sources = program();
    let names: Vec<String> = sources.iter().filter_map(named).filter(|n| n != "mod").collect();
    assert!(!names.is_empty(), "no modules in {MODULES}");
    let mut findings = Vec::new();
    for source in &sources {
        let Some(own) = named(source).filter(|name| name != "mod") else { continue };
        for used in source.used() {
            let [http, modules, other, ..] = used.path.as_slice() else { continue };
            if (http.as_str(), modules.as_str()) == ("http", "modules")
                && *other != own
                && names.contains(other)
            {
                let what = format!("module `{own}` must not know module `{other}`");
                findings.push(found(source, used.line, &what));
            }
        }
    }
    none(&findings);
}

#[test]
fn config_sees_only_the_two_ends_of_http() {
    let mut findings = Vec::new();
    for source in program().iter().filter(|source| room(source) == "config") {
        let paths = source.used().into_iter();
        let paths = paths.filter(|used| used.path.first().is_some_and(|first| first == "http"));
        let full = paths.filter_map(|used| Some((used.path.get(1)?.clone(), used.line)));
        let short = source.first_steps("http").into_iter();
        let short = short.map(|(step, at)| (step, source.line(at)));
        for (step, line) in full.chain(short) {
            if !HTTP_FOR_CONFIG.contains(&step.as_str()) {
                findings.push(found(source, line, &format!("`http::{step}` is not for `config`")));
            }
        }
    }
    none(&findings);
}

#[test]
fn unsafe_stays_in_sys() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| !source.path.starts_with("src/sys/")) {
        for at in source.identifier("unsafe") {
            findings.push(found(source, source.line(at), "`unsafe` belongs in src/sys/"));
        }
    }
    none(&findings);
}

#[test]
fn files_say_what_they_own() {
    let silent = |source: &Source| !source.text.starts_with("//!");
    let findings = sources().into_iter().filter(silent);
    none(&findings.map(|s| found(&s, 1, "the file does not open with `//!`")).collect::<Vec<_>>());
}

#[test]
fn files_are_short() {
    let mut findings = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > LONGEST_FILE {
            findings.push(found(&source, lines, &format!("over {LONGEST_FILE} lines")));
        }
    }
    none(&findings);
}

#[test]
fn nothing_is_left_undone() {
    let mut findings = Vec::new();
    for source in sources() {
        for name in ["todo", "unimplemented", "dbg"] {
            for at in source.identifier(name) {
                if source.code[at + name.len()..].starts_with('!') {
                    findings.push(found(&source, source.line(at), &format!("`{name}!`")));
                }
            }
        }
        for (number, line) in source.comments.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric());
            if let Some(word) = words.find(|word| matches!(*word, "TODO" | "FIXME" | "XXX")) {
                findings.push(found(&source, number + 1, &format!("a comment says {word}")));
            }
        }
    }
    none(&findings);
}

/// A test that must have a process to itself is started by another one, which its `ignore` names.
#[test]
fn no_test_is_skipped() {
    let mut findings = Vec::new();
    for source in sources() {
        for at in source.identifier("ignore") {
            let attribute = source.code[..at].ends_with("#[");
            if attribute && !source.text[at..].starts_with("ignore = \"run by ") {
                findings.push(found(&source, source.line(at), "a test that nothing runs"));
            }
        }
    }
    none(&findings);
}

/// Waiting for an event does not flake; waiting for a while does. A paused clock does not wait.
#[test]
fn tests_do_not_sleep() {
    let mut findings = Vec::new();
    for source in sources() {
        let paused = source.text.contains("start_paused");
        let tests = if source.is_test() { Some(0) } else { source.code.find("mod tests {") };
        let (Some(start), false) = (tests, paused) else { continue };
        for name in ["sleep", "sleep_ms", "sleep_until", "park_timeout"] {
            for at in source.identifier(name).into_iter().filter(|at| *at >= start) {
                findings.push(found(&source, source.line(at), "a test sleeps"));
            }
        }
    }
    none(&findings);
}

/// Everything of the repository that a person reads or a machine is set up with.
fn texts() -> Vec<PathBuf> {
    let directories = ["src", "tests", "benches", "fuzz/fuzz_targets", "conf", "static", "docs"];
    let mut texts: Vec<_> =
        directories.iter().flat_map(|directory| files(&root().join(directory))).collect();
    let single = ["Cargo.toml", "README.md", "CHANGELOG.md", "Dockerfile", "deny.toml", ".ci/run"];
    texts.extend(single.iter().map(|name| root().join(name)));
    texts
}

#[test]
fn texts_name_no_private_directory() {
    let mut findings = Vec::new();
    for path in texts() {
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (number, line) in String::from_utf8_lossy(&text).lines().enumerate() {
            // The rule itself has to spell them.
            let rule = line.starts_with("const PRIVATE:");
            if let Some(name) = PRIVATE.iter().find(|name| line.contains(**name) && !rule) {
                findings.push(format!("{}:{}: names {name}", path.display(), number + 1));
            }
        }
    }
    none(&findings);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut findings = Vec::new();
    for path in texts().iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(path).expect("a document is UTF-8");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let elsewhere = link.contains("://") || file.is_empty();
            if !elsewhere && !path.parent().expect("a directory").join(file).exists() {
                findings.push(format!("{}: link to {link}", path.display()));
            }
        }
    }
    none(&findings);
}

/// The rules above see through comments, literals, groups and relative paths.
#[test]
fn paths_are_read_as_the_compiler_does() {
    let text = "//! crate::a\nuse crate::{b::C, d::{self, e as f}, g::*};\nuse super::h;\n\
        fn x<'a>() { let _ = (\"crate::i\", '\"', r#\"crate::j\"#); self::k::<u8>(); }\n\
        mod tests { use super::super::l; } /* crate::m */ const N: char = '\\''; crate::o!();\n";
    let source = Source::new("src/one/two.rs", text.to_owned());
    let all: Vec<_> = source.used().iter().map(|used| used.path.join("::")).collect();
    assert_eq!(all, ["b::C", "d", "d::e", "g", "one::h", "one::two::k", "one::l", "o"]);
    assert_eq!(
        Source::new("src/one/two_tests.rs", String::new()).module(),
        ["one", "two", "tests"]
    );
    assert_eq!(Source::new("src/one/mod.rs", String::new()).module(), ["one"]);
}
