//! `docs/directives.md` is written from the tables of directives and compared with them here.
//!
//! `UPDATE_DOCS=1 cargo test --test directives` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::{env, fs};

use proxyd::conf::{Action, Args, Row};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/directives.md");

const HEAD: &str = "\
# Directives

What proxyd understands of `nginx.conf`, written from its own tables. Names, places, arguments and
defaults are nginx's unless the text says otherwise; [differences.md](differences.md) lists what
behaves differently on purpose. A directive that takes a block is marked `{ }`.
";

const NO_EFFECT: &str = "\
## Without effect

Accepted, so that a configuration written for nginx loads; `-t` lists those it met. They tune what
only nginx has, or what proxyd decides by itself.
";

const NOT_YET: &str = "\
## Not supported yet

nginx has these. A configuration with one is refused by name, so that nothing is left out unseen.
";

/// One directive, whatever its row fills.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: &'static str,
    places: String,
    arguments: String,
    doc: &'static str,
}

#[derive(Default)]
struct Listing {
    /// By the block they concern.
    sections: BTreeMap<Section, Vec<Entry>>,
    no_effect: Vec<Entry>,
    not_yet: Vec<Entry>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Section {
    Processes,
    Http,
    Upstream,
}

impl Section {
    fn title(self) -> &'static str {
        match self {
            Section::Processes => "Processes and connections",
            Section::Http => "HTTP",
            Section::Upstream => "Groups of upstream servers",
        }
    }
}

impl Listing {
    fn add<T: 'static>(&mut self, section: Section, rows: impl Iterator<Item = &'static Row<T>>) {
        for row in rows {
            let places: Vec<_> = row.contexts.names().collect();
            let section = if places == ["upstream"] { Section::Upstream } else { section };
            let entry = Entry {
                name: row.name,
                places: places.join(", "),
                arguments: arguments(row.args, matches!(row.action, Action::Block(_))),
                doc: row.doc,
            };
            match row.action {
                Action::Set(_) | Action::Block(_) => {
                    self.sections.entry(section).or_default().push(entry);
                }
                Action::NoEffect => self.no_effect.push(entry),
                Action::NotYet => self.not_yet.push(entry),
            }
        }
    }

    fn text(mut self) -> String {
        let mut text = HEAD.to_owned();
        for (section, mut entries) in std::mem::take(&mut self.sections) {
            entries.sort();
            let _ = write!(text, "\n## {}\n\n", section.title());
            text.push_str("| Directive | Places | Arguments | What it does |\n|---|---|---|---|\n");
            for entry in entries {
                let Entry { name, places, arguments, doc } = entry;
                let doc = doc.replace('|', "\\|");
                let _ = writeln!(text, "| `{name}` | {places} | {arguments} | {doc} |");
            }
        }
        for (head, entries) in [(NO_EFFECT, &mut self.no_effect), (NOT_YET, &mut self.not_yet)] {
            entries.sort();
            entries.dedup_by_key(|entry| entry.name);
            let names: Vec<_> = entries.iter().map(|entry| format!("`{}`", entry.name)).collect();
            let _ = write!(text, "\n{head}\n{}\n", wrapped(&names.join(", ")));
        }
        text
    }
}

fn arguments(args: Args, block: bool) -> String {
    let count = match args {
        Args::None => String::new(),
        Args::Exactly(n) => n.to_string(),
        Args::Between(least, most) if least + 1 == most => format!("{least} or {most}"),
        Args::Between(least, most) => format!("{least} to {most}"),
        Args::AtLeast(least) => format!("{least} or more"),
        Args::Flag => "`on` or `off`".to_owned(),
        Args::Any => "any".to_owned(),
    };
    match (count.is_empty(), block) {
        (true, true) => "`{ }`".to_owned(),
        (true, false) => "none".to_owned(),
        (false, true) => format!("{count}, `{{ }}`"),
        (false, false) => count,
    }
}

/// Lines of at most a hundred characters.
fn wrapped(text: &str) -> String {
    const WIDEST: usize = 100;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= WIDEST {
            let _ = write!(line, " {word}");
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

fn listing() -> Listing {
    let mut listing = Listing::default();
    listing.add(Section::Processes, proxyd::config::table().rows());
    listing.add(Section::Http, proxyd::http::draft::TABLE.rows());
    listing.add(Section::Upstream, proxyd::http::modules::upstream::TABLE.rows());
    listing
}

#[test]
fn the_document_is_what_the_tables_say() {
    let text = listing().text();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(FILE, &text).expect("docs/directives.md can be written");
    }
    let present = fs::read_to_string(FILE).unwrap_or_default();
    let differs = present.lines().zip(text.lines()).find(|(there, wanted)| there != wanted);
    assert!(
        present == text,
        "docs/directives.md is not what the tables say, first at {differs:?}; \
         write it anew: UPDATE_DOCS=1 cargo test --test directives"
    );
}

/// A sentence each: it is all the reader gets.
#[test]
fn every_directive_has_its_sentence() {
    for entry in listing().sections.values().flatten() {
        let Entry { name, places, doc, .. } = entry;
        assert!(doc.ends_with('.') && doc.len() > 12, "`{name}` says only {doc:?}");
        assert!(!places.is_empty(), "`{name}` may stand nowhere");
    }
}

#[test]
fn no_directive_has_two_meanings_in_one_place() {
    let mut seen = BTreeMap::new();
    let listing = listing();
    let all = listing.sections.values().flatten().chain(&listing.no_effect).chain(&listing.not_yet);
    for entry in all {
        for place in entry.places.split(", ") {
            let twice = seen.insert((entry.name, place.to_owned()), entry.doc);
            assert!(twice.is_none(), "`{}` is twice in the tables for {place}", entry.name);
        }
    }
}
