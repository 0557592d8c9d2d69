//! The files of one configuration as they were read, and the way from a byte offset to a line.
//! Must not open files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One opening of one file; a file included twice has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A range of bytes of one file, `end` not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    pub file: FileId,
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The place of what was not written in any file.
    pub const NOWHERE: Span = Span { file: FileId(u32::MAX), start: 0, end: 0 };

    /// From the start of `self` to the end of `last`, both in one file.
    #[must_use]
    pub fn to(self, last: Span) -> Span {
        Span { end: last.end, ..self }
    }
}

/// Line and column, both from 1; the column counts characters, a tab being one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

struct Source {
    path: PathBuf,
    text: Arc<[u8]>,
    included_from: Option<Span>,
    /// Not a file but text of the command line, which has no lines worth naming.
    command_line: bool,
}

/// Every file as read, in the order of opening.
#[derive(Default)]
pub struct Sources {
    opened: Vec<Source>,
    /// The first opening of each file.
    first: BTreeMap<PathBuf, FileId>,
}

impl Sources {
    /// Adds one opening of a file. `None` when offsets into it would not fit a [`Span`].
    pub fn add(
        &mut self,
        path: &Path,
        text: Arc<[u8]>,
        included_from: Option<Span>,
    ) -> Option<FileId> {
        self.push(Source { path: path.to_owned(), text, included_from, command_line: false })
    }

    /// Adds directives given on the command line; `label` stands where a file name would.
    pub fn add_text(&mut self, label: &str, text: Arc<[u8]>) -> Option<FileId> {
        self.push(Source { path: label.into(), text, included_from: None, command_line: true })
    }

    fn push(&mut self, source: Source) -> Option<FileId> {
        u32::try_from(source.text.len()).ok()?;
        let id = FileId(u32::try_from(self.opened.len()).ok()?);
        if !source.command_line {
            self.first.entry(source.path.clone()).or_insert(id);
        }
        self.opened.push(source);
        Some(id)
    }

    fn get(&self, id: FileId) -> Option<&Source> {
        self.opened.get(id.0 as usize)
    }

    /// The path (or label) an opening was made under.
    pub fn path(&self, id: FileId) -> Option<&Path> {
        Some(&self.get(id)?.path)
    }

    /// The bytes of a file.
    pub fn text(&self, id: FileId) -> &[u8] {
        self.get(id).map_or(&[], |source| &source.text)
    }

    /// The bytes of a file that was opened before under this path: it is read once.
    pub fn text_of(&self, path: &Path) -> Option<Arc<[u8]>> {
        let first = self.get(*self.first.get(path)?)?;
        Some(Arc::clone(&first.text))
    }

    /// The `include` directive that opened a file.
    pub fn included_from(&self, id: FileId) -> Option<Span> {
        self.get(id)?.included_from
    }

    /// Where a span starts; `None` for what is in no file and for the command line.
    pub fn position(&self, span: Span) -> Option<Position> {
        let source = self.get(span.file).filter(|source| !source.command_line)?;
        let before = source.text.get(..span.start as usize)?;
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        let line = before.split(|&b| b == b'\n').count();
        let column = String::from_utf8_lossy(before.get(line_start..)?).chars().count() + 1;
        Some(Position { line, column })
    }

    /// `FILE:LINE`, nginx's way to name a place; the label alone for the command line; empty for nowhere.
    pub fn place(&self, span: Span) -> String {
        let Some(source) = self.get(span.file) else {
            return String::new();
        };
        let path = source.path.display();
        match self.position(span) {
            Some(at) => format!("{path}:{}", at.line),
            None => path.to_string(),
        }
    }

    /// The line a span starts in, without its end, and the offset of that line in the file.
    pub fn line(&self, span: Span) -> (&[u8], usize) {
        let text = self.text(span.file);
        let at = (span.start as usize).min(text.len());
        let (before, after) = text.split_at(at);
        let start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        let end = after.iter().position(|&b| b == b'\n').map_or(text.len(), |len| at + len);
        (text.get(start..end).unwrap_or_default(), start)
    }

    /// Sorts spans as a reader meets them: an included file stands where its `include` stands.
    pub fn reading_order(&self, span: Span) -> Vec<(u32, u32)> {
        let mut order = vec![(span.file.0, span.start)];
        let mut at = span;
        while let Some(outer) = self.included_from(at.file) {
            order.push((outer.file.0, outer.start));
            at = outer;
        }
        if self.get(span.file).is_none() {
            order.clear();
        }
        order.reverse();
        order
    }

    /// Every file once, in the order of first opening, with its bytes (`-T`).
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        let mut ids: Vec<FileId> = self.first.values().copied().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.get(id)).map(|source| (&*source.path, &*source.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(file: FileId, start: u32) -> Span {
        Span { file, start, end: start + 1 }
    }

    #[test]
    fn places_are_lines_and_characters() {
        let mut sources = Sources::default();
        let text = "a;\n\té\u{20ac} b;\n".as_bytes();
        let file = sources.add(Path::new("/c/x"), text.into(), None).unwrap();
        let position = |start| sources.position(span(file, start)).map(|at| (at.line, at.column));
        assert_eq!(position(0), Some((1, 1)));
        assert_eq!(position(2), Some((1, 3)));
        assert_eq!(position(10), Some((2, 5)));
        assert_eq!(position(13), Some((3, 1)));
        assert_eq!(position(99), None);
        assert_eq!(sources.place(span(file, 10)), "/c/x:2");
        assert_eq!(sources.place(Span::NOWHERE), "");
        assert_eq!(sources.line(span(file, 10)).1, 3);
    }

    #[test]
    fn each_file_once_and_no_command_line() {
        let mut sources = Sources::default();
        sources.add_text("command line", b"x;".as_slice().into()).unwrap();
        for path in ["/b", "/a", "/b"] {
            sources.add(Path::new(path), path.as_bytes().into(), None).unwrap();
        }
        let files: Vec<_> = sources.files().map(|(path, _)| path).collect();
        assert_eq!(files, [Path::new("/b"), Path::new("/a")]);
        assert!(sources.text_of(Path::new("command line")).is_none());
        assert_eq!(sources.place(span(FileId(0), 0)), "command line");
    }
}
